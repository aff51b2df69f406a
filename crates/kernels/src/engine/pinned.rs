//! Page-locked memory of the host, at the same address for the host and the GPU.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{CudaStream, PinnedHostSlice, sys};

use super::Engine;
use super::cuda::{failed, said};
use crate::launch::Address;
use crate::{Error, Result};

/// Memory that kernels read and write over the bus, and the host once they are done.
pub(crate) struct Pinned {
    _memory: PinnedHostSlice<u8>,
    at: Address,
    bytes: usize,
    stream: Arc<CudaStream>,
}

impl Pinned {
    /// Zeros.
    pub(crate) fn zeros(gpu: &Engine, bytes: usize) -> Result<Self> {
        let stream = gpu.stream.clone();
        // Not cudarc's default, write-combined memory: checkpoints are read from it, which is very slow
        // there. Unified addressing, which every 64-bit system has, maps it at its own address.
        let flags = sys::CU_MEMHOSTALLOC_PORTABLE | sys::CU_MEMHOSTALLOC_DEVICEMAP;
        // SAFETY: it is filled before anything reads it.
        let memory = unsafe { stream.context().alloc_pinned_with_flags::<u8>(bytes.max(1), flags) };
        let memory = memory.map_err(|error| Error::Pinned { bytes, message: said(error) })?;
        // cudarc waits for an event first, which nothing records: all work is ordered by the stream.
        let at = Address(memory.as_ptr().map_err(failed("use locked memory"))? as u64);
        let this = Self { _memory: memory, at, bytes, stream };
        this.write(|bytes| bytes.fill(0))?;
        Ok(this)
    }

    /// Where the GPU finds it.
    pub(crate) fn at(&self) -> Address {
        self.at
    }

    /// Lets `f` see the bytes, after all launches so far.
    pub(crate) fn read<R>(&self, f: impl FnOnce(&[u8]) -> R) -> Result<R> {
        self.stream.synchronize().map_err(failed("wait for the updates"))?;
        // SAFETY: so much was allocated and filled; no launch is under way, and only an update, which
        // waits for checkpoints, changes it.
        Ok(f(unsafe { std::slice::from_raw_parts(self.at.0 as *const u8, self.bytes) }))
    }

    /// Lets `f` change the bytes, after all launches so far.
    pub(crate) fn write<R>(&self, f: impl FnOnce(&mut [u8]) -> R) -> Result<R> {
        self.stream.synchronize().map_err(failed("wait for the updates"))?;
        // SAFETY: so much was allocated; no launch is under way, and a state is only written while it is
        // made or loaded, by one thread.
        Ok(f(unsafe { std::slice::from_raw_parts_mut(self.at.0 as *mut u8, self.bytes) }))
    }
}

impl Drop for Pinned {
    /// The memory is freed when the kernels that use it are done.
    fn drop(&mut self) {
        // If that cannot be known, the GPU is lost, and nothing uses it any more.
        let _ = self.stream.synchronize();
    }
}
