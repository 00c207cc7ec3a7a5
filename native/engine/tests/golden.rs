//! Logits and greedy tokens of every tiny checkpoint against transformers' fp32 (golden.json).
//!
//! VIVA_TENSOR_GOLDEN names a folder of further checkpoints of the same form.

use std::{fs, path::Path};

use serde_json::Value;
use viva_tensor_engine::{
    backend::cpu::{
        forward::{CHUNK, CpuModel, Slot},
        kv_cache::KvCache,
        simd::Level,
        weights::Loading,
    },
    checkpoint::Checkpoint,
    model,
};

/// Relative error allowed, ‖logits - golden‖ / ‖golden‖.
const TOLERANCE: f64 = 1e-4;

fn load(path: &Path, threads: usize) -> (CpuModel, usize) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = Loading::new(&spec, &checkpoint).unwrap();
    while !loading.step(&checkpoint).unwrap() {}
    let weights = loading.finish(&spec, &checkpoint).unwrap();
    let vocab = spec.vocab;
    (CpuModel::new(spec, weights, Some(threads), 2048).unwrap(), vocab)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Appends tokens, in chunks, and returns the logits of the last one.
fn feed(model: &CpuModel, cache: &mut KvCache, tokens: &[u32], vocab: usize) -> Vec<f32> {
    let mut logits = vec![0.0; vocab];
    let horizon = cache.len() + tokens.len();
    for tokens in tokens.chunks(CHUNK) {
        let mut slots = [Slot { cache, tokens, horizon, logits: Some(&mut logits) }];
        model.forward(&mut slots, &|| true).unwrap();
    }
    logits
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// What differs from golden.json, or nothing.
fn check(folder: &Path, level: Level, threads: usize) -> Vec<String> {
    let golden: Value = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let (model, vocab) = load(folder, threads);
    let model = model.with_level(level);
    let mut wrong = vec![];
    for (i, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
        let prompt = ids(&case["prompt_ids"]);
        let mut cache = model.new_cache();
        let mut logits = feed(&model, &mut cache, &prompt, vocab);
        if let Some(expected) = case["logits"].as_array() {
            let expected: Vec<f64> = expected.iter().map(|x| x.as_f64().unwrap()).collect();
            assert_eq!(expected.len(), logits.len(), "{}", folder.display());
            let error: f64 = expected.iter().zip(&logits).map(|(e, l)| (e - f64::from(*l)).powi(2)).sum();
            let norm: f64 = expected.iter().map(|e| e * e).sum();
            let relative = (error / norm).sqrt();
            // Not `relative > TOLERANCE`: a NaN is wrong, too.
            if !matches!(relative.partial_cmp(&TOLERANCE), Some(std::cmp::Ordering::Less)) {
                wrong.push(format!("{} case {i}: logits differ by {relative:.2e}", folder.display()));
            }
        }
        let expected = ids(&case["greedy_ids"]);
        let mut greedy = vec![];
        for _ in 0..expected.len() {
            let next = argmax(&logits);
            greedy.push(next);
            logits = feed(&model, &mut cache, &[next], vocab);
        }
        if greedy != expected {
            let at = greedy.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            wrong.push(format!("{} case {i}: greedy ids differ from step {at} on", folder.display()));
        }
    }
    wrong
}

fn folders(root: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.join("golden.json").is_file());
    all.sort();
    all
}

#[test]
fn every_tiny_checkpoint_equals_its_golden_logits_and_greedy_ids() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/tiny");
    let folders = folders(&root);
    assert_eq!(folders.len(), 9);
    for level in Level::available() {
        let wrong: Vec<_> = folders.iter().flat_map(|folder| check(folder, level, 2)).collect();
        assert!(wrong.is_empty(), "{}:\n{}", level.name(), wrong.join("\n"));
    }
}

/// What the tiny checkpoints leave alone: biases, windows, ropes, FP8 scales, and GGUF as llama.cpp's converter writes it.
#[test]
fn every_variant_equals_its_golden_logits_and_greedy_ids() {
    let folders = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures/variants"));
    assert_eq!(folders.len(), 23);
    let wrong: Vec<_> = folders.iter().flat_map(|folder| check(folder, Level::detect(), 2)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs VIVA_TENSOR_GOLDEN, a folder of checkpoints with golden.json"]
fn further_checkpoints_equal_their_goldens() {
    let root = std::env::var_os("VIVA_TENSOR_GOLDEN").unwrap();
    let mut wrong = vec![];
    for folder in folders(Path::new(&root)) {
        match std::panic::catch_unwind(|| check(&folder, Level::detect(), 2)) {
            Ok(found) => wrong.extend(found),
            Err(_) => wrong.push(format!("{}: failed", folder.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
