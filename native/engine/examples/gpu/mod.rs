//! What the GPU benches share: shapes of real models, and the file of results.

use std::{fs, io, path::PathBuf};

use serde_json::{Value, json};

/// A model's shape; its weights are random.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub width: usize,
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    /// The head is the embedding.
    pub tied: bool,
}

/// [D, F, L, H, KV, HD, V]
const fn shape(name: &'static str, sizes: [usize; 7], tied: bool) -> Shape {
    let [width, ffn, layers, heads, kv_heads, head_dim, vocab] = sizes;
    Shape { name, width, ffn, layers, heads, kv_heads, head_dim, vocab, tied }
}

const SHAPES: [Shape; 5] = [
    shape("smollm2-135m", [576, 1536, 30, 9, 3, 64, 49152], true),
    shape("tinyllama", [2048, 5632, 22, 32, 4, 64, 32000], false),
    shape("llama-1b", [2048, 8192, 16, 32, 8, 64, 128256], true),
    shape("llama-8b", [4096, 14336, 32, 32, 8, 128, 128256], false),
    shape("llama2-7b", [4096, 11008, 32, 32, 32, 128, 32000], false),
];

/// "tinyllama:F16" as a shape and a format's name.
pub fn pair(text: &str) -> Option<(Shape, &str)> {
    let (name, format) = text.split_once(':').unwrap_or((text, "F16"));
    Some((SHAPES.into_iter().find(|shape| shape.name == name)?, format))
}

impl Shape {
    /// Bytes of keys and values in bf16 that one token reads behind `depth` others.
    #[allow(dead_code)] // one of the two benches
    pub fn cache_bytes(&self, depth: usize) -> u64 {
        (depth * self.layers * 2 * self.kv_heads * self.head_dim * 2) as u64
    }
}

/// A JSON array in a file; a measurement made again replaces the older one.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    all: Vec<Value>,
}

/// What tells one measurement from another.
const NAMES: [&str; 11] =
    ["what", "gpu", "model", "weights", "batch", "depth", "prefill_tokens", "product", "m", "n", "k"];

impl Results {
    pub fn open(path: &str) -> io::Result<Results> {
        let path = PathBuf::from(path);
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
            Err(error) => return Err(error),
        };
        Ok(Results { path, all })
    }

    /// Adds a measurement, and writes the file.
    pub fn add(&mut self, mut one: Value) -> io::Result<()> {
        one["kind"] = json!("measured");
        one["commit"] = json!(std::env::var("VIVA_TENSOR_COMMIT").unwrap_or_else(|_| "unknown".into()));
        println!("{one}");
        let same = |other: &Value| NAMES.iter().all(|name| other.get(name) == one.get(name));
        self.all.retain(|other| !same(other));
        self.all.push(one);
        let mut text = vec![];
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut out = serde_json::Serializer::with_formatter(&mut text, formatter);
        serde::Serialize::serialize(&self.all, &mut out)?;
        text.push(b'\n');
        fs::write(&self.path, text)
    }
}
