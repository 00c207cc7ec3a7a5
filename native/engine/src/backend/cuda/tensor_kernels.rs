//! Tensors' operations on a GPU: every size and every place is checked here, then kernels/tensor*.cu are queued.
//!
//! Operations are numbers as those sources have them; `crate::tensor::device` gives them their names. Each returns a new block.

use super::{
    argument::{Argument, OperandArgument, VIEW_AXES, ViewArgument},
    tensor::{Block, Gpu, Part, names},
};
use crate::{
    dtype::Dtype,
    error::{Error, Result},
};
use std::sync::Arc;

/// Elements of a block of threads, a row's segment, the longest rows that a thread reduces and that a warp normalises.
const ELEMENTS: usize = 1024;
const SEGMENT: usize = 4096;
const SHORT_REDUCED: usize = 64;
const SHORT: usize = 1024;

fn invalid(option: &str, expected: impl Into<String>, found: impl Into<String>) -> Error {
    Error::InvalidOption { option: option.into(), expected: expected.into(), found: found.into() }
}

fn product(lengths: &[usize]) -> Result<usize> {
    let product = lengths.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    let product = product.filter(|product| *product <= isize::MAX as usize);
    product.ok_or_else(|| invalid("size", "a number of elements that memory holds", format!("{lengths:?}")))
}

/// The number of elements.
fn count(dtype: Dtype, part: &Part<'_>) -> Result<usize> {
    let width = dtype.width();
    if part.bytes().is_multiple_of(width) && part.address().is_multiple_of(width as u64) {
        return Ok(part.bytes() / width);
    }
    Err(invalid("operand", format!("whole elements of {width} bytes"), format!("{} bytes", part.bytes())))
}

fn same_gpu<'a>(a: &Part<'a>, b: &Part<'_>) -> Result<Arc<Gpu>> {
    if Arc::ptr_eq(a.gpu(), b.gpu()) {
        return Ok(Arc::clone(a.gpu()));
    }
    let ordinal = |part: &Part<'_>| format!("cuda:{}", part.gpu().device().ordinal);
    Err(invalid("operand", format!("one on {}", ordinal(a)), format!("one on {}", ordinal(b))))
}

fn address(block: &Block) -> Argument {
    Argument::Address(block.whole().address())
}

fn at(part: &Part<'_>) -> Argument {
    Argument::Address(part.address())
}

fn long(number: usize) -> Argument {
    Argument::Long(number as u64)
}

/// The elements of a part in row-major order: how many steps along each axis, how many elements apart.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub part: Part<'a>,
    pub shape: &'a [usize],
    pub strides: &'a [usize],
}

impl View<'_> {
    /// The number of elements, all of which lie in the part.
    fn check(&self, width: usize) -> Result<usize> {
        let size = product(self.shape)?;
        if self.shape.len() != self.strides.len() {
            let found = format!("{} of {}", self.strides.len(), self.shape.len());
            return Err(invalid("strides", "one for each axis", found));
        }
        let axes = self.shape.iter().zip(self.strides);
        let last = axes.clone().try_fold(0_usize, |place, (length, stride)| {
            place.checked_add(length.saturating_sub(1).checked_mul(*stride)?)
        });
        let end = last.and_then(|last| last.checked_add(1)?.checked_mul(width));
        let aligned = self.part.address().is_multiple_of(width as u64);
        if size > 0 && !(aligned && end.is_some_and(|end| end <= self.part.bytes())) {
            let found = format!("{:?} at {:?}", self.shape, self.strides);
            return Err(invalid("view", format!("elements within {} bytes", self.part.bytes()), found));
        }
        Ok(size)
    }

    /// The axes from the last one on, those that lie side by side as one.
    fn axes(&self) -> Result<Vec<(usize, usize)>> {
        let mut axes: Vec<(usize, usize)> = vec![];
        for (&length, &stride) in self.shape.iter().zip(self.strides).rev().filter(|(length, _)| **length != 1) {
            match axes.last_mut() {
                Some(inner) if inner.0.checked_mul(inner.1) == Some(stride) => inner.0 *= length,
                _ => axes.push((length, stride)),
            }
        }
        if axes.is_empty() {
            axes.push((1, 0));
        }
        if axes.len() > VIEW_AXES {
            let expected = format!("a view of at most {VIEW_AXES} axes that do not lie side by side");
            return Err(Error::unsupported("tensor", expected, axes.len().to_string()));
        }
        Ok(axes)
    }
}

fn view_argument(axes: &[(usize, usize)]) -> Argument {
    let mut view = ViewArgument { axes: axes.len() as u32, ..ViewArgument::default() };
    for ((length, stride), axis) in view.lengths.iter_mut().zip(&mut view.strides).zip(axes.iter().rev()) {
        (*length, *stride) = (axis.0 as u64, axis.1 as u64);
    }
    Argument::View(view)
}

/// The most bytes, of 2 to 16, that pieces may have that lie at multiples of all of these.
fn piece(bytes: impl IntoIterator<Item = u64>) -> Result<usize> {
    let all = bytes.into_iter().fold(16, |all, bytes| all | bytes);
    let piece = 1 << all.trailing_zeros();
    if piece >= 2 { Ok(piece) } else { Err(invalid("operand", "elements at even addresses", format!("one at {all}"))) }
}

/// op(a), `dtype` being that of both.
pub fn unary(op: u32, (p, q): (f64, f64), dtype: Dtype, a: &Part<'_>) -> Result<Block> {
    let (count, gpu) = (count(dtype, a)?, a.gpu());
    let out = gpu.block(a.bytes())?;
    let arguments = [Argument::Count(op), Argument::Double(p), Argument::Double(q), at(a), address(&out), long(count)];
    // SAFETY: a and out have `count` elements.
    unsafe { gpu.launch(&format!("unary_{}", names(dtype).0), count.div_ceil(ELEMENTS), 1, 256, &arguments)? };
    Ok(out)
}

/// op(a, b) of two views of one shape.
pub fn binary(op: u32, dtype: Dtype, a: &View<'_>, b: &View<'_>) -> Result<Block> {
    let gpu = same_gpu(&a.part, &b.part)?;
    let size = a.check(dtype.width())?;
    if b.check(dtype.width())? != size {
        return Err(invalid("operand", format!("the shape {:?}", a.shape), format!("{:?}", b.shape)));
    }
    let out = gpu.block(product(&[size, dtype.width()])?)?;
    let (a_view, b_view) = (view_argument(&a.axes()?), view_argument(&b.axes()?));
    let arguments = [Argument::Count(op), at(&a.part), a_view, at(&b.part), b_view, address(&out), long(size)];
    // SAFETY: both views lie in their parts, and out has `size` elements.
    unsafe { gpu.launch(&format!("binary_{}", names(dtype).0), size.div_ceil(ELEMENTS), 1, 256, &arguments)? };
    Ok(out)
}

pub fn cast(from: Dtype, to: Dtype, a: &Part<'_>) -> Result<Block> {
    let (count, gpu) = (count(from, a)?, a.gpu());
    let out = gpu.block(product(&[count, to.width()])?)?;
    let types = [from, to].map(|dtype| Argument::Count(names(dtype).1));
    let arguments = [types[0], types[1], at(a), address(&out), long(count)];
    // SAFETY: a and out have `count` elements of their types.
    unsafe { gpu.launch("cast", count.div_ceil(ELEMENTS), 1, 256, &arguments)? };
    Ok(out)
}

/// A view's elements of `width` bytes one after the other.
pub fn contiguous(width: usize, view: &View<'_>) -> Result<Block> {
    if !matches!(width, 2 | 4 | 8) {
        return Err(invalid("width", "2, 4 or 8 bytes", width.to_string()));
    }
    let size = view.check(width)?;
    let (mut axes, gpu) = (view.axes()?, view.part.gpu());
    let out = gpu.block(product(&[size, width])?)?;
    // Runs are copied in pieces as long as all steps allow.
    let mut piece = width;
    if axes.first().is_some_and(|run| run.1 == 1) {
        let steps = axes.iter().skip(1).map(|axis| (axis.1 * width) as u64);
        let run = axes.first().map_or(0, |run| (run.0 * width) as u64);
        piece = self::piece(steps.chain([run, view.part.address()]))?.max(width);
        let per = piece / width;
        for (index, axis) in axes.iter_mut().enumerate() {
            if index == 0 { axis.0 /= per } else { axis.1 /= per }
        }
    }
    let pieces = size * width / piece;
    let arguments = [at(&view.part), view_argument(&axes), address(&out), long(pieces)];
    // SAFETY: the view lies in its part, and out has as many pieces.
    unsafe { gpu.launch(&format!("copy_{piece}"), pieces.div_ceil(ELEMENTS), 1, 256, &arguments)? };
    Ok(out)
}

/// [outer][length] runs of `run` bytes -> [outer][indices]
pub fn gather(a: &Part<'_>, length: usize, run: usize, indices: &[u64]) -> Result<Block> {
    if let Some(index) = indices.iter().find(|index| **index >= length as u64) {
        return Err(invalid("index", format!("one below {length}"), index.to_string()));
    }
    let lines = product(&[length, run])?;
    let outer = a.bytes().checked_div(lines).unwrap_or(0);
    if outer * lines != a.bytes() {
        return Err(invalid("operand", format!("runs of {lines} bytes"), format!("{} bytes", a.bytes())));
    }
    let gpu = a.gpu();
    let out = gpu.block(product(&[outer, indices.len(), run])?)?;
    if out.bytes() == 0 {
        return Ok(out);
    }
    let places = gpu.upload(bytemuck::cast_slice(indices), &|| true)?;
    let piece = piece([run as u64, a.address()])?;
    let pieces = out.bytes() / piece;
    let numbers = [length, indices.len(), run / piece, pieces].map(long);
    let arguments = [&[at(a), address(&places), address(&out)][..], &numbers].concat();
    // SAFETY: indices are below `length`, so all pieces lie in `a`; out has as many; places are given back after use.
    unsafe { gpu.launch(&format!("gather_{piece}"), pieces.div_ceil(ELEMENTS), 1, 256, &arguments)? };
    Ok(out)
}

/// `outer` lines, each of a run of every part, whose bytes are given: [outer][run of the first, run of the second, ..]
pub fn join(outer: usize, parts: &[(Part<'_>, usize)]) -> Result<Block> {
    let Some((first, _)) = parts.first() else { return Err(invalid("parts", "one or more", "none")) };
    let gpu = first.gpu();
    let pitch = parts.iter().try_fold(0_usize, |pitch, (_, run)| pitch.checked_add(*run));
    let pitch = pitch.ok_or_else(|| invalid("parts", "runs that memory holds", format!("{} parts", parts.len())))?;
    let out = gpu.block(product(&[outer, pitch])?)?;
    let mut place = 0;
    for (part, run) in parts {
        same_gpu(first, part)?;
        if product(&[outer, *run])? != part.bytes() {
            let expected = format!("{outer} runs of {run} bytes");
            return Err(invalid("operand", expected, format!("{} bytes", part.bytes())));
        }
        if part.bytes() > 0 {
            let piece = piece([*run, pitch, place].map(|bytes| bytes as u64).into_iter().chain([part.address()]))?;
            let pieces = part.bytes() / piece;
            let numbers = [run / piece, pitch / piece, place / piece, pieces].map(long);
            let arguments = [&[at(part), address(&out)][..], &numbers].concat();
            // SAFETY: the part has outer runs, out as many lines, of which the runs before take `place` bytes.
            unsafe { gpu.launch(&format!("join_{piece}"), pieces.div_ceil(ELEMENTS), 1, 256, &arguments)? };
        }
        place += run;
    }
    Ok(out)
}

/// What is made of the rows of `length` elements, at least one: the numbers of kernels/tensor_row.cu.
#[derive(Debug, Clone, Copy)]
pub struct Reduction {
    pub op: u32,
    pub what: u32,
}

/// Deviations from numbers of their rows.
const DEVIATIONS: u32 = 2;

/// A number of each row. `centers` are float64, one a row, for deviations.
pub fn reduce(
    reduction: Reduction,
    (from, to): (Dtype, Dtype),
    a: &Part<'_>,
    length: usize,
    centers: Option<&Part<'_>>,
) -> Result<Block> {
    let (size, gpu) = (count(from, a)?, a.gpu());
    if length == 0 || !size.is_multiple_of(length) {
        return Err(invalid("length", format!("a part of {size} elements"), length.to_string()));
    }
    let (rows, segments) = (size / length, length.div_ceil(SEGMENT));
    let tasks = product(&[rows, segments])?;
    let has_centers = centers.is_some_and(|centers| centers.bytes() == rows * 8);
    if (reduction.op == DEVIATIONS) != has_centers {
        return Err(Error::Internal { reason: "deviations from what?".into() });
    }
    let out = gpu.block(product(&[rows, to.width()])?)?;
    let centers = Argument::Address(centers.map_or(0, |centers| centers.address()));
    let (name, number) = names(from);
    let (op, what) = (Argument::Count(reduction.op), Argument::Count(reduction.what));
    if length <= SHORT_REDUCED {
        let [length, to] = [length as u32, names(to).1].map(Argument::Count);
        let arguments = [op, what, at(a), length, centers, to, address(&out), long(rows)];
        // SAFETY: a has rows of `length`, centers as many as rows, out an element for each.
        unsafe { gpu.launch(&format!("reduce_short_{name}"), rows.div_ceil(256), 1, 256, &arguments)? };
        return Ok(out);
    }
    // sizeof(Found)
    let found = gpu.block(product(&[tasks, 16])?)?;
    let arguments = [op, at(a), long(length), long(segments), long(tasks), centers, address(&found)];
    // SAFETY: a has rows of `length`, found a place for each of their segments, centers as many as rows.
    unsafe { gpu.launch(&format!("reduce_{name}"), tasks.div_ceil(8), 1, 256, &arguments)? };
    let arguments = [
        op,
        what,
        address(&found),
        long(segments),
        Argument::Count(number),
        at(a),
        long(length),
        Argument::Count(names(to).1),
        address(&out),
        long(rows),
    ];
    // SAFETY: as above, and out has an element for each row.
    unsafe { gpu.launch("reduced", rows.div_ceil(8), 1, 256, &arguments)? };
    Ok(out)
}

/// As many numbers for each row of `length` elements, at least one.
pub fn normalise(op: u32, epsilon: f64, dtype: Dtype, a: &Part<'_>, length: usize) -> Result<Block> {
    let (size, gpu) = (count(dtype, a)?, a.gpu());
    if length == 0 || !size.is_multiple_of(length) {
        return Err(invalid("length", format!("a part of {size} elements"), length.to_string()));
    }
    let narrow = u32::try_from(length).ok().filter(|length| *length <= i32::MAX as u32);
    let most = || Error::unsupported("tensor", "rows of at most 2147483647 elements", length.to_string());
    let (rows, narrow) = (size / length, narrow.ok_or_else(most)?);
    let out = gpu.block(a.bytes())?;
    let arguments =
        [Argument::Count(op), Argument::Double(epsilon), at(a), address(&out), Argument::Count(narrow), long(rows)];
    let (stem, blocks) = if length <= SHORT { ("short_rows", rows.div_ceil(8)) } else { ("long_rows", rows) };
    // SAFETY: a and out have rows of `length` elements.
    unsafe { gpu.launch(&format!("{stem}_{}", names(dtype).0), blocks, 1, 256, &arguments)? };
    Ok(out)
}

/// Matrices at strides in elements: from one to the next, from row to row, from column to column.
#[derive(Debug, Clone, Copy)]
pub struct Matrices<'a> {
    pub part: Part<'a>,
    pub batch: usize,
    pub row: usize,
    pub column: usize,
}

impl Matrices<'_> {
    fn check(&self, dtype: Dtype, batch: usize, rows: usize, columns: usize) -> Result<Argument> {
        let (shape, strides) = ([batch, rows, columns], [self.batch, self.row, self.column]);
        View { part: self.part, shape: &shape, strides: &strides }.check(dtype.width())?;
        let Matrices { part, batch, row, column } = *self;
        let [batch, row, column] = [batch, row, column].map(|stride| stride as u64);
        Ok(Argument::Operand(OperandArgument { at: part.address(), batch, row, column }))
    }
}

/// `batch` products [M, K] x [K, N] -> [M, N]
pub fn multiply(
    dtype: Dtype,
    batch: usize,
    (m, k, n): (usize, usize, usize),
    a: &Matrices<'_>,
    b: &Matrices<'_>,
) -> Result<Block> {
    let gpu = same_gpu(&a.part, &b.part)?;
    let (left, right) = (a.check(dtype, batch, m, k)?, b.check(dtype, batch, k, n)?);
    let out = gpu.block(product(&[batch, m, n, dtype.width()])?)?;
    if out.bytes() == 0 {
        return Ok(out);
    }
    let tiles = |edge: usize| product(&[m.div_ceil(edge), n.div_ceil(edge)]);
    let enough = tiles(128)?.saturating_mul(batch) >= gpu.device().multiprocessors as usize;
    let (stem, blocks) = match dtype {
        // Large tiles where there are enough of them for all multiprocessors; float64 has no room for them.
        Dtype::Float32 if enough => ("product_wide", tiles(128)?),
        Dtype::Float64 | Dtype::Float32 => ("product", tiles(64)?),
        Dtype::Float16 | Dtype::BFloat16 => ("product", tiles(128)?),
    };
    let sizes = [m, k, n, batch].map(long);
    let arguments = [&[left, right, address(&out)][..], &sizes].concat();
    // SAFETY: all matrices lie in their parts, and out has batch * m * n elements.
    unsafe {
        gpu.launch(&format!("{stem}_{}", names(dtype).0), blocks, batch.min(65535) as u32, 256, &arguments)?;
    }
    Ok(out)
}
