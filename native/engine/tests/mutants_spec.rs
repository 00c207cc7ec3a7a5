//! Writes the specs of 20,000 checkpoints whose config or tensor list says something else than it should.
//!
//! Each must give a typed error, or a spec that asks for nothing but rows that are stored. A mutant is made of a
//! fixture and a number; a failure names the number.

// This file makes its own mutants.
#[allow(dead_code)]
mod mutants;

use std::path::{Path, PathBuf};

use mutants::{Random, watch};
use serde_json::{Value, json};
use viva_tensor_engine::{
    checkpoint::{Checkpoint, Description, metadata},
    error::Error,
    model::{self, spec::ModelSpec},
    quant::Format,
};

/// The folders of test/fixtures that hold a whole model.
fn folders() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures");
    let inside = |kind: &str| std::fs::read_dir(fixtures.join(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = inside("tiny").chain(inside("variants")).collect();
    folders.sort();
    folders
}

fn choose<'a, T>(random: &mut Random, list: &'a [T]) -> &'a T {
    &list[random.below(list.len())]
}

/// A value that a hostile config.json may hold in place of `old`.
fn hostile_json(random: &mut Random, old: &Value) -> Value {
    if random.below(3) == 0
        && let Some(number) = old.as_u64()
    {
        let near = [number + 1, number.saturating_sub(1), number * 2, number / 2, number ^ (1 << random.below(40))];
        return json!(choose(random, &near));
    }
    let others = [
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(7),
        json!(1u64 << 31),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e308),
        json!(-1e-308),
        json!(0.3),
        json!(true),
        json!(false),
        json!(""),
        json!("default"),
        json!("yarn"),
        json!("longrope"),
        json!("llama3"),
        json!([]),
        json!([1e300, 2]),
        json!(["sliding_attention"]),
        json!({}),
        json!({"rope_type": "yarn", "factor": 1e300, "original_max_position_embeddings": 1}),
        json!({"quant_method": "fp8", "weight_block_size": [1, u64::MAX]}),
    ];
    choose(random, &others).clone()
}

/// Replaces or removes a key, here or in an object below.
fn damage_json(random: &mut Random, config: &mut Value) {
    let Value::Object(map) = config else { return };
    const ADDED: [&str; 7] = [
        "rope_scaling",
        "partial_rotary_factor",
        "quantization_config",
        "attention_bias",
        "original_max_position_embeddings",
        "head_dim",
        "text_config",
    ];
    let mut keys: Vec<String> = map.keys().cloned().collect();
    keys.extend(ADDED.map(String::from));
    let key = choose(random, &keys).clone();
    match map.get_mut(&key) {
        Some(inner @ Value::Object(_)) if random.below(4) > 0 => damage_json(random, inner),
        Some(_) if random.below(6) == 0 => {
            map.remove(&key);
        }
        old => {
            let value = hostile_json(random, old.as_deref().unwrap_or(&Value::Null));
            map.insert(key, value);
        }
    }
}

fn damage_gguf(random: &mut Random, metadata: &mut metadata::Metadata) {
    let architecture = metadata.str("general.architecture").unwrap_or("llama").to_owned();
    let mut keys: Vec<String> = metadata.values.keys().cloned().collect();
    for name in ["attention.scale", "rope.scaling.type", "rope.dimension_count", "attention.sliding_window_pattern"] {
        keys.push(format!("{architecture}.{name}"));
    }
    let key = choose(random, &keys).clone();
    let others = [
        metadata::Value::Unsigned(0),
        metadata::Value::Unsigned(1),
        metadata::Value::Unsigned(3),
        metadata::Value::Unsigned(1 << random.below(64)),
        metadata::Value::Unsigned(u64::MAX),
        metadata::Value::Signed(-1),
        metadata::Value::Float(f64::NAN),
        metadata::Value::Float(1e300),
        metadata::Value::Float(-0.5),
        metadata::Value::Bool(true),
        metadata::Value::String("yarn".into()),
        metadata::Value::String("gemma3".into()),
        metadata::Value::Integers(vec![]),
        metadata::Value::Integers(vec![-1; 4]),
        metadata::Value::Integers(vec![1 << 40]),
        metadata::Value::Bools(vec![true; 2]),
        metadata::Value::Strings(vec![]),
    ];
    match random.below(6) {
        0 => metadata.values.remove(&key),
        _ => metadata.values.insert(key, choose(random, &others).clone()),
    };
}

/// Another shape, format or name for a tensor, or none.
fn damage_tensor(random: &mut Random, checkpoint: &mut Checkpoint) {
    let names: Vec<String> = checkpoint.tensors.keys().cloned().collect();
    let name = choose(random, &names);
    let Some(mut info) = checkpoint.tensors.remove(name) else { return };
    match random.below(5) {
        0 => return,
        1 => info.format = *choose(random, &Format::ALL),
        2 => info.shape.truncate(random.below(3)),
        3 => info.shape.push(random.below(3)),
        _ => {
            let sides = info.shape.len().max(1);
            if let Some(side) = info.shape.get_mut(random.below(sides)) {
                *side = *choose(random, &[0, 1, *side + 1, *side * 2, *side / 2, usize::MAX]);
            }
        }
    }
    checkpoint.tensors.insert(name.clone(), info);
}

/// Every row and element that a spec names is stored, and its numbers make sense together.
fn check(spec: &ModelSpec, checkpoint: &Checkpoint) {
    let shape = |name: &str| checkpoint.tensors.get(name).map(|info| info.shape.as_slice()).unwrap();
    let mut linears = vec![&spec.embedding, &spec.head];
    let mut norms = vec![&spec.final_norm];
    for layer in &spec.layers {
        linears.extend([&layer.query, &layer.key, &layer.value, &layer.output, &layer.up, &layer.down]);
        linears.extend(&layer.gate);
        norms.push(&layer.attention_norm);
        norms.extend(layer.query_norm.iter().chain(&layer.key_norm).chain(&layer.ffn_norm));
        norms.extend(layer.attention_post_norm.iter().chain(&layer.ffn_post_norm));
        assert!(layer.rope < spec.ropes.len());
        assert!(layer.window != Some(0) && layer.attention_scale.is_finite());
        assert_eq!(layer.query.out(), spec.heads * spec.head_dim);
        assert_eq!((layer.key.out(), layer.value.out()), (spec.kv_heads * spec.head_dim, layer.key.out()));
        assert_eq!((layer.output.out(), layer.down.out()), (spec.width, spec.width));
        assert!(layer.gate.as_ref().is_none_or(|gate| gate.out() == layer.up.out()));
    }
    for linear in linears {
        for slice in &linear.rows {
            assert!(slice.rows.start < slice.rows.end && slice.rows.end <= shape(&slice.tensor)[0]);
            let is_fp8 = checkpoint.tensors[&slice.tensor].format == Format::F8E4m3;
            assert_eq!(slice.scale.is_some(), is_fp8, "{}", slice.tensor);
        }
        for slice in &linear.bias {
            assert!(slice.range.end <= shape(&slice.tensor)[0]);
        }
        assert!(
            linear.bias.is_empty() || linear.bias.iter().map(|bias| bias.range.len()).sum::<usize>() == linear.out()
        );
    }
    for norm in norms {
        assert!(shape(&norm.weight).len() == 1 && norm.eps > 0.0);
    }
    for rope in &spec.ropes {
        assert!(rope.rotary <= spec.head_dim && rope.inverse_frequencies.len() * 2 == rope.rotary);
        let long = rope.long.iter().flat_map(|long| &long.inverse_frequencies);
        let mut frequencies = rope.inverse_frequencies.iter().chain(long);
        assert!(rope.magnitude.is_finite() && frequencies.all(|frequency| frequency.is_finite()));
    }
    assert!(spec.heads.is_multiple_of(spec.kv_heads) && spec.vocab > 0 && spec.max_context > 0);
    assert_eq!((spec.embedding.out(), spec.head.out()), (spec.vocab, spec.vocab));
}

#[test]
fn damaged_checkpoints_have_a_spec_or_an_error() {
    let (mut written, mut refused) = (0, 0);
    for folder in folders() {
        for seed in 0..700 {
            let mut random = Random(seed);
            let mut checkpoint = Checkpoint::open(&folder).unwrap();
            for _ in 0..1 + random.below(3) {
                if random.below(3) == 0 {
                    damage_tensor(&mut random, &mut checkpoint);
                    continue;
                }
                match &mut checkpoint.description {
                    Description::HuggingFace(files) => damage_json(&mut random, &mut files.config),
                    Description::Gguf(metadata) => damage_gguf(&mut random, metadata),
                }
            }
            let name = folder.display();
            match watch(seed, 4 << 20, || model::spec(&checkpoint)) {
                Ok(spec) => {
                    check(&spec, &checkpoint);
                    written += 1;
                }
                Err(error) => {
                    assert!(!matches!(error, Error::Internal { .. }), "{name}, mutant {seed}: {error}");
                    assert!(error.to_string().len() < 1000, "{name}, mutant {seed}: a long error");
                    refused += 1;
                }
            }
        }
    }
    // Mutants that are all refused, or all accepted, would test little.
    assert!(written + refused > 20_000 && written > 2_000 && refused > 5_000, "{written} written, {refused} refused");
}
