//! Q5_0: 32 weights of 5 bits and one scale; 5.5 bits a weight.
//!
//! ```text
//! bytes  0..2   scale, f16
//!        2..6   fifth bits, u32: bit i belongs to weight i
//!        6..22  lower four bits: byte i holds weight i in its low half and weight i + 16 in its high half
//! weight = scale * (quant - 16)
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    fifth_bits: [u8; 4],
    quants: [u8; 16],
}

pub fn dequantize(block: &[u8; 22], out: &mut [f32; 32]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    for (weight, quant) in out.iter_mut().zip(quants(&block.quants, block.fifth_bits)) {
        *weight = scale * (f32::from(quant) - 16.0);
    }
}

/// The 32 quants of five bits, in the order of their weights.
pub(super) fn quants(bytes: &[u8; 16], fifth_bits: [u8; 4]) -> impl Iterator<Item = u8> {
    let fifth_bits = u32::from_le_bytes(fifth_bits);
    let low = bytes.iter().map(|byte| byte & 15);
    let high = bytes.iter().map(|byte| byte >> 4);
    low.chain(high).zip(0..).map(move |(four_bits, i)| four_bits | ((fifth_bits >> i & 1) << 4) as u8)
}
