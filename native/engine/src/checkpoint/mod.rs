//! Files in: a checkpoint is opened, checked once, and then trusted.
//!
//! ```text
//! path ─ locate ─┬─ safetensors ─────────┬─ contents ─> Checkpoint { tensors } ─ read ─> bytes
//!                ├─ shards (index json) ─┤
//!                └─ split ─ gguf ────────┘
//!        huggingface (json) or metadata (gguf) ───────> Checkpoint { description }
//! ```
//! `open` reads headers only: it knows each tensor's place and has checked it against the files' sizes. Weights are
//! read afterwards, in pieces of the caller's choice, into the caller's buffers.
//!
//! The one surprise: the files stay open, and are compared with what they were at every read. A file that is cut or
//! changed meanwhile is an error, one that is replaced by a new one of its name is still read as it was.

pub mod config;
mod contents;
mod cursor;
mod ggml_type;
mod gguf;
mod huggingface;
mod json;
mod locate;
pub mod metadata;
mod safetensors;
mod shards;
mod source;
mod split;

use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
};

pub use self::{
    contents::{ForeignTensor, TensorInfo},
    huggingface::HuggingFace,
};
use self::{
    locate::Kind,
    source::{Source, quote, show},
};
use crate::error::{Error, Result};

/// What a checkpoint says of its model beside the tensors.
#[allow(clippy::large_enum_variant, reason = "there is one of it in a checkpoint")]
#[derive(Debug, Clone)]
pub enum Description {
    HuggingFace(HuggingFace),
    Gguf(metadata::Metadata),
}

/// An opened checkpoint: its description, and where each tensor lies.
///
/// ```no_run
/// # use viva_tensor_engine::{checkpoint::Checkpoint, error::Result};
/// # fn main() -> Result<()> {
/// let checkpoint = Checkpoint::open("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref())?;
/// let embedding = checkpoint.tensor("token_embd.weight")?; // [V, D]
/// let mut first_row = vec![0; embedding.format.bytes_of(embedding.shape[1]).unwrap()];
/// checkpoint.read(embedding, 0..first_row.len() as u64, &mut first_row)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    /// As the caller named it.
    pub path: PathBuf,
    pub description: Description,
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Tensors stored in a way that this engine does not compute with: no error until one is asked for.
    pub foreign: BTreeMap<String, ForeignTensor>,
    sources: Vec<Source>,
}

impl Checkpoint {
    /// Opens a *.safetensors file with its config beside it, a *.gguf, any part of a split one, an index of shards, or a
    /// folder that holds one of these.
    pub fn open(path: &Path) -> Result<Checkpoint> {
        let (first, kind) = locate::open(path)?;
        let folder = first.path().parent().unwrap_or(Path::new("")).to_path_buf();
        let (sources, contents, description) = match kind {
            Kind::Gguf => {
                let (sources, contents, metadata) = split::open(first)?;
                (sources, contents, Description::Gguf(metadata))
            }
            Kind::Index => {
                let (sources, contents) = shards::open(first)?;
                (sources, contents, Description::HuggingFace(HuggingFace::read(&folder)?))
            }
            Kind::Safetensors => {
                let contents = safetensors::parse(&first, 0)?;
                (vec![first], contents, Description::HuggingFace(HuggingFace::read(&folder)?))
            }
        };
        let (tensors, foreign) = (contents.tensors, contents.foreign);
        Ok(Checkpoint { path: path.to_path_buf(), description, tensors, foreign, sources })
    }

    /// A tensor that the model needs.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        match self.optional_tensor(name)? {
            Some(info) => Ok(info),
            None => {
                let path = format!("{}: tensor {}", show(&self.path), quote(name));
                Err(Error::NotFound { path, expected: "a tensor that the model needs".to_string() })
            }
        }
    }

    /// A tensor that a model may have; one that is there in a foreign format is an error.
    pub fn optional_tensor(&self, name: &str) -> Result<Option<&TensorInfo>> {
        match (self.tensors.get(name), self.foreign.get(name)) {
            (Some(info), _) => Ok(Some(info)),
            (None, None) => Ok(None),
            (None, Some(foreign)) => {
                let expected = match self.description {
                    Description::HuggingFace(_) => "F32, F16, BF16 or F8_E4M3",
                    Description::Gguf(_) => "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 or Q2_K to Q6_K",
                };
                let file = self.sources.get(foreign.file).map_or(&*self.path, Source::path);
                let at = format!("{}: tensor {}", show(file), quote(name));
                Err(Error::unsupported(at, expected, format!("a tensor stored as {}", foreign.storage)))
            }
        }
    }

    /// Copies bytes of a tensor into `out`; the range counts from the tensor's first byte and has `out`'s length.
    ///
    /// Errors: `Malformed` when the file was cut or changed since it was opened, `Unreadable` when the system fails.
    pub fn read(&self, info: &TensorInfo, range: Range<u64>, out: &mut [u8]) -> Result<()> {
        let place = || -> Option<(&Source, u64)> {
            let length = range.end.checked_sub(range.start)?;
            let fits = length == u64::try_from(out.len()).ok()? && range.end <= info.bytes;
            Some((self.sources.get(info.file)?, info.offset.checked_add(range.start)?)).filter(|_| fits)
        };
        let Some((source, offset)) = place() else {
            let asked = format!("bytes {range:?} of tensor {} into {} bytes", quote(&info.name), out.len());
            return Err(Error::Internal { reason: format!("{asked}; it has {}", info.bytes) });
        };
        source.read_at(&format!("tensor {}", quote(&info.name)), offset, out)
    }

    /// All bytes of a tensor, for small ones such as norms and biases.
    pub fn read_whole(&self, info: &TensorInfo) -> Result<Vec<u8>> {
        let mut out = source::buffer(info.bytes)?;
        self.read(info, 0..info.bytes, &mut out)?;
        Ok(out)
    }

    /// Bytes of all tensors that can be read.
    pub fn tensor_bytes_total(&self) -> u64 {
        // Each lies inside a file and none overlap, but several files could still be made to add up to more.
        self.tensors.values().fold(0, |total, info| total.saturating_add(info.bytes))
    }

    /// The weight files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(Source::path)
    }
}
