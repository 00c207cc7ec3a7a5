//! Weight formats: how many bits a weight keeps, in what order, and what number they mean.
//!
//! A format is a file; this one is their table. A row of a matrix is a sequence of blocks of
//! `block_len` weights in `block_bytes` bytes. `dequantize` is the reference meaning of a block, plain
//! and slow; the backends have fast twins, tested against it.
//!
//! The one surprise: a format says nothing of NaN or infinite scales. They give what IEEE arithmetic gives, the
//! reference in Python likewise; whoever loads weights looks for numbers that are none.

pub mod f8_e4m3;
mod float;
pub mod int4;
pub mod int4_sparse24;
pub mod int8;
pub mod int8_sparse24;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

#[cfg(test)]
mod tests;

/// The format that weights are held in, as a caller asks for it.
///
/// Anything but `Keep` packs matrices that are stored as F32, F16 or BF16; others stay as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As they are stored.
    #[default]
    Keep,
    /// F8_E4M3 with a scale a row.
    Fp8,
    /// F8_E4M3 with a scale for each block of so many columns.
    Fp8Blocks(usize),
    /// INT8 with a scale a row.
    Int8,
    /// INT4 with a scale for each group of so many columns; embedding and head as `Int8`.
    Int4(usize),
    /// INT8, two of four, with a scale a row; embedding and head as `Int8`.
    Int8Sparse24,
    /// INT4, two of four, with a scale a row; embedding and head as `Int8`.
    Int4Sparse24,
}

/// What weights are packed to, and how many columns share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    pub format: Format,
    pub scale_cols: usize,
}

impl WeightFormat {
    /// How a matrix of `cols` columns is packed; `outer` is the embedding or the head. `None`: it is kept, because that
    /// was asked for or because its rows are no whole blocks.
    pub fn packing(self, cols: usize, outer: bool) -> Option<Packing> {
        let (format, scale_cols) = match self {
            WeightFormat::Keep => return None,
            WeightFormat::Fp8 => (Format::F8E4m3, cols),
            WeightFormat::Fp8Blocks(block) => (Format::F8E4m3, block),
            WeightFormat::Int8 => (Format::Int8, cols),
            _ if outer => (Format::Int8, cols),
            WeightFormat::Int4(group) => (Format::Int4, group),
            WeightFormat::Int8Sparse24 => (Format::Int8Sparse24, cols),
            WeightFormat::Int4Sparse24 => (Format::Int4Sparse24, cols),
        };
        let whole = format.bytes_of(cols).is_some() && scale_cols.is_multiple_of(format.block_len());
        (whole && scale_cols > 0).then_some(Packing { format, scale_cols })
    }
}

impl Packing {
    /// Scales of a row of `cols` weights.
    pub fn scales(&self, cols: usize) -> usize {
        cols.div_ceil(self.scale_cols.max(1))
    }

    /// Packs a row and returns its scales. `bytes` is what `format` takes for as many weights.
    ///
    /// Errors: `Internal` for a format that nothing is packed to.
    pub fn pack(&self, weights: &[f32], bytes: &mut [u8]) -> Result<Vec<f32>> {
        let pack = match self.format {
            Format::F8E4m3 => f8_e4m3::pack,
            Format::Int8 => int8::pack,
            Format::Int4 => int4::pack,
            Format::Int8Sparse24 => int8_sparse24::pack,
            Format::Int4Sparse24 => int4_sparse24::pack,
            other => return Err(Error::Internal { reason: format!("nothing is packed to {other}") }),
        };
        let bytes = bytes.chunks_mut(self.format.bytes_of(self.scale_cols).unwrap_or(0).max(1));
        Ok(weights.chunks(self.scale_cols.max(1)).zip(bytes).map(|(weights, bytes)| pack(weights, bytes)).collect())
    }
}

/// The largest magnitude; of nothing 0. A NaN is passed over.
pub fn largest(weights: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = weights.as_chunks::<16>();
    for chunk in chunks {
        for (lane, weight) in lanes.iter_mut().zip(chunk) {
            let magnitude = weight.abs();
            *lane = if magnitude > *lane { magnitude } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(0.0, |largest: f32, weight| largest.max(weight.abs()))
}

use crate::error::{Error, Result};

/// How the numbers of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    F32,
    F16,
    Bf16,
    /// 8-bit floats, E4M3FN; their scales are a tensor of their own.
    F8E4m3,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    /// Signed bytes; their scales are a tensor of their own. This and those below are packed here, no file has them.
    Int8,
    /// Eight signed weights in four bytes, scales likewise.
    Int4,
    /// Two of four, kept as signed bytes, scales likewise.
    Int8Sparse24,
    /// Two of four, kept in four bits, scales likewise.
    Int4Sparse24,
}

impl Format {
    /// Those that are packed here and not read from files.
    pub const PACKED: [Format; 4] = [Format::Int8, Format::Int4, Format::Int8Sparse24, Format::Int4Sparse24];

    /// Every format that a file can have, in the order of the enum.
    pub const ALL: [Format; 14] = [
        Format::F32,
        Format::F16,
        Format::Bf16,
        Format::F8E4m3,
        Format::Q8_0,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    /// Name, weights in a block, bytes of a block.
    const fn row(self) -> (&'static str, usize, usize) {
        match self {
            Format::F32 => ("F32", 1, 4),
            Format::F16 => ("F16", 1, 2),
            Format::Bf16 => ("BF16", 1, 2),
            Format::F8E4m3 => ("F8_E4M3", 1, 1),
            Format::Q8_0 => ("Q8_0", 32, 34),
            Format::Q4_0 => ("Q4_0", 32, 18),
            Format::Q4_1 => ("Q4_1", 32, 20),
            Format::Q5_0 => ("Q5_0", 32, 22),
            Format::Q5_1 => ("Q5_1", 32, 24),
            Format::Q2K => ("Q2_K", 256, 84),
            Format::Q3K => ("Q3_K", 256, 110),
            Format::Q4K => ("Q4_K", 256, 144),
            Format::Q5K => ("Q5_K", 256, 176),
            Format::Q6K => ("Q6_K", 256, 210),
            Format::Int8 => ("INT8", 1, 1),
            Format::Int4 => ("INT4", 8, 4),
            Format::Int8Sparse24 => ("INT8_2:4", 8, 5),
            Format::Int4Sparse24 => ("INT4_2:4", 8, 3),
        }
    }

    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// Weights in a block.
    pub const fn block_len(self) -> usize {
        self.row().1
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.row().2
    }

    /// Bytes of `len` consecutive weights; `None` when they do not fill whole blocks or overflow.
    pub fn bytes_of(self, len: usize) -> Option<usize> {
        len.is_multiple_of(self.block_len()).then_some(len / self.block_len())?.checked_mul(self.block_bytes())
    }

    /// Whether scales are a tensor of their own, which `dequantize` knows nothing of.
    pub const fn has_scales(self) -> bool {
        matches!(self, Format::F8E4m3 | Format::Int8 | Format::Int4 | Format::Int8Sparse24 | Format::Int4Sparse24)
    }

    /// What stored bytes mean: as many weights as `out` is long, less the scales where `has_scales`.
    ///
    /// ```
    /// # use viva_tensor_engine::quant::Format;
    /// let mut weights = [0.0; 2];
    /// Format::F8E4m3.dequantize(&[0x38, 0xb4], &mut weights)?;
    /// assert_eq!(weights, [1.0, -0.75]);
    /// # Ok::<(), viva_tensor_engine::error::Error>(())
    /// ```
    /// Errors: `Malformed` when `bytes` is not what `out.len()` weights take.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        if self.bytes_of(out.len()) != Some(bytes.len()) {
            let wanted = match self.bytes_of(out.len()) {
                Some(wanted) => format!("{wanted} bytes for {} weights", out.len()),
                None => format!("whole blocks of {} weights", self.block_len()),
            };
            let found = format!("{} bytes, {} weights", bytes.len(), out.len());
            return Err(Error::malformed(format!("{self} weights"), wanted, found));
        }
        match self {
            Format::F32 => each(bytes, out, float::f32),
            Format::F16 => each(bytes, out, float::f16),
            Format::Bf16 => each(bytes, out, float::bf16),
            Format::F8E4m3 => each(bytes, out, f8_e4m3::dequantize),
            Format::Q8_0 => each(bytes, out, q8_0::dequantize),
            Format::Q4_0 => each(bytes, out, q4_0::dequantize),
            Format::Q4_1 => each(bytes, out, q4_1::dequantize),
            Format::Q5_0 => each(bytes, out, q5_0::dequantize),
            Format::Q5_1 => each(bytes, out, q5_1::dequantize),
            Format::Q2K => each(bytes, out, q2_k::dequantize),
            Format::Q3K => each(bytes, out, q3_k::dequantize),
            Format::Q4K => each(bytes, out, q4_k::dequantize),
            Format::Q5K => each(bytes, out, q5_k::dequantize),
            Format::Q6K => each(bytes, out, q6_k::dequantize),
            Format::Int8 => each(bytes, out, int8::dequantize),
            Format::Int4 => each(bytes, out, int4::dequantize),
            Format::Int8Sparse24 => each(bytes, out, int8_sparse24::dequantize),
            Format::Int4Sparse24 => each(bytes, out, int4_sparse24::dequantize),
        }
        Ok(())
    }
}

/// Applies a format's meaning of one block to all of them.
fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (stored, weights) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(stored, weights);
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
