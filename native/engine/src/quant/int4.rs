//! INT4: eight weights of four bits in four bytes; their scales are a tensor of its own, one for each group of columns.
//!
//! ```text
//! bytes 0..4, read as one little-endian number: bits 4 i .. 4 i + 3 are weight i, in two's complement
//! weight = code * scale        code in -7 ..= 7; -8 is never written and means what it says
//! ```
//! **Packing.** A group (32, 64 or 128 columns of a row, the last one perhaps shorter) gets scale = max |w| / 7 in f32, by
//! the rule of int8.rs; codes are rounded as there, to the nearest, ties to the even one. -0 and NaN become 0.
//!
//! **Error.** |code scale - w| <= scale / 2 + 2^-22 |w|, a fourteenth of the group's largest weight.

use super::int8::{self, code};

/// The largest code.
pub const MAX: f32 = 7.0;

pub fn dequantize(block: &[u8; 4], out: &mut [f32; 8]) {
    let word = u32::from_le_bytes(*block);
    for (i, weight) in out.iter_mut().enumerate() {
        *weight = sign_extend(word >> (4 * i));
    }
}

/// The low four bits as a signed number.
pub fn sign_extend(nibble: u32) -> f32 {
    ((nibble << 28) as i32 >> 28) as f32
}

/// Packs weights that share a scale, whole blocks of eight, and returns the scale.
///
/// ```
/// # use viva_tensor_engine::quant::int4;
/// let mut codes = [0; 4];
/// let scale = int4::pack(&[14.0, -2.0, 0.0, 2.0, 0.0, 0.0, 0.0, -14.0], &mut codes);
/// assert_eq!((scale, codes), (2.0, [0xf7, 0x10, 0x00, 0x90]));
/// ```
pub fn pack(weights: &[f32], codes: &mut [u8]) -> f32 {
    let scale = int8::scale(super::largest(weights), MAX);
    for (bytes, weights) in codes.chunks_exact_mut(4).zip(weights.chunks_exact(8)) {
        let word = weights
            .iter()
            .enumerate()
            .fold(0, |word, (i, weight)| word | (code(*weight, scale, MAX) as u32 & 15) << (4 * i));
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::tests::{adversarial_runs, check_steps};

    #[test]
    fn packed_weights_are_within_the_bound() {
        for mut weights in adversarial_runs() {
            weights.resize(weights.len().next_multiple_of(8), 0.0);
            let mut codes = vec![0; weights.len() / 2];
            let scale = pack(&weights, &mut codes);
            let mut found = vec![0.0; weights.len()];
            crate::quant::Format::Int4.dequantize(&codes, &mut found).unwrap();
            assert!(found.iter().all(|code| code.abs() <= MAX));
            check_steps(&weights, &found, scale);
        }
    }

    #[test]
    fn every_code_means_what_twos_complement_says() {
        let codes = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
        let mut found = [0.0; 16];
        crate::quant::Format::Int4.dequantize(&codes, &mut found).unwrap();
        assert_eq!(found, [0., 1., 2., 3., 4., 5., 6., 7., -8., -7., -6., -5., -4., -3., -2., -1.]);
    }
}
