//! Models as data: from a checkpoint's config and tensor names to a `ModelSpec`.
//!
//! `spec` reads the config, picks the architecture's file, and gets one `LayerSpec` a layer with every
//! tensor it names checked to be stored in the right shape. A new architecture is a file here, a row in
//! `spec_of`, and one in `checkpoint::config::Architecture`.
//!
//! The one surprise: nothing here computes. Backends read the spec and the tensors it names.

mod gemma;
mod llama;
mod phi;
mod phi3;
mod qwen;
pub(crate) mod rope;
pub mod spec;
mod tensors;

#[cfg(test)]
mod tests;

use spec::{Activation, LayerSpec, Linear, ModelSpec, Norm};
use tensors::Tensors;

use crate::{
    checkpoint::{
        Checkpoint,
        config::{Architecture, Config, LayerKind},
    },
    error::{Error, Result},
};

/// A checkpoint's model.
///
/// Errors: `Unsupported` for what this engine does not do, `Malformed` for a config or a tensor that
/// cannot be, both with what was expected and what was found.
pub fn spec(checkpoint: &Checkpoint) -> Result<ModelSpec> {
    spec_of(&Config::read(checkpoint)?, checkpoint)
}

/// The same, for a config that is read already.
pub fn spec_of(config: &Config, checkpoint: &Checkpoint) -> Result<ModelSpec> {
    let tensors = Tensors::new(checkpoint, config)?;
    match config.architecture {
        Architecture::Llama | Architecture::Mistral => llama::spec(config, &tensors),
        Architecture::Qwen2 | Architecture::Qwen3 => qwen::spec(config, &tensors),
        Architecture::Phi => phi::spec(config, &tensors),
        Architecture::Phi3 => phi3::spec(config, &tensors),
        Architecture::Gemma3 => gemma::spec(config, &tensors),
    }
}

/// What surrounds the layers, the same in all architectures.
struct Frame {
    embedding_scale: f32,
    final_norm: Norm,
    head_bias: tensors::Bias,
}

/// Joins a frame and the layers that `layer` makes.
fn assemble(
    config: &Config,
    tensors: &Tensors,
    frame: Frame,
    layer: impl Fn(usize) -> Result<LayerSpec>,
) -> Result<ModelSpec> {
    let (embedding, head, vocab): (Linear, Linear, usize) = tensors.embedding_and_head(frame.head_bias)?;
    Ok(ModelSpec {
        width: config.width,
        vocab,
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        max_context: config.max_context,
        embedding,
        embedding_scale: frame.embedding_scale,
        ropes: std::iter::once(&config.rope).chain(&config.local_rope).map(rope::rope).collect(),
        layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
        final_norm: frame.final_norm,
        head,
        logit_softcap: config.logit_softcap,
    })
}

/// Index of a layer's rope in `ModelSpec::ropes`, as `assemble` orders them.
fn rope_index(config: &Config, layer: usize) -> usize {
    let slides = config.layer_kinds.get(layer) == Some(&LayerKind::Sliding);
    usize::from(slides && config.local_rope.is_some())
}

/// The activation of a Hugging Face config's name.
fn activation(config: &Config) -> Result<Activation> {
    match config.activation.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(Error::unsupported(
            "config.json: activation",
            "one of silu, gelu, gelu_new, gelu_pytorch_tanh, relu",
            format!("{other:?}"),
        )),
    }
}
