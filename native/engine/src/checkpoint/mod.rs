//! Files in: a checkpoint is opened, checked once, and then trusted.

pub mod config;
pub mod metadata;

use std::{collections::BTreeMap, path::PathBuf};

use crate::quant::Format;

/// A tensor in a file, checked to lie inside it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    pub format: Format,
    /// Outermost first, as in PyTorch: a linear is [out, in].
    pub shape: Vec<usize>,
    /// Index of the file that holds it.
    pub file: usize,
    /// First byte in that file.
    pub offset: u64,
    pub bytes: u64,
}

/// What a checkpoint says of its model beside the tensors.
#[derive(Debug, Clone)]
pub enum Description {
    HuggingFace(HuggingFace),
    Gguf(metadata::Metadata),
}

/// The JSON files of a Hugging Face folder, parsed but not understood yet.
#[derive(Debug, Clone, Default)]
pub struct HuggingFace {
    pub config: serde_json::Value,
    pub generation_config: Option<serde_json::Value>,
    pub tokenizer: Option<Vec<u8>>,
    pub tokenizer_config: Option<serde_json::Value>,
    /// chat_template.jinja, when it is a file of its own.
    pub chat_template: Option<String>,
}

/// An opened checkpoint: its description, and where each tensor lies.
#[derive(Debug)]
pub struct Checkpoint {
    pub path: PathBuf,
    pub description: Description,
    pub tensors: BTreeMap<String, TensorInfo>,
}
