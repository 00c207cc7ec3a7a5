//! The formats that are packed here: INT8, INT4 and their two-of-four twins. Scales come from beside the tile.
//!
//! A code is moved to the top of its lane, where its sign is the lane's, and the scale is made smaller by as much: both
//! are exact, so a weight is rounded once, as the reference rounds code * scale.

use super::{
    simd::Simd,
    tile::{Int4, Int4Sparse24, Int8, Int8Sparse24, LANES, Sink, Unpack},
};
use crate::quant::Format;

/// 2^-exponent
const fn power(exponent: u32) -> f32 {
    f32::from_bits((127 - exponent) << 23)
}

// SAFETY of the bodies: offsets stay within LANES * block_bytes, the tile that the caller vouches for.

impl Unpack for Int8 {
    const FORMAT: Format = Format::Int8;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, scale: S::F, sink: &mut K) {
        unsafe { sink.put(0, S::mul(S::to_f32(S::load_i8(tile)), scale)) }
    }
}

impl Unpack for Int4 {
    const FORMAT: Format = Format::Int4;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, scale: S::F, sink: &mut K) {
        unsafe {
            let (word, scale) = (S::load_u32(tile), S::mul(scale, S::splat(power(28))));
            for k in 0..8 {
                sink.put(k, S::mul(S::to_f32(nibble_on_top::<S>(word, k as u32)), scale));
            }
        }
    }
}

/// The `i`-th nibble of a word in the upper four bits, nothing below.
#[inline(always)]
unsafe fn nibble_on_top<S: Simd>(word: S::I, i: u32) -> S::I {
    unsafe { S::and(S::shl(word, 28 - 4 * i), S::splat_i(0xf000_0000_u32 as i32)) }
}

/// Two codes of `bits` bits at their places of a four, the other places 0.
#[inline(always)]
unsafe fn four<S: Simd>(lower: S::I, upper: S::I, places: S::I, bits: u32) -> S::I {
    unsafe {
        let shift = |place| S::shl(S::and(place, S::splat_i(3)), bits.trailing_zeros());
        S::or(S::shl_each(lower, shift(places)), S::shl_each(upper, shift(S::shr(places, 2))))
    }
}

impl Unpack for Int8Sparse24 {
    const FORMAT: Format = Format::Int8Sparse24;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, scale: S::F, sink: &mut K) {
        unsafe {
            let (places, scale) = (S::load_u8(tile.add(4 * LANES)), S::mul(scale, S::splat(power(24))));
            for g in 0..2 {
                let (lower, upper) = (tile.add(2 * g * LANES), tile.add((2 * g + 1) * LANES));
                let word = four::<S>(S::load_u8(lower), S::load_u8(upper), S::shr(places, 4 * g as u32), 8);
                for k in 0..4 {
                    let on_top = S::and(S::shl(word, 24 - 8 * k as u32), S::splat_i(0xff00_0000_u32 as i32));
                    sink.put(4 * g + k, S::mul(S::to_f32(on_top), scale));
                }
            }
        }
    }
}

impl Unpack for Int4Sparse24 {
    const FORMAT: Format = Format::Int4Sparse24;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, scale: S::F, sink: &mut K) {
        unsafe {
            let (places, scale) = (S::load_u8(tile.add(2 * LANES)), S::mul(scale, S::splat(power(28))));
            for g in 0..2 {
                let codes = S::load_u8(tile.add(g * LANES));
                let (lower, upper) = (S::and(codes, S::splat_i(15)), S::shr(codes, 4));
                let word = four::<S>(lower, upper, S::shr(places, 4 * g as u32), 4);
                for k in 0..4 {
                    sink.put(4 * g + k, S::mul(S::to_f32(nibble_on_top::<S>(word, k as u32)), scale));
                }
            }
        }
    }
}
