//! cuSPARSELt, opened at run time: the product of two-of-four INT8 weights, beside which the own kernels are measured.
//!
//! It takes W dense by rows, with its zeros, and keeps it in an order of its own. The search times all of its algorithms on
//! the operands at hand, once a plan; the plan then stays with one.

use std::{
    ffi::{OsString, c_int, c_void},
    sync::Arc,
};

use libloading::Library;

use super::super::{
    driver::{Device, Memory, Stream},
    library,
};
use crate::error::{Error, Result};

type Status = c_int;
/// More than any version's structures take.
#[repr(C, align(64))]
struct Opaque([u8; 16 << 10]);

impl Opaque {
    fn new() -> Box<Opaque> {
        Box::new(Opaque([0; 16 << 10]))
    }
}

type At = *mut Opaque;
type Seen = *const Opaque;

/// The library's functions, and a handle.
pub struct CusparseLt {
    _library: Library,
    device: Arc<Device>,
    destroy: unsafe extern "C" fn(Seen) -> Status,
    dense: unsafe extern "C" fn(Seen, At, i64, i64, i64, u32, c_int, c_int) -> Status,
    structured: unsafe extern "C" fn(Seen, At, i64, i64, i64, u32, c_int, c_int, c_int) -> Status,
    layout_destroy: unsafe extern "C" fn(Seen) -> Status,
    product: unsafe extern "C" fn(Seen, At, c_int, c_int, Seen, Seen, Seen, Seen, c_int) -> Status,
    selection: unsafe extern "C" fn(Seen, At, Seen, c_int) -> Status,
    plan: unsafe extern "C" fn(Seen, At, Seen, Seen) -> Status,
    plan_destroy: unsafe extern "C" fn(Seen) -> Status,
    workspace: unsafe extern "C" fn(Seen, Seen, *mut usize) -> Status,
    compressed_size: unsafe extern "C" fn(Seen, Seen, *mut usize, *mut usize) -> Status,
    compress: unsafe extern "C" fn(Seen, Seen, u64, u64, u64, *mut c_void) -> Status,
    matmul: Multiply,
    search: Search,
    handle: Box<Opaque>,
    /// 603, 1000, …
    pub version: c_int,
}

type Streams = *mut *mut c_void;
type Multiply =
    unsafe extern "C" fn(Seen, Seen, *const f32, u64, u64, *const f32, u64, u64, u64, Streams, c_int) -> Status;
type Search = unsafe extern "C" fn(Seen, At, *const f32, u64, u64, *const f32, u64, u64, u64, Streams, c_int) -> Status;

// As in cusparseLt.h and library_types.h.
const COLUMNS: c_int = 1;
const ROWS: c_int = 2;
const R_I8: c_int = 3;
const R_I32: c_int = 10;
const COMPUTE_I32: c_int = 0;
const WORKSPACE_BYTES: usize = 64 << 20;

// SAFETY: the handle is only read after `open`, and each plan has its own structures.
unsafe impl Send for CusparseLt {}
// SAFETY: as above.
unsafe impl Sync for CusparseLt {}

fn checked(call: &str, status: Status) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Error::Internal { reason: format!("{call}: cusparseStatus {status}") }) }
}

impl CusparseLt {
    /// Errors: `NotFound` where there is no library of version 0.6 or newer.
    pub fn open(device: &Arc<Device>) -> Result<CusparseLt> {
        let mut reason = None;
        for path in library::candidates(&["libcusparseLt.so.0", "libcusparseLt.so"], "cusparselt") {
            match CusparseLt::load(device, &path) {
                Ok(found) => return Ok(found),
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        let expected = "cuSPARSELt 0.6 or newer".to_owned();
        Err(reason.unwrap_or(Error::NotFound { path: "libcusparseLt.so.0".into(), expected }))
    }

    fn load(device: &Arc<Device>, path: &OsString) -> Result<CusparseLt> {
        let missing = |error: libloading::Error| Error::NotFound {
            path: path.to_string_lossy().into_owned(),
            expected: format!("cuSPARSELt; {error}"),
        };
        device.enter()?;
        // SAFETY: the library's initialisers are NVIDIA's; the types are those of cusparseLt.h; its structures are smaller
        // than `Opaque`.
        unsafe {
            let library = Library::new(path).map_err(missing)?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get($name).map_err(missing)?
                };
            }
            let init: unsafe extern "C" fn(At) -> Status = symbol!(b"cusparseLtInit");
            let get_version: unsafe extern "C" fn(Seen, *mut c_int) -> Status = symbol!(b"cusparseLtGetVersion");
            let mut found = CusparseLt {
                device: Arc::clone(device),
                destroy: symbol!(b"cusparseLtDestroy"),
                dense: symbol!(b"cusparseLtDenseDescriptorInit"),
                structured: symbol!(b"cusparseLtStructuredDescriptorInit"),
                layout_destroy: symbol!(b"cusparseLtMatDescriptorDestroy"),
                product: symbol!(b"cusparseLtMatmulDescriptorInit"),
                selection: symbol!(b"cusparseLtMatmulAlgSelectionInit"),
                plan: symbol!(b"cusparseLtMatmulPlanInit"),
                plan_destroy: symbol!(b"cusparseLtMatmulPlanDestroy"),
                workspace: symbol!(b"cusparseLtMatmulGetWorkspace"),
                compressed_size: symbol!(b"cusparseLtSpMMACompressedSize"),
                compress: symbol!(b"cusparseLtSpMMACompress"),
                matmul: symbol!(b"cusparseLtMatmul"),
                search: symbol!(b"cusparseLtMatmulSearch"),
                _library: library,
                handle: Opaque::new(),
                version: 0,
            };
            checked("cusparseLtInit", init(&mut *found.handle))?;
            checked("cusparseLtGetVersion", get_version(&*found.handle, &mut found.version))?;
            if found.version < 600 {
                let expected = format!("cuSPARSELt 0.6 or newer, this is {}", found.version);
                return Err(Error::NotFound { path: path.to_string_lossy().into_owned(), expected });
            }
            Ok(found)
        }
    }

    /// y [batch, outputs] = x [batch, inputs] W^T in whole numbers, for W two of four; i8 in, i32 out.
    pub fn plan(&self, batch: usize, outputs: usize, inputs: usize) -> Result<Plan<'_>> {
        let (k, m, n) = (inputs as i64, outputs as i64, batch as i64);
        let mut plan = Plan {
            of: self,
            layouts: [Opaque::new(), Opaque::new(), Opaque::new()],
            product: Opaque::new(),
            selection: Opaque::new(),
            plan: Opaque::new(),
            is_planned: false,
            workspace: self.device.memory(WORKSPACE_BYTES)?,
        };
        let handle: Seen = &*self.handle;
        // SAFETY: the structures are boxed, so they stay where they are as long as the plan does.
        unsafe {
            let [a, b, d] = &mut plan.layouts;
            let status = (self.structured)(handle, &mut **a, m, k, k, 16, R_I8, ROWS, 0);
            checked("cusparseLtStructuredDescriptorInit", status)?;
            checked("cusparseLtDenseDescriptorInit", (self.dense)(handle, &mut **b, k, n, k, 16, R_I8, COLUMNS))?;
            checked("cusparseLtDenseDescriptorInit", (self.dense)(handle, &mut **d, m, n, m, 16, R_I32, COLUMNS))?;
            let status = (self.product)(handle, &mut *plan.product, 0, 0, &**a, &**b, &**d, &**d, COMPUTE_I32);
            checked("cusparseLtMatmulDescriptorInit", status)?;
            let status = (self.selection)(handle, &mut *plan.selection, &*plan.product, 0);
            checked("cusparseLtMatmulAlgSelectionInit", status)?;
            let status = (self.plan)(handle, &mut *plan.plan, &*plan.product, &*plan.selection);
            checked("cusparseLtMatmulPlanInit", status)?;
            plan.is_planned = true;
            plan.room()?;
        }
        Ok(plan)
    }
}

impl Drop for CusparseLt {
    fn drop(&mut self) {
        // SAFETY: initialised in `load`.
        let _ = unsafe { (self.destroy)(&*self.handle) };
    }
}

/// A shape, and the algorithm for it.
pub struct Plan<'a> {
    of: &'a CusparseLt,
    layouts: [Box<Opaque>; 3],
    product: Box<Opaque>,
    selection: Box<Opaque>,
    plan: Box<Opaque>,
    is_planned: bool,
    workspace: Memory,
}

impl Plan<'_> {
    /// Makes the workspace as large as the algorithm wants it.
    fn room(&mut self) -> Result<()> {
        let mut bytes = 0;
        // SAFETY: the plan was made.
        let status = unsafe { (self.of.workspace)(&*self.of.handle, &*self.plan, &mut bytes) };
        checked("cusparseLtMatmulGetWorkspace", status)?;
        if bytes > self.workspace.bytes() {
            self.workspace = self.of.device.memory(bytes)?;
        }
        Ok(())
    }

    /// W [outputs][inputs] i8 with its zeros, in the library's order.
    ///
    /// # Safety
    /// `dense` is as long as the plan's shape says.
    pub unsafe fn compress(&self, stream: &Stream, dense: &Memory) -> Result<Memory> {
        let (mut bytes, mut scratch_bytes) = (0, 0);
        let handle: Seen = &*self.of.handle;
        // SAFETY: the plan was made; the caller's contract; the scratch lives until the stream is done.
        unsafe {
            let status = (self.of.compressed_size)(handle, &*self.plan, &mut bytes, &mut scratch_bytes);
            checked("cusparseLtSpMMACompressedSize", status)?;
            let (out, scratch) = (self.of.device.memory(bytes)?, self.of.device.memory(scratch_bytes)?);
            let stream_at = stream.stream.cast();
            let status = (self.of.compress)(handle, &*self.plan, dense.at(), out.at(), scratch.at(), stream_at);
            checked("cusparseLtSpMMACompress", status)?;
            stream.wait()?;
            Ok(out)
        }
    }

    /// Times the library's algorithms on these operands and stays with the fastest.
    ///
    /// # Safety
    /// As `multiply`.
    pub unsafe fn search(&mut self, stream: &Stream, a: &Memory, b: &Memory, d: &Memory) -> Result<()> {
        let (one, zero, mut streams) = (1.0_f32, 0.0_f32, [stream.stream.cast::<c_void>()]);
        let (handle, workspace): (Seen, u64) = (&*self.of.handle, self.workspace.at());
        // SAFETY: the caller's contract.
        let status = unsafe {
            (self.of.search)(
                handle,
                &mut *self.plan,
                &one,
                a.at(),
                b.at(),
                &zero,
                d.at(),
                d.at(),
                workspace,
                streams.as_mut_ptr(),
                1,
            )
        };
        checked("cusparseLtMatmulSearch", status)?;
        stream.wait()?;
        self.room()
    }

    /// Queues d = a b.
    ///
    /// # Safety
    /// `a` is what `compress` gave; `b` and `d` are as long as the plan's shape says; all live until the stream is done.
    pub unsafe fn multiply(&self, stream: &Stream, a: &Memory, b: &Memory, d: &Memory) -> Result<()> {
        let (one, zero, mut streams) = (1.0_f32, 0.0_f32, [stream.stream.cast::<c_void>()]);
        let (handle, workspace): (Seen, u64) = (&*self.of.handle, self.workspace.at());
        // SAFETY: the caller's contract.
        let status = unsafe {
            (self.of.matmul)(
                handle,
                &*self.plan,
                &one,
                a.at(),
                b.at(),
                &zero,
                d.at(),
                d.at(),
                workspace,
                streams.as_mut_ptr(),
                1,
            )
        };
        checked("cusparseLtMatmul", status)
    }
}

impl Drop for Plan<'_> {
    fn drop(&mut self) {
        // SAFETY: made in `plan`.
        unsafe {
            if self.is_planned {
                (self.of.plan_destroy)(&*self.plan);
                self.layouts.iter().for_each(|layout| {
                    (self.of.layout_destroy)(&**layout);
                });
            }
        }
    }
}
