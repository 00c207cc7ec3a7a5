//! Rows of f32 in memory: to be read, to be written, and shared by the members of a job, each writing its own part.

use std::ops::Range;

/// `count` rows of floats, `stride` apart.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub at: *const f32,
    pub stride: usize,
    pub count: usize,
}

/// As `Rows`, to be written.
#[derive(Debug, Clone, Copy)]
pub struct RowsMut {
    pub at: *mut f32,
    pub stride: usize,
}

/// A buffer that the members of a job write in turns or in parts.
#[derive(Clone, Copy)]
pub(super) struct Plane {
    pub at: *mut f32,
    pub stride: usize,
}

// SAFETY: members write disjoint parts between two barriers; each stage of `forward.rs` says which.
unsafe impl Sync for Plane {}
// SAFETY: as above.
unsafe impl Send for Plane {}

impl Plane {
    pub fn new(buffer: &mut [f32], stride: usize) -> Self {
        Plane { at: buffer.as_mut_ptr(), stride }
    }

    /// # Safety
    /// No other member writes any of it until the next barrier.
    pub unsafe fn row(&self, row: usize, width: usize) -> &[f32] {
        // SAFETY: rows lie within the buffer; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.at.add(row * self.stride), width) }
    }

    /// # Safety
    /// No other member touches this part until the next barrier.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, row: usize, columns: Range<usize>) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(row * self.stride + columns.start), columns.len()) }
    }

    pub fn rows(&self, count: usize) -> Rows {
        Rows { at: self.at, stride: self.stride, count }
    }

    pub fn rows_mut(&self) -> RowsMut {
        RowsMut { at: self.at, stride: self.stride }
    }
}
