//! Decode and prefill speed of real shapes with random weights on the first GPU, beside the GPU's own reading speed.
//!
//! `bench_gpu measure RESULTS [MODEL:FORMAT …]`, for example `… tinyllama:F16 llama-8b:F8_E4M3`, adds to a JSON file, and
//! prints one object a line; `bench_gpu name` prints the GPU's name.
//!
//! Bytes a second are those of the weights and of the cache that a token has to read, once a pass and once a row.

use std::{error::Error, sync::Arc, time::Instant};

use gpu::{Results, Shape, pair};
use serde_json::json;
use viva_tensor_engine::{
    backend::{
        cuda::{
            self,
            decode::Plan,
            driver::Device,
            forward::{CHUNK, CudaModel, Slot},
            profile::KernelTime,
            program::{Dimensions, KvFormat, Program, is_wide},
            weights::{Matrix, kernel_names},
        },
        weights::{Layer, Norm, Packed, Weights},
    },
    error::Result,
    model::spec::{Activation, LayerSpec, Linear, ModelSpec, NormKind, Rope, RowOrder, RowSlice},
    quant::Format,
    sampler::{Choice, Sampling},
};

mod gpu;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Rows of small finite weights.
fn stored(format: Format, weights: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let bytes = format.bytes_of(weights).unwrap();
    let mut out: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| random(&mut state).to_le_bytes()).take(bytes).collect();
    let scale = half::f16::from_f32(0.001).to_le_bytes();
    for block in out.chunks_exact_mut(format.block_bytes()) {
        match format {
            // Small exponents of random signs and mantissas.
            Format::F16 => block[1] = block[1] & 0x83 | 0x24,
            Format::Bf16 => block[1] = block[1] & 0x80 | 0x3c,
            Format::F32 => block[3] = block[3] & 0x80 | 0x3c,
            Format::F8E4m3 => block[0] = block[0] & 0x87 | 0x10,
            Format::Q8_0 | Format::Q4_0 | Format::Q5_0 => block[..2].copy_from_slice(&scale),
            Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => {
                block[..2].copy_from_slice(&scale);
                block[2..4].copy_from_slice(&scale);
            }
            Format::Q6K => block[208..210].copy_from_slice(&half::f16::from_f32(1e-5).to_le_bytes()),
            Format::Q2K => (block[80..82].copy_from_slice(&scale), block[82..84].copy_from_slice(&scale)).0,
            Format::Q3K => block[108..110].copy_from_slice(&scale),
            // Any bits are weights; no GPU has these.
            Format::Int8 | Format::Int4 | Format::Int8Sparse24 | Format::Int4Sparse24 => {}
        }
    }
    out
}

fn matrix(device: &Arc<Device>, format: Format, rows: usize, cols: usize) -> Result<Arc<Matrix>> {
    let mut matrix = Matrix::new(device, format, rows, cols)?;
    let some = stored(format, 64 * cols);
    for first in (0..rows).step_by(64) {
        let count = (rows - first).min(64);
        let places: Vec<usize> = (first..first + count).collect();
        matrix.set_rows(&places, &some[..count * format.bytes_of(cols).unwrap()])?;
    }
    if format == Format::F8E4m3 {
        matrix.set_scales(cols, &vec![vec![0.05]; rows])?;
    }
    Ok(Arc::new(matrix))
}

fn linear(rows: usize) -> Linear {
    let slice = RowSlice { tensor: String::new(), rows: 0..rows, scale: None, order: RowOrder::Split };
    Linear { rows: vec![slice], bias: vec![] }
}

fn build(device: &Arc<Device>, shape: &Shape, format: Format, context: usize) -> Result<(CudaModel, u64)> {
    let Shape { width, ffn, layers, heads, kv_heads, head_dim, vocab, tied, .. } = *shape;
    let spec_norm = viva_tensor_engine::model::spec::Norm {
        kind: NormKind::Rms,
        weight: String::new(),
        bias: None,
        eps: 1e-5,
        weight_offset: 0.0,
    };
    let norm = || Norm { kind: NormKind::Rms, eps: 1e-5, weight: vec![1.0; width], bias: vec![] };
    let layer = LayerSpec {
        attention_norm: spec_norm.clone(),
        query: linear(heads * head_dim),
        key: linear(kv_heads * head_dim),
        value: linear(kv_heads * head_dim),
        query_norm: None,
        key_norm: None,
        rope: 0,
        window: None,
        attention_scale: 1.0 / (head_dim as f32).sqrt(),
        attention_softcap: None,
        output: linear(width),
        attention_post_norm: None,
        ffn_norm: Some(spec_norm.clone()),
        gate: Some(linear(ffn)),
        up: linear(ffn),
        down: linear(width),
        activation: Activation::Silu,
        ffn_post_norm: None,
    };
    let frequencies = (0..head_dim / 2).map(|i| 10000_f32.powf(-2.0 * i as f32 / head_dim as f32)).collect();
    let spec = ModelSpec {
        width,
        vocab,
        heads,
        kv_heads,
        head_dim,
        max_context: context,
        embedding: linear(vocab),
        embedding_scale: 1.0,
        ropes: vec![Rope { inverse_frequencies: frequencies, long: None, rotary: head_dim, magnitude: 1.0 }],
        layers: vec![layer; layers],
        final_norm: spec_norm,
        head: linear(vocab),
        logit_softcap: None,
    };
    let new = |rows, cols| matrix(device, format, rows, cols);
    let embedding = new(vocab, width)?;
    let head = if tied { Arc::clone(&embedding) } else { new(vocab, width)? };
    let layers = (0..layers).map(|_| {
        Ok(Layer {
            attention_norm: norm(),
            query: new(heads * head_dim, width)?,
            key: new(kv_heads * head_dim, width)?,
            value: new(kv_heads * head_dim, width)?,
            query_norm: None,
            key_norm: None,
            output: new(width, heads * head_dim)?,
            attention_post_norm: None,
            ffn_norm: Some(norm()),
            gate: Some(new(ffn, width)?),
            up: new(ffn, width)?,
            down: new(width, ffn)?,
            ffn_post_norm: None,
        })
    });
    let weights = Weights { embedding, layers: layers.collect::<Result<_>>()?, final_norm: norm(), head };
    let unread = if tied { 0 } else { weights.embedding.bytes() };
    let bytes = weights.matrices().iter().map(|matrix| matrix.bytes()).sum::<usize>() - unread;
    let dimensions = Dimensions::of(&spec, KvFormat::Bf16, context, device.multiprocessors);
    let plan = Plan::of(device, &spec, &weights, &dimensions);
    if plan.is_none() {
        eprintln!("{}: the general road", shape.name);
    }
    let names = kernel_names(&weights);
    let program = Program::new(&dimensions, &names, plan.as_ref(), is_wide(device.capability));
    let module = program.module(device)?;
    Ok((CudaModel::new(spec, weights, device, &dimensions, plan.as_ref(), module, context)?, bytes as u64))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn rounded(value: f64, places: i32) -> f64 {
    (value * 10_f64.powi(places)).round() / 10_f64.powi(places)
}

/// A row of the table of kernels; one that is all of a pass reads all of its bytes.
fn kernel(time: &KernelTime, all: f64, bytes_of_pass: u64) -> serde_json::Value {
    let whole = time.microseconds > 0.99 * all && time.weight_bytes == 0;
    let bytes = if whole { bytes_of_pass } else { time.weight_bytes };
    json!({
        "kernel": time.kernel, "launches": time.launches, "us": rounded(time.microseconds, 1), "bytes": bytes,
        "share": rounded(time.microseconds / all, 3), "gb_per_second": rounded(bytes as f64 / time.microseconds / 1e3, 0),
    })
}

fn measure(
    device: &Arc<Device>,
    shape: &Shape,
    format: Format,
    ceiling: f64,
    results: &mut Results,
) -> std::result::Result<(), Box<dyn Error>> {
    let (context, sampling) = (8192, Sampling::default());
    let (model, bytes) = build(device, shape, format, context)?;
    let name = json!({"gpu": device.name, "model": shape.name, "weights": format.to_string()});
    let one = |more: serde_json::Value| {
        let mut one = name.clone();
        if let (Some(one), Some(more)) = (one.as_object_mut(), more.as_object()) {
            one.extend(more.clone());
        }
        one
    };
    for (depth, batch) in [(32, 1), (1024, 1), (4096, 1), (32, 8), (1024, 8), (4096, 8)] {
        let mut caches: Vec<_> = (0..batch).map(|_| model.new_cache()).collect();
        for cache in &mut caches {
            let tokens: Vec<u32> = (0..depth as u32).map(|i| 5 + i * 7 % 900).collect();
            for tokens in tokens.chunks(512) {
                model.forward(&mut [Slot { cache, tokens, horizon: depth, logits: None }], &|| true)?;
            }
        }
        let mut rates = vec![];
        for lap in 0..7 {
            caches.iter_mut().for_each(|cache| cache.truncate(depth));
            let lap_start = Instant::now();
            for part in 0..4 {
                let horizon = depth + part * 32 + 1;
                let mut slots: Vec<_> =
                    caches.iter_mut().map(|cache| Slot { cache, tokens: &[9], horizon, logits: None }).collect();
                let largest = vec![Choice { sampling: &sampling, sequence: &[] }; batch];
                model.decode(&mut slots, &largest, 32, &|| true)?;
            }
            if lap > 1 {
                rates.push(128.0 / lap_start.elapsed().as_secs_f64());
            }
        }
        let rate = median(rates);
        caches.iter_mut().for_each(|cache| cache.truncate(depth));
        let mut slots: Vec<_> =
            caches.iter_mut().map(|cache| Slot { cache, tokens: &[9], horizon: depth + 1, logits: None }).collect();
        let times = model.profile(&mut slots)?;
        let all: f64 = times.iter().map(|time| time.microseconds).sum();
        // In the middle of the 128 tokens.
        let cache_bytes = shape.cache_bytes(depth + 64) * batch as u64;
        let speed = (bytes + cache_bytes) as f64 * rate;
        results.add(one(json!({
            "what": "decode", "batch": batch, "depth": depth,
            "decode_tokens_per_second": rounded(rate * batch as f64, 1),
            "gb_per_second": rounded(speed / 1e9, 0), "ceiling_gb_per_second": rounded(ceiling / 1e9, 0),
            "share_of_ceiling": rounded(speed / ceiling, 3),
            "weight_bytes_per_pass": bytes, "cache_bytes_per_pass": cache_bytes,
            "in_one_launch": batch == 1 && model.decodes_in_one_launch(),
            "kernels": times.iter().map(|time| kernel(time, all, bytes + cache_bytes)).collect::<Vec<_>>(),
        })))?;
    }
    for count in [512, 2048] {
        let tokens: Vec<u32> = (0..count as u32).map(|i| 5 + i * 7 % 900).collect();
        let mut logits = vec![0.0; shape.vocab];
        let mut seconds = vec![];
        for lap in 0..5 {
            let mut cache = model.new_cache();
            cache.reserve(count)?;
            let lap_start = Instant::now();
            for (i, tokens) in tokens.chunks(CHUNK).enumerate() {
                let logits = ((i + 1) * CHUNK >= count).then_some(&mut logits[..]);
                model.forward(&mut [Slot { cache: &mut cache, tokens, horizon: count, logits }], &|| true)?;
            }
            if lap > 0 {
                seconds.push(lap_start.elapsed().as_secs_f64());
            }
        }
        let took = median(seconds);
        results.add(one(json!({
            "what": "prefill", "batch": 1, "depth": 0, "prefill_tokens": count,
            "prefill_tokens_per_second": rounded(count as f64 / took, 0), "first_token_ms": rounded(took * 1e3, 3),
        })))?;
    }
    Ok(())
}

const USUAL: [&str; 16] = [
    "tinyllama:F8_E4M3",
    "tinyllama:BF16",
    "tinyllama:F16",
    "tinyllama:Q4_0",
    "tinyllama:Q8_0",
    "tinyllama:Q4_K",
    "llama-1b:F8_E4M3",
    "llama-1b:BF16",
    "llama-1b:Q8_0",
    "llama-8b:F8_E4M3",
    "llama-8b:BF16",
    "llama-8b:Q8_0",
    "llama-8b:Q4_0",
    "llama-8b:Q4_K",
    "llama2-7b:F16",
    "llama2-7b:F8_E4M3",
];

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let device = cuda::open(0)?;
    let (out, wanted) = match words[..] {
        ["name"] => {
            println!("{}", device.name);
            return Ok(());
        }
        ["measure", out] => (out, &USUAL[..]),
        ["measure", out, ..] => (out, &words[2..]),
        _ => return Err("usage: bench_gpu name | measure RESULTS [MODEL:FORMAT …]".into()),
    };
    let ceiling = cuda::lab::read_bandwidth(&device)?;
    let mut results = Results::open(out)?;
    for text in wanted {
        let known = pair(text)
            .and_then(|(shape, format)| Some((shape, Format::ALL.into_iter().find(|known| known.name() == format)?)));
        let (shape, format) = known.ok_or_else(|| format!("{text}: unknown"))?;
        measure(&device, &shape, format, ceiling, &mut results)?;
    }
    Ok(())
}
