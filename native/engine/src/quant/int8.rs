//! INT8: a weight is a signed byte; a block is one weight. Scales are a tensor of their own, one a row.
//!
//! ```text
//! weight = code * scale        code in -127 ..= 127; -128 is never written and means what it says
//! ```
//! **Packing.** scale = max |w| / 127 in f32, but never less than 2^-90, so that what the backends multiply it by stays a
//! normal number; a row of zeros gets 1. A code is w / scale (one f32 division), rounded to the nearest, ties to the even
//! one. There is no -0: it becomes 0. NaN becomes 0, and whoever packs looks for it first.
//!
//! **Error.** |code scale - w| <= scale / 2 + 2^-22 |w|: half a step, and the roundings of the scale, the division and the
//! product. Of a product of K terms: sum |x_k| times that bound, and the f32 chain's own 2^-24 a step. Where the inputs are
//! INT8, too, there is no chain: codes are multiplied and added as whole numbers, on the CPU up to K = 131072, and what
//! arithmetic adds is 3 2^-24 of the result, for two scales and the sum's own rounding. Pure Erlang multiplies the numbers that
//! codes mean, rounded to f32, so its result may be another one within 2^-22 sum |x_k w_k|.

/// The largest code.
pub const MAX: f32 = 127.0;

pub fn dequantize(block: &[u8; 1], out: &mut [f32; 1]) {
    *out = [f32::from(block[0] as i8)];
}

/// The scale of weights whose largest magnitude is `largest` and whose codes end at `max`.
pub fn scale(largest: f32, max: f32) -> f32 {
    // 2^-90
    if largest == 0.0 { 1.0 } else { (largest / max).max(f32::from_bits((127 - 90) << 23)) }
}

/// The code nearest to `weight / scale`, from `-max` to `max`.
#[inline(always)]
pub fn code(weight: f32, scale: f32, max: f32) -> i8 {
    // At 2^23 and half as much again an f32 counts in ones: the addition rounds. No call, so a loop becomes vectors.
    let shift = 12_582_912.0_f32;
    ((weight / scale).clamp(-max, max) + shift - shift) as i8
}

/// Packs weights that share a scale into as many codes, and returns the scale.
///
/// ```
/// # use viva_tensor_engine::quant::int8;
/// let mut codes = [0; 3];
/// let scale = int8::pack(&[254.0, -2.0, 1.0], &mut codes);
/// assert_eq!((scale, codes), (2.0, [127, 0xff, 0]));
/// ```
pub fn pack(weights: &[f32], codes: &mut [u8]) -> f32 {
    let scale = scale(super::largest(weights), MAX);
    for (slot, weight) in codes.iter_mut().zip(weights) {
        *slot = code(*weight, scale, MAX) as u8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::tests::{adversarial_runs, check_steps};

    #[test]
    fn packed_weights_are_within_the_bound() {
        for weights in adversarial_runs() {
            let mut codes = vec![0; weights.len()];
            let scale = pack(&weights, &mut codes);
            let mut found = vec![0.0; weights.len()];
            crate::quant::Format::Int8.dequantize(&codes, &mut found).unwrap();
            assert!(found.iter().all(|code| code.abs() <= MAX));
            check_steps(&weights, &found, scale);
        }
    }

    #[test]
    fn ties_go_to_the_even_code() {
        let codes = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.4].map(|weight| code(weight, 1.0, MAX));
        assert_eq!(codes, [0, 2, 2, 0, -2, 126, 127]);
        assert_eq!((code(f32::NAN, 1.0, MAX), code(-0.0, 1.0, MAX)), (0, 0));
    }
}
