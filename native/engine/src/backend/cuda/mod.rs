//! The CUDA backend: the same stages as the CPU's, on an NVIDIA GPU of compute capability 8.0 or newer.
//!
//! `driver` and `nvrtc` are found at run time; `program` compiles kernels/*.cu for the model and the GPU, `generic` has code
//! for any model where there is no `nvrtc`, `weights` and `kv_cache` are device memory, `forward` launches, `sampling` draws.
//! `tensor` is memory for tensors, `tensor_kernels` what is done with it. Where anything is missing, `Device::open` or `nvrtc`
//! says what.

pub mod argument;
mod choice;
mod compiling;
pub mod cubin_cache;
pub mod decode;
pub mod driver;
pub mod forward;
pub mod generic;
pub mod kv_cache;
pub mod lab;
pub mod lab_prefill;
mod library;
pub mod linear;
pub mod module;
pub mod nvrtc;
mod pass;
mod prefill;
pub mod profile;
pub mod program;
pub mod reaper;
mod sampling;
pub mod tensor;
pub mod tensor_kernels;
mod timer;
mod upload;
pub mod weights;

use std::{panic, sync::Arc, thread, time::Duration};

use self::{
    argument::kernel_name,
    compiling::Compiling,
    decode::Plan,
    forward::CudaModel,
    generic::Generic,
    program::{Dimensions, KvFormat, Piece, Program, is_wide},
};
use crate::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    model::spec::ModelSpec,
    quant::WeightFormat,
};

/// The code for any model, where there is no compiler. Errors: `NotFound`, which names libnvrtc, where this build does not
/// bring that along either.
fn fallback() -> Result<Option<&'static Generic>> {
    nvrtc::nvrtc().map(|_| None).or_else(|missing| generic::embedded().map(Some).ok_or(missing))
}

/// A GPU and a compiler or code for it, both ready; the error names what is missing.
pub fn open(ordinal: usize) -> Result<Arc<driver::Device>> {
    // The bindings panic where a library is not what it should be.
    let opened = panic::catch_unwind(|| {
        let device = driver::Device::open(ordinal)?;
        fallback()?;
        Ok(device)
    });
    opened.unwrap_or_else(|_| {
        let expected = "the driver's library, complete".to_owned();
        Err(Error::NotFound { path: "libcuda.so.1".into(), expected })
    })
}

/// A model on its way to a GPU: its weights are read while threads compile the kernels for them; those that depend on what was
/// really read, and any that nobody foresaw, follow.
#[derive(Debug)]
pub struct Loading {
    device: Arc<driver::Device>,
    spec: ModelSpec,
    weights: weights::Loading,
    loaded: Option<weights::HostNormed>,
    dimensions: Dimensions,
    plan: Option<Plan>,
    context: usize,
    compiling: Compiling,
    /// Instead of compiling.
    generic: Option<&'static Generic>,
}

impl Loading {
    pub fn new(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        ordinal: usize,
        context: usize,
    ) -> Result<Loading> {
        Loading::with(spec, checkpoint, format, ordinal, context, KvFormat::default())
    }

    pub fn with(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        ordinal: usize,
        context: usize,
        kv: KvFormat,
    ) -> Result<Loading> {
        let device = open(ordinal)?;
        Loading::begin(device, spec, checkpoint, format, context, kv, fallback()?)
    }

    /// With the code for any model, whether libnvrtc is there or not. Errors: as `new`, and `NotFound` where this build does
    /// not bring it along.
    pub fn generic(
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        ordinal: usize,
        context: usize,
    ) -> Result<Loading> {
        let missing = || Error::NotFound { path: "generic.ptxs".into(), expected: "in the build".into() };
        let generic = generic::embedded().ok_or_else(missing)?;
        let device = driver::Device::open(ordinal)?;
        Loading::begin(device, spec, checkpoint, format, context, KvFormat::default(), Some(generic))
    }

    fn begin(
        device: Arc<driver::Device>,
        spec: &ModelSpec,
        checkpoint: &Checkpoint,
        format: WeightFormat,
        context: usize,
        kv: KvFormat,
        generic: Option<&'static Generic>,
    ) -> Result<Loading> {
        let weights = weights::Loading::new(&device, spec, checkpoint, format)?;
        let mut dimensions = Dimensions::of(spec, kv, context, device.multiprocessors);
        let mut compiling = Compiling::new(&device);
        // Those that are foreseen.
        let names = weights.formats.iter().map(|format| kernel_name(*format));
        if let Some(generic) = generic {
            dimensions = generic::dimensions(dimensions);
            compiling.start_generic(generic, generic::names(&dimensions, &names.collect())?)?;
        } else {
            compiling.start(&Program::without_weights(&dimensions, is_wide(device.capability)).pieces)?;
            compiling.start(&names.map(Piece::format).collect::<Vec<_>>())?;
        }
        let spec = spec.clone();
        Ok(Loading { device, spec, weights, loaded: None, dimensions, plan: None, context, compiling, generic })
    }

    /// Reads one chunk; true when everything is in and compiled.
    pub fn step(&mut self, checkpoint: &Checkpoint) -> Result<bool> {
        if self.loaded.is_none() {
            if self.weights.step(checkpoint)? {
                let weights = self.weights.finish(&self.spec, checkpoint)?;
                self.compile(&weights)?;
                self.loaded = Some(weights);
            }
            return Ok(false);
        }
        let done = self.compiling.is_done();
        if !done {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(done)
    }

    fn compile(&mut self, weights: &weights::HostNormed) -> Result<()> {
        let names = weights::kernel_names(weights);
        if let Some(generic) = self.generic {
            return self.compiling.start_generic(generic, generic::names(&self.dimensions, &names)?);
        }
        self.plan = Plan::of(&self.device, &self.spec, weights, &self.dimensions);
        let is_wide = is_wide(self.device.capability);
        self.compiling.start(&Program::new(&self.dimensions, &names, self.plan.as_ref(), is_wide).pieces)
    }

    /// (bytes that are in, bytes in all)
    pub fn progress(&self) -> (u64, u64) {
        (self.weights.done_bytes, self.weights.total_bytes)
    }

    pub fn finish(&mut self, spec: &ModelSpec) -> Result<CudaModel> {
        let lost = || Error::Internal { reason: "weights that are not in".into() };
        let module = self.compiling.module()?;
        let weights = self.loaded.take().ok_or_else(lost)?;
        let (plan, dimensions) = (self.plan.as_ref(), &self.dimensions);
        if self.generic.is_some() {
            module.set("shape", &generic::shape(dimensions))?;
        }
        let mut model = CudaModel::new(spec.clone(), weights, &self.device, dimensions, plan, module, self.context)?;
        model.is_generic = self.generic.is_some();
        Ok(model)
    }
}
