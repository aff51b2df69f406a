//! Where a GPU's time goes, kernel by kernel, by the GPU's own clock.

use candle_core::Device;

use crate::Result;
use crate::engine::Engine;

/// What the launches of one kernel, or the products of one size, took together.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTime {
    /// The kernel's name, or `product ROWSxCOLUMNSxINNER` for a matrix product.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// How long, together. Two events stand around each launch: they add some microseconds to it.
    pub milliseconds: f64,
    /// Multiplications and additions of the products, together; 0 for kernels.
    pub operations: f64,
}

impl KernelTime {
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "made by the engine's clock"))]
    pub(crate) fn of(name: String) -> Self {
        Self { name, calls: 0, milliseconds: 0.0, operations: 0.0 }
    }
}

/// Begins to time every kernel and product of this crate on `device`; copies, and the few kernels of
/// Candle that are used, are not timed. On the CPU nothing is.
///
/// # Errors
/// If the device cannot be used.
pub fn begin_profile(device: &Device) -> Result<()> {
    if let Some(gpu) = Engine::of(device)? {
        gpu.start_clock();
    }
    Ok(())
}

/// Runs `f`, whose launches on `device` are not timed.
///
/// # Errors
/// If the device cannot be used; `f` was not run then.
pub fn unprofiled<R>(device: &Device, f: impl FnOnce() -> R) -> Result<R> {
    Ok(match Engine::of(device)? {
        Some(gpu) => gpu.pause_clock(f),
        None => f(),
    })
}

/// Stops timing and waits for the launches so far: the kernels since [`begin_profile`], the one that
/// took longest first.
///
/// # Errors
/// If a launch has failed.
pub fn end_profile(device: &Device) -> Result<Vec<KernelTime>> {
    Engine::of(device)?.map_or(Ok(Vec::new()), |gpu| gpu.stop_clock())
}
