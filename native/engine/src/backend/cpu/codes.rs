//! Products in whole numbers: inputs of eight bits times weights of INT8, INT8 2:4 or INT4 2:4.
//!
//! ```text
//! y = (sum over k of code(w_k) code(x_k)) scale(w) scale(x)        both scales are a row's
//! ```
//! The sum is exact, for it stays below 2^31 up to `MOST_INPUTS` inputs. So it has no order: one row goes another way than
//! several, and the bits are the same, on every level and on a GPU. Rounded are the sum, when it becomes f32, and two products:
//! |error| <= 3 2^-24 |y| (1 + 2^-23). The surprise: where the first product would be too large for f32, the other scale is first.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::codes_avx2;
use super::{
    matrix::{Matrix, PANEL_FLOATS},
    plane::RowsMut,
    simd::{Level, Simd, with_level},
    tile::LANES,
};
use crate::quant::{Format, int8, largest};

/// What sums of 32 bits hold: 16 7 127 K and 127^2 K are below 2^31.
pub const MOST_INPUTS: usize = 131_072;
/// Rows that are multiplied one by one: to unpack the weights for all of them takes longer.
const FEW: usize = 4;
/// Columns of a panel: 16 KB of the first-level cache for sixteen rows.
const PANEL_DEPTH: usize = 512;
/// A panel is [depth / 2][tiles of the widest level] words.
const _: () = assert!(PANEL_DEPTH / 2 * 2 * LANES <= PANEL_FLOATS);

/// Rows of inputs in eight bits.
pub struct Codes {
    level: Level,
    /// [count][stride], sixteen zeros and more behind the inputs; for rows that go alone.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    codes: Vec<i8>,
    stride: usize,
    /// Two columns a word, where rows share panels: [count][stride / 2].
    pairs: Vec<u32>,
    scales: Vec<f32>,
}

impl Codes {
    /// Rounds rows of `inputs` floats, each with a scale of its own, for products by one of `Level::available`.
    pub fn round(level: Level, rows: &[f32], inputs: usize) -> Codes {
        let (count, stride) = (rows.len() / inputs.max(1), inputs.next_multiple_of(LANES) + LANES);
        let mut codes = vec![0; count * stride];
        let mut scales = Vec::with_capacity(count);
        for (row, codes) in rows.chunks_exact(inputs.max(1)).zip(codes.chunks_exact_mut(stride)) {
            let scale = int8::scale(largest(row), int8::MAX);
            codes.iter_mut().zip(row).for_each(|(code, x)| *code = int8::code(*x, scale, int8::MAX));
            scales.push(scale);
        }
        let pair = |pair: &[i8; 2]| word(pair[0].into(), pair[1].into());
        // On the plain level, too, a row goes that way alone.
        let shared = count > FEW || level == Level::Plain;
        let pairs = if shared { codes.as_chunks().0.iter().map(pair).collect() } else { vec![] };
        Codes { level, codes, stride, pairs, scales }
    }

    fn count(&self) -> usize {
        self.scales.len()
    }
}

fn word(low: i16, high: i16) -> u32 {
    u32::from(low as u16) | u32::from(high as u16) << 16
}

/// Whether a matrix has codes that are multiplied here: a scale a row, and not too many columns.
pub fn serves(matrix: &Matrix) -> bool {
    let format = matches!(matrix.format(), Format::Int8 | Format::Int8Sparse24 | Format::Int4Sparse24);
    format && matrix.scale_cols() >= matrix.cols() && matrix.cols() <= MOST_INPUTS
}

/// output[t] = W x[t] for the rows of `tiles`, without the matrix's bias.
///
/// # Safety
/// `serves(matrix)`; the matrix has no code of -128; `x` has rows of `matrix.cols()` codes, `output` as many of at least
/// `matrix.tiles() * 16` floats, whose columns of `tiles` nobody else touches; the level that `x` was made for is available.
pub unsafe fn multiply(matrix: &Matrix, tiles: Range<usize>, x: &Codes, output: RowsMut, panel: &mut [f32]) {
    debug_assert!(serves(matrix) && tiles.end <= matrix.tiles() && panel.len() >= PANEL_FLOATS);
    // SAFETY: the caller's contract; where there are no pairs the level is another than the plain one, so AVX2 is there.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if x.pairs.is_empty() {
            return few(matrix, tiles, x, output);
        }
        let panel = panel.as_mut_ptr().cast::<u32>();
        with_level!(x.level, many(matrix: &Matrix, tiles: Range<usize>, x: &Codes, output: RowsMut, panel: *mut u32), (matrix, tiles, x, output, panel))
    }
}

/// A sum as what it means.
#[inline(always)]
fn scaled(sum: i32, weights: f32, inputs: f32) -> f32 {
    let value = sum as f32 * weights * inputs;
    if value.is_finite() { value } else { sum as f32 * inputs * weights }
}

/// What a matrix's scales are multiplied by, for INT4's sums are sixteen times as large.
fn factor(matrix: &Matrix) -> f32 {
    if matrix.format() == Format::Int4Sparse24 { 1.0 / 16.0 } else { 1.0 }
}

/// One row of inputs after the other, each through all tiles.
///
/// # Safety
/// As `multiply`; AVX2 is there.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn few(matrix: &Matrix, tiles: Range<usize>, x: &Codes, output: RowsMut) {
    /// # Safety
    /// As `multiply`, for N tiles from `first` on.
    #[inline(always)]
    unsafe fn group<const N: usize>(matrix: &Matrix, first: usize, x: &Codes, output: RowsMut) {
        let mut sums = [[0; LANES]; N];
        for (t, codes) in x.codes.chunks_exact(x.stride).enumerate() {
            // SAFETY: the tiles exist, and a row of codes ends in sixteen zeros.
            unsafe { codes_avx2::dot(matrix.format(), matrix.tile(first), matrix.cols(), codes.as_ptr(), &mut sums) };
            for (i, sums) in sums.iter().enumerate() {
                for (lane, sum) in sums.iter().enumerate() {
                    // SAFETY: a tile has sixteen scales, and sixteen outputs in each row.
                    unsafe {
                        let scale = *matrix.scale(first + i, 0).add(lane) * factor(matrix);
                        let to = output.at.add(t * output.stride + (first + i) * LANES + lane);
                        to.write(scaled(*sum, scale, x.scales[t]));
                    }
                }
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        let mut tile = tiles.start;
        while tile + 4 <= tiles.end {
            group::<4>(matrix, tile, x, output);
            tile += 4;
        }
        for tile in tile..tiles.end {
            group::<1>(matrix, tile, x, output);
        }
    }
}

/// Panels of weights as i16 in pairs of columns, which serve all rows.
///
/// # Safety
/// As `multiply`; `panel` has room for `PANEL_FLOATS` words.
#[inline(always)]
unsafe fn many<S: Simd>(matrix: &Matrix, tiles: Range<usize>, x: &Codes, output: RowsMut, panel: *mut u32) {
    // SAFETY: the caller's contract; a panel has at most PANEL_DEPTH / 2 rows of `wide` tiles. Sums of the columns so far are
    // kept in the output, as whole numbers.
    unsafe {
        let cols = matrix.cols();
        let mut tile = tiles.start;
        while tile < tiles.end {
            let wide = S::TILES.min(tiles.end - tile);
            let out = RowsMut { at: output.at.add(tile * LANES), ..output };
            let mut k = 0;
            while k < cols {
                let end = (k + PANEL_DEPTH).min(cols);
                for i in 0..wide {
                    fill::<S>(matrix, tile + i, k..end, panel.add(i * LANES), wide * LANES);
                }
                let rows =
                    Pairs { at: x.pairs.as_ptr().add(k / 2), stride: x.stride / 2, depth: (end - k).div_ceil(2) };
                if wide == 2 {
                    rows_of::<S, 2>(panel, rows, x.count(), out, k > 0);
                } else {
                    rows_of::<S, 1>(panel, rows, x.count(), out, k > 0);
                }
                k = end;
            }
            for t in 0..x.count() {
                for i in 0..wide {
                    for lane in 0..LANES {
                        let to = out.at.add(t * out.stride + i * LANES + lane);
                        let scale = *matrix.scale(tile + i, 0).add(lane) * factor(matrix);
                        to.write(scaled(to.cast::<i32>().read(), scale, x.scales[t]));
                    }
                }
            }
            tile += wide;
        }
    }
}

/// # Safety
/// As `Simd`.
#[inline(always)]
unsafe fn low_half<S: Simd>(x: S::I) -> S::I {
    // SAFETY: the caller's contract.
    unsafe { S::and(x, S::splat_i(0xffff)) }
}

/// panel[k / 2][0 .. 16] = the codes of columns k and k + 1, i16 each, for k in `depth`; INT4's times sixteen.
///
/// # Safety
/// As `Simd`; the tile exists, `depth` is whole blocks within the columns and begins with an even one; `panel` has room for
/// half as many rows of `stride` words.
#[inline(always)]
unsafe fn fill<S: Simd>(matrix: &Matrix, tile: usize, depth: Range<usize>, panel: *mut u32, stride: usize) {
    /// The next row of the panel. No function: it would not have the level's instructions.
    macro_rules! put {
        ($to:ident, $pair:expr) => {
            S::store($to.cast(), S::from_bits($pair));
            $to = $to.wrapping_add(stride);
        };
    }
    // SAFETY: offsets stay within the blocks of `depth`, and a pair of columns is one row of the panel.
    unsafe {
        let format = matrix.format();
        let block = format.block_bytes() * LANES;
        let (mut from, mut to) = (matrix.tile(tile).add(depth.start / format.block_len() * block), panel);
        if format == Format::Int8 {
            for _ in 0..depth.len() / 2 {
                let second = S::shl(S::load_i8(from.add(LANES)), 16);
                put!(to, S::or(low_half::<S>(S::load_i8(from)), second));
                from = from.add(2 * LANES);
            }
            if depth.len() % 2 == 1 {
                S::store(to.cast(), S::from_bits(low_half::<S>(S::load_i8(from))));
            }
            return;
        }
        for _ in 0..depth.len() / format.block_len() {
            let all = S::load_u8(from.add(block - LANES));
            for four in 0..2 {
                let (lower, upper) = if format == Format::Int8Sparse24 {
                    let codes = from.add(2 * four * LANES);
                    (S::load_i8(codes), S::load_i8(codes.add(LANES)))
                } else {
                    let codes = S::load_i8(from.add(four * LANES));
                    // The lower code times sixteen, as a signed byte: 2^8 less where its sign is set.
                    let sign = S::shl(S::and(codes, S::splat_i(8)), 5);
                    let lower = S::sub_i(S::shl(S::and(codes, S::splat_i(15)), 4), sign);
                    (lower, S::and(codes, S::splat_i(!15)))
                };
                let (lower, upper) = (low_half::<S>(lower), low_half::<S>(upper));
                // Sixteen bits for each place; of a pair that a place is not in, everything is shifted out.
                let places = S::shr(all, 4 * four as u32);
                let first = S::shl(S::and(places, S::splat_i(3)), 4);
                let second = S::shl(S::and(places, S::splat_i(12)), 2);
                put!(to, S::or(S::shl_each(lower, first), S::shl_each(upper, second)));
                let (first, second) = (S::sub_i(first, S::splat_i(32)), S::sub_i(second, S::splat_i(32)));
                put!(to, S::or(S::shl_each(lower, first), S::shl_each(upper, second)));
            }
            from = from.add(block);
        }
    }
}

/// Rows of inputs, `depth` pairs of each.
#[derive(Clone, Copy)]
struct Pairs {
    at: *const u32,
    stride: usize,
    depth: usize,
}

/// out[t][0 .. N * 16] (+)= sum over pairs of panel times x[t], as whole numbers.
///
/// # Safety
/// As `Simd`; `panel` is [depth][N * 16] words; x has `count` rows, `out` as many.
#[inline(always)]
unsafe fn rows_of<S: Simd, const N: usize>(panel: *const u32, x: Pairs, count: usize, out: RowsMut, add: bool) {
    // SAFETY: the caller's contract; no block has more rows than are left.
    unsafe {
        let mut t = 0;
        while t < count {
            let x = Pairs { at: x.at.add(t * x.stride), ..x };
            let out = RowsMut { at: out.at.add(t * out.stride), ..out };
            t += match count - t {
                12.. if S::ROWS == 12 => {
                    block::<S, 12, N>(panel, x, out, add);
                    12
                }
                6.. if S::ROWS >= 6 => {
                    block::<S, 6, N>(panel, x, out, add);
                    6
                }
                4.. => {
                    block::<S, 4, N>(panel, x, out, add);
                    4
                }
                2.. => {
                    block::<S, 2, N>(panel, x, out, add);
                    2
                }
                _ => {
                    block::<S, 1, N>(panel, x, out, add);
                    1
                }
            };
        }
    }
}

/// The register block: M rows times N tiles, every sum in a register.
///
/// # Safety
/// As `rows_of`, for M rows.
#[inline(always)]
unsafe fn block<S: Simd, const M: usize, const N: usize>(panel: *const u32, x: Pairs, out: RowsMut, add: bool) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[S::splat_i(0); N]; M];
        if add {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load_u32(out.at.add(m * out.stride + n * LANES).cast());
                }
            }
        }
        for pair in 0..x.depth {
            let mut weights = [S::splat_i(0); N];
            for (n, weight) in weights.iter_mut().enumerate() {
                *weight = S::load_u32(panel.add((pair * N + n) * LANES).cast());
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let x = S::splat_i(*x.at.add(m * x.stride + pair) as i32);
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = S::dot_pairs(weight, x, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                S::store(out.at.add(m * out.stride + n * LANES), S::from_bits(*sum));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{buffer::Buffer, quant::Packing};

    /// Rows of weights or of inputs: of zeros, one outlier, the largest of both signs, small steps, and no pattern.
    fn rows(count: usize, cols: usize) -> Vec<f32> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut row = |kind: usize, k: usize| match kind % 6 {
            0 => 0.0,
            1 if k == cols / 2 => -3e4,
            2 => 127.0,
            3 => [-5.5, 5.5][k % 2],
            4 => (k % 255) as f32 - 127.0,
            _ => next(),
        };
        (0..count).flat_map(|i| (0..cols).map(|k| row(i + 5, k)).collect::<Vec<_>>()).collect()
    }

    struct Case {
        matrix: Matrix,
        /// [rows][cols]
        codes: Vec<i64>,
    }

    fn case(format: Format, rows: &[f32], cols: usize) -> Case {
        let count = rows.len() / cols;
        let mut matrix = Matrix::new(format, count, cols).unwrap();
        let (mut scales, mut codes) = (vec![], vec![]);
        for (i, row) in rows.chunks_exact(cols).enumerate() {
            let (mut bytes, mut found) = (vec![0; format.bytes_of(cols).unwrap()], vec![0.0; cols]);
            scales.extend(Packing { format, scale_cols: cols }.pack(row, &mut bytes).unwrap());
            format.dequantize(&bytes, &mut found).unwrap();
            codes.extend(found.iter().map(|code| *code as i64));
            matrix.set_row(i, &bytes);
        }
        matrix.set_scales(cols, |row, _| scales[row]).unwrap();
        Case { matrix, codes }
    }

    fn check(case: &Case, input: &[f32]) {
        let (rows, cols) = (case.matrix.rows(), case.matrix.cols());
        let (count, stride) = (input.len() / cols, case.matrix.tiles() * LANES);
        assert!(serves(&case.matrix));
        for level in Level::available() {
            let x = Codes::round(level, input, cols);
            let mut out = Buffer::floats(count * stride).unwrap();
            let output = RowsMut { at: out.as_floats_mut().as_mut_ptr(), stride };
            // SAFETY: x has `count` rows, `out` as many of whole tiles; what is packed has no -128; the level is available.
            unsafe { multiply(&case.matrix, 0..case.matrix.tiles(), &x, output, &mut vec![0.0; PANEL_FLOATS]) }
            for t in 0..count {
                let row = &input[t * cols..(t + 1) * cols];
                let scale = int8::scale(row.iter().fold(0.0, |largest: f32, x| largest.max(x.abs())), 127.0);
                let inputs: Vec<i64> = row.iter().map(|x| (x / scale).round_ties_even() as i64).collect();
                for o in 0..rows {
                    let sum: i64 = case.codes[o * cols..(o + 1) * cols].iter().zip(&inputs).map(|(w, x)| w * x).sum();
                    let expected = sum as f32 * case.matrix.stored_scale(o, 0) * scale;
                    let (found, format) = (out.as_floats()[t * stride + o], case.matrix.format());
                    let same = found.to_bits() == expected.to_bits();
                    assert!(same, "{format}, {}, {cols} columns, {t}, {o}: {found} for {expected}", level.name());
                }
            }
        }
    }

    const FORMATS: [Format; 3] = [Format::Int8, Format::Int8Sparse24, Format::Int4Sparse24];

    #[test]
    fn sums_are_those_of_whole_numbers_whatever_the_company() {
        for format in FORMATS {
            for (count, cols) in [(1, 8), (17, 16), (70, 24), (33, 40), (80, 576), (96, 1048)] {
                let case = case(format, &rows(count, cols), cols);
                for batch in 1..=9 {
                    check(&case, &rows(batch, cols));
                }
                check(&case, &rows(29, cols));
            }
        }
        for cols in [1, 2, 3, 5, 7, 9, 31, 515, 1027] {
            let case = case(Format::Int8, &rows(37, cols), cols);
            (1..=7).for_each(|batch| check(&case, &rows(batch, cols)));
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        for format in FORMATS {
            let case = case(format, &vec![-1.0; 18 * MOST_INPUTS], MOST_INPUTS);
            check(&case, &vec![2.0; MOST_INPUTS]);
            check(&case, &vec![-2.0; 5 * MOST_INPUTS]);
        }
    }

    #[test]
    fn no_product_is_too_large_on_its_way() {
        let case = case(Format::Int8, &[3e38; 64], 64);
        assert!(127.0 * 127.0 * 64.0 * case.matrix.stored_scale(0, 0) == f32::INFINITY);
        for level in Level::available() {
            for count in [1, 5] {
                let x = Codes::round(level, &vec![1e-4; 64 * count], 64);
                let mut out = vec![0.0; LANES * count];
                let output = RowsMut { at: out.as_mut_ptr(), stride: LANES };
                // SAFETY: as above.
                unsafe { multiply(&case.matrix, 0..1, &x, output, &mut vec![0.0; PANEL_FLOATS]) }
                let exact = 3e38 * 1e-4 * 64.0;
                let row = |t: usize| (f64::from(out[t * LANES]) / exact - 1.0).abs() < 2.0_f64.powi(-21);
                assert!((0..count).all(row), "{out:?} for {exact:e}");
            }
        }
    }
}
