//! Code on the device: what was loaded from cubins or PTX, in parts, its kernels and its variables.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CString, c_int},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{
    result::{self, DriverError},
    sys,
};

use super::driver::{Device, driver_version, failed, settle};
use crate::error::{Error, Result};

impl Device {
    /// Code for this device: a cubin or a PTX text.
    pub fn module(self: &Arc<Self>, mut image: Vec<u8>) -> Result<Module> {
        self.enter()?;
        // PTX must end in a zero; a cubin does not mind one.
        image.push(0);
        // SAFETY: the image outlives the call, and `Module` unloads what is loaded.
        let part = unsafe { result::module::load_data(image.as_ptr().cast()) };
        let part = part.map_err(|error| failed("cuModuleLoadData", error))?;
        Ok(Module { device: Arc::clone(self), parts: vec![part], found: Mutex::default() })
    }
}

/// Loaded code, in parts.
#[derive(Debug)]
pub struct Module {
    device: Arc<Device>,
    parts: Vec<sys::CUmodule>,
    /// Kernels that were looked for: the driver compares names, for each part.
    found: Mutex<BTreeMap<&'static str, Kernel>>,
}

// SAFETY: modules may be used from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// A kernel of the first part that has it.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let missing =
            || failed(&format!("cuModuleGetFunction({name})"), DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND));
        self.find(name)?.ok_or_else(missing)
    }

    /// The same; `None` where no part has it.
    pub fn find(&self, name: &str) -> Result<Option<Kernel>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = found.get(name) {
            return Ok(Some(*kernel));
        }
        let c_name = CString::new(name).map_err(|_| Error::Internal { reason: format!("kernel {name:?}") })?;
        for part in &self.parts {
            // SAFETY: the module lives.
            match unsafe { result::module::get_function(*part, c_name.clone()) } {
                Ok(function) => {
                    let kernel = Kernel { function, name: kept(name), follows: false };
                    found.insert(kernel.name, kernel);
                    return Ok(Some(kernel));
                }
                Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND)) => {}
                Err(error) => return Err(failed(&format!("cuModuleGetFunction({name})"), error)),
            }
        }
        Ok(None)
    }

    /// The parts of all.
    pub fn join(device: &Arc<Device>, modules: Vec<Module>) -> Module {
        let parts = modules.into_iter().flat_map(|mut module| mem::take(&mut module.parts)).collect();
        Module { device: Arc::clone(device), parts, found: Mutex::default() }
    }

    /// Writes a variable of the code, in each part that has it. Errors: `Internal` where none has, or it is of another size.
    pub fn set<T: bytemuck::Pod>(&self, name: &str, value: &[T]) -> Result<()> {
        self.device.enter()?;
        let c_name = CString::new(name).map_err(|_| Error::Internal { reason: format!("variable {name:?}") })?;
        let (bytes, mut found): (&[u8], bool) = (bytemuck::cast_slice(value), false);
        for part in &self.parts {
            // SAFETY: the module lives.
            let (at, size) = match unsafe { result::module::get_global(*part, c_name.clone()) } {
                Ok(place) => place,
                Err(DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND)) => continue,
                Err(error) => return Err(failed(&format!("cuModuleGetGlobal({name})"), error)),
            };
            if size != bytes.len() {
                return Err(Error::Internal { reason: format!("{name} has {size} bytes, not {}", bytes.len()) });
            }
            // SAFETY: the variable has as many bytes.
            unsafe { result::memcpy_htod_sync(at, bytes) }.map_err(|error| failed("cuMemcpyHtoD", error))?;
            found = true;
        }
        if !found {
            return Err(Error::Internal { reason: format!("no code has a variable {name}") });
        }
        settle()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.device.enter().is_ok() {
            for part in &self.parts {
                // SAFETY: loaded in `module`.
                let _ = unsafe { result::module::unload(*part) };
            }
        }
    }
}

/// The driver from which on a graph records that a kernel starts early.
const FOLLOWS_IN_GRAPHS: c_int = 12030;

/// A function of a module, which must outlive it.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    pub(super) function: sys::CUfunction,
    pub(super) name: &'static str,
    /// Whether it may start while the kernel before it still runs.
    pub(super) follows: bool,
}

/// The text for good; there are only so many kernels.
fn kept(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(Box::<str>::from(name));
    names.insert(name);
    name
}

// SAFETY: functions may be launched from any thread.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

impl Kernel {
    /// The same, to be started while the kernel before it in the stream still runs: one that begins with `follow` of
    /// kernels/machine.cuh, if it was compiled for a GPU that can do so, and the driver records such launches.
    pub fn following(self) -> Result<Kernel> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION;
        // SAFETY: the function's module lives.
        let version = unsafe { result::function::get_function_attribute(self.function, attribute) };
        let version = version.map_err(|error| failed("cuFuncGetAttribute", error))?;
        Ok(Kernel { follows: version >= 90 && driver_version()? >= FOLLOWS_IN_GRAPHS, ..self })
    }

    /// Allows launches with so much shared memory.
    pub fn allow_shared(&self, bytes: u32) -> Result<()> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function's module lives.
        let done = unsafe { result::function::set_function_attribute(self.function, attribute, bytes as c_int) };
        done.map_err(|error| failed("cuFuncSetAttribute", error))
    }
}
