//! Phi-1, 1.5 and 2: layer norms, biases everywhere, a part of each head rotates, and no gate.
//!
//! x += dense(attention(q, k, v of n)) + fc2(gelu(fc1(n))), where n = layer_norm(x).
//!
//! The one surprise: attention and FFN run side by side from the same norm, so a layer has only one.

use super::{
    Frame, activation, assemble, rope_index,
    spec::{LayerSpec, ModelSpec, NormKind},
    tensors::{Bias, Tensors},
};
use crate::{checkpoint::config::Config, error::Result};

pub fn spec(config: &Config, tensors: &Tensors) -> Result<ModelSpec> {
    let frame = Frame {
        embedding_scale: 1.0,
        final_norm: tensors.norm(&tensors.global("final_layernorm"), config.width, NormKind::Layer, 0.0)?,
        head_bias: Bias::Yes,
    };
    assemble(config, tensors, frame, |layer| self::layer(config, tensors, layer))
}

fn layer(config: &Config, tensors: &Tensors, layer: usize) -> Result<LayerSpec> {
    let Config { width, ffn, heads, head_dim, .. } = *config;
    let norm = |module: &str, len| tensors.norm(&tensors.layer(layer, module), len, NormKind::Layer, 0.0);
    let linear = |module: &str, out, input| tensors.linear(&tensors.layer(layer, module), out, input, Bias::Yes);
    let head_norm = |module: &str| config.qk_norm.then(|| norm(module, head_dim)).transpose();
    let [query, key, value] = tensors.query_key_value(layer, Bias::Yes)?;
    Ok(LayerSpec {
        attention_norm: norm("input_layernorm", width)?,
        query,
        key,
        value,
        query_norm: head_norm("self_attn.q_layernorm")?,
        key_norm: head_norm("self_attn.k_layernorm")?,
        rope: rope_index(config, layer),
        window: config.layer_window(layer),
        attention_scale: config.attention_scale,
        attention_softcap: None,
        output: linear("self_attn.dense", width, heads * head_dim)?,
        attention_post_norm: None,
        ffn_norm: None,
        gate: None,
        up: linear("mlp.fc1", ffn, width)?,
        down: linear("mlp.fc2", width, ffn)?,
        activation: activation(config)?,
        ffn_post_norm: None,
    })
}
