//! config.json and generation_config.json, of today and of yesterday.
//!
//! The defaults of a key that is absent are those of transformers' configuration classes (5.x), so the
//! two read the same file alike.
//!
//! The one surprise: older names win over newer ones where transformers lets them (`rope_scaling`
//! over `rope_parameters`, a top-level `original_max_position_embeddings` over the nested one).

use serde_json::Value;

use super::{
    Architecture, Config, LayerKind, Quantization,
    json::Fields,
    rope::{RopeConfig, Surroundings},
    supported,
};
use crate::{
    checkpoint::HuggingFace,
    error::{Error, Result},
};

const AT: &str = "config.json";

/// What an architecture leaves unsaid.
struct Defaults {
    vocab: usize,
    width: usize,
    ffn: usize,
    layers: usize,
    heads: usize,
    /// None: as many as heads.
    kv_heads: Option<usize>,
    /// None: width / heads.
    head_dim: Option<usize>,
    max_context: usize,
    eps: f64,
    eps_key: &'static str,
    activation: &'static str,
    activation_key: &'static str,
    eos: Option<u32>,
}

impl Defaults {
    const fn of(architecture: Architecture) -> Defaults {
        const LLAMA: Defaults = Defaults {
            vocab: 32000,
            width: 4096,
            ffn: 11008,
            layers: 32,
            heads: 32,
            kv_heads: None,
            head_dim: None,
            max_context: 2048,
            eps: 1e-6,
            eps_key: "rms_norm_eps",
            activation: "silu",
            activation_key: "hidden_act",
            eos: Some(2),
        };
        const QWEN2: Defaults =
            Defaults { vocab: 151_936, ffn: 22016, kv_heads: Some(32), max_context: 32768, eos: None, ..LLAMA };
        match architecture {
            Architecture::Llama => LLAMA,
            Architecture::Mistral => Defaults { ffn: 14336, kv_heads: Some(8), max_context: 131_072, ..LLAMA },
            Architecture::Qwen2 => QWEN2,
            Architecture::Qwen3 => Defaults { head_dim: Some(128), ..QWEN2 },
            Architecture::Phi => Defaults {
                vocab: 51200,
                width: 2048,
                ffn: 8192,
                layers: 24,
                eps: 1e-5,
                eps_key: "layer_norm_eps",
                activation: "gelu_new",
                ..LLAMA
            },
            Architecture::Phi3 => Defaults {
                vocab: 32064,
                width: 3072,
                ffn: 8192,
                max_context: 4096,
                eps: 1e-5,
                eos: Some(32000),
                ..LLAMA
            },
            Architecture::Gemma3 => Defaults {
                vocab: 262_208,
                width: 2304,
                ffn: 9216,
                layers: 26,
                heads: 8,
                kv_heads: Some(4),
                head_dim: Some(256),
                max_context: 131_072,
                activation: "gelu_pytorch_tanh",
                activation_key: "hidden_activation",
                eos: Some(1),
                ..LLAMA
            },
        }
    }
}

pub fn config(files: &HuggingFace) -> Result<Config> {
    let top = Fields::new(AT, &files.config)?;
    let (architecture, fields) = architecture(top)?;
    let defaults = Defaults::of(architecture);

    let width = fields.uint("hidden_size")?.unwrap_or(defaults.width);
    let layers = fields.uint("num_hidden_layers")?.unwrap_or(defaults.layers);
    let heads = fields.uint("num_attention_heads")?.unwrap_or(defaults.heads);
    let kv_heads = match fields.uint("num_key_value_heads")? {
        Some(kv_heads) => kv_heads,
        // A default of its own holds for an absent key only; null means as many as heads.
        None if fields.is_null("num_key_value_heads") => heads,
        None => defaults.kv_heads.unwrap_or(heads),
    };
    let head_dim = match fields.uint("head_dim")?.or(defaults.head_dim) {
        Some(head_dim) => head_dim,
        None => width.checked_div(heads).ok_or_else(|| fields.wrong("num_attention_heads", "at least 1"))?,
    };
    let max_context = fields.uint("max_position_embeddings")?.unwrap_or(defaults.max_context);
    let query_scalar = match architecture {
        Architecture::Gemma3 => fields.float("query_pre_attn_scalar")?.unwrap_or(256.0),
        _ => head_dim as f64,
    };
    if architecture == Architecture::Gemma3 && fields.bool("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(Error::unsupported(AT, "causal attention", "use_bidirectional_attention"));
    }
    // Kinds are made per layer, so their number must be believable first.
    if layers > super::MAX_LAYERS {
        return Err(fields.wrong("num_hidden_layers", &format!("1 to {}", super::MAX_LAYERS)));
    }
    let (layer_kinds, window) = layer_kinds(architecture, fields, layers)?;
    let (rope, local_rope) = ropes(architecture, fields, head_dim, max_context)?;
    let optional_bias = |key: &str| Ok::<_, Error>(fields.bool(key)?.unwrap_or(false));

    Ok(Config {
        architecture,
        width,
        ffn: fields.uint("intermediate_size")?.unwrap_or(defaults.ffn),
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab: Some(fields.uint("vocab_size")?.unwrap_or(defaults.vocab)),
        max_context,
        norm_eps: fields.float(defaults.eps_key)?.unwrap_or(defaults.eps) as f32,
        activation: fields.str(defaults.activation_key)?.unwrap_or(defaults.activation).to_owned(),
        attention_scale: (1.0 / query_scalar.sqrt()) as f32,
        attention_bias: match architecture {
            Architecture::Llama | Architecture::Qwen3 | Architecture::Gemma3 => optional_bias("attention_bias")?,
            // Qwen2 has them on q, k and v alone: its model file says so.
            Architecture::Qwen2 | Architecture::Phi => true,
            Architecture::Mistral | Architecture::Phi3 => false,
        },
        mlp_bias: match architecture {
            Architecture::Llama => optional_bias("mlp_bias")?,
            Architecture::Phi => true,
            _ => false,
        },
        qk_norm: match architecture {
            Architecture::Qwen3 | Architecture::Gemma3 => true,
            Architecture::Phi => optional_bias("qk_layernorm")?,
            _ => false,
        },
        layer_kinds,
        window,
        rope,
        local_rope,
        logit_softcap: match architecture {
            Architecture::Gemma3 => fields.float("final_logit_softcapping")?.map(|cap| cap as f32),
            _ => None,
        },
        quantization: quantization(top, fields)?,
        eos_token_ids: eos_token_ids(files, top, fields, defaults.eos)?,
    })
}

/// The architecture, and the object that describes its text model.
fn architecture(top: Fields) -> Result<(Architecture, Fields)> {
    let found = match top.str("model_type")? {
        // A wrapper around a text and a vision model; the text model is served.
        Some("gemma3") => {
            let text = top.object("text_config")?.ok_or_else(|| top.wrong("text_config", "an object"))?;
            return Ok((Architecture::Gemma3, text));
        }
        Some(name) => name,
        None => {
            let classes = top.strings("architectures")?.unwrap_or_default();
            classes.first().copied().ok_or_else(|| top.wrong("model_type", "the name of an architecture"))?
        }
    };
    Architecture::ALL
        .into_iter()
        .find(|known| known.names().0 == found || known.names().1 == found)
        .map(|known| (known, top))
        .ok_or_else(|| {
            Error::unsupported(
                "config.json: model_type",
                supported(|known| Some(known.name())),
                format!("architecture {found:?}"),
            )
        })
}

/// Which layers slide, and over how many positions.
fn layer_kinds(architecture: Architecture, fields: Fields, layers: usize) -> Result<(Vec<LayerKind>, Option<usize>)> {
    let window_or = |default: Option<usize>| match fields.uint("sliding_window")? {
        None if !fields.has("sliding_window") => Ok::<_, Error>(default),
        window => Ok(window),
    };
    match architecture {
        Architecture::Llama | Architecture::Phi => Ok((vec![LayerKind::Full; layers], None)),
        Architecture::Mistral => Ok((vec![LayerKind::Sliding; layers], window_or(Some(4096))?)),
        Architecture::Phi3 => Ok((vec![LayerKind::Sliding; layers], window_or(None)?)),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let used = fields.bool("use_sliding_window")?.unwrap_or(false);
            let window = if used { window_or(Some(4096))? } else { None };
            let first = fields.uint("max_window_layers")?.unwrap_or(28);
            let kinds = match listed_kinds(fields)? {
                Some(kinds) => kinds,
                None => kinds_by(layers, |layer| window.is_some() && layer >= first),
            };
            Ok((kinds, window))
        }
        Architecture::Gemma3 => {
            // transformers writes `_sliding_window_pattern` but reads `sliding_window_pattern`; files
            // with the former have layer_types, too.
            let pattern = fields.uint("sliding_window_pattern")?.unwrap_or(6);
            if pattern == 0 {
                return Err(fields.wrong("sliding_window_pattern", "at least 1"));
            }
            let kinds = match listed_kinds(fields)? {
                Some(kinds) => kinds,
                None => kinds_by(layers, |layer| !(layer + 1).is_multiple_of(pattern)),
            };
            Ok((kinds, window_or(Some(4096))?))
        }
    }
}

pub(super) fn kinds_by(layers: usize, slides: impl Fn(usize) -> bool) -> Vec<LayerKind> {
    (0..layers).map(|layer| if slides(layer) { LayerKind::Sliding } else { LayerKind::Full }).collect()
}

fn listed_kinds(fields: Fields) -> Result<Option<Vec<LayerKind>>> {
    let Some(names) = fields.strings("layer_types")? else { return Ok(None) };
    let kind = |name: &&str| match *name {
        "full_attention" => Ok(LayerKind::Full),
        "sliding_attention" => Ok(LayerKind::Sliding),
        other => Err(Error::unsupported(
            "config.json: layer_types",
            "full_attention or sliding_attention",
            format!("{other:?}"),
        )),
    };
    names.iter().map(kind).collect::<Result<_>>().map(Some)
}

/// The rope of full layers, and that of sliding ones where it differs.
fn ropes(
    architecture: Architecture,
    fields: Fields,
    head_dim: usize,
    max_context: usize,
) -> Result<(RopeConfig, Option<RopeConfig>)> {
    let phi3 = architecture == Architecture::Phi3;
    let partial = |default: f64| Ok::<_, Error>(Some(fields.float("partial_rotary_factor")?.unwrap_or(default)));
    let around = Surroundings {
        config: fields,
        theta: fields.float("rope_theta")?.unwrap_or(10_000.0),
        head_dim,
        max_context,
        partial: match architecture {
            Architecture::Phi => partial(0.5)?,
            Architecture::Phi3 => partial(1.0)?,
            _ => None,
        },
        original_context: fields.uint("original_max_position_embeddings")?.or(phi3.then_some(4096)),
        old_longrope_names: phi3,
    };
    let scaling = match fields.object("rope_scaling") {
        Ok(Some(scaling)) if !scaling.is_empty() => Some(scaling),
        Ok(_) => None,
        Err(error) => return Err(error),
    };
    let parameters = fields.object("rope_parameters")?;
    if architecture == Architecture::Gemma3 {
        return gemma_ropes(scaling, parameters, around).map(|(full, local)| (full, Some(local)));
    }
    let rope = scaling.or(parameters);
    if let Some(rope) = rope
        && (rope.has("full_attention") || rope.has("sliding_attention"))
    {
        return Err(Error::unsupported(
            "config.json: rope_parameters",
            format!("one set for all layers of {}", architecture.name()),
            "a set for each layer type",
        ));
    }
    let kind = match rope {
        Some(rope) => rope.str("rope_type")?.or(rope.str("type")?).unwrap_or("default"),
        None => "default",
    };
    Ok((RopeConfig::from_json(rope, kind, &around)?, None))
}

/// Gemma 3 has one rope for full layers, which `rope_scaling` and `rope_theta` speak of, and another
/// for sliding ones.
fn gemma_ropes(
    scaling: Option<Fields>,
    parameters: Option<Fields>,
    around: Surroundings,
) -> Result<(RopeConfig, RopeConfig)> {
    let set = |name: &str| match parameters {
        Some(parameters) => parameters.object(name),
        None => Ok(None),
    };
    let (full, local) = (set("full_attention")?, set("sliding_attention")?);
    // The reference merges rope_scaling into the full layers' set, where "rope_type" is already
    // "default": an old-style "type" in it says nothing.
    let full_kind = match (scaling, full) {
        (Some(scaling), full) => match (scaling.str("rope_type")?, full) {
            (None, Some(full)) => full.str("rope_type")?,
            (kind, _) => kind,
        },
        (None, Some(full)) => full.str("rope_type")?.or(full.str("type")?),
        (None, None) => None,
    };
    let own_theta = match full {
        Some(full) => full.float("rope_theta")?,
        None => None,
    };
    let theta = own_theta.or(around.config.float("rope_theta")?).unwrap_or(1_000_000.0);
    let full_around = Surroundings { theta, original_context: None, ..around };
    let full = RopeConfig::from_json(scaling.or(full), full_kind.unwrap_or("default"), &full_around)?;

    let local_theta = around.config.float("rope_local_base_freq")?.unwrap_or(10_000.0);
    let local_around = Surroundings { theta: local_theta, ..full_around };
    let local_kind = match local {
        Some(local) => local.str("rope_type")?.or(local.str("type")?).unwrap_or("default"),
        None => "default",
    };
    Ok((full, RopeConfig::from_json(local, local_kind, &local_around)?))
}

/// Which FP8 scheme the weights are in; anything but FP8 is refused here, before its tensors are.
fn quantization(top: Fields, fields: Fields) -> Result<Quantization> {
    let find = |key: &str| Ok::<_, Error>(top.object(key)?.or(fields.object(key)?));
    let Some(scheme) = find("quantization_config")?.or(find("compression_config")?) else {
        return Ok(Quantization::default());
    };
    let refuse = |found: String| {
        Err(Error::unsupported(
            "config.json: quantization_config",
            "FP8 weights (fp8, fbgemm_fp8, compressed-tensors or modelopt), or a GGUF file",
            found,
        ))
    };
    match scheme.str("quant_method")?.unwrap_or("") {
        "fp8" if scheme.has("weight_block_size") => {
            Ok(Quantization { block: block_size(scheme, "weight_block_size")? })
        }
        "fp8" => Ok(Quantization { block: Some((128, 128)) }),
        "fbgemm_fp8" => Ok(Quantization::default()),
        "modelopt" => match scheme.str("quant_algo")?.unwrap_or("") {
            algorithm if algorithm.eq_ignore_ascii_case("fp8") => Ok(Quantization::default()),
            other => refuse(format!("modelopt {other:?}")),
        },
        "compressed-tensors" => {
            let mut found = Quantization::default();
            let groups = scheme.object("config_groups")?;
            for group in groups.iter().flat_map(Fields::objects) {
                let Some(weights) = group.object("weights")? else { continue };
                let (kind, bits) = (weights.str("type")?.unwrap_or("int"), weights.uint("num_bits")?.unwrap_or(8));
                if (kind, bits) != ("float", 8) {
                    return refuse(format!("compressed-tensors with {bits}-bit {kind} weights"));
                }
                if weights.str("strategy")? == Some("block") {
                    found.block = block_size(weights, "block_structure")?.or(Some((128, 128)));
                }
            }
            Ok(found)
        }
        other => refuse(format!("method {other:?}")),
    }
}

/// [rows, columns], or "rowsxcolumns".
fn block_size(fields: Fields, key: &str) -> Result<Option<(usize, usize)>> {
    let Some(value) = fields.value(key) else { return Ok(None) };
    let sides: Option<Vec<usize>> = match value {
        Value::Array(list) => list.iter().map(|side| usize::try_from(side.as_u64()?).ok()).collect(),
        Value::String(text) => text.split('x').map(|side| side.parse().ok()).collect(),
        _ => None,
    };
    match sides.as_deref() {
        Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok(Some((rows, columns))),
        _ => Err(fields.wrong(key, "two positive integers")),
    }
}

/// All that either file names; the class's default where none does.
fn eos_token_ids(files: &HuggingFace, top: Fields, fields: Fields, default: Option<u32>) -> Result<Vec<u32>> {
    const KEY: &str = "eos_token_id";
    let mut ids = Vec::new();
    if let Some(generation) = &files.generation_config {
        ids.extend(Fields::new("generation_config.json", generation)?.token_ids(KEY)?.unwrap_or_default());
    }
    ids.extend(top.token_ids(KEY)?.unwrap_or_default());
    ids.extend(fields.token_ids(KEY)?.unwrap_or_default());
    if ids.is_empty() && !top.has(KEY) && !fields.has(KEY) {
        ids.extend(default);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
