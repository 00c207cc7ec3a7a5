//! Q8_0: 32 weights of 8 bits and one scale; 8.5 bits a weight.
//!
//! ```text
//! bytes  0..2   scale, f16
//!        2..34  quants, i8: byte i is weight i
//! weight = quant * scale
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Block {
    scale: [u8; 2],
    quants: [i8; 32],
}

pub fn dequantize(block: &[u8; 34], out: &mut [f32; 32]) {
    let block: &Block = bytemuck::cast_ref(block);
    let scale = f16::from_le_bytes(block.scale).to_f32();
    for (weight, quant) in out.iter_mut().zip(block.quants) {
        *weight = f32::from(quant) * scale;
    }
}
