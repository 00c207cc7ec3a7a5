//! The same operations on a GPU, in its own memory: blocks in, a new block out.
//!
//! Each means what its namesake on the host means, to the bit where only IEEE arithmetic is in it; exp, log, tanh and erf are
//! the GPU's own, and sums go in the orders that kernels/tensor_row.cu and kernels/tensor_product.cu state. An operation is
//! queued and returns; the errors of kernels come with the next download.

use crate::backend::cuda::tensor_kernels::{self as kernels, Reduction};
pub use crate::backend::cuda::{
    tensor::{Block, Gpu, Part, gpu},
    tensor_kernels::{Matrices, View, cast, contiguous, gather, join, multiply},
};

use super::{
    Alive, Dtype, Result,
    elementwise::{Binary, Unary},
    row::Row,
};

pub fn unary(op: Unary, dtype: Dtype, a: &Part<'_>) -> Result<Block> {
    let (op, numbers) = match op {
        Unary::Scale(factor) => (0, (factor, 0.0)),
        Unary::Clamp(low, high) => (1, (low, high)),
        Unary::Exp => (2, (0.0, 0.0)),
        Unary::Log => (3, (0.0, 0.0)),
        Unary::Sqrt => (4, (0.0, 0.0)),
        Unary::Tanh => (5, (0.0, 0.0)),
        Unary::Negate => (6, (0.0, 0.0)),
        Unary::Absolute => (7, (0.0, 0.0)),
        Unary::Sigmoid => (8, (0.0, 0.0)),
        Unary::Relu => (9, (0.0, 0.0)),
        Unary::Silu => (10, (0.0, 0.0)),
        Unary::Gelu => (11, (0.0, 0.0)),
        Unary::GeluTanh => (12, (0.0, 0.0)),
    };
    kernels::unary(op, numbers, dtype, a)
}

/// Two views of one shape.
pub fn binary(op: Binary, dtype: Dtype, a: &View<'_>, b: &View<'_>) -> Result<Block> {
    let op = match op {
        Binary::Add => 0,
        Binary::Subtract => 1,
        Binary::Multiply => 2,
        Binary::Divide => 3,
        Binary::Larger => 4,
        Binary::Smaller => 5,
    };
    kernels::binary(op, dtype, a, b)
}

/// Rows of `length` elements of the type `from`, results of the type `to`.
pub fn rows(op: Row, (from, to): (Dtype, Dtype), a: &Part<'_>, length: usize) -> Result<Block> {
    let reduce = |op, what, to, centers| kernels::reduce(Reduction { op, what }, (from, to), a, length, centers);
    let (op, epsilon) = match op {
        Row::Sum => return reduce(0, 0, to, None),
        Row::SumOfSquares => return reduce(1, 0, to, None),
        Row::Mean => return reduce(0, 1, to, None),
        Row::Variance => {
            let means = reduce(0, 1, Dtype::Float64, None)?;
            return reduce(2, 1, to, Some(&means.whole()));
        }
        Row::Max => return reduce(3, 0, to, None),
        Row::Min => return reduce(4, 0, to, None),
        Row::Argmax => return reduce(3, 2, to, None),
        Row::Argmin => return reduce(4, 2, to, None),
        Row::Softmax => (0, 0.0),
        Row::LogSoftmax => (1, 0.0),
        Row::LayerNorm(epsilon) => (2, epsilon),
        Row::RmsNorm(epsilon) => (3, epsilon),
    };
    let out = kernels::normalise(op, epsilon, from, a, length)?;
    if from == to { Ok(out) } else { cast(from, to, &out.whole()) }
}

/// The index of the first NaN or infinity.
pub fn first_non_finite(dtype: Dtype, a: &Part<'_>, alive: Alive<'_>) -> Result<Option<usize>> {
    if a.bytes() == 0 {
        return Ok(None);
    }
    let length = a.bytes() / dtype.width();
    let found = kernels::reduce(Reduction { op: 5, what: 2 }, (dtype, Dtype::Float64), a, length, None)?;
    let mut index = [0; 8];
    found.whole().download(&mut index, alive)?;
    let index = f64::from_le_bytes(index);
    Ok((index >= 0.0).then_some(index as usize))
}
