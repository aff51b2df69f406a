//! The numbers inside a Candle tensor: read as a slice, written in place, allocated without filling.
//!
//! Every CPU kernel goes through these functions, so this is the one place that knows how Candle
//! stores a tensor. A tensor is guarded by a lock: never [`write()`] one tensor while its storage
//! (or a view of it) is being [`read()`].

use std::cell::Cell;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Shape, Storage, Tensor};
use parking_lot::{MappedRwLockReadGuard, RwLockReadGuard};

use crate::{Error, Result};

/// The numbers of a tensor, borrowed for reading.
pub type Floats<'t> = MappedRwLockReadGuard<'t, [f32]>;

/// Borrows the numbers of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// If the tensor is strided, of another type or on another device.
pub fn read(tensor: &Tensor) -> Result<Floats<'_>> {
    let (guard, layout) = tensor.storage_and_layout();
    let floats = RwLockReadGuard::try_map(guard, |storage| match storage {
        Storage::Cpu(CpuStorage::F32(data)) => {
            layout.contiguous_offsets().map(|(start, end)| &data[start..end])
        }
        _ => None,
    });
    floats.map_err(|_| wrong_storage(tensor.dtype(), layout))
}

/// Lets `f` write the numbers of a contiguous f32 tensor on the CPU, in place.
///
/// Views share their storage: writing a view writes the tensor that it was taken from.
///
/// # Errors
/// If the tensor is strided, of another type or on another device, or if `f` fails.
pub fn write<R>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<R>) -> Result<R> {
    let op = Write { f: Cell::new(Some(f)), result: Cell::new(None) };
    tensor.inplace_op1(&op)?;
    op.result.into_inner().expect("Candle runs an in-place operation exactly once")
}

/// Allocates a tensor whose numbers are not yet written: the caller must write all of them.
///
/// Filling a large buffer costs as much as the operation that overwrites it.
///
/// # Errors
/// If the device cannot allocate.
#[allow(clippy::uninit_vec)]
pub fn empty(shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
    let shape = shape.into();
    if !device.is_cpu() {
        // SAFETY: the caller writes every element before it is read.
        return Ok(unsafe { Tensor::empty(shape, DType::F32, device)? });
    }
    Ok(Tensor::from_vec(empty_vec(shape.elem_count()), shape, device)?)
}

/// Scratch memory of `len` floats whose numbers are not yet written.
#[allow(clippy::uninit_vec)]
pub fn empty_vec(len: usize) -> Vec<f32> {
    let mut data = Vec::<f32>::with_capacity(len);
    // SAFETY: every bit pattern is a valid f32, and callers write each element before reading it.
    unsafe { data.set_len(len) };
    data
}

struct Write<F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<Result<R>>>,
}

impl<R, F: FnOnce(&mut [f32]) -> Result<R>> InplaceOp1 for Write<F, R> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let dtype = match storage {
            CpuStorage::F32(_) => DType::F32,
            _ => DType::U8,
        };
        let f = self.f.take().expect("Candle runs an in-place operation exactly once");
        let result = match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(data), Some((start, end))) => f(&mut data[start..end]),
            _ => Err(wrong_storage(dtype, layout)),
        };
        self.result.set(Some(result));
        Ok(())
    }
}

fn wrong_storage(dtype: DType, layout: &Layout) -> Error {
    let strided = if layout.is_contiguous() { "contiguous" } else { "strided" };
    Error::Storage { found: format!("{strided} {dtype:?} tensor of shape {:?}", layout.dims()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_writes_into_the_tensor_it_was_taken_from() {
        let whole = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
        let view = whole.narrow(0, 1, 2).unwrap();
        write(&view, |data| {
            data.copy_from_slice(&[1., 2., 3., 4.]);
            Ok(())
        })
        .unwrap();
        assert_eq!(&*read(&whole).unwrap(), &[0., 0., 1., 2., 3., 4., 0., 0.]);
    }

    #[test]
    fn a_strided_or_half_tensor_is_refused() {
        let whole = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(read(&whole.t().unwrap()).is_err());
        let half = whole.to_dtype(DType::BF16).unwrap();
        let error = write(&half, |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("wanted a contiguous f32 tensor"), "{error}");
    }
}
