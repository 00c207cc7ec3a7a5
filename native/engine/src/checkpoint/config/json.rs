//! Typed access to the keys of a JSON object that nobody has checked.
//!
//! Every accessor gives `None` for a key that is absent or null, and an error that names the file, the
//! key and the value for one of another type; `has` and `is_null` tell the two apart.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An object of a JSON file, and where it stands.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    at: &'static str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub fn new(at: &'static str, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Fields { at, map }),
            other => Err(Error::malformed(at, "a JSON object", shown(other))),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn is_null(&self, key: &str) -> bool {
        matches!(self.map.get(key), Some(Value::Null))
    }

    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn get<T>(&self, key: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.value(key) else { return Ok(None) };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(self.wrong(key, expected)),
        }
    }

    /// A complaint about the value of `key`.
    pub fn wrong(&self, key: &str, expected: &str) -> Error {
        let found = self.map.get(key).map_or_else(|| "nothing".into(), shown);
        Error::malformed(format!("{}: {key}", self.at), expected, found)
    }

    pub fn uint(&self, key: &str) -> Result<Option<usize>> {
        self.get(key, "a non-negative integer", |value| usize::try_from(value.as_u64()?).ok())
    }

    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a finite number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "true or false", Value::as_bool)
    }

    pub fn str(&self, key: &str) -> Result<Option<&'a str>> {
        self.get(key, "a string", Value::as_str)
    }

    pub fn object(&self, key: &str) -> Result<Option<Fields<'a>>> {
        let at = self.at;
        self.get(key, "an object", |value| Some(Fields { at, map: value.as_object()? }))
    }

    pub fn strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        self.get(key, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    pub fn floats(&self, key: &str) -> Result<Option<Vec<f64>>> {
        self.get(key, "a list of numbers", |value| value.as_array()?.iter().map(Value::as_f64).collect())
    }

    /// Token ids: one integer or a list of them.
    pub fn token_ids(&self, key: &str) -> Result<Option<Vec<u32>>> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        self.get(key, "a token id or a list of them", |value| match value {
            Value::Array(list) => list.iter().map(id).collect(),
            one => Some(vec![id(one)?]),
        })
    }

    /// The objects under each key of this object.
    pub fn objects(&self) -> impl Iterator<Item = Fields<'a>> + use<'a> {
        let at = self.at;
        self.map.values().filter_map(move |value| Some(Fields { at, map: value.as_object()? }))
    }
}

/// A value as an error shows it: its JSON, cut when long.
fn shown(value: &Value) -> String {
    const LIMIT: usize = 60;
    match value {
        Value::Object(map) => format!("an object of {} keys", map.len()),
        Value::Array(list) => format!("a list of {}", list.len()),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(LIMIT) {
                Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
                None => text,
            }
        }
    }
}
