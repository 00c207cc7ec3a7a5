//! Tensors on a GPU: blocks of device memory in, a new block out. viva_tensor_nif.erl says what each function takes.
//!
//! A block is a resource, whose memory is freed with its last reference. The surprise: an operation is queued on the GPU and
//! returns; who downloads waits, and is told then what went wrong.

use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use viva_tensor_engine::{
    error::Result,
    tensor::device::{self, Block, Matrices, Part, View},
};

use crate::{
    alive, reply,
    tensor::{binary_op, bytes, counts, dtype, each_count, filled, row_op, unary_op},
    terms::{count, invalid, list, record, tuple},
};

mod atoms {
    rustler::atoms! { block }
}

/// Memory on a GPU.
pub struct BlockResource(Block);

#[rustler::resource_impl(name = "viva_tensor_block")]
impl Resource for BlockResource {}

/// What a block's term refers to, and which of its bytes.
pub struct Bytes {
    resource: ResourceArc<BlockResource>,
    start: usize,
    bytes: usize,
}

impl Bytes {
    pub fn part(&self) -> Result<Part<'_>> {
        self.resource.0.part(self.start, self.bytes)
    }
}

/// `{block, Resource, Device, Start, Bytes}`
pub fn block(term: Term) -> Result<Bytes> {
    let [resource, _, start, bytes] = record(term, atoms::block(), "block")?;
    let resource = resource.decode().map_err(|_| invalid("block", "memory on a GPU", resource))?;
    Ok(Bytes { resource, start: count(start, "start")?, bytes: count(bytes, "bytes")? })
}

pub fn made<'a>(env: Env<'a>, block: Block) -> Term<'a> {
    let (device, bytes) = (block.gpu().device().ordinal, block.bytes());
    (atoms::block(), ResourceArc::new(BlockResource(block)), device, 0, bytes).encode(env)
}

/// The integers of a tuple.
fn integers<const N: usize>(term: Term, name: &str) -> Result<[usize; N]> {
    each_count(tuple(term, name, &format!("{N} integers"))?, name)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_put<'a>(env: Env<'a>, index: Term<'a>, data: Term<'a>) -> Term<'a> {
    reply(env, || {
        let gpu = device::gpu(count(index, "device")?)?;
        Ok(made(env, gpu.upload(&bytes(data, "data")?, &alive(env))?))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_get<'a>(env: Env<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let a = block(a)?;
        let part = a.part()?;
        filled(env, part.bytes(), |out| part.download(out, &alive(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_contiguous<'a>(env: Env<'a>, width: Term<'a>, shape: Term<'a>, strides: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (width, a) = (count(width, "width")?, block(a)?);
        let (shape, strides) = (counts(shape, "shape")?, counts(strides, "strides")?);
        let view = View { part: a.part()?, shape: &shape, strides: &strides };
        Ok(made(env, device::contiguous(width, &view)?))
    })
}

/// -1 when there is none.
#[rustler::nif(schedule = "DirtyCpu")]
fn device_first_non_finite<'a>(env: Env<'a>, dtype: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (dtype, a) = (self::dtype(dtype)?, block(a)?);
        let found = device::first_non_finite(dtype, &a.part()?, &alive(env))?;
        Ok(found.map_or_else(|| (-1).encode(env), |index| index.encode(env)))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_cast<'a>(env: Env<'a>, from: Term<'a>, to: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (from, to, a) = (dtype(from)?, dtype(to)?, block(a)?);
        Ok(made(env, device::cast(from, to, &a.part()?)?))
    })
}

#[expect(clippy::too_many_arguments, reason = "two views of one shape")]
#[rustler::nif(schedule = "DirtyCpu")]
fn device_binary<'a>(
    env: Env<'a>,
    op: Term<'a>,
    dtype: Term<'a>,
    shape: Term<'a>,
    a: Term<'a>,
    a_strides: Term<'a>,
    b: Term<'a>,
    b_strides: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (op, dtype, shape) = (binary_op(op)?, self::dtype(dtype)?, counts(shape, "shape")?);
        let (a, b) = (block(a)?, block(b)?);
        let (a_strides, b_strides) = (counts(a_strides, "strides")?, counts(b_strides, "strides")?);
        let left = View { part: a.part()?, shape: &shape, strides: &a_strides };
        let right = View { part: b.part()?, shape: &shape, strides: &b_strides };
        Ok(made(env, device::binary(op, dtype, &left, &right)?))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_unary<'a>(env: Env<'a>, op: Term<'a>, dtype: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (op, dtype, a) = (unary_op(op)?, self::dtype(dtype)?, block(a)?);
        Ok(made(env, device::unary(op, dtype, &a.part()?)?))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_rows<'a>(
    env: Env<'a>,
    op: Term<'a>,
    from: Term<'a>,
    to: Term<'a>,
    a: Term<'a>,
    length: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (op, from, to) = (row_op(op)?, dtype(from)?, dtype(to)?);
        let (a, length) = (block(a)?, count(length, "length")?);
        Ok(made(env, device::rows(op, (from, to), &a.part()?, length)?))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_matmul<'a>(
    env: Env<'a>,
    dtype: Term<'a>,
    sizes: Term<'a>,
    a: Term<'a>,
    a_strides: Term<'a>,
    b: Term<'a>,
    b_strides: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (dtype, [batch, m, k, n]) = (self::dtype(dtype)?, integers(sizes, "sizes")?);
        let (left, right) = (block(a)?, block(b)?);
        let (left, right) = (matrices(&left, a_strides)?, matrices(&right, b_strides)?);
        Ok(made(env, device::multiply(dtype, batch, (m, k, n), &left, &right)?))
    })
}

/// `{BatchStride, RowStride, ColumnStride}`
fn matrices<'a>(bytes: &'a Bytes, strides: Term) -> Result<Matrices<'a>> {
    let [batch, row, column] = integers(strides, "strides")?;
    Ok(Matrices { part: bytes.part()?, batch, row, column })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_gather<'a>(env: Env<'a>, length: Term<'a>, run: Term<'a>, indices: Term<'a>, a: Term<'a>) -> Term<'a> {
    reply(env, || {
        let (length, run, a) = (count(length, "length")?, count(run, "run")?, block(a)?);
        let indices: Vec<u64> = counts(indices, "indices")?.into_iter().map(|index| index as u64).collect();
        Ok(made(env, device::gather(&a.part()?, length, run, &indices)?))
    })
}

/// `[{Block, RunBytes}]`
#[rustler::nif(schedule = "DirtyCpu")]
fn device_join<'a>(env: Env<'a>, outer: Term<'a>, parts: Term<'a>) -> Term<'a> {
    reply(env, || {
        let outer = count(outer, "outer")?;
        let mut blocks = vec![];
        for term in list(parts, "parts")? {
            let [part, run] = tuple(term, "parts", "pairs of a block and a length")?;
            blocks.push((block(part)?, count(run, "run")?));
        }
        let parts = blocks.iter().map(|(bytes, run)| Ok((bytes.part()?, *run))).collect::<Result<Vec<_>>>()?;
        Ok(made(env, device::join(outer, &parts)?))
    })
}
