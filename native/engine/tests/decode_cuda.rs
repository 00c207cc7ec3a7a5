//! The fast road of decoding on a GPU, on models large enough for it: random weights, written for the test, computed by
//! the CPU and by the GPU; alone, which goes the fast road, and in company, which goes the general one.
//!
//! Without a GPU each test says so.

use std::fs;

use random_checkpoint::{Shape, write};
use viva_tensor_engine::{
    backend::{Backend, Cache, Loading, Slot, cuda},
    checkpoint::Checkpoint,
    model,
    quant::WeightFormat,
    sampler::{Choice, Sampling},
};

mod random;
mod random_checkpoint;

/// Relative error allowed, with keys and values in bf16: ten of its roundings, 2^-9 each.
const TOLERANCE: f64 = 2e-2;

const SHAPES: [Shape; 3] = [
    Shape {
        name: "grouped",
        width: 512,
        heads: 8,
        kv_heads: 2,
        head_dim: 64,
        ffn: 1376,
        layers: 3,
        vocab: 1000,
        dtype: "F16",
        window: None,
    },
    Shape {
        name: "wide_heads",
        width: 1024,
        heads: 8,
        kv_heads: 4,
        head_dim: 128,
        ffn: 1024,
        layers: 2,
        vocab: 4096,
        dtype: "BF16",
        window: None,
    },
    Shape {
        name: "window",
        width: 2048,
        heads: 32,
        kv_heads: 4,
        head_dim: 64,
        ffn: 2816,
        layers: 2,
        vocab: 2000,
        dtype: "BF16",
        window: Some(700),
    },
];

fn load(folder: &std::path::Path, on_gpu: bool) -> Backend {
    let checkpoint = Checkpoint::open(folder).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = match on_gpu {
        true => Loading::to_cuda(&spec, &checkpoint, WeightFormat::Keep, 0, 4096).unwrap(),
        false => Loading::to_cpu(&spec, &checkpoint, WeightFormat::Keep, None, 4096, None).unwrap(),
    };
    while !loading.step(&checkpoint).unwrap() {}
    loading.finish(&spec, &checkpoint).unwrap().0
}

/// Appends tokens, in chunks, and returns the logits of the last one.
fn feed(model: &Backend, cache: &mut Cache, tokens: &[u32], vocab: usize) -> Vec<f32> {
    let mut logits = vec![f32::NAN; vocab];
    let horizon = cache.len() + tokens.len();
    for tokens in tokens.chunks(model.chunk()) {
        let mut slots = [Slot { cache, tokens, horizon, logits: Some(&mut logits) }];
        model.forward(&mut slots, &|| true).unwrap();
    }
    logits
}

fn prompt(len: usize, vocab: usize) -> Vec<u32> {
    (0..len).map(|i| (i * 7919 % vocab) as u32).collect()
}

fn relative_error(expected: &[f32], found: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = expected.iter().zip(found).map(|(e, f)| square(e - f)).sum();
    (error / expected.iter().map(|e| square(*e)).sum::<f64>()).sqrt()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
    best.unwrap() as u32
}

#[test]
fn a_token_alone_has_the_bits_that_it_has_in_company_and_is_what_the_cpu_says() {
    if let Err(reason) = cuda::open(0) {
        eprintln!("decode: skipped, no GPU: {reason}");
        return;
    }
    let mut wrong = vec![];
    for shape in &SHAPES {
        let folder = write(shape);
        let (gpu, cpu) = (load(&folder, true), load(&folder, false));
        assert!(gpu.decodes_in_one_launch(), "{} goes the general road", shape.name);
        for len in [1, 31, 33, 255, 700, 1500] {
            let at = format!("{} at {len}", shape.name);
            let tokens = prompt(len, shape.vocab);
            let (mut cache, mut host) = (gpu.new_cache(), cpu.new_cache());
            feed(&gpu, &mut cache, &tokens, shape.vocab);
            feed(&cpu, &mut host, &tokens, shape.vocab);
            let expected = feed(&cpu, &mut host, &[5], shape.vocab);
            let alone = feed(&gpu, &mut cache, &[5], shape.vocab);
            let error = relative_error(&expected, &alone);
            if !matches!(error.partial_cmp(&TOLERANCE), Some(std::cmp::Ordering::Less)) {
                wrong.push(format!("{at}: logits differ by {error:.2e}"));
            }
            // The same token once more, beside another sequence.
            cache.truncate(len);
            let mut other = gpu.new_cache();
            feed(&gpu, &mut other, &prompt(40, shape.vocab), shape.vocab);
            let mut together = vec![vec![f32::NAN; shape.vocab]; 2];
            let (first, second) = together.split_at_mut(1);
            let mut slots = [
                Slot { cache: &mut cache, tokens: &[5], horizon: len + 1, logits: Some(&mut first[0]) },
                Slot { cache: &mut other, tokens: &[5], horizon: 41, logits: Some(&mut second[0]) },
            ];
            gpu.forward(&mut slots, &|| true).unwrap();
            let differ = alone.iter().zip(&together[0]).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
            if differ > 0 {
                let error = relative_error(&together[0], &alone);
                wrong.push(format!("{at}: {differ} of {} logits have other bits in company, {error:.2e}", alone.len()));
            }
            // Some tokens in a row, chosen on the device and by its logits.
            cache.truncate(len);
            let mut slots = [Slot { cache: &mut cache, tokens: &[5], horizon: len + 1, logits: None }];
            let largest = Choice { sampling: &Sampling::default(), sequence: &[] };
            let chosen = gpu.decode(&mut slots, &[largest], 6, &|| true).unwrap().remove(0);
            cache.truncate(len);
            let mut expected = vec![];
            let mut next = 5;
            for _ in 0..6 {
                next = argmax(&feed(&gpu, &mut cache, &[next], shape.vocab));
                expected.push(next);
            }
            if chosen != expected {
                wrong.push(format!("{at}: the device chose {chosen:?}, its logits say {expected:?}"));
            }
        }
        drop((gpu, cpu));
        fs::remove_dir_all(folder).unwrap();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
