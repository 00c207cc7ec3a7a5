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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightFormat {
    /// As they are stored.
    #[default]
    Keep,
    /// F32, F16 and BF16 become F8_E4M3 with a scale a row; others stay as they are.
    Fp8,
}

impl WeightFormat {
    /// What weights that are stored in `stored` become.
    pub fn of(self, stored: Format) -> Format {
        match (self, stored) {
            (WeightFormat::Fp8, Format::F32 | Format::F16 | Format::Bf16) => Format::F8E4m3,
            _ => stored,
        }
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
}

impl Format {
    /// Every format, in the order of the enum.
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

    /// What stored bytes mean: as many weights as `out` is long. The scales of F8_E4M3 are not in these bytes.
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
