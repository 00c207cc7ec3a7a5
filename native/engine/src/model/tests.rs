//! Specs of the tiny checkpoints, field by field, and what becomes of checkpoints that do not fit.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    spec,
    spec::{Activation, BiasSlice, LayerSpec, Linear, ModelSpec, Norm, NormKind, RowOrder, RowSlice, Scale},
};
use crate::{
    checkpoint::{Checkpoint, Description, TensorInfo, config::tests::by_hand, metadata},
    error::Error,
    quant::Format,
};

fn tiny(name: &str) -> ModelSpec {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny").join(name);
    spec(&Checkpoint::open(&folder).unwrap()).unwrap()
}

/// Rows of one stored matrix, in order.
fn rows(tensor: &str, rows: std::ops::Range<usize>) -> Linear {
    let slice = RowSlice { tensor: format!("{tensor}.weight"), rows, scale: None, order: RowOrder::Split };
    Linear { rows: vec![slice], bias: vec![] }
}

/// The same, with all of its bias.
fn biased(tensor: &str, out: usize) -> Linear {
    let bias = BiasSlice { tensor: format!("{tensor}.bias"), range: 0..out, order: RowOrder::Split };
    Linear { bias: vec![bias], ..rows(tensor, 0..out) }
}

fn rms(tensor: &str, eps: f32) -> Norm {
    let weight = format!("{tensor}.weight");
    Norm { kind: NormKind::Rms, weight, bias: None, eps, weight_offset: 0.0 }
}

fn gemma_rms(tensor: &str) -> Norm {
    Norm { weight_offset: 1.0, ..rms(tensor, 1e-6) }
}

fn layer_norm(tensor: &str) -> Norm {
    let bias = Some(format!("{tensor}.bias"));
    Norm { kind: NormKind::Layer, weight: format!("{tensor}.weight"), bias, eps: 1e-5, weight_offset: 0.0 }
}

/// The plain Llama layer that the expectations below vary.
fn llama_layer(layer: usize, width: usize, query: usize, kv: usize, ffn: usize, eps: f32, scale: f32) -> LayerSpec {
    let name = |module: &str| format!("model.layers.{layer}.{module}");
    LayerSpec {
        attention_norm: rms(&name("input_layernorm"), eps),
        query: rows(&name("self_attn.q_proj"), 0..query),
        key: rows(&name("self_attn.k_proj"), 0..kv),
        value: rows(&name("self_attn.v_proj"), 0..kv),
        query_norm: None,
        key_norm: None,
        rope: 0,
        window: None,
        attention_scale: scale,
        attention_softcap: None,
        output: rows(&name("self_attn.o_proj"), 0..width),
        attention_post_norm: None,
        ffn_norm: Some(rms(&name("post_attention_layernorm"), eps)),
        gate: Some(rows(&name("mlp.gate_proj"), 0..ffn)),
        up: rows(&name("mlp.up_proj"), 0..ffn),
        down: rows(&name("mlp.down_proj"), 0..width),
        activation: Activation::Silu,
        ffn_post_norm: None,
    }
}

/// The frame of a spec: everything but its layers, ropes and ends, which each test states.
struct Shape {
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

fn check_frame(spec: &ModelSpec, shape: Shape, tied: bool, final_norm: Norm) {
    assert_eq!((spec.width, spec.vocab, spec.max_context), (shape.width, 512, 256));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_dim), (shape.heads, shape.kv_heads, shape.head_dim));
    let embedding = rows("model.embed_tokens", 0..512);
    assert_eq!(spec.head.rows, if tied { embedding.rows.clone() } else { rows("lm_head", 0..512).rows });
    assert_eq!(spec.embedding, embedding);
    assert_eq!(spec.final_norm, final_norm);
    assert_eq!(spec.logit_softcap, None);
    for rope in &spec.ropes {
        assert_eq!((rope.magnitude, &rope.long, rope.inverse_frequencies.len()), (1.0, &None, rope.rotary / 2));
    }
}

#[test]
fn tiny_llama() {
    let spec = tiny("llama");
    check_frame(&spec, Shape { width: 80, heads: 4, kv_heads: 2, head_dim: 20 }, false, rms("model.norm", 1e-5));
    let scale = 1.0 / 20f32.sqrt();
    let layers: Vec<_> = (0..3).map(|layer| llama_layer(layer, 80, 80, 40, 160, 1e-5, scale)).collect();
    assert_eq!(spec.layers, layers);
    assert_eq!((spec.embedding_scale, spec.ropes.len(), spec.ropes[0].rotary), (1.0, 1, 20));
}

#[test]
fn tiny_llama2_in_shards() {
    let spec = tiny("llama2-sharded-f16");
    check_frame(&spec, Shape { width: 64, heads: 4, kv_heads: 4, head_dim: 16 }, false, rms("model.norm", 1e-5));
    let layers: Vec<_> = (0..4).map(|layer| llama_layer(layer, 64, 64, 64, 192, 1e-5, 0.25)).collect();
    assert_eq!(spec.layers, layers);
}

#[test]
fn tiny_llama3_is_tied_and_scaled() {
    let spec = tiny("llama3");
    check_frame(&spec, Shape { width: 64, heads: 8, kv_heads: 2, head_dim: 8 }, true, rms("model.norm", 1e-5));
    let scale = 1.0 / 8f32.sqrt();
    let layers: Vec<_> = (0..2).map(|layer| llama_layer(layer, 64, 64, 16, 144, 1e-5, scale)).collect();
    assert_eq!(spec.layers, layers);
    // transformers 5.23: _compute_llama3_parameters of this config.
    assert_eq!(spec.ropes[0].inverse_frequencies, LLAMA3_FREQUENCIES);
}

#[test]
fn tiny_mistral_slides() {
    let spec = tiny("mistral");
    check_frame(&spec, Shape { width: 64, heads: 4, kv_heads: 2, head_dim: 16 }, false, rms("model.norm", 1e-6));
    let layer = |layer| LayerSpec { window: Some(8), ..llama_layer(layer, 64, 64, 32, 176, 1e-6, 0.25) };
    assert_eq!(spec.layers, (0..3).map(layer).collect::<Vec<_>>());
}

#[test]
fn tiny_qwen2_has_biases() {
    let spec = tiny("qwen2");
    check_frame(&spec, Shape { width: 64, heads: 4, kv_heads: 2, head_dim: 16 }, true, rms("model.norm", 1e-6));
    let layer = |layer| {
        let name = |module: &str| format!("model.layers.{layer}.self_attn.{module}");
        LayerSpec {
            query: biased(&name("q_proj"), 64),
            key: biased(&name("k_proj"), 32),
            value: biased(&name("v_proj"), 32),
            ..llama_layer(layer, 64, 64, 32, 176, 1e-6, 0.25)
        }
    };
    assert_eq!(spec.layers, (0..3).map(layer).collect::<Vec<_>>());
}

#[test]
fn tiny_qwen3_has_head_norms() {
    let spec = tiny("qwen3");
    check_frame(&spec, Shape { width: 64, heads: 4, kv_heads: 2, head_dim: 32 }, false, rms("model.norm", 1e-6));
    let layer = |layer| LayerSpec {
        query_norm: Some(rms(&format!("model.layers.{layer}.self_attn.q_norm"), 1e-6)),
        key_norm: Some(rms(&format!("model.layers.{layer}.self_attn.k_norm"), 1e-6)),
        ..llama_layer(layer, 64, 128, 64, 176, 1e-6, 1.0 / 32f32.sqrt())
    };
    assert_eq!(spec.layers, (0..3).map(layer).collect::<Vec<_>>());
}

#[test]
fn tiny_phi2_is_parallel() {
    let spec = tiny("phi2");
    let shape = Shape { width: 64, heads: 4, kv_heads: 4, head_dim: 16 };
    check_frame(&spec, shape, false, layer_norm("model.final_layernorm"));
    assert_eq!(spec.head, biased("lm_head", 512));
    assert_eq!(spec.ropes[0].rotary, 8);
    let layer = |layer| {
        let name = |module: &str| format!("model.layers.{layer}.{module}");
        LayerSpec {
            attention_norm: layer_norm(&name("input_layernorm")),
            query: biased(&name("self_attn.q_proj"), 64),
            key: biased(&name("self_attn.k_proj"), 64),
            value: biased(&name("self_attn.v_proj"), 64),
            output: biased(&name("self_attn.dense"), 64),
            ffn_norm: None,
            gate: None,
            up: biased(&name("mlp.fc1"), 144),
            down: biased(&name("mlp.fc2"), 64),
            activation: Activation::GeluTanh,
            ..llama_layer(layer, 64, 64, 64, 144, 1e-5, 0.25)
        }
    };
    assert_eq!(spec.layers, (0..3).map(layer).collect::<Vec<_>>());
}

#[test]
fn tiny_phi3_is_fused() {
    let spec = tiny("phi3");
    check_frame(&spec, Shape { width: 64, heads: 4, kv_heads: 2, head_dim: 16 }, false, rms("model.norm", 1e-5));
    let layer = |layer| {
        let name = |module: &str| format!("model.layers.{layer}.{module}");
        LayerSpec {
            query: rows(&name("self_attn.qkv_proj"), 0..64),
            key: rows(&name("self_attn.qkv_proj"), 64..96),
            value: rows(&name("self_attn.qkv_proj"), 96..128),
            gate: Some(rows(&name("mlp.gate_up_proj"), 0..144)),
            up: rows(&name("mlp.gate_up_proj"), 144..288),
            ..llama_layer(layer, 64, 64, 32, 144, 1e-5, 0.25)
        }
    };
    assert_eq!(spec.layers, (0..3).map(layer).collect::<Vec<_>>());
}

#[test]
fn tiny_gemma3_has_four_norms_and_two_ropes() {
    let spec = tiny("gemma3");
    let shape = Shape { width: 64, heads: 4, kv_heads: 1, head_dim: 32 };
    check_frame(&spec, shape, true, gemma_rms("model.norm"));
    assert_eq!(spec.embedding_scale, 8.0);
    // Full layers turn with theta 1e6, sliding ones with 1e4.
    let second = spec.ropes.iter().map(|rope| rope.inverse_frequencies[8]).collect::<Vec<_>>();
    assert_eq!(second, [1e-3, 1e-2]);
    let layer = |layer| {
        let name = |module: &str| format!("model.layers.{layer}.{module}");
        LayerSpec {
            attention_norm: gemma_rms(&name("input_layernorm")),
            query_norm: Some(gemma_rms(&name("self_attn.q_norm"))),
            key_norm: Some(gemma_rms(&name("self_attn.k_norm"))),
            attention_post_norm: Some(gemma_rms(&name("post_attention_layernorm"))),
            ffn_norm: Some(gemma_rms(&name("pre_feedforward_layernorm"))),
            ffn_post_norm: Some(gemma_rms(&name("post_feedforward_layernorm"))),
            activation: Activation::GeluTanh,
            rope: usize::from(layer != 5),
            window: (layer != 5).then_some(8),
            ..llama_layer(layer, 64, 128, 32, 144, 1e-6, 1.0 / 32f32.sqrt())
        }
    };
    assert_eq!(spec.layers, (0..6).map(layer).collect::<Vec<_>>());
}

const LLAMA3_FREQUENCIES: [f32; 4] = [1.0, 0.001_175_188_5, 4.419_417e-5, 1.661_967_4e-6];

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny").join(name)).unwrap()
}

fn config(checkpoint: &mut Checkpoint) -> &mut Value {
    match &mut checkpoint.description {
        Description::HuggingFace(files) => &mut files.config,
        Description::Gguf(_) => panic!("a GGUF file has no config.json"),
    }
}

fn info(name: &str, format: Format, shape: &[usize]) -> TensorInfo {
    let bytes = format.bytes_of(shape.iter().product()).unwrap() as u64;
    TensorInfo { name: name.into(), format, shape: shape.to_vec(), file: 0, offset: 0, bytes }
}

#[test]
fn a_missing_tensor_is_named_with_the_shape_it_should_have() {
    let names: Vec<String> = open("qwen2").tensors.into_keys().collect();
    for name in names {
        let mut checkpoint = open("qwen2");
        let shape = checkpoint.tensors.remove(&name).unwrap().shape;
        let Err(Error::Malformed { at, expected, found }) = spec(&checkpoint) else { panic!("{name} is not missed") };
        assert_eq!((at, found.as_str()), (format!("tensor {name}"), "no such tensor"));
        let or_more = format!("shape [{} or more, {}]", shape[0], shape.last().unwrap());
        assert!(expected == format!("shape {shape:?}") || expected == or_more, "{name}: {expected}");
    }
}

#[test]
fn a_wrong_shape_is_an_error_in_every_tensor() {
    for folder in ["gemma3", "llama", "mistral", "phi2", "phi3", "qwen2", "qwen3"] {
        for name in open(folder).tensors.into_keys() {
            let mut checkpoint = open(folder);
            let shape = &mut checkpoint.tensors.get_mut(&name).unwrap().shape;
            *shape.last_mut().unwrap() += 1;
            let found = format!("shape {shape:?}");
            match spec(&checkpoint) {
                Err(Error::Malformed { at, found: says, .. }) => {
                    assert_eq!((at, says), (format!("tensor {name}"), found), "{folder}");
                }
                other => panic!("{folder}, {name}: {other:?}"),
            }
        }
    }
}

#[test]
fn tensors_that_nobody_asks_for_are_left_alone() {
    let mut checkpoint = open("llama");
    let expected = spec(&checkpoint).unwrap();
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.0.self_attn.q_proj.bias"] {
        checkpoint.tensors.insert(name.into(), info(name, Format::F32, &[3]));
    }
    assert_eq!(spec(&checkpoint).unwrap(), expected);
}

#[test]
fn llama_options_add_biases() {
    let mut checkpoint = open("llama");
    config(&mut checkpoint)["attention_bias"] = json!(true);
    config(&mut checkpoint)["mlp_bias"] = json!(true);
    let at = "tensor model.layers.0.self_attn.q_proj.bias";
    assert_eq!(spec(&checkpoint), Err(Error::malformed(at, "shape [80]", "no such tensor")));
    let modules = [
        ("self_attn.q_proj", 80),
        ("self_attn.k_proj", 40),
        ("self_attn.v_proj", 40),
        ("self_attn.o_proj", 80),
        ("mlp.gate_proj", 160),
        ("mlp.up_proj", 160),
        ("mlp.down_proj", 80),
    ];
    for layer in 0..3 {
        for (module, out) in modules {
            let name = format!("model.layers.{layer}.{module}.bias");
            checkpoint.tensors.insert(name.clone(), info(&name, Format::Bf16, &[out]));
        }
    }
    let layer = &spec(&checkpoint).unwrap().layers[1];
    let linears =
        [&layer.query, &layer.key, &layer.value, &layer.output, layer.gate.as_ref().unwrap(), &layer.up, &layer.down];
    for (linear, (module, out)) in linears.into_iter().zip(modules) {
        assert_eq!(linear, &biased(&format!("model.layers.1.{module}"), out));
    }
}

#[test]
fn padding_rows_of_embedding_and_head_are_cut() {
    let mut checkpoint = open("llama");
    config(&mut checkpoint)["vocab_size"] = json!(500);
    let spec = spec(&checkpoint).unwrap();
    assert_eq!(spec.vocab, 500);
    assert_eq!((spec.embedding, spec.head), (rows("model.embed_tokens", 0..500), rows("lm_head", 0..500)));
}

#[test]
fn a_head_that_is_not_stored_is_the_embedding() {
    let mut checkpoint = open("llama");
    checkpoint.tensors.remove("lm_head.weight");
    let without_head = spec(&checkpoint).unwrap();
    assert_eq!(without_head.head, rows("model.embed_tokens", 0..512));
    // And the other way round: transformers ties symmetrically.
    let mut checkpoint = open("llama");
    checkpoint.tensors.remove("model.embed_tokens.weight");
    assert_eq!(spec(&checkpoint).unwrap().embedding, rows("lm_head", 0..512));
}

/// The tensors of a checkpoint under names with another beginning.
fn renamed(mut checkpoint: Checkpoint, from: &str, to: &str) -> Checkpoint {
    let rename = |name: &str| match name.strip_prefix(from) {
        Some(rest) => format!("{to}{rest}"),
        None => name.to_owned(),
    };
    checkpoint.tensors = std::mem::take(&mut checkpoint.tensors)
        .into_values()
        .map(|info| (rename(&info.name), TensorInfo { name: rename(&info.name), ..info }))
        .collect();
    checkpoint
}

#[test]
fn wrappers_and_bare_models_name_their_tensors_otherwise() {
    for prefix in ["", "language_model.model.", "model.language_model."] {
        let checkpoint = renamed(open("llama"), "model.", prefix);
        let checkpoint = match prefix {
            "language_model.model." => renamed(checkpoint, "lm_head", "language_model.lm_head"),
            _ => checkpoint,
        };
        let spec = spec(&checkpoint).unwrap();
        assert_eq!(spec.layers[2].down, rows(&format!("{prefix}layers.2.mlp.down_proj"), 0..80));
        assert!(spec.head.rows[0].tensor.ends_with("lm_head.weight"));
        assert_eq!(spec.final_norm, rms(&format!("{prefix}norm"), 1e-5));
    }
    // A multimodal Gemma 3: the text model's config is nested, too.
    let mut checkpoint = renamed(open("gemma3"), "model.", "language_model.model.");
    let text = config(&mut checkpoint).take();
    *config(&mut checkpoint) = json!({"model_type": "gemma3", "text_config": text});
    let wrapped = spec(&checkpoint).unwrap();
    assert_eq!(wrapped.layers[5].window, None);
    assert_eq!(wrapped.embedding, rows("language_model.model.embed_tokens", 0..512));
}

#[test]
fn phi2_may_have_head_norms() {
    let mut checkpoint = open("phi2");
    config(&mut checkpoint)["qk_layernorm"] = json!(true);
    for layer in 0..3 {
        for part in ["q_layernorm.weight", "q_layernorm.bias", "k_layernorm.weight", "k_layernorm.bias"] {
            let name = format!("model.layers.{layer}.self_attn.{part}");
            checkpoint.tensors.insert(name.clone(), info(&name, Format::F16, &[16]));
        }
    }
    let spec = spec(&checkpoint).unwrap();
    assert_eq!(spec.layers[2].query_norm, Some(layer_norm("model.layers.2.self_attn.q_layernorm")));
    assert_eq!(spec.layers[2].key_norm, Some(layer_norm("model.layers.2.self_attn.k_layernorm")));
}

#[test]
fn unknown_activations_are_refused() {
    let mut checkpoint = open("llama");
    config(&mut checkpoint)["hidden_act"] = json!("snake");
    let known = "one of silu, gelu, gelu_new, gelu_pytorch_tanh, relu";
    assert_eq!(spec(&checkpoint), Err(Error::unsupported("config.json: activation", known, "\"snake\"")));
}

/// The tiny Phi-3 with FP8 projections and scales of the given name and shape (of [out, in]).
fn fp8(scheme: Value, suffix: &str, shape: impl Fn(usize, usize) -> Vec<usize>) -> Checkpoint {
    let mut checkpoint = open("phi3");
    config(&mut checkpoint)["quantization_config"] = scheme;
    let linears: Vec<_> = checkpoint.tensors.keys().filter(|name| name.contains("_proj.")).cloned().collect();
    for name in linears {
        let weight = checkpoint.tensors.get_mut(&name).unwrap();
        weight.format = Format::F8E4m3;
        let scale = name.replace(".weight", suffix);
        let shape = shape(weight.shape[0], weight.shape[1]);
        checkpoint.tensors.insert(scale.clone(), info(&scale, Format::F32, &shape));
    }
    checkpoint
}

#[test]
fn fp8_scales_are_found_and_their_shapes_checked() {
    let blocks = |out: usize, input: usize| vec![out.div_ceil(128), input.div_ceil(128)];
    let of = |checkpoint: &Checkpoint| spec(checkpoint).unwrap().layers[1].key.rows[0].clone();

    let slice = of(&fp8(json!({"quant_method": "fp8"}), ".weight_scale_inv", blocks));
    let tensor = "model.layers.1.self_attn.qkv_proj.weight_scale_inv".to_owned();
    // [128, 64] is one block, which is the same as a scale for the whole tensor.
    assert_eq!(slice.scale, Some(Scale { tensor: tensor.clone(), block: None }));
    assert_eq!(slice.rows, 64..96);

    let small = json!({"quant_method": "fp8", "weight_block_size": [32, 16]});
    let slice = of(&fp8(small, ".weight_scale_inv", |out, input| vec![out.div_ceil(32), input.div_ceil(16)]));
    assert_eq!(slice.scale, Some(Scale { tensor, block: Some((32, 16)) }));

    let tensor = "model.layers.1.self_attn.qkv_proj.weight_scale".to_owned();
    let fbgemm = json!({"quant_method": "fbgemm_fp8"});
    for shape in [vec![], vec![1], vec![1, 1], vec![128], vec![128, 1]] {
        let rows = |out: usize, _| shape.iter().map(|side| if *side == 128 { out } else { 1 }).collect::<Vec<_>>();
        let slice = of(&fp8(fbgemm.clone(), ".weight_scale", rows));
        assert_eq!(slice.scale, Some(Scale { tensor: tensor.clone(), block: None }));
    }
    // What is not FP8 needs no scale.
    let checkpoint = fp8(fbgemm.clone(), ".weight_scale", |_, _| vec![]);
    assert_eq!(spec(&checkpoint).unwrap().head, rows("lm_head", 0..512));

    let wrong = fp8(fbgemm, ".weight_scale", |_, _| vec![7]);
    assert_eq!(
        spec(&wrong),
        Err(Error::malformed(
            "tensor model.layers.0.self_attn.qkv_proj.weight_scale",
            "F32, F16 or BF16 of shape [], [1], [128], [128, 1]",
            "F32 of shape [7]"
        ))
    );
    let none = fp8(json!({"quant_method": "fp8"}), ".elsewhere", |_, _| vec![]);
    let name = "model.layers.0.self_attn.qkv_proj.weight";
    assert_eq!(
        spec(&none),
        Err(Error::malformed(
            format!("tensor {name}"),
            format!("its scale, {name}_scale_inv or {name}_scale"),
            "F8_E4M3 without a scale"
        ))
    );
}

/// A Llama of one layer as GGUF describes it, with more tensors and keys.
fn gguf_llama(more: &[TensorInfo]) -> Checkpoint {
    let uint = metadata::Value::Unsigned;
    let keys = [
        ("general.architecture", metadata::Value::String("llama".into())),
        ("llama.block_count", uint(1)),
        ("llama.embedding_length", uint(32)),
        ("llama.feed_forward_length", uint(96)),
        ("llama.attention.head_count", uint(4)),
        ("llama.attention.head_count_kv", uint(2)),
        ("llama.context_length", uint(64)),
        ("llama.attention.layer_norm_rms_epsilon", metadata::Value::Float(1e-5)),
    ];
    let values = keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let tensors = [
        info("token_embd.weight", Format::Q8_0, &[70, 32]),
        info("output_norm.weight", Format::F32, &[32]),
        info("blk.0.attn_norm.weight", Format::F32, &[32]),
        info("blk.0.attn_output.weight", Format::Q4_0, &[32, 32]),
        info("blk.0.ffn_norm.weight", Format::F32, &[32]),
        info("blk.0.ffn_gate.weight", Format::Q4_0, &[96, 32]),
        info("blk.0.ffn_up.weight", Format::Q4_0, &[96, 32]),
        info("blk.0.ffn_down.weight", Format::Q4_0, &[32, 96]),
    ];
    by_hand(Description::Gguf(metadata::Metadata { values }), tensors.into_iter().chain(more.iter().cloned()))
}

#[test]
fn gguf_rows_of_q_and_k_are_interleaved_with_their_biases() {
    let pairs = RowOrder::Interleaved { head_dim: 8 };
    let slice = |tensor: &str, rows, order| RowSlice { tensor: tensor.into(), rows, scale: None, order };
    let split = [
        info("blk.0.attn_q.weight", Format::Q4_0, &[32, 32]),
        info("blk.0.attn_k.weight", Format::Q4_0, &[16, 32]),
        info("blk.0.attn_v.weight", Format::Q4_0, &[16, 32]),
        info("blk.0.attn_q.bias", Format::F32, &[32]),
    ];
    let found = spec(&gguf_llama(&split)).unwrap();
    assert_eq!((found.vocab, &found.head), (70, &found.embedding));
    let layer = &found.layers[0];
    assert_eq!(layer.query.rows, [slice("blk.0.attn_q.weight", 0..32, pairs)]);
    let bias = BiasSlice { tensor: "blk.0.attn_q.bias".into(), range: 0..32, order: pairs };
    assert_eq!(layer.query.bias, [bias]);
    assert_eq!(layer.key.rows, [slice("blk.0.attn_k.weight", 0..16, pairs)]);
    assert_eq!(layer.value.rows, [slice("blk.0.attn_v.weight", 0..16, RowOrder::Split)]);
    assert_eq!((&layer.key.bias, &layer.value.bias), (&vec![], &vec![]));

    let fused =
        [info("blk.0.attn_qkv.weight", Format::Q4_0, &[64, 32]), info("blk.0.attn_qkv.bias", Format::F32, &[64])];
    let layer = &spec(&gguf_llama(&fused)).unwrap().layers[0];
    assert_eq!(layer.key.rows, [slice("blk.0.attn_qkv.weight", 32..48, pairs)]);
    let bias = BiasSlice { tensor: "blk.0.attn_qkv.bias".into(), range: 48..64, order: RowOrder::Split };
    assert_eq!(layer.value.bias, [bias]);

    // One matrix, and a bias for each of the three that it is.
    let beside = [fused[0].clone(), info("blk.0.attn_k.bias", Format::F32, &[16])];
    let layer = &spec(&gguf_llama(&beside)).unwrap().layers[0];
    let bias = BiasSlice { tensor: "blk.0.attn_k.bias".into(), range: 0..16, order: pairs };
    assert_eq!((&layer.query.bias, &layer.key.bias), (&vec![], &vec![bias]));
}
