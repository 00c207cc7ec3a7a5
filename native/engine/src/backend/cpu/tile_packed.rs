//! The formats that are packed here: INT8, INT4 and their two-of-four twins. Scales come from beside the tile.
//!
//! A code is moved to the top of its lane, where its sign is the lane's, and the scale is made smaller by as much: both
//! are exact, so a weight is rounded once, as the reference rounds code * scale.

use std::hint::black_box;

use super::{
    simd::Simd,
    tile::{Int4, Int4Sparse24, Int8, Int8Sparse24, LANES, Sink, Unpack, each, single},
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
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe { single!(sinks, i => S::mul(S::to_f32(S::load_i8(tiles[i])), scales[i])) }
    }
}

impl Unpack for Int4 {
    const FORMAT: Format = Format::Int4;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe {
            let (mut words, mut scales) = (each!(i => S::load_u32(tiles[i])), *scales);
            for scale in &mut scales {
                *scale = S::mul(*scale, S::splat(1.0 / S::NIBBLE));
            }
            // Not unrolled: eight weights of each tile at once are more than there are registers.
            for k in 0..black_box(8) {
                for i in 0..N {
                    sinks[i].put(k, S::mul(S::signed_nibble(words[i]), scales[i]));
                    words[i] = S::shr(words[i], 4);
                }
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
        let (first, second) = (S::and(places, S::splat_i(3)), S::and(S::shr(places, 2), S::splat_i(3)));
        let log = bits.trailing_zeros();
        S::or(S::shl_each(lower, S::shl(first, log)), S::shl_each(upper, S::shl(second, log)))
    }
}

impl Unpack for Int8Sparse24 {
    const FORMAT: Format = Format::Int8Sparse24;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe {
            let places = each!(i => S::load_u8(tiles[i].add(4 * LANES)));
            if const { K::PICKS } {
                for kept in 0..4 {
                    for i in 0..N {
                        let weights = S::mul(S::to_f32(S::load_i8(tiles[i].add(kept * LANES))), scales[i]);
                        sinks[i].put_kept(kept / 2 * 4, S::shr(places[i], 2 * kept as u32), weights);
                    }
                }
                return;
            }
            for i in 0..N {
                let scale = S::mul(scales[i], S::splat(power(24)));
                for g in 0..2 {
                    let (lower, upper) = (tiles[i].add(2 * g * LANES), tiles[i].add((2 * g + 1) * LANES));
                    let word = four::<S>(S::load_u8(lower), S::load_u8(upper), S::shr(places[i], 4 * g as u32), 8);
                    for k in 0..4 {
                        let on_top = S::and(S::shl(word, 24 - 8 * k as u32), S::splat_i(0xff00_0000_u32 as i32));
                        sinks[i].put(4 * g + k, S::mul(S::to_f32(on_top), scale));
                    }
                }
            }
        }
    }
}

impl Unpack for Int4Sparse24 {
    const FORMAT: Format = Format::Int4Sparse24;
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(
        tiles: &[*const u8; N],
        scales: &[S::F; N],
        sinks: &mut [K; N],
    ) {
        unsafe {
            let places = each!(i => S::load_u8(tiles[i].add(2 * LANES)));
            // For codes in the upper four bits of a lane, and in those above the lowest four.
            let small = each!(i => S::mul(scales[i], S::splat(power(28))));
            if const { K::PICKS } {
                let middle = each!(i => S::mul(scales[i], S::splat(power(4))));
                for g in 0..2 {
                    for i in 0..N {
                        let codes = S::load_i8(tiles[i].add(g * LANES));
                        let lower = S::mul(S::to_f32(S::shl(codes, 28)), small[i]);
                        let upper = S::mul(S::to_f32(S::and(codes, S::splat_i(!15))), middle[i]);
                        sinks[i].put_kept(4 * g, S::shr(places[i], 4 * g as u32), lower);
                        sinks[i].put_kept(4 * g, S::shr(places[i], 4 * g as u32 + 2), upper);
                    }
                }
                return;
            }
            for i in 0..N {
                for g in 0..2 {
                    let codes = S::load_u8(tiles[i].add(g * LANES));
                    let (lower, upper) = (S::and(codes, S::splat_i(15)), S::shr(codes, 4));
                    let word = four::<S>(lower, upper, S::shr(places[i], 4 * g as u32), 4);
                    for k in 0..4 {
                        sinks[i].put(4 * g + k, S::mul(S::to_f32(nibble_on_top::<S>(word, k as u32)), small[i]));
                    }
                }
            }
        }
    }
}
