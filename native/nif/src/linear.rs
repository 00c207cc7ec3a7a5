//! Packed weights and their products; viva_tensor_packed.erl says what each function does.
//!
//! Elements come and go as little-endian float32. A packed weight is a resource: its memory is the engine's, not the VM's.

use rustler::{Encoder, Env, Resource, ResourceArc, Term};
use viva_tensor_engine::{
    buffer,
    error::{Error, Result},
    quant::{Format, Packing},
    tensor::{
        packed::{Activations, DeviceWeight, Loss, PackedWeight, Weight},
        product,
    },
};

use crate::{
    alive,
    device::{block, made},
    reply,
    resources::reap,
    tensor::{bytes, dtype, filled},
    terms::{boolean, count, invalid, record},
};

mod atoms {
    rustler::atoms! {
        fp8, fp8_blocks, int8, int4, int8_sparse24, int4_sparse24,
        float, rounded_fp8, rounded_int8, packed, bias, no_bias,
    }
}

/// A packed weight; empty only while it is being dropped.
pub struct PackedResource(Option<PackedWeight>);

#[rustler::resource_impl(name = "viva_tensor_packed")]
impl Resource for PackedResource {}

impl Drop for PackedResource {
    fn drop(&mut self) {
        reap(self.0.take());
    }
}

/// A packed weight on a GPU. Its memory goes back by the engine's own thread for that.
pub struct DevicePackedResource(DeviceWeight);

#[rustler::resource_impl(name = "viva_tensor_device_packed")]
impl Resource for DevicePackedResource {}

fn packed(term: Term) -> Result<ResourceArc<PackedResource>> {
    term.decode().map_err(|_| invalid("packed weight", "a packed weight", term))
}

fn weight(resource: &PackedResource) -> Result<&PackedWeight> {
    resource.0.as_ref().ok_or_else(|| Error::Internal { reason: "a packed weight was used after its end".into() })
}

/// `fp8`, `{fp8_blocks, Columns}`, `int8`, `{int4, Group}`, `int8_sparse24` or `int4_sparse24`
fn packing(term: Term, inputs: usize) -> Result<Packing> {
    let names = [
        (atoms::fp8(), Format::F8E4m3),
        (atoms::int8(), Format::Int8),
        (atoms::int8_sparse24(), Format::Int8Sparse24),
        (atoms::int4_sparse24(), Format::Int4Sparse24),
    ];
    if let Some((_, format)) = names.iter().find(|(name, _)| *name == term) {
        return Ok(Packing { format: *format, scale_cols: inputs });
    }
    for (name, format) in [(atoms::fp8_blocks(), Format::F8E4m3), (atoms::int4(), Format::Int4)] {
        if let Ok([columns]) = record(term, name, "format") {
            return Ok(Packing { format, scale_cols: count(columns, "columns of a scale")? });
        }
    }
    Err(invalid("format", "fp8, {fp8_blocks, N}, int8, {int4, N}, int8_sparse24 or int4_sparse24", term))
}

fn activations(term: Term) -> Result<Activations> {
    match term {
        term if atoms::float() == term => Ok(Activations::Float),
        term if atoms::rounded_fp8() == term => Ok(Activations::F8E4m3),
        term if atoms::rounded_int8() == term => Ok(Activations::Int8),
        term => Err(invalid("activations", "float, rounded_fp8 or rounded_int8", term)),
    }
}

/// Float32 elements, which need not be aligned in a binary.
fn floats(term: Term, name: &str) -> Result<Vec<f32>> {
    let bytes = bytes(term, name)?;
    let (elements, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(invalid(name, "whole float32 elements", term));
    }
    buffer::expect_free(bytes.len() as u64)?;
    Ok(elements.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// A matrix of [rows, columns] float32 elements, as a binary, that `work` computes.
fn filled_floats<'a>(env: Env<'a>, shape: [usize; 2], work: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Term<'a>> {
    let elements = product(&shape)?;
    let bytes = product(&[elements, 4])?;
    // The elements here and the binary.
    buffer::expect_free((bytes as u64).saturating_mul(2))?;
    let mut values = vec![0.0; elements];
    work(&mut values)?;
    filled(env, bytes, |out| {
        for (bytes, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
        Ok(())
    })
}

/// `{packed, Resource, Bytes, RelativeError, LargestError, Pruned}`
fn packed_record<'a>(env: Env<'a>, resource: impl Encoder, bytes: usize, loss: Loss) -> Term<'a> {
    (atoms::packed(), resource, bytes, loss.relative, loss.largest, loss.pruned).encode(env)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn packed_pack<'a>(
    env: Env<'a>,
    format: Term<'a>,
    inputs: Term<'a>,
    outputs: Term<'a>,
    transposed: Term<'a>,
    data: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (inputs, outputs) = (count(inputs, "inputs")?, count(outputs, "outputs")?);
        let (packing, transposed) = (packing(format, inputs)?, boolean(transposed, "transposed")?);
        let data = floats(data, "weight")?;
        let weight = PackedWeight::pack(Weight { data: &data, inputs, outputs, transposed }, packing, &alive(env))?;
        let (bytes, loss) = (weight.bytes(), weight.loss);
        Ok(packed_record(env, ResourceArc::new(PackedResource(Some(weight))), bytes, loss))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn packed_unpack<'a>(env: Env<'a>, resource: Term<'a>) -> Term<'a> {
    reply(env, || {
        let resource = packed(resource)?;
        let weight = weight(&resource)?;
        filled_floats(env, [weight.inputs(), weight.outputs()], |out| weight.unpack(out))
    })
}

/// Activations: `float`, `rounded_fp8` or `rounded_int8`. A bias of no bytes is none.
#[rustler::nif(schedule = "DirtyCpu")]
fn packed_linear<'a>(
    env: Env<'a>,
    resource: Term<'a>,
    activations: Term<'a>,
    input: Term<'a>,
    bias: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let activations = self::activations(activations)?;
        let (resource, input, bias) = (packed(resource)?, floats(input, "input")?, floats(bias, "bias")?);
        let weight = weight(&resource)?;
        let batch = input.len().checked_div(weight.inputs()).unwrap_or(0);
        filled_floats(env, [batch, weight.outputs()], |out| {
            weight.multiply(&input, activations, &bias, out, &alive(env))
        })
    })
}

fn device_weight(term: Term) -> Result<ResourceArc<DevicePackedResource>> {
    term.decode().map_err(|_| invalid("packed weight", "a packed weight on a GPU", term))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_pack<'a>(
    env: Env<'a>,
    format: Term<'a>,
    inputs: Term<'a>,
    outputs: Term<'a>,
    transposed: Term<'a>,
    weight: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let lengths = (count(inputs, "inputs")?, count(outputs, "outputs")?);
        let (packing, transposed) = (packing(format, lengths.0)?, boolean(transposed, "transposed")?);
        let weight = block(weight)?;
        let weight = DeviceWeight::pack(&weight.part()?, lengths, transposed, packing, &alive(env))?;
        let (bytes, loss) = (weight.bytes(), weight.loss);
        Ok(packed_record(env, ResourceArc::new(DevicePackedResource(weight)), bytes, loss))
    })
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_unpack<'a>(env: Env<'a>, resource: Term<'a>) -> Term<'a> {
    reply(env, || Ok(made(env, device_weight(resource)?.0.unpack()?)))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn device_products<'a>(env: Env<'a>, resource: Term<'a>) -> Term<'a> {
    reply(env, || Ok(device_weight(resource)?.0.products().encode(env)))
}

/// The bias is `{bias, Block}` or `no_bias`.
#[rustler::nif(schedule = "DirtyCpu")]
fn device_linear<'a>(
    env: Env<'a>,
    resource: Term<'a>,
    activations: Term<'a>,
    dtype: Term<'a>,
    input: Term<'a>,
    bias: Term<'a>,
) -> Term<'a> {
    reply(env, || {
        let (resource, activations) = (device_weight(resource)?, self::activations(activations)?);
        let (dtype, input) = (self::dtype(dtype)?, block(input)?);
        let bias = match record(bias, atoms::bias(), "bias") {
            Ok([bias]) => Some(block(bias)?),
            Err(_) if atoms::no_bias() == bias => None,
            Err(error) => return Err(error),
        };
        let bias = bias.as_ref().map(|bias| bias.part()).transpose()?;
        Ok(made(env, resource.0.multiply(&input.part()?, dtype, activations, bias.as_ref())?))
    })
}
