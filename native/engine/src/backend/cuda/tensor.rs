//! Tensors' memory on a GPU: blocks of bytes, copied to and from the host, and computed on by `tensor_kernels`.
//!
//! There is one `Gpu` for each GPU that has tensors, for the life of the process: the models' context, a stream of its own,
//! and kernels that are compiled once and kept by `cubin_cache`. All work is queued on that stream, so an operation returns
//! before it is done and sees what was queued before it, whatever threads queue it. The surprise: a block that nobody has
//! any more is given back by the reaper, which waits for the work that uses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::result;

use super::{
    argument::Argument,
    cubin_cache,
    driver::{Device, Memory, Stream, failed},
    linear::Linears,
    module::{Kernel, Module},
    nvrtc::{Compiled, nvrtc},
};
use crate::{
    dtype::Dtype,
    error::{Error, Result},
};

const SOURCES: [&str; 4] = [
    include_str!("../../../../../kernels/machine.cuh"),
    include_str!("../../../../../kernels/tensor.cu"),
    include_str!("../../../../../kernels/tensor_row.cu"),
    include_str!("../../../../../kernels/tensor_product.cu"),
];

/// Without contraction: a product that is added is rounded first, as on the host. 177: a function that is not used.
const OPTIONS: [&str; 4] = ["--std=c++17", "-default-device", "--fmad=false", "--diag-suppress=177"];

/// Bytes that are copied between two looks at the caller.
const PIECE: usize = 64 << 20;

/// Whether anyone still wants the result.
pub type Alive<'a> = &'a dyn Fn() -> bool;

/// What a type is called in the kernels' names, and its number in their arguments.
pub(super) fn names(dtype: Dtype) -> (&'static str, u32) {
    match dtype {
        Dtype::Float64 => ("f64", 0),
        Dtype::Float32 => ("f32", 1),
        Dtype::Float16 => ("f16", 2),
        Dtype::BFloat16 => ("bf16", 3),
    }
}

/// A GPU with what tensors need of it.
#[derive(Debug)]
pub struct Gpu {
    device: Arc<Device>,
    stream: Arc<Stream>,
    /// Made for the first packed weight.
    linears: Mutex<Option<Arc<Linears>>>,
    kernels: BTreeMap<String, Kernel>,
    // The kernels are its functions.
    _module: Module,
}

/// The GPU of this number. The first call opens it and compiles the kernels, which takes some seconds where the cache has
/// none.
///
/// Errors: those of `Device::open`, and `NotFound` where there is no compiler.
pub fn gpu(ordinal: usize) -> Result<Arc<Gpu>> {
    static GPUS: Mutex<BTreeMap<usize, Arc<Gpu>>> = Mutex::new(BTreeMap::new());
    let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(gpu) = gpus.get(&ordinal) {
        return Ok(Arc::clone(gpu));
    }
    let gpu = Arc::new(Gpu::new(super::open(ordinal)?)?);
    gpus.insert(ordinal, Arc::clone(&gpu));
    Ok(gpu)
}

/// Compiles the kernels, whatever the cache holds. `extra` are further options.
pub fn compile(architecture: &str, extra: &[&str]) -> Result<Compiled> {
    let mut options: Vec<String> = OPTIONS.iter().chain(extra).map(|option| (*option).to_owned()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    nvrtc()?.compile(&SOURCES.join("\n"), &options)
}

/// Code for a GPU: from the cache, or compiled and put there.
fn image(capability: (i32, i32)) -> Result<Vec<u8>> {
    let compiler = nvrtc()?;
    let architecture = compiler.architecture(capability);
    let version = format!("{}.{}", compiler.version.0, compiler.version.1);
    let parts = SOURCES.iter().chain(&OPTIONS).map(|part| part.as_bytes());
    let parts: Vec<&[u8]> = parts.chain([architecture.as_bytes(), version.as_bytes()]).collect();
    let key = cubin_cache::hash(&parts);
    if let Some(image) = cubin_cache::read(key) {
        return Ok(image);
    }
    let image = compile(&architecture, &[])?.image;
    cubin_cache::write(key, &image);
    Ok(image)
}

impl Gpu {
    fn new(device: Arc<Device>) -> Result<Gpu> {
        let module = device.module(image(device.capability)?)?;
        let mut names = vec!["cast".to_owned(), "reduced".to_owned()];
        for dtype in Dtype::ALL.map(|dtype| self::names(dtype).0) {
            for stem in ["unary", "binary", "reduce", "reduce_short", "short_rows", "long_rows", "product"] {
                names.push(format!("{stem}_{dtype}"));
            }
        }
        for bytes in [2, 4, 8, 16] {
            names.extend(["copy", "gather", "join"].map(|stem| format!("{stem}_{bytes}")));
        }
        names.push("product_wide_f32".to_owned());
        let mut kernels = BTreeMap::new();
        for name in names {
            let kernel = module.kernel(&format!("tensor_{name}"))?;
            kernels.insert(name, kernel);
        }
        Ok(Gpu { stream: Arc::new(device.stream()?), device, linears: Mutex::default(), kernels, _module: module })
    }

    /// Products with packed weights, on the stream of the tensors. The first call compiles them, which takes some seconds
    /// where the cache has none.
    ///
    /// Errors: those of `Linears::new`.
    pub fn linears(&self) -> Result<Arc<Linears>> {
        let mut slot = self.linears.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(linears) = &*slot {
            return Ok(Arc::clone(linears));
        }
        Ok(Arc::clone(slot.insert(Arc::new(Linears::on(&self.device, &self.stream)?))))
    }

    /// The device that the models share.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Where all work on blocks is queued.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// A block, whatever is in it. `OutOfMemory` says what is missing.
    pub fn block(self: &Arc<Self>, bytes: usize) -> Result<Block> {
        Ok(Block { memory: Arc::new(self.device.memory(bytes)?), gpu: Arc::clone(self), bytes })
    }

    /// A block with a copy of the bytes, which are there when it returns.
    pub fn upload(self: &Arc<Self>, bytes: &[u8], alive: Alive<'_>) -> Result<Block> {
        let block = self.block(bytes.len())?;
        for (index, piece) in bytes.chunks(PIECE).enumerate() {
            wanted(alive)?;
            // SAFETY: the block has as many bytes, and the stream is waited for below.
            let queued = unsafe {
                result::memcpy_htod_async(block.memory.at() + (index * PIECE) as u64, piece, self.stream.stream)
            };
            queued.map_err(|error| failed("cuMemcpyHtoDAsync", error))?;
            self.stream.wait()?;
        }
        Ok(block)
    }

    /// Queues a kernel of one-dimensional blocks.
    ///
    /// # Safety
    /// That of `Stream::launch`.
    pub(super) unsafe fn launch(
        &self,
        name: &str,
        blocks: usize,
        across: u32,
        threads: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        let kernel = self.kernels.get(name).ok_or_else(|| Error::Internal { reason: format!("no kernel {name}") })?;
        let most = i32::MAX as usize;
        if blocks > most {
            return Err(Error::unsupported("tensor", format!("work for {most} blocks at most"), blocks.to_string()));
        }
        self.device.enter()?;
        // SAFETY: the caller's.
        unsafe { self.stream.launch(kernel, [blocks as u32, across, 1], threads, 0, arguments) }
    }
}

fn wanted(alive: Alive<'_>) -> Result<()> {
    if alive() { Ok(()) } else { Err(Error::Cancelled) }
}

/// Bytes on a GPU; a clone refers to the same ones.
#[derive(Debug, Clone)]
pub struct Block {
    gpu: Arc<Gpu>,
    memory: Arc<Memory>,
    bytes: usize,
}

impl Block {
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub fn whole(&self) -> Part<'_> {
        Part { block: self, start: 0, bytes: self.bytes }
    }

    /// Some of its bytes.
    pub fn part(&self, start: usize, bytes: usize) -> Result<Part<'_>> {
        if start.checked_add(bytes).is_none_or(|end| end > self.bytes) {
            let expected = format!("bytes of a block of {}", self.bytes);
            return Err(Error::InvalidOption {
                option: "part".into(),
                expected,
                found: format!("{bytes} from {start}"),
            });
        }
        Ok(Part { block: self, start, bytes })
    }
}

/// Bytes of a block.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    block: &'a Block,
    start: usize,
    bytes: usize,
}

impl<'a> Part<'a> {
    /// The block's memory, where the part begins with it.
    pub(super) fn memory(&self) -> Option<&'a Memory> {
        (self.start == 0).then_some(self.block.memory())
    }
}

impl Part<'_> {
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.block.gpu
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// On the device.
    pub fn address(&self) -> u64 {
        self.block.memory.at() + self.start as u64
    }

    /// Copies all bytes to `out`, which has as many, once all that was queued is done.
    pub fn download(&self, out: &mut [u8], alive: Alive<'_>) -> Result<()> {
        if out.len() != self.bytes {
            return Err(Error::Internal { reason: format!("{} bytes for {} of a block", out.len(), self.bytes) });
        }
        let gpu = self.gpu();
        gpu.device.enter()?;
        for (index, piece) in out.chunks_mut(PIECE).enumerate() {
            wanted(alive)?;
            // SAFETY: the part has as many bytes, and the stream is waited for here.
            let queued =
                unsafe { result::memcpy_dtoh_async(piece, self.address() + (index * PIECE) as u64, gpu.stream.stream) };
            // Whatever came of it, nothing is under way to `out` any more.
            let done = gpu.stream.wait();
            queued.map_err(|error| failed("cuMemcpyDtoHAsync", error)).and(done)?;
        }
        Ok(())
    }
}
