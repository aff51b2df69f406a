//! The numbers inside a Candle tensor: read as a slice, written in place, allocated without filling.
//!
//! Every CPU kernel goes through these functions, so this is the one place that knows how Candle
//! stores a tensor. A tensor is guarded by a lock: never [`write()`] one tensor while its storage
//! (or a view of it) is being [`read()`].

use std::cell::Cell;
use std::marker::PhantomData;

use candle_core::{
    CpuStorage, DType, Device, DeviceLocation, InplaceOp1, Layout, Shape, Storage, Tensor,
};
use parking_lot::{MappedRwLockReadGuard, RwLockReadGuard};

use crate::engine::Engine;
use crate::error::expect_shape;
use crate::{Error, Result};

/// The numbers of a tensor, borrowed for reading.
pub type Floats<'t> = MappedRwLockReadGuard<'t, [f32]>;

/// Codes of a tensor, borrowed for reading.
pub type Codes<'t> = MappedRwLockReadGuard<'t, [u8]>;

/// Borrows the numbers of a contiguous f32 tensor on the CPU.
///
/// # Errors
/// If the tensor is strided, of another type or on another device.
pub fn read(tensor: &Tensor) -> Result<Floats<'_>> {
    read_as(tensor)
}

/// As [`read()`], of a tensor of bytes: codes of 8 bits.
///
/// # Errors
/// If the tensor is strided, of another type or on another device.
pub fn read_codes(tensor: &Tensor) -> Result<Codes<'_>> {
    read_as(tensor)
}

fn read_as<N: Stored>(tensor: &Tensor) -> Result<MappedRwLockReadGuard<'_, [N]>> {
    let (guard, layout) = tensor.storage_and_layout();
    let numbers = RwLockReadGuard::try_map(guard, |storage| match storage {
        Storage::Cpu(storage) => {
            let data = N::numbers(storage)?;
            layout.contiguous_offsets().map(|(start, end)| &data[start..end])
        }
        _ => None,
    });
    numbers.map_err(|_| wrong_storage::<N>(tensor))
}

/// Lets `f` write the numbers of a contiguous f32 tensor on the CPU, in place.
///
/// Views share their storage: writing a view writes the tensor that it was taken from.
///
/// # Errors
/// If the tensor is strided, of another type or on another device, or if `f` fails.
pub fn write<R>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> Result<R>) -> Result<R> {
    write_as(tensor, f)
}

/// As [`write()`], of a tensor of bytes: codes of 8 bits.
///
/// # Errors
/// If the tensor is strided, of another type or on another device, or if `f` fails.
pub fn write_codes<R>(tensor: &Tensor, f: impl FnOnce(&mut [u8]) -> Result<R>) -> Result<R> {
    write_as(tensor, f)
}

fn write_as<N: Stored, R>(tensor: &Tensor, f: impl FnOnce(&mut [N]) -> Result<R>) -> Result<R> {
    let plain = tensor.dtype() == N::DTYPE && tensor.is_contiguous();
    if !plain || !tensor.device().is_cpu() {
        return Err(wrong_storage::<N>(tensor));
    }
    let op = Write { f: Cell::new(Some(f)), result: Cell::new(None), number: PhantomData };
    tensor.inplace_op1(&op)?;
    op.result.into_inner().expect("Candle runs an in-place operation exactly once")
}

/// The numbers of a contiguous f32 tensor, copied from wherever it is.
///
/// # Errors
/// If the tensor is strided or of another type, or the device fails.
pub fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    match tensor.device() {
        Device::Cpu => Ok(read(tensor)?.to_vec()),
        _ => Ok(tensor.flatten_all()?.to_vec1()?),
    }
}

/// A vector of these numbers on `device`, which is not waited for.
///
/// # Errors
/// If the device cannot allocate.
pub fn vector(numbers: &[f32], device: &Device) -> Result<Tensor> {
    let Some(gpu) = Engine::of(device)? else {
        return Ok(Tensor::from_slice(numbers, numbers.len(), device)?);
    };
    let like = Like { shape: numbers.len().into(), dtype: DType::F32, device: device.clone() };
    // SAFETY: all of it is sent before anyone reads it.
    let tensor = unsafe { like.empty()? };
    let words: Vec<u32> = numbers.iter().map(|number| number.to_bits()).collect();
    gpu.send(gpu.at(&tensor)?, &words)?;
    Ok(tensor)
}

/// Replaces the numbers of a contiguous f32 tensor, wherever it is. Views share their storage.
///
/// # Errors
/// If the tensor is strided or of another type or size, or the device fails.
pub fn overwrite(tensor: &Tensor, numbers: Vec<f32>) -> Result<()> {
    let numbers = Tensor::from_vec(numbers, tensor.shape(), &Device::Cpu)?;
    match tensor.device() {
        Device::Cpu => {
            let from = read(&numbers)?;
            write(tensor, |to| {
                to.copy_from_slice(&from);
                Ok(())
            })
        }
        device => copy(&numbers.to_device(device)?, tensor),
    }
}

/// Replaces the codes of a contiguous tensor of bytes, wherever it is.
///
/// # Errors
/// If the tensor is strided or of another type or size, or the device fails.
pub fn overwrite_codes(tensor: &Tensor, codes: Vec<u8>) -> Result<()> {
    let codes = Tensor::from_vec(codes, tensor.shape(), &Device::Cpu)?;
    match tensor.device() {
        Device::Cpu => {
            let from = read_codes(&codes)?;
            write_codes(tensor, |to| {
                to.copy_from_slice(&from);
                Ok(())
            })
        }
        device => copy(&codes.to_device(device)?, tensor),
    }
}

/// Most numbers that a kernel of Candle's is given: they count in 32 bits, and in steps of the grid.
const PIECE: usize = 1 << 30;

/// Copies the numbers of a contiguous tensor to another one, of as many on the same device.
///
/// # Errors
/// If one is strided, or they are views of one tensor or of different size or type.
pub(crate) fn copy(from: &Tensor, to: &Tensor) -> Result<()> {
    copy_in_pieces(from, to, PIECE)
}

fn copy_in_pieces(from: &Tensor, to: &Tensor, most: usize) -> Result<()> {
    expect_shape("copy", "from", from.dims(), to.dims())?;
    let count = from.elem_count();
    let [from, to] = [from.reshape(count)?, to.reshape(count)?];
    for start in (0..count).step_by(most) {
        let piece = |tensor: &Tensor| tensor.narrow(0, start, most.min(count - start));
        piece(&to)?.slice_set(&piece(&from)?, 0, 0)?;
    }
    Ok(())
}

/// The numbers of a contiguous tensor as another type.
///
/// # Errors
/// If it is strided, or the device has no room.
pub(crate) fn converted(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    convert_in_pieces(tensor, dtype, PIECE)
}

fn convert_in_pieces(tensor: &Tensor, dtype: DType, most: usize) -> Result<Tensor> {
    let count = tensor.elem_count();
    if count <= most || tensor.dtype() == dtype {
        return Ok(tensor.to_dtype(dtype)?);
    }
    let like = Like { dtype, ..Like::of(tensor) };
    // SAFETY: the pieces are all of it.
    let out = unsafe { like.empty()? };
    let [from, to] = [tensor.reshape(count)?, out.reshape(count)?];
    for start in (0..count).step_by(most) {
        let piece = |tensor: &Tensor| tensor.narrow(0, start, most.min(count - start));
        piece(&to)?.slice_set(&piece(&from)?.to_dtype(dtype)?, 0, 0)?;
    }
    Ok(out)
}

/// What a new tensor is like: its shape, its type, its device.
#[derive(Clone, Debug)]
pub struct Like {
    shape: Shape,
    dtype: DType,
    device: Device,
}

impl Like {
    /// Like `tensor` in all.
    pub fn of(tensor: &Tensor) -> Self {
        let (shape, dtype) = (tensor.shape().clone(), tensor.dtype());
        Self { shape, dtype, device: tensor.device().clone() }
    }

    /// ... but of another shape.
    pub(crate) fn shaped(self, shape: impl Into<Shape>) -> Self {
        Self { shape: shape.into(), ..self }
    }

    /// ... but of f32: what sums are kept in.
    pub(crate) fn wide(self) -> Self {
        self.of_type(DType::F32)
    }

    /// ... but of another type.
    pub(crate) fn of_type(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Allocates such a tensor, whose numbers are not yet written.
    ///
    /// Filling a large buffer costs as much as the operation that overwrites it.
    ///
    /// # Safety
    /// Each number must be written before it is read.
    ///
    /// # Errors
    /// If the device cannot allocate.
    pub(crate) unsafe fn empty(self) -> Result<Tensor> {
        let Self { shape, dtype, device } = self;
        if device.is_cpu() && dtype == DType::F32 {
            // SAFETY: the caller writes before reading.
            let data = unsafe { empty_vec(shape.elem_count()) };
            return Ok(Tensor::from_vec(data, shape, &device)?);
        }
        if shape.elem_count() == 0 {
            return Ok(Tensor::zeros(1, dtype, &device)?.narrow(0, 0, 0)?.reshape(shape)?);
        }
        // SAFETY: the caller writes before reading.
        Ok(unsafe { Tensor::empty(shape, dtype, &device)? })
    }
}

/// Scratch memory of `len` floats whose numbers are not yet written.
///
/// # Safety
/// Each number must be written before it is read.
#[allow(clippy::uninit_vec)]
pub(crate) unsafe fn empty_vec(len: usize) -> Vec<f32> {
    let mut data = Vec::<f32>::with_capacity(len);
    // SAFETY: the capacity is there, and the caller writes each number before reading it.
    unsafe { data.set_len(len) };
    data
}

/// A type of numbers that tensors on the CPU hold and kernels work on.
trait Stored: Sized + 'static {
    const DTYPE: DType;
    const NAME: &'static str;

    fn numbers(storage: &CpuStorage) -> Option<&[Self]>;
    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Stored for f32 {
    const DTYPE: DType = DType::F32;
    const NAME: &'static str = "f32";

    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::F32(data) = storage { Some(data) } else { None }
    }

    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::F32(data) = storage { Some(data) } else { None }
    }
}

impl Stored for u8 {
    const DTYPE: DType = DType::U8;
    const NAME: &'static str = "u8";

    fn numbers(storage: &CpuStorage) -> Option<&[Self]> {
        if let CpuStorage::U8(data) = storage { Some(data) } else { None }
    }

    fn numbers_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        if let CpuStorage::U8(data) = storage { Some(data) } else { None }
    }
}

struct Write<N, F, R> {
    f: Cell<Option<F>>,
    result: Cell<Option<Result<R>>>,
    number: PhantomData<N>,
}

impl<N: Stored, R, F: FnOnce(&mut [N]) -> Result<R>> InplaceOp1 for Write<N, F, R> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let f = self.f.take().expect("Candle runs an in-place operation exactly once");
        let (Some(data), Some((start, end))) =
            (N::numbers_mut(storage), layout.contiguous_offsets())
        else {
            unreachable!("`write` has checked type and layout");
        };
        self.result.set(Some(f(&mut data[start..end])));
        Ok(())
    }
}

fn wrong_storage<N: Stored>(tensor: &Tensor) -> Error {
    let layout = if tensor.is_contiguous() { "contiguous" } else { "strided" };
    let (dtype, dims) = (tensor.dtype(), tensor.dims());
    let place = match tensor.device().location() {
        DeviceLocation::Cpu => "the CPU".to_owned(),
        DeviceLocation::Cuda { gpu_id } | DeviceLocation::Metal { gpu_id } => {
            format!("GPU {gpu_id}")
        }
    };
    let found = format!("{layout} {dtype:?} tensor of shape {dims:?} on {place}");
    Error::Storage { found, wanted: N::NAME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_or_converted_in_pieces_is_whole() {
        let numbers = (0..11).map(|number| number as f32 + 0.5).collect::<Vec<_>>();
        let all = Tensor::from_vec([vec![7.0; 2], numbers.clone()].concat(), 13, &Device::Cpu);
        let from = all.unwrap().narrow(0, 2, 11).unwrap();
        for most in [1, 3, 11, 12] {
            let to = Tensor::zeros(15, DType::F32, &Device::Cpu).unwrap();
            copy_in_pieces(&from, &to.narrow(0, 3, 11).unwrap(), most).unwrap();
            assert_eq!(&read(&to).unwrap()[3..14], numbers);
            assert_eq!([&read(&to).unwrap()[..3], &read(&to).unwrap()[14..]].concat(), [0.0; 4]);
            let half = convert_in_pieces(&from, DType::BF16, most).unwrap();
            let back = half.to_dtype(DType::F32).unwrap();
            assert_eq!(&*read(&back).unwrap(), numbers);
        }
    }

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
    fn a_tensor_of_another_layout_or_type_is_refused_by_what_it_is() {
        let whole = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
        let wrong = [
            (whole.t().unwrap(), "strided F32 tensor of shape [2, 4] on the CPU"),
            (
                whole.to_dtype(DType::BF16).unwrap(),
                "contiguous BF16 tensor of shape [4, 2] on the CPU",
            ),
        ];
        for (tensor, found) in wrong {
            let wanted = format!("found a {found}, wanted a contiguous f32 tensor on the CPU");
            assert_eq!(read(&tensor).unwrap_err().to_string(), wanted);
            assert_eq!(write(&tensor, |_| Ok(())).unwrap_err().to_string(), wanted);
        }
    }
}
