//! Q4_K: 256 weights of 4 bits in 8 groups of 32, each group with a scale and a minimum of 6 bits; 4.5 bits a weight.
//!
//! ```text
//! bytes  0..2    scale of scales, f16
//!        2..4    scale of minimums, f16
//!        4..16   group scales and minimums, 6 bits each:
//!                byte g     (g < 4)  ssSSSSSS   scale g; above it the upper two bits of scale g + 4
//!                byte 4 + g (g < 4)  mmMMMMMM   minimum g; above it the upper two bits of minimum g + 4
//!                byte 8 + g (g < 4)  mmmmssss   lower four bits of minimum g + 4 and of scale g + 4
//!       16..144  quants: byte 16 + 32 p + i (i < 32, p < 4) holds weight 64 p + i in its low half and
//!                weight 64 p + 32 + i in its high half
//! weight = (scale_of_scales * group_scale) * quant - scale_of_minimums * group_minimum, each operation rounded
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    minimum: [u8; 2],
    groups: [[u8; 4]; 3],
    quants: [[u8; 32]; 4],
}

pub fn dequantize(block: &[u8; 144], out: &mut [f32; 256]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let minimum = f16::from_le_bytes(block.minimum).to_f32();
    let groups = out.as_chunks_mut::<32>().0.iter_mut().zip(scales_and_minimums(&block.groups));
    for ((weights, (group_scale, group_minimum)), (bytes, shift)) in groups.zip(four_bit_groups(&block.quants)) {
        let scale = scale * f32::from(group_scale);
        let minimum = minimum * f32::from(group_minimum);
        for (weight, byte) in weights.iter_mut().zip(bytes) {
            *weight = scale * f32::from(byte >> shift & 15) - minimum;
        }
    }
}

/// (scale, minimum) of each of the 8 groups.
pub(super) fn scales_and_minimums(groups: &[[u8; 4]; 3]) -> impl Iterator<Item = (u8, u8)> {
    let [scales, minimums, rest] = groups;
    let first = scales.iter().zip(minimums).map(|(scale, minimum)| (scale & 63, minimum & 63));
    let last = scales.iter().zip(minimums).zip(rest);
    first.chain(last.map(|((scale, minimum), low)| (low & 15 | scale >> 6 << 4, low >> 4 | minimum >> 6 << 4)))
}

/// For each group of 32 weights in their order: its 32 bytes, and where in them its four bits stand.
pub(super) fn four_bit_groups(quants: &[[u8; 32]; 4]) -> impl Iterator<Item = (&[u8; 32], u8)> {
    quants.iter().flat_map(|bytes| [(bytes, 0), (bytes, 4)])
}
