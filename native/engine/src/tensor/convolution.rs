//! Windows over planes: convolution as a product of matrices, and pooling.
//!
//! The windows of an image become the columns of a matrix, some rows of the output at a time so that they fit a cache;
//! kernels times columns is the output. As matrices, float64 in float64, other types in float32.

use rayon::prelude::*;

use super::{
    Alive, Result, check_bytes, each_dtype,
    element::{BF16, Dtype, Element, F16, F32, F64, plain},
    elementwise::larger,
    invalid, product,
    product::{aligned, narrow, widened},
    wanted,
};
use crate::backend::tensor::{Matrix, Real, matmul, pool};

/// Elements of the matrix of windows at a time.
const COLUMNS: usize = 1 << 20;

/// [N, C, H, W] * [O, C, KH, KW], strides and zeros around.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    pub images: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub outputs: usize,
    pub kernel: (usize, usize),
    pub stride: (usize, usize),
    pub pad: (usize, usize),
}

/// How many windows of `kernel` fit, `stride` apart.
fn windows(length: usize, kernel: usize, stride: usize) -> Result<usize> {
    let steps = length.checked_sub(kernel).and_then(|room| room.checked_div(stride)).filter(|_| kernel > 0);
    steps.map(|steps| steps + 1).ok_or_else(|| {
        invalid("window", format!("a size from 1 to {length} and a stride of 1 or more"), format!("{kernel}, {stride}"))
    })
}

fn padded(length: usize, pad: usize) -> Result<usize> {
    let around = pad.checked_mul(2).and_then(|pad| pad.checked_add(length));
    around.ok_or_else(|| invalid("padding", "a length that memory holds", pad.to_string()))
}

impl Convolution {
    /// OH and OW
    pub fn output(&self) -> Result<(usize, usize)> {
        let down = windows(padded(self.height, self.pad.0)?, self.kernel.0, self.stride.0)?;
        let across = windows(padded(self.width, self.pad.1)?, self.kernel.1, self.stride.1)?;
        Ok((down, across))
    }

    /// Elements of the output.
    pub fn size(&self) -> Result<usize> {
        let (oh, ow) = self.output()?;
        product(&[self.images, self.outputs, oh, ow])
    }
}

pub fn conv2d(
    dtype: Dtype,
    input: &[u8],
    kernel: &[u8],
    size: &Convolution,
    out: &mut [u8],
    alive: Alive<'_>,
) -> Result<()> {
    let Convolution { images, channels, height, width, outputs, .. } = *size;
    let bytes = dtype.width();
    check_bytes("input", input, product(&[images, channels, height, width, bytes])?)?;
    check_bytes("kernel", kernel, product(&[outputs, channels, size.kernel.0, size.kernel.1, bytes])?)?;
    check_bytes("result", out, product(&[size.size()?, bytes])?)?;
    if out.is_empty() || channels == 0 {
        out.fill(0);
        return Ok(());
    }
    match dtype {
        Dtype::Float64 => {
            let elements = convolve::<f64>(&aligned(input), &aligned(kernel), size, alive)?;
            for (x, out) in elements.iter().zip(out.chunks_exact_mut(F64::WIDTH)) {
                F64::write(plain(*x), out);
            }
        }
        Dtype::Float32 => narrow::<F32>(&convolve::<f32>(&aligned(input), &aligned(kernel), size, alive)?, out),
        Dtype::Float16 => {
            narrow::<F16>(&convolve::<f32>(&widened::<F16>(input), &widened::<F16>(kernel), size, alive)?, out);
        }
        Dtype::BFloat16 => {
            narrow::<BF16>(&convolve::<f32>(&widened::<BF16>(input), &widened::<BF16>(kernel), size, alive)?, out);
        }
    }
    Ok(())
}

fn convolve<T: Real>(input: &[T], kernel: &[T], size: &Convolution, alive: Alive<'_>) -> Result<Vec<T>> {
    let (oh, ow) = size.output()?;
    // [O, C * KH * KW] x [C * KH * KW, rows * OW]
    let depth = product(&[size.channels, size.kernel.0, size.kernel.1])?;
    let (plane, image) = (product(&[oh, ow])?, product(&[size.channels, size.height, size.width])?);
    let rows = (COLUMNS / product(&[depth, ow])?.max(1)).clamp(1, oh);
    let weights = Matrix { data: kernel, row_stride: depth, column_stride: 1 };
    let mut out = vec![T::ZERO; size.size()?];
    let mut columns = vec![T::ZERO; product(&[depth, rows, ow])?];
    for (image, out) in input.chunks_exact(image).zip(out.chunks_exact_mut(size.outputs * plane)) {
        for first in (0..oh).step_by(rows) {
            wanted(alive)?;
            let rows = rows.min(oh - first);
            fill_columns(image, size, (first, rows, ow), &mut columns)?;
            let windows = Matrix { data: &columns, row_stride: rows * ow, column_stride: 1 };
            let out = out.get_mut(first * ow..).unwrap_or_default();
            pool()?.install(|| matmul((size.outputs, depth, rows * ow), &weights, &windows, out, plane))?;
        }
    }
    Ok(out)
}

/// The windows of `rows` rows of the output from `first` on, one a column.
fn fill_columns<T: Real>(
    image: &[T],
    size: &Convolution,
    (first, rows, ow): (usize, usize, usize),
    columns: &mut [T],
) -> Result<()> {
    let (kh, kw) = size.kernel;
    let line = |(index, line): (usize, &mut [T])| {
        let (channel, ky, kx) = (index / (kh * kw), index / kw % kh, index % kw);
        for (row, out) in line.chunks_exact_mut(ow).enumerate() {
            let y = ((first + row) * size.stride.0 + ky).checked_sub(size.pad.0).filter(|y| *y < size.height);
            let start = y.map(|y| (channel * size.height + y) * size.width);
            let source = start.and_then(|start| image.get(start..start + size.width)).unwrap_or_default();
            for (index, out) in out.iter_mut().enumerate() {
                let x = (index * size.stride.1 + kx).checked_sub(size.pad.1);
                *out = x.and_then(|x| source.get(x)).copied().unwrap_or(T::ZERO);
            }
        }
    };
    let lines = columns.par_chunks_exact_mut(rows * ow).enumerate();
    pool()?.install(|| lines.for_each(line));
    Ok(())
}

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    Max,
    Mean,
}

/// Planes of [H, W]
#[derive(Debug, Clone, Copy)]
pub struct Pooling {
    pub planes: usize,
    pub height: usize,
    pub width: usize,
    pub pool: (usize, usize),
    pub stride: (usize, usize),
}

impl Pooling {
    /// OH and OW
    pub fn output(&self) -> Result<(usize, usize)> {
        let down = windows(self.height, self.pool.0, self.stride.0)?;
        Ok((down, windows(self.width, self.pool.1, self.stride.1)?))
    }

    /// Elements of the output.
    pub fn size(&self) -> Result<usize> {
        let (oh, ow) = self.output()?;
        product(&[self.planes, oh, ow])
    }
}

pub fn pool2d(op: Pool, dtype: Dtype, input: &[u8], size: &Pooling, out: &mut [u8], alive: Alive<'_>) -> Result<()> {
    let width = dtype.width();
    check_bytes("input", input, product(&[size.planes, size.height, size.width, width])?)?;
    check_bytes("result", out, product(&[size.size()?, width])?)?;
    let (oh, ow) = size.output()?;
    wanted(alive)?;
    each_dtype!(dtype, T => {
        let plane = |(input, out): (&[u8], &mut [u8])| {
            for (index, out) in out.chunks_exact_mut(T::WIDTH).enumerate() {
                let start = (index / ow * size.stride.0, index % ow * size.stride.1);
                T::write(window::<T>(op, input, size, start), out);
            }
        };
        let (from, to) = (size.height * size.width * width, oh * ow * width);
        let planes = input.par_chunks_exact(from).zip(out.par_chunks_exact_mut(to));
        pool()?.install(|| planes.for_each(plane));
    });
    Ok(())
}

/// From left to right and from top to bottom, as the BEAM does it.
fn window<T: Element>(op: Pool, plane: &[u8], size: &Pooling, (y, x): (usize, usize)) -> f64 {
    let lines = (y..y + size.pool.0).map(|y| (y * size.width + x) * T::WIDTH);
    let elements = lines.flat_map(|start| {
        let line = plane.get(start..start + size.pool.1 * T::WIDTH).unwrap_or_default();
        line.chunks_exact(T::WIDTH).map(T::read)
    });
    plain(match op {
        Pool::Max => elements.fold(f64::NEG_INFINITY, larger),
        Pool::Mean => elements.fold(0.0, |sum, x| sum + x) / (size.pool.0 * size.pool.1) as f64,
    })
}
