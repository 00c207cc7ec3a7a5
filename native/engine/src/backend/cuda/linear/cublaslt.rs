//! cuBLASLt, opened at run time: products of large E4M3 operands, and of others, beside which the own kernels are measured.
//!
//! D = A^T B, all column by column: A is W [out, in] by rows, B is x [batch, in] by rows, D is y [batch, out] by rows. Of
//! FP8 the sums stay in the tensor cores (fast accumulation), as in kernels/panel_gemm.cu.

use std::{
    cell::Cell,
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
type Opaque = *mut c_void;

/// Scales of A's and B's rows, f32 on the device.
pub type Scales = [u64; 2];

/// What is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    /// E4M3; sums f32.
    F8E4m3,
    /// Sums i32.
    Int8,
    /// Sums f32.
    F16,
}

/// cublasLtMatmulHeuristicResult_t
#[derive(Clone, Copy)]
#[repr(C)]
struct Algorithm {
    algorithm: [u64; 8],
    workspace_bytes: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

/// The library's functions, and a handle.
pub struct CublasLt {
    _library: Library,
    destroy: unsafe extern "C" fn(Opaque) -> Status,
    desc_create: unsafe extern "C" fn(*mut Opaque, c_int, c_int) -> Status,
    desc_set: unsafe extern "C" fn(Opaque, c_int, *const c_void, usize) -> Status,
    desc_destroy: unsafe extern "C" fn(Opaque) -> Status,
    layout_create: unsafe extern "C" fn(*mut Opaque, c_int, u64, u64, i64) -> Status,
    layout_destroy: unsafe extern "C" fn(Opaque) -> Status,
    preference_create: unsafe extern "C" fn(*mut Opaque) -> Status,
    preference_set: unsafe extern "C" fn(Opaque, c_int, *const c_void, usize) -> Status,
    preference_destroy: unsafe extern "C" fn(Opaque) -> Status,
    heuristic: unsafe extern "C" fn(
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        Opaque,
        c_int,
        *mut Algorithm,
        *mut c_int,
    ) -> Status,
    #[allow(clippy::type_complexity)]
    matmul: unsafe extern "C" fn(
        Opaque,
        Opaque,
        *const c_void,
        u64,
        Opaque,
        u64,
        Opaque,
        *const c_void,
        u64,
        Opaque,
        u64,
        Opaque,
        *const u64,
        u64,
        usize,
        Opaque,
    ) -> Status,
    handle: Opaque,
    /// 120902, 130002, …
    pub version: usize,
    workspace: Memory,
}

// As in cublasLt.h and library_types.h.
const COMPUTE_F32: c_int = 68;
const COMPUTE_I32: c_int = 72;
const R_F32: c_int = 0;
const R_F16: c_int = 2;
const R_I8: c_int = 3;
const R_I32: c_int = 10;
const R_E4M3: c_int = 28;
const DESC_TRANSA: c_int = 3;
const DESC_SCALE_POINTERS: [c_int; 2] = [17, 18];
const DESC_FAST_ACCUM: c_int = 25;
const DESC_SCALE_MODES: [c_int; 2] = [31, 32];
/// A scale for each row.
const SCALE_OUTER_VECTOR: i32 = 3;
const PREFERENCE_WORKSPACE: c_int = 1;
const WORKSPACE_BYTES: usize = 64 << 20;
/// Algorithms that a plan may choose from.
const ALGORITHMS: usize = 8;

// SAFETY: a handle may be used from any thread, one at a time: `multiply` is given a stream that its caller owns.
unsafe impl Send for CublasLt {}
// SAFETY: as above.
unsafe impl Sync for CublasLt {}

/// A shape, and the algorithms that the library knows for it, its favourite first.
pub struct Plan {
    of: Arc<CublasLt>,
    desc: Opaque,
    /// A, B and D.
    layouts: [Opaque; 3],
    algorithms: Vec<Algorithm>,
    is_integer: bool,
    /// Those that were set last.
    scales: Cell<Option<Scales>>,
}

fn checked(call: &str, status: Status) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(Error::Internal { reason: format!("{call}: cublasStatus {status}") }) }
}

impl CublasLt {
    /// Errors: `NotFound` where there is no library.
    pub fn open(device: &Arc<Device>) -> Result<CublasLt> {
        let mut reason = None;
        for path in library::candidates(&["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"], "cublas") {
            match CublasLt::load(device, &path) {
                Ok(found) => return Ok(found),
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        Err(reason.unwrap_or(Error::NotFound { path: "libcublasLt.so".into(), expected: "cuBLASLt of CUDA 12".into() }))
    }

    fn load(device: &Arc<Device>, path: &OsString) -> Result<CublasLt> {
        let missing = |error: libloading::Error| Error::NotFound {
            path: path.to_string_lossy().into_owned(),
            expected: format!("cuBLASLt; {error}"),
        };
        device.enter()?;
        let workspace = device.memory(WORKSPACE_BYTES)?;
        // SAFETY: the library's initialisers are NVIDIA's; the types are those of cublasLt.h; the handle is destroyed in `drop`.
        unsafe {
            let library = Library::new(path).map_err(missing)?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get($name).map_err(missing)?
                };
            }
            let create: unsafe extern "C" fn(*mut Opaque) -> Status = symbol!(b"cublasLtCreate");
            let get_version: unsafe extern "C" fn() -> usize = symbol!(b"cublasLtGetVersion");
            let mut handle = std::ptr::null_mut();
            checked("cublasLtCreate", create(&mut handle))?;
            Ok(CublasLt {
                destroy: symbol!(b"cublasLtDestroy"),
                desc_create: symbol!(b"cublasLtMatmulDescCreate"),
                desc_set: symbol!(b"cublasLtMatmulDescSetAttribute"),
                desc_destroy: symbol!(b"cublasLtMatmulDescDestroy"),
                layout_create: symbol!(b"cublasLtMatrixLayoutCreate"),
                layout_destroy: symbol!(b"cublasLtMatrixLayoutDestroy"),
                preference_create: symbol!(b"cublasLtMatmulPreferenceCreate"),
                preference_set: symbol!(b"cublasLtMatmulPreferenceSetAttribute"),
                preference_destroy: symbol!(b"cublasLtMatmulPreferenceDestroy"),
                heuristic: symbol!(b"cublasLtMatmulAlgoGetHeuristic"),
                matmul: symbol!(b"cublasLtMatmul"),
                _library: library,
                handle,
                version: get_version(),
                workspace,
            })
        }
    }

    /// y [batch, outputs] = x [batch, inputs] W^T.
    ///
    /// Errors: `Internal` where the library has no algorithm for it.
    pub fn plan(
        self: &Arc<Self>,
        operands: Operands,
        batch: usize,
        outputs: usize,
        inputs: usize,
        scales: Option<Scales>,
    ) -> Result<Plan> {
        let (compute, scale, element, out) = match operands {
            Operands::F8E4m3 => (COMPUTE_F32, R_F32, R_E4M3, R_F32),
            Operands::Int8 => (COMPUTE_I32, R_I32, R_I8, R_I32),
            Operands::F16 => (COMPUTE_F32, R_F32, R_F16, R_F32),
        };
        let is_integer = operands == Operands::Int8;
        let none = [std::ptr::null_mut(); 3];
        let mut plan = Plan {
            of: Arc::clone(self),
            desc: std::ptr::null_mut(),
            layouts: none,
            algorithms: vec![],
            is_integer,
            scales: Cell::new(None),
        };
        let set = |desc, name, value: i32, bytes| {
            // SAFETY: the attribute is an integer of so many bytes, the lower ones of `value`.
            let status = unsafe { (self.desc_set)(desc, name, std::ptr::from_ref(&value).cast(), bytes) };
            checked("cublasLtMatmulDescSetAttribute", status)
        };
        // SAFETY: what is made here is destroyed with the plan; the layouts are those of the operands above.
        unsafe {
            checked("cublasLtMatmulDescCreate", (self.desc_create)(&mut plan.desc, compute, scale))?;
            set(plan.desc, DESC_TRANSA, 1, 4)?;
            if operands == Operands::F8E4m3 {
                set(plan.desc, DESC_FAST_ACCUM, 1, 1)?;
            }
            if let Some(scales) = scales {
                DESC_SCALE_MODES.into_iter().try_for_each(|name| set(plan.desc, name, SCALE_OUTER_VECTOR, 4))?;
                plan.set_scales(scales)?;
            }
            let shapes = [(element, inputs, outputs), (element, inputs, batch), (out, outputs, batch)];
            for (layout, (kind, rows, cols)) in plan.layouts.iter_mut().zip(shapes) {
                let status = (self.layout_create)(layout, kind, rows as u64, cols as u64, rows as i64);
                checked("cublasLtMatrixLayoutCreate", status)?;
            }
            let mut preference = std::ptr::null_mut();
            checked("cublasLtMatmulPreferenceCreate", (self.preference_create)(&mut preference))?;
            let bytes = WORKSPACE_BYTES;
            let status = (self.preference_set)(preference, PREFERENCE_WORKSPACE, std::ptr::from_ref(&bytes).cast(), 8);
            let empty = Algorithm { algorithm: [0; 8], workspace_bytes: 0, state: 0, waves: 0.0, reserved: [0; 4] };
            let (mut found, mut count) = ([empty; ALGORITHMS], 0);
            let [a, b, d] = plan.layouts;
            let asked = (self.heuristic)(
                self.handle,
                plan.desc,
                a,
                b,
                d,
                d,
                preference,
                ALGORITHMS as c_int,
                found.as_mut_ptr(),
                &mut count,
            );
            (self.preference_destroy)(preference);
            checked("cublasLtMatmulPreferenceSetAttribute", status)?;
            checked("cublasLtMatmulAlgoGetHeuristic", asked)?;
            let count = usize::try_from(count).unwrap_or(0);
            plan.algorithms = found.into_iter().take(count).filter(|one| one.state == 0).collect();
        }
        if plan.algorithms.is_empty() {
            return Err(Error::Internal { reason: format!("cuBLASLt has no product of {operands:?}") });
        }
        Ok(plan)
    }
}

impl Drop for CublasLt {
    fn drop(&mut self) {
        // SAFETY: created in `load`.
        let _ = unsafe { (self.destroy)(self.handle) };
    }
}

impl Plan {
    fn set_scales(&self, scales: Scales) -> Result<()> {
        if self.scales.replace(Some(scales)) == Some(scales) {
            return Ok(());
        }
        for (name, at) in DESC_SCALE_POINTERS.into_iter().zip(scales) {
            // SAFETY: the attribute is an address of eight bytes.
            let status = unsafe { (self.of.desc_set)(self.desc, name, std::ptr::from_ref(&at).cast(), 8) };
            checked("cublasLtMatmulDescSetAttribute", status)?;
        }
        Ok(())
    }

    /// How many algorithms there are.
    pub fn algorithms(&self) -> usize {
        self.algorithms.len()
    }

    /// Queues d = a b by one of the algorithms; 0 is the library's favourite.
    ///
    /// # Safety
    /// The three are as long as the plan's shape says, and live until the stream is done.
    pub unsafe fn multiply(&self, stream: &Stream, algorithm: usize, a: &Memory, b: &Memory, d: &Memory) -> Result<()> {
        // SAFETY: the caller's contract.
        unsafe { self.multiply_at(stream, algorithm, None, [a.at(), b.at(), d.at()]) }
    }

    /// The same at addresses, with scales for a plan that has some.
    ///
    /// # Safety
    /// As `multiply`; the scales, too, live until the stream is done, and no other thread multiplies with the plan.
    pub unsafe fn multiply_at(
        &self,
        stream: &Stream,
        algorithm: usize,
        scales: Option<Scales>,
        [a, b, d]: [u64; 3],
    ) -> Result<()> {
        scales.map_or(Ok(()), |scales| self.set_scales(scales))?;
        let none = || Error::Internal { reason: format!("algorithm {algorithm} of {}", self.algorithms.len()) };
        let chosen = self.algorithms.get(algorithm).ok_or_else(none)?;
        let (float, integer) = ([1.0_f32, 0.0], [1_i32, 0]);
        let factor = |i: usize| -> *const c_void {
            if self.is_integer { std::ptr::from_ref(&integer[i]).cast() } else { std::ptr::from_ref(&float[i]).cast() }
        };
        let [a_layout, b_layout, d_layout] = self.layouts;
        // SAFETY: the caller's contract; the factors are of the sums' type, and read before the call returns.
        let status = unsafe {
            (self.of.matmul)(
                self.of.handle,
                self.desc,
                factor(0),
                a,
                a_layout,
                b,
                b_layout,
                factor(1),
                d,
                d_layout,
                d,
                d_layout,
                chosen.algorithm.as_ptr(),
                self.of.workspace.at(),
                chosen.workspace_bytes,
                stream.stream.cast(),
            )
        };
        checked("cublasLtMatmul", status)
    }
}

// SAFETY: the library's structures belong to no thread; `multiply_at` says that one uses them at a time.
unsafe impl Send for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: made in `plan`; null where it did not come so far.
        unsafe {
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                (self.of.layout_destroy)(layout);
            }
            if !self.desc.is_null() {
                (self.of.desc_destroy)(self.desc);
            }
        }
    }
}
