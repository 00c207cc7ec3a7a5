//! The fast road of decoding on a GPU, on models large enough for it: random weights, written for the test, computed by
//! the CPU and by the GPU; alone, which goes the fast road, and in company, which goes the general one.
//!
//! Without a GPU each test says so.

use std::{fs, io::Write, path::PathBuf};

use serde_json::{Map, Value, json};
use viva_tensor_engine::{
    backend::{Backend, Cache, Loading, Slot, cuda},
    checkpoint::Checkpoint,
    model,
    quant::WeightFormat,
    sampler::{Choice, Sampling},
};

/// Relative error allowed, with keys and values in bf16: ten of its roundings, 2^-9 each.
const TOLERANCE: f64 = 2e-2;

struct Shape {
    name: &'static str,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    ffn: usize,
    layers: usize,
    vocab: usize,
    /// "F16" or "BF16"
    dtype: &'static str,
    window: Option<usize>,
}

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

/// Numbers from a fixed seed, between -1 and 1.
struct Random(u64);

impl Random {
    fn float(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

/// A folder with config.json and model.safetensors.
fn write(shape: &Shape) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("viva_tensor_decode_{}_{}", shape.name, std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = json!({
        "model_type": "mistral", "architectures": ["MistralForCausalLM"],
        "hidden_size": shape.width, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "vocab_size": shape.vocab, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "max_position_embeddings": 4096, "sliding_window": shape.window, "tie_word_embeddings": false,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let (heads, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![shape.vocab, shape.width]),
        ("model.norm.weight".to_owned(), vec![shape.width]),
        ("lm_head.weight".to_owned(), vec![shape.vocab, shape.width]),
    ];
    for layer in 0..shape.layers {
        let linears = [
            ("self_attn.q_proj", vec![heads, shape.width]),
            ("self_attn.k_proj", vec![kv, shape.width]),
            ("self_attn.v_proj", vec![kv, shape.width]),
            ("self_attn.o_proj", vec![shape.width, heads]),
            ("mlp.gate_proj", vec![shape.ffn, shape.width]),
            ("mlp.up_proj", vec![shape.ffn, shape.width]),
            ("mlp.down_proj", vec![shape.width, shape.ffn]),
            ("input_layernorm", vec![shape.width]),
            ("post_attention_layernorm", vec![shape.width]),
        ];
        tensors.extend(linears.map(|(name, dims)| (format!("model.layers.{layer}.{name}.weight"), dims)));
    }
    let (mut header, mut data, mut random) = (Map::new(), vec![], Random(0x2545_f491_4f6c_dd1d));
    for (name, dims) in tensors {
        let start = data.len();
        // Norms lie around 1; products keep the size of what goes in.
        let (middle, spread) = if dims.len() == 1 { (1.0, 0.2) } else { (0.0, (3.0 / dims[1] as f32).sqrt()) };
        for _ in 0..dims.iter().product::<usize>() {
            let value = middle + spread * random.float();
            let bytes = match shape.dtype {
                "F16" => half::f16::from_f32(value).to_le_bytes(),
                _ => half::bf16::from_f32(value).to_le_bytes(),
            };
            data.extend(bytes);
        }
        let tensor: Value = json!({"dtype": shape.dtype, "shape": dims, "data_offsets": [start, data.len()]});
        header.insert(name, tensor);
    }
    let header = Value::Object(header).to_string();
    let mut file = fs::File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&data).unwrap();
    folder
}

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
