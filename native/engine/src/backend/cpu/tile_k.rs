//! The K-quants: super-blocks of 256 weights, whose sub-blocks have small scales of their own.

use super::{
    simd::Simd,
    tile::{LANES, Q2K, Q3K, Q4K, Q5K, Q6K, Sink, Unpack},
};
use crate::quant::Format;

// SAFETY of the bodies: offsets stay within LANES * block_bytes, the tile that the caller vouches for.

/// Bits `shift ..` of a word's lanes, cut to `mask`.
#[inline(always)]
unsafe fn bits<S: Simd>(word: S::I, shift: u32, mask: i32) -> S::I {
    unsafe { S::and(S::shr(word, shift), S::splat_i(mask)) }
}

/// The six-bit scale and minimum of sub-block `j` (of eight), packed in twelve bytes as Q4_K and Q5_K do:
/// for j < 4 the low six bits of bytes j and j + 4; otherwise the nibbles of byte j + 4, with the top two
/// bits of bytes j - 4 and j above them.
#[inline(always)]
unsafe fn scale_and_min<S: Simd>(scales: *const u8, j: usize) -> (S::I, S::I) {
    unsafe {
        let byte = |i: usize| S::load_u8(scales.add(LANES * i));
        if j < 4 {
            (bits::<S>(byte(j), 0, 63), bits::<S>(byte(j + 4), 0, 63))
        } else {
            let low = byte(j + 4);
            let scale = S::or(bits::<S>(low, 0, 15), S::shl(bits::<S>(byte(j - 4), 6, 3), 4));
            let min = S::or(bits::<S>(low, 4, 15), S::shl(bits::<S>(byte(j), 6, 3), 4));
            (scale, min)
        }
    }
}

impl Unpack for Q4K {
    const FORMAT: Format = Format::Q4K;
    /// Fields: d, dmin (f16), 12 scale bytes, 128 bytes of nibbles. Sub-blocks 2 i and 2 i + 1 are the low and
    /// the high nibbles of bytes 32 i … 32 i + 31.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, _: S::F, sink: &mut K) {
        unsafe {
            let (d, dmin) = (S::load_f16(tile), S::load_f16(tile.add(32)));
            let (scales, words) = (tile.add(64), tile.add(64 + 12 * LANES));
            for j in 0..8 {
                let (scale, min) = scale_and_min::<S>(scales, j);
                let (d, m) = (S::mul(d, S::to_f32(scale)), S::mul(dmin, S::to_f32(min)));
                for k in 0..32 {
                    let word = S::load_u32(words.add((j / 2 * 8 + k / 4) * 64));
                    let q = S::nibble(S::shr(word, (k % 4 * 8 + j % 2 * 4) as u32));
                    sink.put(j * 32 + k, S::sub(S::mul(q, d), m));
                }
            }
        }
    }
}

impl Unpack for Q5K {
    const FORMAT: Format = Format::Q5K;
    /// As Q4_K, with a fifth bit: bit j of byte k of `qh`, for weight k of sub-block j.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, _: S::F, sink: &mut K) {
        unsafe {
            let (d, dmin) = (S::load_f16(tile), S::load_f16(tile.add(32)));
            let scales = tile.add(64);
            let high = scales.add(12 * LANES);
            let words = high.add(8 * 64);
            for j in 0..8 {
                let (scale, min) = scale_and_min::<S>(scales, j);
                let (d, m) = (S::mul(d, S::to_f32(scale)), S::mul(dmin, S::to_f32(min)));
                for k in 0..32 {
                    let word = S::load_u32(words.add((j / 2 * 8 + k / 4) * 64));
                    let low = bits::<S>(word, (k % 4 * 8 + j % 2 * 4) as u32, 15);
                    let fifth = bits::<S>(S::load_u32(high.add(k / 4 * 64)), (k % 4 * 8 + j) as u32, 1);
                    let q = S::to_f32(S::or(low, S::shl(fifth, 4)));
                    sink.put(j * 32 + k, S::sub(S::mul(q, d), m));
                }
            }
        }
    }
}

impl Unpack for Q6K {
    const FORMAT: Format = Format::Q6K;
    /// Fields: ql (128 bytes), qh (64 bytes), 16 signed scale bytes, d. Each half of 128 weights has 64 bytes of
    /// ql and 32 of qh: quarter j (of four, 32 weights) takes the nibble j / 2 of ql byte 32 (j % 2) + k and the
    /// bits 2 j, 2 j + 1 of qh byte k. A scale serves 16 weights; q counts from -32.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, _: S::F, sink: &mut K) {
        unsafe {
            let (low, high) = (tile, tile.add(32 * 64));
            let scales = high.add(16 * 64);
            let d = S::load_f16(scales.add(16 * LANES));
            for group in 0..16 {
                let (half, quarter) = (group / 8, group % 8 / 2);
                let scale = S::mul(d, S::to_f32(S::load_i8(scales.add(LANES * group))));
                for i in 0..16 {
                    let k = group % 2 * 16 + i;
                    let ql = S::load_u32(low.add((half * 16 + quarter % 2 * 8 + k / 4) * 64));
                    let qh = S::load_u32(high.add((half * 8 + k / 4) * 64));
                    let ql = bits::<S>(ql, (k % 4 * 8 + quarter / 2 * 4) as u32, 15);
                    let qh = bits::<S>(qh, (k % 4 * 8 + quarter * 2) as u32, 3);
                    let q = S::sub_i(S::or(ql, S::shl(qh, 4)), S::splat_i(32));
                    sink.put(group * 16 + i, S::mul(scale, S::to_f32(q)));
                }
            }
        }
    }
}

impl Unpack for Q2K {
    const FORMAT: Format = Format::Q2K;
    /// Fields: 16 bytes (scale in the low, minimum in the high nibble, 16 weights each), 64 bytes of 2-bit
    /// quants, d, dmin. Each half of 128 weights has 32 bytes: weight k of quarter j is bits 2 j of byte k.
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, _: S::F, sink: &mut K) {
        unsafe {
            let words = tile.add(16 * LANES);
            let ends = words.add(16 * 64);
            let (d, dmin) = (S::load_f16(ends), S::load_f16(ends.add(32)));
            for group in 0..16 {
                let (half, quarter) = (group / 8, group % 8 / 2);
                let byte = S::load_u8(tile.add(LANES * group));
                let scale = S::mul(d, S::to_f32(bits::<S>(byte, 0, 15)));
                let min = S::mul(dmin, S::to_f32(bits::<S>(byte, 4, 15)));
                for i in 0..16 {
                    let k = group % 2 * 16 + i;
                    let word = S::load_u32(words.add((half * 8 + k / 4) * 64));
                    let q = S::to_f32(bits::<S>(word, (k % 4 * 8 + quarter * 2) as u32, 3));
                    sink.put(group * 16 + i, S::sub(S::mul(scale, q), min));
                }
            }
        }
    }
}

impl Unpack for Q3K {
    const FORMAT: Format = Format::Q3K;
    /// Fields: hmask (32 bytes), qs (64 bytes), 12 scale bytes, d. Two low bits as in Q2_K; the third is bit
    /// (4 half + quarter) of hmask byte k, and q counts from -4. Sixteen six-bit scales, counted from -32: low nibbles
    /// in bytes 0 … 7 (scale j < 8: low nibble of byte j; j >= 8: high nibble of byte j - 8), top bits in
    /// bytes 8 … 11 (scale j: bits 2 (j / 4) of byte 8 + j % 4).
    #[inline(always)]
    unsafe fn unpack<S: Simd, K: Sink<S>>(tile: *const u8, _: S::F, sink: &mut K) {
        unsafe {
            let words = tile.add(8 * 64);
            let scales = words.add(16 * 64);
            let d = S::load_f16(scales.add(12 * LANES));
            for group in 0..16 {
                let (half, quarter) = (group / 8, group % 8 / 2);
                let low = S::load_u8(scales.add(LANES * (group % 8)));
                let top = S::load_u8(scales.add(LANES * (8 + group % 4)));
                let low = bits::<S>(low, (group / 8 * 4) as u32, 15);
                let top = bits::<S>(top, (group / 4 * 2) as u32, 3);
                let scale = S::sub_i(S::or(low, S::shl(top, 4)), S::splat_i(32));
                let scale = S::mul(d, S::to_f32(scale));
                for i in 0..16 {
                    let k = group % 2 * 16 + i;
                    let word = S::load_u32(words.add((half * 8 + k / 4) * 64));
                    let mask = S::load_u32(tile.add(k / 4 * 64));
                    let q = bits::<S>(word, (k % 4 * 8 + quarter * 2) as u32, 3);
                    let third = bits::<S>(mask, (k % 4 * 8 + half * 4 + quarter) as u32, 1);
                    let q = S::sub_i(S::or(q, S::shl(third, 2)), S::splat_i(4));
                    sink.put(group * 16 + i, S::mul(scale, S::to_f32(q)));
                }
            }
        }
    }
}
