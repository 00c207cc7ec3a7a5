//! What lies in one weight file: the tensors that this engine reads, and those that it only knows to be there.
//!
//! Both readers (safetensors, GGUF) end here; `Checkpoint` joins the files of a set.
//!
//! The one surprise: a tensor in a foreign format is no error until a model asks for it, because real files carry
//! position ids, masks and step counters that no model needs.

use std::collections::{BTreeMap, btree_map::Entry};

use super::source::{Source, quote, show};
use crate::{
    error::{Error, Result},
    quant::Format,
};

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

impl TensorInfo {
    /// How many weights it has.
    pub fn weights(&self) -> usize {
        // The product was checked when the file was opened.
        self.shape.iter().product()
    }
}

/// A tensor whose numbers are stored in a way that this engine does not compute with.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignTensor {
    pub name: String,
    /// The file's own word for it: `I64`, `IQ2_XS`, `ggml type 99`.
    pub storage: String,
    pub file: usize,
}

/// The tensors of one file, or of a set of files.
#[derive(Debug, Default, PartialEq)]
pub struct Contents {
    pub tensors: BTreeMap<String, TensorInfo>,
    pub foreign: BTreeMap<String, ForeignTensor>,
}

/// Where a tensor's bytes lie; `start` counts from wherever the format counts.
pub struct Extent<'a> {
    pub start: u64,
    pub end: u64,
    pub name: &'a str,
}

/// Sorts the extents by place and fails when two of them share a byte.
pub fn sort_disjoint(source: &Source, extents: &mut [Extent]) -> Result<()> {
    extents.sort_unstable_by_key(|extent| (extent.start, extent.end));
    for pair in extents.windows(2) {
        if let [before, after] = pair
            && after.start < before.end
        {
            let at = format!("{}: tensor {}", show(source.path()), quote(after.name));
            let expected = format!("data after byte {}, where tensor {} ends", before.end, quote(before.name));
            return Err(Error::malformed(at, expected, format!("an overlap from byte {} on", after.start)));
        }
    }
    Ok(())
}

impl Contents {
    /// Takes the tensors of another file of the set, none of which may be here already.
    pub fn append(&mut self, source: &Source, other: Contents) -> Result<()> {
        let twice = |name: &str| {
            let at = format!("{}: tensor {}", show(source.path()), quote(name));
            Err(Error::malformed(at, "each tensor in one file of the set", "a tensor that another file holds too"))
        };
        for (name, info) in other.tensors {
            if self.foreign.contains_key(&name) {
                return twice(&name);
            }
            match self.tensors.entry(name) {
                Entry::Vacant(entry) => entry.insert(info),
                Entry::Occupied(entry) => return twice(entry.key()),
            };
        }
        for (name, tensor) in other.foreign {
            if self.tensors.contains_key(&name) {
                return twice(&name);
            }
            match self.foreign.entry(name) {
                Entry::Vacant(entry) => entry.insert(tensor),
                Entry::Occupied(entry) => return twice(entry.key()),
            };
        }
        Ok(())
    }

    /// How many tensors there are, foreign ones included.
    pub fn len(&self) -> usize {
        self.tensors.len() + self.foreign.len()
    }
}
