//! F8_E4M3 (E4M3FN of the OCP 8-bit float paper, arXiv 2209.05433): a weight is a byte; a block is one weight.
//!
//! ```text
//! s eeee mmm    e > 0: (-1)^s (1 + m / 8) 2^(e - 7)      e = 0: (-1)^s (m / 8) 2^-6
//! ```
//! The largest is 448. The one surprise: there is no infinity, and NaN has a single code of each sign, 0x7f
//! and 0xff. Scales are a tensor of their own, so what this gives is still to be multiplied by one.

pub fn dequantize(block: &[u8; 1], out: &mut [f32; 1]) {
    *out = [value(block[0])];
}

/// The number that a code means.
pub fn value(code: u8) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(code >> 7) << 31, u32::from(code >> 3 & 15), u32::from(code & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        // 2^-9, the smallest number, times the mantissa
        (0, _) => mantissa as f32 * f32::from_bits((127 - 9) << 23),
        _ => f32::from_bits((exponent + 127 - 7) << 23 | mantissa << 20),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}
