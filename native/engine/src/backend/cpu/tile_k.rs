//! The K-quants: super-blocks of 256 weights, whose sub-blocks have small scales of their own.

use super::{
    simd::Simd,
    tile::{LANES, Q2K, Q3K, Q4K, Q5K, Q6K, Sink, Unpack, each, for_32},
};
use crate::quant::Format;

// SAFETY of the bodies: offsets stay within LANES * block_bytes, the tile that the caller vouches for.

/// Bits `shift ..` of a word's lanes, cut to `mask`.
#[inline(always)]
unsafe fn bits<S: Simd>(word: S::I, shift: u32, mask: i32) -> S::I {
    unsafe { S::and(S::shr(word, shift), S::splat_i(mask)) }
}

/// Byte `i` of sixteen rows.
#[inline(always)]
unsafe fn byte<S: Simd>(bytes: *const u8, i: usize) -> S::I {
    unsafe { S::load_u8(bytes.add(LANES * i)) }
}

/// The six-bit scale and minimum of sub-block `j` (of eight), packed in twelve bytes as Q4_K and Q5_K do:
/// for j < 4 the low six bits of bytes j and j + 4; otherwise the nibbles of byte j + 4, with the top two
/// bits of bytes j - 4 and j above them.
#[inline(always)]
unsafe fn scale_and_min<S: Simd>(scales: *const u8, j: usize) -> (S::I, S::I) {
    unsafe {
        if j < 4 {
            (bits::<S>(byte::<S>(scales, j), 0, 63), bits::<S>(byte::<S>(scales, j + 4), 0, 63))
        } else {
            let low = byte::<S>(scales, j + 4);
            let scale = S::or(bits::<S>(low, 0, 15), S::shl(bits::<S>(byte::<S>(scales, j - 4), 6, 3), 4));
            let min = S::or(bits::<S>(low, 4, 15), S::shl(bits::<S>(byte::<S>(scales, j), 6, 3), 4));
            (scale, min)
        }
    }
}

/// The offset of the word that holds byte `k`, and the shift that brings the byte to the bottom.
const fn byte_of(k: usize) -> (usize, u32) {
    (k / 4 * 64, (k % 4 * 8) as u32)
}

impl Unpack for Q4K {
    const FORMAT: Format = Format::Q4K;
    /// Fields: d, dmin (f16), 12 scale bytes, 128 bytes of nibbles. Sub-blocks 2 i and 2 i + 1 are the low and
    /// the high nibbles of bytes 32 i … 32 i + 31.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn sub_block<S: Simd, K: Sink<S>, const HIGH: usize>(tile: *const u8, pair: usize, sink: &mut K) {
            unsafe {
                let (d, dmin) = (S::load_f16(tile), S::load_f16(tile.add(32)));
                let j = pair * 2 + HIGH;
                let (scale, min) = scale_and_min::<S>(tile.add(64), j);
                let (d, m) = (S::mul(d, S::to_f32(scale)), S::mul(dmin, S::to_f32(min)));
                let words = tile.add(64 + 12 * LANES + pair * 8 * 64);
                for_32!(S, i => {
                    let (at, shift) = byte_of(i);
                    let q = S::nibble(S::shr(S::load_u32(words.add(at)), shift + HIGH as u32 * 4));
                    sink.put(j * 32 + i, S::sub(S::mul(q, d), m));
                });
            }
        }
        unsafe {
            for (tile, sink) in tiles.iter().zip(sinks) {
                for pair in 0..4 {
                    sub_block::<S, K, 0>(*tile, pair, sink);
                    sub_block::<S, K, 1>(*tile, pair, sink);
                }
            }
        }
    }
}

impl Unpack for Q5K {
    const FORMAT: Format = Format::Q5K;
    /// As Q4_K, with a fifth bit: bit j of byte k of `qh`, for weight k of sub-block j.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn sub_block<S: Simd, K: Sink<S>, const HIGH: usize>(tile: *const u8, pair: usize, sink: &mut K) {
            unsafe {
                let (d, dmin) = (S::load_f16(tile), S::load_f16(tile.add(32)));
                let j = pair * 2 + HIGH;
                let (scale, min) = scale_and_min::<S>(tile.add(64), j);
                let (d, m) = (S::mul(d, S::to_f32(scale)), S::mul(dmin, S::to_f32(min)));
                let high = tile.add(64 + 12 * LANES);
                let words = high.add((8 + pair * 8) * 64);
                for_32!(S, i => {
                    let (at, shift) = byte_of(i);
                    let low = bits::<S>(S::load_u32(words.add(at)), shift + HIGH as u32 * 4, 15);
                    let fifth = bits::<S>(S::load_u32(high.add(at)), shift + j as u32, 1);
                    let q = S::to_f32(S::or(low, S::shl(fifth, 4)));
                    sink.put(j * 32 + i, S::sub(S::mul(q, d), m));
                });
            }
        }
        unsafe {
            for (tile, sink) in tiles.iter().zip(sinks) {
                for pair in 0..4 {
                    sub_block::<S, K, 0>(*tile, pair, sink);
                    sub_block::<S, K, 1>(*tile, pair, sink);
                }
            }
        }
    }
}

/// Q2_K, Q3_K and Q6_K divide their 256 weights alike: two halves of four quarters of 32 weights, with a scale for each
/// 16. Calls `$quarter::<S, K, Q>(tile, half, sink)` for each of each tile.
macro_rules! quarters {
    ($quarter:ident, $tiles:expr, $sinks:expr) => {
        for (tile, sink) in $tiles.iter().zip($sinks) {
            for half in 0..2 {
                $quarter::<S, K, 0>(*tile, half, sink);
                $quarter::<S, K, 1>(*tile, half, sink);
                $quarter::<S, K, 2>(*tile, half, sink);
                $quarter::<S, K, 3>(*tile, half, sink);
            }
        }
    };
}

impl Unpack for Q6K {
    const FORMAT: Format = Format::Q6K;
    /// Fields: ql (128 bytes), qh (64 bytes), 16 signed scale bytes, d. Each half has 64 bytes of ql and 32 of qh:
    /// quarter Q takes nibble Q / 2 of ql byte 32 (Q % 2) + k and bits 2 Q, 2 Q + 1 of qh byte k. q counts from -32.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn quarter<S: Simd, K: Sink<S>, const Q: usize>(tile: *const u8, half: usize, sink: &mut K) {
            const N: usize = 2;
            unsafe {
                let (low, high) = (tile.add((half * 16 + Q % 2 * 8) * 64), tile.add((32 + half * 8) * 64));
                let scales = tile.add((32 + 16) * 64);
                let d = S::load_f16(scales.add(16 * LANES));
                let group = half * 8 + Q * 2;
                let scales = each!(i => S::mul(d, S::to_f32(S::load_i8(scales.add(LANES * (group + i))))));
                for_32!(S, i => {
                    let (at, shift) = byte_of(i);
                    let ql = bits::<S>(S::load_u32(low.add(at)), shift + Q as u32 / 2 * 4, 15);
                    let qh = bits::<S>(S::load_u32(high.add(at)), shift + Q as u32 * 2, 3);
                    let q = S::sub_i(S::or(ql, S::shl(qh, 4)), S::splat_i(32));
                    sink.put(group * 16 + i, S::mul(scales[i / 16], S::to_f32(q)));
                });
            }
        }
        unsafe { quarters!(quarter, tiles, sinks) }
    }
}

impl Unpack for Q2K {
    const FORMAT: Format = Format::Q2K;
    /// Fields: 16 bytes (scale in the low, minimum in the high nibble), 64 bytes of 2-bit quants, d, dmin. Each half has
    /// 32 bytes: weight k of quarter Q is bits 2 Q of byte k.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn quarter<S: Simd, K: Sink<S>, const Q: usize>(tile: *const u8, half: usize, sink: &mut K) {
            const N: usize = 2;
            unsafe {
                let words = tile.add(16 * LANES + half * 8 * 64);
                let ends = tile.add(16 * LANES + 16 * 64);
                let (d, dmin) = (S::load_f16(ends), S::load_f16(ends.add(32)));
                let group = half * 8 + Q * 2;
                let scales = each!(i => S::mul(d, S::to_f32(bits::<S>(byte::<S>(tile, group + i), 0, 15))));
                let mins = each!(i => S::mul(dmin, S::to_f32(bits::<S>(byte::<S>(tile, group + i), 4, 15))));
                for_32!(S, i => {
                    let (at, shift) = byte_of(i);
                    let q = bits::<S>(S::load_u32(words.add(at)), shift + Q as u32 * 2, 3);
                    sink.put(group * 16 + i, S::sub(S::mul(scales[i / 16], S::to_f32(q)), mins[i / 16]));
                });
            }
        }
        unsafe { quarters!(quarter, tiles, sinks) }
    }
}

impl Unpack for Q3K {
    const FORMAT: Format = Format::Q3K;
    /// Fields: hmask (32 bytes), qs (64 bytes), 12 scale bytes, d. Two low bits as in Q2_K; the third is bit
    /// 4 half + Q of hmask byte k, and q counts from -4. Sixteen six-bit scales, counted from -32: low nibbles in
    /// bytes 0 … 7 (scale j < 8: low nibble of byte j; j >= 8: high nibble of byte j - 8), top bits in bytes
    /// 8 … 11 (scale j: bits 2 (j / 4) of byte 8 + j % 4).
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn quarter<S: Simd, K: Sink<S>, const Q: usize>(tile: *const u8, half: usize, sink: &mut K) {
            const N: usize = 2;
            unsafe {
                let words = tile.add((8 + half * 8) * 64);
                let scales = tile.add((8 + 16) * 64);
                let d = S::load_f16(scales.add(12 * LANES));
                let group = half * 8 + Q * 2;
                let scales = each!(i => {
                    let j = group + i;
                    let low = bits::<S>(byte::<S>(scales, j % 8), (j / 8 * 4) as u32, 15);
                    let top = bits::<S>(byte::<S>(scales, 8 + j % 4), (j / 4 * 2) as u32, 3);
                    S::mul(d, S::to_f32(S::sub_i(S::or(low, S::shl(top, 4)), S::splat_i(32))))
                });
                for_32!(S, i => {
                    let (at, shift) = byte_of(i);
                    let low = bits::<S>(S::load_u32(words.add(at)), shift + Q as u32 * 2, 3);
                    let third = bits::<S>(S::load_u32(tile.add(at)), shift + (half * 4 + Q) as u32, 1);
                    let q = S::sub_i(S::or(low, S::shl(third, 2)), S::splat_i(4));
                    sink.put(group * 16 + i, S::mul(scales[i / 16], S::to_f32(q)));
                });
            }
        }
        unsafe { quarters!(quarter, tiles, sinks) }
    }
}
