//! Checkpoints of real shapes with random weights: how long they load, and what is lost on the way through the BEAM.
//!
//! `gpu_checkpoint write MODEL:FORMAT FOLDER` writes one (F16 or BF16), in shards. `load RESULTS MODEL:FORMAT FOLDER` loads
//! it twice: the first load also compiles. `compare RESULTS MODEL:FORMAT FOLDER GLEAM` measures the engine as the command
//! line's `bench MODEL --json`, whose output the file GLEAM is, has measured it from Gleam.

use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use gpu::{Results, Shape, pair};
use serde_json::{Value, json};
use viva_tensor_engine::{
    backend::cuda,
    loaded::Model,
    loader::{DeviceChoice, LoadOptions, LoadProgress, Loader},
    sampler::Sampling,
    session::{Prompt, Request, Session, Status, step},
};

mod gpu;

type Done<T = ()> = Result<T, Box<dyn Error>>;

const SLICE: Duration = Duration::from_millis(50);
const SHARD_BYTES: usize = 4 << 30;

/// Names and shapes in the order of the file.
fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>)> {
    let (heads, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![shape.vocab, shape.width])];
    for layer in 0..shape.layers {
        let own = [
            ("input_layernorm", vec![shape.width]),
            ("self_attn.q_proj", vec![heads, shape.width]),
            ("self_attn.k_proj", vec![kv, shape.width]),
            ("self_attn.v_proj", vec![kv, shape.width]),
            ("self_attn.o_proj", vec![shape.width, heads]),
            ("post_attention_layernorm", vec![shape.width]),
            ("mlp.gate_proj", vec![shape.ffn, shape.width]),
            ("mlp.up_proj", vec![shape.ffn, shape.width]),
            ("mlp.down_proj", vec![shape.width, shape.ffn]),
        ];
        all.extend(own.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    all.push(("model.norm.weight".into(), vec![shape.width]));
    if !shape.tied {
        all.push(("lm_head.weight".into(), vec![shape.vocab, shape.width]));
    }
    all
}

/// 1 MB of small weights of random signs.
fn noise(format: &str) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut weight = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let value = ((state >> 33) as f32 / (1_u64 << 30) as f32 - 1.0) * 0.03;
        if format == "BF16" { half::bf16::from_f32(value).to_bits() } else { half::f16::from_f32(value).to_bits() }
    };
    (0..1 << 19).flat_map(|_| weight().to_le_bytes()).collect()
}

/// A shard's bytes, and its tensors' names and shapes.
type Shard = (usize, Vec<(String, Vec<usize>)>);

fn write(text: &str, folder: &Path) -> Done {
    let (shape, format) = pair(text).filter(|pair| matches!(pair.1, "F16" | "BF16")).ok_or("unknown model")?;
    fs::create_dir_all(folder)?;
    let mut shards: Vec<Shard> = vec![(0, vec![])];
    for (name, sizes) in tensors(&shape) {
        let bytes = sizes.iter().product::<usize>() * 2;
        if shards.last().is_some_and(|shard| shard.0 > 0 && shard.0 + bytes > SHARD_BYTES) {
            shards.push((0, vec![]));
        }
        if let Some(shard) = shards.last_mut() {
            shard.0 += bytes;
            shard.1.push((name, sizes));
        }
    }
    let (noise, one) = (noise(format), if format == "BF16" { 0x3f80_u16 } else { 0x3c00 });
    let (mut map, count) = (BTreeMap::new(), shards.len());
    for (i, (_, tensors)) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{count:05}.safetensors", i + 1);
        let (mut header, mut at) = (serde_json::Map::new(), 0);
        for (name, sizes) in tensors {
            let end = at + sizes.iter().product::<usize>() * 2;
            header.insert(name.clone(), json!({"dtype": format, "shape": sizes, "data_offsets": [at, end]}));
            map.insert(name.clone(), file.clone());
            at = end;
        }
        let header = serde_json::to_vec(&header)?;
        let mut out = BufWriter::with_capacity(4 << 20, File::create(folder.join(file))?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (_, sizes) in tensors {
            let mut left = sizes.iter().product::<usize>() * 2;
            if sizes.len() == 1 {
                out.write_all(&one.to_le_bytes().repeat(sizes[0]))?;
                left = 0;
            }
            while left > 0 {
                let part = left.min(noise.len());
                out.write_all(&noise[..part])?;
                left -= part;
            }
        }
        out.flush()?;
    }
    let index = json!({"metadata": {}, "weight_map": map});
    fs::write(folder.join("model.safetensors.index.json"), serde_json::to_vec(&index)?)?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "hidden_size": shape.width, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
        "vocab_size": shape.vocab, "max_position_embeddings": 8192, "rope_theta": 10000.0,
        "tie_word_embeddings": shape.tied, "bos_token_id": 0, "eos_token_id": 1,
    });
    fs::write(folder.join("config.json"), serde_json::to_vec(&config)?)?;
    tokenizer(&shape, folder)
}

/// The tiny checkpoint's tokenizer with as many tokens as the model has.
fn tokenizer(shape: &Shape, folder: &Path) -> Done {
    let fixtures = std::env::var_os("VIVA_TENSOR_FIXTURES");
    let fixtures =
        fixtures.map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test/fixtures"), Into::into);
    let tiny = fixtures.join("tiny/llama");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(tiny.join("tokenizer.json"))?)?;
    let vocab = tokenizer["model"]["vocab"].as_object_mut().ok_or("no vocabulary")?;
    for id in vocab.len()..shape.vocab {
        vocab.insert(format!("filler{id}"), json!(id));
    }
    fs::write(folder.join("tokenizer.json"), serde_json::to_vec(&tokenizer)?)?;
    fs::copy(tiny.join("tokenizer_config.json"), folder.join("tokenizer_config.json"))?;
    Ok(())
}

fn open(folder: &Path) -> Done<(Arc<Model>, f64)> {
    let start = Instant::now();
    let options = LoadOptions { device: DeviceChoice::Cuda(0), ..LoadOptions::default() };
    let mut loader = Loader::open(folder, options)?;
    loop {
        if let LoadProgress::Ready(model) = loader.step(SLICE, &|| true)? {
            return Ok((model, start.elapsed().as_secs_f64()));
        }
    }
}

/// Most memory that this process has had, but for the page cache.
fn host_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).map_or(0, |kb| kb << 10)
}

fn load(results: &mut Results, text: &str, folder: &Path) -> Done {
    let (shape, format) = pair(text).ok_or("unknown model")?;
    let before = host_bytes();
    let (model, first) = open(folder)?;
    let bytes = model.info.weight_bytes;
    drop(model);
    let (model, again) = open(folder)?;
    results.add(json!({
        "what": "load", "gpu": model.info.device_note, "model": shape.name, "weights": format,
        "weight_bytes": bytes, "first_load_seconds": round(first), "load_seconds": round(again),
        "gb_per_second": round(bytes as f64 / again / 1e9), "host_bytes": host_bytes() - before,
    }))?;
    Ok(())
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn compare(results: &mut Results, text: &str, folder: &Path, gleam: &Path) -> Done {
    let (shape, format) = pair(text).ok_or("unknown model")?;
    let gleam: Value = serde_json::from_slice(&fs::read(gleam)?)?;
    let number = |name: &str| gleam[name].as_f64().ok_or_else(|| format!("no {name} from Gleam: {gleam}"));
    let (prompt, tokens) = (number("prompt_tokens")? as u32, number("tokens")? as usize);
    let (model, _) = open(folder)?;
    let mut rates = vec![];
    for _ in 0..5 {
        let mut session = Session::open(Arc::clone(&model));
        let prompt = Prompt::Tokens((0..prompt).map(|i| 100 + i % 400).collect());
        let sampling = Sampling::default();
        let request = Request { sampling, max_new_tokens: tokens, stop: vec![], stop_on_eos: false, logprobs: None };
        session.submit(&prompt, request)?;
        loop {
            let progress = step(&mut [&mut session], SLICE, &|| true).remove(0)?;
            if let Status::Finished { timings, .. } = progress.status {
                rates.push(timings.decode_tokens as f64 / timings.decode_seconds);
                break;
            }
        }
    }
    rates.sort_by(f64::total_cmp);
    let (own, through) = (rates[rates.len() / 2], number("decode_tokens_per_second")?);
    results.add(json!({
        "what": "from Gleam", "gpu": model.info.device_note, "model": shape.name, "weights": format, "batch": 1,
        "prompt_tokens": prompt, "tokens": tokens, "engine_decode_tokens_per_second": round(own),
        "decode_tokens_per_second": round(through), "share_of_engine": round(through / own),
    }))?;
    Ok(())
}

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // The reason, where there is no GPU.
    if words.first() != Some(&"write") {
        cuda::open(0)?;
    }
    match words[..] {
        ["write", text, folder] => write(text, Path::new(folder)),
        ["load", results, text, folder] => load(&mut Results::open(results)?, text, Path::new(folder)),
        ["compare", results, text, folder, gleam] => {
            compare(&mut Results::open(results)?, text, Path::new(folder), Path::new(gleam))
        }
        _ => Err("usage: gpu_checkpoint write | load | compare …".into()),
    }
}
