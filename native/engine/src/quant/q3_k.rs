//! Q3_K: 256 weights of 3 bits in 16 groups of 16, each group with a signed scale of 6 bits; 3.4375 bits a weight.
//!
//! ```text
//! bytes  0..32   third bits: bit 4 h + j of byte i belongs to weight 128 h + 32 j + i (i < 32, j < 4, h < 2)
//!       32..96   lower two bits: weight 128 h + 32 j + i is bits 2j and 2j + 1 of byte 32 + 32 h + i
//!       96..108  group scales: the lower four bits of scale g and scale g + 8 are the halves of byte g (g < 8); the
//!                upper two bits of scale g are bits 2 (g / 4) and 2 (g / 4) + 1 of byte 8 + g mod 4
//!      108..110  scale of scales, f16
//! weight = (scale_of_scales * (group_scale - 32)) * (quant - 4), each operation rounded
//! ```
//! The one surprise: the third bit is what keeps 4 from being taken off, so quants reach from -4 to 3.

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::q2_k::two_bit_groups;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    third_bits: [u8; 32],
    quants: [[u8; 32]; 2],
    low_scales: [u8; 8],
    high_scales: [u8; 4],
    scale: [u8; 2],
}

pub fn dequantize(block: &[u8; 110], out: &mut [f32; 256]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(group_scales(block)).zip(two_bit_groups(&block.quants));
    for (g, ((weights, group_scale), (bytes, shift))) in (0u8..).zip(groups) {
        let scale = scale * f32::from(group_scale);
        // Two groups share a bit position: one on each half of the 32 bytes.
        let (left, right) = block.third_bits.split_at(16);
        let third_bits = if g.is_multiple_of(2) { left } else { right };
        for ((weight, byte), third) in weights.iter_mut().zip(bytes).zip(third_bits) {
            let taken_off = if third >> (g / 2) & 1 == 1 { 0.0 } else { 4.0 };
            *weight = scale * (f32::from(byte >> shift & 3) - taken_off);
        }
    }
}

/// The 16 scales, -32 to 31.
fn group_scales(block: &Block) -> impl Iterator<Item = i8> {
    let low = block.low_scales.iter().map(|byte| byte & 15).chain(block.low_scales.iter().map(|byte| byte >> 4));
    let high = [0, 2, 4, 6].into_iter().flat_map(|shift| block.high_scales.iter().map(move |byte| byte >> shift & 3));
    low.zip(high).map(|(low, high)| (low | high << 4) as i8 - 32)
}
