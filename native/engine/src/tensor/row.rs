//! Rows: many elements become one, or as many normalised ones; all in float64.
//!
//! The order of sums: blocks of 4096 elements; in a block eight partial sums, of the elements whose index leaves the
//! same rest by eight, added pairwise; the sums of blocks from left to right. It does not depend on threads. A sum
//! that comes out infinite or NaN is done again from left to right, as the BEAM does it: there it may be finite. A NaN in
//! a result is always NAN.

use rayon::prelude::*;

use super::{
    Alive, Result, check_bytes, count, each_dtype,
    element::{Dtype, Element, NAN, plain},
    elementwise::{divide, exp, larger, log, smaller, sqrt, subtract},
    invalid, product, wanted,
};
use crate::backend::tensor::pool;

const BLOCK: usize = 4096;
const LANES: usize = 8;
/// Elements that are worth waking threads for.
const ENOUGH: usize = 1 << 15;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row {
    Sum,
    SumOfSquares,
    Mean,
    Variance,
    Max,
    Min,
    Argmax,
    Argmin,
    Softmax,
    LogSoftmax,
    LayerNorm(f64),
    RmsNorm(f64),
}

impl Row {
    /// Whether a row becomes one number, rather than as many as it has.
    fn reduces(self) -> bool {
        !matches!(self, Row::Softmax | Row::LogSoftmax | Row::LayerNorm(_) | Row::RmsNorm(_))
    }

    /// Numbers that a row of `length` elements becomes.
    pub fn results(self, length: usize) -> usize {
        if self.reduces() { 1 } else { length }
    }
}

/// Rows of `length` elements of the type `from`, results of the type `to`.
pub fn rows(
    op: Row,
    (from, to): (Dtype, Dtype),
    a: &[u8],
    length: usize,
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    let size = count("operand", from, a)?;
    if length == 0 || !size.is_multiple_of(length) {
        return Err(invalid("length", format!("a part of {size} elements"), length.to_string()));
    }
    let results = op.results(length);
    check_bytes("result", out, product(&[size / length, results, to.width()])?)?;
    wanted(alive)?;
    each_dtype!(from, T => each_dtype!(to, U => {
        let work = |buffer: &mut Vec<f64>, row: &[u8], out: &mut [u8]| {
            if op.reduces() {
                U::write(plain(reduce::<T>(op, row)), out);
            } else {
                buffer.clear();
                buffer.extend(row.chunks_exact(T::WIDTH).map(T::read));
                normalise(op, buffer);
                for (x, out) in buffer.iter().zip(out.chunks_exact_mut(U::WIDTH)) {
                    U::write(plain(*x), out);
                }
            }
        };
        let (row_bytes, out_bytes) = (length * T::WIDTH, results * U::WIDTH);
        if size < ENOUGH {
            let mut buffer = vec![];
            for (row, out) in a.chunks_exact(row_bytes).zip(out.chunks_exact_mut(out_bytes)) {
                work(&mut buffer, row, out);
            }
        } else {
            let pairs = a.par_chunks_exact(row_bytes).zip(out.par_chunks_exact_mut(out_bytes));
            pool()?.install(|| pairs.for_each_init(Vec::new, |buffer, (row, out)| work(buffer, row, out)));
        }
    }));
    Ok(())
}

fn reduce<T: Element>(op: Row, row: &[u8]) -> f64 {
    let read = T::read;
    let length = (row.len() / T::WIDTH) as f64;
    match op {
        Row::Sum => sum::<T>(row, |x| x),
        Row::SumOfSquares => sum::<T>(row, |x| x * x),
        Row::Mean => sum::<T>(row, |x| x) / length,
        Row::Variance => {
            let mean = sum::<T>(row, |x| x) / length;
            sum::<T>(row, |x| (x - mean) * (x - mean)) / length
        }
        Row::Max => row.chunks_exact(T::WIDTH).map(read).fold(f64::NEG_INFINITY, larger),
        Row::Min => row.chunks_exact(T::WIDTH).map(read).fold(f64::INFINITY, smaller),
        Row::Argmax => argument::<T>(row, |x, best| x > best),
        Row::Argmin => argument::<T>(row, |x, best| x < best),
        // These are not reductions.
        Row::Softmax | Row::LogSoftmax | Row::LayerNorm(_) | Row::RmsNorm(_) => NAN,
    }
}

/// The sum of what `term` makes of the elements.
fn sum<T: Element>(row: &[u8], term: impl Fn(f64) -> f64 + Sync) -> f64 {
    let block = |block: &[u8]| lanes(block.chunks_exact(T::WIDTH).map(|x| term(T::read(x))));
    let bytes = BLOCK * T::WIDTH;
    let total = if row.len() < ENOUGH * T::WIDTH {
        row.chunks(bytes).map(block).fold(0.0, |sum, block| sum + block)
    } else {
        let blocks: Vec<f64> = row.par_chunks(bytes).map(block).collect();
        blocks.into_iter().fold(0.0, |sum, block| sum + block)
    };
    if !total.is_finite() {
        return row.chunks_exact(T::WIDTH).fold(0.0, |sum, x| sum + term(T::read(x)));
    }
    total
}

/// Eight partial sums, then pairwise.
fn lanes(terms: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0; LANES];
    for (index, term) in terms.enumerate() {
        lanes[index % LANES] += term;
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// The same order over floats in memory.
fn sum_of(xs: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let total = xs.chunks(BLOCK).fold(0.0, |sum, block| sum + lanes(block.iter().map(|x| term(*x))));
    if total.is_finite() { total } else { xs.iter().fold(0.0, |sum, x| sum + term(*x)) }
}

/// The first NaN, without one the first extreme.
fn argument<T: Element>(row: &[u8], beats: impl Fn(f64, f64) -> bool) -> f64 {
    let mut found = (0, NAN);
    for (index, x) in row.chunks_exact(T::WIDTH).map(T::read).enumerate() {
        if x.is_nan() {
            return index as f64;
        }
        if index == 0 || beats(x, found.1) {
            found = (index, x);
        }
    }
    found.0 as f64
}

fn normalise(op: Row, xs: &mut [f64]) {
    let length = xs.len() as f64;
    match op {
        Row::Softmax => {
            let largest = xs.iter().copied().fold(f64::NEG_INFINITY, larger);
            xs.iter_mut().for_each(|x| *x = exp(subtract(*x, largest)));
            let total = sum_of(xs, |x| x);
            xs.iter_mut().for_each(|x| *x = divide(*x, total));
        }
        Row::LogSoftmax => {
            let largest = xs.iter().copied().fold(f64::NEG_INFINITY, larger);
            xs.iter_mut().for_each(|x| *x = subtract(*x, largest));
            let total = log(sum_of(xs, exp));
            xs.iter_mut().for_each(|x| *x = subtract(*x, total));
        }
        Row::LayerNorm(epsilon) => {
            let mean = sum_of(xs, |x| x) / length;
            let variance = sum_of(xs, |x| (x - mean) * (x - mean)) / length;
            let deviation = sqrt(variance + epsilon);
            xs.iter_mut().for_each(|x| *x = divide(subtract(*x, mean), deviation));
        }
        Row::RmsNorm(epsilon) => {
            let root = sqrt(sum_of(xs, |x| x * x) / length + epsilon);
            xs.iter_mut().for_each(|x| *x = divide(*x, root));
        }
        // These are reductions.
        _ => {}
    }
}
