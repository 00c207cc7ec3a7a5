//! Sums of products of eight-bit codes for one row of inputs, with AVX2.
//!
//! A byte of weights and one of inputs are multiplied by `vpmaddubsw`, which takes one of both without a sign: the sign goes
//! over to the other one first. It adds neighbours, so the bytes of two columns of a row are brought side by side. Sums of two
//! products are at most 2 128 127 < 2^15: nothing saturates. Those of two blocks are added by `vpmaddwd`. The surprise: a lane
//! holds every other column only, so there are two sums of a row, which are added at the end.

use std::arch::x86_64::*;

use super::tile::{LANES, PREFETCH_BYTES};
use crate::quant::Format;

// SAFETY of the bodies: AVX2 is there, which each caller vouches for; what is read lies within a block and its inputs.

/// How a format's bytes are multiplied.
trait Block {
    /// Columns and bytes of a block of sixteen rows.
    const COLS: usize;
    const BYTES: usize;
    /// What the tiles share.
    type Inputs: Copy;

    /// # Safety
    /// AVX2 is there, `x` points to COLS codes.
    unsafe fn inputs(x: *const i8) -> Self::Inputs;

    /// i16 sums of two products each: rows 0 .. 7 twice, rows 8 .. 15 twice.
    ///
    /// # Safety
    /// AVX2 is there, `tile` points to BYTES.
    unsafe fn sums(tile: *const u8, inputs: &Self::Inputs) -> (__m256i, __m256i);
}

#[inline(always)]
unsafe fn load(from: *const u8) -> __m256i {
    unsafe { _mm256_loadu_si256(from.cast()) }
}

/// The bytes of `x` that `low` and `high` say, in the lower and in the upper half.
#[inline(always)]
unsafe fn spread(x: __m256i, low: [i8; 16], high: [i8; 16]) -> __m256i {
    unsafe {
        let places = _mm256_set_m128i(_mm_loadu_si128(high.as_ptr().cast()), _mm_loadu_si128(low.as_ptr().cast()));
        _mm256_shuffle_epi8(x, places)
    }
}

/// Products of bytes and the sums of two: those of `a` and of `b` of the same row.
#[inline(always)]
unsafe fn sums_of(w: (__m256i, __m256i), x: (__m256i, __m256i)) -> (__m256i, __m256i) {
    unsafe {
        let (wa, wb) = (_mm256_abs_epi8(w.0), _mm256_abs_epi8(w.1));
        let (xa, xb) = (_mm256_sign_epi8(x.0, w.0), _mm256_sign_epi8(x.1, w.1));
        let low = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(wa, wb), _mm256_unpacklo_epi8(xa, xb));
        let high = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(wa, wb), _mm256_unpackhi_epi8(xa, xb));
        (low, high)
    }
}

const EACH: [i8; 16] = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3];
const FOURS: [i8; 16] = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3];

const fn plus(places: [i8; 16], offset: i8) -> [i8; 16] {
    let (mut all, mut i) = (places, 0);
    while i < 16 {
        all[i] += offset;
        i += 1;
    }
    all
}

/// Columns 0 .. 3; lower halves 0 and 2, upper halves 1 and 3.
struct Dense;

impl Block for Dense {
    const COLS: usize = 4;
    const BYTES: usize = 64;
    /// Codes and their magnitudes.
    type Inputs = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn inputs(x: *const i8) -> Self::Inputs {
        unsafe {
            let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
            let low = [0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2];
            let x = spread(x, low, plus(low, 1));
            (x, _mm256_abs_epi8(x))
        }
    }

    #[inline(always)]
    unsafe fn sums(tile: *const u8, x: &Self::Inputs) -> (__m256i, __m256i) {
        unsafe {
            let (a, b) = (load(tile), load(tile.add(32)));
            // The sign goes to the weights: they are other ones each time, and never -128.
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let low = _mm256_maddubs_epi16(x.1, _mm256_sign_epi8(low, x.0));
            (low, _mm256_maddubs_epi16(x.1, _mm256_sign_epi8(high, x.0)))
        }
    }
}

/// Four bits of a row's places choose for both kept weights of a four: tables of sixteen, by the two lower and by the two
/// upper bits.
struct Sparse8;

impl Block for Sparse8 {
    const COLS: usize = 8;
    const BYTES: usize = 80;
    type Inputs = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn inputs(x: *const i8) -> Self::Inputs {
        unsafe {
            let x = _mm256_set1_epi64x(x.cast::<i64>().read_unaligned());
            (spread(x, EACH, FOURS), spread(x, plus(EACH, 4), plus(FOURS, 4)))
        }
    }

    #[inline(always)]
    unsafe fn sums(tile: *const u8, x: &Self::Inputs) -> (__m256i, __m256i) {
        unsafe {
            let places = _mm256_broadcastsi128_si256(_mm_loadu_si128(tile.add(64).cast()));
            let fifteen = _mm256_set1_epi8(15);
            let first = _mm256_and_si256(places, fifteen);
            let second = _mm256_and_si256(_mm256_srli_epi16::<4>(places), fifteen);
            let x = (_mm256_shuffle_epi8(x.0, first), _mm256_shuffle_epi8(x.1, second));
            sums_of((load(tile), load(tile.add(32))), x)
        }
    }
}

/// As `Sparse8`; the first four in the lower halves, the second in the upper ones. Weights are sixteen times their codes.
struct Sparse4;

impl Block for Sparse4 {
    const COLS: usize = 8;
    const BYTES: usize = 48;
    type Inputs = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn inputs(x: *const i8) -> Self::Inputs {
        unsafe {
            let x = _mm256_set1_epi64x(x.cast::<i64>().read_unaligned());
            (spread(x, EACH, plus(EACH, 4)), spread(x, FOURS, plus(FOURS, 4)))
        }
    }

    #[inline(always)]
    unsafe fn sums(tile: *const u8, x: &Self::Inputs) -> (__m256i, __m256i) {
        unsafe {
            let places = _mm256_broadcastsi128_si256(_mm_loadu_si128(tile.add(32).cast()));
            let places = _mm256_srlv_epi32(places, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
            let places = _mm256_and_si256(places, _mm256_set1_epi8(15));
            let (codes, upper) = (load(tile), _mm256_set1_epi8(-16));
            let w = (_mm256_and_si256(_mm256_slli_epi16::<4>(codes), upper), _mm256_and_si256(codes, upper));
            sums_of(w, (_mm256_shuffle_epi8(x.0, places), _mm256_shuffle_epi8(x.1, places)))
        }
    }
}

/// sums[i][row] = sum over k of the codes of tile i times x; those of INT4 are sixteen times as much.
///
/// # Safety
/// AVX2 is there; `tiles` points to N tiles of `cols` columns of `format`, one after the other, `x` to codes of at least `cols`
/// columns, and behind them fifteen zeros.
#[target_feature(enable = "avx2")]
pub unsafe fn dot<const N: usize>(
    format: Format,
    tiles: *const u8,
    cols: usize,
    x: *const i8,
    sums: &mut [[i32; LANES]; N],
) {
    // SAFETY: the caller's contract.
    unsafe {
        match format {
            Format::Int8Sparse24 => walk::<Sparse8, N>(tiles, cols, x, sums),
            Format::Int4Sparse24 => walk::<Sparse4, N>(tiles, cols, x, sums),
            _ => walk::<Dense, N>(tiles, cols, x, sums),
        }
    }
}

/// # Safety
/// As `dot`, for tiles of `B`'s format.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn walk<B: Block, const N: usize>(tiles: *const u8, cols: usize, x: *const i8, sums: &mut [[i32; LANES]; N]) {
    // SAFETY: whole pairs of blocks are within the tiles; the rest is copied, and no further than the tiles reach.
    unsafe {
        let bytes = cols * B::BYTES / B::COLS;
        let mut all = [[_mm256_setzero_si256(); 4]; N];
        let (mut k, mut at) = (0, 0);
        while k + 2 * B::COLS <= cols {
            let x = (B::inputs(x.add(k)), B::inputs(x.add(k + B::COLS)));
            for i in 0..N {
                let tile = tiles.add(i * bytes + at);
                let mut line = 0;
                while line < 2 * B::BYTES {
                    _mm_prefetch::<_MM_HINT_T0>(tile.wrapping_add(PREFETCH_BYTES + line).cast());
                    line += 64;
                }
                add::<B>(tile, &x, &mut all[i]);
            }
            (k, at) = (k + 2 * B::COLS, at + 2 * B::BYTES);
        }
        if k < cols {
            let x = (B::inputs(x.add(k)), B::inputs(x.add(k + B::COLS)));
            for (i, sums) in all.iter_mut().enumerate() {
                let mut rest = [0_u8; 160];
                std::ptr::copy_nonoverlapping(tiles.add(i * bytes + at), rest.as_mut_ptr(), bytes - at);
                add::<B>(rest.as_ptr(), &x, sums);
            }
        }
        for (all, sums) in all.iter().zip(sums) {
            for (four, sum) in all.iter().enumerate() {
                let sum = _mm_add_epi32(_mm256_castsi256_si128(*sum), _mm256_extracti128_si256::<1>(*sum));
                _mm_storeu_si128(sums.as_mut_ptr().add(four * 4).cast(), sum);
            }
        }
    }
}

/// Two blocks that follow each other.
///
/// # Safety
/// AVX2 is there, `tile` points to two blocks.
#[inline(always)]
unsafe fn add<B: Block>(tile: *const u8, x: &(B::Inputs, B::Inputs), sums: &mut [__m256i; 4]) {
    unsafe {
        let (a, b) = (B::sums(tile, &x.0), B::sums(tile.add(B::BYTES), &x.1));
        let one = _mm256_set1_epi16(1);
        sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a.0, b.0), one));
        sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a.0, b.0), one));
        sums[2] = _mm256_add_epi32(sums[2], _mm256_madd_epi16(_mm256_unpacklo_epi16(a.1, b.1), one));
        sums[3] = _mm256_add_epi32(sums[3], _mm256_madd_epi16(_mm256_unpackhi_epi16(a.1, b.1), one));
    }
}
