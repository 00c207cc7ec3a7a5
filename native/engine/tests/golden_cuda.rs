//! The tiny checkpoints on a GPU: transformers' logits and greedy tokens, the same bits alone and in company.
//!
//! Without a GPU each test says so; what is tested then is that the reason comes as an error, and that `Auto` goes on.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use gpu::gpu;
use random::Random;
use serde_json::Value;
use viva_tensor_engine::{
    backend::cuda::{
        self, Loading,
        forward::{BATCH, CHUNK, CudaModel, Slot},
        kv_cache::KvCache,
        lab::Lab,
        program::KvFormat,
    },
    checkpoint::Checkpoint,
    error::Error,
    loader::{DeviceChoice, LoadOptions, LoadProgress, Loader},
    model,
    quant::{Format, WeightFormat},
    sampler::{Choice, Sampling},
    session::{Prompt, Request, Session, Status, step},
};

mod gpu;
mod random;

/// Relative error allowed, ‖logits - golden‖ / ‖golden‖, with keys and values in f32.
const TOLERANCE: f64 = 1e-4;
/// The same with keys and values in bf16: ten of its roundings, 2^-9 each, one on top of the other.
const TOLERANCE_BF16: f64 = 2e-2;

fn fixtures() -> PathBuf {
    // Elsewhere than where the test was built.
    let carried = std::env::var_os("VIVA_TENSOR_FIXTURES").map(PathBuf::from);
    carried.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures"))
}

fn load(path: &Path, kv: KvFormat) -> (CudaModel, usize) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = Loading::with(&spec, &checkpoint, WeightFormat::Keep, 0, 2048, kv).unwrap();
    while !loading.step(&checkpoint).unwrap() {}
    (loading.finish(&spec).unwrap(), spec.vocab)
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
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

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().fold(
        (0, f32::NEG_INFINITY),
        |best, (i, logit)| {
            if *logit > best.1 { (i, *logit) } else { best }
        },
    );
    best.0 as u32
}

fn relative_error(expected: &Value, found: &[f32]) -> f64 {
    let expected: Vec<f64> = expected.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
    assert_eq!(expected.len(), found.len());
    let error: f64 = expected.iter().zip(found).map(|(e, l)| (e - f64::from(*l)).powi(2)).sum();
    (error / expected.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

/// Whether a NaN or too large.
fn exceeds(error: f64, tolerance: f64) -> bool {
    !matches!(error.partial_cmp(&tolerance), Some(std::cmp::Ordering::Less))
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.retain(|path| path.join("golden.json").is_file());
    all.sort();
    all
}

fn golden(folder: &Path) -> Vec<Value> {
    let golden: Value = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

/// What differs from golden.json, or nothing.
fn check(folder: &Path) -> Vec<String> {
    let (model, vocab) = load(folder, KvFormat::F32);
    let mut wrong = vec![];
    for (i, case) in golden(folder).iter().enumerate() {
        let at = format!("{} case {i}", folder.display());
        let mut cache = model.new_cache();
        let prompt = ids(&case["prompt_ids"]);
        let mut logits = feed(&model, &mut cache, &prompt, vocab);
        if case["logits"].is_array() {
            let error = relative_error(&case["logits"], &logits);
            if exceeds(error, TOLERANCE) {
                wrong.push(format!("{at}: logits differ by {error:.2e}"));
            }
        }
        let expected = ids(&case["greedy_ids"]);
        let first = argmax(&logits);
        let mut greedy = vec![];
        for _ in 0..expected.len() {
            let next = argmax(&logits);
            greedy.push(next);
            logits = feed(&model, &mut cache, &[next], vocab);
        }
        if greedy != expected {
            let same = greedy.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            wrong.push(format!("{at}: greedy ids differ from step {same} on"));
        }
        // The same by recorded passes that choose their tokens themselves; is_long must not change in between.
        let last = prompt.len() + expected.len();
        if model.is_long(prompt.len()) == model.is_long(last) && expected.len() > 1 {
            cache.truncate(prompt.len());
            let mut chosen = vec![first];
            while chosen.len() < expected.len() {
                let steps = (expected.len() - chosen.len()).min(5);
                let (tokens, horizon) = ([chosen[chosen.len() - 1]], cache.len() + 1);
                let mut slots = [Slot { cache: &mut cache, tokens: &tokens, horizon, logits: None }];
                let largest = Choice { sampling: &Sampling::default(), sequence: &[] };
                chosen.extend(model.decode(&mut slots, &[largest], steps, &|| true).unwrap().remove(0));
            }
            if chosen != greedy {
                wrong.push(format!("{at}: the device chose {chosen:?}, its logits say {greedy:?}"));
            }
        }
    }
    wrong
}

#[test]
fn every_tiny_checkpoint_equals_its_golden_logits_and_greedy_ids() {
    let Some(_) = gpu("tiny") else { return };
    let folders = folders(&fixtures().join("tiny"));
    assert_eq!(folders.len(), 9);
    let wrong: Vec<_> = folders.iter().flat_map(|folder| check(folder)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_variant_equals_its_golden_logits_and_greedy_ids() {
    let Some(_) = gpu("variants") else { return };
    let folders = folders(&fixtures().join("variants"));
    assert_eq!(folders.len(), 23);
    let wrong: Vec<_> = folders.iter().flat_map(|folder| check(folder)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn further_checkpoints_equal_their_goldens() {
    let (Some(_), Some(root)) = (gpu("further"), std::env::var_os("VIVA_TENSOR_GOLDEN")) else { return };
    let wrong: Vec<_> = folders(Path::new(&root)).iter().flat_map(|folder| check(folder)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_cache_in_bf16_stays_close() {
    let Some(_) = gpu("bf16") else { return };
    for folder in folders(&fixtures().join("tiny")) {
        let (model, vocab) = load(&folder, KvFormat::Bf16);
        for case in golden(&folder).iter().filter(|case| case["logits"].is_array()) {
            let logits = feed(&model, &mut model.new_cache(), &ids(&case["prompt_ids"]), vocab);
            let error = relative_error(&case["logits"], &logits);
            assert!(!exceeds(error, TOLERANCE_BF16), "{}: {error:.2e}", folder.display());
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_eight() {
    let Some(_) = gpu("company") else { return };
    for name in ["llama", "gemma3", "phi2"] {
        let (model, vocab) = load(&fixtures().join("tiny").join(name), KvFormat::Bf16);
        let prompts: Vec<Vec<u32>> =
            (0..BATCH as u32).map(|i| (0..70 + 9 * i).map(|j| (i * 31 + j * 7) % 500).collect()).collect();
        let alone: Vec<Vec<f32>> = prompts
            .iter()
            .map(|prompt| {
                let mut cache = model.new_cache();
                feed(&model, &mut cache, prompt, vocab);
                feed(&model, &mut cache, &[3], vocab)
            })
            .collect();
        let mut caches: Vec<KvCache> = prompts.iter().map(|_| model.new_cache()).collect();
        let mut together = vec![vec![f32::NAN; vocab]; prompts.len()];
        for (cache, prompt) in caches.iter_mut().zip(&prompts) {
            feed(&model, cache, prompt, vocab);
        }
        for size in [2, 3, 5, 8] {
            let mut slots: Vec<Slot> = caches
                .iter_mut()
                .zip(&mut together)
                .zip(&prompts)
                .take(size)
                .map(|((cache, logits), prompt)| {
                    cache.truncate(prompt.len());
                    Slot { cache, tokens: &[3], horizon: prompt.len() + 1, logits: Some(logits) }
                })
                .collect();
            model.forward(&mut slots, &|| true).unwrap();
            for (i, (alone, together)) in alone.iter().zip(&together).enumerate().take(size) {
                let same = alone.iter().zip(together).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name}: row {i} of {size}");
            }
        }
    }
}

/// Blocks of the fixtures of quant/, and what the Python packages say they mean.
fn blocks(format: Format) -> (Vec<u8>, Vec<f32>) {
    let name = format.name().to_lowercase();
    let content = fs::read(fixtures().join(format!("quant/{name}.bin"))).unwrap();
    let (count, rest) = content.split_first_chunk::<4>().unwrap();
    let (blocks, numbers) = rest.split_at(u32::from_le_bytes(*count) as usize * format.block_bytes());
    (blocks.to_vec(), numbers.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

#[test]
fn blocks_mean_on_the_gpu_what_the_reference_says() {
    let Some(device) = gpu("formats") else { return };
    for format in Format::ALL {
        let lab = Lab::new(&device, format).unwrap();
        let (stored, expected) = blocks(format);
        // One row of all blocks, and rows of one block each where that is a whole number of lanes.
        let mut shapes = vec![(1, expected.len())];
        if format.block_len() > 1 {
            shapes.push((expected.len() / format.block_len(), format.block_len()));
        }
        for (rows, cols) in shapes {
            let found = lab.dequantize(&lab.matrix(rows, cols, &stored).unwrap()).unwrap();
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
                assert!(same, "{format} as {rows} rows, weight {i}: {found:e} for {expected:e}");
            }
        }
    }
}

#[test]
fn products_equal_float64_whatever_the_number_of_rows() {
    let Some(device) = gpu("products") else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for format in Format::ALL {
        let lab = Lab::new(&device, format).unwrap();
        // The fixtures' finite blocks, in random order.
        let (stored, meaning) = blocks(format);
        let finite: Vec<&[u8]> = stored
            .chunks_exact(format.block_bytes())
            .zip(meaning.chunks_exact(format.block_len()))
            .filter(|(_, weights)| weights.iter().all(|weight| weight.abs() < 1e4))
            .map(|(block, _)| block)
            .collect();
        let (rows, cols) = (37, 1280);
        let picks = (0..rows * cols / format.block_len()).map(|_| finite[random.next() as usize % finite.len()]);
        let bytes: Vec<u8> = picks.flatten().copied().collect();
        let mut weights = vec![0.0; rows * cols];
        format.dequantize(&bytes, &mut weights).unwrap();
        let matrix = lab.matrix(rows, cols, &bytes).unwrap();
        let x: Vec<f32> = (0..11 * cols).map(|_| random.float()).collect();
        let found = lab.multiply(&matrix, &x, 11).unwrap();
        for together in [1, 2, 5, 8] {
            let rows = x.chunks(together * cols).flat_map(|x| lab.multiply(&matrix, x, x.len() / cols).unwrap());
            let same = rows.zip(&found).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{format}: {together} rows together");
        }
        for (x, y) in x.chunks_exact(cols).zip(found.chunks_exact(rows)) {
            for (row, y) in weights.chunks_exact(cols).zip(y) {
                let terms = || row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (exact, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                // x is kept to 22 bits, beside bf16 weights to 16; some forty sums are rounded, tensor cores cut theirs off.
                let kept = if matches!(format, Format::Bf16 | Format::F32) { 2_f64.powi(-17) } else { 2_f64.powi(-22) };
                let bound = size * (kept + 45.0 * f64::from(f32::EPSILON)) + f64::MIN_POSITIVE;
                assert!((exact - f64::from(*y)).abs() <= bound, "{format}: {y} for {exact}");
            }
        }
    }
}

fn open(path: &Path, device: DeviceChoice) -> Result<Arc<viva_tensor_engine::loaded::Model>, Error> {
    let mut loader = Loader::open(path, LoadOptions { device, ..LoadOptions::default() })?;
    loop {
        if let LoadProgress::Ready(model) = loader.step(Duration::from_millis(20), &|| true)? {
            return Ok(model);
        }
    }
}

fn answer(model: &Arc<viva_tensor_engine::loaded::Model>, sampling: Sampling, logprobs: Option<usize>) -> Vec<u32> {
    let mut session = Session::open(Arc::clone(model));
    let request = Request { sampling, max_new_tokens: 40, stop: vec![], stop_on_eos: false, logprobs };
    session.submit(&Prompt::Tokens(vec![5, 17, 200, 31]), request).unwrap();
    let mut ids = vec![];
    loop {
        let progress = step(&mut [&mut session], Duration::from_millis(20), &|| true).remove(0).unwrap();
        ids.extend(progress.ids);
        if matches!(progress.status, Status::Finished { .. }) {
            return ids;
        }
    }
}

#[test]
fn a_session_on_the_gpu_says_what_one_on_the_cpu_says() {
    let Some(device) = gpu("session") else { return };
    let path = fixtures().join("tiny/llama");
    let (cpu, auto) = (open(&path, DeviceChoice::Cpu).unwrap(), open(&path, DeviceChoice::Auto).unwrap());
    assert_eq!((auto.info.device.as_str(), &auto.info.device_note), ("cuda:0", &device.name));
    let expected = answer(&cpu, Sampling::default(), None);
    assert_eq!(expected.len(), 40);
    let found = answer(&auto, Sampling::default(), None);
    // The cache is bf16, so a close call may go the other way; the beginning may not.
    assert_eq!(found.len(), 40);
    assert_eq!(found[..8], expected[..8]);
    assert_eq!(answer(&auto, Sampling::default(), None), found);
    // Who asks for log-probabilities is answered from logits on the host: the same tokens as the device's own choice.
    let warm = Sampling { temperature: 1.1, top_k: Some(90), top_p: 0.95, seed: 5, ..Sampling::default() };
    let wary = Sampling { min_p: 0.02, top_k: None, repetition_penalty: 1.2, ..warm.clone() };
    for sampling in [Sampling::default(), warm.clone(), wary] {
        assert_eq!(answer(&auto, sampling.clone(), Some(1)), answer(&auto, sampling.clone(), None), "{sampling:?}");
    }
    assert_ne!(answer(&auto, warm.clone(), None), answer(&auto, Sampling { seed: 6, ..warm }, None));
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_names_it() {
    let path = fixtures().join("tiny/llama");
    let error = open(&path, DeviceChoice::Cuda(977)).unwrap_err();
    match (&error, cuda::driver::present()) {
        (Error::InvalidOption { option, found, .. }, Ok(())) => {
            assert_eq!((option.as_str(), found.as_str()), ("device", "cuda 977"))
        }
        (Error::NotFound { path, .. }, Err(_)) => assert_eq!(path, "libcuda.so.1"),
        _ => panic!("{error}"),
    }
}

#[test]
fn auto_without_a_gpu_is_the_cpu_and_says_why() {
    let Err(reason) = cuda::open(0) else { return };
    let model = open(&fixtures().join("tiny/llama"), DeviceChoice::Auto).unwrap();
    assert_eq!(model.info.device, "cpu");
    assert!(model.info.device_note.ends_with(&format!("; no GPU: {reason}")), "{}", model.info.device_note);
}
