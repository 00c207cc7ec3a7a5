//! The first GPU, for tests that have nothing to do without one.

use std::{fmt::Display, sync::Arc};

use viva_tensor_engine::backend::cuda::{self, driver::Device};

/// `None` where there is none, once the test has said why.
#[allow(dead_code, reason = "tests of tensors open it another way")]
pub fn gpu(test: &str) -> Option<Arc<Device>> {
    found(test, cuda::open(0))
}

/// What was opened; `None` where it was not, once the test has said why.
pub fn found<T, E: Display>(test: &str, opened: Result<T, E>) -> Option<T> {
    match opened {
        Ok(gpu) => Some(gpu),
        Err(reason) => {
            eprintln!("{test}: skipped, no GPU: {reason}");
            None
        }
    }
}
