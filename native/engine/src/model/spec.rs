//! A model as data: what a backend must know to run it, and nothing of where it came from.
//!
//! model/<architecture>.rs writes a `ModelSpec` from a config and the checkpoint's tensor names; a backend
//! reads it. Shapes are row-major, outermost first: a linear is [out, in], as in PyTorch.
//!
//! The one surprise: a `Linear` is a list of row slices, so that fused checkpoints (`qkv_proj`) and split
//! ones (`q_proj`, `k_proj`, `v_proj`) end as the same three linears, and GGUF's permuted q and k rows are
//! put back into order while they are loaded.

use std::ops::Range;

/// Everything that is computed from a token id to its logits.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// D: width of the residual stream.
    pub width: usize,
    /// V: rows of the output head.
    pub vocab: usize,
    /// H: query heads.
    pub heads: usize,
    /// KV: key and value heads; H is a multiple of it.
    pub kv_heads: usize,
    /// HD: width of a head, for keys and values alike.
    pub head_dim: usize,
    /// Positions the model was made for.
    pub max_context: usize,
    /// [V, D]; row `token` is the embedding.
    pub embedding: Linear,
    /// The embedding is multiplied by this (Gemma: sqrt(D) rounded to the checkpoint's dtype).
    pub embedding_scale: f32,
    /// The distinct rotary embeddings; a layer names one by its index.
    pub ropes: Vec<Rope>,
    pub layers: Vec<LayerSpec>,
    pub final_norm: Norm,
    /// [V, D]; the same linear as `embedding` where the two are tied.
    pub head: Linear,
    /// logits = cap * tanh(logits / cap).
    pub logit_softcap: Option<f32>,
}

/// One decoder layer.
///
/// Sequential: x += post_norm(attention(norm(x))), then x += post_norm(ffn(norm(x))).
/// Parallel (`ffn_norm` is None): x += attention(norm(x)) + ffn(norm(x)), both of the same norm.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSpec {
    pub attention_norm: Norm,
    /// [H * HD, D]
    pub query: Linear,
    /// [KV * HD, D]
    pub key: Linear,
    /// [KV * HD, D]
    pub value: Linear,
    /// Per-head norm of q and k before the rotation, over HD.
    pub query_norm: Option<Norm>,
    pub key_norm: Option<Norm>,
    /// Index into `ModelSpec::ropes`.
    pub rope: usize,
    /// A position sees itself and `window - 1` before it; None: all before it.
    pub window: Option<usize>,
    /// Scores are multiplied by this before the softmax.
    pub attention_scale: f32,
    /// scores = cap * tanh(scores / cap), before the mask.
    pub attention_softcap: Option<f32>,
    /// [D, H * HD]
    pub output: Linear,
    pub attention_post_norm: Option<Norm>,
    /// None: attention and FFN run in parallel from `attention_norm`.
    pub ffn_norm: Option<Norm>,
    /// [F, D]; None: the FFN is down(activation(up(x))) instead of down(activation(gate(x)) * up(x)).
    pub gate: Option<Linear>,
    /// [F, D]
    pub up: Linear,
    /// [D, F]
    pub down: Linear,
    pub activation: Activation,
    pub ffn_post_norm: Option<Norm>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Silu,
    /// 0.5 x (1 + erf(x / sqrt 2))
    Gelu,
    /// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
    GeluTanh,
    Relu,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// x / sqrt(mean(x^2) + eps)
    Rms,
    /// (x - mean) / sqrt(var + eps)
    Layer,
}

/// A normalisation: kind(x) * (weight + weight_offset) + bias.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    pub kind: NormKind,
    /// Tensor name, as stored in the checkpoint.
    pub weight: String,
    pub bias: Option<String>,
    pub eps: f32,
    /// Gemma keeps its weights minus one in safetensors (1.0), but not in GGUF (0.0).
    pub weight_offset: f32,
}

/// y = W x + bias, where W's rows are those of the slices, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    pub rows: Vec<RowSlice>,
    pub bias: Vec<BiasSlice>,
}

/// Some rows of a stored matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSlice {
    /// Tensor name, as stored in the checkpoint.
    pub tensor: String,
    pub rows: Range<usize>,
    /// Scales of an F8_E4M3 tensor.
    pub scale: Option<Scale>,
    pub order: RowOrder,
}

/// Some elements of a stored vector; empty list: no bias.
#[derive(Debug, Clone, PartialEq)]
pub struct BiasSlice {
    pub tensor: String,
    pub range: Range<usize>,
    pub order: RowOrder,
}

/// The order in which rows lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As this engine wants them: rotary pairs are (i, i + rotary / 2) within a head.
    Split,
    /// GGUF's llama family: within each head of `head_dim` rows, pairs are adjacent (2 i, 2 i + 1).
    Interleaved { head_dim: usize },
}

/// Where the scales of an F8_E4M3 matrix are; weight = f8 * scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Tensor name. Shape [] or [1] (per tensor), [out] or [out, 1] (per row), or
    /// [ceil(out / block_rows), ceil(in / block_cols)].
    pub tensor: String,
    /// (rows, columns) of a block; None: per tensor or per row, as the shape says.
    pub block: Option<(usize, usize)>,
}

/// Rotary embedding: for pair i < rotary / 2, angle = position * inverse_frequencies[i]; cos and sin are
/// multiplied by `magnitude`. Dimensions from `rotary` on are left as they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// [rotary / 2]
    pub inverse_frequencies: Vec<f32>,
    /// Used instead once the context in use is longer than `.0` positions (longrope): ([rotary / 2]).
    pub long: Option<LongRope>,
    /// Dimensions of a head that rotate.
    pub rotary: usize,
    pub magnitude: f32,
}

/// Other frequencies for sequences longer than the original context.
#[derive(Debug, Clone, PartialEq)]
pub struct LongRope {
    /// Sequences of at most this many positions use the short frequencies.
    pub original_context: usize,
    /// [rotary / 2]
    pub inverse_frequencies: Vec<f32>,
}

impl Linear {
    /// Rows of the whole matrix.
    pub fn out(&self) -> usize {
        self.rows.iter().map(|slice| slice.rows.len()).sum()
    }
}
