//! Keys and values of one session: f32, in pages of 256 positions, allocated between slices.
//!
//! A page holds every layer. Keys lie transposed, sixteen positions a tile ([KV][group][HD][16]), so that
//! scores are computed one position a lane; values lie by position ([KV][position][HD rounded up to 16]).

use super::tile::LANES;
use crate::{
    buffer::Buffer,
    error::{Error, Result},
};

/// Positions of a page.
pub const PAGE: usize = 256;

/// The cache of one session.
#[derive(Debug)]
pub struct KvCache {
    pages: Vec<Buffer>,
    /// Positions that hold keys and values.
    len: usize,
    limit: usize,
    shape: Shape,
}

/// Sizes that a page depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Shape {
    /// Floats of one head's keys in a page.
    fn key_floats(self) -> usize {
        PAGE * self.head_dim
    }

    /// Floats between one position's values and the next one's.
    pub fn value_stride(self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    fn head_floats(self) -> usize {
        self.key_floats() + PAGE * self.value_stride()
    }

    fn page_floats(self) -> Option<usize> {
        self.head_floats().checked_mul(self.layers)?.checked_mul(self.kv_heads)
    }
}

impl KvCache {
    /// An empty cache that may grow to `limit` positions.
    pub fn new(shape: Shape, limit: usize) -> Self {
        KvCache { pages: vec![], len: 0, limit, shape }
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
        while self.pages.len() * PAGE < positions {
            let floats = self.shape.page_floats().unwrap_or(usize::MAX / 8);
            self.pages.push(Buffer::floats(floats)?);
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

    /// Where the pages are, for the members of a job.
    pub(super) fn view(&mut self) -> View {
        View { pages: self.pages.iter_mut().map(|page| page.as_floats_mut().as_mut_ptr()).collect(), shape: self.shape }
    }
}

/// The pages as addresses; writing is shared out so that no two members touch the same position of a head.
#[derive(Debug)]
pub(super) struct View {
    pages: Vec<*mut f32>,
    shape: Shape,
}

// SAFETY: a view is only used within the job that it was made for, by the rule above.
unsafe impl Sync for View {}
// SAFETY: as above.
unsafe impl Send for View {}

impl View {
    /// One head's keys of a page: f32 [PAGE / 16][HD][16].
    pub fn keys(&self, page: usize, layer: usize, head: usize) -> *mut f32 {
        let at = (layer * self.shape.kv_heads + head) * self.shape.head_floats();
        self.pages[page].wrapping_add(at)
    }

    /// One head's values of a page: f32 [PAGE][value_stride].
    pub fn values(&self, page: usize, layer: usize, head: usize) -> *mut f32 {
        self.keys(page, layer, head).wrapping_add(self.shape.key_floats())
    }

    /// Stores one head's key and value at a position.
    ///
    /// # Safety
    /// The position is reserved, nobody else touches it; key and value have HD floats.
    pub unsafe fn write(&self, position: usize, layer: usize, head: usize, key: *const f32, value: *const f32) {
        let (page, slot) = (position / PAGE, position % PAGE);
        let width = self.shape.head_dim;
        let keys = self.keys(page, layer, head).wrapping_add(slot / LANES * width * LANES + slot % LANES);
        let values = self.values(page, layer, head).wrapping_add(slot * self.shape.value_stride());
        // SAFETY: slot < PAGE, so both lie within the head's part of the page.
        unsafe {
            for i in 0..width {
                *keys.add(i * LANES) = *key.add(i);
            }
            std::ptr::copy_nonoverlapping(value, values, width);
        }
    }
}
