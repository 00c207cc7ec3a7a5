//! What happens between the matrix products: norms, rotations, activations, softmax.
//!
//! Each function works on one row (or one tile of a row) of f32 and has one order of operations.

use super::{
    simd::{Level, Simd, exp, with_level},
    tile::LANES,
};
pub use crate::backend::weights::Norm;
use crate::model::spec::{Activation, NormKind};

impl Norm {
    /// out = norm(x); both [width], which is that of the weight.
    pub fn apply(&self, level: Level, x: &[f32], out: &mut [f32]) {
        assert!(x.len() == self.weight.len() && out.len() == x.len());
        assert!(self.bias.is_empty() || self.bias.len() == x.len());
        // SAFETY: the level was detected; the lengths were just compared.
        unsafe { with_level!(level, normalise(norm: &Norm, x: &[f32], out: &mut [f32]), (self, x, out)) }
    }

    /// x = norm(x).
    pub fn apply_in_place(&self, level: Level, x: &mut [f32]) {
        assert!(x.len() == self.weight.len());
        assert!(self.bias.is_empty() || self.bias.len() == x.len());
        // SAFETY: as above; `normalise` reads each element before it writes that element, and the input's
        // sums are complete before the first write.
        unsafe {
            let input = std::slice::from_raw_parts(x.as_ptr(), x.len());
            with_level!(level, normalise_at(norm: &Norm, x: *const f32, out: *mut f32), (self, input.as_ptr(), x.as_mut_ptr()))
        }
    }
}

#[inline(always)]
unsafe fn normalise<S: Simd>(norm: &Norm, x: &[f32], out: &mut [f32]) {
    // SAFETY: the caller compared the lengths.
    unsafe { normalise_at::<S>(norm, x.as_ptr(), out.as_mut_ptr()) }
}

#[inline(always)]
unsafe fn normalise_at<S: Simd>(norm: &Norm, x: *const f32, out: *mut f32) {
    // SAFETY: x and out have as many floats as the weight; vectors cover its whole multiples of LANES.
    unsafe {
        let width = norm.weight.len();
        let whole = width / LANES * LANES;
        let mean = match norm.kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => sum::<S>(width, |i| S::load(x.add(i)), |i| *x.add(i)) / width as f32,
        };
        let shift = S::splat(mean);
        let square = |v| S::mul(v, v);
        let squares = sum::<S>(width, |i| square(S::sub(S::load(x.add(i)), shift)), |i| (*x.add(i) - mean).powi(2));
        let factor = 1.0 / (squares / width as f32 + norm.eps).sqrt();
        let weight = norm.weight.as_ptr();
        for i in (0..whole).step_by(LANES) {
            let scaled = S::mul(S::sub(S::load(x.add(i)), shift), S::splat(factor));
            let mut y = S::mul(scaled, S::load(weight.add(i)));
            if !norm.bias.is_empty() {
                y = S::add(y, S::load(norm.bias.as_ptr().add(i)));
            }
            S::store(out.add(i), y);
        }
        for i in whole..width {
            let y = (*x.add(i) - mean) * factor * *weight.add(i);
            *out.add(i) = if norm.bias.is_empty() { y } else { y + norm.bias[i] };
        }
    }
}

/// Sum over `width` elements: sixteen partial sums, added up in one fixed order, then the tail.
#[inline(always)]
unsafe fn sum<S: Simd>(width: usize, vector: impl Fn(usize) -> S::F, scalar: impl Fn(usize) -> f32) -> f32 {
    // SAFETY: `lanes` has room for a vector.
    unsafe {
        let whole = width / LANES * LANES;
        let mut partial = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            partial = S::add(partial, vector(i));
        }
        let mut lanes = [0.0_f32; LANES];
        S::store(lanes.as_mut_ptr(), partial);
        let mut total = lanes.iter().sum::<f32>();
        for i in whole..width {
            total += scalar(i);
        }
        total
    }
}

/// Rotates one head in place: pairs (i, i + half) by the angles whose cosines and sines are given, [half] each.
pub fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    let Some((first, rest)) = head.split_at_mut_checked(half) else { return };
    for (((a, b), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// gate = activation(gate) * up, over whole vectors; without `up`, gate = activation(gate).
///
/// # Safety
/// `gate` and, where given, `up` have `count` floats, a multiple of sixteen.
pub unsafe fn activate(level: Level, activation: Activation, gate: *mut f32, up: Option<*const f32>, count: usize) {
    #[inline(always)]
    unsafe fn run<S: Simd>(activation: Activation, gate: *mut f32, up: Option<*const f32>, count: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            for i in (0..count).step_by(LANES) {
                let x = S::load(gate.add(i));
                let mut y = match activation {
                    Activation::Silu => sigmoid_times::<S>(x, x),
                    // 0.5 (1 + tanh z) is the logistic function of 2 z.
                    Activation::GeluTanh => {
                        let cube = S::mul(S::mul(x, x), x);
                        let inner = S::fma(S::splat(0.044_715), cube, x);
                        sigmoid_times::<S>(x, S::mul(S::splat(2.0 * 0.797_884_6), inner))
                    }
                    Activation::Relu => S::max(x, S::splat(0.0)),
                    Activation::Gelu => gelu::<S>(x),
                };
                if let Some(up) = up {
                    y = S::mul(y, S::load(up.add(i)));
                }
                S::store(gate.add(i), y);
            }
        }
    }
    // SAFETY: the caller's contract; the level was detected.
    unsafe {
        with_level!(level, run(a: Activation, gate: *mut f32, up: Option<*const f32>, count: usize), (activation, gate, up, count))
    }
}

/// x / (1 + e^-z)
#[inline(always)]
unsafe fn sigmoid_times<S: Simd>(x: S::F, z: S::F) -> S::F {
    // SAFETY: no pointers.
    unsafe {
        let minus = S::sub(S::splat(0.0), z);
        S::div(x, S::add(S::splat(1.0), exp::<S>(minus)))
    }
}

/// 0.5 x (1 + erf(x / sqrt 2)), lane by lane: few models use it.
#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::F) -> S::F {
    // SAFETY: C's erff takes a float and gives one, whatever the float.
    unsafe extern "C" {
        safe fn erff(x: f32) -> f32;
    }
    // SAFETY: the array has room for a vector.
    unsafe {
        let mut lanes = [0.0_f32; LANES];
        S::store(lanes.as_mut_ptr(), x);
        for lane in &mut lanes {
            *lane = 0.5 * *lane * (1.0 + erff(*lane * std::f32::consts::FRAC_1_SQRT_2));
        }
        S::load(lanes.as_ptr())
    }
}

/// Softmax over `visible` of a row of scores, without the division: returns the sum of the exponentials. What is not
/// visible becomes 0.
pub fn exponentials(
    level: Level,
    scores: &mut [f32],
    visible: std::ops::Range<usize>,
    scale: f32,
    softcap: Option<f32>,
) -> f32 {
    let (start, end) = (visible.start.min(scores.len()), visible.end.min(scores.len()));
    scores[..start].fill(0.0);
    scores[end..].fill(0.0);
    let row = &mut scores[start..end];
    if let Some(cap) = softcap {
        row.iter_mut().for_each(|score| *score = cap * (*score * scale / cap).tanh());
    } else {
        row.iter_mut().for_each(|score| *score *= scale);
    }
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // SAFETY: the level was detected; `run` stays within the row.
    unsafe {
        let mut total = 0.0;
        with_level!(level, shifted_exponentials(row: &mut [f32], most: f32, total: &mut f32), (row, most, &mut total));
        total
    }
}

#[inline(always)]
unsafe fn shifted_exponentials<S: Simd>(row: &mut [f32], most: f32, total: &mut f32) {
    // SAFETY: chunks have sixteen floats each.
    unsafe {
        let most = S::splat(most);
        let mut partial = S::splat(0.0);
        let mut chunks = row.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            let e = exp::<S>(S::sub(S::load(chunk.as_ptr()), most));
            partial = S::add(partial, e);
            S::store(chunk.as_mut_ptr(), e);
        }
        let rest = chunks.into_remainder();
        // Beyond the end: far below the maximum, and never stored.
        let mut lanes = [f32::MIN / 4.0; LANES];
        lanes[..rest.len()].copy_from_slice(rest);
        let e = exp::<S>(S::sub(S::load(lanes.as_ptr()), most));
        S::store(lanes.as_mut_ptr(), e);
        rest.copy_from_slice(&lanes[..rest.len()]);
        let tail = rest.iter().sum::<f32>();
        S::store(lanes.as_mut_ptr(), partial);
        *total = lanes.iter().sum::<f32>() + tail;
    }
}
