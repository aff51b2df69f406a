//! The libraries of a machine with a GPU: whether they are there, before CUDA needs them.
//!
//! CUDA opens them when it first calls them, and panics where one is missing.

use std::ffi::{CStr, c_int, c_void};

use candle_core::cuda_backend::cudarc::driver::sys;

use crate::{Error, Result};

/// The driver comes first: without it nothing else matters.
const DRIVER: Library = Library {
    file: c"libcuda.so.1",
    name: "the NVIDIA driver",
    remedy: "install the driver of your GPU, 580 or newer",
};

/// A library stands behind those that it needs, so that the one that is missing is named.
const CUDA: [Library; 3] = [
    Library { file: c"libcublasLt.so.13", name: "cuBLASLt", remedy: BLAS },
    Library { file: c"libcublas.so.13", name: "cuBLAS", remedy: BLAS },
    Library {
        file: c"libcurand.so.10",
        name: "cuRAND",
        remedy: "install CUDA 13, or `pip install nvidia-curand==10.4.*`, and let `LD_LIBRARY_PATH` \
                 name the folder that holds it",
    },
];

const BLAS: &str = "install CUDA 13, or `pip install nvidia-cublas==13.*`, and let `LD_LIBRARY_PATH` \
                    name the folder that holds it";

struct Library {
    file: &'static CStr,
    name: &'static str,
    remedy: &'static str,
}

/// Loads what CUDA will need. A driver older than the compiler cannot read the PTX that this build holds.
///
/// # Errors
/// If a library is missing, or the driver is older than this build.
pub(super) fn load() -> Result<()> {
    let driver = DRIVER.load()?;
    if let Some(found) = version(driver).filter(|&found| found < sys::CUDA_VERSION) {
        return Err(Error::Driver { found, wanted: sys::CUDA_VERSION });
    }
    CUDA.iter().try_for_each(|library| library.load().map(drop))
}

impl Library {
    /// Its handle; it stays loaded.
    fn load(&self) -> Result<*mut c_void> {
        // SAFETY: the name is a string; CUDA's libraries may be loaded and are never unloaded.
        let handle = unsafe { libc::dlopen(self.file.as_ptr(), libc::RTLD_LAZY) };
        if !handle.is_null() {
            return Ok(handle);
        }
        // SAFETY: it is null, or a string that lives until this thread calls the loader again.
        let reason = unsafe { libc::dlerror().as_ref().map(|reason| CStr::from_ptr(reason)) };
        let reason = reason.unwrap_or_default().to_string_lossy();
        let (file, Self { name, remedy, .. }) = (self.file.to_string_lossy().into_owned(), self);
        // The loader begins with the file, where it is this one that it misses.
        let reason = reason.trim_start_matches(&format!("{file}: ")).to_owned();
        Err(Error::Library { file, name, reason, remedy })
    }
}

/// The newest CUDA that a driver knows, 1000 for each whole version and 10 for each part.
fn version(driver: *mut c_void) -> Option<u32> {
    type Ask = unsafe extern "C" fn(*mut c_int) -> c_int;
    // SAFETY: the handle is the driver's, and the name is a string.
    let symbol = unsafe { libc::dlsym(driver, c"cuDriverGetVersion".as_ptr()) };
    if symbol.is_null() {
        return None;
    }
    // SAFETY: every driver has this function of this type, which needs nothing to be set up.
    let ask = unsafe { std::mem::transmute::<*mut c_void, Ask>(symbol) };
    let mut version = 0;
    // SAFETY: it writes one number.
    let status = unsafe { ask(&raw mut version) };
    u32::try_from(version).ok().filter(|_| status == 0)
}
