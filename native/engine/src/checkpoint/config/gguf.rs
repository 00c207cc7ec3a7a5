//! GGUF metadata, in the keys that llama.cpp's converters write.
//!
//! The one surprise: what a converter leaves out must be known here. Gemma 3's window pattern and its
//! query scale have no key; Phi-2's `feed_forward_length` is always four times the width, so the
//! stored tensor is asked instead.

use super::{
    Architecture, Config, LayerKind, MAX_HEAD_DIM, MAX_LAYERS, Quantization,
    hugging_face::kinds_by,
    rope::{RopeConfig, Scaling, Yarn, yarn_magnitude},
    supported,
};
use crate::{
    checkpoint::{
        Checkpoint,
        metadata::{Metadata, Value},
    },
    error::{Error, Result},
    quant::Format,
};

const AT: &str = "GGUF metadata";

/// The keys of one architecture: `<architecture>.<name>`.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        let key = self.key(name);
        let found = self.metadata.get(&key).map_or_else(|| "nothing".into(), Value::kind);
        Error::malformed(format!("{AT}: {key}"), expected, found)
    }

    /// One number, or an array that says the same for every layer.
    fn uint(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        let expected = "a non-negative integer";
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(Value::Integers(list)) => {
                let first = list.first().ok_or_else(|| self.wrong(name, expected))?;
                if list.iter().any(|number| number != first) {
                    return Err(Error::unsupported(
                        format!("{AT}: {key}"),
                        "the same number in every layer",
                        "numbers that differ from layer to layer",
                    ));
                }
                usize::try_from(*first).map(Some).map_err(|_| self.wrong(name, expected))
            }
            Some(_) => match self.metadata.uint(&key).and_then(|number| usize::try_from(number).ok()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, expected)),
            },
        }
    }

    fn need_uint(&self, name: &str) -> Result<usize> {
        self.uint(name)?.ok_or_else(|| self.wrong(name, "a non-negative integer"))
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        let key = self.key(name);
        match self.metadata.get(&key) {
            None => Ok(None),
            Some(_) => match self.metadata.float(&key).filter(|number| number.is_finite()) {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(name, "a finite number")),
            },
        }
    }
}

pub fn config(metadata: &Metadata, checkpoint: &Checkpoint) -> Result<Config> {
    let (architecture, prefix) = architecture(metadata)?;
    let keys = Keys { metadata, prefix };
    if keys.uint("expert_count")?.unwrap_or(0) > 0 {
        return Err(Error::unsupported(format!("{AT}: {prefix}.expert_count"), "a dense model", "experts"));
    }
    let width = keys.need_uint("embedding_length")?;
    let layers = keys.need_uint("block_count")?;
    if layers > MAX_LAYERS {
        return Err(keys.wrong("block_count", &format!("1 to {MAX_LAYERS}")));
    }
    let heads = keys.need_uint("attention.head_count")?;
    let per_head = width.checked_div(heads).ok_or_else(|| keys.wrong("attention.head_count", "at least 1"))?;
    let head_dim = keys.uint("attention.key_length")?.unwrap_or(per_head);
    let value_dim = keys.uint("attention.value_length")?.unwrap_or(head_dim);
    if value_dim != head_dim {
        return Err(Error::unsupported(
            format!("{AT}: {prefix}.attention.value_length"),
            format!("the key length, {head_dim}"),
            value_dim.to_string(),
        ));
    }
    let max_context = keys.need_uint("context_length")?;
    let eps_name = match architecture {
        Architecture::Phi => "attention.layer_norm_epsilon",
        _ => "attention.layer_norm_rms_epsilon",
    };
    let (layer_kinds, window) = layer_kinds(architecture, &keys, layers)?;
    let rope = rope(architecture, &keys, checkpoint, head_dim, max_context)?;
    let local_rope = match architecture {
        Architecture::Gemma3 => {
            // Only the full layers' rope is stretched.
            Some(RopeConfig::plain(keys.float("rope.freq_base_swa")?.unwrap_or(10_000.0), rope.rotary))
        }
        _ => None,
    };
    Ok(Config {
        architecture,
        width,
        ffn: ffn(architecture, &keys, checkpoint)?,
        layers,
        heads,
        kv_heads: keys.uint("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab: None,
        max_context,
        norm_eps: keys.float(eps_name)?.ok_or_else(|| keys.wrong(eps_name, "a finite number"))? as f32,
        activation: match architecture {
            Architecture::Phi => "gelu_new",
            Architecture::Gemma3 => "gelu_pytorch_tanh",
            _ => "silu",
        }
        .to_owned(),
        attention_scale: attention_scale(architecture, &keys, per_head, head_dim, layers)?,
        // GGUF has no flags for these: a tensor that is stored is used.
        attention_bias: false,
        mlp_bias: false,
        qk_norm: matches!(architecture, Architecture::Qwen3 | Architecture::Gemma3),
        layer_kinds,
        window,
        rope,
        local_rope,
        logit_softcap: match architecture {
            Architecture::Gemma3 => {
                keys.float("final_logit_softcapping")?.filter(|cap| *cap != 0.0).map(|cap| cap as f32)
            }
            _ => None,
        },
        quantization: Quantization::default(),
        // Its tokenizer names them.
        eos_token_ids: vec![],
    })
}

fn architecture(metadata: &Metadata) -> Result<(Architecture, &'static str)> {
    let found = metadata.str("general.architecture").unwrap_or("nothing");
    Architecture::ALL
        .into_iter()
        .find_map(|known| Some((known, known.names().2.filter(|name| *name == found)?)))
        .ok_or_else(|| {
            Error::unsupported(
                "GGUF metadata: general.architecture",
                supported(|known| known.names().2),
                format!("architecture {found:?}"),
            )
        })
}

/// F. Phi-2's converter writes 4 D whatever the model has, so there the up projection decides.
fn ffn(architecture: Architecture, keys: &Keys, checkpoint: &Checkpoint) -> Result<usize> {
    let stated = keys.need_uint("feed_forward_length")?;
    let stored = checkpoint.tensors.get("blk.0.ffn_up.weight").and_then(|up| up.shape.first());
    match (architecture, stored) {
        (Architecture::Phi, Some(rows)) => Ok(*rows),
        _ => Ok(stated),
    }
}

fn attention_scale(
    architecture: Architecture,
    keys: &Keys,
    per_head: usize,
    head_dim: usize,
    layers: usize,
) -> Result<f32> {
    // query_pre_attn_scalar is the head width in all published sizes of Gemma 3 but the largest (62
    // layers), where it is D / H.
    let scalar = match (architecture, layers) {
        (Architecture::Gemma3, 62) => per_head,
        _ => head_dim,
    };
    let stated = keys.float("attention.scale")?;
    Ok(stated.unwrap_or(1.0 / (scalar as f64).sqrt()) as f32)
}

fn layer_kinds(architecture: Architecture, keys: &Keys, layers: usize) -> Result<(Vec<LayerKind>, Option<usize>)> {
    // Zero is how some converters write "none".
    let window = keys.uint("attention.sliding_window")?.filter(|window| *window > 0);
    match architecture {
        // A Mistral calls itself llama.
        Architecture::Llama | Architecture::Mistral | Architecture::Phi3 => {
            Ok((vec![LayerKind::Sliding; layers], window))
        }
        Architecture::Qwen2 | Architecture::Qwen3 | Architecture::Phi => Ok((vec![LayerKind::Full; layers], None)),
        // Without a window every layer is a full one, its rope included.
        Architecture::Gemma3 if window.is_none() => Ok((vec![LayerKind::Full; layers], None)),
        Architecture::Gemma3 => {
            const NAME: &str = "attention.sliding_window_pattern";
            if let Some(Value::Bools(slides)) = keys.metadata.get(&keys.key(NAME)) {
                if slides.len() != layers {
                    return Err(keys.wrong(NAME, &format!("an array of {layers} booleans")));
                }
                return Ok((kinds_by(layers, |layer| slides.get(layer) == Some(&true)), window));
            }
            let pattern = keys.uint(NAME)?.unwrap_or(6);
            // 0: every layer slides; 1: none does.
            Ok((kinds_by(layers, |layer| pattern == 0 || layer % pattern < pattern - 1), window))
        }
    }
}

fn rope(
    architecture: Architecture,
    keys: &Keys,
    checkpoint: &Checkpoint,
    head_dim: usize,
    max_context: usize,
) -> Result<RopeConfig> {
    let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
    let rotary = keys.uint("rope.dimension_count")?.unwrap_or(head_dim);
    if rotary != head_dim && !matches!(architecture, Architecture::Phi | Architecture::Phi3) {
        return Err(Error::unsupported(
            format!("{AT}: {}.rope.dimension_count", keys.prefix),
            format!("the head's width, {head_dim}"),
            rotary.to_string(),
        ));
    }
    let original_context = keys.uint("rope.scaling.original_context_length")?.unwrap_or(max_context);
    let magnitude = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let factor = match keys.float("rope.scaling.factor")?.or(keys.float("rope.scale_linear")?) {
        Some(factor) if factor != 0.0 => factor,
        _ => 1.0,
    };
    let kind = keys.metadata.str(&keys.key("rope.scaling.type")).unwrap_or("linear");
    let stored = |name: &str| checkpoint.tensors.contains_key(name);
    let scaling = if stored("rope_factors_long.weight") || stored("rope_factors_short.weight") {
        Scaling::LongRope {
            short: factors(checkpoint, "rope_factors_short.weight")?,
            long: factors(checkpoint, "rope_factors_long.weight")?,
            original_context,
            magnitude,
        }
    } else if stored("rope_freqs.weight") {
        Scaling::Divided(factors(checkpoint, "rope_freqs.weight")?)
    } else {
        match kind {
            "none" | "longrope" => Scaling::None,
            "linear" if factor == 1.0 => Scaling::None,
            "linear" => Scaling::Linear { factor },
            "yarn" => Scaling::Yarn(Yarn {
                factor,
                original_context,
                beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                truncate: true,
                magnitude: match keys.float("rope.scaling.yarn_attn_factor")? {
                    Some(stated) => magnitude * stated,
                    None => magnitude * yarn_magnitude(factor, 1.0),
                },
            }),
            other => {
                return Err(Error::unsupported(
                    format!("{AT}: {}.rope.scaling.type", keys.prefix),
                    "one of none, linear, yarn, longrope",
                    format!("{other:?}"),
                ));
            }
        }
    };
    Ok(RopeConfig { theta, rotary, scaling })
}

/// The numbers of a small F32 tensor, one for each rotary pair.
fn factors(checkpoint: &Checkpoint, name: &str) -> Result<Vec<f32>> {
    let info = checkpoint.tensor(name)?;
    match info.shape.as_slice() {
        &[length] if length <= MAX_HEAD_DIM && info.format == Format::F32 => {
            let bytes = checkpoint.read_whole(info)?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect())
        }
        shape => {
            let expected = format!("F32, at most {MAX_HEAD_DIM} numbers");
            Err(Error::malformed(format!("tensor {name}"), expected, format!("{} {shape:?}", info.format)))
        }
    }
}
