//! NVIDIA's run-time compiler: kernel sources in, a cubin for one architecture out.
//!
//! libnvrtc is looked for on the system's paths, below CUDA_PATH and /usr/local/cuda, and in the PyPI packages
//! nvidia-cuda-nvrtc and nvidia-cuda-nvrtc-cu12 of the Pythons at hand. It needs no GPU and no driver.

use std::{
    ffi::{CStr, CString, OsString, c_char, c_int, c_void},
    path::Path,
    sync::OnceLock,
};

use libloading::Library;

use super::library;
use crate::error::{Error, Result};

const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

type Status = c_int;
type Program = *mut c_void;

/// The library's functions.
pub struct Nvrtc {
    _library: Library,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    ptx_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    ptx: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    /// (12, 9)
    pub version: (i32, i32),
    /// Architectures that it compiles for: 80, 86, …
    architectures: Vec<i32>,
}

/// What came out of the compiler.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// A cubin, or PTX where the compiler is older than the GPU.
    pub image: Vec<u8>,
    /// Warnings, and what ptxas has to say.
    pub log: String,
}

/// The compiler, looked for once.
pub fn nvrtc() -> Result<&'static Nvrtc> {
    static NVRTC: OnceLock<Result<Nvrtc>> = OnceLock::new();
    NVRTC.get_or_init(Nvrtc::find).as_ref().map_err(Clone::clone)
}

impl Nvrtc {
    fn find() -> Result<Nvrtc> {
        let mut reasons = vec![];
        for path in library::candidates(&NAMES, "cuda_nvrtc") {
            match Nvrtc::open(&path) {
                Ok(found) => return Ok(found),
                // Only what is there and fails is worth telling.
                Err(reason) if Path::new(&path).is_absolute() => reasons.push(reason),
                Err(_) => {}
            }
        }
        let mut expected = "NVIDIA's run-time compiler of CUDA 12 or newer (with a CUDA toolkit, or by pip install \
                            nvidia-cuda-nvrtc-cu12)"
            .to_owned();
        if let Some(reason) = reasons.first() {
            expected = format!("{expected}; {reason}");
        }
        Err(Error::NotFound { path: "libnvrtc.so.12".into(), expected })
    }

    fn open(path: &OsString) -> std::result::Result<Nvrtc, String> {
        // SAFETY: the library's initialisers are NVIDIA's; the types below are those of nvrtc.h.
        unsafe {
            let library = Library::new(path).map_err(|error| error.to_string())?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get($name).map_err(|error| format!("{}: {error}", path.to_string_lossy()))?
                };
            }
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status = symbol!(b"nvrtcVersion");
            let arch_count: unsafe extern "C" fn(*mut c_int) -> Status = symbol!(b"nvrtcGetNumSupportedArchs");
            let archs: unsafe extern "C" fn(*mut c_int) -> Status = symbol!(b"nvrtcGetSupportedArchs");
            let (mut major, mut minor, mut count) = (0, 0, 0);
            version(&mut major, &mut minor);
            if major < 12 {
                return Err(format!("{} is of CUDA {major}.{minor}", path.to_string_lossy()));
            }
            arch_count(&mut count);
            let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
            archs(architectures.as_mut_ptr());
            Ok(Nvrtc {
                create: symbol!(b"nvrtcCreateProgram"),
                compile: symbol!(b"nvrtcCompileProgram"),
                log_size: symbol!(b"nvrtcGetProgramLogSize"),
                log: symbol!(b"nvrtcGetProgramLog"),
                cubin_size: symbol!(b"nvrtcGetCUBINSize"),
                cubin: symbol!(b"nvrtcGetCUBIN"),
                ptx_size: symbol!(b"nvrtcGetPTXSize"),
                ptx: symbol!(b"nvrtcGetPTX"),
                destroy: symbol!(b"nvrtcDestroyProgram"),
                version: (major, minor),
                architectures,
                _library: library,
            })
        }
    }

    /// The option for a GPU: machine code where the compiler knows it, else PTX of the newest one that it knows.
    pub fn architecture(&self, capability: (i32, i32)) -> String {
        let wanted = capability.0 * 10 + capability.1;
        if self.architectures.contains(&wanted) {
            // Hopper's own instructions need the letter.
            return format!("sm_{wanted}{}", if wanted == 90 { "a" } else { "" });
        }
        let newest = self.architectures.iter().copied().filter(|known| *known < wanted).max().unwrap_or(80);
        format!("compute_{newest}")
    }

    pub fn compile(&self, source: &str, options: &[String]) -> Result<Compiled> {
        let text =
            |text: &str| CString::new(text).map_err(|_| Error::Internal { reason: "a zero byte in a kernel".into() });
        let (source, name) = (text(source)?, text("kernels.cu")?);
        let options: Vec<CString> = options.iter().map(|option| text(option)).collect::<Result<_>>()?;
        let places: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = std::ptr::null_mut();
        // SAFETY: strings end in zeros and outlive the program, which is destroyed below; the buffers have the sizes
        // that the library asked for.
        unsafe {
            let made =
                (self.create)(&mut program, source.as_ptr(), name.as_ptr(), 0, std::ptr::null(), std::ptr::null());
            if made != 0 {
                return Err(Error::Internal { reason: format!("nvrtcCreateProgram: {made}") });
            }
            let status = (self.compile)(program, places.len() as c_int, places.as_ptr());
            let log = bytes(|size| (self.log_size)(program, size), |at| (self.log)(program, at));
            let log =
                CStr::from_bytes_until_nul(&log).map(|log| log.to_string_lossy().into_owned()).unwrap_or_default();
            let mut image = bytes(|size| (self.cubin_size)(program, size), |at| (self.cubin)(program, at));
            if image.is_empty() {
                image = bytes(|size| (self.ptx_size)(program, size), |at| (self.ptx)(program, at));
            }
            (self.destroy)(&mut program);
            if status != 0 || image.is_empty() {
                return Err(Error::Internal { reason: format!("nvrtcCompileProgram: {status}\n{log}") });
            }
            Ok(Compiled { image, log })
        }
    }
}

/// What a pair of "how long" and "give" functions gives; nothing on an error.
fn bytes(size: impl FnOnce(*mut usize) -> Status, give: impl FnOnce(*mut c_char) -> Status) -> Vec<u8> {
    let mut count = 0;
    if size(&mut count) != 0 {
        return vec![];
    }
    let mut out = vec![0_u8; count];
    if count == 0 || give(out.as_mut_ptr().cast()) != 0 {
        return vec![];
    }
    out
}
