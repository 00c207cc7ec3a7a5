//! The CUDA driver behind values that clean up: device, memory, stream, module, graph.
//!
//! Nothing is linked: libcuda is looked for at run time, and every symbol that is used here is looked for before any is
//! called, because the bindings panic at a missing one. A failing call becomes an `Error` that names it.
//!
//! The one surprise: a context is current to a thread, and slices come on any thread, so `Device::enter` opens each.

use std::{
    ffi::{c_int, c_void},
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

use cudarc::driver::{
    result::{self, DriverError},
    sys,
};

use super::{argument::Argument, module::Kernel, reaper, timer::Timer};
use crate::error::{Error, Result};

/// What this file calls.
const SYMBOLS: [&str; 43] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemAllocHost_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoD_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemsetD8_v2",
    "cuMemsetD8Async",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventElapsedTime",
    "cuEventDestroy_v2",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuModuleGetGlobal_v2",
    "cuFuncSetAttribute",
    "cuFuncGetAttribute",
    "cuLaunchKernel",
    "cuLaunchKernelEx",
    "cuLaunchCooperativeKernel",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuGetErrorString",
];

/// `Ok` when the driver can be called at all; looked up once.
pub fn present() -> Result<()> {
    static PRESENT: OnceLock<Result<()>> = OnceLock::new();
    PRESENT.get_or_init(look_for_driver).clone()
}

fn look_for_driver() -> Result<()> {
    let missing =
        || Error::NotFound { path: "libcuda.so.1".into(), expected: "the library of an NVIDIA driver".into() };
    // SAFETY: loading the driver's library runs its initialisers, nothing else.
    let found = unsafe { sys::is_culib_present() };
    if !found {
        return Err(missing());
    }
    // SAFETY: as above.
    let library =
        ["libcuda.so.1", "libcuda.so"].into_iter().find_map(|name| unsafe { libloading::Library::new(name) }.ok());
    let library = library.ok_or_else(missing)?;
    for symbol in SYMBOLS {
        // SAFETY: the symbol is looked up, not called.
        if unsafe { library.get::<*const c_void>(symbol.as_bytes()) }.is_err() {
            let expected = format!("an NVIDIA driver for CUDA 12 or newer, which has {symbol}");
            return Err(Error::NotFound { path: "libcuda.so.1".into(), expected });
        }
    }
    result::init().map_err(|error| failed("cuInit", error))
}

/// Waits for what was queued beside all streams. A set or a copy without a stream may return before the device is done, and
/// streams do not wait for it: on a busy GPU it came after the copies of weights that were queued later.
pub(super) fn settle() -> Result<()> {
    // SAFETY: null is the default stream of the current context, which the caller has entered.
    unsafe { result::stream::synchronize(std::ptr::null_mut()) }.map_err(|error| failed("cuStreamSynchronize", error))
}

/// The newest CUDA that the driver knows, 12030 for 12.3.
pub(super) fn driver_version() -> Result<c_int> {
    let mut version = 0;
    // SAFETY: the place outlives the call.
    let done = unsafe { sys::cuDriverGetVersion(&mut version) }.result();
    done.map_err(|error| failed("cuDriverGetVersion", error))?;
    Ok(version)
}

/// The error of a failing call.
pub(super) fn failed(call: &str, error: DriverError) -> Error {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    let reason = format!("{call}: {:?} ({text})", error.0);
    use sys::CUresult::*;
    match error.0 {
        // From here on every call fails.
        CUDA_ERROR_DEINITIALIZED
        | CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUDA_ERROR_ECC_UNCORRECTABLE
        | CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUDA_ERROR_ILLEGAL_ADDRESS
        | CUDA_ERROR_LAUNCH_TIMEOUT
        | CUDA_ERROR_CONTEXT_IS_DESTROYED
        | CUDA_ERROR_ASSERT
        | CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUDA_ERROR_MISALIGNED_ADDRESS
        | CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUDA_ERROR_INVALID_PC
        | CUDA_ERROR_LAUNCH_FAILED => Error::DeviceLost { reason },
        _ => Error::Internal { reason },
    }
}

/// An NVIDIA GPU.
pub struct Device {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub ordinal: usize,
    pub name: String,
    /// (9, 0) is Hopper.
    pub capability: (i32, i32),
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for.
    pub shared_bytes: u32,
}

// SAFETY: a primary context may be current to any number of threads; the driver locks.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

impl Device {
    /// Errors: `NotFound` where there is no driver, `InvalidOption` where there is no such GPU, `Unsupported` for one
    /// that is older than Ampere.
    pub fn open(ordinal: usize) -> Result<Arc<Device>> {
        present()?;
        let count = result::device::get_count().map_err(|error| failed("cuDeviceGetCount", error))?;
        if ordinal >= usize::try_from(count).unwrap_or(0) {
            let expected = format!("one of the {count} GPUs, counted from 0");
            return Err(Error::InvalidOption { option: "device".into(), expected, found: format!("cuda {ordinal}") });
        }
        let device = result::device::get(ordinal as c_int).map_err(|error| failed("cuDeviceGet", error))?;
        let name = result::device::get_name(device).map_err(|error| failed("cuDeviceGetName", error))?;
        let attribute = |attribute| {
            // SAFETY: the device is one that the driver named.
            unsafe { result::device::get_attribute(device, attribute) }
                .map_err(|error| failed("cuDeviceGetAttribute", error))
        };
        use sys::CUdevice_attribute::*;
        let capability = (
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        if capability < (8, 0) {
            let found = format!("{name} of compute capability {}.{}", capability.0, capability.1);
            return Err(Error::unsupported("device", "an NVIDIA GPU of compute capability 8.0 or newer", found));
        }
        let multiprocessors = attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32;
        let shared_bytes = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)? as u32;
        // SAFETY: the device is one that the driver named; `drop` releases what is retained here.
        let context = unsafe { result::primary_ctx::retain(device) };
        let context = context.map_err(|error| failed("cuDevicePrimaryCtxRetain", error))?;
        let device = Arc::new(Device { device, context, ordinal, name, capability, multiprocessors, shared_bytes });
        // One that is lost says so here.
        device.enter()?;
        result::mem_get_info().map_err(|error| failed("cuMemGetInfo", error))?;
        Ok(device)
    }

    /// Makes the device current to this thread; first thing in each slice.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained as long as `self` lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(|error| failed("cuCtxSetCurrent", error))
    }

    /// Once all is free that nobody has any more.
    pub fn free_bytes(&self) -> u64 {
        reaper::settle();
        self.enter().ok().and_then(|()| result::mem_get_info().ok()).map_or(0, |(free, _)| free as u64)
    }

    /// `bytes` of device memory, whatever is in them.
    pub fn memory(self: &Arc<Self>, bytes: usize) -> Result<Memory> {
        self.enter()?;
        // SAFETY: `Memory` frees what is allocated here.
        let allocate = || unsafe { result::malloc_sync(bytes.max(256)) };
        let allocated = allocate().or_else(|error| match error.0 {
            // What was dropped a moment ago may not be free yet.
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                reaper::settle();
                allocate()
            }
            _ => Err(error),
        });
        match allocated {
            Ok(at) => Ok(Memory { device: Arc::clone(self), at, bytes: bytes.max(256) }),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                Err(Error::OutOfMemory { wanted_bytes: bytes as u64, free_bytes: self.free_bytes() })
            }
            Err(error) => Err(failed("cuMemAlloc", error)),
        }
    }

    /// The same, all bytes 0.
    pub fn zeros(self: &Arc<Self>, bytes: usize) -> Result<Memory> {
        let memory = self.memory(bytes)?;
        // SAFETY: these are the allocation's own bytes.
        unsafe { result::memset_d8_sync(memory.at, 0, memory.bytes) }.map_err(|error| failed("cuMemsetD8", error))?;
        settle()?;
        Ok(memory)
    }

    /// Device memory with a copy of `values`.
    pub fn upload<T: bytemuck::Pod>(self: &Arc<Self>, values: &[T]) -> Result<Memory> {
        let memory = self.memory(size_of_val(values))?;
        memory.write(0, bytemuck::cast_slice(values))?;
        Ok(memory)
    }

    /// Host memory that the device copies from and to by itself.
    pub fn pinned(self: &Arc<Self>, bytes: usize) -> Result<Pinned> {
        self.enter()?;
        // SAFETY: `Pinned` frees what is allocated here.
        let at = unsafe { result::malloc_host(bytes.max(64), 0) }.map_err(|error| failed("cuMemHostAlloc", error))?;
        // SAFETY: these are the allocation's own bytes.
        unsafe { std::ptr::write_bytes(at.cast::<u8>(), 0, bytes.max(64)) };
        Ok(Pinned { device: Arc::clone(self), at: at.cast(), bytes: bytes.max(64) })
    }

    pub fn stream(self: &Arc<Self>) -> Result<Stream> {
        self.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking);
        let stream = stream.map_err(|error| failed("cuStreamCreate", error))?;
        Ok(Stream { device: Arc::clone(self), stream, timer: Mutex::new(None) })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: retained in `open`, and everything made in it holds the device, so it is gone by now.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({}, {})", self.ordinal, self.name)
    }
}

/// Bytes on the device.
#[derive(Debug)]
pub struct Memory {
    device: Arc<Device>,
    at: u64,
    bytes: usize,
}

impl Memory {
    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies host bytes to `offset`, and returns when they are there.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.bytes) {
            let reason = format!("{} bytes to {offset} of {} on the device", bytes.len(), self.bytes);
            return Err(Error::Internal { reason });
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.device.enter()?;
        // SAFETY: the range was just checked.
        unsafe { result::memcpy_htod_sync(self.at + offset as u64, bytes) }
            .map_err(|error| failed("cuMemcpyHtoD", error))?;
        settle()
    }

    /// A copy of the first bytes.
    pub fn read(&self, bytes: usize) -> Result<Vec<u8>> {
        if bytes > self.bytes {
            return Err(Error::Internal { reason: format!("{bytes} bytes of {} on the device", self.bytes) });
        }
        let (mut host, stream) = (self.device.pinned(bytes)?, self.device.stream()?);
        stream.fetch::<u8>(self, &mut host, bytes)?;
        stream.wait()?;
        Ok(host.as_slice::<u8>()[..bytes].to_vec())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        reaper::reap(Unused { device: Arc::clone(&self.device), at: self.at });
    }
}

/// Bytes that nobody has any more.
struct Unused {
    device: Arc<Device>,
    at: u64,
}

impl Drop for Unused {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated in `memory`; freeing waits for work that uses it.
            let _ = unsafe { result::free_sync(self.at) };
        }
    }
}

/// Page-locked host bytes.
#[derive(Debug)]
pub struct Pinned {
    device: Arc<Device>,
    at: *mut u8,
    bytes: usize,
}

// SAFETY: plain host memory.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    pub fn as_slice<T: bytemuck::Pod>(&self) -> &[T] {
        // SAFETY: the allocation is page aligned and as long; every bit pattern is a T.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.bytes / size_of::<T>()) }
    }

    pub fn as_mut_slice<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.bytes / size_of::<T>()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: allocated in `pinned`; whoever copies waits for the copies.
            let _ = unsafe { result::free_host(self.at.cast()) };
        }
    }
}

/// Work in order.
#[derive(Debug)]
pub struct Stream {
    device: Arc<Device>,
    pub(super) stream: sys::CUstream,
    pub(super) timer: Mutex<Option<Timer>>,
}

// SAFETY: streams may be used from any thread; the driver locks.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// Waits for all that is under way; errors of kernels come out here.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| failed("cuStreamSynchronize", error))
    }

    /// Queues a copy of the first `count` values of `from`.
    pub fn send<T: bytemuck::Pod>(&self, from: &Pinned, to: &Memory, count: usize) -> Result<()> {
        let values = from.as_slice::<T>().get(..count).filter(|values| size_of_val(*values) <= to.bytes);
        let values = values.ok_or_else(|| Error::Internal { reason: format!("a copy of {count} values") })?;
        // SAFETY: both ends were checked; the caller waits for the stream before it changes `from`.
        unsafe { result::memcpy_htod_async(to.at, values, self.stream) }
            .map_err(|error| failed("cuMemcpyHtoDAsync", error))
    }

    /// Queues a copy of a part of `from` to `offset`.
    pub fn send_part(&self, from: &Pinned, part: Range<usize>, to: &Memory, offset: usize) -> Result<()> {
        let bytes = from
            .as_slice::<u8>()
            .get(part)
            .filter(|bytes| offset.checked_add(bytes.len()).is_some_and(|end| end <= to.bytes));
        let bytes = bytes.ok_or_else(|| Error::Internal { reason: format!("a copy to byte {offset}") })?;
        if bytes.is_empty() {
            return Ok(());
        }
        // SAFETY: both ends were checked; the caller waits for the stream before it changes `from`.
        unsafe { result::memcpy_htod_async(to.at + offset as u64, bytes, self.stream) }
            .map_err(|error| failed("cuMemcpyHtoDAsync", error))
    }

    /// Queues a copy to the first `count` values of `to`.
    pub fn fetch<T: bytemuck::Pod>(&self, from: &Memory, to: &mut Pinned, count: usize) -> Result<()> {
        let room = from.bytes / size_of::<T>();
        let values = to.as_mut_slice::<T>().get_mut(..count).filter(|values| values.len() <= room);
        let values = values.ok_or_else(|| Error::Internal { reason: format!("a copy of {count} values") })?;
        // SAFETY: both ends were checked; the caller waits for the stream before it reads `to`.
        unsafe { result::memcpy_dtoh_async(values, from.at, self.stream) }
            .map_err(|error| failed("cuMemcpyDtoHAsync", error))
    }

    /// Records what `work` queues, without running it.
    pub fn record(&self, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; the capture ends below whatever `work` says.
        unsafe { result::stream::begin_capture(self.stream, mode) }
            .map_err(|error| failed("cuStreamBeginCapture", error))?;
        let worked = work();
        // SAFETY: as above.
        let graph = unsafe { result::stream::end_capture(self.stream) };
        worked?;
        let graph = graph.map_err(|error| failed("cuStreamEndCapture", error))?;
        // SAFETY: the graph was just made; the executable one does not need it any more.
        let executable = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: as above.
        let _ = unsafe { result::graph::destroy(graph) };
        let executable = executable.map_err(|error| failed("cuGraphInstantiate", error))?;
        Ok(Graph { device: Arc::clone(&self.device), executable })
    }

    pub fn replay(&self, graph: &Graph) -> Result<()> {
        // SAFETY: both live.
        unsafe { result::graph::launch(graph.executable, self.stream) }.map_err(|error| failed("cuGraphLaunch", error))
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// `arguments` are those that the kernel declares, their addresses are of memory that lives until the stream is done,
    /// and the kernel stays within it.
    pub unsafe fn launch(
        &self,
        kernel: &Kernel,
        grid: [u32; 3],
        threads: u32,
        shared: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let mut places: Vec<*mut c_void> = arguments.iter().map(Argument::place).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (threads, 1, 1));
        // SAFETY: the caller's contract; the arguments outlive the call, which copies them.
        let launch = || unsafe {
            if kernel.follows {
                return launch_following(kernel, grid, block, shared, self.stream, &mut places);
            }
            result::launch_kernel(kernel.function, grid, block, shared, self.stream, &mut places)
        };
        self.timed(kernel, arguments, launch).map_err(|error| failed("cuLaunchKernel", error))
    }
}

/// As `result::launch_kernel`, of a kernel that may start while the one before it still runs.
///
/// # Safety
/// As `Stream::launch`; the kernel begins with `follow`.
unsafe fn launch_following(
    kernel: &Kernel,
    grid: (u32, u32, u32),
    block: (u32, u32, u32),
    shared: u32,
    stream: sys::CUstream,
    places: &mut [*mut c_void],
) -> std::result::Result<(), DriverError> {
    // SAFETY: a union and padding of plain bytes.
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    let config = sys::CUlaunchConfig {
        gridDimX: grid.0,
        gridDimY: grid.1,
        gridDimZ: grid.2,
        blockDimX: block.0,
        blockDimY: block.1,
        blockDimZ: block.2,
        sharedMemBytes: shared,
        hStream: stream,
        attrs: &mut attribute,
        numAttrs: 1,
    };
    // SAFETY: the caller's contract; the configuration outlives the call.
    unsafe { sys::cuLaunchKernelEx(&config, kernel.function, places.as_mut_ptr(), std::ptr::null_mut()) }.result()
}

impl Stream {
    /// Queues a kernel whose blocks wait for each other: all are resident at once, or it does not start.
    ///
    /// # Safety
    /// As `launch`.
    pub unsafe fn launch_together(
        &self,
        kernel: &Kernel,
        blocks: u32,
        threads: u32,
        shared: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        let mut places: Vec<*mut c_void> = arguments.iter().map(Argument::place).collect();
        let (grid, block) = ((blocks, 1, 1), (threads, 1, 1));
        // SAFETY: the caller's contract; the arguments outlive the call, which copies them.
        let launch = || unsafe {
            result::launch_cooperative_kernel(kernel.function, grid, block, shared, self.stream, &mut places)
        };
        self.timed(kernel, arguments, launch).map_err(|error| failed("cuLaunchCooperativeKernel", error))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: created in `stream`.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

/// Recorded work.
#[derive(Debug)]
pub struct Graph {
    device: Arc<Device>,
    executable: sys::CUgraphExec,
}

// SAFETY: graphs may be launched from any thread, one at a time: they are behind a lock.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            // SAFETY: made in `record`.
            let _ = unsafe { result::graph::exec_destroy(self.executable) };
        }
    }
}
