//! Llama (1, 2, 3, 3.1, 3.2), SmolLM2, TinyLlama, and Mistral, which is a Llama with a window.
//!
//! x += o(attention(q, k, v of rms(x))), then x += down(silu(gate(rms(x))) * up(rms(x))).
//!
//! The one surprise: a Mistral in GGUF calls itself llama, so the two share this file.

use super::{
    Frame, activation, assemble, rope_index,
    spec::{LayerSpec, ModelSpec, NormKind},
    tensors::{Bias, Tensors},
};
use crate::{checkpoint::config::Config, error::Result};

pub fn spec(config: &Config, tensors: &Tensors) -> Result<ModelSpec> {
    let frame = Frame {
        embedding_scale: 1.0,
        final_norm: tensors.norm(&tensors.global("norm"), config.width, NormKind::Rms, 0.0)?,
        head_bias: Bias::No,
    };
    let biases = Biases {
        query_key_value: Bias::when(config.attention_bias),
        output: Bias::when(config.attention_bias),
        ffn: Bias::when(config.mlp_bias),
    };
    assemble(config, tensors, frame, |layer| self::layer(config, tensors, layer, biases))
}

/// Which linears of a layer have biases.
#[derive(Clone, Copy)]
pub struct Biases {
    pub query_key_value: Bias,
    pub output: Bias,
    pub ffn: Bias,
}

/// The layer that most families vary.
pub fn layer(config: &Config, tensors: &Tensors, layer: usize, biases: Biases) -> Result<LayerSpec> {
    let Config { width, ffn, heads, head_dim, .. } = *config;
    let norm = |module: &str| tensors.norm(&tensors.layer(layer, module), width, NormKind::Rms, 0.0);
    let [query, key, value] = tensors.query_key_value(layer, biases.query_key_value)?;
    let [gate, up] = tensors.gate_up(layer, biases.ffn)?;
    Ok(LayerSpec {
        attention_norm: norm("input_layernorm")?,
        query,
        key,
        value,
        query_norm: None,
        key_norm: None,
        rope: rope_index(config, layer),
        window: config.layer_window(layer),
        attention_scale: config.attention_scale,
        attention_softcap: None,
        output: tensors.linear(&tensors.layer(layer, "self_attn.o_proj"), width, heads * head_dim, biases.output)?,
        attention_post_norm: None,
        ffn_norm: Some(norm("post_attention_layernorm")?),
        gate: Some(gate),
        up,
        down: tensors.linear(&tensors.layer(layer, "mlp.down_proj"), width, ffn, biases.ffn)?,
        activation: activation(config)?,
        ffn_post_norm: None,
    })
}
