//! The K-quants: super-blocks of 256 weights, whose sub-blocks have small scales of their own.
//!
//! A weight is `q * d - m` or `(q - c) * d`, where d and m are an f16 times an integer of a few bits: q * d takes at most 24
//! bits, and so does c * d, so one fused multiply-add rounds just where the reference does. The q's of four weights are made
//! together, as bytes of a word; the loops over words are left to be loops, for unrolled they outgrow the instruction cache.

use super::{
    simd::Simd,
    tile::{LANES, Q2K, Q3K, Q4K, Q5K, Q6K, Sink, Unpack, each, put_four},
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

/// Asks for cache lines of the next block of each tile. A word of sixteen rows is a line: loops over words ask for one in a
/// turn, for all at once are more than the processor can wait for.
#[inline(always)]
fn ask<S: Simd, const N: usize>(tiles: &[*const u8; N], format: Format, lines: std::ops::Range<usize>) {
    for line in lines {
        for tile in tiles {
            S::prefetch(tile.wrapping_add(format.block_bytes() * LANES + line * 64));
        }
    }
}

/// d and -m of sub-block `j` of Q4_K and Q5_K, which begin alike: d, dmin (f16), 12 scale bytes.
#[inline(always)]
unsafe fn step_and_least<S: Simd>(tile: *const u8, j: usize) -> (S::F, S::F) {
    unsafe {
        let (scale, min) = scale_and_min::<S>(tile.add(64), j);
        let d = S::mul(S::load_f16(tile), S::to_f32(scale));
        (d, S::mul(S::load_f16(tile.add(32)), S::sub(S::splat(0.0), S::to_f32(min))))
    }
}

impl Unpack for Q4K {
    const FORMAT: Format = Format::Q4K;
    /// Fields: d, dmin (f16), 12 scale bytes, 128 bytes of nibbles. Sub-blocks 2 i and 2 i + 1 are the low and
    /// the high nibbles of bytes 32 i … 32 i + 31.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn sub_block<S: Simd, K: Sink<S>, const N: usize, const HIGH: u32>(
            tiles: &[*const u8; N],
            pair: usize,
            sinks: &mut [K; N],
        ) {
            unsafe {
                let j = pair * 2 + HIGH as usize;
                let ends = each!(i => step_and_least::<S>(tiles[i], j));
                let (d, m) = (each!(i => ends[i].0), each!(i => ends[i].1));
                for w in 0..8 {
                    let at = 64 + 12 * LANES + (pair * 8 + w) * 64;
                    if const { HIGH == 0 } {
                        ask::<S, N>(tiles, Format::Q4K, at / 64..at / 64 + 1);
                    }
                    let q = each!(i => S::nibbles::<HIGH>(S::load_u32(tiles[i].add(at))));
                    put_four!(S::nibble, q, d, m, j * 32 + w * 4, sinks);
                }
            }
        }
        unsafe {
            ask::<S, N>(tiles, Self::FORMAT, 0..4);
            for pair in 0..4 {
                sub_block::<S, K, N, 0>(tiles, pair, sinks);
                sub_block::<S, K, N, 1>(tiles, pair, sinks);
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
        unsafe fn sub_block<S: Simd, K: Sink<S>, const N: usize, const HIGH: u32>(
            tiles: &[*const u8; N],
            pair: usize,
            sinks: &mut [K; N],
        ) {
            unsafe {
                let j = pair * 2 + HIGH as usize;
                let ends = each!(i => step_and_least::<S>(tiles[i], j));
                let (d, m) = (each!(i => ends[i].0), each!(i => ends[i].1));
                for w in 0..8 {
                    let line = if const { HIGH == 0 } { 4 + 8 + pair * 8 + w } else { 4 + w };
                    ask::<S, N>(tiles, Format::Q5K, line..line + 1);
                    let q = each!(i => {
                        let high = tiles[i].add(64 + 12 * LANES + w * 64);
                        let low = S::shr(S::load_u32(high.add((8 + pair * 8) * 64)), HIGH * 4);
                        let fifth = S::shl(bits::<S>(S::load_u32(high), j as u32, 0x0101_0101), 4);
                        S::or(S::and(low, S::splat_i(0x0f0f_0f0f)), fifth)
                    });
                    put_four!(S::byte, q, d, m, j * 32 + w * 4, sinks);
                }
            }
        }
        unsafe {
            ask::<S, N>(tiles, Self::FORMAT, 0..4);
            for pair in 0..4 {
                sub_block::<S, K, N, 0>(tiles, pair, sinks);
                sub_block::<S, K, N, 1>(tiles, pair, sinks);
            }
        }
    }
}

/// Q2_K, Q3_K and Q6_K divide their 256 weights alike: two halves of four quarters of two groups of 16 weights, with a
/// scale each. Calls `$group::<S, K, N, Q>(tiles, half, part, sinks)` for all of them.
macro_rules! groups {
    ($group:ident, $tiles:expr, $sinks:expr) => {
        for half in 0..2 {
            for part in 0..2 {
                $group::<S, K, N, 0>($tiles, half, part, $sinks);
            }
            for part in 0..2 {
                $group::<S, K, N, 1>($tiles, half, part, $sinks);
            }
            for part in 0..2 {
                $group::<S, K, N, 2>($tiles, half, part, $sinks);
            }
            for part in 0..2 {
                $group::<S, K, N, 3>($tiles, half, part, $sinks);
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
        unsafe fn group<S: Simd, K: Sink<S>, const N: usize, const Q: usize>(
            tiles: &[*const u8; N],
            half: usize,
            part: usize,
            sinks: &mut [K; N],
        ) {
            unsafe {
                let group = half * 8 + Q * 2 + part;
                let d = each!(i => {
                    let scales = tiles[i].add((32 + 16) * 64);
                    S::mul(S::load_f16(scales.add(16 * LANES)), S::to_f32(S::load_i8(scales.add(LANES * group))))
                });
                let m = each!(i => S::mul(d[i], S::splat(-32.0)));
                for w in 0..4 {
                    let line = part * 4 + w + if const { Q < 2 } { half * 16 + Q * 8 } else { 32 + half * 8 };
                    if const { Q < 3 } {
                        ask::<S, N>(tiles, Format::Q6K, line..line + 1);
                    }
                    let q = each!(i => {
                        let low = S::load_u32(tiles[i].add((half * 16 + Q % 2 * 8 + part * 4 + w) * 64));
                        let high = S::load_u32(tiles[i].add((32 + half * 8 + part * 4 + w) * 64));
                        let low = if const { Q < 2 } { low } else { S::shr(low, 4) };
                        let high = match const { Q } {
                            0 => S::shl(high, 4),
                            1 => S::shl(high, 2),
                            2 => high,
                            _ => S::shr(high, 2),
                        };
                        S::or(S::and(low, S::splat_i(0x0f0f_0f0f)), S::and(high, S::splat_i(0x3030_3030)))
                    });
                    put_four!(S::byte, q, d, m, group * 16 + w * 4, sinks);
                }
            }
        }
        ask::<S, N>(tiles, Self::FORMAT, 48..53);
        unsafe { groups!(group, tiles, sinks) }
    }
}

impl Unpack for Q2K {
    const FORMAT: Format = Format::Q2K;
    /// Fields: 16 bytes (scale in the low, minimum in the high nibble), 64 bytes of 2-bit quants, d, dmin. Each half has
    /// 32 bytes: weight k of quarter Q is bits 2 Q of byte k.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>, const N: usize>(tiles: &[*const u8; N], _: &[S::F; N], sinks: &mut [K; N]) {
        #[inline(always)]
        unsafe fn group<S: Simd, K: Sink<S>, const N: usize, const Q: usize>(
            tiles: &[*const u8; N],
            half: usize,
            part: usize,
            sinks: &mut [K; N],
        ) {
            unsafe {
                let group = half * 8 + Q * 2 + part;
                let words = 16 * LANES + (half * 8 + part * 4) * 64;
                let ends = 16 * LANES + 16 * 64;
                let d = each!(i => {
                    let scale = bits::<S>(byte::<S>(tiles[i], group), 0, 15);
                    S::mul(S::load_f16(tiles[i].add(ends)), S::to_f32(scale))
                });
                let m = each!(i => {
                    let min = bits::<S>(byte::<S>(tiles[i], group), 4, 15);
                    S::mul(S::load_f16(tiles[i].add(ends + 32)), S::sub(S::splat(0.0), S::to_f32(min)))
                });
                for w in 0..4 {
                    let line = words / 64 + w;
                    if const { Q == 0 } {
                        ask::<S, N>(tiles, Format::Q2K, line..line + 1);
                    }
                    let q = each!(i => bits::<S>(S::load_u32(tiles[i].add(words + w * 64)), Q as u32 * 2, 0x0303_0303));
                    put_four!(S::byte, q, d, m, group * 16 + w * 4, sinks);
                }
            }
        }
        ask::<S, N>(tiles, Self::FORMAT, 0..4);
        ask::<S, N>(tiles, Self::FORMAT, 20..21);
        unsafe { groups!(group, tiles, sinks) }
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
        unsafe fn group<S: Simd, K: Sink<S>, const N: usize, const Q: usize>(
            tiles: &[*const u8; N],
            half: usize,
            part: usize,
            sinks: &mut [K; N],
        ) {
            unsafe {
                let j = half * 8 + Q * 2 + part;
                let d = each!(i => {
                    let scales = tiles[i].add((8 + 16) * 64);
                    let low = bits::<S>(byte::<S>(scales, j % 8), (j / 8 * 4) as u32, 15);
                    let top = bits::<S>(byte::<S>(scales, 8 + j % 4), (j / 4 * 2) as u32, 3);
                    let scale = S::to_f32(S::sub_i(S::or(low, S::shl(top, 4)), S::splat_i(32)));
                    S::mul(S::load_f16(scales.add(12 * LANES)), scale)
                });
                let m = each!(i => S::mul(d[i], S::splat(-4.0)));
                for w in 0..4 {
                    let line = part * 4 + w + if const { Q == 0 } { 8 + half * 8 } else { 0 };
                    if const { Q < 2 } {
                        ask::<S, N>(tiles, Format::Q3K, line..line + 1);
                    }
                    let q = each!(i => {
                        let words = tiles[i].add((part * 4 + w) * 64);
                        let low = S::shr(S::load_u32(words.add((8 + half * 8) * 64)), Q as u32 * 2);
                        let third = S::shl(bits::<S>(S::load_u32(words), (half * 4 + Q) as u32, 0x0101_0101), 2);
                        S::or(S::and(low, S::splat_i(0x0303_0303)), third)
                    });
                    put_four!(S::byte, q, d, m, j * 16 + w * 4, sinks);
                }
            }
        }
        ask::<S, N>(tiles, Self::FORMAT, 24..28);
        unsafe { groups!(group, tiles, sinks) }
    }
}
