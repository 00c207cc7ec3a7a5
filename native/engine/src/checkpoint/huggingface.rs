//! What a Hugging Face folder says of its model beside the weights.
//!
//! config.json must be there; generation_config.json, tokenizer.json, tokenizer_config.json and
//! chat_template.jinja may be. Each has a limit on its size and is read whole. What they mean is decided elsewhere.
//!
//! The one surprise: of two equal keys in these files the last one counts, as in Python's json, which wrote them.

use std::path::Path;

use serde_json::Value;

use super::{json, source};
use crate::error::{Error, Result};

/// The largest tokenizer.json of today has 34 MB.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;
/// Templates of today have up to 30 KB.
const MAX_TEMPLATE_BYTES: u64 = 4 << 20;

/// The JSON files of a Hugging Face folder, parsed but not understood yet.
#[derive(Debug, Clone, Default)]
pub struct HuggingFace {
    pub config: Value,
    pub generation_config: Option<Value>,
    /// tokenizer.json as it is, for the `tokenizers` crate.
    pub tokenizer: Option<Vec<u8>>,
    pub tokenizer_config: Option<Value>,
    /// chat_template.jinja, when it is a file of its own.
    pub chat_template: Option<String>,
}

impl HuggingFace {
    /// Reads the files that lie in `folder`.
    pub fn read(folder: &Path) -> Result<HuggingFace> {
        let expected = "the model's description beside its weights (copy it from where the weights came from)";
        let config_path = folder.join("config.json");
        let config = json::read(&config_path, expected)?;
        if !config.is_object() {
            return Err(Error::malformed(source::show(&config_path), "a JSON object", kind(&config)));
        }
        let template_path = folder.join("chat_template.jinja");
        let chat_template = match source::read_optional(&template_path, MAX_TEMPLATE_BYTES)? {
            None => None,
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|error| {
                let found = format!("an invalid byte at {}", error.utf8_error().valid_up_to());
                Error::malformed(source::show(&template_path), "UTF-8 text", found)
            })?),
        };
        Ok(HuggingFace {
            config,
            generation_config: json::read_optional(&folder.join("generation_config.json"))?,
            tokenizer: source::read_optional(&folder.join("tokenizer.json"), MAX_TOKENIZER_BYTES)?,
            tokenizer_config: json::read_optional(&folder.join("tokenizer_config.json"))?,
            chat_template,
        })
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
