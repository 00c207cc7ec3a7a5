//! The kernels of prompts on a GPU: products and attention against float64, golden logits, the same bits in company.
//!
//! Without a GPU each test says so and tests nothing.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gpu::gpu;
use half::{bf16, f16};
use random::Random;
use serde_json::Value;
use viva_tensor_engine::{
    backend::{
        cuda::{
            Loading,
            driver::Device,
            forward::{BATCH, CHUNK, CudaModel, Slot},
            lab_prefill::{After, Attending, PromptLab, Sequence, Tiles},
            program::{Dimensions, KvFormat},
        },
        tensor::error_function,
    },
    checkpoint::Checkpoint,
    model::{self, spec::Activation},
    quant::{Format, WeightFormat},
};

mod gpu;
mod random;

/// As in golden_cuda.rs: ten roundings to bf16, one on top of the other.
const TOLERANCE_BF16: f64 = 2e-2;
const TILES: [Tiles; 2] = [Tiles::Rows128, Tiles::Rows64];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures")
}

fn dimensions(heads: usize, kv_heads: usize, head_dim: usize) -> Dimensions {
    Dimensions { width: 1 << 30, heads, kv_heads, head_dim, kv_format: KvFormat::Bf16, span: 64, splits: 1 }
}

/// mma.sync everywhere, and wgmma where there is a Hopper.
fn kinds(device: &Device) -> Vec<bool> {
    if device.capability.0 == 9 { vec![false, true] } else { vec![false] }
}

fn labs(device: &Arc<Device>, format: Format) -> Vec<PromptLab> {
    let lab = |is_wide| PromptLab::new(device, &dimensions(1, 1, 64), &BTreeSet::from([format]), is_wide).unwrap();
    kinds(device).into_iter().map(lab).collect()
}

/// Stored rows of the fixtures' finite blocks in random order, and what they mean.
fn stored(format: Format, rows: usize, cols: usize, random: &mut Random) -> (Vec<u8>, Vec<f32>) {
    let name = format.name().to_lowercase();
    let content = fs::read(fixtures().join(format!("quant/{name}.bin"))).unwrap();
    let (count, rest) = content.split_first_chunk::<4>().unwrap();
    let (blocks, numbers) = rest.split_at(u32::from_le_bytes(*count) as usize * format.block_bytes());
    let numbers: Vec<f32> = numbers.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let finite: Vec<&[u8]> = blocks
        .chunks_exact(format.block_bytes())
        .zip(numbers.chunks_exact(format.block_len()))
        .filter(|(_, weights)| weights.iter().all(|weight| weight.abs() < 1e4))
        .map(|(block, _)| block)
        .collect();
    let picks = (0..rows * cols / format.block_len()).map(|_| finite[random.next() as usize % finite.len()]);
    let bytes: Vec<u8> = picks.flatten().copied().collect();
    let mut weights = vec![0.0; rows * cols];
    format.dequantize(&bytes, &mut weights).unwrap();
    (bytes, weights)
}

/// Each row as f16 numbers times a power of two, the largest below 2^(top + 1).
fn halved(rows: &[f32], cols: usize, top: i32) -> Vec<f64> {
    let row = |row: &[f32]| {
        let most = row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let power = if most > 0.0 { 2.0_f64.powi(top - f64::from(most).log2().floor() as i32) } else { 1.0 };
        row.iter().map(|x| f16::from_f32((f64::from(*x) * power) as f32).to_f64() / power).collect::<Vec<_>>()
    };
    rows.chunks_exact(cols).flat_map(row).collect()
}

/// Sum and sum of magnitudes of w x.
fn dot(w: &[f64], x: &[f64]) -> (f64, f64) {
    w.iter().zip(x).fold((0.0, 0.0), |(sum, size), (w, x)| (sum + w * x, size + (w * x).abs()))
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

#[test]
fn products_of_prompts_equal_float64_in_every_format() {
    let Some(device) = gpu("products") else { return };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for format in Format::ALL.into_iter().filter(|format| *format != Format::F32) {
        // Neither fills a tile; where blocks allow it, the columns end within a stage.
        let (rows, cols) = (201, if format.block_len() == 1 { 712 } else { 768 });
        let (bytes, weights) = stored(format, rows, cols, &mut random);
        let bias = random.floats(rows);
        let exact_w = wide(&weights);
        let half_w = if format == Format::F16 { exact_w.clone() } else { halved(&weights, cols, 14) };
        for (lab, by) in labs(&device, format).iter().flat_map(|lab| TILES.map(|by| (lab, by))) {
            let matrix = lab.matrix(format, rows, cols, &bytes, &bias).unwrap();
            for count in [9, 17, 130, CHUNK] {
                let x = random.floats(count * cols);
                let found = lab.multiply(&[&matrix], &x, count, After::Store, by).unwrap().remove(0);
                assert_eq!(found.len(), count * rows);
                let (exact_x, half_x) = (wide(&x), halved(&x, cols, 13));
                // Every eleventh token, and the last: float64 is slow.
                for token in (0..count).filter(|token| token % 11 == 0 || token + 1 == count) {
                    let (own, own_half) = (&exact_x[token * cols..][..cols], &half_x[token * cols..][..cols]);
                    for row in 0..rows {
                        let (rounded, _) = dot(&half_w[row * cols..][..cols], own_half);
                        let (exact, size) = dot(&exact_w[row * cols..][..cols], own);
                        let (bias, y) = (f64::from(bias[row]), f64::from(found[token * rows + row]));
                        let at = format!("{format} {by:?}, {count} tokens, token {token}, row {row}");
                        // Of what was rounded, only the f32 sums may err: a truncation of 2^-23 for each addition, of
                        // which there are two for sixteen columns, and the last steps.
                        let additions = (cols / 8 + 4) as f64 * 2.0_f64.powi(-23);
                        let bound = (size * 1.01 + bias.abs()) * additions + 1e-30;
                        assert!((rounded + bias - y).abs() <= bound, "{at}: {y} for {}", rounded + bias);
                        // Both operands are within 2^-11 of what they were.
                        let bound = bound + size * 2.1 * 2.0_f64.powi(-11);
                        assert!((exact + bias - y).abs() <= bound, "{at}: {y} for {}", exact + bias);
                    }
                }
            }
        }
    }
}

#[test]
fn bf16_weights_beyond_f16_stay_what_they_are() {
    let Some(device) = gpu("bf16 range") else { return };
    let mut random = Random(77);
    let (rows, cols, count) = (30, 64, 12);
    // A row each 2^8 larger than the one before: from 2^-116 to 2^116.
    let sizes: Vec<f32> = (0..rows).map(|row| 2.0_f32.powi(row as i32 * 8 - 116)).collect();
    let weights: Vec<u16> =
        (0..rows * cols).map(|i| bf16::from_f32(random.float() * sizes[i / cols]).to_bits()).collect();
    let bytes: Vec<u8> = weights.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let values: Vec<f64> = weights.iter().map(|bits| bf16::from_bits(*bits).to_f64()).collect();
    let x = random.floats(count * cols);
    let half_x = halved(&x, cols, 13);
    for lab in labs(&device, Format::Bf16) {
        let matrix = lab.matrix(Format::Bf16, rows, cols, &bytes, &[]).unwrap();
        let found = lab.multiply(&[&matrix], &x, count, After::Store, Tiles::Rows128).unwrap().remove(0);
        for (token, y) in found.chunks_exact(rows).enumerate() {
            for (row, y) in y.iter().enumerate() {
                let (sum, size) = dot(&values[row * cols..][..cols], &half_x[token * cols..][..cols]);
                let bound = size * (cols / 8 + 4) as f64 * 2.0_f64.powi(-23);
                assert!((sum - f64::from(*y)).abs() <= bound, "row {row}: {y:e} for {sum:e}");
            }
        }
    }
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + error_function(x / 2.0_f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

#[test]
fn what_becomes_of_a_product_is_what_was_asked_for() {
    let Some(device) = gpu("modes") else { return };
    let mut random = Random(5);
    let (format, cols, count) = (Format::Q8_0, 160, 139);
    let heights = [201, 72, 37];
    let activations = [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu];
    let mut afters = vec![After::Store, After::Add(0.75)];
    afters.extend(activations.map(After::Activated));
    afters.extend(activations.map(After::Gated));
    for (lab, by) in labs(&device, format).iter().flat_map(|lab| TILES.map(|by| (lab, by))) {
        for after in afters.iter().copied() {
            let heights = if matches!(after, After::Gated(_)) { &[105, 105][..] } else { &heights[..] };
            let parts: Vec<_> = heights
                .iter()
                .map(|rows| {
                    let (bytes, weights) = stored(format, *rows, cols, &mut random);
                    // Small enough for an activation to have something to bend.
                    let bias = random.floats(*rows);
                    (lab.matrix(format, *rows, cols, &bytes, &bias).unwrap(), halved(&weights, cols, 14), bias)
                })
                .collect();
            let x: Vec<f32> = random.floats(count * cols).iter().map(|x| x * 0.01).collect();
            let half_x = halved(&x, cols, 13);
            let matrices: Vec<_> = parts.iter().map(|(matrix, _, _)| matrix).collect();
            let found = lab.multiply(&matrices, &x, count, after, by).unwrap();
            assert_eq!(found.len(), if matches!(after, After::Gated(_)) { 1 } else { parts.len() });
            for (part, found) in found.iter().enumerate() {
                let rows = heights[part];
                assert_eq!(found.len(), count * rows);
                for (i, y) in found.iter().enumerate() {
                    let (token, row) = (i / rows, i % rows);
                    let own = &half_x[token * cols..][..cols];
                    let of = |part: usize| {
                        let (sum, size) = dot(&parts[part].1[row * cols..][..cols], own);
                        (sum + f64::from(parts[part].2[row]), size + 1.0)
                    };
                    let (product, size) = of(part);
                    let (expected, size) = match after {
                        After::Store => (product, size),
                        After::Add(before) => (product + f64::from(before), size),
                        After::Activated(activation) => (activate(activation, product), size * 2.0),
                        After::Gated(activation) => {
                            let (up, up_size) = of(1);
                            (activate(activation, product) * up, size * up_size * 4.0)
                        }
                    };
                    let bound = size * (cols / 8 + 8) as f64 * 2.0_f64.powi(-23);
                    let at = format!("{by:?} {after:?}, matrix {part}, token {token}, row {row}");
                    assert!((expected - f64::from(*y)).abs() <= bound, "{at}: {y} for {expected}");
                }
            }
        }
    }
}

#[test]
fn a_token_of_a_product_has_the_same_bits_in_any_chunk() {
    let Some(device) = gpu("company of products") else { return };
    let mut random = Random(11);
    let (format, rows, cols) = (Format::Bf16, 300, 1096);
    for (lab, by) in labs(&device, format).iter().flat_map(|lab| TILES.map(|by| (lab, by))) {
        let (bytes, _) = stored(format, rows, cols, &mut random);
        let matrix = lab.matrix(format, rows, cols, &bytes, &[]).unwrap();
        let x = random.floats(CHUNK * cols);
        let all = lab.multiply(&[&matrix], &x, CHUNK, After::Store, by).unwrap().remove(0);
        for (first, count) in [(0, 9), (3, 130), (400, 77), (511, 1)] {
            let own = &x[first * cols..(first + count) * cols];
            let found = lab.multiply(&[&matrix], own, count, After::Store, by).unwrap().remove(0);
            assert!(same_bits(&found, &all[first * rows..(first + count) * rows]), "{by:?}: {count} from {first}");
        }
    }
}

fn bf16s(random: &mut Random, count: usize) -> Vec<u16> {
    (0..count).map(|_| bf16::from_f32(random.float()).to_bits()).collect()
}

/// (positions, of which the last so many are rows) of each sequence.
fn sequences(shape: &[(usize, usize)], kv: usize, head: usize, random: &mut Random) -> Vec<Sequence> {
    let sequence = |(positions, rows): &(usize, usize)| {
        let mut half = || bf16s(random, kv * positions * head);
        Sequence { keys: half(), values: half(), positions: *positions, rows: *rows }
    };
    shape.iter().map(sequence).collect()
}

/// softmax(scale q k^T) v of one row's head, and the largest error that the kernel may make.
fn attention(query: &[f32], sequence: &Sequence, kv: usize, position: usize, attending: Attending) -> (Vec<f64>, f64) {
    let head = query.len();
    let number = |bits: &[u16], at: usize| {
        bf16::from_bits(bits[(kv * sequence.positions + at / head) * head + at % head]).to_f64()
    };
    let first = attending.window.map_or(0, |window| (position + 1).saturating_sub(window));
    let (mut scores, mut size) = (vec![], 0.0_f64);
    for p in first..=position {
        let terms = (0..head).map(|d| f64::from(query[d]) * number(&sequence.keys, p * head + d));
        let (sum, magnitude) = terms.fold((0.0, 0.0), |(sum, size), term: f64| (sum + term, size + term.abs()));
        let score = sum * f64::from(attending.scale);
        scores.push(attending.softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()));
        size = size.max(magnitude * f64::from(attending.scale));
    }
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let out = (0..head).map(|d| {
        let terms = weights
            .iter()
            .enumerate()
            .map(|(i, weight)| weight / sum * number(&sequence.values, (first + i) * head + d));
        terms.sum()
    });
    // A query in two bf16 is within 2^-17 of itself, and a score's error is its weight's; so are the weights, and the
    // exponential's argument is rounded once more. Values are at most 1.
    let cap = f64::from(attending.softcap.unwrap_or(0.0));
    let score_error =
        size * 2.0_f64.powi(-16) + (scores.iter().fold(0.0_f64, |a, b| a.max(b.abs())) + cap) * 2.0_f64.powi(-22);
    (out.collect(), 2.0 * score_error + 2.0_f64.powi(-15))
}

#[test]
fn attention_of_prompts_equals_float64() {
    let Some(device) = gpu("attention") else { return };
    let mut random = Random(21);
    let plain = |head: usize| Attending { window: None, scale: 1.0 / (head as f32).sqrt(), softcap: None };
    for (heads, kv, head) in [(8, 2, 64), (2, 2, 80), (3, 1, 96), (4, 2, 128), (2, 1, 256)] {
        let lab =
            PromptLab::new(&device, &dimensions(heads, kv, head), &BTreeSet::from([Format::Bf16]), false).unwrap();
        let cases: [(&[(usize, usize)], Attending); 5] = [
            (&[(512, 512)], plain(head)),
            (&[(1300, 40)], plain(head)),
            (&[(20, 20), (313, 13), (67, 60), (257, 2), (9, 9)], plain(head)),
            (&[(390, 130)], Attending { window: Some(50), ..plain(head) }),
            (&[(9, 9), (570, 70)], Attending { window: Some(300), softcap: Some(3.0), ..plain(head) }),
        ];
        for (shape, attending) in cases {
            let all = sequences(shape, kv, head, &mut random);
            let count: usize = shape.iter().map(|(_, rows)| rows).sum();
            let query: Vec<f32> = random.floats(count * heads * head).iter().map(|x| x * 3.0).collect();
            let found = lab.attend(&all, &query, attending).unwrap();
            let mut row = 0;
            for sequence in &all {
                for position in sequence.positions - sequence.rows..sequence.positions {
                    for of in 0..heads {
                        let at = (row * heads + of) * head;
                        let own = &query[at..at + head];
                        let (expected, bound) = attention(own, sequence, of / (heads / kv), position, attending);
                        for (expected, found) in expected.iter().zip(&found[at..at + head]) {
                            let error = (expected - f64::from(*found)).abs();
                            assert!(error <= bound, "{head} {shape:?} row {row} head {of}: {found} for {expected}");
                        }
                    }
                    row += 1;
                }
            }
            // The last sequence alone, and its last rows alone.
            let mut last = all.into_iter().next_back().unwrap();
            for rows in [last.rows, last.rows.min(5)] {
                last.rows = rows;
                let from = (count - rows) * heads * head;
                let alone = lab.attend(std::slice::from_ref(&last), &query[from..], attending).unwrap();
                assert!(same_bits(&alone, &found[from..]), "{head} {shape:?}: the last {rows} rows alone");
            }
        }
    }
}

fn load(path: &Path) -> (CudaModel, usize) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let spec = model::spec(&checkpoint).unwrap();
    let mut loading = Loading::with(&spec, &checkpoint, WeightFormat::Keep, 0, 2048, KvFormat::Bf16).unwrap();
    while !loading.step(&checkpoint).unwrap() {}
    (loading.finish(&spec).unwrap(), spec.vocab)
}

/// Logits of a prompt's last token, computed so many tokens at a time.
fn feed(model: &CudaModel, prompt: &[u32], vocab: usize, together: usize) -> Vec<f32> {
    let (mut cache, mut logits) = (model.new_cache(), vec![f32::NAN; vocab]);
    for tokens in prompt.chunks(together) {
        let horizon = prompt.len();
        model.forward(&mut [Slot { cache: &mut cache, tokens, horizon, logits: Some(&mut logits) }], &|| true).unwrap();
    }
    logits
}

fn relative_error(expected: &[f64], found: &[f32]) -> f64 {
    let error: f64 = expected.iter().zip(found).map(|(e, l)| (e - f64::from(*l)).powi(2)).sum();
    (error / expected.iter().map(|e| e * e).sum::<f64>()).sqrt()
}

#[test]
fn prompts_have_their_golden_logits() {
    let Some(_) = gpu("golden prompts") else { return };
    let (mut seen, mut wrong) = (0, vec![]);
    for group in ["tiny", "variants"] {
        let mut folders: Vec<_> =
            fs::read_dir(fixtures().join(group)).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        for folder in folders.iter().filter(|folder| folder.join("golden.json").is_file()) {
            let golden: Value = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
            let (model, vocab) = load(folder);
            for case in golden["cases"].as_array().unwrap().iter().filter(|case| case["logits"].is_array()) {
                let numbers =
                    |name: &str| case[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect::<Vec<_>>();
                let prompt: Vec<u32> = numbers("prompt_ids").iter().map(|id| *id as u32).collect();
                if !model.has_prefill() || prompt.len() <= BATCH {
                    continue;
                }
                let found = feed(&model, &prompt, vocab, CHUNK);
                let at = format!("{} ({} tokens)", folder.display(), prompt.len());
                // The same through the products of decoding, whose weights and activations are exact: what is left is a
                // rounding to f16 or two for each one to bf16 that the cache makes.
                let error = relative_error(&wide(&feed(&model, &prompt, vocab, BATCH)), &found);
                if error.is_nan() || error >= TOLERANCE_BF16 {
                    wrong.push(format!("{at}: {error:.2e} from the products of decoding"));
                }
                let error = relative_error(&numbers("logits"), &found);
                if group == "tiny" && (error.is_nan() || error >= TOLERANCE_BF16) {
                    wrong.push(format!("{at}: {error:.2e} from golden.json"));
                }
                seen += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen >= 10, "only {seen} prompts went through tensor cores");
}

#[test]
fn a_prompt_has_the_same_bits_alone_and_beside_another() {
    let Some(_) = gpu("company of prompts") else { return };
    for name in
        ["variants/llama_wide_heads_f16", "variants/gemma3_f16", "variants/fp8_blocks_128", "tiny/gemma3", "tiny/phi2"]
    {
        let (model, vocab) = load(&fixtures().join(name));
        assert!(model.has_prefill(), "{name}");
        let prompts: Vec<Vec<u32>> =
            [70, 9, 130].iter().map(|len| (0..*len).map(|j| (len * 31 + j * 7) % 90).collect()).collect();
        let alone: Vec<_> = prompts.iter().map(|prompt| feed(&model, prompt, vocab, CHUNK)).collect();
        let mut caches: Vec<_> = prompts.iter().map(|_| model.new_cache()).collect();
        let mut together = vec![vec![f32::NAN; vocab]; prompts.len()];
        let slots = caches.iter_mut().zip(&prompts).zip(&mut together);
        let mut slots: Vec<_> = slots
            .map(|((cache, tokens), logits)| Slot { cache, tokens, horizon: tokens.len(), logits: Some(logits) })
            .collect();
        model.forward(&mut slots, &|| true).unwrap();
        for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
            assert!(same_bits(alone, together), "{name}: prompt {i}");
        }
        assert!(same_bits(&alone[2], &feed(&model, &prompts[2], vocab, CHUNK)), "{name}: again");
    }
}
