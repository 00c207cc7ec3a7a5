//! INT4 2:4: as INT8 2:4, with codes of four bits; a block is two fours in three bytes, three bits a weight. Scales are a
//! tensor of their own, one a row.
//!
//! ```text
//! bytes 0, 1   of a four each: bits 0 .. 3 the code at its lower place, 4 .. 7 that at its upper place, two's complement
//! byte  2      places: bits 0, 1 the first four's lower place, 2, 3 its upper place; bits 4 .. 7 the second four's
//! weight = code * scale where a place is kept, 0 elsewhere        code in -7 ..= 7
//! ```
//! **Packing.** What is kept is int8_sparse24.rs's; scale = max |w| / 7 and codes as in int4.rs.
//!
//! **Error.** Of a kept weight |code scale - w| <= scale / 2 + 2^-22 |w|, a fourteenth of the row's largest weight; of one
//! that is not kept, |w|. With one scale a row most codes of a long row are 0: the table of quality shows it.
//! A product with INT8 inputs is one of whole numbers, as int8.rs says.

use super::{
    int4::{MAX, sign_extend},
    int8::{self, code},
    int8_sparse24::kept,
};

pub fn dequantize(block: &[u8; 3], out: &mut [f32; 8]) {
    *out = [0.0; 8];
    for (four, weights) in out.chunks_exact_mut(4).enumerate() {
        let (codes, places) = (u32::from(block[four]), block[2] >> (4 * four));
        weights[usize::from(places & 3)] = sign_extend(codes);
        weights[usize::from(places >> 2 & 3)] = sign_extend(codes >> 4);
    }
}

/// Packs weights that share a scale, whole blocks of eight, and returns the scale.
///
/// ```
/// # use viva_tensor_engine::quant::int4_sparse24;
/// let mut bytes = [0; 3];
/// let scale = int4_sparse24::pack(&[0.5, 14.0, -1.0, 2.0, 0.0, 0.0, 0.0, -4.0], &mut bytes);
/// assert_eq!((scale, bytes), (2.0, [0x17, 0xe0, 0b1100_1101]));
/// ```
pub fn pack(weights: &[f32], bytes: &mut [u8]) -> f32 {
    let scale = int8::scale(super::largest(weights), MAX);
    for (block, weights) in bytes.chunks_exact_mut(3).zip(weights.chunks_exact(8)) {
        block.fill(0);
        for (four, weights) in weights.as_chunks::<4>().0.iter().enumerate() {
            for (i, place) in kept(weights).into_iter().enumerate() {
                block[four] |= (code(weights[place], scale, MAX) as u8 & 15) << (4 * i);
                block[2] |= (place << (4 * four + 2 * i)) as u8;
            }
        }
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::tests::{adversarial_runs, check_pruned};

    #[test]
    fn the_two_largest_are_kept_within_the_bound() {
        for mut weights in adversarial_runs() {
            weights.resize(weights.len().next_multiple_of(8), 0.0);
            let mut bytes = vec![0; weights.len() / 8 * 3];
            let scale = pack(&weights, &mut bytes);
            check_pruned(crate::quant::Format::Int4Sparse24, &weights, &bytes, scale);
        }
    }
}
