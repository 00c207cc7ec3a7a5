//! What tensors need of the machine: threads, matrix products, C's error function.
//!
//! The gang serves models, whose kernels march in step; tensors run on a rayon pool of their own, at nice +10 as well.
//! With AVX2 alone products are `product`'s, elsewhere, and with few rows or columns, the gemm crate's. The surprise: both
//! take raw pointers, so every place that they will touch is checked here first.

use std::sync::OnceLock;

use gemm::Parallelism;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{
    backend::{
        cpu::gang::cores,
        product::{self, Micro, Source, Target},
    },
    error::{Error, Result},
};

const NICE: i32 = 10;
/// Multiply-adds that one thread does sooner than many.
const SMALL_PRODUCT: usize = 1 << 17;

/// The pool for tensors.
pub fn pool() -> Result<&'static ThreadPool> {
    static POOL: OnceLock<std::result::Result<ThreadPool, String>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let builder = ThreadPoolBuilder::new().num_threads(cores()).thread_name(|index| format!("viva-tensor-{index}"));
        builder.start_handler(|_| be_nice()).build().map_err(|error| error.to_string())
    });
    pool.as_ref().map_err(|reason| Error::Internal { reason: format!("no threads for tensors: {reason}") })
}

fn be_nice() {
    #[cfg(target_os = "linux")]
    // SAFETY: plain system call; 0 means the calling thread on Linux, and a refusal does no harm.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
}

// SAFETY: C's library has this function with this signature; it takes any double and touches no memory.
unsafe extern "C" {
    safe fn erf(x: f64) -> f64;
}

/// C's error function: the one that the BEAM calls, too.
pub fn error_function(x: f64) -> f64 {
    erf(x)
}

/// A matrix in memory: element (row, column) at row * row_stride + column * column_stride.
pub struct Matrix<'a, T> {
    pub data: &'a [T],
    pub row_stride: usize,
    pub column_stride: usize,
}

impl<T> Matrix<'_, T> {
    /// The highest place that is touched lies in `data`.
    fn check(&self, rows: usize, columns: usize) -> Result<(isize, isize)> {
        let reach = |count: usize, stride: usize| count.saturating_sub(1).checked_mul(stride);
        let highest = reach(rows, self.row_stride)
            .zip(reach(columns, self.column_stride))
            .and_then(|(down, across)| down.checked_add(across));
        let strides = isize::try_from(self.row_stride).ok().zip(isize::try_from(self.column_stride).ok());
        match (highest, strides) {
            (Some(highest), Some(strides)) if highest < self.data.len() => Ok(strides),
            _ => Err(Error::InvalidOption {
                option: "matrix".into(),
                expected: format!(
                    "{rows} x {columns} elements at the strides {}, {}",
                    self.row_stride, self.column_stride
                ),
                found: format!("{} elements", self.data.len()),
            }),
        }
    }
}

/// [M, K] x [K, N] -> `out`, whose rows lie `out_stride` apart; none of the lengths is 0.
///
/// Divided among the threads of the rayon pool that it is called in; of a small product, not at all.
pub fn matmul<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut [T],
    out_stride: usize,
) -> Result<()> {
    let few = m.saturating_mul(k).saturating_mul(n) <= SMALL_PRODUCT;
    multiply((m, k, n), a, b, out, out_stride, if few { 1 } else { rayon::current_num_threads() })
}

/// As `matmul`, by the thread that calls.
pub fn matmul_alone<T: Real>(
    size: (usize, usize, usize),
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut [T],
    out_stride: usize,
) -> Result<()> {
    multiply(size, a, b, out, out_stride, 1)
}

fn multiply<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut [T],
    out_stride: usize,
    threads: usize,
) -> Result<()> {
    let (a_rs, a_cs) = a.check(m, k)?;
    let (b_rs, b_cs) = b.check(k, n)?;
    let target = Matrix { data: &*out, row_stride: out_stride, column_stride: 1 };
    let (out_rs, out_cs) = target.check(m, n)?;
    if out_stride < n {
        return Err(Error::Internal { reason: "rows of a product overlap".into() });
    }
    if product::serves(m, n) {
        let a = Source { at: a.data.as_ptr(), row_stride: a.row_stride, column_stride: a.column_stride };
        let b = Source { at: b.data.as_ptr(), row_stride: b.row_stride, column_stride: b.column_stride };
        let out = Target { at: out.as_mut_ptr(), stride: out_stride };
        // SAFETY: `check` showed that the highest place of each matrix, at its strides, is in its slice, so all places are;
        // `out` is borrowed mutably, so it overlaps neither operand, and its rows do not overlap each other (above).
        unsafe { product::multiply((m, k, n), a, b, out, threads) }
        return Ok(());
    }
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(0) };
    // SAFETY: `check` showed that the highest place of each matrix, at its strides, is in its slice, and strides are
    // not negative, so all places are; `out` is borrowed mutably, so it overlaps neither operand, and its rows do not
    // overlap each other (above). With `read_dst` false `out` is only written.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_cs,
            out_rs,
            false,
            a.data.as_ptr(),
            a_cs,
            a_rs,
            b.data.as_ptr(),
            b_cs,
            b_rs,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
    Ok(())
}

/// The two types that are multiplied.
pub trait Real: bytemuck::Pod + Micro {
    const ZERO: Self;
    const ONE: Self;
    fn is_nan(self) -> bool;
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}
