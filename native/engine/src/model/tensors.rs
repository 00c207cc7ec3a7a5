//! From the names a model file uses to tensors that are really stored, shapes checked.
//!
//! A model file asks for `self_attn.q_proj` of layer 3 as [out, in] and gets a `Linear` that names
//! `model.layers.3.self_attn.q_proj.weight` or `blk.3.attn_q.weight`, whatever the checkpoint is, with the
//! scale tensor of an FP8 matrix and the row order of a GGUF one. Tensors nobody asks for are left alone.
//!
//! The one surprise: fused and split checkpoints are told apart by what is stored, not by the
//! architecture, because converters fuse at will.

use std::ops::Range;

use super::spec::{BiasSlice, Linear, Norm, NormKind, RowOrder, RowSlice, Scale};
use crate::{
    checkpoint::{
        Checkpoint, Description, TensorInfo,
        config::{Architecture, Config},
    },
    error::{Error, Result},
    quant::Format,
};

/// The tensors of one checkpoint under canonical names.
pub struct Tensors<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    dialect: Dialect,
}

/// How names are spelled.
enum Dialect {
    /// What stands before `layers.0`: "model.", "" or a wrapper's.
    HuggingFace {
        prefix: &'static str,
    },
    Gguf,
}

/// Whether a linear has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// One that is stored all the same is not used; in GGUF, which has no flags, it is.
    No,
    Yes,
}

impl Bias {
    pub fn when(flag: bool) -> Bias {
        if flag { Bias::Yes } else { Bias::No }
    }
}

/// Prefixes that Hugging Face folders put before `embed_tokens.weight`: a causal model's, a bare
/// model's, and those of text models in multimodal wrappers.
const PREFIXES: [&str; 4] = ["model.", "", "language_model.model.", "model.language_model."];

/// Canonical names and GGUF's, layer by layer. Gemma 3 has four norms and its own table for them.
const GGUF_NAMES: [(&str, &str); 24] = [
    ("embed_tokens", "token_embd"),
    ("norm", "output_norm"),
    ("final_layernorm", "output_norm"),
    ("lm_head", "output"),
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.dense", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_layernorm", "attn_q_norm"),
    ("self_attn.k_layernorm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.fc1", "ffn_up"),
    ("mlp.fc2", "ffn_down"),
    ("mlp.gate_up_proj", "ffn_up"),
];

/// What is asked of a stored matrix: its name without ".weight", and its shape.
struct Matrix<'n> {
    name: &'n str,
    out: usize,
    input: usize,
}

impl<'a> Tensors<'a> {
    pub fn new(checkpoint: &'a Checkpoint, config: &'a Config) -> Result<Self> {
        let stored = |name: String| checkpoint.tensors.contains_key(&name);
        let dialect = match &checkpoint.description {
            Description::Gguf(_) => Dialect::Gguf,
            Description::HuggingFace(_) => Dialect::HuggingFace {
                prefix: PREFIXES
                    .into_iter()
                    .find(|prefix| stored(format!("{prefix}embed_tokens.weight")))
                    .or(PREFIXES.into_iter().find(|prefix| stored(format!("{prefix}layers.0.input_layernorm.weight"))))
                    .unwrap_or("model."),
            },
        };
        Ok(Tensors { checkpoint, config, dialect })
    }

    pub fn is_gguf(&self) -> bool {
        matches!(self.dialect, Dialect::Gguf)
    }

    /// A module of the whole model.
    pub fn global(&self, module: &str) -> String {
        match &self.dialect {
            Dialect::Gguf => self.gguf_module(module).to_owned(),
            // The head stands beside the model, not in it.
            Dialect::HuggingFace { prefix } if module == "lm_head" => {
                if *prefix == "language_model.model." {
                    "language_model.lm_head".into()
                } else {
                    module.into()
                }
            }
            Dialect::HuggingFace { prefix } => format!("{prefix}{module}"),
        }
    }

    /// A module of one layer.
    pub fn layer(&self, layer: usize, module: &str) -> String {
        match &self.dialect {
            Dialect::Gguf => format!("blk.{layer}.{}", self.gguf_module(module)),
            Dialect::HuggingFace { prefix } => format!("{prefix}layers.{layer}.{module}"),
        }
    }

    fn gguf_module<'n>(&self, module: &'n str) -> &'n str {
        if self.config.architecture == Architecture::Gemma3 && module == "post_attention_layernorm" {
            return "post_attention_norm";
        }
        GGUF_NAMES.iter().find(|(canonical, _)| *canonical == module).map_or(module, |(_, gguf)| gguf)
    }

    /// Stored at all, be it in a format that is refused when the tensor is asked for.
    fn stored(&self, tensor: &str) -> bool {
        self.checkpoint.tensors.contains_key(tensor) || self.checkpoint.foreign.contains_key(tensor)
    }

    fn has_weight(&self, name: &str) -> bool {
        self.stored(&format!("{name}.weight"))
    }

    fn info(&self, tensor: &str, expected: impl FnOnce() -> String) -> Result<&'a TensorInfo> {
        let info = self.checkpoint.optional_tensor(tensor)?;
        info.ok_or_else(|| Error::malformed(format!("tensor {tensor}"), expected(), "no such tensor"))
    }

    /// A tensor of exactly this shape.
    fn shaped(&self, tensor: &str, shape: &[usize]) -> Result<&'a TensorInfo> {
        let info = self.info(tensor, || format!("shape {shape:?}"))?;
        if info.shape == shape {
            return Ok(info);
        }
        Err(Error::malformed(format!("tensor {tensor}"), format!("shape {shape:?}"), format!("shape {:?}", info.shape)))
    }

    /// A vector that is stored as plain numbers.
    fn vector(&self, tensor: &str, len: usize) -> Result<()> {
        let info = self.shaped(tensor, &[len])?;
        match info.format {
            Format::F8E4m3 => {
                Err(Error::unsupported(format!("tensor {tensor}"), "F32, F16 or BF16", info.format.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Checks a matrix and finds its scales.
    fn matrix(&self, matrix: &Matrix) -> Result<Option<Scale>> {
        let tensor = format!("{}.weight", matrix.name);
        let info = self.shaped(&tensor, &[matrix.out, matrix.input])?;
        self.scale(info, matrix)
    }

    /// The scales of an F8_E4M3 matrix; None for another format.
    fn scale(&self, info: &TensorInfo, matrix: &Matrix) -> Result<Option<Scale>> {
        if info.format != Format::F8E4m3 {
            return Ok(None);
        }
        let candidates = ["weight_scale_inv", "weight_scale"].map(|suffix| format!("{}.{suffix}", matrix.name));
        let stored = candidates.iter().find(|name| self.stored(name));
        let Some(scale) = stored.map(|name| self.checkpoint.optional_tensor(name)).transpose()?.flatten() else {
            return Err(Error::malformed(
                format!("tensor {}", info.name),
                format!("its scale, {}", candidates.join(" or ")),
                "F8_E4M3 without a scale",
            ));
        };
        // Rows of the stored matrix, which may have more than are used.
        let out = info.shape.first().copied().unwrap_or(matrix.out);
        let grid = |(rows, columns): (usize, usize)| [out.div_ceil(rows), matrix.input.div_ceil(columns)];
        let block = self.config.quantization.block;
        let plain = matches!(scale.format, Format::F32 | Format::F16 | Format::Bf16);
        let shape = scale.shape.as_slice();
        let per_tensor = shape.iter().all(|side| *side == 1) && shape.len() <= 2;
        let per_row = shape == [out] || shape == [out, 1];
        let block = match block {
            _ if !plain => None,
            _ if per_tensor || per_row => return Ok(Some(Scale { tensor: scale.name.clone(), block: None })),
            Some(block) if shape == grid(block) => Some(block),
            _ => None,
        };
        if block.is_some() {
            return Ok(Some(Scale { tensor: scale.name.clone(), block }));
        }
        let blocks = self.config.quantization.block.map(|block| format!(" or {:?}", grid(block))).unwrap_or_default();
        Err(Error::malformed(
            format!("tensor {}", scale.name),
            format!("F32, F16 or BF16 of shape [], [1], [{out}], [{out}, 1]{blocks}"),
            format!("{} of shape {shape:?}", scale.format),
        ))
    }

    fn bias(&self, name: &str, len: usize, range: Range<usize>, bias: Bias, order: RowOrder) -> Result<Vec<BiasSlice>> {
        let tensor = format!("{name}.bias");
        if bias == Bias::No && !(self.is_gguf() && self.stored(&tensor)) {
            return Ok(Vec::new());
        }
        self.vector(&tensor, len)?;
        Ok(vec![BiasSlice { tensor, range, order }])
    }

    /// One matrix that is one linear; `name` from `global` or `layer`.
    pub fn linear(&self, name: &str, out: usize, input: usize, bias: Bias) -> Result<Linear> {
        self.ordered(name, out, input, bias, RowOrder::Split)
    }

    fn ordered(&self, name: &str, out: usize, input: usize, bias: Bias, order: RowOrder) -> Result<Linear> {
        let scale = self.matrix(&Matrix { name, out, input })?;
        let row = RowSlice { tensor: format!("{name}.weight"), rows: 0..out, scale, order };
        Ok(Linear { rows: vec![row], bias: self.bias(name, out, 0..out, bias, order)? })
    }

    /// One matrix that holds several linears, one below the other.
    fn fused<const N: usize>(
        &self,
        name: &str,
        parts: [(usize, RowOrder); N],
        input: usize,
        bias: Bias,
    ) -> Result<[Linear; N]> {
        let out = parts.iter().map(|(rows, _)| rows).sum();
        let scale = self.matrix(&Matrix { name, out, input })?;
        let mut start = 0;
        let mut linears = parts.map(|(rows, order)| {
            let range = start..start + rows;
            start = range.end;
            let row = RowSlice { tensor: format!("{name}.weight"), rows: range, scale: scale.clone(), order };
            Linear { rows: vec![row], bias: Vec::new() }
        });
        for linear in &mut linears {
            let Some(RowSlice { rows, order, .. }) = linear.rows.first() else { continue };
            linear.bias = self.bias(name, out, rows.clone(), bias, *order)?;
        }
        Ok(linears)
    }

    /// Queries, keys and values of a layer, stored as one matrix or as three.
    pub fn query_key_value(&self, layer: usize, bias: Bias) -> Result<[Linear; 3]> {
        let Config { width, heads, kv_heads, head_dim, .. } = *self.config;
        // GGUF's llama family has the rows of q and k in another order, their biases too.
        let order = match (&self.dialect, self.config.architecture) {
            (Dialect::Gguf, Architecture::Llama | Architecture::Mistral) => RowOrder::Interleaved { head_dim },
            _ => RowOrder::Split,
        };
        let parts = [(heads * head_dim, order), (kv_heads * head_dim, order), (kv_heads * head_dim, RowOrder::Split)];
        let names = ["q", "k", "v"].map(|part| self.layer(layer, &format!("self_attn.{part}_proj")));
        let fused = self.layer(layer, "self_attn.qkv_proj");
        let [q, k, v] = &names;
        if !self.has_weight(&fused) {
            let one = |name: &str, (out, order)| self.ordered(name, out, width, bias, order);
            let [q_part, k_part, v_part] = parts;
            return Ok([one(q, q_part)?, one(k, k_part)?, one(v, v_part)?]);
        }
        let mut linears = self.fused(&fused, parts, width, bias)?;
        // Fused weights may stand beside split biases.
        for ((linear, name), (out, order)) in linears.iter_mut().zip([q, k, v]).zip(parts) {
            if linear.bias.is_empty() {
                linear.bias = self.bias(name, out, 0..out, Bias::No, order)?;
            }
        }
        Ok(linears)
    }

    /// Gate and up projection of a layer, stored as one matrix (gate above) or as two.
    pub fn gate_up(&self, layer: usize, bias: Bias) -> Result<[Linear; 2]> {
        let Config { width, ffn, .. } = *self.config;
        let (gate, up) = (self.layer(layer, "mlp.gate_proj"), self.layer(layer, "mlp.up_proj"));
        let fused = self.layer(layer, "mlp.gate_up_proj");
        // GGUF calls the fused matrix by the name of the up projection.
        if self.has_weight(&fused) && !self.has_weight(&gate) {
            return self.fused(&fused, [(ffn, RowOrder::Split), (ffn, RowOrder::Split)], width, bias);
        }
        Ok([self.linear(&gate, ffn, width, bias)?, self.linear(&up, ffn, width, bias)?])
    }

    /// A norm over `len` values.
    pub fn norm(&self, name: &str, len: usize, kind: NormKind, weight_offset: f32) -> Result<Norm> {
        let weight = format!("{name}.weight");
        self.vector(&weight, len)?;
        let bias = match kind {
            NormKind::Rms => None,
            NormKind::Layer => {
                let bias = format!("{name}.bias");
                self.vector(&bias, len)?;
                Some(bias)
            }
        };
        Ok(Norm { kind, weight, bias, eps: self.config.norm_eps, weight_offset })
    }

    /// The embedding and the head, [V, D] each: one matrix where the checkpoint has only one.
    pub fn embedding_and_head(&self, bias: Bias) -> Result<(Linear, Linear, usize)> {
        let (embedding, head) = (self.global("embed_tokens"), self.global("lm_head"));
        // A head alone serves both ways, too.
        let first = if self.has_weight(&embedding) || !self.has_weight(&head) { &embedding } else { &head };
        let vocab = match self.config.vocab {
            Some(vocab) => vocab,
            None => {
                let info = self.info(&format!("{first}.weight"), || "a matrix [V, D]".into())?;
                info.shape.first().copied().unwrap_or(0)
            }
        };
        let embedding = self.rows_of(first, vocab)?;
        let mut head_linear = if self.has_weight(&head) { self.rows_of(&head, vocab)? } else { embedding.clone() };
        head_linear.bias = self.bias(&head, vocab, 0..vocab, bias, RowOrder::Split)?;
        Ok((embedding, head_linear, vocab))
    }

    /// The first `rows` rows of a matrix that may be padded with more.
    fn rows_of(&self, name: &str, rows: usize) -> Result<Linear> {
        let width = self.config.width;
        let tensor = format!("{name}.weight");
        let expected = || format!("shape [{rows} or more, {width}]");
        let info = self.info(&tensor, expected)?;
        match info.shape.as_slice() {
            &[stored, columns] if stored >= rows && columns == width && rows > 0 => {
                let scale = self.scale(info, &Matrix { name, out: rows, input: width })?;
                let row = RowSlice { tensor, rows: 0..rows, scale, order: RowOrder::Split };
                Ok(Linear { rows: vec![row], bias: Vec::new() })
            }
            shape => Err(Error::malformed(format!("tensor {tensor}"), expected(), format!("shape {shape:?}"))),
        }
    }
}
