//! Text to token ids and back, the same as transformers does it.
//!
//! A tokenizer is built once from tokenizer.json (`huggingface`) or from GGUF metadata (`gguf`), checked, and
//! then shared. Text goes in through `encode`, or through `encode_provenance` when part of it must not become a
//! control token; ids come out through `decode` at once or through `TextStream` one by one. The surprise: the
//! crate underneath panics on some malformed files, so every call into it is caught and becomes an error.

mod decoder;
mod family;
mod gguf;
mod huggingface;
mod matcher;
mod pre_tokenizer;
mod provenance;
mod reach;
pub mod stream;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde_json::Value;
use tokenizers::Model;

pub use stream::{Pushed, TextStream};

use crate::{
    bounded::on_large_stack,
    checkpoint::{Description, metadata::Metadata},
    error::{Error, Result},
};

/// More text than any context holds is refused before work is spent on it.
const MAX_TEXT_BYTES: usize = 16 << 20;

/// A tokenizer, ready to be shared between threads.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Ids that `encode` puts around the text (GGUF); None when a post-processor does (tokenizer.json).
    around: Option<Around>,
    /// Named special tokens ("bos_token", "eos_token", ...) with their text, as chat templates see them.
    named: BTreeMap<String, String>,
    bos: Option<(u32, String)>,
    eos: Option<(u32, String)>,
    eos_ids: Vec<u32>,
    plan: decoder::Plan,
    matcher: matcher::Matcher,
    /// How much text a token stands for, where there is a bound.
    reach: Option<reach::Reach>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Around {
    before: Option<u32>,
    after: Option<u32>,
}

/// A token's own text.
enum Piece {
    Plain(String),
    /// Decoding leaves it out.
    Special(String),
}

/// What `huggingface` and `gguf` find out, before it is made into a `Tokenizer`.
struct Parts {
    inner: tokenizers::Tokenizer,
    around: Option<Around>,
    named: BTreeMap<String, String>,
    /// Ids beside that of "eos_token" which end a turn.
    more_eos_ids: Vec<u32>,
    clean_up: bool,
}

impl Tokenizer {
    /// From tokenizer.json and, when there is one, tokenizer_config.json. What a model's config.json says of its
    /// tokenizer is unknown here: prefer `from_checkpoint`.
    pub fn from_huggingface(tokenizer_json: &[u8], tokenizer_config: Option<&Value>) -> Result<Self> {
        Self::from_huggingface_for("", tokenizer_json, tokenizer_config)
    }

    /// The same for a model of this `model_type` (config.json): some decide how the file is read.
    fn from_huggingface_for(model_type: &str, file: &[u8], config: Option<&Value>) -> Result<Self> {
        on_large_stack(|| {
            guarded("tokenizer.json", || Ok(huggingface::parts(model_type, file, config)))?.and_then(Self::from_parts)
        })?
    }

    /// From the metadata of a GGUF file.
    pub fn from_gguf(metadata: &Metadata) -> Result<Self> {
        on_large_stack(|| guarded("GGUF metadata", || Ok(gguf::parts(metadata)))?.and_then(Self::from_parts))?
    }

    /// The tokenizer of an opened checkpoint.
    pub fn from_checkpoint(description: &Description) -> Result<Self> {
        match description {
            Description::Gguf(metadata) => Self::from_gguf(metadata),
            Description::HuggingFace(files) => {
                let file = files.tokenizer.as_deref().ok_or_else(|| Error::NotFound {
                    path: "tokenizer.json".into(),
                    expected: "a tokenizer beside the weights".into(),
                })?;
                let says = |key: &str| files.config.get(key).and_then(Value::as_str);
                let mut config = files.tokenizer_config.clone();
                if let (Some(fields), Some(class)) =
                    (config.as_mut().and_then(Value::as_object_mut), says("tokenizer_class"))
                {
                    fields.entry("tokenizer_class").or_insert_with(|| class.into());
                }
                Self::from_huggingface_for(says("model_type").unwrap_or_default(), file, config.as_ref())
            }
        }
    }

    fn from_parts(parts: Parts) -> Result<Self> {
        let Parts { inner, around, named, more_eos_ids, clean_up } = parts;
        let named_token = |name: &str| {
            let text = named.get(name)?;
            Some((inner.token_to_id(text)?, text.clone()))
        };
        let bos = named_token("bos_token");
        let eos = named_token("eos_token");
        let ids: BTreeSet<u32> = eos.iter().map(|(id, _)| *id).chain(more_eos_ids).collect();
        let plan = decoder::Plan::new(inner.get_decoder(), clean_up);
        let matcher = guarded("added tokens", || matcher::Matcher::new(&inner))?;
        let reach = guarded("tokens", || Ok(reach::Reach::of(&inner)))?;
        let eos_ids = ids.into_iter().collect();
        Ok(Tokenizer { inner, around, named, bos, eos, eos_ids, plan, matcher, reach })
    }

    /// The ids of `text`. The text of an added token is that token, as in transformers; `add_special` puts the
    /// tokens around it that the checkpoint asks for (a BOS mostly).
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        check_size(text)?;
        let by_file = add_special && self.around.is_none();
        let encoding =
            on_large_stack(|| guarded("encoding", || Ok(self.inner.encode_fast(text, by_file)?.get_ids().to_vec())))??;
        Ok(match self.around {
            Some(Around { before, after }) if add_special => before.into_iter().chain(encoding).chain(after).collect(),
            _ => encoding,
        })
    }

    /// Errors: `ContextOverflow` for a text that takes more tokens than that for sure, seen from its length alone.
    pub fn check_fits(&self, text: &str, limit_tokens: usize) -> Result<()> {
        let least = self.reach.as_ref().map_or(0, |reach| reach.least_tokens(text));
        if least > limit_tokens {
            return Err(Error::ContextOverflow { wanted_tokens: least, limit_tokens });
        }
        Ok(())
    }

    /// The text of `ids`, as transformers' `decode`; ids that the tokenizer does not know are left out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let text = guarded("decoding", || self.inner.decode(ids, skip_special))?;
        Ok(self.plan.clean_up(text))
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token that begins a text, if the checkpoint names one.
    pub fn bos(&self) -> Option<(u32, &str)> {
        self.bos.as_ref().map(|(id, text)| (*id, text.as_str()))
    }

    /// The token that ends a text, if the checkpoint names one.
    pub fn eos(&self) -> Option<(u32, &str)> {
        self.eos.as_ref().map(|(id, text)| (*id, text.as_str()))
    }

    /// Every id that ends a generation, ascending, as far as the tokenizer knows.
    pub fn eos_ids(&self) -> Vec<u32> {
        self.eos_ids.clone()
    }

    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Named special tokens with their text: "bos_token", "eos_token", "unk_token", ...
    pub fn named_tokens(&self) -> &BTreeMap<String, String> {
        &self.named
    }

    /// A token's text before the decoder; of an id that no token has, none.
    fn piece(&self, id: u32) -> Option<Piece> {
        let added = self.inner.get_added_vocabulary();
        let text = added.simple_id_to_token(id).or_else(|| self.inner.get_model().id_to_token(id))?;
        // The crate skips by text, not by id: a plain token that is spelled like a special one is skipped too.
        Some(if added.is_special_token(&text) { Piece::Special(text) } else { Piece::Plain(text) })
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

fn check_size(text: &str) -> Result<()> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(Error::InvalidOption {
        option: "text".into(),
        expected: format!("at most {MAX_TEXT_BYTES} bytes"),
        found: format!("{} bytes", text.len()),
    })
}

/// A call into the tokenizers crate: its error and its panic both become `Error::Malformed`.
fn guarded<T>(at: &str, call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(decoder::failed(at, error)),
        Err(_) => Err(decoder::failed(at, "one that makes the tokenizer panic")),
    }
}
