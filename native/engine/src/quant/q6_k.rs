//! Q6_K: 256 weights of 6 bits in 16 groups of 16, each group with a scale of 8 bits; 6.5625 bits a weight.
//!
//! ```text
//! bytes  0..128   lower four bits: byte 64 h + 32 j + i (i < 32, j < 2, h < 2) holds weight 128 h + 32 j + i in its
//!                 low half and weight 128 h + 64 + 32 j + i in its high half
//!      128..192   upper two bits: bits 2j and 2j + 1 (j < 4) of byte 128 + 32 h + i belong to weight 128 h + 32 j + i
//!      192..208   group scales, i8
//!      208..210   scale of scales, f16
//! weight = (scale_of_scales * group_scale) * (quant - 32), each operation rounded
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    low: [[[u8; 32]; 2]; 2],
    high: [[u8; 32]; 2],
    groups: [i8; 16],
    scale: [u8; 2],
}

pub fn dequantize(block: &[u8; 210], out: &mut [f32; 256]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    // Runs of 32 weights, of which each has two groups.
    let runs = out.as_chunks_mut::<32>().0.iter_mut().zip(block.groups.as_chunks::<2>().0);
    for ((weights, [left, right]), (low, low_shift, high, high_shift)) in runs.zip(bit_runs(block)) {
        let quants = low.iter().zip(high).map(|(low, high)| low >> low_shift & 15 | (high >> high_shift & 3) << 4);
        let scales = [left; 16].into_iter().chain([right; 16]);
        for ((weight, quant), group_scale) in weights.iter_mut().zip(quants).zip(scales) {
            *weight = (scale * f32::from(*group_scale)) * (f32::from(quant) - 32.0);
        }
    }
}

/// For each run of 32 weights in their order: the bytes of their lower bits and where in them these stand, and the
/// same of their upper bits.
fn bit_runs(block: &Block) -> impl Iterator<Item = (&[u8; 32], u8, &[u8; 32], u8)> {
    block.low.iter().zip(&block.high).flat_map(|([first, second], high)| {
        [(first, 0, high, 0), (second, 0, high, 2), (first, 4, high, 4), (second, 4, high, 6)]
    })
}
