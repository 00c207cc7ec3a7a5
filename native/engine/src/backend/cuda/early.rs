//! Launches that begin before the kernel before them is done.
//!
//! Such a kernel may start once all blocks of the one before have called `let_next_begin` of kernels/machine_panel.cuh or are done,
//! and calls `wait_for_last` before it looks at anything that was computed. The surprise: where the GPU or the driver cannot do
//! it, it starts as any other.

use std::ffi::c_void;

use cudarc::driver::sys;

use super::{
    argument::Argument,
    driver::{Stream, failed},
    module::Kernel,
};
use crate::error::Result;

impl Stream {
    /// Queues a kernel that waits by itself.
    ///
    /// # Safety
    /// As `launch`; and the kernel calls `wait_for_last` before it reads or writes what others touch.
    pub(super) unsafe fn launch_early(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        threads: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let mut places: Vec<*mut c_void> = arguments.iter().map(Argument::place).collect();
        // SAFETY: a structure of integers.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id = sys::CUlaunchAttributeID_enum::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attribute.value.programmaticStreamSerializationAllowed = 1;
        let [grid_x, grid_y, grid_z] = grid;
        let config = sys::CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: self.stream,
            attrs: &mut attribute,
            numAttrs: 1,
        };
        // SAFETY: the caller's contract; arguments and attribute outlive the call, which copies them.
        let launch = || unsafe {
            sys::cuLaunchKernelEx(&config, kernel.function, places.as_mut_ptr(), std::ptr::null_mut()).result()
        };
        self.timed(kernel, arguments, launch).map_err(|error| failed("cuLaunchKernelEx", error))
    }
}
