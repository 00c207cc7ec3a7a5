//! From the path a caller names to the file to begin with, and what kind of file that is.
//!
//! A folder is searched by file name; a file is judged by its first bytes. The name decides only where the bytes say
//! nothing, as in a file that was cut to four bytes.
//!
//! The one surprise: a good part of this is about files that are *not* models. Most first attempts name the wrong
//! file, and the error is all the help there is.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{
    shards,
    source::{self, Source, show},
    split::PartName,
};
use crate::error::{Error, Result};

pub const EXPECTED: &str =
    "a model: a safetensors or GGUF file, or a folder with model.safetensors and config.json, or with a .gguf";

/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 10_000;
const INDEX: &str = ".safetensors.index.json";

/// What a weight file is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Safetensors,
    Index,
    Gguf,
}

/// Opens the file that a checkpoint begins with.
pub fn open(path: &Path) -> Result<(Source, Kind)> {
    let begin = if path.is_dir() { in_folder(path)? } else { path.to_path_buf() };
    let source = Source::open(&begin, EXPECTED)?;
    let kind = kind(&source)?;
    let shard = PartName::of(&begin, ".safetensors").filter(|name| kind == Kind::Safetensors && name.count > 1);
    let Some(shard) = shard else { return Ok((source, kind)) };
    // One shard is not a model: the index beside it names the others.
    let index = Source::open(&shard.beside(INDEX), "the index that names all shards of the model")?;
    Ok((index, Kind::Index))
}

/// The weight file of a folder.
fn in_folder(folder: &Path) -> Result<PathBuf> {
    let names = names(folder)?;
    let ending = |suffix: &str| -> Vec<&str> {
        names.iter().map(String::as_str).filter(|name| name.ends_with(suffix)).collect()
    };
    // In transformers' order: a whole model counts before an index that may be left from an earlier save.
    for standard in ["model.safetensors", "model.safetensors.index.json"] {
        if names.iter().any(|name| name == standard) {
            return Ok(folder.join(standard));
        }
    }
    for suffix in [INDEX, ".safetensors", ".gguf"] {
        match ending(suffix).as_slice() {
            [] => {}
            [name] => return Ok(folder.join(name)),
            several => {
                let first = several.iter().map(|name| PartName::of(&folder.join(name), suffix));
                let sets: Option<Vec<PartName>> = first.collect();
                return match sets.as_deref() {
                    Some([set, rest @ ..])
                        if rest.iter().all(|part| (&part.prefix, part.count) == (&set.prefix, set.count)) =>
                    {
                        Ok(set.path(set.number, suffix))
                    }
                    _ => Err(Error::malformed(
                        show(folder),
                        format!("one *{suffix} file (name the one to load)"),
                        format!("{}: {}", several.len(), some(several)),
                    )),
                };
            }
        }
    }
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let pickles: Vec<&str> = [ending(".bin"), ending(".pt"), ending(".pth")].concat();
    match (all.as_slice(), pickles.as_slice()) {
        ([], _) => Err(Error::malformed(show(folder), EXPECTED, "an empty folder")),
        (all, []) => Err(Error::malformed(show(folder), EXPECTED, format!("a folder with {}", some(all)))),
        (_, pickles) => Err(pickle(folder, &format!("PyTorch's pickle ({})", some(pickles)))),
    }
}

/// The names in a folder, in order, without the hidden ones.
fn names(folder: &Path) -> Result<Vec<String>> {
    let unreadable = |error: std::io::Error| Error::Unreadable { path: show(folder), reason: error.to_string() };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut names = Vec::new();
    for entry in entries.take(MAX_ENTRIES) {
        names.extend(entry.map_err(unreadable)?.file_name().to_str().map(str::to_string));
    }
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    Ok(names)
}

/// The first few names of a list.
fn some(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(4).map(|name| source::clip(name, 60)).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// Judges a file by its first bytes.
fn kind(source: &Source) -> Result<Kind> {
    let mut head = [0; 64];
    let length = source.bytes().min(head.len() as u64) as usize;
    let head = head.get_mut(..length).unwrap_or_default();
    source.read_at("first bytes", 0, head)?;
    let unsupported = |found: &str| Err(Error::unsupported(show(source.path()), EXPECTED, found));
    match &*head {
        [b'G', b'G', b'U', b'F', ..] | [b'F', b'U', b'G', b'G', ..] => return Ok(Kind::Gguf),
        [b'l' | b'a' | b'f' | b't', b'm' | b'l' | b'j', b'g', b'g', ..] => {
            return unsupported("a GGML file from before GGUF");
        }
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => return Err(pickle(source.path(), "PyTorch's pickle")),
        [0x89, b'H', b'D', b'F', ..] => return unsupported("an HDF5 file"),
        _ => {}
    }
    let is_ascii = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    // The length of a header, unlike eight letters, has a zero or another byte that is no text.
    if head.get(8) == Some(&b'{') && !head.iter().take(8).all(is_ascii) {
        return Ok(Kind::Safetensors);
    }
    if !head.is_empty() && head.iter().all(|byte| is_ascii(byte) || *byte >= 0x80) {
        return text_kind(source, head);
    }
    match source.path().extension().and_then(OsStr::to_str) {
        _ if head.is_empty() => unsupported("an empty file"),
        Some("safetensors") => Ok(Kind::Safetensors),
        Some("gguf") => Ok(Kind::Gguf),
        _ => unsupported(&format!("a file that begins with the bytes {:02x?}", head.get(..8).unwrap_or(head))),
    }
}

/// A text file is an index, or a mistake that can be named.
fn text_kind(source: &Source, head: &[u8]) -> Result<Kind> {
    let shown = String::from_utf8_lossy(head);
    let unsupported = |found: &str| Err(Error::unsupported(show(source.path()), EXPECTED, found));
    if shown.starts_with("version https://git-lfs") {
        return unsupported("a Git LFS pointer in place of the file (fetch it with `git lfs pull`)");
    }
    if !shown.trim_start().starts_with('{') {
        let is_page = shown.trim_start().to_ascii_lowercase().starts_with("<!doctype html");
        return unsupported(if is_page { "a web page" } else { "a text file" });
    }
    let name = source.path().file_name().and_then(OsStr::to_str).unwrap_or_default();
    if name.ends_with(INDEX) || shards::is_index(&source::read_whole(source, super::json::MAX_BYTES)?) {
        return Ok(Kind::Index);
    }
    unsupported("a JSON file that is no index of shards (name the folder it lies in)")
}

fn pickle(path: &Path, found: &str) -> Error {
    let expected = "safetensors or GGUF (transformers' save_pretrained writes safetensors)";
    Error::unsupported(show(path), expected, found)
}
