//! Q5_1: 32 weights of 5 bits, a scale and a minimum; 6 bits a weight.
//!
//! ```text
//! bytes  0..2   scale, f16
//!        2..4   minimum, f16
//!        4..8   fifth bits, u32: bit i belongs to weight i
//!        8..24  lower four bits: byte i holds weight i in its low half and weight i + 16 in its high half
//! weight = scale * quant + minimum, both operations rounded
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::q5_0;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    minimum: [u8; 2],
    fifth_bits: [u8; 4],
    quants: [u8; 16],
}

pub fn dequantize(block: &[u8; 24], out: &mut [f32; 32]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let minimum = f16::from_le_bytes(block.minimum).to_f32();
    for (weight, quant) in out.iter_mut().zip(q5_0::quants(&block.quants, block.fifth_bits)) {
        *weight = scale * f32::from(quant) + minimum;
    }
}
