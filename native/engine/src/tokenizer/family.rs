//! Families whose tokenizer transformers builds by itself, out of a file's vocabulary and merges.
//!
//! "tokenizer_class" (tokenizer_config.json) and "model_type" (config.json) together choose a family; a family has a
//! shape (normalizer, pre-tokenizer, decoder) that takes the place of the file's, and named tokens that hold unless
//! the config says otherwise. The surprise: for some model types the class in their files is known to be wrong, and
//! one and the same tokenizer.json encodes differently under "qwen2" and under "qwen3".

use serde::Deserialize;
use serde_json::{Value, json};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence, strip::Strip},
    pre_tokenizers::byte_level::ByteLevel,
};

use super::pre_tokenizer::{GPT2, QWEN2};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Llama { prefix: bool, legacy: bool },
    Gemma,
    Qwen2 { prefix: bool },
    Gpt2 { prefix: bool },
}

/// What takes the place of the file's own parts.
pub(super) struct Shape {
    pub normalizer: Option<NormalizerWrapper>,
    pub pre_tokenizer: Option<PreTokenizerWrapper>,
    pub decoder: DecoderWrapper,
    /// Unknown characters fall back to byte tokens.
    pub sentence_piece: bool,
    /// Characters without a token become the unknown one; otherwise nothing is left of them.
    pub keeps_unknown: bool,
}

impl Family {
    /// The family that transformers' AutoTokenizer would choose; None stands for the file as it is.
    pub fn of(model_type: &str, config: Option<&Value>, byte_level: bool) -> Option<Self> {
        let class = config.and_then(|config| config.get("tokenizer_class")).and_then(Value::as_str);
        let class = class.map(|class| class.trim_end_matches("Fast"));
        let registered = match model_type {
            "qwen2" | "qwen3" => Some("Qwen2Tokenizer"),
            "phi" => Some("GPT2Tokenizer"),
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" => Some("GemmaTokenizer"),
            "mistral" | "phi3" => Some("TokenizersBackend"),
            _ => None,
        };
        let chosen = match (class, registered) {
            // Its files are known to name a class that is not theirs.
            (Some(_), Some(registered)) if model_type == "qwen2" => registered,
            // These go by the file unless they name another registered class.
            (Some(_), Some("TokenizersBackend")) => return None,
            (Some(class), _) => class,
            (None, registered) => registered?,
        };
        let flag = |key: &str| config.and_then(|config| config.get(key)).and_then(Value::as_bool);
        let prefix = flag("add_prefix_space").unwrap_or(false);
        match chosen {
            "LlamaTokenizer" if !byte_level => Some(Family::Llama {
                prefix: flag("add_prefix_space").unwrap_or(true),
                legacy: flag("legacy").unwrap_or(false),
            }),
            "GemmaTokenizer" if !byte_level => Some(Family::Gemma),
            "Qwen2Tokenizer" if byte_level => Some(Family::Qwen2 { prefix }),
            "GPT2Tokenizer" | "CodeGenTokenizer" if byte_level => Some(Family::Gpt2 { prefix }),
            _ => None,
        }
    }

    pub fn shape(self) -> Option<Shape> {
        Some(match self {
            Family::Llama { prefix: false, .. } => Shape::llama("never"),
            Family::Llama { prefix: true, legacy: true } => Shape::llama("always"),
            Family::Llama { prefix: true, legacy: false } => Shape::llama("first"),
            Family::Gemma => Shape::gemma(),
            Family::Qwen2 { prefix } => {
                Shape::byte_level(split(QWEN2, byte_level(prefix, false)), described(json!({"type": "NFC"})))
            }
            // The prefix space comes before the cut here, behind it above.
            Family::Gpt2 { prefix: true } => Shape::byte_level(byte_level(true, true), None),
            Family::Gpt2 { prefix: false } => Shape::byte_level(split(GPT2, byte_level(false, false)), None),
        })
    }

    /// Named tokens that a config need not repeat.
    pub fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Family::Llama { .. } => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            Family::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Family::Qwen2 { .. } => {
                &[("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>"), ("pad_token", "<|endoftext|>")]
            }
            Family::Gpt2 { .. } => {
                &[("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>"), ("unk_token", "<|endoftext|>")]
            }
        }
    }
}

/// Bytes as characters; with `cuts`, after a cut into words of its own.
fn byte_level(prefix: bool, cuts: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": cuts})
}

fn split(pattern: &str, then: Value) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    json!({"type": "Sequence", "pretokenizers": [split, then]})
}

/// A part from its description in the tokenizers library's own terms.
fn described<T: for<'de> Deserialize<'de>>(description: Value) -> Option<T> {
    serde_json::from_value(description).ok()
}

impl Shape {
    /// SentencePiece with "▁" for spaces; `scheme` says where one is put before the text.
    pub fn llama(scheme: &str) -> Self {
        let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false});
        Shape {
            normalizer: None,
            pre_tokenizer: described(metaspace),
            decoder: Self::decoder(scheme != "never"),
            sentence_piece: true,
            keeps_unknown: false,
        }
    }

    /// SentencePiece where each stretch between added tokens gets a space before it, even one that has one.
    pub fn prepending() -> Self {
        let normalizers = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        ]});
        Shape {
            normalizer: described(normalizers),
            pre_tokenizer: None,
            decoder: Self::decoder(true),
            sentence_piece: true,
            keeps_unknown: true,
        }
    }

    /// SentencePiece that puts no space before the text.
    pub fn gemma() -> Self {
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        Shape {
            normalizer: described(replace),
            pre_tokenizer: None,
            decoder: Self::decoder(false),
            sentence_piece: true,
            keeps_unknown: true,
        }
    }

    fn byte_level(pre_tokenizer: Value, normalizer: Option<NormalizerWrapper>) -> Self {
        Shape {
            normalizer,
            pre_tokenizer: described(pre_tokenizer),
            decoder: ByteLevel::default().into(),
            sentence_piece: false,
            keeps_unknown: false,
        }
    }

    fn decoder(strips_space: bool) -> DecoderWrapper {
        let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
        let mut decoders: Vec<DecoderWrapper> = described(replace).into_iter().collect();
        decoders.push(ByteFallback::new().into());
        decoders.push(Fuse::new().into());
        if strips_space {
            decoders.push(Strip::new(' ', 1, 0).into());
        }
        Sequence::new(decoders).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_chosen_as_auto_tokenizer_chooses() {
        let class = |name: &str| Some(json!({"tokenizer_class": name}));
        let of = |model_type, config: Option<Value>, byte_level| Family::of(model_type, config.as_ref(), byte_level);
        let llama = Some(Family::Llama { prefix: true, legacy: false });
        assert_eq!(of("llama", class("LlamaTokenizerFast"), false), llama);
        assert_eq!(of("llama", class("LlamaTokenizer"), true), None);
        assert_eq!(of("llama", class("TokenizersBackend"), false), None);
        assert_eq!(of("llama", None, false), None);
        assert_eq!(of("mistral", class("LlamaTokenizer"), false), None);
        assert_eq!(of("phi3", class("LlamaTokenizer"), false), None);
        assert_eq!(of("qwen2", class("TokenizersBackend"), true), Some(Family::Qwen2 { prefix: false }));
        assert_eq!(of("qwen3", class("TokenizersBackend"), true), None);
        assert_eq!(of("qwen3", class("Qwen2Tokenizer"), true), Some(Family::Qwen2 { prefix: false }));
        assert_eq!(of("qwen3", None, true), Some(Family::Qwen2 { prefix: false }));
        assert_eq!(of("phi", class("CodeGenTokenizer"), true), Some(Family::Gpt2 { prefix: false }));
        assert_eq!(of("gemma3_text", class("GemmaTokenizerFast"), false), Some(Family::Gemma));
    }

    #[test]
    fn every_shape_can_be_built() {
        for scheme in ["never", "first", "always"] {
            assert!(Shape::llama(scheme).pre_tokenizer.is_some());
        }
        assert!(Shape::prepending().normalizer.is_some());
        assert!(Shape::gemma().normalizer.is_some());
        assert!(
            Family::Qwen2 { prefix: true }
                .shape()
                .is_some_and(|shape| shape.normalizer.is_some() && shape.pre_tokenizer.is_some())
        );
        for prefix in [true, false] {
            assert!(Family::Gpt2 { prefix }.shape().is_some_and(|shape| shape.pre_tokenizer.is_some()));
        }
    }
}
