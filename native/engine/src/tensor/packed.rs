//! Packed weights beside tensors on a GPU: a block of f32 in, packed on the host to the bits that the host gives it, and put on the
//! device once.
//!
//! The surprise: packing brings the weight to the host; products bring nothing there.

use super::{
    Alive, Dtype, Result,
    device::{Block, Part},
    invalid, product,
};
pub use crate::backend::{
    cpu::linear::{Loss, PackedWeight, Weight},
    packed::Activations,
};
use crate::{
    backend::cuda::linear::{BlockWeight, Element},
    buffer,
    error::Error,
    quant::Packing,
};

/// A packed weight on a GPU.
#[derive(Debug)]
pub struct DeviceWeight {
    weight: BlockWeight,
    pub loss: Loss,
}

impl DeviceWeight {
    /// Packs f32 [in, out], or [out, in] where it is transposed.
    ///
    /// Errors: those of `PackedWeight::pack` and of `BlockWeight::new`; `OutOfMemory` of the host or of the device.
    pub fn pack(
        weight: &Part<'_>,
        (inputs, outputs): (usize, usize),
        transposed: bool,
        packing: Packing,
        alive: Alive<'_>,
    ) -> Result<DeviceWeight> {
        let bytes = product(&[inputs, outputs, 4])?;
        if bytes != weight.bytes() {
            return Err(invalid("weight", format!("{bytes} bytes"), format!("{} bytes", weight.bytes())));
        }
        buffer::expect_free(bytes as u64)?;
        let mut data = vec![0.0_f32; inputs * outputs];
        weight.download(bytemuck::cast_slice_mut(&mut data), alive)?;
        let packed = PackedWeight::pack(Weight { data: &data, inputs, outputs, transposed }, packing, alive)?;
        drop(data);
        let (loss, rows) = (packed.loss, packed.rows());
        drop(packed);
        Ok(DeviceWeight { weight: BlockWeight::new(weight.gpu(), &rows)?, loss })
    }

    pub fn inputs(&self) -> usize {
        self.weight.pack().inputs
    }

    pub fn outputs(&self) -> usize {
        self.weight.pack().outputs
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.weight.pack().bytes()
    }

    /// Who multiplies: "own kernels", or besides those a library, and when.
    pub fn products(&self) -> String {
        match self.weight.library() {
            Some((name, least)) => {
                format!("{name} for {least} rows and more that are rounded and get no bias, own kernels otherwise")
            }
            None => "own kernels".to_owned(),
        }
    }

    /// What the packed weight means: f32 [in, out], on the device.
    ///
    /// Errors: `OutOfMemory`.
    pub fn unpack(&self) -> Result<Block> {
        self.weight.unpack()
    }

    /// y = x W + b: `input` [batch, in] of float32 or bfloat16, `bias` f32 [out], the result f32 [batch, out]; all on the
    /// weight's device, where the product is queued.
    ///
    /// Errors: those of `BlockWeight::multiply`, `Unsupported` for inputs of another type.
    pub fn multiply(
        &self,
        input: &Part<'_>,
        dtype: Dtype,
        activations: Activations,
        bias: Option<&Part<'_>>,
    ) -> Result<Block> {
        let element = match dtype {
            Dtype::Float32 => Element::F32,
            Dtype::BFloat16 => Element::Bf16,
            other => return Err(Error::unsupported("input", "float32 or bfloat16", format!("{other:?}"))),
        };
        self.weight.multiply(input, element, activations, bias)
    }
}
