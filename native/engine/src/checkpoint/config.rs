//! What a checkpoint says of its model's shape, in words that no file format owns.
//!
//! `Config::read` takes an opened checkpoint, reads config.json or GGUF metadata, fills in what each
//! architecture leaves unsaid, and checks every number; model/<architecture>.rs then trusts it.
//!
//! The one surprise: an absent key and a null are different things (an absent `sliding_window` of a
//! Mistral is 4096, a null one is none), so defaults live beside the keys, per architecture.

mod gguf;
mod hugging_face;
mod json;
mod rope;

#[cfg(test)]
pub(crate) mod tests;

pub use rope::{RopeConfig, Scaling, Yarn};

use super::{Checkpoint, Description};
use crate::error::{Error, Result};

/// The model families whose layers this engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    Phi,
    Phi3,
    Gemma3,
}

impl Architecture {
    pub const ALL: [Architecture; 7] = [
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Phi,
        Architecture::Phi3,
        Architecture::Gemma3,
    ];

    /// Its `model_type` in config.json, its class there, and its `general.architecture` in GGUF.
    /// GGUF knows no Mistral: those files call themselves llama.
    const fn names(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Architecture::Llama => ("llama", "LlamaForCausalLM", Some("llama")),
            Architecture::Mistral => ("mistral", "MistralForCausalLM", None),
            Architecture::Qwen2 => ("qwen2", "Qwen2ForCausalLM", Some("qwen2")),
            Architecture::Qwen3 => ("qwen3", "Qwen3ForCausalLM", Some("qwen3")),
            Architecture::Phi => ("phi", "PhiForCausalLM", Some("phi2")),
            Architecture::Phi3 => ("phi3", "Phi3ForCausalLM", Some("phi3")),
            Architecture::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM", Some("gemma3")),
        }
    }

    pub const fn name(self) -> &'static str {
        self.names().0
    }
}

/// How far a layer looks back, and which rotary embedding it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// All positions, `Config::rope`.
    Full,
    /// The last `Config::window` positions, `Config::local_rope` (where there is one).
    Sliding,
}

/// How the scales of F8_E4M3 tensors are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantization {
    /// (rows, columns) of a block; None: a scale per tensor or per row.
    pub block: Option<(usize, usize)>,
}

/// The facts of a model, checked: every width is positive and bounded, H is a multiple of KV,
/// every float is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub architecture: Architecture,
    /// D
    pub width: usize,
    /// F
    pub ffn: usize,
    /// L
    pub layers: usize,
    /// H
    pub heads: usize,
    /// KV
    pub kv_heads: usize,
    /// HD
    pub head_dim: usize,
    /// V; None: as many as the embedding has rows (GGUF).
    pub vocab: Option<usize>,
    pub max_context: usize,
    pub norm_eps: f32,
    /// The activation's name in Hugging Face's table.
    pub activation: String,
    /// Scores are multiplied by this.
    pub attention_scale: f32,
    /// Biases of the q, k, v and output projections.
    pub attention_bias: bool,
    /// Biases of the FFN's linears.
    pub mlp_bias: bool,
    /// Per-head norm of q and k, where the architecture leaves the choice (Phi-2).
    pub qk_norm: bool,
    /// [L]
    pub layer_kinds: Vec<LayerKind>,
    /// Positions a sliding layer sees; None: no layer slides, whatever its kind.
    pub window: Option<usize>,
    pub rope: RopeConfig,
    /// The rope of sliding layers, where it is another one (Gemma 3).
    pub local_rope: Option<RopeConfig>,
    pub logit_softcap: Option<f32>,
    pub quantization: Quantization,
    /// Tokens that end an answer, in rising order; none: the tokenizer knows.
    pub eos_token_ids: Vec<u32>,
}

/// Largest values believed; each is some ten times what published models have.
const MAX_WIDTH: usize = 1 << 18;
const MAX_FFN: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 12;
const MAX_HEAD_DIM: usize = 1 << 12;
const MAX_VOCAB: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 30;

impl Config {
    /// Reads and checks a checkpoint's config.
    ///
    /// Errors: `Unsupported` for an architecture, rope or quantization that this engine lacks;
    /// `Malformed` for a value that cannot be.
    pub fn read(checkpoint: &Checkpoint) -> Result<Config> {
        match &checkpoint.description {
            Description::HuggingFace(files) => hugging_face::config(files)?.checked("config.json"),
            Description::Gguf(metadata) => gguf::config(metadata, checkpoint)?.checked("GGUF metadata"),
        }
    }

    fn checked(self, at: &str) -> Result<Config> {
        let bounded = |name: &str, value: usize, max: usize| {
            if (1..=max).contains(&value) {
                return Ok(());
            }
            Err(Error::malformed(format!("{at}: {name}"), format!("1 to {max}"), value.to_string()))
        };
        bounded("model width", self.width, MAX_WIDTH)?;
        bounded("feed-forward width", self.ffn, MAX_FFN)?;
        bounded("layers", self.layers, MAX_LAYERS)?;
        bounded("attention heads", self.heads, MAX_HEADS)?;
        bounded("key-value heads", self.kv_heads, MAX_HEADS)?;
        bounded("head width", self.head_dim, MAX_HEAD_DIM)?;
        bounded("context length", self.max_context, MAX_CONTEXT)?;
        if let Some(vocab) = self.vocab {
            bounded("vocabulary", vocab, MAX_VOCAB)?;
        }
        if let Some(window) = self.window {
            bounded("sliding window", window, MAX_CONTEXT)?;
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::malformed(
                format!("{at}: attention heads"),
                format!("a multiple of the {} key-value heads", self.kv_heads),
                self.heads.to_string(),
            ));
        }
        if self.layer_kinds.len() != self.layers {
            return Err(Error::malformed(
                format!("{at}: layer_types"),
                format!("one for each of {} layers", self.layers),
                self.layer_kinds.len().to_string(),
            ));
        }
        let within = |name: &str, value: f32, low: f32, high: f32| {
            // NaN is outside of every range.
            if value > low && value <= high {
                return Ok(());
            }
            Err(Error::malformed(format!("{at}: {name}"), format!("above {low}, at most {high}"), value.to_string()))
        };
        within("norm epsilon", self.norm_eps, 0.0, 1.0)?;
        within("attention scale", self.attention_scale, 0.0, 1e6)?;
        if let Some(cap) = self.logit_softcap {
            within("logit softcap", cap, 0.0, 1e6)?;
        }
        self.rope.check(at, self.head_dim)?;
        if let Some(rope) = &self.local_rope {
            rope.check(at, self.head_dim)?;
        }
        Ok(self)
    }

    /// Positions that layer `layer` sees; None: all.
    pub fn layer_window(&self, layer: usize) -> Option<usize> {
        match self.layer_kinds.get(layer) {
            Some(LayerKind::Sliding) => self.window,
            _ => None,
        }
    }
}

/// The supported architectures under the names that `name_of` picks, for error texts.
fn supported(name_of: impl Fn(Architecture) -> Option<&'static str>) -> String {
    let names: Vec<_> = Architecture::ALL.into_iter().filter_map(name_of).collect();
    format!("one of {}", names.join(", "))
}
