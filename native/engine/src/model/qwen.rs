//! Qwen2 and 2.5 (a Llama with biases on q, k and v) and Qwen3 (a Llama with norms on q and k).
//!
//! The one surprise: Qwen2's biases are no option of its config; its output projection never has one.

use super::{
    Frame, assemble,
    llama::{self, Biases},
    spec::{ModelSpec, NormKind},
    tensors::{Bias, Tensors},
};
use crate::{
    checkpoint::config::{Architecture, Config},
    error::Result,
};

pub fn spec(config: &Config, tensors: &Tensors) -> Result<ModelSpec> {
    let frame = Frame {
        embedding_scale: 1.0,
        final_norm: tensors.norm(&tensors.global("norm"), config.width, NormKind::Rms, 0.0)?,
        head_bias: Bias::No,
    };
    let query_key_value = Bias::when(config.attention_bias);
    let output = match config.architecture {
        Architecture::Qwen2 => Bias::No,
        _ => query_key_value,
    };
    let biases = Biases { query_key_value, output, ffn: Bias::No };
    assemble(config, tensors, frame, |layer| {
        let mut spec = llama::layer(config, tensors, layer, biases)?;
        if config.qk_norm {
            let norm = |module: &str| tensors.norm(&tensors.layer(layer, module), config.head_dim, NormKind::Rms, 0.0);
            spec.query_norm = Some(norm("self_attn.q_norm")?);
            spec.key_norm = Some(norm("self_attn.k_norm")?);
        }
        Ok(spec)
    })
}
