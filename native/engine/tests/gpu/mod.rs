//! The first GPU, for tests that have nothing to do without one.

use std::sync::Arc;

use viva_tensor_engine::backend::cuda::{self, driver::Device};

/// `None` where there is none, once the test has said why.
pub fn gpu(test: &str) -> Option<Arc<Device>> {
    match cuda::open(0) {
        Ok(device) => Some(device),
        Err(reason) => {
            eprintln!("{test}: skipped, no GPU: {reason}");
            None
        }
    }
}
