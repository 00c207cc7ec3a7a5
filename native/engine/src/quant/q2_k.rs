//! Q2_K: 256 weights of 2 bits in 16 groups of 16, each group with a scale and a minimum of 4 bits; 2.625 bits a weight.
//!
//! ```text
//! bytes  0..16  group g's byte: scale in its low half, minimum in its high half
//!       16..80  quants: weights 128 h + 32 j + i (i < 32, j < 4, h < 2) are bits 2j and 2j + 1 of byte 16 + 32 h + i
//!       80..82  scale of scales, f16
//!       82..84  scale of minimums, f16
//! weight = (scale_of_scales * group_scale) * quant - scale_of_minimums * group_minimum, each operation rounded
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    groups: [u8; 16],
    quants: [[u8; 32]; 2],
    scale: [u8; 2],
    minimum: [u8; 2],
}

pub fn dequantize(block: &[u8; 84], out: &mut [f32; 256]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let minimum = f16::from_le_bytes(block.minimum).to_f32();
    let groups = out.as_chunks_mut::<16>().0.iter_mut().zip(block.groups).zip(two_bit_groups(&block.quants));
    for ((weights, group), (bytes, shift)) in groups {
        let scale = scale * f32::from(group & 15);
        let minimum = minimum * f32::from(group >> 4);
        for (weight, byte) in weights.iter_mut().zip(bytes) {
            *weight = scale * f32::from(byte >> shift & 3) - minimum;
        }
    }
}

/// For each group of 16 weights in their order: its 16 bytes, and where in them its two bits stand.
pub(super) fn two_bit_groups(quants: &[[u8; 32]; 2]) -> impl Iterator<Item = (&[u8; 16], u8)> {
    quants.iter().flat_map(|half| {
        let shifts = [0, 2, 4, 6].into_iter();
        shifts.flat_map(move |shift| half.as_chunks::<16>().0.iter().map(move |bytes| (bytes, shift)))
    })
}
