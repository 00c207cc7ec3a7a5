//! A file of a checkpoint: opened once, measured, then read in bounded pieces by position.
//!
//! `Source::open` takes regular files only and never waits on a pipe; `read_at` copies a range into a buffer
//! that the caller owns, after it has checked the range against the file's size. Nothing is mapped.
//!
//! The one surprise: every read compares the file with what it was when it was opened, so a file that is cut or
//! written to while it loads is an error even where the bytes wanted are still there.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    buffer::free_bytes,
    error::{Error, Result},
};

/// What tells one state of a file from a later one: size, seconds and nanoseconds of its last change.
type State = (u64, i64, i64);

/// An open file.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    state: State,
}

impl Source {
    /// Opens a regular file; `expected` says what it would be, should it be absent.
    pub fn open(path: &Path, expected: &str) -> Result<Source> {
        // A pipe without a writer would block an ordinary open for ever.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| refused(path, expected, &error))?;
        let metadata = file.metadata().map_err(|error| refused(path, expected, &error))?;
        if !metadata.is_file() {
            let kind = if metadata.is_dir() { "a folder" } else { "a device, pipe or socket" };
            return Err(Error::malformed(show(path), format!("a regular file: {expected}"), kind));
        }
        Ok(Source { path: path.to_path_buf(), file, state: state(&metadata) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file when it was opened.
    pub fn bytes(&self) -> u64 {
        self.state.0
    }

    /// Fills `out` with the bytes from `offset` on; `what` names them in errors.
    pub fn read_at(&self, what: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let end = u64::try_from(out.len()).ok().and_then(|length| offset.checked_add(length));
        if end.is_none_or(|end| end > self.bytes()) {
            let expected = format!("{} bytes from byte {offset} on", out.len());
            return Err(Error::malformed(self.at(what), expected, format!("a file of {} bytes", self.bytes())));
        }
        match self.file.read_exact_at(out, offset) {
            Ok(()) => self.unchanged(what),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                self.unchanged(what)?;
                Err(Error::malformed(self.at(what), format!("{} bytes", self.bytes()), "an early end of the file"))
            }
            Err(error) => Err(Error::Unreadable { path: self.at(what), reason: error.to_string() }),
        }
    }

    /// Fails when the file is no longer what was opened.
    fn unchanged(&self, what: &str) -> Result<()> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| Error::Unreadable { path: self.at(what), reason: error.to_string() })?;
        let now = state(&metadata);
        if now == self.state {
            return Ok(());
        }
        let expected = format!("the file of {} bytes that was opened, unchanged while it loads", self.bytes());
        let found = match now.0 {
            size if size == self.bytes() => "the same size, but written to since".to_string(),
            size => format!("{size} bytes now"),
        };
        Err(Error::malformed(self.at(what), expected, found))
    }

    fn at(&self, what: &str) -> String {
        format!("{}: {what}", show(&self.path))
    }
}

/// The whole of a small file, or `None` where there is no such file. A file over `limit` bytes is refused.
pub fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    match Source::open(path, "a file beside the model") {
        Ok(source) => read_whole(&source, limit).map(Some),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The whole of an opened file of at most `limit` bytes.
pub fn read_whole(source: &Source, limit: u64) -> Result<Vec<u8>> {
    if source.bytes() > limit {
        let at = show(source.path());
        return Err(Error::malformed(at, format!("at most {limit} bytes"), format!("{} bytes", source.bytes())));
    }
    let mut out = buffer(source.bytes())?;
    source.read_at("content", 0, &mut out)?;
    Ok(out)
}

/// Zeroed bytes to read into, refused rather than aborted when memory is short.
pub fn buffer(bytes: u64) -> Result<Vec<u8>> {
    let short = || Error::OutOfMemory { wanted_bytes: bytes, free_bytes: free_bytes() };
    let length = usize::try_from(bytes).map_err(|_| short())?;
    let mut out = Vec::new();
    out.try_reserve_exact(length).map_err(|_| short())?;
    out.resize(length, 0);
    Ok(out)
}

fn state(metadata: &Metadata) -> State {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn refused(path: &Path, expected: &str, error: &std::io::Error) -> Error {
    match error.kind() {
        // NotADirectory: a component of the path is a file.
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Error::NotFound { path: show(path), expected: expected.to_string() }
        }
        _ => Error::Unreadable { path: show(path), reason: error.to_string() },
    }
}

/// A path as errors show it.
pub fn show(path: &Path) -> String {
    clip(&path.display().to_string(), 1024)
}

/// Text from a file as errors quote it: on one line, and never longer than a reader can use.
pub fn quote(text: &str) -> String {
    format!("{:?}", clip(text, 120))
}

/// `text`, or its beginning where it is longer than `limit` bytes.
pub fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let cut = text.floor_char_boundary(limit);
    format!("{}… ({} bytes)", text.get(..cut).unwrap_or_default(), text.len())
}
