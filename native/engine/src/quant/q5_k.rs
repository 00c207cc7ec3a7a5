//! Q5_K: 256 weights of 5 bits in 8 groups of 32, each group with a scale and a minimum of 6 bits; 5.5 bits a weight.
//!
//! ```text
//! bytes  0..2    scale of scales, f16
//!        2..4    scale of minimums, f16
//!        4..16   group scales and minimums, 6 bits each, packed as in Q4_K
//!       16..48   fifth bits: bit g of byte 16 + i belongs to weight 32 g + i (i < 32, g < 8)
//!       48..176  lower four bits: byte 48 + 32 p + i (i < 32, p < 4) holds weight 64 p + i in its low half and
//!                weight 64 p + 32 + i in its high half
//! weight = (scale_of_scales * group_scale) * quant - scale_of_minimums * group_minimum, each operation rounded
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::q4_k::{four_bit_groups, scales_and_minimums};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    minimum: [u8; 2],
    groups: [[u8; 4]; 3],
    fifth_bits: [u8; 32],
    quants: [[u8; 32]; 4],
}

pub fn dequantize(block: &[u8; 176], out: &mut [f32; 256]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let minimum = f16::from_le_bytes(block.minimum).to_f32();
    let groups = out.as_chunks_mut::<32>().0.iter_mut().zip(scales_and_minimums(&block.groups));
    for (g, ((weights, (group_scale, group_minimum)), (bytes, shift))) in
        (0..).zip(groups.zip(four_bit_groups(&block.quants)))
    {
        let scale = scale * f32::from(group_scale);
        let minimum = minimum * f32::from(group_minimum);
        for ((weight, byte), fifth) in weights.iter_mut().zip(bytes).zip(block.fifth_bits) {
            let quant = byte >> shift & 15 | (fifth >> g & 1) << 4;
            *weight = scale * f32::from(quant) - minimum;
        }
    }
}
