//! GGUF metadata: a flat map from dotted keys to typed values.
//!
//! gguf.rs fills it; whoever asks for a key names the type that it wants, and gets `None` for an absent key as for
//! one of another type. `required_str` and its like say which of the two it was, as an error.
//!
//! The one surprise: a string that is not UTF-8 is kept as bytes, under a variant of its own. No writer makes such
//! tokens (byte-level BPE and SentencePiece both spell bytes as text), but a comment in Latin-1 must not make a
//! model unreadable.

use std::collections::BTreeMap;

use super::source::quote;
use crate::error::{Error, Result};

/// A value of GGUF metadata; integers of every width are widened.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    /// A string that is not UTF-8.
    Bytes(Vec<u8>),
    /// An array of integers of any width.
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Bools(Vec<bool>),
    Strings(Vec<String>),
    /// An array of strings of which at least one is not UTF-8.
    ByteStrings(Vec<Vec<u8>>),
    /// An array of this many arrays: skipped, no model needs one.
    Nested(u64),
}

impl Value {
    /// What it is, in an error's words.
    pub fn kind(&self) -> String {
        match self {
            Value::Unsigned(number) => format!("the integer {number}"),
            Value::Signed(number) => format!("the integer {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Bool(truth) => truth.to_string(),
            Value::String(text) => format!("the string {}", quote(text)),
            Value::Bytes(bytes) => format!("a string of {} bytes that are not UTF-8", bytes.len()),
            Value::Integers(list) => format!("an array of {} integers", list.len()),
            Value::Floats(list) => format!("an array of {} floats", list.len()),
            Value::Bools(list) => format!("an array of {} truth values", list.len()),
            Value::Strings(list) => format!("an array of {} strings", list.len()),
            Value::ByteStrings(list) => format!("an array of {} strings, some of them not UTF-8", list.len()),
            Value::Nested(count) => format!("an array of {count} arrays"),
        }
    }
}

/// What a GGUF file says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pub values: BTreeMap<String, Value>,
}

impl Metadata {
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    pub fn str(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A non-negative integer.
    pub fn uint(&self, key: &str) -> Option<u64> {
        match *self.get(key)? {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// A number, integers included.
    pub fn float(&self, key: &str) -> Option<f64> {
        match *self.get(key)? {
            Value::Float(number) => Some(number),
            Value::Unsigned(number) => Some(number as f64),
            Value::Signed(number) => Some(number as f64),
            _ => None,
        }
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        match *self.get(key)? {
            Value::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    pub fn strings(&self, key: &str) -> Option<&[String]> {
        match self.get(key)? {
            Value::Strings(list) => Some(list),
            _ => None,
        }
    }

    pub fn integers(&self, key: &str) -> Option<&[i64]> {
        match self.get(key)? {
            Value::Integers(list) => Some(list),
            _ => None,
        }
    }

    pub fn floats(&self, key: &str) -> Option<&[f32]> {
        match self.get(key)? {
            Value::Floats(list) => Some(list),
            _ => None,
        }
    }

    pub fn bools(&self, key: &str) -> Option<&[bool]> {
        match self.get(key)? {
            Value::Bools(list) => Some(list),
            _ => None,
        }
    }

    /// `value`, or the error that says what `key` holds in its place:
    /// `metadata.required("llama.block_count", "an integer", metadata.uint("llama.block_count"))`.
    pub fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            let found = self.get(key).map_or("nothing".to_string(), Value::kind);
            Error::malformed(format!("GGUF metadata {key}"), expected, found)
        })
    }

    /// As `str`, for a key that has to be there.
    pub fn required_str(&self, key: &str) -> Result<&str> {
        self.required(key, "a string", self.str(key))
    }

    /// As `uint`, for a key that has to be there.
    pub fn required_uint(&self, key: &str) -> Result<u64> {
        self.required(key, "a non-negative integer", self.uint(key))
    }

    /// As `float`, for a key that has to be there.
    pub fn required_float(&self, key: &str) -> Result<f64> {
        self.required(key, "a number", self.float(key))
    }

    /// As `strings`, for a key that has to be there.
    pub fn required_strings(&self, key: &str) -> Result<&[String]> {
        self.required(key, "an array of UTF-8 strings", self.strings(key))
    }
}
