//! What the optimizer keeps of each weight: two moments, in f32 or in 8 bits, in the memory of the
//! device that computes or in page-locked memory of the host, which a GPU reads and writes over the bus.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::dynamic_map::BLOCK;
use crate::engine::{Engine, Pinned};
use crate::launch::Address;
use crate::{Error, Result, storage};

/// Tensors of fewer numbers keep f32 moments whatever is asked for, as in bitsandbytes: they are few,
/// and norms and biases, which they are, suffer most from rounding.
const SMALL: usize = 4096;

/// How moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateKind {
    /// In f32: 8 bytes for each weight.
    #[default]
    F32,
    /// In codes of 8 bits and a scale for 256 of them: 2 + 8/256 bytes for each weight.
    Int8,
}

/// Both moments of one tensor: the running means of its gradient and of the gradient's square.
#[derive(Clone, Debug)]
pub enum Moments {
    /// Numbers of the tensor's shape, in f32.
    F32 {
        /// Mean of the gradient.
        first: StateBuffer,
        /// Mean of its square.
        second: StateBuffer,
    },
    /// The same in 8 bits.
    Int8 {
        /// Mean of the gradient.
        first: Coded,
        /// Mean of its square.
        second: Coded,
    },
}

/// Numbers in 8 bits.
#[derive(Clone, Debug)]
pub struct Coded {
    /// Their codes, in the shape of the tensor.
    pub(crate) codes: StateBuffer,
    /// The scale of each block of codes.
    pub(crate) scales: StateBuffer,
}

impl Moments {
    /// Moments of zero for a tensor, or for the rows of one: beside it, or with `offload` in memory
    /// of the host that its GPU can use.
    ///
    /// # Errors
    /// If there is no room, or the tensor is on the CPU, which has nothing to offload.
    pub fn zeros(weights: &Tensor, kind: StateKind, offload: bool) -> Result<Self> {
        let zeros =
            |dims: &[usize], dtype| StateBuffer::zeros(dims, dtype, weights.device(), offload);
        let (dims, count) = (weights.dims(), weights.elem_count());
        if kind == StateKind::F32 || dims.len() == 1 || count < SMALL {
            let moment = || zeros(dims, DType::F32);
            return Ok(Self::F32 { first: moment()?, second: moment()? });
        }
        let moment = || -> Result<Coded> {
            let scales = zeros(&[count.div_ceil(BLOCK)], DType::F32)?;
            Ok(Coded { codes: zeros(dims, DType::U8)?, scales })
        };
        Ok(Self::Int8 { first: moment()?, second: moment()? })
    }

    /// What has to be saved, and the name of each: `m` and `v` for the numbers, or `m` and `v` for their
    /// codes with `m_scale` and `v_scale`. The buffers are shared: an update changes them.
    pub fn buffers(&self) -> Vec<(&'static str, &StateBuffer)> {
        match self {
            Self::F32 { first, second } => vec![("m", first), ("v", second)],
            Self::Int8 { first, second } => vec![
                ("m", &first.codes),
                ("m_scale", &first.scales),
                ("v", &second.codes),
                ("v_scale", &second.scales),
            ],
        }
    }

    /// How many weights they belong to.
    pub fn count(&self) -> usize {
        match self {
            Self::F32 { first, .. } => first.count(),
            Self::Int8 { first, .. } => first.codes.count(),
        }
    }

    /// Bytes that [`Self::zeros`] takes for a tensor of this shape.
    pub fn bytes(dims: &[usize], kind: StateKind) -> u64 {
        let count = dims.iter().product::<usize>();
        let bytes = match kind {
            StateKind::Int8 if dims.len() > 1 && count >= SMALL => {
                2 * (count + 4 * count.div_ceil(BLOCK))
            }
            _ => 8 * count,
        };
        bytes as u64
    }
}

/// Numbers of the state as they are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StateNumbers<'n> {
    /// In f32.
    F32(&'n [f32]),
    /// Codes.
    Codes(&'n [u8]),
}

/// A buffer of the state. Clones share their numbers.
#[derive(Clone)]
pub struct StateBuffer {
    dims: Vec<usize>,
    dtype: DType,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// In the memory of a device.
    Device(Tensor),
    /// In page-locked memory of the host.
    Host(Arc<Pinned>),
}

impl StateBuffer {
    pub(crate) fn zeros(
        dims: &[usize],
        dtype: DType,
        device: &Device,
        offload: bool,
    ) -> Result<Self> {
        let place = if offload {
            let bytes = dims.iter().product::<usize>() * dtype.size_in_bytes();
            let Some(gpu) = Engine::of(device)? else {
                return Err(Error::Device { found: "a tensor on the CPU".to_owned() });
            };
            Place::Host(Arc::new(Pinned::zeros(&gpu, bytes)?))
        } else {
            Place::Device(Tensor::zeros(dims, dtype, device)?)
        };
        Ok(Self { dims: dims.to_vec(), dtype, place })
    }

    /// Its shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// How many numbers it holds.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether its numbers are codes of 8 bits.
    pub fn is_codes(&self) -> bool {
        self.dtype == DType::U8
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        (self.count() * self.dtype.size_in_bytes()) as u64
    }

    /// Lets `f` see the numbers, after all updates so far.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read<R>(&self, f: impl FnOnce(StateNumbers<'_>) -> R) -> Result<R> {
        match &self.place {
            Place::Device(tensor) => {
                let tensor = tensor.to_device(&Device::Cpu)?;
                Ok(match self.is_codes() {
                    true => f(StateNumbers::Codes(&storage::read_codes(&tensor)?)),
                    false => f(StateNumbers::F32(&storage::read(&tensor)?)),
                })
            }
            Place::Host(memory) if self.is_codes() => {
                memory.read(|bytes| f(StateNumbers::Codes(bytes)))
            }
            Place::Host(memory) => memory.read(|bytes| f(StateNumbers::F32(floats(bytes)))),
        }
    }

    /// Replaces the numbers.
    ///
    /// # Errors
    /// If they are of another kind or more or fewer than before, or the device fails.
    pub fn overwrite(&self, numbers: StateNumbers<'_>) -> Result<()> {
        let count = match numbers {
            StateNumbers::F32(numbers) if !self.is_codes() => numbers.len(),
            StateNumbers::Codes(codes) if self.is_codes() => codes.len(),
            _ => return Err(Error::Device { found: "numbers of another kind".to_owned() }),
        };
        crate::error::expect_shape("state", "numbers", &[count], &[self.count()])?;
        match (&self.place, numbers) {
            (Place::Device(tensor), StateNumbers::F32(numbers)) => {
                storage::overwrite(tensor, numbers.to_vec())
            }
            (Place::Device(tensor), StateNumbers::Codes(codes)) => {
                storage::overwrite_codes(tensor, codes.to_vec())
            }
            (Place::Host(memory), StateNumbers::Codes(codes)) => {
                memory.write(|bytes| bytes.copy_from_slice(codes))
            }
            (Place::Host(memory), StateNumbers::F32(numbers)) => memory.write(|bytes| {
                for (bytes, number) in bytes.as_chunks_mut().0.iter_mut().zip(numbers) {
                    *bytes = number.to_ne_bytes();
                }
            }),
        }
    }

    /// The tensor that holds it, for kernels of the CPU.
    pub(crate) fn tensor(&self) -> Result<&Tensor> {
        match &self.place {
            Place::Device(tensor) => Ok(tensor),
            Place::Host(_) => Err(Error::Device { found: "offloaded state".to_owned() }),
        }
    }

    /// Where a GPU finds it.
    pub(crate) fn at(&self, gpu: &Engine) -> Result<Address> {
        match &self.place {
            Place::Device(tensor) => gpu.at(tensor),
            Place::Host(memory) => Ok(memory.at()),
        }
    }
}

impl fmt::Debug for StateBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.place {
            Place::Device(_) => "on the device",
            Place::Host(_) => "offloaded",
        };
        write!(f, "{:?} {:?} {place}", self.dtype, self.dims)
    }
}

/// Page-locked bytes as the numbers that they are.
fn floats(bytes: &[u8]) -> &[f32] {
    // SAFETY: every pattern of bits is an f32; memory of pages is aligned, so nothing is left over.
    let (before, numbers, after) = unsafe { bytes.align_to::<f32>() };
    debug_assert!(before.is_empty() && after.is_empty(), "whole numbers, on a page of their own");
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::tensor;

    #[test]
    fn the_state_of_a_weight_in_8_bits_takes_2_and_a_32nd_bytes() {
        let moments = Moments::zeros(&tensor((64, 256), 1), StateKind::Int8, false).unwrap();
        let bytes = moments.buffers().iter().map(|(_, buffer)| buffer.bytes()).sum::<u64>();
        assert_eq!(bytes as f64 / (64.0 * 256.0), 2.0 + 8.0 / 256.0);
        assert_eq!(Moments::bytes(&[64, 256], StateKind::Int8), bytes);
        assert_eq!(Moments::bytes(&[64, 256], StateKind::F32), 8 * 64 * 256);
    }

    #[test]
    fn vectors_and_small_matrices_keep_f32_moments() {
        let names = |dims: &[usize]| {
            let moments = Moments::zeros(&tensor(dims, 1), StateKind::Int8, false).unwrap();
            let buffers = moments.buffers();
            let bytes = buffers.iter().map(|(_, buffer)| buffer.bytes()).sum::<u64>();
            assert_eq!(bytes, Moments::bytes(dims, StateKind::Int8));
            buffers.iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[8192]), ["m", "v"]);
        assert_eq!(names(&[63, 65]), ["m", "v"]);
        assert_eq!(names(&[64, 64]), ["m", "m_scale", "v", "v_scale"]);
        assert_eq!(names(&[4097, 1]), ["m", "m_scale", "v", "v_scale"]);
    }

    #[test]
    fn numbers_are_replaced_by_as_many_of_their_kind_alone() {
        let moments = Moments::zeros(&tensor((64, 65), 1), StateKind::Int8, false).unwrap();
        let buffers = moments.buffers();
        let [codes, scales] = [buffers[0].1, buffers[1].1];
        let wanted: Vec<u8> = (0..4160).map(|number| (number % 251) as u8).collect();
        codes.overwrite(StateNumbers::Codes(&wanted)).unwrap();
        codes.read(|found| assert_eq!(found, StateNumbers::Codes(&wanted))).unwrap();
        scales.overwrite(StateNumbers::F32(&[0.5; 17])).unwrap();
        scales.read(|found| assert_eq!(found, StateNumbers::F32(&[0.5; 17]))).unwrap();
        assert!(codes.overwrite(StateNumbers::F32(&[0.0; 4160])).is_err());
        assert!(codes.overwrite(StateNumbers::Codes(&wanted[1..])).is_err());
        assert!(scales.overwrite(StateNumbers::F32(&[0.0; 16])).is_err());
    }

    #[test]
    fn the_cpu_has_nothing_to_offload() {
        let error = Moments::zeros(&tensor((64, 64), 1), StateKind::F32, true).unwrap_err();
        assert!(error.to_string().contains("on the CPU"), "{error}");
    }

    #[test]
    fn bytes_of_the_host_are_the_numbers_that_were_written() {
        let numbers = [1.5f32, -0.0, f32::MIN_POSITIVE];
        // As aligned as memory of pages is.
        let held = numbers.map(f32::to_bits);
        // SAFETY: the bytes of three words.
        let bytes = unsafe { std::slice::from_raw_parts(held.as_ptr().cast::<u8>(), 12) };
        assert_eq!(floats(bytes).iter().map(|x| x.to_bits()).collect::<Vec<_>>(), held);
    }
}
