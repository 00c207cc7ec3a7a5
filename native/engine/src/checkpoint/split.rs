//! A GGUF model in one file or in several: name-00001-of-00003.gguf and its fellows, wherever one starts.
//!
//! Each part is a whole GGUF file with tensors of its own; `split.no`, `split.count` and `split.tensors.count` say how
//! they belong together, and the names say where they lie.
//!
//! The one surprise: any part may be the one that is opened, but the model's metadata is in the first.

use std::path::{Path, PathBuf};

use super::{
    contents::Contents,
    gguf::{self, Parsed},
    metadata::Metadata,
    source::{Source, show},
};
use crate::error::{Error, Result};

/// Each stays open while the model loads.
const MAX_PARTS: u64 = 500;

/// Opens a GGUF file, and the other parts of its set where it is one of several.
pub fn open(source: Source) -> Result<(Vec<Source>, Contents, Metadata)> {
    let Parsed { metadata, contents } = gguf::parse(&source, 0)?;
    match split_number(&source, &metadata, "split.count")? {
        None | Some(0 | 1) => Ok((vec![source], contents, metadata)),
        Some(count) => open_set(&source, &metadata, count),
    }
}

fn open_set(opened: &Source, metadata: &Metadata, count: u64) -> Result<(Vec<Source>, Contents, Metadata)> {
    if count > MAX_PARTS {
        let at = format!("{}: split.count", show(opened.path()));
        return Err(Error::malformed(at, format!("at most {MAX_PARTS} parts"), count.to_string()));
    }
    let number = split_number(opened, metadata, "split.no")?.unwrap_or(0);
    let Some(set) =
        PartName::of(opened.path(), ".gguf").filter(|name| name.count == count && name.number == number + 1)
    else {
        let expected = format!("a name that ends in -{:05}-of-{count:05}.gguf, as its metadata says", number + 1);
        return Err(Error::malformed(show(opened.path()), expected, "another name"));
    };
    let (mut sources, mut contents, mut first) = (Vec::new(), Contents::default(), Metadata::default());
    for number in 1..=count {
        let source = Source::open(&set.path(number, ".gguf"), &format!("part {number} of {count} of a split model"))?;
        let part = gguf::parse(&source, sources.len())?;
        expect_split_number(&source, &part.metadata, "split.count", count)?;
        expect_split_number(&source, &part.metadata, "split.no", number - 1)?;
        contents.append(&source, part.contents)?;
        if number == 1 {
            first = part.metadata;
        }
        sources.push(source);
    }
    if let Some(tensors) = split_number(opened, &first, "split.tensors.count")?
        && tensors != contents.len() as u64
    {
        let at = format!("{}: split.tensors.count", show(&set.path(1, ".gguf")));
        let found = format!("{} in all parts", contents.len());
        return Err(Error::malformed(at, format!("{tensors} tensors"), found));
    }
    Ok((sources, contents, first))
}

/// A number of the split, or `None` in a file that is whole.
fn split_number(source: &Source, metadata: &Metadata, key: &str) -> Result<Option<u64>> {
    match (metadata.get(key), metadata.uint(key)) {
        (None, _) => Ok(None),
        (_, Some(number)) => Ok(Some(number)),
        (Some(value), None) => {
            let at = format!("{}: {key}", show(source.path()));
            Err(Error::malformed(at, "a non-negative integer", value.kind()))
        }
    }
}

fn expect_split_number(source: &Source, metadata: &Metadata, key: &str, expected: u64) -> Result<()> {
    match split_number(source, metadata, key)? {
        Some(found) if found == expected => Ok(()),
        found => {
            let found = found.map_or("none".to_string(), |number| number.to_string());
            Err(Error::malformed(format!("{}: {key}", show(source.path())), expected.to_string(), found))
        }
    }
}

/// A file name such as `model-00002-of-00003.gguf`, taken apart.
#[derive(Debug, PartialEq)]
pub struct PartName {
    folder: PathBuf,
    pub prefix: String,
    /// From 1.
    pub number: u64,
    pub count: u64,
}

impl PartName {
    /// `None` for a name that is no part's.
    pub fn of(path: &Path, extension: &str) -> Option<PartName> {
        let stem = path.file_name()?.to_str()?.strip_suffix(extension)?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let parse = |digits: &str| match digits.len() {
            5 if digits.bytes().all(|digit| digit.is_ascii_digit()) => digits.parse().ok(),
            _ => None,
        };
        let (number, count) = (parse(number)?, parse(count)?);
        let folder = path.parent()?.to_path_buf();
        (1..=count).contains(&number).then(|| PartName { folder, prefix: prefix.to_string(), number, count })
    }

    /// Where another part of the set lies.
    pub fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.folder.join(format!("{}-{number:05}-of-{:05}{extension}", self.prefix, self.count))
    }

    /// A file of the set that is named after its prefix alone.
    pub fn beside(&self, extension: &str) -> PathBuf {
        self.folder.join(format!("{}{extension}", self.prefix))
    }
}
