//! The code for any model, as a machine without libnvrtc runs it: the tiny checkpoints' golden logits and tokens, and beside the
//! kernels that are compiled for the model, heads of every width and groups of every size.
//!
//! Without a GPU each test says so, and where the build brings no such code (`make kernels`, then build again), too.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use random_checkpoint::{Shape, write};
use serde_json::Value;
use viva_tensor_engine::{
    backend::{
        self,
        cuda::{
            Loading, driver,
            forward::{CHUNK, CudaModel, Slot},
            generic,
            kv_cache::KvCache,
            nvrtc,
        },
    },
    checkpoint::Checkpoint,
    error::Error,
    model,
    quant::WeightFormat,
    sampler::{Choice, Sampling},
};

mod random;
mod random_checkpoint;

/// Relative error of logits with keys and values in bf16: ten of its roundings, 2^-9 each, one on top of the other.
const TOLERANCE_BF16: f64 = 2e-2;
/// Of the same sums in another order, and activations rounded to f16 here and there.
const TOLERANCE_TWINS: f64 = 2e-3;
const CONTEXT: usize = 2048;

fn fixtures() -> PathBuf {
    // Elsewhere than where the test was built.
    let carried = std::env::var_os("VIVA_TENSOR_FIXTURES").map(PathBuf::from);
    carried.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures"))
}

/// Whether there is a GPU and code for it; says why not.
fn ready(test: &str) -> bool {
    if let Err(reason) = driver::Device::open(0) {
        eprintln!("{test}: skipped, no GPU: {reason}");
        return false;
    }
    if generic::embedded().is_none() {
        eprintln!("{test}: skipped, this build brings no code for any model along");
        return false;
    }
    true
}

fn finish(checkpoint: &Checkpoint, begun: Result<Loading, Error>) -> CudaModel {
    let (spec, mut loading) = (model::spec(checkpoint).unwrap(), begun.unwrap());
    while !loading.step(checkpoint).unwrap() {}
    loading.finish(&spec).unwrap()
}

fn generic_model(path: &Path) -> (CudaModel, usize) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let model = finish(&checkpoint, Loading::generic(&spec, &checkpoint, WeightFormat::Keep, 0, CONTEXT));
    assert!(model.is_generic && !model.decodes_in_one_launch());
    (model, spec.vocab)
}

fn compiled_model(path: &Path) -> CudaModel {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let model = finish(&checkpoint, Loading::new(&spec, &checkpoint, WeightFormat::Keep, 0, CONTEXT));
    assert!(!model.is_generic);
    model
}

/// Appends tokens, in chunks, and returns the logits of the last one.
fn feed(model: &CudaModel, cache: &mut KvCache, tokens: &[u32], vocab: usize) -> Vec<f32> {
    let mut logits = vec![f32::NAN; vocab];
    let horizon = cache.len() + tokens.len();
    for tokens in tokens.chunks(CHUNK) {
        let mut slots = [Slot { cache, tokens, horizon, logits: Some(&mut logits) }];
        model.forward(&mut slots, &|| true).unwrap();
    }
    logits
}

fn relative_error(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let square = |x: f64| x * x;
    let error: f64 = expected.iter().zip(found).map(|(e, f)| square(f64::from(*e) - f64::from(*f))).sum();
    (error / expected.iter().map(|e| square(f64::from(*e))).sum::<f64>()).sqrt()
}

fn is_close(error: f64, tolerance: f64) -> bool {
    // Not so for a NaN.
    error < tolerance
}

fn argmax(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap() as u32
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// Checkpoints with golden.json, as long as a driver may take to compile for all of them.
fn folders() -> Vec<PathBuf> {
    let entries = |kind: &str| fs::read_dir(fixtures().join(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries("tiny").chain(entries("variants")).collect();
    all.retain(|path| path.join("golden.json").is_file());
    all.sort();
    all
}

#[test]
fn every_checkpoint_has_its_golden_logits_and_the_tokens_of_its_own_kernels() {
    if !ready("golden") {
        return;
    }
    let has_compiler = nvrtc::nvrtc().is_ok();
    let (folders, mut wrong, start) = (folders(), vec![], Instant::now());
    assert_eq!(folders.len(), 9 + 23);
    for folder in &folders {
        let (model, vocab) = generic_model(folder);
        let twin = has_compiler.then(|| compiled_model(folder));
        let golden: Value = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
        for (i, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
            let (at, prompt) = (format!("{} case {i}", folder.display()), ids(&case["prompt_ids"]));
            let mut cache = model.new_cache();
            let mut logits = feed(&model, &mut cache, &prompt, vocab);
            if case["logits"].is_array() {
                let expected: Vec<f32> =
                    case["logits"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
                let error = relative_error(&expected, &logits);
                if !is_close(error, TOLERANCE_BF16) {
                    wrong.push(format!("{at}: logits differ by {error:.2e}"));
                }
            }
            let Some(twin) = &twin else { continue };
            let mut twins = twin.new_cache();
            let mut others = feed(twin, &mut twins, &prompt, vocab);
            for step in 0..4 {
                let error = relative_error(&others, &logits);
                if !is_close(error, TOLERANCE_TWINS) {
                    wrong.push(format!("{at}, step {step}: the model's own kernels differ by {error:.2e}"));
                }
                let next = [argmax(&others)];
                others = feed(twin, &mut twins, &next, vocab);
                logits = feed(&model, &mut cache, &next, vocab);
            }
        }
    }
    eprintln!("{} checkpoints in {:.1} s", folders.len(), start.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_device_chooses_what_its_logits_say() {
    if !ready("choice") {
        return;
    }
    let (model, vocab) = generic_model(&fixtures().join("tiny/llama"));
    let prompt: Vec<u32> = (0..40).map(|i| (i * 37 + 5) % vocab as u32).collect();
    let mut cache = model.new_cache();
    let mut logits = feed(&model, &mut cache, &prompt, vocab);
    let first = argmax(&logits);
    let mut expected = vec![];
    for _ in 0..12 {
        let next = argmax(&logits);
        expected.push(next);
        logits = feed(&model, &mut cache, &[next], vocab);
    }
    cache.truncate(prompt.len());
    let (tokens, horizon) = ([first], prompt.len() + 1);
    let mut slots = [Slot { cache: &mut cache, tokens: &tokens, horizon, logits: None }];
    let largest = Choice { sampling: &Sampling::default(), sequence: &[] };
    let chosen = model.decode(&mut slots, &[largest], 11, &|| true).unwrap().remove(0);
    assert_eq!(chosen, expected[1..]);
}

/// The CPU's logits of the last token.
fn on_cpu(path: &Path, tokens: &[u32], vocab: usize) -> Vec<f32> {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = backend::Loading::to_cpu(&spec, &checkpoint, WeightFormat::Keep, None, CONTEXT, None).unwrap();
    while !loading.step(&checkpoint).unwrap() {}
    let (model, mut logits) = (loading.finish(&spec, &checkpoint).unwrap().0, vec![f32::NAN; vocab]);
    let mut cache = model.new_cache();
    for chunk in tokens.chunks(model.chunk()) {
        let horizon = tokens.len();
        let mut slots = [backend::Slot { cache: &mut cache, tokens: chunk, horizon, logits: Some(&mut logits) }];
        model.forward(&mut slots, &|| true).unwrap();
    }
    logits
}

#[test]
fn heads_of_every_width_and_groups_of_every_size_are_what_the_cpu_says() {
    if !ready("widths") {
        return;
    }
    let mut wrong = vec![];
    for (name, head_dim, heads, kv_heads) in [
        ("64", 64, 10, 2),
        ("80", 80, 4, 4),
        ("96", 96, 6, 2),
        ("128", 128, 7, 1),
        ("256", 256, 16, 1),
        ("72", 72, 12, 6),
    ] {
        let (width, ffn, layers, vocab, window) = (512, 704, 2, 600, Some(260));
        let shape = Shape { name, width, heads, kv_heads, head_dim, ffn, layers, vocab, dtype: "BF16", window };
        let folder = write(&shape);
        let (model, _) = generic_model(&folder);
        let tokens: Vec<u32> = (0..330).map(|i| i * 7919 % vocab as u32).collect();
        // A prompt in one chunk, then tokens one by one.
        let (mut cache, half) = (model.new_cache(), 323);
        for (len, logits) in [(half, feed(&model, &mut cache, &tokens[..half], vocab)), {
            let singles = tokens[half..].iter().map(|token| feed(&model, &mut cache, &[*token], vocab));
            (tokens.len(), singles.last().unwrap())
        }] {
            let error = relative_error(&on_cpu(&folder, &tokens[..len], vocab), &logits);
            if !is_close(error, TOLERANCE_BF16) {
                wrong.push(format!(
                    "{heads} heads of {head_dim} over {kv_heads} at {len}: logits differ by {error:.2e}"
                ));
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
