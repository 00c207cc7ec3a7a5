//! Matrix products: float64 in float64, the other types in float32.
//!
//! Operands are read in place when they lie at an address of their type's alignment, copied otherwise. A NaN in a
//! result is always NAN.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

use super::{
    Alive, GRAIN, Result, check_bytes,
    element::{BF16, Dtype, Element, F16, F32, F64, plain},
    product, wanted,
};
use crate::backend::tensor::{Matrix, Real, matmul as multiply, matmul_alone, pool};

/// Multiply-adds between two looks at the caller.
const LOOK: usize = 1 << 34;
/// Multiply-adds that one thread does sooner than it wakes another.
const SMALL: usize = 1 << 17;
/// Multiply-adds of about a millisecond: the caller, whose priority is the host's, may do its share of so many.
const QUICK: usize = 1 << 26;
/// Rows of a piece: with fewer, packing the other operand for each piece counts.
const LEAST_ROWS: usize = 64;

/// An operand from its first element on, and its strides in elements.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    pub data: &'a [u8],
    pub row_stride: usize,
    pub column_stride: usize,
}

/// [M, K] x [K, N] -> [M, N]
pub fn matmul(
    dtype: Dtype,
    (m, k, n): (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    check_bytes("result", out, product(&[m, n, dtype.width()])?)?;
    if out.is_empty() || k == 0 {
        out.fill(0);
        return Ok(());
    }
    match dtype {
        Dtype::Float64 => in_place::<f64, F64>((m, k, n), a, b, out, alive),
        Dtype::Float32 => in_place::<f32, F32>((m, k, n), a, b, out, alive),
        Dtype::Float16 => in_float32::<F16>((m, k, n), a, b, out, alive),
        Dtype::BFloat16 => in_float32::<BF16>((m, k, n), a, b, out, alive),
    }
}

/// Elements where they are, or a copy of them at an aligned address.
pub(super) fn aligned<T: Real>(bytes: &[u8]) -> std::borrow::Cow<'_, [T]> {
    let whole = bytes.len() - bytes.len() % size_of::<T>();
    let bytes = bytes.get(..whole).unwrap_or_default();
    match bytemuck::try_cast_slice(bytes) {
        Ok(elements) => elements.into(),
        Err(_) => {
            let mut copy = vec![T::ZERO; bytes.len() / size_of::<T>()];
            bytemuck::cast_slice_mut::<T, u8>(&mut copy).copy_from_slice(bytes);
            copy.into()
        }
    }
}

fn in_place<T: Real, E: Element>(
    size: (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    let (left, right) = (aligned::<T>(a.data), aligned::<T>(b.data));
    let a = Matrix { data: &left, row_stride: a.row_stride, column_stride: a.column_stride };
    let b = Matrix { data: &right, row_stride: b.row_stride, column_stride: b.column_stride };
    let has_nan = match bytemuck::try_cast_slice_mut::<u8, T>(out) {
        Ok(elements) => by_panels(size, &a, &b, elements, alive)?,
        Err(_) => {
            let mut elements = vec![T::ZERO; size.0 * size.2];
            let has_nan = by_panels(size, &a, &b, &mut elements, alive)?;
            out.copy_from_slice(bytemuck::cast_slice(&elements));
            has_nan
        }
    };
    for element in out.chunks_exact_mut(E::WIDTH).filter(|_| has_nan) {
        E::write(plain(E::read(element)), element);
    }
    Ok(())
}

/// Panels of rows, so that a caller that is gone is noticed. True when there is a NaN in the result.
fn by_panels<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut [T],
    alive: Alive<'_>,
) -> Result<bool> {
    let mut has_nan = false;
    let rows = (LOOK / k.saturating_mul(n)).clamp(256, m.max(256));
    for (index, out) in out.chunks_mut(rows.saturating_mul(n)).enumerate() {
        wanted(alive)?;
        let start = (index * rows).saturating_mul(a.row_stride);
        let data = a.data.get(start..).unwrap_or_default();
        let panel = Matrix { data, row_stride: a.row_stride, column_stride: a.column_stride };
        has_nan |= in_pieces((out.len() / n, k, n), &panel, b, out)?;
    }
    Ok(has_nan)
}

/// A product that takes about as long as waking a thread is cut into a piece of rows for each thread, and the caller takes
/// pieces as well: none waits for another before the end. In a longer one gemm's threads share what they pack.
fn in_pieces<T: Real>(
    (m, k, n): (usize, usize, usize),
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    out: &mut [T],
) -> Result<bool> {
    let pool = pool()?;
    let (threads, work) = (pool.current_num_threads(), m.saturating_mul(k).saturating_mul(n));
    if work <= SMALL {
        matmul_alone((m, k, n), a, b, out, n)?;
        return Ok(holds_nan(out));
    }
    if work > QUICK || m < threads * LEAST_ROWS {
        return pool.install(|| {
            multiply((m, k, n), a, b, out, n)?;
            Ok(out.par_chunks(GRAIN).map(holds_nan).reduce(|| false, |one, other| one | other))
        });
    }
    let rows = m.div_ceil(threads);
    let pieces = Mutex::new(out.chunks_mut(rows * n).enumerate());
    let result = Mutex::new(Ok(false));
    let take = || {
        loop {
            // Held for the taking alone.
            let piece = lock(&pieces).next();
            let Some((index, out)) = piece else { break };
            let data = a.data.get((index * rows).saturating_mul(a.row_stride)..).unwrap_or_default();
            let piece = Matrix { data, row_stride: a.row_stride, column_stride: a.column_stride };
            let found = matmul_alone((out.len() / n, k, n), &piece, b, out, n).map(|()| holds_nan(out));
            let mut result = lock(&result);
            *result = match (&*result, found) {
                (Ok(before), Ok(now)) => Ok(*before | now),
                (Ok(_), Err(error)) => Err(error),
                (Err(_), _) => continue,
            };
        }
    };
    pool.in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| take());
        }
        take();
    });
    result.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here guard is never left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at all of them: without an early end the loop runs on vectors.
fn holds_nan<T: Real>(elements: &[T]) -> bool {
    elements.iter().fold(false, |found, x| found | x.is_nan())
}

/// Half-width operands, widened first.
fn in_float32<E: Element>(
    size: (usize, usize, usize),
    a: Operand<'_>,
    b: Operand<'_>,
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    let (left, right) = (widened::<E>(a.data), widened::<E>(b.data));
    let a = Matrix { data: &left, row_stride: a.row_stride, column_stride: a.column_stride };
    let b = Matrix { data: &right, row_stride: b.row_stride, column_stride: b.column_stride };
    let mut elements = vec![0_f32; size.0 * size.2];
    by_panels(size, &a, &b, &mut elements, alive)?;
    narrow::<E>(&elements, out);
    Ok(())
}

pub(super) fn widened<E: Element>(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(E::WIDTH).map(|x| E::read(x) as f32).collect()
}

pub(super) fn narrow<E: Element>(elements: &[f32], out: &mut [u8]) {
    for (x, out) in elements.iter().zip(out.chunks_exact_mut(E::WIDTH)) {
        E::write(plain(f64::from(*x)), out);
    }
}
