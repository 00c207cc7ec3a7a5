//! One row of inputs times FP8 or INT4, with AVX2: the bits of `matrix::dot` in fewer instructions, and in an order that keeps
//! everything in registers.
//!
//! A weight is code * scale, rounded, and a sum is one chain of fused multiply-adds over k, as everywhere. Loops count: an
//! iterator's functions need not be compiled beside the level's instructions, and were called in the innermost loop.

use std::{
    arch::x86_64::*,
    hint::black_box,
    ops::Range,
    sync::atomic::{Ordering, compiler_fence},
};

use super::{
    matrix::Matrix,
    tile::{LANES, PREFETCH_BYTES, UNBIAS},
};

/// Two tiles at a time, whose chains of sums run side by side, and a last one alone. No function: it would not have the
/// level's instructions.
macro_rules! in_pairs {
    ($body:ident, $matrix:ident, $tiles:ident, $x:ident, $out:ident) => {{
        let mut tile = $tiles.start;
        while tile + 2 <= $tiles.end {
            $body::<2>($matrix, tile, $x, $out);
            tile += 2;
        }
        if tile < $tiles.end {
            $body::<1>($matrix, tile, $x, $out);
        }
    }};
}

/// out[row] = W x for the rows of `tiles`, of a matrix in F8_E4M3 whose scales are below `FAR_SCALE`.
///
/// # Safety
/// AVX2 and FMA are there; the tiles exist; `x` has as many floats as the matrix has columns, `out` sixteen for each tile.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn f8_e4m3(matrix: &Matrix, tiles: Range<usize>, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { in_pairs!(f8_tiles, matrix, tiles, x, out) }
}

// SAFETY of the bodies: the contract of the functions that call them; offsets stay within the columns of a tile.

/// Sixteen codes as bf16, which widen to f32 by a word of zeros below. Rows come as 0 .. 3 and 8 .. 11, 4 .. 7 and 12 .. 15: so
/// an instruction for sixteen weights is saved, and scales and sums are brought into that order and out of it.
#[inline(always)]
unsafe fn f8_codes(tile: *const u8) -> [__m256; 2] {
    unsafe {
        let codes = _mm256_cvtepi8_epi16(_mm_loadu_si128(tile.cast()));
        // As `tile::e4m3` has it, in the upper half of an f32.
        let halves = _mm256_and_si256(_mm256_slli_epi16::<4>(codes), _mm256_set1_epi16(0x87f0_u16 as i16));
        let zero = _mm256_setzero_si256();
        let (low, high) = (_mm256_unpacklo_epi16(zero, halves), _mm256_unpackhi_epi16(zero, halves));
        [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
    }
}

/// Rows 0 .. 7 and 8 .. 15 from or into the order of `f8_codes`.
#[inline(always)]
unsafe fn turn(rows: [__m256; 2]) -> [__m256; 2] {
    unsafe { [_mm256_permute2f128_ps::<0x20>(rows[0], rows[1]), _mm256_permute2f128_ps::<0x31>(rows[0], rows[1])] }
}

/// The scales of a tile's block times a power of two.
#[inline(always)]
unsafe fn scales(matrix: &Matrix, tile: usize, block: usize, power: f32) -> [__m256; 2] {
    unsafe {
        let (scales, power) = (matrix.scale(tile, block), _mm256_set1_ps(power));
        [_mm256_mul_ps(_mm256_loadu_ps(scales), power), _mm256_mul_ps(_mm256_loadu_ps(scales.add(8)), power)]
    }
}

#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn f8_tiles<const N: usize>(matrix: &Matrix, first: usize, x: *const f32, out: *mut f32) {
    unsafe {
        let (start, bytes, cols) = (matrix.tile(first), matrix.tile_bytes(), matrix.cols());
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        let mut block = 0;
        let mut k = 0;
        while k < cols {
            let end = (k + matrix.scale_cols()).min(cols);
            let mut factors = [[_mm256_setzero_ps(); 2]; N];
            for i in 0..N {
                factors[i] = turn(scales(matrix, first + i, block, UNBIAS));
            }
            macro_rules! column {
                ($k:expr) => {
                    let x = _mm256_set1_ps(*x.add($k));
                    for i in 0..N {
                        let codes = f8_codes(start.add(i * bytes + $k * LANES));
                        for half in 0..2 {
                            let weights = _mm256_mul_ps(codes[half], factors[i][half]);
                            sums[i][half] = _mm256_fmadd_ps(weights, x, sums[i][half]);
                        }
                    }
                };
            }
            while k + 4 <= end {
                for i in 0..N {
                    let ahead = start.wrapping_add(i * bytes + k * LANES + PREFETCH_BYTES);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                }
                column!(k);
                column!(k + 1);
                column!(k + 2);
                column!(k + 3);
                k += 4;
            }
            while k < end {
                column!(k);
                k += 1;
            }
            block += 1;
        }
        for (i, sums) in sums.iter().enumerate() {
            store(matrix, first + i, turn(*sums), out);
        }
    }
}

/// out = sums + bias for the rows of a tile.
#[inline(always)]
unsafe fn store(matrix: &Matrix, tile: usize, sums: [__m256; 2], out: *mut f32) {
    unsafe {
        let out = out.add(tile * LANES);
        for (half, sum) in sums.into_iter().enumerate() {
            let sum = match matrix.bias(tile) {
                Some(bias) => _mm256_add_ps(sum, _mm256_loadu_ps(bias.as_ptr().add(half * 8))),
                None => sum,
            };
            _mm256_storeu_ps(out.add(half * 8), sum);
        }
    }
}

/// As `f8_e4m3`, of a matrix in INT4.
///
/// # Safety
/// As `f8_e4m3`.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn int4(matrix: &Matrix, tiles: Range<usize>, x: *const f32, out: *mut f32) {
    // SAFETY: the caller's contract.
    unsafe { in_pairs!(int4_tiles, matrix, tiles, x, out) }
}

/// Shuffles that bring a byte of each lane to its top, with nothing below.
static PLACES: [[u32; 8]; 4] = [on_top(0), on_top(1), on_top(2), on_top(3)];

const fn on_top(byte: u32) -> [u32; 8] {
    let mut places = [0; 8];
    let mut lane = 0;
    while lane < 8 {
        places[lane as usize] = 0x0080_8080 | (4 * (lane % 4) + byte) << 24;
        lane += 1;
    }
    places
}

/// The nibbles of a word are split once, so that each is a byte with its sign on top; a shuffle brings one to the top of its
/// lane. Columns come one after the other for both tiles, whose chains so run side by side.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
unsafe fn int4_tiles<const N: usize>(matrix: &Matrix, first: usize, x: *const f32, out: *mut f32) {
    unsafe {
        let (start, bytes, cols) = (matrix.tile(first), matrix.tile_bytes(), matrix.cols());
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        // Left in memory, as the scales below: the registers are taken.
        let places = black_box(&PLACES);
        let high_nibbles = _mm256_set1_epi8(-16);
        let mut block = 0;
        let mut k = 0;
        while k < cols {
            let end = (k + matrix.scale_cols()).min(cols);
            let mut factors = [[_mm256_setzero_ps(); 2]; N];
            for i in 0..N {
                factors[i] = scales(matrix, first + i, block, 1.0 / (1 << 28) as f32);
            }
            let factors = black_box(&factors);
            while k < end {
                let (mut lower, mut upper) = ([[_mm256_setzero_si256(); 2]; N], [[_mm256_setzero_si256(); 2]; N]);
                for i in 0..N {
                    let from = start.add(i * bytes + k * 8);
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(PREFETCH_BYTES).cast());
                    for half in 0..2 {
                        let word = _mm256_loadu_si256(from.add(half * 32).cast());
                        lower[i][half] = _mm256_and_si256(_mm256_slli_epi32::<4>(word), high_nibbles);
                        upper[i][half] = _mm256_and_si256(word, high_nibbles);
                    }
                }
                for byte in 0..4 {
                    for nibble in 0..2 {
                        let words = if nibble == 0 { &lower } else { &upper };
                        let x = _mm256_set1_ps(*x.add(k + byte * 2 + nibble));
                        for i in 0..N {
                            for half in 0..2 {
                                let places = _mm256_loadu_si256(places[byte].as_ptr().cast());
                                let code = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(words[i][half], places));
                                let weights = _mm256_mul_ps(code, factors[i][half]);
                                sums[i][half] = _mm256_fmadd_ps(weights, x, sums[i][half]);
                            }
                        }
                        // Else the compiler begins the next columns, and keeps them on the stack.
                        compiler_fence(Ordering::SeqCst);
                    }
                }
                k += 8;
            }
            block += 1;
        }
        for (i, sums) in sums.iter().enumerate() {
            store(matrix, first + i, *sums, out);
        }
    }
}
