//! Operations on each element by itself, in float64, rounded once to the element type.
//!
//! ```text
//! overflow, exp(1000), 1 / 0   ±∞        0 / 0, ∞ - ∞, 0 · ∞, log(-1), sqrt(-1)   NAN
//! log(0)                       -∞        a NaN operand                            that NaN, quiet; of two, the first
//! ```

use rayon::prelude::*;

use super::{
    Alive, GRAIN, PIECE, Result, check_bytes, count, each_dtype,
    element::{Dtype, Element, quiet, with_nan},
    invalid, product, wanted,
};
use crate::backend::tensor::{error_function, pool};

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Larger,
    Smaller,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unary {
    Scale(f64),
    Clamp(f64, f64),
    Exp,
    Log,
    Sqrt,
    Tanh,
    Negate,
    Absolute,
    Sigmoid,
    Relu,
    Silu,
    Gelu,
    GeluTanh,
}

#[inline(always)]
pub fn add(a: f64, b: f64) -> f64 {
    with_nan(a, b, a + b)
}

#[inline(always)]
pub fn subtract(a: f64, b: f64) -> f64 {
    with_nan(a, b, a - b)
}

#[inline(always)]
pub fn multiply(a: f64, b: f64) -> f64 {
    with_nan(a, b, a * b)
}

#[inline(always)]
pub fn divide(a: f64, b: f64) -> f64 {
    with_nan(a, b, a / b)
}

#[inline(always)]
pub fn larger(a: f64, b: f64) -> f64 {
    with_nan(a, b, if b > a { b } else { a })
}

#[inline(always)]
pub fn smaller(a: f64, b: f64) -> f64 {
    with_nan(a, b, if a > b { b } else { a })
}

#[inline(always)]
fn negate(x: f64) -> f64 {
    quiet(-x)
}

#[inline(always)]
fn own_nan(x: f64, result: f64) -> f64 {
    with_nan(x, 0.0, result)
}

pub fn exp(x: f64) -> f64 {
    own_nan(x, x.exp())
}

pub fn log(x: f64) -> f64 {
    own_nan(x, x.ln())
}

pub fn sqrt(x: f64) -> f64 {
    own_nan(x, x.sqrt())
}

fn tanh(x: f64) -> f64 {
    own_nan(x, x.tanh())
}

fn gelu(x: f64) -> f64 {
    let argument = multiply(x, std::f64::consts::FRAC_1_SQRT_2);
    multiply(multiply(0.5, x), add(1.0, own_nan(argument, error_function(argument))))
}

fn gelu_tanh(x: f64) -> f64 {
    // √(2/π)
    const SCALE: f64 = 0.797_884_560_802_865_4;
    let cube = multiply(multiply(x, x), x);
    let inner = multiply(SCALE, add(x, multiply(0.044_715, cube)));
    multiply(multiply(0.5, x), add(1.0, tanh(inner)))
}

/// Element by element over two operands of one type and size.
pub fn binary(op: Binary, dtype: Dtype, a: &[u8], b: &[u8], out: &mut [u8], alive: Alive<'_>) -> Result<()> {
    each_dtype!(dtype, T => match op {
        Binary::Add => zip::<T>(a, b, out, alive, add),
        Binary::Subtract => zip::<T>(a, b, out, alive, subtract),
        Binary::Multiply => zip::<T>(a, b, out, alive, multiply),
        Binary::Divide => zip::<T>(a, b, out, alive, divide),
        Binary::Larger => zip::<T>(a, b, out, alive, larger),
        Binary::Smaller => zip::<T>(a, b, out, alive, smaller),
    })
}

fn zip<T: Element>(
    a: &[u8],
    b: &[u8],
    out: &mut [u8],
    alive: Alive<'_>,
    function: impl Fn(f64, f64) -> f64 + Sync,
) -> Result<()> {
    check_bytes("the second operand", b, a.len())?;
    check_bytes("result", out, a.len())?;
    let work = |((a, b), out): ((&[u8], &[u8]), &mut [u8])| {
        let operands = a.chunks_exact(T::WIDTH).zip(b.chunks_exact(T::WIDTH));
        for ((a, b), out) in operands.zip(out.chunks_exact_mut(T::WIDTH)) {
            T::write(function(T::read(a), T::read(b)), out);
        }
    };
    let grain = GRAIN * T::WIDTH;
    if a.len() <= grain {
        work(((a, b), out));
        return Ok(());
    }
    let piece = PIECE * T::WIDTH;
    for ((a, b), out) in a.chunks(piece).zip(b.chunks(piece)).zip(out.chunks_mut(piece)) {
        wanted(alive)?;
        pool()?.install(|| a.par_chunks(grain).zip(b.par_chunks(grain)).zip(out.par_chunks_mut(grain)).for_each(work));
    }
    Ok(())
}

/// Element by element over one operand.
pub fn unary(op: Unary, dtype: Dtype, a: &[u8], out: &mut [u8], alive: Alive<'_>) -> Result<()> {
    each_dtype!(dtype, T => match op {
        Unary::Scale(factor) => each::<T, T>(a, out, alive, |x| multiply(x, factor)),
        Unary::Clamp(low, high) => each::<T, T>(a, out, alive, |x| smaller(larger(x, low), high)),
        Unary::Exp => each::<T, T>(a, out, alive, exp),
        Unary::Log => each::<T, T>(a, out, alive, log),
        Unary::Sqrt => each::<T, T>(a, out, alive, sqrt),
        Unary::Tanh => each::<T, T>(a, out, alive, tanh),
        Unary::Negate => each::<T, T>(a, out, alive, negate),
        Unary::Absolute => each::<T, T>(a, out, alive, |x| quiet(x.abs())),
        Unary::Sigmoid => each::<T, T>(a, out, alive, |x| divide(1.0, add(1.0, exp(negate(x))))),
        Unary::Relu => each::<T, T>(a, out, alive, |x| larger(x, 0.0)),
        Unary::Silu => each::<T, T>(a, out, alive, |x| divide(x, add(1.0, exp(negate(x))))),
        Unary::Gelu => each::<T, T>(a, out, alive, gelu),
        Unary::GeluTanh => each::<T, T>(a, out, alive, gelu_tanh),
    })
}

/// Elements of one type in another.
pub fn cast(from: Dtype, to: Dtype, a: &[u8], out: &mut [u8], alive: Alive<'_>) -> Result<()> {
    each_dtype!(from, T => each_dtype!(to, U => each::<T, U>(a, out, alive, quiet)))
}

fn each<T: Element, U: Element>(
    a: &[u8],
    out: &mut [u8],
    alive: Alive<'_>,
    function: impl Fn(f64) -> f64 + Sync,
) -> Result<()> {
    if !a.len().is_multiple_of(T::WIDTH) {
        return Err(invalid("operand", format!("elements of {} bytes", T::WIDTH), format!("{} bytes", a.len())));
    }
    check_bytes("result", out, product(&[a.len() / T::WIDTH, U::WIDTH])?)?;
    let work = |(a, out): (&[u8], &mut [u8])| {
        for (a, out) in a.chunks_exact(T::WIDTH).zip(out.chunks_exact_mut(U::WIDTH)) {
            U::write(function(T::read(a)), out);
        }
    };
    if a.len() <= GRAIN * T::WIDTH {
        work((a, out));
        return Ok(());
    }
    for (a, out) in a.chunks(PIECE * T::WIDTH).zip(out.chunks_mut(PIECE * U::WIDTH)) {
        wanted(alive)?;
        let pairs = a.par_chunks(GRAIN * T::WIDTH).zip(out.par_chunks_mut(GRAIN * U::WIDTH));
        pool()?.install(|| pairs.for_each(work));
    }
    Ok(())
}

/// The index of the first NaN or infinity.
pub fn first_non_finite(dtype: Dtype, a: &[u8]) -> Result<Option<usize>> {
    count("operand", dtype, a)?;
    Ok(each_dtype!(dtype, T => a.chunks_exact(T::WIDTH).position(|x| !T::read(x).is_finite())))
}
