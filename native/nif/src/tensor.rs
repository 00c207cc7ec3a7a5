//! Tensors: binaries in, read in place, binaries out. viva_tensor_beam.erl says what each function does.
//!
//! The surprise: the VM ends when it gets no memory for a binary, so a result's size is looked at first.

use rustler::{Atom, Binary, Encoder, Env, NewBinary, Term};
use viva_tensor_engine::{
    buffer,
    error::Result,
    tensor::{
        self, Dtype,
        convolution::{self, Convolution, Pool, Pooling},
        elementwise::{self, Binary as BinaryOp, Unary},
        layout,
        product::{self, Operand},
        row::{self, Row},
    },
};

use crate::{
    alive, reply,
    terms::{count, invalid, list, record, tuple},
};

mod atoms {
    rustler::atoms! {
        float64, float32, float16, b_float16,
        add, subtract, multiply, divide, larger, smaller,
        scale, clamp, exp, log, sqrt, tanh, negate, absolute, sigmoid, relu, silu, gelu, gelu_tanh,
        sum, sum_of_squares, mean, variance, max, min, argmax, argmin, softmax, log_softmax, layer_norm, rms_norm,
        convolution_size, pool_size,
    }
}

/// Results from this size on are held against the memory that is free.
const LARGE: usize = 64 << 20;

/// The value beside the atom that the term is.
fn choice<T: Copy>(term: Term, name: &str, choices: &[(Atom, T)]) -> Result<T> {
    let found = choices.iter().find(|(atom, _)| *atom == term);
    found.map(|(_, value)| *value).ok_or_else(|| invalid(name, &format!("one of {} names", choices.len()), term))
}

pub fn dtype(term: Term) -> Result<Dtype> {
    choice(
        term,
        "dtype",
        &[
            (atoms::float64(), Dtype::Float64),
            (atoms::float32(), Dtype::Float32),
            (atoms::float16(), Dtype::Float16),
            (atoms::b_float16(), Dtype::BFloat16),
        ],
    )
}

fn float(term: Term, name: &str) -> Result<f64> {
    term.decode().map_err(|_| invalid(name, "a float", term))
}

/// `[Count]`
pub fn counts(term: Term, name: &str) -> Result<Vec<usize>> {
    list(term, name)?.into_iter().map(|term| count(term, name)).collect()
}

/// The counts in terms.
pub fn each_count<const N: usize>(terms: [Term; N], name: &str) -> Result<[usize; N]> {
    let mut counts = [0; N];
    for (slot, term) in counts.iter_mut().zip(terms) {
        *slot = count(term, name)?;
    }
    Ok(counts)
}

pub fn bytes<'a>(term: Term<'a>, name: &str) -> Result<Binary<'a>> {
    Binary::from_term(term).map_err(|_| invalid(name, "a binary", term))
}

pub fn binary_op(term: Term) -> Result<BinaryOp> {
    choice(
        term,
        "operation",
        &[
            (atoms::add(), BinaryOp::Add),
            (atoms::subtract(), BinaryOp::Subtract),
            (atoms::multiply(), BinaryOp::Multiply),
            (atoms::divide(), BinaryOp::Divide),
            (atoms::larger(), BinaryOp::Larger),
            (atoms::smaller(), BinaryOp::Smaller),
        ],
    )
}

pub fn unary_op(term: Term) -> Result<Unary> {
    if let Ok([factor]) = record(term, atoms::scale(), "operation") {
        return float(factor, "factor").map(Unary::Scale);
    }
    if let Ok([low, high]) = record(term, atoms::clamp(), "operation") {
        return Ok(Unary::Clamp(float(low, "low")?, float(high, "high")?));
    }
    choice(
        term,
        "operation",
        &[
            (atoms::exp(), Unary::Exp),
            (atoms::log(), Unary::Log),
            (atoms::sqrt(), Unary::Sqrt),
            (atoms::tanh(), Unary::Tanh),
            (atoms::negate(), Unary::Negate),
            (atoms::absolute(), Unary::Absolute),
            (atoms::sigmoid(), Unary::Sigmoid),
            (atoms::relu(), Unary::Relu),
            (atoms::silu(), Unary::Silu),
            (atoms::gelu(), Unary::Gelu),
            (atoms::gelu_tanh(), Unary::GeluTanh),
        ],
    )
}

pub fn row_op(term: Term) -> Result<Row> {
    if let Ok([epsilon]) = record(term, atoms::layer_norm(), "operation") {
        return float(epsilon, "epsilon").map(Row::LayerNorm);
    }
    if let Ok([epsilon]) = record(term, atoms::rms_norm(), "operation") {
        return float(epsilon, "epsilon").map(Row::RmsNorm);
    }
    choice(
        term,
        "operation",
        &[
            (atoms::sum(), Row::Sum),
            (atoms::sum_of_squares(), Row::SumOfSquares),
            (atoms::mean(), Row::Mean),
            (atoms::variance(), Row::Variance),
            (atoms::max(), Row::Max),
            (atoms::min(), Row::Min),
            (atoms::argmax(), Row::Argmax),
            (atoms::argmin(), Row::Argmin),
            (atoms::softmax(), Row::Softmax),
            (atoms::log_softmax(), Row::LogSoftmax),
        ],
    )
}

/// A new binary of so many bytes, filled by `work`.
pub fn filled<'a>(env: Env<'a>, bytes: usize, work: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Term<'a>> {
    if bytes >= LARGE {
        buffer::expect_free(bytes as u64)?;
    }
    let mut binary = NewBinary::new(env, bytes);
    work(binary.as_mut_slice())?;
    Ok(binary.into())
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_contiguous<'a>(
    env: Env<'a>,
    width: Term<'a>,
    shape: Term<'a>,
    strides: Term<'a>,
    offset: Term<'a>,
    data: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (width, offset) = (count(width, "width")?, count(offset, "offset")?);
        let (shape, strides) = (counts(shape, "shape")?, counts(strides, "strides")?);
        let data = bytes(data, "data")?;
        let size = tensor::product(&[tensor::product(&shape)?, width])?;
        filled(env, size, |out| layout::contiguous(width, &shape, &strides, offset, &data, out, &alive(env)))
    })
}

/// -1 when there is none.
#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_first_non_finite<'a>(env: Env<'a>, dtype: Term<'a>, data: Term<'a>) -> Term<'a> {
    reply(env, || {
        let found = elementwise::first_non_finite(self::dtype(dtype)?, &bytes(data, "data")?)?;
        Ok(found.map_or_else(|| (-1).encode(env), |index| index.encode(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_cast<'a>(env: Env<'a>, from: Term<'a>, to: Term<'a>, data: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (from, to, data) = (dtype(from)?, dtype(to)?, bytes(data, "data")?);
        let size = tensor::product(&[tensor::count("data", from, &data)?, to.width()])?;
        filled(env, size, |out| elementwise::cast(from, to, &data, out, &alive(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_binary<'a>(env: Env<'a>, op: Term<'a>, dtype: Term<'a>, a: Term<'a>, b: Term<'a>) -> Term<'a> {
    reply(env, || {
        let op = binary_op(op)?;
        let (dtype, a, b) = (self::dtype(dtype)?, bytes(a, "operand")?, bytes(b, "operand")?);
        tensor::count("operand", dtype, &a)?;
        filled(env, a.len(), |out| elementwise::binary(op, dtype, &a, &b, out, &alive(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_unary<'a>(env: Env<'a>, op: Term<'a>, dtype: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (op, dtype, a) = (unary_op(op)?, self::dtype(dtype)?, bytes(a, "operand")?);
        filled(env, a.len(), |out| elementwise::unary(op, dtype, &a, out, &alive(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_rows<'a>(
    env: Env<'a>,
    op: Term<'a>,
    from: Term<'a>,
    to: Term<'a>,
    a: Term<'a>,
    length: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (op, from, to) = (row_op(op)?, dtype(from)?, dtype(to)?);
        let (a, length) = (bytes(a, "operand")?, count(length, "length")?);
        let rows = tensor::count("operand", from, &a)?.checked_div(length).unwrap_or(0);
        let size = tensor::product(&[rows, op.results(length), to.width()])?;
        filled(env, size, |out| row::rows(op, (from, to), &a, length, out, &alive(env)))
    })
}

#[expect(clippy::too_many_arguments, reason = "the arguments of viva_tensor_beam:matmul/8")]
#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_matmul<'a>(
    env: Env<'a>,
    dtype: Term<'a>,
    m: Term<'a>,
    k: Term<'a>,
    n: Term<'a>,
    a: Term<'a>,
    a_strides: Term<'a>,
    b: Term<'a>,
    b_strides: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let dtype = self::dtype(dtype)?;
        let lengths = (count(m, "m")?, count(k, "k")?, count(n, "n")?);
        let (a, b) = (bytes(a, "operand")?, bytes(b, "operand")?);
        let (a, b) = (operand(&a, a_strides)?, operand(&b, b_strides)?);
        let size = tensor::product(&[lengths.0, lengths.2, dtype.width()])?;
        filled(env, size, |out| product::matmul(dtype, lengths, a, b, out, &alive(env)))
    })
}

/// `{RowStride, ColumnStride}`
fn operand<'a>(data: &'a Binary, strides: Term) -> Result<Operand<'a>> {
    let [row_stride, column_stride] = each_count(tuple(strides, "strides", "a pair of integers")?, "strides")?;
    Ok(Operand { data, row_stride, column_stride })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_conv2d<'a>(env: Env<'a>, dtype: Term<'a>, input: Term<'a>, kernel: Term<'a>, size: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (dtype, input, kernel) = (self::dtype(dtype)?, bytes(input, "input")?, bytes(kernel, "kernel")?);
        let [images, channels, height, width, outputs, kh, kw, sh, sw, ph, pw] =
            each_count(record(size, atoms::convolution_size(), "size")?, "size")?;
        let (kernel_size, stride, pad) = ((kh, kw), (sh, sw), (ph, pw));
        let size = Convolution { images, channels, height, width, outputs, kernel: kernel_size, stride, pad };
        let bytes = tensor::product(&[size.size()?, dtype.width()])?;
        filled(env, bytes, |out| convolution::conv2d(dtype, &input, &kernel, &size, out, &alive(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn tensor_pool2d<'a>(env: Env<'a>, op: Term<'a>, dtype: Term<'a>, input: Term<'a>, size: Term<'a>) -> Term<'a> {
    reply(env, || {
        let op = choice(op, "operation", &[(atoms::max(), Pool::Max), (atoms::mean(), Pool::Mean)])?;
        let (dtype, input) = (self::dtype(dtype)?, bytes(input, "input")?);
        let fields = record(size, atoms::pool_size(), "size")?;
        let [planes, height, width, ph, pw, sh, sw] = each_count(fields, "size")?;
        let size = Pooling { planes, height, width, pool: (ph, pw), stride: (sh, sw) };
        let bytes = tensor::product(&[size.size()?, dtype.width()])?;
        filled(env, bytes, |out| convolution::pool2d(op, dtype, &input, &size, out, &alive(env)))
    })
}
