//! F8_E4M3 (E4M3FN of the OCP 8-bit float paper, arXiv 2209.05433): a weight is a byte; a block is one weight.
//!
//! ```text
//! s eeee mmm    e > 0: (-1)^s (1 + m / 8) 2^(e - 7)      e = 0: (-1)^s (m / 8) 2^-6
//! ```
//! The largest is 448. The one surprise: there is no infinity, and NaN has a single code of each sign, 0x7f
//! and 0xff. Scales are a tensor of their own, so what this gives is still to be multiplied by one.
//!
//! **Packing.** A run of weights that share a scale (a whole row in the engine) gets scale = max |w| / 448 in f32, but
//! never less than 2^-126, so that it stays a normal number; a run of zeros gets 1. A weight's code is that of
//! w / scale (one f32 division), rounded to the nearest, ties to the even code, and what lies beyond 448 becomes 448.
//! -0 keeps its sign, as does what rounds to 0; NaN becomes the NaN code of its sign, and whoever packs looks for it first.
//!
//! **Error.** Three bits of mantissa: |code scale - w| <= |w| / 16 where |w| >= 2^-6 scale, and 2^-10 scale below that;
//! the division and the product add 2^-23 |w| at most. The largest weight is met to 2^-23.

/// The largest number.
pub const MAX: f32 = 448.0;

pub fn dequantize(block: &[u8; 1], out: &mut [f32; 1]) {
    *out = [value(block[0])];
}

/// The number that a code means.
pub fn value(code: u8) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(code >> 7) << 31, u32::from(code >> 3 & 15), u32::from(code & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        // 2^-9, the smallest number, times the mantissa
        (0, _) => mantissa as f32 * f32::from_bits((127 - 9) << 23),
        _ => f32::from_bits((exponent + 127 - 7) << 23 | mantissa << 20),
    };
    f32::from_bits(magnitude.to_bits() | sign)
}

/// The code nearest to a number.
///
/// Without branches, so that a loop over it becomes vector instructions.
#[inline(always)]
pub fn code(number: f32) -> u8 {
    let bits = number.to_bits();
    let magnitude = f32::from_bits(bits & 0x7fff_ffff);
    // A NaN is not larger: it stays and is looked for below.
    let within = if magnitude > MAX { MAX } else { magnitude };
    let within_bits = within.to_bits();
    // The upper half of what is cut off, less one, and the lowest bit that stays: a tie goes to the even one.
    let normal = (within_bits.wrapping_add(0x7_ffff + (within_bits >> 20 & 1)) >> 20).wrapping_sub((127 - 7) << 3);
    // At 2^14 an f32 counts in steps of 2^-9, as the subnormals do: the addition rounds.
    let shift = f32::from_bits((127 + 14) << 23);
    let subnormal = (within + shift).to_bits().wrapping_sub(shift.to_bits());
    // 2^-6
    let code = if within < f32::from_bits((127 - 6) << 23) { subnormal } else { normal };
    let code = if magnitude.is_nan() { 0x7f } else { code };
    (code | bits >> 24 & 0x80) as u8
}

/// The scale of weights whose largest magnitude is `largest`.
pub fn scale(largest: f32) -> f32 {
    if largest == 0.0 { 1.0 } else { (largest / MAX).max(f32::MIN_POSITIVE) }
}

/// Packs weights that share a scale into as many codes, and returns the scale.
///
/// ```
/// # use viva_tensor_engine::quant::f8_e4m3;
/// let mut codes = [0; 3];
/// let scale = f8_e4m3::pack(&[896.0, -2.0, 0.0], &mut codes);
/// assert_eq!((scale, codes), (2.0, [0x7e, 0xb8, 0x00]));
/// ```
pub fn pack(weights: &[f32], codes: &mut [u8]) -> f32 {
    let scale = scale(super::largest(weights));
    for (code, weight) in codes.iter_mut().zip(weights) {
        *code = self::code(weight / scale);
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::tests::adversarial_runs;

    /// By search over all codes in float64, ties to the even one.
    fn nearest(number: f64) -> u8 {
        let within = number.abs().min(448.0);
        let distance = |code: &u8| (f64::from(value(*code)) - within).abs();
        let best = (0..0x7f_u8).min_by(|a, b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1))));
        best.unwrap() | if number.is_sign_negative() { 0x80 } else { 0 }
    }

    #[test]
    fn every_code_and_what_lies_between_is_rounded_as_by_search() {
        let values: Vec<f32> = (0..0x7f).map(value).collect();
        let mut numbers = values.clone();
        for pair in values.windows(2) {
            let middle = (pair[0] + pair[1]) / 2.0;
            numbers.extend([middle, middle.next_down(), middle.next_up(), pair[1].next_down(), pair[0].next_up()]);
        }
        numbers.extend([448.0_f32.next_up(), 464.0, 1e30, f32::MAX, f32::INFINITY, 1e-30, f32::from_bits(1)]);
        for number in numbers {
            for number in [number, -number] {
                assert_eq!(code(number), nearest(f64::from(number)), "{number:e}");
            }
        }
        assert_eq!((code(f32::NAN) & 0x7f, code(-f32::NAN)), (0x7f, 0xff));
        assert_eq!((code(0.0), code(-0.0), code(-1e-30)), (0, 0x80, 0x80));
    }

    #[test]
    fn packed_weights_are_within_the_bound() {
        for weights in adversarial_runs() {
            let mut codes = vec![0; weights.len()];
            let scale = pack(&weights, &mut codes);
            assert!(scale.is_normal(), "{scale:e}");
            for (weight, code) in weights.iter().zip(&codes) {
                let (exact, packed) = (f64::from(*weight), f64::from(value(*code)) * f64::from(scale));
                let normal = exact.abs() >= f64::from(scale) / 64.0;
                let step = if normal { exact.abs() / 16.0 } else { f64::from(scale) / 1024.0 };
                let bound = step + exact.abs() * 2.0_f64.powi(-23);
                assert!((packed - exact).abs() <= bound, "{weight:e} became {packed:e} with scale {scale:e}");
                assert_eq!(code >> 7 == 1, weight.is_sign_negative(), "{weight:e}");
            }
        }
    }
}
