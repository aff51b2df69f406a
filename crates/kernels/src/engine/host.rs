//! Page-locked memory of the host, which copies to and from the GPU need to run beside the host's work.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaEvent, CudaStream, DriverError, PinnedHostSlice, result, sys,
};
use candle_core::{DType, Tensor};

use super::Engine;
use super::cuda::failed;
use crate::{Error, Result};

/// Page-locked bytes, and when the last copy from or to them is done.
pub(super) struct Page {
    memory: PinnedHostSlice<u8>,
    done: CudaEvent,
}

impl Page {
    fn new(context: &Arc<CudaContext>, bytes: usize) -> Result<Self, DriverError> {
        let timeless = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        // Not write-combined: the host reads what arrives.
        // SAFETY: bytes are written before they are read, by the host or by a copy that is waited for.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0)? };
        Ok(Self { memory, done: context.new_event(Some(timeless))? })
    }
}

/// Bytes of half an outbox: the lists of a batch of 8,192 tokens take about a quarter of it.
const HALF: usize = 1 << 20;

/// What is on its way to the GPU: one half is filled while the other is being sent.
pub(super) struct Outbox {
    halves: [Page; 2],
    filling: usize,
    used: usize,
}

impl Outbox {
    pub(super) fn new(context: &Arc<CudaContext>) -> Result<Self, DriverError> {
        let halves = [Page::new(context, HALF)?, Page::new(context, HALF)?];
        Ok(Self { halves, filling: 0, used: 0 })
    }

    /// Sends bytes to the device address `to`, without waiting for the GPU unless both halves are
    /// still on their way.
    pub(super) fn send(
        &mut self,
        stream: &CudaStream,
        mut to: u64,
        mut bytes: &[u8],
    ) -> Result<(), DriverError> {
        while !bytes.is_empty() {
            if self.used == HALF {
                self.halves[self.filling].done.record(stream)?;
                self.filling = 1 - self.filling;
                self.used = 0;
                self.halves[self.filling].done.synchronize()?;
            }
            let count = bytes.len().min(HALF - self.used);
            let (now, rest) = bytes.split_at(count);
            let half = self.halves[self.filling].memory.as_mut_slice()?;
            let place = &mut half[self.used..self.used + count];
            place.copy_from_slice(now);
            // SAFETY: the caller owns the memory at `to`, and nobody writes these bytes before `done`.
            unsafe { result::memcpy_htod_async(to, place, stream.cu_stream())? };
            self.used += count;
            to += count as u64;
            bytes = rest;
        }
        Ok(())
    }
}

/// Numbers on their way from the GPU.
pub(crate) struct Arriving {
    engine: Arc<Engine>,
    /// Goes back to the engine when this is dropped.
    page: Option<Page>,
    numbers: usize,
}

impl Arriving {
    /// Asks for the numbers of a contiguous f32 tensor, as they will be after all launches so far.
    pub(crate) fn new(engine: Arc<Engine>, tensor: &Tensor) -> Result<Self> {
        if tensor.dtype() != DType::F32 {
            return Err(Error::Device { found: format!("{:?} numbers to read", tensor.dtype()) });
        }
        let (from, numbers) = (engine.at(tensor)?, tensor.elem_count());
        let bytes = numbers * 4;
        let spare = {
            let mut spare = engine.pages.lock();
            let fits = spare.iter().position(|page| page.memory.len() >= bytes);
            fits.map(|index| spare.swap_remove(index))
        };
        let stream = &engine.stream;
        let mut page = match spare {
            Some(page) => page,
            None => Page::new(stream.context(), bytes.next_power_of_two().max(4096))
                .map_err(failed("allocate page-locked memory"))?,
        };
        let copied = page.memory.as_mut_slice().and_then(|memory| {
            // SAFETY: the tensor has so many bytes, and `done` is waited for before they are read.
            unsafe {
                result::memcpy_dtoh_async(&mut memory[..bytes], from.0, stream.cu_stream())?;
            }
            page.done.record(stream)
        });
        if let Err(error) = copied {
            // The copy may be under way, and nothing says when it is done: its page is never freed.
            std::mem::forget(page);
            return Err(failed("copy from the GPU")(error));
        }
        Ok(Self { engine, page: Some(page), numbers })
    }

    /// The numbers, once they are there.
    pub(crate) fn wait(&self) -> Result<Vec<f32>> {
        let page = self.page.as_ref().expect("it is there until it is dropped");
        let arrived = page.done.synchronize().and_then(|()| page.memory.as_slice());
        let bytes = &arrived.map_err(failed("copy from the GPU"))?[..4 * self.numbers];
        let (numbers, _) = bytes.as_chunks();
        Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(page) = self.page.take() {
            // A copy that nobody waited for must not run into the next one's numbers; if waiting
            // fails, so will every later call.
            let _ = page.done.synchronize();
            self.engine.pages.lock().push(page);
        }
    }
}
