//! The front part of a GGUF file: magic, version, counts, metadata, tensor infos; the data follows at the next multiple
//! of `general.alignment`. Versions 2 and 3, little-endian.
//!
//! A `Cursor` takes value after value; every count is held against the bytes that are left before anything is
//! allocated for it. Format: docs/gguf.md of the ggml repository.
//!
//! The one surprise: ggml writes dimensions innermost first, so they are reversed here; and of a split set only the
//! first part has the model's metadata (see split.rs).

use std::collections::btree_map::Entry;

use super::{
    contents::{Contents, Extent, ForeignTensor, TensorInfo, sort_disjoint},
    cursor::Cursor,
    ggml_type::GgmlType,
    metadata::{Metadata, Value},
    source::{Source, quote, show},
};
use crate::error::{Error, Result};

/// Metadata and tensor infos together; vocabularies of today take 16 MB.
const MAX_FRONT_BYTES: u64 = 256 << 20;
/// Elements of all arrays together; the vocabulary of 262,144 tokens with its merges has 1.4 million.
const MAX_ELEMENTS: u64 = 1 << 22;
/// As for safetensors.
const MAX_TENSORS: u64 = 1_000_000;
/// Models of today write about 50 keys.
const MAX_VALUES: u64 = 65_536;
const MAX_NAME_BYTES: u64 = 65_535;
const MAX_DIMENSIONS: u32 = 4;
const MAX_NESTING: u32 = 8;
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

/// What one file says.
pub struct Parsed {
    pub metadata: Metadata,
    pub contents: Contents,
}

/// Reads the front part of a file; `file` is its index in the checkpoint.
pub fn parse(source: &Source, file: usize) -> Result<Parsed> {
    let mut front = Front { cursor: Cursor::new(source, MAX_FRONT_BYTES), elements_left: MAX_ELEMENTS };
    check_version(source, &mut front.cursor)?;
    let tensor_count = front.cursor.take_u64("tensor count")?;
    let value_count = front.cursor.take_u64("metadata count")?;
    // A value has a key's length, a type and at least one byte; a tensor a name's length, dimensions, type, offset.
    front.expect_count("metadata count", value_count, MAX_VALUES, 8 + 4 + 1)?;
    front.expect_count("tensor count", tensor_count, MAX_TENSORS, 8 + 4 + 4 + 8)?;
    let metadata = front.metadata(value_count)?;
    let alignment = alignment(source, &metadata)?;
    let infos = front.infos(tensor_count)?;
    let data_start = front.cursor.position().next_multiple_of(alignment);
    let contents = place(source, file, infos, data_start, alignment)?;
    Ok(Parsed { metadata, contents })
}

fn check_version(source: &Source, cursor: &mut Cursor) -> Result<()> {
    let expected = "GGUF version 2 or 3, little-endian";
    let magic: [u8; 4] = cursor.take("magic")?;
    let version: [u8; 4] = cursor.take("version")?;
    let refuse = |found: String| Err(Error::unsupported(show(source.path()), expected, found));
    match (&magic, u32::from_le_bytes(version), u32::from_be_bytes(version)) {
        (b"GGUF", 2 | 3, _) => Ok(()),
        (b"GGUF", _, 1..=0xffff) | (b"FUGG", _, _) => refuse("a big-endian GGUF file".to_string()),
        (b"GGUF", version, _) => refuse(format!("GGUF version {version}")),
        _ => Err(Error::malformed(show(source.path()), "the magic GGUF", quote(&String::from_utf8_lossy(&magic)))),
    }
}

fn alignment(source: &Source, metadata: &Metadata) -> Result<u64> {
    let key = "general.alignment";
    match (metadata.get(key), metadata.uint(key)) {
        (None, _) => Ok(DEFAULT_ALIGNMENT),
        (_, Some(alignment)) if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT => Ok(alignment),
        (Some(value), _) => {
            let at = format!("{}: {key}", show(source.path()));
            Err(Error::malformed(at, format!("a power of two up to {MAX_ALIGNMENT}"), value.kind()))
        }
    }
}

/// A tensor info as it is written.
struct RawInfo {
    name: String,
    /// Outermost first.
    shape: Vec<u64>,
    ggml_type: GgmlType,
    /// From the start of the data.
    offset: u64,
}

/// Holds each info against the file, and turns it into what the engine reads.
fn place(source: &Source, file: usize, infos: Vec<RawInfo>, data_start: u64, alignment: u64) -> Result<Contents> {
    let data_bytes = source.bytes().saturating_sub(data_start);
    let mut extents = Vec::with_capacity(infos.len());
    let mut sizes = Vec::with_capacity(infos.len());
    for info in &infos {
        let bytes = info.bytes(source)?;
        let end = info.offset.checked_add(bytes).filter(|&end| end <= data_bytes);
        let (true, Some(end)) = (info.offset.is_multiple_of(alignment), end) else {
            let expected = format!("a multiple of {alignment} with {bytes} bytes behind it in {data_bytes} of data");
            let hint = if end.is_none() { " (is the file cut short?)" } else { "" };
            return Err(Error::malformed(info.at(source), expected, format!("offset {}{hint}", info.offset)));
        };
        extents.push(Extent { start: info.offset, end, name: &info.name });
        sizes.push(bytes);
    }
    sort_disjoint(source, &mut extents)?;
    let mut contents = Contents::default();
    for (info, bytes) in infos.into_iter().zip(sizes) {
        let shape = info.shape.iter().map(|&length| usize::try_from(length)).collect();
        let Ok(shape) = shape else {
            return Err(Error::malformed(info.at(source), "lengths that fit into this machine's words", "larger ones"));
        };
        let (name, offset) = (info.name, data_start + info.offset);
        let twice = match info.ggml_type {
            GgmlType::Format(format) => {
                let info = TensorInfo { name: name.clone(), format, shape, file, offset, bytes };
                contents.foreign.contains_key(&name) || contents.tensors.insert(name.clone(), info).is_some()
            }
            other => {
                let foreign = ForeignTensor { name: name.clone(), storage: other.name(), file };
                contents.tensors.contains_key(&name) || contents.foreign.insert(name.clone(), foreign).is_some()
            }
        };
        if twice {
            let at = format!("{}: tensor {}", show(source.path()), quote(&name));
            return Err(Error::malformed(at, "each tensor once", "a second of this name"));
        }
    }
    Ok(contents)
}

impl RawInfo {
    fn at(&self, source: &Source) -> String {
        format!("{}: tensor {}", show(source.path()), quote(&self.name))
    }

    /// What its numbers take in the file; 0 where nobody has told us how they are stored.
    fn bytes(&self, source: &Source) -> Result<u64> {
        let refuse = |expected: &str| {
            let found = format!("{:?} of {}", self.shape, self.ggml_type.name());
            Err(Error::malformed(self.at(source), expected, found))
        };
        let Some(weights) = self.shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length)) else {
            return refuse("a shape whose product fits into 64 bits");
        };
        let Some((block_len, block_bytes)) = self.ggml_type.block() else { return Ok(0) };
        let row = self.shape.last().copied().unwrap_or(1);
        if !row.is_multiple_of(block_len as u64) {
            return refuse(&format!("rows of whole blocks of {block_len}"));
        }
        match (weights / block_len as u64).checked_mul(block_bytes as u64) {
            Some(bytes) => Ok(bytes),
            None => refuse("a size that fits into 64 bits"),
        }
    }
}

/// The front part while it is read.
struct Front<'a> {
    cursor: Cursor<'a>,
    elements_left: u64,
}

impl Front<'_> {
    /// A count must be below its limit and leave each of its things the bytes that it needs at least.
    fn expect_count(&self, what: &str, count: u64, limit: u64, bytes_each: u64) -> Result<()> {
        match count <= limit {
            true => self.cursor.expect_room(what, count, bytes_each),
            false => Err(Error::malformed(self.cursor.at(what), format!("at most {limit}"), count.to_string())),
        }
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        for _ in 0..count {
            let key = self.name("metadata key")?;
            let value_type = self.cursor.take_u32(&key)?;
            let value = self.value(&key, value_type)?;
            match metadata.values.entry(key) {
                Entry::Vacant(entry) => entry.insert(value),
                Entry::Occupied(entry) => {
                    let at = self.cursor.at(&quote(entry.key()));
                    return Err(Error::malformed(at, "each metadata key once", "it a second time"));
                }
            };
        }
        Ok(metadata)
    }

    fn infos(&mut self, count: u64) -> Result<Vec<RawInfo>> {
        // The count was held against the file before the metadata; by now there is less room.
        self.cursor.expect_room("tensor count", count, 8 + 4 + 4 + 8)?;
        let mut infos = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            let name = self.name("tensor name")?;
            let dimensions = self.cursor.take_u32(&name)?;
            if dimensions > MAX_DIMENSIONS {
                let at = self.cursor.at(&quote(&name));
                return Err(Error::malformed(at, "at most 4 dimensions", dimensions.to_string()));
            }
            let mut shape = Vec::with_capacity(dimensions as usize);
            for _ in 0..dimensions {
                shape.push(self.cursor.take_u64(&name)?);
            }
            shape.reverse();
            let ggml_type = GgmlType::of(self.cursor.take_u32(&name)?);
            let offset = self.cursor.take_u64(&name)?;
            infos.push(RawInfo { name, shape, ggml_type, offset });
        }
        Ok(infos)
    }

    /// A key or a tensor's name: short, and UTF-8.
    fn name(&mut self, what: &str) -> Result<String> {
        let length = self.cursor.take_u64(what)?;
        if length > MAX_NAME_BYTES {
            let found = format!("a length of {length}");
            return Err(Error::malformed(self.cursor.at(what), format!("at most {MAX_NAME_BYTES} bytes"), found));
        }
        let bytes = self.cursor.take_vec(what, length)?;
        String::from_utf8(bytes).map_err(|error| {
            let found = quote(&String::from_utf8_lossy(error.as_bytes()));
            Error::malformed(self.cursor.at(what), "UTF-8 text", found)
        })
    }

    fn value(&mut self, key: &str, value_type: u32) -> Result<Value> {
        let cursor = &mut self.cursor;
        Ok(match value_type {
            0 => Value::Unsigned(u8::from_le_bytes(cursor.take(key)?).into()),
            1 => Value::Signed(i8::from_le_bytes(cursor.take(key)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(cursor.take(key)?).into()),
            3 => Value::Signed(i16::from_le_bytes(cursor.take(key)?).into()),
            4 => Value::Unsigned(cursor.take_u32(key)?.into()),
            5 => Value::Signed(i32::from_le_bytes(cursor.take(key)?).into()),
            6 => Value::Float(f32::from_le_bytes(cursor.take(key)?).into()),
            7 => Value::Bool(self.bool(key)?),
            8 => match String::from_utf8(self.bytes(key)?) {
                Ok(text) => Value::String(text),
                Err(error) => Value::Bytes(error.into_bytes()),
            },
            9 => self.array(key)?,
            10 => Value::Unsigned(cursor.take_u64(key)?),
            11 => Value::Signed(i64::from_le_bytes(cursor.take(key)?)),
            12 => Value::Float(f64::from_le_bytes(cursor.take(key)?)),
            other => return Err(self.unknown_type(key, other)),
        })
    }

    fn unknown_type(&self, key: &str, value_type: u32) -> Error {
        Error::malformed(self.cursor.at(&quote(key)), "a value type from 0 to 12", value_type.to_string())
    }

    fn bool(&mut self, key: &str) -> Result<bool> {
        match self.cursor.take::<1>(key)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => {
                Err(Error::malformed(self.cursor.at(&quote(key)), "0 or 1 for a truth value", other.to_string()))
            }
        }
    }

    fn bytes(&mut self, key: &str) -> Result<Vec<u8>> {
        let length = self.cursor.take_u64(key)?;
        self.cursor.take_vec(key, length)
    }

    /// Type and count of an array, the count held against the bytes and elements that are left.
    fn array_head(&mut self, key: &str) -> Result<(u32, u64)> {
        let element_type = self.cursor.take_u32(key)?;
        let count = self.cursor.take_u64(key)?;
        let Some(bytes_each) = least_bytes(element_type) else { return Err(self.unknown_type(key, element_type)) };
        self.cursor.expect_room(key, count, bytes_each)?;
        let Some(left) = self.elements_left.checked_sub(count) else {
            let expected = format!("at most {MAX_ELEMENTS} elements in all arrays");
            return Err(Error::malformed(self.cursor.at(&quote(key)), expected, format!("{count} in this one")));
        };
        self.elements_left = left;
        Ok((element_type, count))
    }

    fn array(&mut self, key: &str) -> Result<Value> {
        let (element_type, count) = self.array_head(key)?;
        Ok(match element_type {
            0 => Value::Integers(self.list(key, count, |[byte]: [u8; 1]| byte.into())?),
            1 => Value::Integers(self.list(key, count, |bytes| i8::from_le_bytes(bytes).into())?),
            2 => Value::Integers(self.list(key, count, |bytes| u16::from_le_bytes(bytes).into())?),
            3 => Value::Integers(self.list(key, count, |bytes| i16::from_le_bytes(bytes).into())?),
            4 => Value::Integers(self.list(key, count, |bytes| u32::from_le_bytes(bytes).into())?),
            5 => Value::Integers(self.list(key, count, |bytes| i32::from_le_bytes(bytes).into())?),
            6 => Value::Floats(self.list(key, count, f32::from_le_bytes)?),
            7 => Value::Bools((0..count).map(|_| self.bool(key)).collect::<Result<_>>()?),
            8 => self.strings(key, count)?,
            9 => {
                for _ in 0..count {
                    self.skip_array(key, MAX_NESTING)?;
                }
                Value::Nested(count)
            }
            10 => {
                let wide = self.list(key, count, u64::from_le_bytes)?;
                let narrow = wide.into_iter().map(i64::try_from).collect::<std::result::Result<_, _>>();
                let at = self.cursor.at(&quote(key));
                Value::Integers(narrow.map_err(|_| Error::malformed(at, "integers under 2^63", "a larger one"))?)
            }
            11 => Value::Integers(self.list(key, count, i64::from_le_bytes)?),
            12 => Value::Floats(self.list(key, count, |bytes| f64::from_le_bytes(bytes) as f32)?),
            other => return Err(self.unknown_type(key, other)),
        })
    }

    fn list<const N: usize, T>(&mut self, key: &str, count: u64, decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        (0..count).map(|_| self.cursor.take(key).map(&decode)).collect()
    }

    fn strings(&mut self, key: &str, count: u64) -> Result<Value> {
        let mut texts = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for done in 0..count {
            match String::from_utf8(self.bytes(key)?) {
                Ok(text) => texts.push(text),
                Err(error) => {
                    let mut list: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
                    list.push(error.into_bytes());
                    for _ in done + 1..count {
                        list.push(self.bytes(key)?);
                    }
                    return Ok(Value::ByteStrings(list));
                }
            }
        }
        Ok(Value::Strings(texts))
    }

    /// Passes over an array that lies in an array.
    fn skip_array(&mut self, key: &str, nesting_left: u32) -> Result<()> {
        let (element_type, count) = self.array_head(key)?;
        match (element_type, nesting_left) {
            (9, 0) => {
                let at = self.cursor.at(&quote(key));
                return Err(Error::unsupported(at, format!("arrays at most {MAX_NESTING} deep"), "a deeper one"));
            }
            (9, _) => {
                for _ in 0..count {
                    self.skip_array(key, nesting_left - 1)?;
                }
            }
            (8, _) => {
                for _ in 0..count {
                    let length = self.cursor.take_u64(key)?;
                    self.cursor.skip(key, length)?;
                }
            }
            // The product was checked with the array's head.
            (fixed, _) => self.cursor.skip(key, count.saturating_mul(least_bytes(fixed).unwrap_or(1)))?,
        }
        Ok(())
    }
}

/// Bytes of a value, or the least it can have.
fn least_bytes(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        8 | 10..=12 => Some(8),
        9 => Some(4 + 8),
        _ => None,
    }
}
