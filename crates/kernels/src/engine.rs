//! Runs launches on a GPU, through the context and the stream that Candle already has.
//!
//! Without the feature `cuda` there is an [`Engine`] all the same, of which no value exists:
//! operations ask for one, and the compiler drops what they would do with it.

#[cfg(feature = "cuda")]
mod clock;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod host;
#[cfg(feature = "cuda")]
mod modules;
#[cfg(feature = "cuda")]
mod product;
#[cfg(not(feature = "cuda"))]
mod without;

use std::fmt;
use std::sync::{Arc, OnceLock};

use candle_core::{Device, Tensor};

#[cfg(feature = "cuda")]
pub(crate) use cuda::Engine;
#[cfg(feature = "cuda")]
pub(crate) use host::Arriving;
#[cfg(not(feature = "cuda"))]
pub(crate) use without::{Arriving, Engine};

use crate::Result;
use crate::launch::{Address, Compute, Gpu};

/// The GPU of this index, ready to run kernels.
///
/// # Errors
/// If this build has no CUDA, or the machine has no such GPU, no driver or library for it, or a GPU
/// that this build has no kernels for.
pub fn gpu(index: usize) -> Result<Device> {
    #[cfg(feature = "cuda")]
    return cuda::open(index);
    #[cfg(not(feature = "cuda"))]
    Err(crate::Error::NoCuda { index })
}

/// A row-major matrix in device memory, or its transpose.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "read by the engine that is there"))]
pub(crate) struct Operand {
    pub(crate) at: Address,
    pub(crate) compute: Compute,
    /// Numbers from one stored row to the next.
    pub(crate) pitch: usize,
    /// Whether the rows that are stored are the columns that are meant.
    pub(crate) transposed: bool,
}

impl Operand {
    /// The numbers of a tensor as a matrix of rows of `pitch` numbers.
    pub(crate) fn new(gpu: &Engine, tensor: &Tensor, pitch: usize) -> Result<Self> {
        let (at, compute) = (gpu.at(tensor)?, Compute::of(tensor)?);
        Ok(Self { at, compute, pitch, transposed: false })
    }

    /// Its transpose.
    pub(crate) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// The columns from `first` on.
    pub(crate) fn columns_from(self, first: usize) -> Self {
        Self { at: self.at.after(first, self.compute.size()), ..self }
    }
}

/// The copy of host numbers on a GPU, made when it is first asked for.
#[derive(Default)]
pub(crate) struct Mirror(OnceLock<Arc<<Engine as Gpu>::Memory>>);

impl Mirror {
    /// Where the copy of `numbers` is: always the same numbers.
    pub(crate) fn of(&self, gpu: &Engine, numbers: &[f32]) -> Result<Address> {
        if let Some(memory) = self.0.get() {
            return Ok(gpu.address(memory));
        }
        let words: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
        let memory = self.0.get_or_init({
            let memory = Arc::new(gpu.upload(&words)?);
            || memory
        });
        Ok(gpu.address(memory))
    }
}

/// A clone makes its own copy: it may be asked for on another GPU.
impl Clone for Mirror {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "on the GPU" } else { "on the host" })
    }
}
