//! What can go wrong in an operation.

/// Result of a kernel call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the kernels: all of them are mistakes of the caller or failures of the device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A tensor has another shape than the operation takes.
    #[error("{operation}: {what} has shape {found:?}, wanted {wanted:?}")]
    Shape {
        /// The operation that was called.
        operation: &'static str,
        /// The argument with the wrong shape.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that was wanted.
        wanted: Vec<usize>,
    },
    /// A tensor is not a contiguous f32 tensor on the CPU.
    #[error("found a {found}, wanted a contiguous f32 tensor on the CPU")]
    Storage {
        /// Data type, device and layout of the tensor.
        found: String,
    },
    /// An index points outside what it indexes.
    #[error("{operation}: index {index} is out of range, there are {len}")]
    Index {
        /// The operation that was called.
        operation: &'static str,
        /// The offending index.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// The starts of packed sequences contradict each other.
    #[error("sequence starts: entry {index} is {found}, wanted {wanted}")]
    Starts {
        /// Which entry.
        index: usize,
        /// The entry, or `missing`.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// Candle failed (allocation, device).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Checks a shape at the door of a public function.
pub(crate) fn expect_shape(
    operation: &'static str,
    what: &'static str,
    found: &[usize],
    wanted: &[usize],
) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Shape { operation, what, found: found.to_vec(), wanted: wanted.to_vec() })
}
