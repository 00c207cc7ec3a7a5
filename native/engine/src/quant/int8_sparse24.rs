//! INT8 2:4: of each four consecutive weights two are kept, as signed bytes; a block is two fours in five bytes, five bits
//! a weight. Scales are a tensor of their own, one a row.
//!
//! ```text
//! bytes 0..4   codes of the kept weights: first four's lower place, its upper place, second four's likewise
//! byte  4      places: bits 0, 1 the first four's lower place, 2, 3 its upper place; bits 4 .. 7 the second four's
//! weight = code * scale where a place is kept, 0 elsewhere        lower place < upper place, as `mma.sp` asks for
//! ```
//! **Packing.** The two of largest magnitude are kept; of equals those that come first. So a row that already has two
//! zeros in each four loses nothing; `is_exact` says whether it has. Scale and codes are int8.rs's, over what is kept.
//!
//! **Error.** Of a kept weight |code scale - w| <= scale / 2 + 2^-22 |w|; of one that is not kept, |w|. A product with
//! INT8 inputs is one of whole numbers, as int8.rs says.

use super::int8::{self, MAX, code};

pub fn dequantize(block: &[u8; 5], out: &mut [f32; 8]) {
    *out = [0.0; 8];
    for (four, weights) in out.chunks_exact_mut(4).enumerate() {
        let places = block[4] >> (4 * four);
        for (i, place) in [places & 3, places >> 2 & 3].into_iter().enumerate() {
            weights[usize::from(place)] = f32::from(block[2 * four + i] as i8);
        }
    }
}

/// The two places of largest magnitude, the lower one first.
#[inline(always)]
pub fn kept(four: &[f32; 4]) -> [usize; 2] {
    let mut best = [0, 1];
    // best[0] is at least as large as best[1].
    if four[1].abs() > four[0].abs() {
        best = [1, 0];
    }
    for place in [2, 3] {
        if four[place].abs() > four[best[0]].abs() {
            best = [place, best[0]];
        } else if four[place].abs() > four[best[1]].abs() {
            best[1] = place;
        }
    }
    [best[0].min(best[1]), best[0].max(best[1])]
}

/// Whether every four has two zeros, so that nothing is lost but by rounding.
pub fn is_exact(weights: &[f32]) -> bool {
    weights.as_chunks::<4>().0.iter().all(|four| four.iter().filter(|weight| **weight != 0.0).count() <= 2)
}

/// Packs weights that share a scale, whole blocks of eight, and returns the scale.
///
/// ```
/// # use viva_tensor_engine::quant::int8_sparse24;
/// let mut bytes = [0; 5];
/// let scale = int8_sparse24::pack(&[0.5, 254.0, -1.0, 2.0, 0.0, 0.0, 0.0, -4.0], &mut bytes);
/// assert_eq!((scale, bytes), (2.0, [127, 1, 0, 0xfe, 0b1100_1101]));
/// ```
pub fn pack(weights: &[f32], bytes: &mut [u8]) -> f32 {
    // The largest of each four is always kept.
    let scale = int8::scale(super::largest(weights), MAX);
    for (block, weights) in bytes.chunks_exact_mut(5).zip(weights.chunks_exact(8)) {
        block[4] = 0;
        for (four, weights) in weights.as_chunks::<4>().0.iter().enumerate() {
            let places = kept(weights);
            for (i, place) in places.into_iter().enumerate() {
                block[2 * four + i] = code(weights[place], scale, MAX) as u8;
                block[4] |= (place << (4 * four + 2 * i)) as u8;
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
            let mut bytes = vec![0; weights.len() / 8 * 5];
            let scale = pack(&weights, &mut bytes);
            check_pruned(crate::quant::Format::Int8Sparse24, &weights, &bytes, scale);
        }
    }

    #[test]
    fn what_is_two_of_four_loses_nothing_but_by_rounding() {
        let weights = [0.0, 3.0, 0.0, -127.0, 5.0, 0.0, 0.0, 0.0];
        assert!(is_exact(&weights) && !is_exact(&[1.0, 2.0, 3.0, 0.0]));
        let (mut bytes, mut found) = ([0; 5], [1.0; 8]);
        assert_eq!(pack(&weights, &mut bytes), 1.0);
        dequantize(&bytes, &mut found);
        assert_eq!(found, weights);
    }
}
