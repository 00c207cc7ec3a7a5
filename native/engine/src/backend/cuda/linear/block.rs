//! Packed weights beside the tensors of a GPU: blocks in, a new block out, queued on the tensors' stream.
//!
//! The host packs, so bits are the host's; what it packed goes up once and stays until the weight is dropped, whose memory the
//! reaper gives back. The surprise: kernels read sixteen bytes at a time, so an operand that does not begin with its block is
//! copied first, on the device.

use std::sync::Arc;

use super::{
    super::{
        argument::Argument,
        driver::Memory,
        tensor::{Block, Gpu, Part},
        tensor_kernels::{View, contiguous},
    },
    Element, Ending, Input, Linears, Pack,
    vendor::LEAST_ROWS,
};
use crate::{
    backend::packed::{Activations, PackedRows},
    error::{Error, Result},
};

/// W of [in, out] beside a GPU's tensors.
#[derive(Debug)]
pub struct BlockWeight {
    gpu: Arc<Gpu>,
    linears: Arc<Linears>,
    pack: Pack,
}

/// A part where it is, or a copy that begins a block.
enum Operand<'a> {
    Here(&'a Memory),
    Copy(Block),
}

impl<'a> Operand<'a> {
    fn of(part: &Part<'a>) -> Result<Operand<'a>> {
        match part.memory() {
            Some(memory) => Ok(Operand::Here(memory)),
            None => Ok(Operand::Copy(contiguous(2, &View { part: *part, shape: &[part.bytes() / 2], strides: &[1] })?)),
        }
    }

    fn memory(&self) -> &Memory {
        match self {
            Operand::Here(memory) => memory,
            Operand::Copy(block) => block.memory(),
        }
    }
}

impl BlockWeight {
    /// Puts a packed weight beside a GPU's tensors.
    ///
    /// Errors: those of `Linears::pack` and of `Gpu::linears`.
    pub fn new(gpu: &Arc<Gpu>, rows: &PackedRows) -> Result<BlockWeight> {
        gpu.device().enter()?;
        let linears = gpu.linears()?;
        let pack = linears.pack(rows)?;
        Ok(BlockWeight { gpu: Arc::clone(gpu), linears, pack })
    }

    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub fn pack(&self) -> &Pack {
        &self.pack
    }

    /// The library that multiplies where it is faster, and from how many rows on.
    pub fn library(&self) -> Option<(String, usize)> {
        self.gpu.device().enter().ok()?;
        self.linears.library(&self.pack, Activations::F8E4m3).map(|name| (name, LEAST_ROWS))
    }

    /// What the packed weight means: f32 [in, out].
    ///
    /// Errors: `OutOfMemory`.
    pub fn unpack(&self) -> Result<Block> {
        let bytes = self.pack.inputs.checked_mul(self.pack.outputs).and_then(|count| count.checked_mul(4));
        let too_many = || Error::OutOfMemory { wanted_bytes: u64::MAX, free_bytes: self.gpu.device().free_bytes() };
        let out = self.gpu.block(bytes.ok_or_else(too_many)?)?;
        self.linears.unpack(&self.pack, out.memory())?;
        Ok(out)
    }

    /// y = x W + b: `input` [batch, in], `bias` f32 [out], the result f32 [batch, out]. It is queued, not waited for.
    ///
    /// Errors: `InvalidOption` for lengths that do not fit and for operands on another GPU, `Unsupported` for inputs that the
    /// format's products do not take, `OutOfMemory`.
    pub fn multiply(
        &self,
        input: &Part<'_>,
        element: Element,
        activations: Activations,
        bias: Option<&Part<'_>>,
    ) -> Result<Block> {
        let (inputs, outputs) = (self.pack.inputs, self.pack.outputs);
        let row = inputs * element.bytes();
        self.fits("input", input, input.bytes().next_multiple_of(row))?;
        if let Some(bias) = bias {
            self.fits("bias", bias, outputs * 4)?;
        }
        let batch = input.bytes() / row;
        let bytes = batch.checked_mul(outputs).and_then(|count| count.checked_mul(4));
        let too_many = || Error::OutOfMemory { wanted_bytes: u64::MAX, free_bytes: self.gpu.device().free_bytes() };
        let out = self.gpu.block(bytes.ok_or_else(too_many)?)?;
        if batch == 0 {
            return Ok(out);
        }
        let (input, bias) = (Operand::of(input)?, bias.map(Operand::of).transpose()?);
        let input = Input { memory: input.memory(), element, batch };
        let bias = bias.as_ref().map(Operand::memory);
        self.linears.multiply(&self.pack, &input, activations, bias, Ending::Store, out.memory())?;
        Ok(out)
    }

    fn fits(&self, option: &str, part: &Part<'_>, bytes: usize) -> Result<()> {
        let (own, other) = (self.gpu.device().ordinal, part.gpu().device().ordinal);
        if (own, bytes) == (other, part.bytes()) {
            return Ok(());
        }
        let expected = format!("{bytes} bytes on cuda {own}");
        let found = format!("{} bytes on cuda {other}", part.bytes());
        Err(Error::InvalidOption { option: option.into(), expected, found })
    }
}

impl Linears {
    /// Queues what a packed weight means: `output` f32 [in, out].
    ///
    /// Errors: `InvalidOption` where `output` is too short.
    pub fn unpack(&self, pack: &Pack, output: &Memory) -> Result<()> {
        let Pack { inputs, outputs, .. } = *pack;
        if inputs.checked_mul(outputs * 4).is_none_or(|wanted| wanted > output.bytes()) {
            let found = format!("{} bytes", output.bytes());
            return Err(Error::InvalidOption {
                option: "output".into(),
                expected: format!("{inputs} x {outputs} f32"),
                found,
            });
        }
        let places = Argument::Address(pack.places.as_ref().map_or(0, Memory::at));
        let arguments = [pack.argument(), places, Argument::Count(inputs as u32), Argument::Address(output.at())];
        let kernel = self.kernel(&format!("unpack_panel_{}", pack.name()))?;
        let grid = [inputs.div_ceil(8) as u32, outputs.div_ceil(super::PANEL_ROWS) as u32, 1];
        // SAFETY: the kernel reads the pack's rows and writes `inputs` times `outputs` floats, for which there is room; a pack
        // of two of four has places.
        unsafe { self.stream.launch(&kernel, grid, super::PANEL_ROWS as u32, 0, &arguments) }
    }
}
