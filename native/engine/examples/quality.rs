//! What a weight format costs in quality, on the CPU: `cargo run --release --example quality MODEL TEXT GOLDEN`.
//!
//! The reference is the checkpoint as it is stored, in f32 arithmetic. Every other format is packed from the very weights
//! of the checkpoint, so that it is compared with what it was made from. The text is read in segments, each from an empty
//! cache; at every position but a segment's last, the two distributions of the next token are compared. GOLDEN has
//! prompts and greedy answers of transformers (test/fixtures/smollm2_135m_greedy.json). One JSON object a format.

use std::{error::Error, fs, path::Path};

use serde_json::{Value, json};
use viva_tensor_engine::{
    backend::cpu::{
        forward::{CpuModel, Slot},
        kv_cache::KvCache,
        weights::Loading,
    },
    checkpoint::Checkpoint,
    model,
    quant::WeightFormat,
    tokenizer::Tokenizer,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Tokens of a segment.
const SEGMENT: usize = 256;
/// Segments that are read at once.
const TOGETHER: usize = 12;

const FORMATS: [(&str, WeightFormat); 10] = [
    ("Keep", WeightFormat::Keep),
    ("Fp8", WeightFormat::Fp8),
    ("Fp8, blocks of 128 columns", WeightFormat::Fp8Blocks(128)),
    ("Fp8, blocks of 16 columns", WeightFormat::Fp8Blocks(16)),
    ("Int8", WeightFormat::Int8),
    ("Int4(32)", WeightFormat::Int4(32)),
    ("Int4(64)", WeightFormat::Int4(64)),
    ("Int4(128)", WeightFormat::Int4(128)),
    ("Int8Sparse24", WeightFormat::Int8Sparse24),
    ("Int4Sparse24", WeightFormat::Int4Sparse24),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, text, golden] = &arguments[..] else {
        return Err("usage: quality MODEL TEXT GOLDEN".into());
    };
    let checkpoint = Checkpoint::open(Path::new(path))?;
    let ids = Tokenizer::from_checkpoint(&checkpoint.description)?.encode(&fs::read_to_string(text)?, false)?;
    let golden: Value = serde_json::from_slice(&fs::read(golden)?)?;
    let mut reference = vec![];
    for (name, format) in FORMATS {
        let (model, vocab) = load(&checkpoint, format)?;
        let (mut sums, mut seen) = (Sums::default(), 0);
        for group in ids.chunks(SEGMENT * TOGETHER) {
            let segments: Vec<&[u32]> = group.chunks(SEGMENT).collect();
            each_distribution(&model, vocab, &segments, |next, logits| {
                let logprobs = log_softmax(logits);
                if format == WeightFormat::Keep {
                    reference.push(logprobs.clone());
                }
                sums.add(&reference[seen], &logprobs, next as usize);
                seen += 1;
            })?;
        }
        let (equal, cases) = greedy(&model, vocab, &golden)?;
        let matrices = model.weights().matrices();
        let bytes: usize = matrices.iter().map(|matrix| matrix.bytes()).sum();
        let weights: usize = matrices.iter().map(|matrix| matrix.rows() * matrix.cols()).sum();
        let count = sums.count as f64;
        let line = json!({
            "weights": name,
            "bits_a_weight": 8.0 * bytes as f64 / weights as f64,
            "tokens": ids.len(),
            "positions": sums.count,
            "perplexity": (sums.surprise / count).exp(),
            "mean_kl_nat": sums.divergence / count,
            "top1_agreement": sums.agreements as f64 / count,
            "greedy_equal": equal,
            "greedy_cases": cases,
        });
        println!("{line}");
    }
    Ok(())
}

fn load(checkpoint: &Checkpoint, format: WeightFormat) -> Result<(CpuModel, usize)> {
    let spec = model::spec(checkpoint)?;
    let mut loading = Loading::with(&spec, checkpoint, format)?.requantizing();
    while !loading.step(checkpoint)? {}
    let (weights, vocab) = (loading.finish(&spec, checkpoint)?, spec.vocab);
    Ok((CpuModel::new(spec, weights, None, 2 * SEGMENT)?, vocab))
}

/// Hands out, segment by segment, each next token with the logits that were to foretell it.
fn each_distribution(
    model: &CpuModel,
    vocab: usize,
    segments: &[&[u32]],
    mut take: impl FnMut(u32, &[f32]),
) -> Result<()> {
    let mut caches: Vec<KvCache> = segments.iter().map(|_| model.new_cache()).collect();
    let mut logits = vec![vec![0.0_f32; vocab]; segments.len()];
    for position in 0..SEGMENT - 1 {
        let mut slots = vec![];
        for ((segment, cache), logits) in segments.iter().zip(&mut caches).zip(&mut logits) {
            if position + 1 < segment.len() {
                let tokens = &segment[position..=position];
                slots.push(Slot { cache, tokens, horizon: position + 1, logits: Some(logits) });
            }
        }
        if slots.is_empty() {
            break;
        }
        model.forward(&mut slots, &|| true)?;
        for (segment, logits) in segments.iter().zip(&logits) {
            if let Some(next) = segment.get(position + 1) {
                take(*next, logits);
            }
        }
    }
    Ok(())
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    let log_sum = f64::from(largest) + sum.ln();
    logits.iter().map(|logit| (f64::from(*logit) - log_sum) as f32).collect()
}

fn argmax(numbers: &[f32]) -> usize {
    (0..numbers.len()).fold(0, |best, i| if numbers[i] > numbers[best] { i } else { best })
}

#[derive(Default)]
struct Sums {
    count: usize,
    agreements: usize,
    /// Of the tokens that came, in nats.
    surprise: f64,
    /// Kullback-Leibler, of the reference from what is measured, in nats.
    divergence: f64,
}

impl Sums {
    fn add(&mut self, reference: &[f32], found: &[f32], next: usize) {
        self.count += 1;
        self.agreements += usize::from(argmax(reference) == argmax(found));
        self.surprise -= f64::from(found[next]);
        let terms = reference.iter().zip(found).map(|(p, q)| f64::from(*p).exp() * (f64::from(*p) - f64::from(*q)));
        self.divergence += terms.sum::<f64>();
    }
}

/// How many of the greedy answers are the golden ones, token by token, and of how many.
fn greedy(model: &CpuModel, vocab: usize, golden: &Value) -> Result<(usize, usize)> {
    let ids = |value: &Value| -> Option<Vec<u32>> {
        value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
    };
    let cases = golden["cases"].as_array().ok_or("no cases in GOLDEN")?;
    let mut equal = 0;
    for case in cases {
        let (prompt, expected) = ids(&case["prompt_ids"]).zip(ids(&case["greedy_ids"])).ok_or("a case without ids")?;
        let (mut cache, mut logits) = (model.new_cache(), vec![0.0; vocab]);
        let mut tokens = prompt;
        let mut same = true;
        for expected in expected {
            let horizon = cache.len() + tokens.len();
            let mut slots = [Slot { cache: &mut cache, tokens: &tokens, horizon, logits: Some(&mut logits) }];
            model.forward(&mut slots, &|| true)?;
            let found = argmax(&logits) as u32;
            same = same && found == expected;
            if !same {
                break;
            }
            tokens = vec![found];
        }
        equal += usize::from(same);
    }
    Ok((equal, cases.len()))
}
