//! Linears with packed weights on an NVIDIA GPU: a weight is packed once, stays on the device, and is multiplied many times.
//!
//! `Pack` is a weight in the order that the kernels read, made of the bits that quant/*.rs packs. `Linears` holds the kernels and
//! what a product needs beside its operands; `product` chooses the road. NVIDIA's own libraries are opened at run time by
//! `cublaslt`, which multiplies where `vendor` says so, and `cusparselt`, for measurements beside the own kernels.
//!
//! Rows of inputs are rounded on the device, to the same bits as on the host. Up to eight rows are multiplied by kernels that
//! read a weight once; more of them on tensor cores. The surprise: products of INT8 rows are sums of whole numbers, which are exact
//! in any order, so they do not depend on the kernel that made them, up to the roundings of the scales.

mod block;
pub mod cublaslt;
pub mod cusparselt;
mod pack;
mod product;
mod round;
mod vendor;

use std::sync::{Arc, Mutex, PoisonError};

use self::vendor::Vendor;
pub use self::{
    block::BlockWeight,
    pack::Pack,
    product::{Ending, Road, Width},
    round::{Element, Input, Rounded},
};
use super::{
    driver::{Device, Memory, Stream},
    lab::read_bandwidth_by,
    module::{Kernel, Module},
    program::{Piece, Program},
};
use crate::error::Result;

/// Rows of a panel of W, as in kernels/panel.cuh.
const PANEL_ROWS: usize = 128;
/// Rows that one reading of a weight serves.
const FEW: usize = 8;
/// The most inputs: what sums of 32 bits hold.
pub const MOST_INPUTS: usize = 131_072;

/// The kernels of a GPU's linears.
#[derive(Debug)]
pub struct Linears {
    device: Arc<Device>,
    module: Module,
    /// Whether kernels may start while the one before them still runs.
    follows: bool,
    pub stream: Arc<Stream>,
    scratch: Mutex<Scratch>,
    vendor: Mutex<Vendor>,
}

/// Memory that the products of a stream use one after the other.
#[derive(Debug, Default)]
struct Scratch {
    /// A weight as the product under way wants it.
    weights: Option<Memory>,
    inputs: Option<Memory>,
    input_scales: Option<Memory>,
}

/// `bytes` of what is there, made larger where it is too small.
fn room<'a>(device: &Arc<Device>, slot: &'a mut Option<Memory>, bytes: usize) -> Result<&'a Memory> {
    let large = slot.take().filter(|memory| memory.bytes() >= bytes);
    let memory = match large {
        Some(memory) => memory,
        None => device.memory(bytes)?,
    };
    Ok(slot.insert(memory))
}

impl Linears {
    /// Compiles the kernels for a GPU, or reads them from the cache.
    ///
    /// Errors: `NotFound` where there is no compiler.
    pub fn new(device: &Arc<Device>) -> Result<Linears> {
        Linears::on(device, &Arc::new(device.stream()?))
    }

    /// The same on a stream that others queue on, too.
    ///
    /// Errors: as `new`.
    pub fn on(device: &Arc<Device>, stream: &Arc<Stream>) -> Result<Linears> {
        let module = Program::linears().module(device)?;
        let follows = module.kernel("round_int8_f32")?.following()?.follows;
        Ok(Linears {
            device: Arc::clone(device),
            module,
            follows,
            stream: Arc::clone(stream),
            scratch: Mutex::default(),
            vendor: Mutex::default(),
        })
    }

    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// Waits for all products that were queued.
    pub fn wait(&self) -> Result<()> {
        self.stream.wait()
    }

    /// Bytes a second of a plain read of device memory: the ceiling of products with few rows.
    pub fn read_bandwidth(&self) -> Result<f64> {
        read_bandwidth_by(&self.device, &Program { pieces: vec![Piece::choice()] }.module(&self.device)?)
    }

    fn width(&self) -> Width {
        if self.device.capability.0 == 9 { Width::Hopper } else { Width::Everywhere }
    }

    fn kernel(&self, name: &str) -> Result<Kernel> {
        self.module.kernel(name)
    }

    /// One that calls `let_next_begin` and `wait_for_last` of kernels/machine.cuh.
    fn early_kernel(&self, name: &str) -> Result<Kernel> {
        Ok(Kernel { follows: self.follows, ..self.module.kernel(name)? })
    }

    fn vendor(&self) -> std::sync::MutexGuard<'_, Vendor> {
        self.vendor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scratch(&self) -> std::sync::MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
