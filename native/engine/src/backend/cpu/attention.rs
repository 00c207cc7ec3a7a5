//! Attention of a few query rows over one key-value head, straight from the cache's pages.
//!
//! Scores are one product with the transposed keys (a position a lane), the weighted sum one product with the
//! values; both are the register block of matrix.rs, so a row's numbers do not depend on the rows beside it.

use std::ops::Range;

use super::{
    kv_cache::{PAGE, View},
    matrix::{Rows, RowsMut, accumulate},
    pointwise::exponentials,
    simd::{Level, Simd, with_level},
    tile::LANES,
};

/// Query rows of one head group: `rows` positions times `group` heads, gathered row by row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query {
    pub layer: usize,
    pub kv_head: usize,
    /// Query heads that share the key-value head.
    pub group: usize,
    /// Position of the first row; the others follow it.
    pub position: usize,
    pub rows: usize,
    pub head_dim: usize,
    pub window: Option<usize>,
    pub scale: f32,
    pub softcap: Option<f32>,
}

/// A member's own memory for one query.
#[derive(Debug)]
pub struct Scratch {
    /// f32 [rows * group][head_dim]
    pub query: Vec<f32>,
    /// f32 [rows * group][positions]
    pub scores: Vec<f32>,
    /// f32 [rows * group][value stride]
    pub output: Vec<f32>,
}

impl Query {
    /// Positions that a row sees.
    fn visible(&self, row: usize) -> Range<usize> {
        let end = self.position + row + 1;
        end.saturating_sub(self.window.unwrap_or(end))..end
    }
}

/// scratch.output = softmax(query keys^T) values.
///
/// # Safety
/// Every position up to the last row's is in the cache; scratch.query holds the rows; the scratch has room for them;
/// the level was detected.
pub(super) unsafe fn attend(level: Level, cache: &View, query: &Query, value_stride: usize, scratch: &mut Scratch) {
    let count = query.rows * query.group;
    // Whole tiles of positions, so that the score of a position always sits in the same lane.
    let first = query.visible(0).start / LANES * LANES;
    let last = (query.position + query.rows).next_multiple_of(LANES);
    let stride = last - first;
    assert!(scratch.scores.len() >= count * stride && scratch.output.len() >= count * value_stride);
    assert!(scratch.query.len() >= count * query.head_dim);
    let rows = Rows { at: scratch.query.as_ptr(), stride: query.head_dim, count };
    let scores = RowsMut { at: scratch.scores.as_mut_ptr(), stride };
    // SAFETY: first .. last lies in pages that exist (pages are whole tiles); the scratch was just checked.
    unsafe {
        with_level!(level, score(cache: &View, query: &Query, positions: Range<usize>, rows: Rows, out: RowsMut), (cache, query, first..last, rows, scores))
    }
    let mut sums = [0.0_f32; MAX_ROWS];
    for (i, sum) in sums.iter_mut().enumerate().take(count) {
        let visible = query.visible(i / query.group);
        let row = &mut scratch.scores[i * stride..(i + 1) * stride];
        *sum = exponentials(level, row, visible.start - first..visible.end - first, query.scale, query.softcap);
    }
    let end = query.position + query.rows;
    let weights = Rows { at: scratch.scores.as_ptr(), stride, count };
    let output = RowsMut { at: scratch.output.as_mut_ptr(), stride: value_stride };
    // SAFETY: as above; values are read up to `end` only, which are all written.
    unsafe {
        with_level!(level, weigh(cache: &View, query: &Query, positions: Range<usize>, rows: Rows, out: RowsMut), (cache, query, first..end, weights, output))
    }
    for (i, sum) in sums.iter().enumerate().take(count) {
        let row = &mut scratch.output[i * value_stride..(i + 1) * value_stride];
        row.iter_mut().for_each(|value| *value /= sum);
    }
}

/// Most rows of a query: one head group, or as many as fill the widest register block.
pub const MAX_ROWS: usize = 256;

#[inline(always)]
unsafe fn score<S: Simd>(cache: &View, query: &Query, positions: Range<usize>, rows: Rows, out: RowsMut) {
    for position in positions.clone().step_by(LANES) {
        let keys = cache.keys(position / PAGE, query.layer, query.kv_head);
        let tile = keys.wrapping_add(position % PAGE * query.head_dim);
        let out = RowsMut { at: out.at.wrapping_add(position - positions.start), ..out };
        // SAFETY: the tile holds head_dim x 16 floats; out has a column for each position.
        unsafe { accumulate::<S>(tile, 1, LANES, query.head_dim, rows, out, false) }
    }
}

#[inline(always)]
unsafe fn weigh<S: Simd>(cache: &View, query: &Query, positions: Range<usize>, rows: Rows, out: RowsMut) {
    let stride = out.stride;
    let mut position = positions.start;
    while position < positions.end {
        let end = ((position / PAGE + 1) * PAGE).min(positions.end);
        let values = cache.values(position / PAGE, query.layer, query.kv_head);
        let values = values.wrapping_add(position % PAGE * stride);
        let add = position > positions.start;
        let rows = Rows { at: rows.at.wrapping_add(position - positions.start), ..rows };
        // SAFETY: the page holds `stride` floats for each position; rows have a weight for each.
        unsafe { accumulate::<S>(values, stride / LANES, stride, end - position, rows, out, add) }
        position = end;
    }
}
