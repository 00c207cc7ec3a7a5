//! A weight matrix in tiles, and y = W x over some of its tiles.
//!
//! Each output is one chain of fused multiply-adds over k = 0, 1, 2, …, whatever the number of tokens and of
//! threads; so a token's numbers do not depend on its company. One token reads the tiles and multiplies as it
//! goes (bound by memory); several tokens share a panel of unpacked f32 weights in the first-level cache
//! (bound by arithmetic).

use std::ops::Range;

pub use super::plane::{Rows, RowsMut};
use super::{
    simd::{Level, Simd, with_level},
    tile::{FAR_SCALE, FarF8E4m3, LANES, PREFETCH_BYTES, Sink, Unpack, each, gather_row, scatter_row, with_format},
};
use crate::{
    buffer::Buffer,
    error::{Error, Result},
    quant::Format,
};

/// k's of a panel: 256 k x 32 rows x 4 bytes stay in a 48 KB cache beside the inputs.
const PANEL_DEPTH: usize = 256;
/// Floats of a panel for the widest level.
pub const PANEL_FLOATS: usize = PANEL_DEPTH * 2 * LANES;

/// W: [rows, cols], in tiles of sixteen rows.
#[derive(Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    tiles: Buffer,
    /// Where the format has scales beside it: f32 [ceil(cols / scale_cols)][tiles * 16].
    scales: Buffer,
    scale_cols: usize,
    /// Whether a scale is `FAR_SCALE` or more.
    far: bool,
    /// f32 [tiles * 16], or empty.
    bias: Vec<f32>,
}

impl Matrix {
    /// A matrix of zeros, to be filled row by row. `cols` must be whole blocks of `format`.
    pub fn new(format: Format, rows: usize, cols: usize) -> Result<Self> {
        let row_bytes = format.bytes_of(cols).ok_or_else(|| {
            let expected = format!("rows of whole blocks of {} weights", format.block_len());
            Error::malformed(format!("{format} matrix"), expected, format!("{cols} columns"))
        })?;
        let tiles = rows.div_ceil(LANES);
        let wanted = (tiles * LANES).checked_mul(row_bytes);
        let wanted =
            wanted.ok_or(Error::OutOfMemory { wanted_bytes: u64::MAX, free_bytes: crate::buffer::free_bytes() })?;
        let (scales, bias) = (Buffer::new(0)?, vec![]);
        Ok(Matrix {
            format,
            rows,
            cols,
            tiles: Buffer::new(wanted)?,
            scales,
            scale_cols: cols.max(1),
            far: false,
            bias,
        })
    }

    pub fn format(&self) -> Format {
        self.format
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of tiles of sixteen rows.
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes that one pass over the matrix reads.
    pub fn bytes(&self) -> usize {
        self.tiles.len() + self.scales.len() + self.bias.len() * 4
    }

    /// Bytes of sixteen rows.
    pub fn tile_bytes(&self) -> usize {
        self.tiles.len() / self.tiles().max(1)
    }

    /// Bytes of a stored row.
    pub fn row_bytes(&self) -> usize {
        self.tile_bytes() / LANES
    }

    /// The tiles, to be filled by `set_row_in`.
    pub fn tiles_mut(&mut self) -> (Format, std::slice::ChunksExactMut<'_, u8>) {
        let bytes = self.tile_bytes().max(1);
        (self.format, self.tiles.bytes_mut().chunks_exact_mut(bytes))
    }

    /// Sets one row from its stored bytes.
    pub fn set_row(&mut self, row: usize, bytes: &[u8]) {
        let (format, mut tiles) = self.tiles_mut();
        if let Some(tile) = tiles.nth(row / LANES) {
            scatter_row(format, bytes, row % LANES, tile);
        }
    }

    /// One row as it was stored.
    pub fn stored_row(&self, row: usize, bytes: &mut [u8]) {
        let size = self.tile_bytes().max(1);
        if let Some(tile) = self.tiles.bytes().chunks_exact(size).nth(row / LANES) {
            gather_row(self.format, tile, row % LANES, bytes);
        }
    }

    /// Columns that share a scale.
    pub fn scale_cols(&self) -> usize {
        self.scale_cols
    }

    /// The scale of a row's block; 1 where the format has none beside it.
    pub fn stored_scale(&self, row: usize, block: usize) -> f32 {
        self.scales.as_floats().get(block * self.tiles() * LANES + row).copied().unwrap_or(1.0)
    }

    /// Sets the scales of a format that has them beside it: `scale(row, block)` for each row and each block of `scale_cols` columns.
    pub fn set_scales(&mut self, scale_cols: usize, scale: impl Fn(usize, usize) -> f32) -> Result<()> {
        let (stride, blocks) = (self.tiles() * LANES, self.cols.div_ceil(scale_cols.max(1)));
        self.scale_cols = scale_cols.max(1);
        self.scales = Buffer::floats(stride * blocks)?;
        let values = self.scales.as_floats_mut();
        for block in 0..blocks {
            for row in 0..self.rows {
                values[block * stride + row] = scale(row, block);
            }
        }
        self.far = values.iter().any(|scale| scale.abs() >= FAR_SCALE);
        Ok(())
    }

    /// Sets the bias, f32 [rows].
    pub fn set_bias(&mut self, bias: &[f32]) {
        self.bias = vec![0.0; self.tiles() * LANES];
        let count = bias.len().min(self.rows);
        self.bias[..count].copy_from_slice(&bias[..count]);
    }

    /// One row as f32: an embedding. `out` is [cols].
    pub fn row(&self, level: Level, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() >= self.cols);
        let mut depth = 0;
        let mut panel = [0.0_f32; PANEL_DEPTH * LANES];
        while depth < self.cols {
            let end = (depth + PANEL_DEPTH).min(self.cols);
            // SAFETY: the tile exists (row < rows), depth .. end are whole blocks within cols (PANEL_DEPTH is a
            // multiple of every block length), and the panel holds PANEL_DEPTH * LANES floats.
            unsafe { unpack_panel(level, self, row / LANES, depth..end, panel.as_mut_ptr(), LANES) }
            for (k, out) in out[depth..end].iter_mut().enumerate() {
                *out = panel[k * LANES + row % LANES];
            }
            depth = end;
        }
    }

    /// y = W x + bias for the rows of `tiles`, for `input.count` tokens.
    ///
    /// # Safety
    /// `input` points to `count` rows of at least `cols` floats, `output` to `count` rows of at least
    /// `tiles() * 16` floats; nobody else touches the output columns of `tiles`; `tiles` is within `tiles()`;
    /// the level is one of `Level::available`.
    pub unsafe fn multiply(&self, level: Level, tiles: Range<usize>, input: Rows, output: RowsMut, panel: &mut [f32]) {
        debug_assert!(tiles.end <= self.tiles() && panel.len() >= PANEL_FLOATS);
        // SAFETY: the caller's contract, which the callee repeats.
        unsafe {
            if input.count == 1 {
                dot(level, self, tiles, input, output);
            } else {
                product(level, self, tiles, input, output, panel.as_mut_ptr());
            }
        }
    }

    #[inline(always)]
    pub(super) fn tile(&self, tile: usize) -> *const u8 {
        // Wrapping: the caller stays within the tiles, and this needs no proof of it.
        self.tiles.bytes().as_ptr().wrapping_add(tile * self.tile_bytes())
    }

    #[inline(always)]
    pub(super) fn scale(&self, tile: usize, block: usize) -> *const f32 {
        let at = block * self.tiles() * LANES + tile * LANES;
        self.scales.as_floats().as_ptr().wrapping_add(at)
    }

    /// The bias of a tile's rows, sixteen floats.
    #[inline(always)]
    pub(super) fn bias(&self, tile: usize) -> Option<&[f32]> {
        self.bias.get(tile * LANES..(tile + 1) * LANES)
    }

    /// The bias of a tile, as the start of its accumulators would make the sum differ from `x W^T + b`.
    #[inline(always)]
    unsafe fn biased<S: Simd>(&self, tile: usize, sum: S::F) -> S::F {
        let Some(bias) = self.bias(tile) else { return sum };
        // SAFETY: they are sixteen floats.
        unsafe { S::add(sum, S::load(bias.as_ptr())) }
    }
}

/// Feeds each sink the weights of its tile, `first` and those after it, for k in `depth` (whole blocks). Block by block the
/// tiles take turns, so that their chains of sums run side by side.
#[inline(always)]
unsafe fn walk<S: Simd, U: Unpack, K: Sink<S>, const N: usize>(
    matrix: &Matrix,
    first: usize,
    depth: Range<usize>,
    sinks: &mut [K; N],
) {
    // SAFETY: depth is within cols, so each block is within its tile and each scale within the scales.
    unsafe {
        let (len, bytes) = (U::FORMAT.block_len(), U::FORMAT.block_bytes() * LANES);
        let tiles = each!(i => matrix.tile(first + i));
        let mut k = depth.start;
        // Of block k in its tile.
        let mut offset = k / len * bytes;
        while k < depth.end {
            let (mut end, mut scales) = (depth.end, [S::splat(1.0); N]);
            if const { U::FORMAT.has_scales() } {
                let block = k / matrix.scale_cols;
                end = ((block + 1) * matrix.scale_cols).min(depth.end);
                scales = each!(i => S::load(matrix.scale(first + i, block)));
            }
            let several = const { at_once(U::FORMAT) };
            while k + several * len <= end {
                if const { U::FORMAT.block_len() < 256 } {
                    for tile in &tiles {
                        for line in 0..const { (U::FORMAT.block_bytes() * LANES * at_once(U::FORMAT)).div_ceil(64) } {
                            S::prefetch(tile.wrapping_add(offset + PREFETCH_BYTES + line * 64));
                        }
                    }
                }
                for _ in 0..several {
                    for sink in &mut *sinks {
                        sink.begin(k);
                    }
                    U::unpack::<S, K, N>(&each!(i => tiles[i].wrapping_add(offset)), &scales, sinks);
                    (k, offset) = (k + len, offset + bytes);
                }
            }
            while const { at_once(U::FORMAT) > 1 } && k < end {
                for sink in &mut *sinks {
                    sink.begin(k);
                }
                U::unpack::<S, K, N>(&each!(i => tiles[i].wrapping_add(offset)), &scales, sinks);
                (k, offset) = (k + len, offset + bytes);
            }
        }
    }
}

/// Blocks of less than a cache line go several at a time, for one turn of the loop and one prefetch.
const fn at_once(format: Format) -> usize {
    if format.block_bytes() < 4 { 4 / format.block_bytes() } else { 1 }
}

/// Whether there is another `Unpack` for large scales.
const fn is_near<U: Unpack>() -> bool {
    matches!(U::FORMAT, Format::F8E4m3) && !U::FAR
}

/// Multiplies weights with one token as they come.
#[derive(Clone, Copy)]
struct Dot<S: Simd> {
    sum: S::F,
    x: *const f32,
    /// Start of the current block in x.
    at: *const f32,
}

impl<S: Simd> Sink<S> for Dot<S> {
    #[inline(always)]
    fn begin(&mut self, k: usize) {
        self.at = self.x.wrapping_add(k);
    }

    #[inline(always)]
    unsafe fn put(&mut self, k: usize, weights: S::F) {
        // SAFETY: k is within the block, the block within x.
        unsafe { self.sum = S::fma(weights, S::splat(*self.at.add(k)), self.sum) }
    }

    /// The zeros beside what is kept would add nothing, so the sum is the same to the bit, as long as x is finite.
    const PICKS: bool = true;

    #[inline(always)]
    unsafe fn put_kept(&mut self, k: usize, places: S::I, weights: S::F) {
        // SAFETY: the four is within the block, the block within x.
        unsafe { self.sum = S::fma(weights, S::pick(S::load_four(self.at.add(k)), places), self.sum) }
    }
}

/// Tiles whose chains run side by side, so that one's latency hides behind the others: fewer where a block is long, or
/// the code would outgrow the instruction cache, and where registers are few; one where a tile is several chains as it is.
const fn side_by_side<S: Simd>(format: Format) -> usize {
    match (S::WIDE, format.block_len()) {
        (false, _) => 1,
        (true, 256) => 2,
        (true, 8) if S::TILES == 1 => 2,
        (true, 32) if S::TILES == 1 && !matches!(format, Format::Q8_0) => 2,
        (true, _) => 4,
    }
}

unsafe fn dot(level: Level, matrix: &Matrix, tiles: Range<usize>, input: Rows, output: RowsMut) {
    #[inline(always)]
    unsafe fn group<S: Simd, U: Unpack, const N: usize>(matrix: &Matrix, first: usize, x: *const f32, out: *mut f32) {
        // SAFETY: as `Matrix::multiply`.
        unsafe {
            let mut sinks = [Dot::<S> { sum: S::splat(0.0), x, at: x }; N];
            walk::<S, U, _, N>(matrix, first, 0..matrix.cols, &mut sinks);
            for (i, sink) in sinks.iter().enumerate() {
                S::store(out.add((first + i) * LANES), matrix.biased::<S>(first + i, sink.sum));
            }
        }
    }
    #[inline(always)]
    unsafe fn all<S: Simd, U: Unpack>(matrix: &Matrix, tiles: Range<usize>, x: *const f32, out: *mut f32) {
        if const { is_near::<U>() } && matrix.far {
            // SAFETY: as `Matrix::multiply`.
            return unsafe { all::<S, FarF8E4m3>(matrix, tiles, x, out) };
        }
        // SAFETY: as `Matrix::multiply`.
        unsafe {
            let mut tile = tiles.start;
            let step = const { side_by_side::<S>(U::FORMAT) };
            while step > 1 && tile + step <= tiles.end {
                // Decided while compiling: what is not used is not generated.
                if const { side_by_side::<S>(U::FORMAT) == 4 } {
                    group::<S, U, 4>(matrix, tile, x, out);
                } else if const { side_by_side::<S>(U::FORMAT) == 2 } {
                    group::<S, U, 2>(matrix, tile, x, out);
                }
                tile += step;
            }
            for tile in tile..tiles.end {
                group::<S, U, 1>(matrix, tile, x, out);
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if level == Level::Avx2 {
            match matrix.format {
                Format::F8E4m3 if !matrix.far => return super::dot_avx2::f8_e4m3(matrix, tiles, input.at, output.at),
                Format::Int4 => return super::dot_avx2::int4(matrix, tiles, input.at, output.at),
                _ => {}
            }
        }
        // SAFETY: as above.
        with_format!(matrix.format, U => {
            #[inline(always)]
            unsafe fn run<S: Simd>(m: &Matrix, tiles: Range<usize>, x: *const f32, out: *mut f32) {
                unsafe { all::<S, U>(m, tiles, x, out) }
            }
            with_level!(level, run(matrix: &Matrix, tiles: Range<usize>, x: *const f32, out: *mut f32), (matrix, tiles, input.at, output.at))
        })
    }
}

/// Writes weights to a panel, f32 [k][stride].
struct Panel {
    at: *mut f32,
    start: *mut f32,
    first: usize,
    stride: usize,
}

impl<S: Simd> Sink<S> for Panel {
    #[inline(always)]
    fn begin(&mut self, k: usize) {
        self.at = self.start.wrapping_add((k - self.first) * self.stride);
    }

    #[inline(always)]
    unsafe fn put(&mut self, k: usize, weights: S::F) {
        // SAFETY: the panel has room for every k of the depth it was made for.
        unsafe { S::store(self.at.add(k * self.stride), weights) }
    }
}

#[inline(always)]
unsafe fn fill<S: Simd, U: Unpack>(m: &Matrix, tile: usize, depth: Range<usize>, panel: *mut f32, stride: usize) {
    if const { is_near::<U>() } && m.far {
        // SAFETY: as `unpack_panel`.
        return unsafe { fill::<S, FarF8E4m3>(m, tile, depth, panel, stride) };
    }
    let mut sink = [Panel { at: panel, start: panel, first: depth.start, stride }];
    // SAFETY: as `unpack_panel`.
    unsafe {
        walk::<S, U, _, 1>(m, tile, depth, &mut sink);
    }
}

/// panel[k][0 .. 16] = weights of the tile's rows, for k in `depth` (whole blocks within cols).
///
/// # Safety
/// The tile exists; `panel` has room for depth x stride floats.
unsafe fn unpack_panel(
    level: Level,
    matrix: &Matrix,
    tile: usize,
    depth: Range<usize>,
    panel: *mut f32,
    stride: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        with_format!(matrix.format, U => {
            #[inline(always)]
            unsafe fn run<S: Simd>(m: &Matrix, tile: usize, depth: Range<usize>, panel: *mut f32, stride: usize) {
                unsafe { fill::<S, U>(m, tile, depth, panel, stride) }
            }
            with_level!(level, run(matrix: &Matrix, tile: usize, depth: Range<usize>, panel: *mut f32, stride: usize), (matrix, tile, depth, panel, stride))
        })
    }
}

unsafe fn product(level: Level, matrix: &Matrix, tiles: Range<usize>, input: Rows, output: RowsMut, panel: *mut f32) {
    #[inline(always)]
    unsafe fn run<S: Simd>(
        level: Level,
        matrix: &Matrix,
        tiles: Range<usize>,
        input: Rows,
        output: RowsMut,
        panel: *mut f32,
    ) {
        // SAFETY: as `Matrix::multiply`; depths are multiples of PANEL_DEPTH, which is whole blocks.
        unsafe {
            let mut tile = tiles.start;
            while tile < tiles.end {
                let wide = S::TILES.min(tiles.end - tile);
                let out = output.at.add(tile * LANES);
                let mut k = 0;
                while k < matrix.cols {
                    let end = (k + PANEL_DEPTH).min(matrix.cols);
                    for i in 0..wide {
                        unpack_panel(level, matrix, tile + i, k..end, panel.add(i * LANES), wide * LANES);
                    }
                    let x = Rows { at: input.at.add(k), ..input };
                    let out = RowsMut { at: out, ..output };
                    accumulate::<S>(panel, wide, wide * LANES, end - k, x, out, k > 0);
                    k = end;
                }
                if !matrix.bias.is_empty() {
                    for t in 0..input.count {
                        for i in 0..wide {
                            let out = out.add(t * output.stride + i * LANES);
                            S::store(out, matrix.biased::<S>(tile + i, S::load(out)));
                        }
                    }
                }
                tile += wide;
            }
        }
    }
    // SAFETY: the caller's contract.
    unsafe {
        with_level!(level, run(level: Level, matrix: &Matrix, tiles: Range<usize>, input: Rows, output: RowsMut, panel: *mut f32), (level, matrix, tiles, input, output, panel))
    }
}

/// out[t][0 .. wide * 16] (+)= sum over k of panel[k] * x[t][k], for each row t of `x`.
///
/// # Safety
/// `panel` is f32 [depth][stride], stride at least `wide * 16`; x has `depth` floats a row, `out` `wide * 16`.
#[inline(always)]
pub unsafe fn accumulate<S: Simd>(
    panel: *const f32,
    wide: usize,
    stride: usize,
    depth: usize,
    x: Rows,
    out: RowsMut,
    add: bool,
) {
    // SAFETY: the caller's contract; each block stays within the rows that are left.
    unsafe {
        let mut t = 0;
        while t < x.count {
            let left = (x.count - t).min(S::ROWS);
            let rows = Rows { at: x.at.add(t * x.stride), stride: x.stride, count: left };
            let to = RowsMut { at: out.at.add(t * out.stride), stride: out.stride };
            let mut column = 0;
            while column < wide {
                let tiles = (wide - column).min(S::TILES);
                let panel = panel.add(column * LANES);
                let to = RowsMut { at: to.at.add(column * LANES), ..to };
                if tiles == 2 {
                    rows_of::<S, 2>(panel, stride, depth, rows, to, add);
                } else {
                    rows_of::<S, 1>(panel, stride, depth, rows, to, add);
                }
                column += tiles;
            }
            t += left;
        }
    }
}

/// Chooses the register block for the number of rows that are left.
#[inline(always)]
unsafe fn rows_of<S: Simd, const N: usize>(
    panel: *const f32,
    stride: usize,
    depth: usize,
    x: Rows,
    out: RowsMut,
    add: bool,
) {
    // SAFETY: the caller's contract; no block has more rows than x.count.
    unsafe {
        match x.count {
            12.. => block::<S, 12, N>(panel, stride, depth, x, out, add),
            count => {
                let mut done = 0;
                while done < count {
                    let x = Rows { at: x.at.add(done * x.stride), ..x };
                    let out = RowsMut { at: out.at.add(done * out.stride), ..out };
                    done += match count - done {
                        6.. => {
                            block::<S, 6, N>(panel, stride, depth, x, out, add);
                            6
                        }
                        4.. => {
                            block::<S, 4, N>(panel, stride, depth, x, out, add);
                            4
                        }
                        2.. => {
                            block::<S, 2, N>(panel, stride, depth, x, out, add);
                            2
                        }
                        _ => {
                            block::<S, 1, N>(panel, stride, depth, x, out, add);
                            1
                        }
                    };
                }
            }
        }
    }
}

/// The register block: M rows times N tiles, every accumulator in a register.
#[inline(always)]
unsafe fn block<S: Simd, const M: usize, const N: usize>(
    panel: *const f32,
    stride: usize,
    depth: usize,
    x: Rows,
    out: RowsMut,
    add: bool,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        if add {
            for (m, sums) in sums.iter_mut().enumerate() {
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(out.at.add(m * out.stride + n * LANES));
                }
            }
        }
        for k in 0..depth {
            let mut weights = [S::splat(0.0); N];
            for (n, weight) in weights.iter_mut().enumerate() {
                *weight = S::load(panel.add(k * stride + n * LANES));
            }
            for (m, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*x.at.add(m * x.stride + k));
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum = S::fma(weight, x, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                S::store(out.at.add(m * out.stride + n * LANES), *sum);
            }
        }
    }
}
