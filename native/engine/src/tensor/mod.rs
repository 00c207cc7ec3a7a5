//! Tensor kernels on bytes: little-endian elements in, little-endian elements out.
//!
//! The same jobs as src/viva_tensor_beam.erl, which says what each means; the two differ in nothing but the order of
//! sums. An operand is a byte slice in place, which may lie at any address; the caller gives the bytes for the result.
//! Work on large operands is cut into pieces, and between them `alive` is asked whether anyone still wants the result.

pub mod convolution;
pub mod device;
pub mod element;
pub mod elementwise;
pub mod layout;
pub mod packed;
pub mod product;
pub mod row;

#[cfg(test)]
mod tests;

pub use element::Dtype;

use crate::error::{Error, Result};

/// Elements between two looks at the caller.
const PIECE: usize = 1 << 22;
/// Elements that a thread takes at a time.
const GRAIN: usize = 1 << 14;

/// Whether anyone still wants the result.
pub type Alive<'a> = &'a dyn Fn() -> bool;

fn wanted(alive: Alive<'_>) -> Result<()> {
    if alive() { Ok(()) } else { Err(Error::Cancelled) }
}

fn invalid(option: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::InvalidOption { option: option.into(), expected: expected.into(), found: found.into() }
}

/// The product of lengths, when it is a number of bytes that can be.
pub fn product(lengths: &[usize]) -> Result<usize> {
    let product = lengths.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    product
        .filter(|product| *product <= isize::MAX as usize)
        .ok_or_else(|| invalid("size", "a number of elements that memory holds", format!("{lengths:?}")))
}

/// Exactly so many bytes.
fn check_bytes(name: &str, bytes: &[u8], expected: usize) -> Result<()> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(invalid(name, format!("{expected} bytes"), format!("{} bytes", bytes.len())))
}

/// The number of elements in bytes.
pub fn count(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<usize> {
    let width = dtype.width();
    if bytes.len().is_multiple_of(width) {
        return Ok(bytes.len() / width);
    }
    Err(invalid(name, format!("elements of {width} bytes"), format!("{} bytes", bytes.len())))
}

/// Runs the body with `$t` for the element type.
macro_rules! each_dtype {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::tensor::Dtype::Float64 => {
                type $t = $crate::tensor::element::F64;
                $body
            }
            $crate::tensor::Dtype::Float32 => {
                type $t = $crate::tensor::element::F32;
                $body
            }
            $crate::tensor::Dtype::Float16 => {
                type $t = $crate::tensor::element::F16;
                $body
            }
            $crate::tensor::Dtype::BFloat16 => {
                type $t = $crate::tensor::element::BF16;
                $body
            }
        }
    };
}
use each_dtype;
