//! Checkpoints of random weights, written for a test: models of shapes that no fixture has.

use std::{fs, io::Write, path::PathBuf};

use serde_json::{Map, Value, json};

use crate::random::Random;

pub struct Shape {
    pub name: &'static str,
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub layers: usize,
    pub vocab: usize,
    /// "F16" or "BF16"
    pub dtype: &'static str,
    pub window: Option<usize>,
}

/// A folder with config.json and model.safetensors.
pub fn write(shape: &Shape) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("viva_tensor_random_{}_{}", shape.name, std::process::id()));
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
