//! The CUDA backend: the same stages as the CPU's, on an NVIDIA GPU of compute capability 8.0 or newer.
//!
//! `driver` and `nvrtc` are found at run time; `program` compiles kernels/*.cu for the model and the GPU, `weights` and
//! `kv_cache` are device memory, `forward` launches, `sampling` draws. `tensor` is memory for
//! tensors, `tensor_kernels` what is done with it. Where anything is missing, `Device::open` or `nvrtc`
//! says what.

pub mod argument;
mod choice;
pub mod cubin_cache;
pub mod decode;
pub mod driver;
pub mod forward;
pub mod kv_cache;
pub mod lab;
pub mod lab_prefill;
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

use std::{
    panic,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use self::{
    decode::Plan,
    forward::CudaModel,
    program::{Dimensions, KvFormat, Program},
};
use crate::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    model::spec::ModelSpec,
    quant::WeightFormat,
};

/// A GPU and its compiler, both ready; the error names what is missing.
pub fn open(ordinal: usize) -> Result<Arc<driver::Device>> {
    // The bindings panic where a library is not what it should be.
    let opened = panic::catch_unwind(|| {
        let device = driver::Device::open(ordinal)?;
        nvrtc::nvrtc()?;
        Ok(device)
    });
    opened.unwrap_or_else(|_| {
        let expected = "the driver's library, complete".to_owned();
        Err(Error::NotFound { path: "libcuda.so.1".into(), expected })
    })
}

/// A model on its way to a GPU: its weights are read, then the kernels are compiled on a thread for what was read.
#[derive(Debug)]
pub struct Loading {
    device: Arc<driver::Device>,
    spec: ModelSpec,
    weights: weights::Loading,
    loaded: Option<weights::HostNormed>,
    dimensions: Dimensions,
    plan: Option<Plan>,
    context: usize,
    compiling: Option<JoinHandle<Result<Vec<u8>>>>,
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
        let weights = weights::Loading::new(&device, spec, checkpoint, format)?;
        let dimensions = Dimensions::of(spec, kv, context, device.multiprocessors);
        let spec = spec.clone();
        Ok(Loading { device, spec, weights, loaded: None, dimensions, plan: None, context, compiling: None })
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
        let done = self.compiling.as_ref().is_none_or(JoinHandle::is_finished);
        if !done {
            thread::sleep(Duration::from_millis(1));
        }
        Ok(done)
    }

    fn compile(&mut self, weights: &weights::HostNormed) -> Result<()> {
        self.plan = Plan::of(&self.device, &self.spec, weights, &self.dimensions);
        let program = Program::new(&self.dimensions, &weights::kernel_names(weights), self.plan.as_ref());
        let capability = self.device.capability;
        let compile = move || program.image(capability);
        let compiling = thread::Builder::new().name("viva_nvrtc".into()).spawn(compile);
        let failed = |error| Error::Internal { reason: format!("a thread to compile on: {error}") };
        self.compiling = Some(compiling.map_err(failed)?);
        Ok(())
    }

    /// (bytes that are in, bytes in all)
    pub fn progress(&self) -> (u64, u64) {
        (self.weights.done_bytes, self.weights.total_bytes)
    }

    pub fn finish(&mut self, spec: &ModelSpec) -> Result<CudaModel> {
        let lost = || Error::Internal { reason: "the compiler's thread was lost".into() };
        let image = self.compiling.take().and_then(|thread| thread.join().ok()).ok_or_else(lost)??;
        let weights = self.loaded.take().ok_or_else(lost)?;
        let (plan, dimensions) = (self.plan.as_ref(), &self.dimensions);
        CudaModel::new(spec.clone(), weights, &self.device, dimensions, plan, &image, self.context)
    }
}
