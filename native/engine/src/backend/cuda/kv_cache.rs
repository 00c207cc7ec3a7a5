//! Keys and values of one session on the device, in pages of 256 positions, allocated between slices.
//!
//! A page holds every layer: [L][2][KV][PAGE][HD], keys then values. The kernels find the pages by a table of addresses,
//! which is the device's as well, so that a recorded graph serves every length.

use std::sync::Arc;

use super::{
    driver::{Device, Memory},
    program::PAGE,
};
use crate::error::{Error, Result};

/// The cache of one session.
#[derive(Debug)]
pub struct KvCache {
    device: Arc<Device>,
    pages: Vec<Memory>,
    /// u64 [pages that the context may need]
    table: Option<Memory>,
    /// Positions that hold keys and values.
    len: usize,
    limit: usize,
    page_bytes: usize,
}

impl KvCache {
    /// An empty cache that may grow to `limit` positions.
    pub fn new(device: &Arc<Device>, page_bytes: usize, limit: usize) -> Self {
        KvCache { device: Arc::clone(device), pages: vec![], table: None, len: 0, limit, page_bytes }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for `positions` in all.
    pub fn reserve(&mut self, positions: usize) -> Result<()> {
        if positions > self.limit {
            return Err(Error::ContextOverflow { wanted_tokens: positions, limit_tokens: self.limit });
        }
        let table = match &mut self.table {
            Some(table) => table,
            empty => empty.insert(self.device.memory(self.limit.div_ceil(PAGE) * 8)?),
        };
        while self.pages.len() * PAGE < positions {
            let page = self.device.memory(self.page_bytes)?;
            table.write(self.pages.len() * 8, &page.at().to_le_bytes())?;
            self.pages.push(page);
        }
        Ok(())
    }

    /// Forgets what lies behind `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// Says that `count` more positions are filled.
    pub(super) fn advance(&mut self, count: usize) {
        self.len += count;
    }

    /// Where the table is; 0 before the first `reserve`.
    pub(super) fn table(&self) -> u64 {
        self.table.as_ref().map_or(0, Memory::at)
    }
}
