//! Phi-3, 3.5 and Phi-4: a Llama whose q, k, v and gate, up are one matrix each.
//!
//! The one surprise: none in the layer. What sets Phi-3 apart is its LongRoPE, which the config brings.

use super::{
    Frame, assemble,
    llama::{self, Biases},
    spec::{ModelSpec, NormKind},
    tensors::{Bias, Tensors},
};
use crate::{checkpoint::config::Config, error::Result};

pub fn spec(config: &Config, tensors: &Tensors) -> Result<ModelSpec> {
    let frame = Frame {
        embedding_scale: 1.0,
        final_norm: tensors.norm(&tensors.global("norm"), config.width, NormKind::Rms, 0.0)?,
        head_bias: Bias::No,
    };
    let biases = Biases { query_key_value: Bias::No, output: Bias::No, ffn: Bias::No };
    assemble(config, tensors, frame, |layer| llama::layer(config, tensors, layer, biases))
}
