//! Configs against what transformers reads out of the same files (tools/make_config_fixtures.py).

use serde_json::{Value, json};

use super::{Config, LayerKind, Quantization};
use crate::{
    checkpoint::{Checkpoint, Description, HuggingFace, TensorInfo, metadata},
    error::{Error, Result},
    model::rope::rope,
};

/// A checkpoint of these tensors, whose bytes are nowhere.
pub(crate) fn by_hand(description: Description, tensors: impl IntoIterator<Item = TensorInfo>) -> Checkpoint {
    let tensors = tensors.into_iter().map(|info| (info.name.clone(), info)).collect();
    Checkpoint { path: "by hand".into(), description, tensors, foreign: Default::default(), sources: Vec::new() }
}

fn hugging_face(config: Value, generation_config: Option<Value>) -> Checkpoint {
    let files = HuggingFace { config, generation_config, ..Default::default() };
    by_hand(Description::HuggingFace(files), [])
}

fn read(config: Value) -> Result<Config> {
    Config::read(&hugging_face(config, None))
}

fn gguf(values: &[(&str, metadata::Value)]) -> Result<Config> {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Config::read(&by_hand(Description::Gguf(metadata::Metadata { values }), []))
}

/// The cases of the fixture: name, config.json, facts.
fn cases() -> Vec<(String, Value, Value)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test/fixtures/config/cases.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(cases.len() > 30);
    let part = |case: &Value, key: &str| case[key].clone();
    cases
        .iter()
        .map(|case| (case["name"].as_str().unwrap().into(), part(case, "config"), part(case, "facts")))
        .collect()
}

fn floats(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[test]
fn facts_are_those_of_transformers() {
    for (name, raw, facts) in cases() {
        let config = read(raw).unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = json!({
            "architecture": config.architecture.name(),
            "width": config.width,
            "ffn": config.ffn,
            "layers": config.layers,
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "vocab": config.vocab,
            "max_context": config.max_context,
            "activation": config.activation,
            "windows": (0..config.layers).map(|layer| config.layer_window(layer)).collect::<Vec<_>>(),
            "eos_token_ids": config.eos_token_ids,
        });
        for (key, value) in found.as_object().unwrap() {
            assert_eq!(value, &facts[key], "{name}: {key}");
        }
        assert_eq!(config.norm_eps, facts["norm_eps"].as_f64().unwrap() as f32, "{name}");
        assert_eq!(config.attention_scale, facts["attention_scale"].as_f64().unwrap() as f32, "{name}");
        assert_eq!(config.logit_softcap, facts["logit_softcap"].as_f64().map(|cap| cap as f32), "{name}");
        let layer_ropes = config.layer_kinds.iter().map(|kind| match kind {
            LayerKind::Sliding if config.local_rope.is_some() => 1u64,
            _ => 0,
        });
        let expected: Vec<u64> = facts["layer_ropes"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
        assert_eq!(layer_ropes.collect::<Vec<_>>(), expected, "{name}");
    }
}

#[test]
fn rope_tables_are_those_of_transformers() {
    let mut compared = 0;
    let mut differing = 0;
    for (name, raw, facts) in cases() {
        let config = read(raw).unwrap();
        let ropes: Vec<_> = std::iter::once(&config.rope).chain(&config.local_rope).map(rope).collect();
        let expected = facts["ropes"].as_array().unwrap();
        assert_eq!(ropes.len(), expected.len(), "{name}");
        for (rope, expected) in ropes.iter().zip(expected) {
            assert_eq!(rope.magnitude, expected["magnitude"].as_f64().unwrap() as f32, "{name}");
            let mut tables = vec![(&rope.inverse_frequencies, floats(&expected["inverse_frequencies"]))];
            assert_eq!(rope.long.is_some(), expected.get("long").is_some(), "{name}");
            if let Some(long) = &rope.long {
                assert_eq!(long.original_context as u64, expected["original_context"].as_u64().unwrap(), "{name}");
                tables.push((&long.inverse_frequencies, floats(&expected["long"])));
            }
            for (found, expected) in tables {
                assert_eq!(found.len(), expected.len(), "{name}");
                assert_eq!(rope.rotary, 2 * found.len(), "{name}");
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    compared += 1;
                    let ulps = found.to_bits().abs_diff(expected.to_bits());
                    // Torch's vectorised power is good to 1 ulp; ours is rounded correctly.
                    assert!(ulps <= 1, "{name}[{i}]: {found:e} for {expected:e}");
                    differing += u32::from(ulps == 1);
                }
            }
        }
    }
    assert!(compared > 2000 && differing * 100 < compared, "{differing} of {compared} differ");
}

#[test]
fn end_of_text_is_the_union_of_both_files() {
    let of = |config: Value, generation: Value| {
        Config::read(&hugging_face(config, Some(generation))).map(|config| config.eos_token_ids)
    };
    let llama = |eos: Value| json!({"model_type": "llama", "eos_token_id": eos});
    assert_eq!(of(llama(json!(7)), json!({"eos_token_id": [9, 7, 8]})), Ok(vec![7, 8, 9]));
    assert_eq!(of(llama(json!(7)), json!({})), Ok(vec![7]));
    assert_eq!(of(llama(json!(null)), json!({"eos_token_id": 3})), Ok(vec![3]));
    // An explicit null is "none"; only an absent key has the class's default.
    assert_eq!(of(llama(json!(null)), json!({})), Ok(vec![]));
    assert_eq!(of(json!({"model_type": "llama"}), json!({})), Ok(vec![2]));
    assert_eq!(of(json!({"model_type": "llama"}), json!({"eos_token_id": 5})), Ok(vec![5]));
    assert_eq!(
        of(llama(json!(-1)), json!({})),
        Err(Error::malformed("config.json: eos_token_id", "a token id or a list of them", "-1"))
    );
}

/// transformers' MistralConfig has 8 key-value heads where the key is absent, and as many as heads where it is null.
#[test]
fn an_absent_key_is_not_a_null() {
    let mistral = |more: Value| {
        let mut config = json!({"model_type": "mistral", "num_attention_heads": 32, "sliding_window": null});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        read(config).unwrap()
    };
    assert_eq!(mistral(json!({})).kv_heads, 8);
    assert_eq!(mistral(json!({"num_key_value_heads": null})).kv_heads, 32);
    assert_eq!(mistral(json!({"num_key_value_heads": 4})).kv_heads, 4);
    assert_eq!((mistral(json!({})).window, mistral(json!({"sliding_window": 7})).window), (None, Some(7)));
}

#[test]
fn architecture_may_be_named_by_its_class() {
    assert_eq!(read(json!({"architectures": ["MistralForCausalLM"]})).unwrap().architecture.name(), "mistral");
}

#[test]
fn foreign_architectures_are_named() {
    let known = "one of llama, mistral, qwen2, qwen3, phi, phi3, gemma3_text";
    let at = "config.json: model_type";
    assert_eq!(read(json!({"model_type": "mamba"})), Err(Error::unsupported(at, known, "architecture \"mamba\"")));
    assert_eq!(read(json!({})), Err(Error::malformed(at, "the name of an architecture", "nothing")));
    assert_eq!(read(json!({"model_type": 3})), Err(Error::malformed(at, "a string", "3")));
    assert_eq!(read(json!([1, 2])), Err(Error::malformed("config.json", "a JSON object", "a list of 2")));
}

#[test]
fn impossible_numbers_are_refused() {
    let error = |key: &str, value: Value| match read(json!({"model_type": "llama", key: value})) {
        Err(Error::Malformed { at, found, .. }) => format!("{at}, {found}"),
        other => panic!("{key}: {other:?}"),
    };
    assert_eq!(error("hidden_size", json!(0)), "config.json: model width, 0");
    assert_eq!(error("hidden_size", json!(1u64 << 40)), "config.json: model width, 1099511627776");
    assert_eq!(error("hidden_size", json!(-64)), "config.json: hidden_size, -64");
    assert_eq!(error("hidden_size", json!("64")), "config.json: hidden_size, \"64\"");
    assert_eq!(error("hidden_size", json!(64.5)), "config.json: hidden_size, 64.5");
    assert_eq!(error("num_hidden_layers", json!(u64::MAX)), format!("config.json: num_hidden_layers, {}", u64::MAX));
    assert_eq!(error("num_attention_heads", json!(0)), "config.json: num_attention_heads, 0");
    assert_eq!(error("num_key_value_heads", json!(0)), "config.json: key-value heads, 0");
    assert_eq!(error("num_key_value_heads", json!(5)), "config.json: attention heads, 32");
    assert_eq!(error("rms_norm_eps", json!(0)), "config.json: norm epsilon, 0");
    assert_eq!(error("rms_norm_eps", json!(-1e-6)), "config.json: norm epsilon, -0.000001");
    assert_eq!(error("rope_theta", json!(0)), "config.json: rope theta, 0");
    assert_eq!(error("rope_theta", json!(-5)), "config.json: rope theta, -5");
    assert_eq!(error("head_dim", json!(31)), "config.json: rope width, 31");
    assert_eq!(error("vocab_size", json!(0)), "config.json: vocabulary, 0");
    assert_eq!(error("max_position_embeddings", json!(0)), "config.json: context length, 0");
    assert_eq!(
        error("rope_scaling", json!("x".repeat(100))),
        format!("config.json: rope_scaling, \"{}…", "x".repeat(59))
    );
}

#[test]
fn ropes_that_cannot_be_are_refused() {
    let with = |rope: Value| read(json!({"model_type": "llama", "rope_scaling": rope})).unwrap_err();
    let kinds = "one of default, linear, dynamic, llama3, longrope, yarn";
    assert_eq!(
        with(json!({"rope_type": "proportional"})),
        Error::unsupported("config.json: rope_type", kinds, "rope type \"proportional\"")
    );
    let need = "a number, as this rope type needs it";
    assert_eq!(with(json!({"type": "linear"})), Error::malformed("config.json: factor", need, "nothing"));
    assert_eq!(
        with(json!({"type": "linear", "factor": 0})),
        Error::malformed("config.json: rope factor", "1e-9 to 1e15", "0")
    );
    assert_eq!(
        with(json!({"type": "longrope", "short_factor": [1.0, 2.0], "long_factor": [1.0, 2.0]})),
        Error::malformed("config.json: rope short factors", "64 factors", "2")
    );
    assert_eq!(
        with(json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})),
        Error::malformed("config.json: rope high_freq_factor - low_freq_factor", "1e-9 to 1e15", "0")
    );
    assert_eq!(
        with(json!({"full_attention": {"rope_type": "default"}})),
        Error::unsupported(
            "config.json: rope_parameters",
            "one set for all layers of llama",
            "a set for each layer type"
        )
    );
    assert_eq!(
        with(json!({"type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5})),
        Error::unsupported("config.json: partial_rotary_factor", "1.0 for this architecture and rope type", "0.5")
    );
}

#[test]
fn layer_types_are_one_a_layer_and_known() {
    let with =
        |types: Value| read(json!({"model_type": "qwen3", "num_hidden_layers": 2, "layer_types": types})).unwrap_err();
    assert_eq!(
        with(json!(["full_attention"])),
        Error::malformed("config.json: layer_types", "one for each of 2 layers", "1")
    );
    assert_eq!(
        with(json!(["full_attention", "linear_attention"])),
        Error::unsupported("config.json: layer_types", "full_attention or sliding_attention", "\"linear_attention\"")
    );
}

#[test]
fn fp8_is_understood_and_other_quantizations_are_refused() {
    let with = |scheme: Value| {
        read(json!({"model_type": "llama", "quantization_config": scheme})).map(|config| config.quantization.block)
    };
    assert_eq!(with(json!({"quant_method": "fp8", "weight_block_size": [64, 128]})), Ok(Some((64, 128))));
    assert_eq!(with(json!({"quant_method": "fp8"})), Ok(Some((128, 128))));
    assert_eq!(with(json!({"quant_method": "fp8", "weight_block_size": null})), Ok(None));
    assert_eq!(with(json!({"quant_method": "fbgemm_fp8"})), Ok(None));
    assert_eq!(with(json!({"quant_method": "modelopt", "quant_algo": "FP8"})), Ok(None));
    let groups = |weights: Value| json!({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}});
    let float8 = |strategy: &str| json!({"type": "float", "num_bits": 8, "strategy": strategy});
    assert_eq!(with(groups(float8("channel"))), Ok(None));
    assert_eq!(with(groups(float8("block"))), Ok(Some((128, 128))));
    let mut block = float8("block");
    block["block_structure"] = json!("64x32");
    assert_eq!(with(groups(block)), Ok(Some((64, 32))));
    assert_eq!(Quantization::default().block, None);

    let refused = |scheme: Value| match with(scheme) {
        Err(Error::Unsupported { expected, found, .. }) => {
            assert!(expected.contains("FP8"), "{expected}");
            found
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(json!({"quant_method": "gptq", "bits": 4})), "method \"gptq\"");
    assert_eq!(refused(json!({"quant_method": "awq"})), "method \"awq\"");
    assert_eq!(refused(json!({"quant_method": "bitsandbytes", "load_in_4bit": true})), "method \"bitsandbytes\"");
    assert_eq!(refused(json!({"quant_method": "modelopt", "quant_algo": "NVFP4"})), "modelopt \"NVFP4\"");
    assert_eq!(refused(groups(json!({"type": "int", "num_bits": 4}))), "compressed-tensors with 4-bit int weights");
    assert_eq!(
        with(json!({"quant_method": "fp8", "weight_block_size": [128, 0]})),
        Err(Error::malformed("config.json: weight_block_size", "two positive integers", "a list of 2"))
    );
}

fn uint(number: u64) -> metadata::Value {
    metadata::Value::Unsigned(number)
}

fn text(text: &str) -> metadata::Value {
    metadata::Value::String(text.into())
}

/// The keys of a small model of `architecture`, with `more` of them set or replaced.
fn gguf_keys(architecture: &str, more: &[(&str, metadata::Value)]) -> Result<Config> {
    let named = |name: &str| format!("{architecture}.{name}");
    let eps = if architecture == "phi2" { "layer_norm_epsilon" } else { "layer_norm_rms_epsilon" };
    let mut values = vec![
        ("general.architecture".to_owned(), text(architecture)),
        (named("block_count"), uint(8)),
        (named("embedding_length"), uint(64)),
        (named("feed_forward_length"), uint(256)),
        (named("attention.head_count"), uint(4)),
        (named("context_length"), uint(256)),
        (named(&format!("attention.{eps}")), metadata::Value::Float(1e-5)),
    ];
    for (name, value) in more {
        let key = if name.starts_with("tokenizer.") { (*name).to_owned() } else { named(name) };
        values.retain(|(known, _)| *known != key);
        values.push((key, value.clone()));
    }
    let borrowed: Vec<_> = values.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    gguf(&borrowed)
}

#[test]
fn gguf_keys_and_what_they_leave_out() {
    let llama = gguf_keys("llama", &[]).unwrap();
    assert_eq!((llama.heads, llama.kv_heads, llama.head_dim, llama.vocab), (4, 4, 16, None));
    assert_eq!((llama.activation.as_str(), llama.attention_scale, llama.norm_eps), ("silu", 0.25, 1e-5));
    assert_eq!((llama.layer_window(0), llama.rope.theta), (None, 10_000.0));

    let mistral =
        gguf_keys("llama", &[("attention.sliding_window", uint(8)), ("attention.head_count_kv", uint(2))]).unwrap();
    assert_eq!((mistral.layer_window(7), mistral.kv_heads), (Some(8), 2));

    let same = metadata::Value::Integers(vec![2; 8]);
    assert_eq!(gguf_keys("qwen3", &[("attention.head_count_kv", same)]).unwrap().kv_heads, 2);
    let mixed = metadata::Value::Integers(vec![2, 4, 2, 2, 2, 2, 2, 2]);
    assert_eq!(
        gguf_keys("qwen3", &[("attention.head_count_kv", mixed)]),
        Err(Error::unsupported(
            "GGUF metadata: qwen3.attention.head_count_kv",
            "the same number in every layer",
            "numbers that differ from layer to layer"
        ))
    );
    assert_eq!(
        gguf_keys("llama", &[("rope.dimension_count", uint(8))]),
        Err(Error::unsupported("GGUF metadata: llama.rope.dimension_count", "the head's width, 16", "8"))
    );
    assert_eq!(gguf_keys("phi2", &[("rope.dimension_count", uint(8))]).unwrap().rope.rotary, 8);
    assert_eq!(
        gguf_keys("llama", &[("expert_count", uint(8))]),
        Err(Error::unsupported("GGUF metadata: llama.expert_count", "a dense model", "experts"))
    );
    assert_eq!(
        gguf(&[("general.architecture", text("mamba"))]),
        Err(Error::unsupported(
            "GGUF metadata: general.architecture",
            "one of llama, qwen2, qwen3, phi2, phi3, gemma3",
            "architecture \"mamba\""
        ))
    );
    assert_eq!(
        gguf(&[("general.architecture", text("llama"))]),
        Err(Error::malformed("GGUF metadata: llama.embedding_length", "a non-negative integer", "nothing"))
    );
}

#[test]
fn gguf_ropes() {
    let linear = [("rope.scaling.type", text("linear")), ("rope.scaling.factor", metadata::Value::Float(4.0))];
    let rope = gguf_keys("llama", &linear).unwrap().rope;
    assert_eq!(super::Scaling::Linear { factor: 4.0 }, rope.scaling);

    // The same YaRN as in the fixture's llama_yarn, told in GGUF's keys.
    let (_, _, facts) = cases().into_iter().find(|(name, ..)| name == "llama_yarn").unwrap();
    let yarn = [
        ("attention.key_length", uint(128)),
        ("attention.value_length", uint(128)),
        ("context_length", uint(65536)),
        ("rope.scaling.type", text("yarn")),
        ("rope.scaling.factor", metadata::Value::Float(16.0)),
        ("rope.scaling.original_context_length", uint(4096)),
    ];
    let found = self::rope(&gguf_keys("llama", &yarn).unwrap().rope);
    assert_eq!(found.inverse_frequencies, floats(&facts["ropes"][0]["inverse_frequencies"]));
    assert_eq!(found.magnitude, facts["ropes"][0]["magnitude"].as_f64().unwrap() as f32);
    // A magnitude that the file states takes the place of YaRN's own; one of all ropes multiplies it.
    let float = metadata::Value::Float;
    let stated =
        [&yarn[..], &[("rope.scaling.yarn_attn_factor", float(1.5)), ("rope.scaling.attn_factor", float(2.0))]];
    assert_eq!(self::rope(&gguf_keys("llama", &stated.concat()).unwrap().rope).magnitude, 3.0);

    assert_eq!(
        gguf_keys("llama", &[("rope.scaling.type", text("spiral"))]).unwrap_err(),
        Error::unsupported(
            "GGUF metadata: llama.rope.scaling.type",
            "one of none, linear, yarn, longrope",
            "\"spiral\""
        )
    );
}

#[test]
fn gguf_gemma_has_a_pattern_of_its_own() {
    let window = ("attention.sliding_window", uint(8));
    let windows = |config: &Config| (0..config.layers).map(|layer| config.layer_window(layer)).collect::<Vec<_>>();
    let (near, far) = (Some(8), None);

    let plain = gguf_keys("gemma3", std::slice::from_ref(&window)).unwrap();
    assert_eq!(windows(&plain), [near, near, near, near, near, far, near, near]);
    assert_eq!(plain.local_rope, Some(super::RopeConfig::plain(10_000.0, 16)));

    let pattern = ("attention.sliding_window_pattern", uint(2));
    let every_second = gguf_keys("gemma3", &[window.clone(), pattern]).unwrap();
    assert_eq!(windows(&every_second), [near, far, near, far, near, far, near, far]);

    let listed = metadata::Value::Bools(vec![false, true, false, false, true, true, false, false]);
    let listed = gguf_keys("gemma3", &[window.clone(), ("attention.sliding_window_pattern", listed)]).unwrap();
    assert_eq!(windows(&listed), [far, near, far, far, near, near, far, far]);

    // 27B is the one size whose query scale is not that of its heads' width.
    let large = [window, ("block_count", uint(62)), ("attention.key_length", uint(128))];
    assert_eq!(gguf_keys("gemma3", &large).unwrap().attention_scale, 0.25);
    assert_eq!(gguf_keys("gemma3", &[]).unwrap().layer_kinds, [LayerKind::Full; 8]);
}
