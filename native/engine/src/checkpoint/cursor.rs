//! Little-endian values of a file's front part, one after the other, through a buffer.
//!
//! Each `take` first asks whether the file still holds that many bytes, and only then allocates.
//!
//! The one surprise: there is a limit beside the file's size. A sparse file can be terabytes long and hold nothing.

use super::source::{self, Source, show};
use crate::error::{Error, Result};

const BUFFER_BYTES: usize = 256 << 10;

/// A position in a file that only moves forward.
pub struct Cursor<'a> {
    source: &'a Source,
    /// A copy of the bytes from `buffer_start` on; `used` of them have been taken.
    buffer: Vec<u8>,
    buffer_start: u64,
    used: usize,
    /// Where reading has to end: the file's size or the limit.
    end: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at the file's first byte; not more than `limit` bytes may be taken.
    pub fn new(source: &'a Source, limit: u64) -> Self {
        Cursor { source, buffer: Vec::new(), buffer_start: 0, used: 0, end: source.bytes().min(limit) }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u64 {
        self.buffer_start + self.used as u64
    }

    pub fn remaining(&self) -> u64 {
        self.end - self.position()
    }

    /// Fails unless `count` things of at least `bytes_each` can still follow.
    pub fn expect_room(&self, what: &str, count: u64, bytes_each: u64) -> Result<()> {
        match count.checked_mul(bytes_each) {
            Some(bytes) if bytes <= self.remaining() => Ok(()),
            _ => {
                let limit = if self.end < self.source.bytes() { " before the limit on metadata" } else { "" };
                let found = format!("{} left{limit}", self.remaining());
                let expected = match (count, bytes_each) {
                    (count, 1) => format!("{count} bytes"),
                    (count, each) => format!("{count} times {each} bytes or more"),
                };
                Err(Error::malformed(self.at(what), expected, found))
            }
        }
    }

    /// Where the cursor stands, for errors.
    pub fn at(&self, what: &str) -> String {
        format!("{}, byte {}: {what}", show(self.source.path()), self.position())
    }

    pub fn skip(&mut self, what: &str, bytes: u64) -> Result<()> {
        self.expect_room(what, bytes, 1)?;
        let left = (self.buffer.len() - self.used) as u64;
        match usize::try_from(bytes) {
            Ok(bytes) if bytes as u64 <= left => self.used += bytes,
            _ => {
                self.buffer_start = self.position() + bytes;
                self.buffer.clear();
                self.used = 0;
            }
        }
        Ok(())
    }

    /// The next `bytes` bytes as a vector of their own.
    pub fn take_vec(&mut self, what: &str, bytes: u64) -> Result<Vec<u8>> {
        self.expect_room(what, bytes, 1)?;
        let mut out = source::buffer(bytes)?;
        self.fill(what, &mut out)?;
        Ok(out)
    }

    pub fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        // The ordinary case: the bytes lie in the buffer.
        if let Some(bytes) = self.buffer.get(self.used..).and_then(|rest| rest.first_chunk::<N>()) {
            self.used += N;
            return Ok(*bytes);
        }
        self.expect_room(what, N as u64, 1)?;
        self.fill(what, &mut out)?;
        Ok(out)
    }

    pub fn take_u32(&mut self, what: &str) -> Result<u32> {
        self.take(what).map(u32::from_le_bytes)
    }

    pub fn take_u64(&mut self, what: &str) -> Result<u64> {
        self.take(what).map(u64::from_le_bytes)
    }

    /// Copies out of the buffer, and past it from the file. The caller has checked that there is room.
    fn fill(&mut self, what: &str, out: &mut [u8]) -> Result<()> {
        let mut out = out;
        loop {
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            let length = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(length);
            if let Some(bytes) = rest.get(..length) {
                now.copy_from_slice(bytes);
            }
            self.used += length;
            if later.is_empty() {
                return Ok(());
            }
            out = later;
            self.refill(what)?;
        }
    }

    fn refill(&mut self, what: &str) -> Result<()> {
        let start = self.position();
        let length = self.remaining().min(BUFFER_BYTES as u64) as usize;
        if length == 0 {
            return self.expect_room(what, 1, 1);
        }
        self.buffer.resize(length, 0);
        (self.buffer_start, self.used) = (start, 0);
        self.source.read_at(what, start, &mut self.buffer)
    }
}
