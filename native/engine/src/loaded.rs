//! A loaded model: weights on a backend, a tokenizer, a chat template, and what can be said of them.

use std::sync::Arc;

use crate::{
    backend::Backend,
    chat::{ChatTemplate, Message},
    error::{Error, Result},
    tokenizer::Tokenizer,
};

/// Everything that sessions share; immutable.
pub struct Model {
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    pub info: ModelInfo,
    pub(crate) backend: Backend,
}

/// What `model_info` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// "llama", "qwen3", …
    pub architecture: String,
    /// "safetensors" or "gguf".
    pub source: String,
    /// Formats with the number of matrices in each: "Q4_1 (210), Q8_0 (1)".
    pub weights: String,
    pub parameters: u64,
    /// Bytes of the packed weights in memory.
    pub weight_bytes: u64,
    /// Bytes that decoding one token reads, the cache left out.
    pub bytes_per_token: u64,
    /// V
    pub vocabulary: usize,
    /// L
    pub layers: usize,
    /// D
    pub width: usize,
    /// H
    pub heads: usize,
    /// KV
    pub kv_heads: usize,
    /// HD
    pub head_width: usize,
    /// Positions that a session may use.
    pub context: usize,
    /// Positions that the model was made for.
    pub max_context: usize,
    /// "cpu" or "cuda:0"
    pub device: String,
    /// "avx512, 2 threads", and why it is not a GPU; or the GPU's name.
    pub device_note: String,
    /// Threads that compute.
    pub threads: usize,
    /// Tokens that end an answer.
    pub eos_ids: Vec<u32>,
    pub has_chat_template: bool,
}

impl Model {
    fn template(&self) -> Result<&ChatTemplate> {
        self.template.as_ref().ok_or_else(|| Error::NotFound {
            path: "chat template".into(),
            expected: "a chat_template in the checkpoint; this is a base model: use generate, not chat".into(),
        })
    }

    /// The conversation as the checkpoint's chat template writes it.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.template_for(messages)?.render(messages, add_generation_prompt)
    }

    /// The template, where there is something to write; transformers refuses an empty conversation, too.
    pub(crate) fn template_for(&self, messages: &[Message]) -> Result<&ChatTemplate> {
        if messages.is_empty() {
            let (option, expected, found) = ("messages".into(), "at least one message".into(), "none".into());
            return Err(Error::InvalidOption { option, expected, found });
        }
        self.template()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").field("info", &self.info).finish_non_exhaustive()
    }
}
