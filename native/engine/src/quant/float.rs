//! F32, F16 and BF16: a weight is a little-endian float of its own; a block is one weight.
//!
//! ```text
//! F32   s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm
//! F16   s eeeee mmmmmmmmmm
//! BF16  s eeeeeeee mmmmmmm                  the upper half of an F32
//! ```
//! Each is exactly an f32. A NaN stays one, its payload is nobody's concern.

use half::f16;

pub fn f32(block: &[u8; 4], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes(*block)];
}

pub fn f16(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f16::from_le_bytes(*block).to_f32()];
}

pub fn bf16(block: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16)];
}
