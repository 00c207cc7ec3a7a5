//! The header of a safetensors file: 8 bytes of length (little-endian), that many bytes of JSON, then the data.
//!
//! The JSON maps names to a dtype, a shape and a range of bytes that counts from the end of the header. `parse` reads
//! it with a visitor that refuses repeated keys, checks each number against the file, and hands on what it found.
//! Format: <https://github.com/huggingface/safetensors#format>.
//!
//! The one surprise: tensors must cover the data without a gap, as the reference reader demands; a file with room
//! to spare was cut, patched or made to hide something.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    contents::{Contents, Extent, ForeignTensor, TensorInfo, sort_disjoint},
    json,
    source::{self, Source, clip, quote, show},
};
use crate::{
    error::{Error, Result},
    quant::Format,
};

/// As in the reference reader.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The largest checkpoints of today have under 100,000.
const MAX_TENSORS: usize = 1_000_000;
const MAX_DIMENSIONS: usize = 16;

/// Reads the header of a file; `file` is its index in the checkpoint.
pub fn parse(source: &Source, file: usize) -> Result<Contents> {
    let (header, data_start) = read_header(source)?;
    let entries: Entries = serde_json::from_slice(&header).map_err(|error| json::invalid(source.path(), &error))?;
    check_coverage(source, &entries.0, source.bytes() - data_start)?;
    let mut contents = Contents::default();
    for (name, entry) in entries.0 {
        let at = || format!("{}: tensor {}", show(source.path()), quote(&name));
        let shape = entry.check(&at)?;
        match format_of(&entry.dtype) {
            Some(format) => {
                let [start, end] = entry.data_offsets;
                let (offset, bytes) = (data_start + start, end - start);
                let info = TensorInfo { name: name.clone(), format, shape, file, offset, bytes };
                contents.tensors.insert(name, info);
            }
            None => {
                let storage = clip(&entry.dtype, 40);
                contents.foreign.insert(name.clone(), ForeignTensor { name, storage, file });
            }
        }
    }
    Ok(contents)
}

/// The JSON text, and where the data begins.
fn read_header(source: &Source) -> Result<(Vec<u8>, u64)> {
    let mut length = [0; 8];
    source.read_at("header length", 0, &mut length)?;
    let length = u64::from_le_bytes(length);
    let room = source.bytes().saturating_sub(8);
    if length > room.min(MAX_HEADER_BYTES) {
        let at = format!("{}: header", show(source.path()));
        let expected = format!("at most {} bytes", room.min(MAX_HEADER_BYTES));
        return Err(Error::malformed(at, expected, format!("a length of {length} bytes")));
    }
    let mut header = source::buffer(length)?;
    source.read_at("header", 8, &mut header)?;
    Ok((header, 8 + length))
}

/// The ranges must lie end to end from the data's first byte to its last.
fn check_coverage(source: &Source, entries: &BTreeMap<String, RawTensor>, data_bytes: u64) -> Result<()> {
    let mut extents = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let [start, end] = entry.data_offsets;
        if start > end || end > data_bytes {
            let at = format!("{}: tensor {}", show(source.path()), quote(name));
            let expected = format!("a range of the {data_bytes} bytes of data");
            let hint = if end > data_bytes { " (is the file cut short?)" } else { "" };
            return Err(Error::malformed(at, expected, format!("bytes {start} to {end}{hint}")));
        }
        extents.push(Extent { start, end, name });
    }
    sort_disjoint(source, &mut extents)?;
    let mut covered = 0;
    for extent in extents.iter().chain([&Extent { start: data_bytes, end: data_bytes, name: "" }]) {
        if extent.start != covered {
            let expected = format!("tensors that cover all {data_bytes} bytes of data");
            let found = format!("a gap from byte {covered} to {}", extent.start);
            return Err(Error::malformed(show(source.path()), expected, found));
        }
        covered = extent.end;
    }
    Ok(())
}

/// How this engine names a dtype, if it computes with it.
fn format_of(dtype: &str) -> Option<Format> {
    match dtype {
        "F32" => Some(Format::F32),
        "F16" => Some(Format::F16),
        "BF16" => Some(Format::Bf16),
        "F8_E4M3" => Some(Format::F8E4m3),
        _ => None,
    }
}

/// Bits of an element; `None` for a dtype nobody has told us of.
fn bits_of(dtype: &str) -> Option<u64> {
    match dtype {
        "F4" => Some(4),
        "F6_E2M3" | "F6_E3M2" => Some(6),
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => Some(8),
        "I16" | "U16" | "F16" | "BF16" => Some(16),
        "I32" | "U32" | "F32" => Some(32),
        "I64" | "U64" | "F64" | "C64" => Some(64),
        _ => None,
    }
}

/// One tensor as the header has it.
#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Dimensions,
    data_offsets: [u64; 2],
}

impl RawTensor {
    /// The shape, once its product is known to be what the range of bytes holds.
    fn check(&self, at: &impl Fn() -> String) -> Result<Vec<usize>> {
        let Dimensions(shape) = &self.shape;
        let lies = |expected: String| {
            let [start, end] = self.data_offsets;
            let found = format!("{} of {} with {} bytes", show_shape(shape), clip(&self.dtype, 40), end - start);
            Err(Error::malformed(at(), expected, found))
        };
        let Some(weights) = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length)) else {
            return lies("a shape whose product fits into 64 bits".to_string());
        };
        if let Some(bits) = bits_of(&self.dtype) {
            let [start, end] = self.data_offsets;
            if u128::from(weights) * u128::from(bits) != u128::from(end - start) * 8 {
                return lies("a shape and dtype that take the bytes of its range".to_string());
            }
        }
        match shape.iter().map(|&length| usize::try_from(length)).collect() {
            Ok(shape) => Ok(shape),
            Err(_) => lies("lengths that fit into this machine's words".to_string()),
        }
    }
}

fn show_shape(shape: &[u64]) -> String {
    let lengths: Vec<String> = shape.iter().map(u64::to_string).collect();
    format!("[{}]", lengths.join(", "))
}

/// A shape of a bounded number of dimensions.
struct Dimensions(Vec<u64>);

impl<'de> Deserialize<'de> for Dimensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Lengths;
        impl<'de> Visitor<'de> for Lengths {
            type Value = Dimensions;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                write!(out, "a shape of at most {MAX_DIMENSIONS} lengths")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Dimensions, A::Error> {
                let mut lengths = Vec::new();
                while let Some(length) = items.next_element()? {
                    if lengths.len() == MAX_DIMENSIONS {
                        return Err(A::Error::invalid_length(MAX_DIMENSIONS + 1, &self));
                    }
                    lengths.push(length);
                }
                Ok(Dimensions(lengths))
            }
        }
        deserializer.deserialize_seq(Lengths)
    }
}

/// All tensors of a header, none of them named twice; `__metadata__` is skipped.
struct Entries(BTreeMap<String, RawTensor>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Entries;

            fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
                out.write_str("a map from tensor names to their dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> std::result::Result<Entries, A::Error> {
                let (mut entries, mut has_metadata) = (BTreeMap::new(), false);
                while let Some(name) = pairs.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("a second __metadata__"));
                        }
                        pairs.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    match entries.entry(name) {
                        Entry::Vacant(entry) => entry.insert(pairs.next_value()?),
                        Entry::Occupied(entry) => {
                            return Err(A::Error::custom(format!("tensor {} a second time", quote(entry.key()))));
                        }
                    };
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
