//! Products of matrices with AVX2: blocks of six rows by two registers, whose sums stay in registers.
//!
//! Both operands are packed into panels as the kernel reads them: six rows of A, or two registers' columns of B, for each k
//! in order, edges filled up with zeros. A block of A stays in the second-level cache, a panel of B in the first. A thread
//! has a rectangle of the result for itself, packs what that needs and waits for nobody.
//!
//! The surprise: k is cut into pieces of `DEPTH`, whose sums are added up; so a result is one chain of fused
//! multiply-adds for each piece, whatever the number of threads.

use rayon::prelude::*;

use super::cpu::simd::Level;

/// Rows of a register block.
const ROWS: usize = 6;
/// Rows of a block of A and columns of a block of B: multiples of both register blocks.
const BLOCK_ROWS: usize = 192;
const BLOCK_COLUMNS: usize = 2048;

/// What a type brings along: its kernel and the sizes that suit it.
pub trait Micro: Copy + Send + Sync {
    /// Columns of a register block: two registers.
    const COLUMNS: usize;
    /// k's of a panel.
    const DEPTH: usize;
    const NOTHING: Self;

    /// c[i][j] (+)= the sum over k of a[k][i] * b[k][j], for `ROWS` rows of c, `stride` apart, and `COLUMNS` columns.
    ///
    /// # Safety
    /// The processor has AVX2 and FMA; the panels have `depth` k's, c all those rows.
    unsafe fn block(depth: usize, a: *const Self, b: *const Self, c: *mut Self, stride: usize, add: bool);
}

#[cfg(target_arch = "x86_64")]
macro_rules! micro {
    ($type:ty, $columns:literal, $depth:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident) => {
        impl Micro for $type {
            const COLUMNS: usize = $columns;
            const DEPTH: usize = $depth;
            const NOTHING: $type = 0.0;

            unsafe fn block(depth: usize, a: *const $type, b: *const $type, c: *mut $type, stride: usize, add: bool) {
                use std::arch::x86_64::*;
                #[target_feature(enable = "avx2,fma")]
                unsafe fn run(
                    depth: usize,
                    mut a: *const $type,
                    mut b: *const $type,
                    c: *mut $type,
                    stride: usize,
                    add: bool,
                ) {
                    // SAFETY: the trait's contract; the pointers end one past the panels.
                    unsafe {
                        for row in 0..ROWS {
                            let row = c.add(row * stride);
                            _mm_prefetch::<_MM_HINT_T0>(row.cast());
                            _mm_prefetch::<_MM_HINT_T0>(row.add($columns - 1).cast());
                        }
                        let mut sums = [[$zero(); 2]; ROWS];
                        for _ in 0..depth {
                            let (left, right) = ($load(b), $load(b.add($columns / 2)));
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let x = $splat(*a.add(row));
                                sums[0] = $fma(x, left, sums[0]);
                                sums[1] = $fma(x, right, sums[1]);
                            }
                            (a, b) = (a.add(ROWS), b.add($columns));
                        }
                        for (row, sums) in sums.into_iter().enumerate() {
                            for (half, sum) in sums.into_iter().enumerate() {
                                let at = c.add(row * stride + half * ($columns / 2));
                                $store(at, if add { $add($load(at), sum) } else { sum });
                            }
                        }
                    }
                }
                // SAFETY: the trait's contract.
                unsafe { run(depth, a, b, c, stride, add) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
micro!(
    f32,
    16,
    384,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps
);
#[cfg(target_arch = "x86_64")]
micro!(
    f64,
    8,
    256,
    _mm256_setzero_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd
);

/// The same without AVX2, where `serves` is false.
#[cfg(not(target_arch = "x86_64"))]
macro_rules! none {
    ($($type:ty),*) => {
        $(impl Micro for $type {
            const COLUMNS: usize = 16;
            const DEPTH: usize = 256;
            const NOTHING: $type = 0.0;

            // SAFETY: it does nothing, and is not called.
            unsafe fn block(_: usize, _: *const $type, _: *const $type, _: *mut $type, _: usize, _: bool) {}
        })*
    };
}
#[cfg(not(target_arch = "x86_64"))]
none!(f32, f64);

/// Whether `multiply` may be called, and is worth it: with few rows or columns packing takes longer than it saves.
pub fn serves(m: usize, n: usize) -> bool {
    m >= BLOCK_ROWS && n >= 64 && Level::detect() == Level::Avx2
}

/// A matrix to be read: element (row, column) at row * row_stride + column * column_stride.
#[derive(Clone, Copy)]
pub struct Source<T> {
    pub at: *const T,
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Rows to be written, `stride` apart.
#[derive(Clone, Copy)]
pub struct Target<T> {
    pub at: *mut T,
    pub stride: usize,
}

// SAFETY: the sources are only read, and `multiply` gives each thread a rectangle of the target of its own.
unsafe impl<T> Sync for Source<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Target<T> {}

/// [M, K] x [K, N] -> `out`, by `threads` threads of the rayon pool that it is called in.
///
/// # Safety
/// `serves(m, n)`; all places of the sources are readable and those of the target writable, and no other's.
pub unsafe fn multiply<T: Micro>(
    (m, k, n): (usize, usize, usize),
    a: Source<T>,
    b: Source<T>,
    out: Target<T>,
    threads: usize,
) {
    let (down, across) = grid(m, n, threads);
    let cut = |size: usize, pieces: usize, unit: usize| size.div_ceil(pieces).next_multiple_of(unit);
    let (height, width) = (cut(m, down, ROWS), cut(n, across, T::COLUMNS));
    let piece = |index: usize| {
        let (a, b, out) = (&a, &b, &out);
        let (row, column) = (index / across * height, index % across * width);
        if row >= m || column >= n {
            return;
        }
        let size = (height.min(m - row), k, width.min(n - column));
        // SAFETY: the rectangle lies in the result and is this piece's alone, and so do its rows of A and columns of B.
        unsafe {
            let a = Source { at: a.at.add(row * a.row_stride), ..*a };
            let b = Source { at: b.at.add(column * b.column_stride), ..*b };
            rectangle(size, a, b, Target { at: out.at.add(row * out.stride + column), ..*out });
        }
    };
    match down * across {
        1 => piece(0),
        pieces => (0..pieces).into_par_iter().with_max_len(1).for_each(piece),
    }
}

/// Pieces down and across, as many as there are threads, that need the least of A and B each.
fn grid(m: usize, n: usize, threads: usize) -> (usize, usize) {
    let threads = threads.max(1);
    let shapes = (1..=threads).filter(|down| threads.is_multiple_of(*down)).map(|down| (down, threads / down));
    shapes.min_by_key(|(down, across)| m.div_ceil(*down) + n.div_ceil(*across)).unwrap_or((1, 1))
}

/// # Safety
/// As `multiply`.
unsafe fn rectangle<T: Micro>((m, k, n): (usize, usize, usize), a: Source<T>, b: Source<T>, out: Target<T>) {
    let depth = k.clamp(1, T::DEPTH);
    let mut rows = vec![T::NOTHING; depth * BLOCK_ROWS.min(m.next_multiple_of(ROWS))];
    let mut columns = vec![T::NOTHING; depth * BLOCK_COLUMNS.min(n.next_multiple_of(T::COLUMNS))];
    for column in (0..n).step_by(BLOCK_COLUMNS) {
        let width = BLOCK_COLUMNS.min(n - column);
        for start in (0..k).step_by(depth) {
            let depth = depth.min(k - start);
            // SAFETY: `multiply`'s contract; the blocks lie in the rectangle.
            unsafe {
                let from = b.at.add(start * b.row_stride + column * b.column_stride);
                pack(from, b.column_stride, width, b.row_stride, depth, T::COLUMNS, &mut columns);
                for row in (0..m).step_by(BLOCK_ROWS) {
                    let height = BLOCK_ROWS.min(m - row);
                    let from = a.at.add(row * a.row_stride + start * a.column_stride);
                    pack(from, a.row_stride, height, a.column_stride, depth, ROWS, &mut rows);
                    let out = Target { at: out.at.add(row * out.stride + column), ..out };
                    blocks((height, depth, width), &rows, &columns, out, start > 0);
                }
            }
        }
    }
}

/// `to`[panel][k][lane] = from[(panel * lanes + lane) * across + k * along], for `count` lanes in all; lanes beyond are 0.
///
/// # Safety
/// Those places are readable.
unsafe fn pack<T: Micro>(
    from: *const T,
    across: usize,
    count: usize,
    along: usize,
    depth: usize,
    lanes: usize,
    to: &mut [T],
) {
    for (panel, to) in to.chunks_exact_mut(depth * lanes).enumerate().take(count.div_ceil(lanes)) {
        let first = panel * lanes;
        let full = lanes.min(count - first);
        if full < lanes {
            to.fill(T::NOTHING);
        }
        // SAFETY: `first + lane` is below `count`, `k` below `depth`.
        unsafe {
            let from = from.add(first * across);
            if along == 1 {
                for lane in 0..full {
                    for (k, to) in to.chunks_exact_mut(lanes).enumerate() {
                        to[lane] = *from.add(lane * across + k);
                    }
                }
            } else {
                for (k, to) in to.chunks_exact_mut(lanes).enumerate() {
                    for (lane, to) in to.iter_mut().enumerate().take(full) {
                        *to = *from.add(lane * across + k * along);
                    }
                }
            }
        }
    }
}

/// The register blocks of packed operands.
///
/// # Safety
/// As `multiply`, for `out`'s height x width; the panels are packed for it.
unsafe fn blocks<T: Micro>(
    (height, depth, width): (usize, usize, usize),
    rows: &[T],
    columns: &[T],
    out: Target<T>,
    add: bool,
) {
    // Room for any block: 6 x 16.
    let mut edge = [T::NOTHING; ROWS * 16];
    for (j, b) in (0..width).step_by(T::COLUMNS).zip(columns.chunks_exact(depth * T::COLUMNS)) {
        for (i, a) in (0..height).step_by(ROWS).zip(rows.chunks_exact(depth * ROWS)) {
            // SAFETY: a whole block lies in `out`; another goes to `edge` first, and only what lies in `out` from there.
            unsafe {
                let c = out.at.add(i * out.stride + j);
                if i + ROWS <= height && j + T::COLUMNS <= width {
                    T::block(depth, a.as_ptr(), b.as_ptr(), c, out.stride, add);
                    continue;
                }
                let (tall, wide) = (ROWS.min(height - i), T::COLUMNS.min(width - j));
                for row in 0..tall {
                    for column in 0..wide {
                        edge[row * T::COLUMNS + column] =
                            if add { *c.add(row * out.stride + column) } else { T::NOTHING };
                    }
                }
                T::block(depth, a.as_ptr(), b.as_ptr(), edge.as_mut_ptr(), T::COLUMNS, add);
                for row in 0..tall {
                    for column in 0..wide {
                        *c.add(row * out.stride + column) = edge[row * T::COLUMNS + column];
                    }
                }
            }
        }
    }
}
