//! The CUDA backend: the same stages as the CPU's, on an NVIDIA GPU of compute capability 8.0 or newer.
//!
//! `driver` and `nvrtc` are found at run time; `program` compiles kernels/*.cu for the model and the GPU, `weights` and
//! `kv_cache` are device memory, `forward` launches. Where anything is missing, `Device::open` or `nvrtc` says what.

pub mod cubin_cache;
pub mod driver;
pub mod forward;
pub mod kv_cache;
pub mod nvrtc;
pub mod program;
pub mod weights;

use std::{panic, sync::Arc};

use crate::error::{Error, Result};

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
