//! Q4_0: 32 weights of 4 bits and one scale; 4.5 bits a weight.
//!
//! ```text
//! bytes  0..2   scale, f16
//!        2..18  quants: byte i holds weight i in its low half and weight i + 16 in its high half
//! weight = scale * (quant - 8)
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    quants: [u8; 16],
}

pub fn dequantize(block: &[u8; 18], out: &mut [f32; 32]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    let (low, high) = out.split_at_mut(16);
    for ((low, high), byte) in low.iter_mut().zip(high).zip(block.quants) {
        *low = scale * (f32::from(byte & 15) - 8.0);
        *high = scale * (f32::from(byte >> 4) - 8.0);
    }
}
