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
mod libraries;
#[cfg(feature = "cuda")]
mod modules;
#[cfg(feature = "cuda")]
mod pinned;
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
#[cfg(feature = "cuda")]
pub(crate) use pinned::Pinned;
#[cfg(not(feature = "cuda"))]
pub(crate) use without::{Arriving, Engine, Pinned};

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

/// Memory of the engine that is there.
pub(crate) type Memory = <Engine as Gpu>::Memory;

/// The copy of host numbers on a GPU, made when it is first asked for.
pub(crate) struct Mirror<M = Memory>(OnceLock<(Arc<M>, usize)>);

impl Mirror {
    /// Where the copy of `numbers` is: always the same numbers.
    pub(crate) fn of(&self, gpu: &Engine, numbers: &[f32]) -> Result<Address> {
        let words = || numbers.iter().map(|number| number.to_bits()).collect();
        Ok(self.of_words(gpu, words)?.0)
    }
}

impl<M> Mirror<M> {
    /// Where the copy of the words that `make` gives is, always the same words, and how many they
    /// are.
    pub(crate) fn of_words(
        &self,
        gpu: &impl Gpu<Memory = M>,
        make: impl FnOnce() -> Vec<u32>,
    ) -> Result<(Address, usize)> {
        if let Some((memory, count)) = self.0.get() {
            return Ok((gpu.address(memory), *count));
        }
        let words = make();
        let copy = (Arc::new(gpu.upload(&words)?), words.len());
        let (memory, count) = self.0.get_or_init(|| copy);
        Ok((gpu.address(memory), *count))
    }
}

impl<M> Default for Mirror<M> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

/// A clone makes its own copy: it may be asked for on another GPU.
impl<M> Clone for Mirror<M> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<M> fmt::Debug for Mirror<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "on the GPU" } else { "on the host" })
    }
}
