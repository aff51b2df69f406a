//! Kernel launches as data, so that one host code drives a GPU and the tests' emulator.
//!
//! An operation's CUDA twin says which kernel runs, over how many blocks, with which arguments, and
//! leaves to a [`Gpu`] where memory comes from and who runs it. Addresses are the device's own; here
//! they are only passed on and advanced.

use candle_core::{DType, Tensor};

use crate::{Error, Result};

/// The number type of activations: the part `bf16` of `rms_norm_forward_bf16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compute {
    /// Single precision, for parity checks and small models.
    F32,
    /// Half the memory and many times the speed; sums are f32 all the same.
    Bf16,
}

impl Compute {
    /// The type of a tensor's numbers.
    ///
    /// # Errors
    /// If there are no kernels for it.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        match tensor.dtype() {
            DType::F32 => Ok(Self::F32),
            DType::BF16 => Ok(Self::Bf16),
            other => Err(Error::Device { found: format!("{other:?} numbers") }),
        }
    }

    /// How kernels of this type end.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// Numbers that a thread moves at a time: 16 bytes of them.
    pub(crate) fn pack(self) -> usize {
        16 / self.size()
    }
}

/// A place in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) u64);

impl Address {
    /// `count` numbers of `size` bytes further on.
    pub(crate) fn after(self, count: usize, size: usize) -> Self {
        Self(self.0 + (count * size) as u64)
    }
}

/// What a kernel is given, in the order of its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Argument {
    Address(Address),
    U32(u32),
    U64(u64),
    F32(f32),
}

impl From<Address> for Argument {
    fn from(value: Address) -> Self {
        Self::Address(value)
    }
}

impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<bool> for Argument {
    fn from(value: bool) -> Self {
        Self::U32(value.into())
    }
}

impl From<f32> for Argument {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Launch {
    /// The `.cu` file it is in, without its ending.
    pub(crate) file: &'static str,
    /// Its `extern "C"` name.
    pub(crate) kernel: String,
    /// Blocks along x and y.
    pub(crate) grid: [u32; 2],
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Bytes of dynamic shared memory.
    pub(crate) shared: u32,
    pub(crate) arguments: Vec<Argument>,
}

/// The arguments of a launch: each value becomes the [`Argument`] of its type.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { vec![$($crate::launch::Argument::from($value)),*] };
}
pub(crate) use arguments;

/// The widest grid along y that every device has.
const GRID_ROWS: usize = 65_535;

/// Blocks that cover `items`, `a_block` each.
///
/// # Panics
/// If there are more than 2^31 blocks: 2^38 numbers even for the smallest blocks.
pub(crate) fn blocks(items: usize, a_block: usize) -> u32 {
    let blocks = items.div_ceil(a_block).max(1);
    assert!(blocks < 1 << 31, "{items} items in blocks of {a_block} fit a grid");
    blocks as u32
}

/// A grid for kernels that take a pack of a row per thread and rows in steps of the grid's height.
pub(crate) fn pack_grid(rows: usize, columns: usize, compute: Compute, threads: usize) -> [u32; 2] {
    [blocks(columns, compute.pack() * threads), rows.clamp(1, GRID_ROWS) as u32]
}

/// What runs kernels, one after another in the order they are given.
pub(crate) trait Gpu {
    /// Memory that is freed when it is dropped, after the launches so far have run.
    type Memory;

    /// `bytes` of memory, not filled.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;

    /// Memory that holds `words`.
    fn upload(&self, words: &[u32]) -> Result<Self::Memory>;

    /// Where memory begins; a multiple of 256 bytes.
    fn address(&self, memory: &Self::Memory) -> Address;

    /// Fills memory with zero bytes.
    fn zero(&self, at: Address, bytes: usize) -> Result<()>;

    /// Runs a kernel.
    fn launch(&self, launch: Launch) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_covers_every_item_and_is_never_empty() {
        assert_eq!(blocks(0, 128), 1);
        assert_eq!(blocks(128, 128), 1);
        assert_eq!(blocks(129, 128), 2);
        assert_eq!(pack_grid(3, 1025, Compute::Bf16, 128), [2, 3]);
        assert_eq!(pack_grid(1 << 20, 1024, Compute::F32, 128), [2, 65_535]);
    }
}
