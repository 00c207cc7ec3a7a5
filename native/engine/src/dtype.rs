//! How a tensor's elements are stored.

/// A float type, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dtype {
    Float64,
    Float32,
    Float16,
    BFloat16,
}

impl Dtype {
    pub const ALL: [Dtype; 4] = [Dtype::Float64, Dtype::Float32, Dtype::Float16, Dtype::BFloat16];

    /// Bytes of an element.
    pub fn width(self) -> usize {
        match self {
            Dtype::Float64 => 8,
            Dtype::Float32 => 4,
            Dtype::Float16 | Dtype::BFloat16 => 2,
        }
    }
}
