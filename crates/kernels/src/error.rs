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
    #[error("{operation}: {what} {index} is out of range, there are {len}")]
    Index {
        /// The operation that was called.
        operation: &'static str,
        /// What the index counts.
        what: &'static str,
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
    /// Query heads cannot be shared out evenly.
    #[error(
        "{operation}: found {found:?}, wanted query heads in a multiple of the key/value heads"
    )]
    Heads {
        /// The operation that was called.
        operation: &'static str,
        /// The heads.
        found: crate::Heads,
    },
    /// A backward pass starts from other numbers than its forward pass was promised.
    #[error("{operation}: row {row} receives the gradient {found}, but {wanted} was announced")]
    Announced {
        /// The operation that was called.
        operation: &'static str,
        /// The first row that differs.
        row: usize,
        /// The gradient that arrived.
        found: f32,
        /// The gradient that was announced.
        wanted: f32,
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

/// Checks at the door that every index points at one of `len` things.
pub(crate) fn expect_indices(
    operation: &'static str,
    what: &'static str,
    indices: &[u32],
    len: usize,
) -> Result<()> {
    match indices.iter().find(|&&index| index as usize >= len) {
        Some(&index) => Err(Error::Index { operation, what, index: index as usize, len }),
        None => Ok(()),
    }
}
