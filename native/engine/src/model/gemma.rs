//! Gemma 3 (text): four norms a layer, norms on q and k, local and global layers with a rope each.
//!
//! x += rms(o(attention(rms(x)))), then x += rms(down(gelu(gate(rms(x))) * up(rms(x)))), from embeddings
//! times sqrt(D).
//!
//! The one surprise: norms multiply by 1 + weight in safetensors; GGUF's converter has added the 1.
//! And `attn_logit_softcapping` caps nothing: Gemma 3 kept the key of Gemma 2 without its use.

use super::{
    Frame, activation, assemble, rope_index,
    spec::{LayerSpec, ModelSpec, NormKind},
    tensors::{Bias, Tensors},
};
use crate::{checkpoint::config::Config, error::Result};

pub fn spec(config: &Config, tensors: &Tensors) -> Result<ModelSpec> {
    let offset = norm_offset(tensors);
    let frame = Frame {
        // The reference rounds this to the dtype it computes in, which is f32 here.
        embedding_scale: (config.width as f64).sqrt() as f32,
        final_norm: tensors.norm(&tensors.global("norm"), config.width, NormKind::Rms, offset)?,
        head_bias: Bias::No,
    };
    assemble(config, tensors, frame, |layer| self::layer(config, tensors, layer))
}

fn norm_offset(tensors: &Tensors) -> f32 {
    if tensors.is_gguf() { 0.0 } else { 1.0 }
}

fn layer(config: &Config, tensors: &Tensors, layer: usize) -> Result<LayerSpec> {
    let Config { width, ffn, heads, head_dim, .. } = *config;
    let offset = norm_offset(tensors);
    let norm = |module: &str, len| tensors.norm(&tensors.layer(layer, module), len, NormKind::Rms, offset);
    let bias = Bias::when(config.attention_bias);
    let [query, key, value] = tensors.query_key_value(layer, bias)?;
    let [gate, up] = tensors.gate_up(layer, Bias::No)?;
    Ok(LayerSpec {
        attention_norm: norm("input_layernorm", width)?,
        query,
        key,
        value,
        query_norm: Some(norm("self_attn.q_norm", head_dim)?),
        key_norm: Some(norm("self_attn.k_norm", head_dim)?),
        rope: rope_index(config, layer),
        window: config.layer_window(layer),
        attention_scale: config.attention_scale,
        attention_softcap: None,
        output: tensors.linear(&tensors.layer(layer, "self_attn.o_proj"), width, heads * head_dim, bias)?,
        attention_post_norm: Some(norm("post_attention_layernorm", width)?),
        ffn_norm: Some(norm("pre_feedforward_layernorm", width)?),
        gate: Some(gate),
        up,
        down: tensors.linear(&tensors.layer(layer, "mlp.down_proj"), width, ffn, Bias::No)?,
        activation: activation(config)?,
        ffn_post_norm: Some(norm("post_feedforward_layernorm", width)?),
    })
}
