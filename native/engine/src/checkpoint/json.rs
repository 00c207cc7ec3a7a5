//! JSON from a model folder: bounded, parsed by serde_json, and with errors that say where they are.
//!
//! Text in, `Value` out. serde_json keeps its limit on nesting.
//!
//! The one surprise: the commas, colons and brackets are counted before parsing. A parsed value takes some forty
//! times the room of the two bytes `1,`, so a limit on the file's size alone would not bound memory.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::source::{self, Source, clip, show};
use crate::error::{Error, Result};

/// More than any model folder's JSON (the tokenizer apart) holds, and about 100 MB when parsed.
const MAX_VALUES: usize = 1_000_000;

/// Bytes of config.json, generation_config.json, tokenizer_config.json or an index.
pub const MAX_BYTES: u64 = 64 << 20;

/// The JSON of a file that must be there; `expected` says what it is for.
pub fn read(path: &Path, expected: &str) -> Result<Value> {
    let source = Source::open(path, expected)?;
    parse(path, &source::read_whole(&source, MAX_BYTES)?)
}

/// The JSON of a file that may be absent.
pub fn read_optional(path: &Path) -> Result<Option<Value>> {
    source::read_optional(path, MAX_BYTES)?.map(|text| parse(path, &text)).transpose()
}

/// JSON as a `T`; `path` names the text in errors.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    if values > MAX_VALUES {
        let expected = format!("JSON of at most {MAX_VALUES} values");
        return Err(Error::malformed(show(path), expected, format!("{values} commas, colons and opening brackets")));
    }
    serde_json::from_slice(text).map_err(|error| invalid(path, &error))
}

/// serde_json's complaint with its place moved to the front.
pub fn invalid(path: &Path, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = clip(text.strip_suffix(&place).unwrap_or(&text), 240);
    let at = format!("{}, line {}, column {}", show(path), error.line(), error.column());
    let expected = if error.is_data() { "JSON of the right shape" } else { "valid JSON" };
    Error::malformed(at, expected, reason)
}
