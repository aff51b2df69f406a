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
    /// A tensor is not a contiguous one on the CPU of the type that is wanted.
    #[error("found a {found}, wanted a contiguous {wanted} tensor on the CPU")]
    Storage {
        /// Data type, device and layout of the tensor.
        found: String,
        /// The type.
        wanted: &'static str,
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
    /// A packed batch begins with a response.
    #[error("sequence 0 is a response, wanted a prompt before it")]
    NoPrompt,
    /// A bias by distance cannot tell how far a response lies behind a prompt that it shares.
    #[error(
        "attention: found a bias by distance and responses that share a prompt, wanted one of them"
    )]
    BiasedPrompts,
    /// Targets do not follow each other as their sources do.
    #[error(
        "cross-attention: target {target} sees source {} after source {}, wanted sources in order",
        found[1], found[0]
    )]
    SourceOrder {
        /// The target, from 0.
        target: usize,
        /// The source of the target before it, and its own.
        found: [u32; 2],
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
    /// There is no such division of distances into buckets.
    #[error(
        "relative distances: found {count} buckets up to distance {max_distance}, of which {exact} would \
         be exact; wanted at least one, and less than the greatest distance"
    )]
    Buckets {
        /// How many buckets.
        count: usize,
        /// The distance from which on all share one.
        max_distance: usize,
        /// Distances of each direction with a bucket of their own.
        exact: usize,
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
    /// No token can be chosen so, or from such logits.
    #[error("choose: found {found}, wanted {wanted}")]
    Choice {
        /// What was found, and for which row of the logits.
        found: String,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A tensor is not what the kernels of a GPU work on.
    #[error("found {found}, wanted a contiguous f32 or bf16 tensor on the GPU")]
    Device {
        /// What it is instead.
        found: String,
    },
    /// Attention has no kernel for heads of this width.
    #[error("found attention heads of {found} channels, wanted a multiple of {step} up to 256")]
    HeadWidth {
        /// The width.
        found: usize,
        /// What it must be a multiple of.
        step: usize,
    },
    /// A GPU is wanted of a build for the CPU alone.
    #[error("this build of albacore has no CUDA, wanted for GPU {index}")]
    NoCuda {
        /// The GPU that was wanted.
        index: usize,
    },
    /// A library that CUDA needs is not there.
    #[error("cannot load `{file}` ({name}): {reason}")]
    Library {
        /// The file.
        file: String,
        /// What it is.
        name: &'static str,
        /// What the loader says.
        reason: String,
        /// Where to get it.
        remedy: &'static str,
    },
    /// The driver is older than the CUDA of this build.
    #[error(
        "found a driver for CUDA {}, wanted {} or newer: that is what this build was made with",
        version(*found), version(*wanted)
    )]
    Driver {
        /// The newest CUDA that it knows, 1000 for each whole version and 10 for each part.
        found: u32,
        /// The CUDA of this build.
        wanted: u32,
    },
    /// There is no such GPU, or it cannot be used.
    #[error("cannot use GPU {index}: {message}")]
    NoGpu {
        /// Its index.
        index: usize,
        /// What the driver says.
        message: String,
    },
    /// This build has no code for the GPU that it found.
    #[error("the kernels of this build do not load on {architecture}: {message}")]
    Kernels {
        /// The GPU's architecture, as `sm_90`.
        architecture: String,
        /// What the driver says.
        message: String,
    },
    /// A block of this GPU has less shared memory than a kernel takes.
    #[error(
        "`{kernel}` takes {wanted} bytes of shared memory, and a block of this GPU has {found}"
    )]
    SharedMemory {
        /// The kernel.
        kernel: String,
        /// What there is.
        found: i32,
        /// What it takes.
        wanted: u32,
    },
    /// A call to CUDA failed.
    #[error("cannot {what} on the GPU: {message}")]
    Cuda {
        /// What was called.
        what: String,
        /// What the driver or library says.
        message: String,
    },
    /// The system gives no more page-locked memory.
    #[error("cannot lock {bytes} bytes of the host's memory for the GPU: {message}")]
    Pinned {
        /// What was asked for at once.
        bytes: usize,
        /// What the driver says.
        message: String,
    },
    /// A size does not fit a library's 32 bits.
    #[error("found a matrix with {number} rows or columns, wanted less than 2^31")]
    TooLarge {
        /// The size.
        number: usize,
    },
    /// Candle failed (allocation, device).
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl Error {
    /// Whether the memory of a GPU has run out.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Cuda { message, .. } => out_of_memory(message).is_some(),
            Self::Candle(error) => out_of_memory(&error.to_string()).is_some(),
            _ => false,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoCuda { .. } => Some(
                "build it with `cargo build --release --features cuda` (`scripts/cuda-toolchain.sh` \
                 makes a compiler where there is none), or leave out `--device`"
                    .into(),
            ),
            Self::Library { remedy, .. } => Some((*remedy).into()),
            Self::Driver { .. } => Some(
                "install a driver of the 580 series or newer: `nvidia-smi` shows the one that is there"
                    .into(),
            ),
            Self::SharedMemory { .. } => Some(
                "attention in bf16 takes half as much: `train.precision = \"bf16\"`".into(),
            ),
            Self::NoGpu { .. } => Some(
                "`nvidia-smi` shows the GPUs and their driver, which must be 580 or newer; \
                 `CUDA_VISIBLE_DEVICES` may hide some"
                    .into(),
            ),
            Self::Kernels { architecture, .. } => {
                let number = architecture.trim_start_matches("sm_");
                if number.parse().is_ok_and(|number: u32| number < OLDEST) {
                    return Some(format!("the kernels need a GPU of sm_{OLDEST} or newer, as an A100"));
                }
                Some(format!(
                    "build it for this GPU: `ALBACORE_CUDA_ARCHS={number} cargo build --release \
                     --features cuda`"
                ))
            }
            Self::Cuda { message, .. } => out_of_memory(message),
            Self::Candle(error) => out_of_memory(&error.to_string()),
            _ => None,
        }
    }
}

/// The oldest architecture with products of bf16 and copies ahead of use.
const OLDEST: u32 = 80;

/// A version of CUDA as it is written.
fn version(number: u32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// The cheapest remedies, if this is what a driver says when memory has run out.
fn out_of_memory(message: &str) -> Option<String> {
    let run_out = ["OUT_OF_MEMORY", "ALLOC_FAILED"].iter().any(|name| message.contains(name));
    run_out.then(|| {
        "the memory of the GPU is used up; in this order: `train.recompute = \"block\"`; `train.auto_micro_batch = true`, \
         or half of `data.tokens_per_batch` with twice the `train.batches_per_step`; \
         `train.freeze` for what need not be trained"
            .into()
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_told_how_to_build_for_it_or_that_nobody_can() {
        let hint = |architecture: &str| {
            let (architecture, message) = (architecture.to_owned(), String::new());
            Error::Kernels { architecture, message }.hint().unwrap()
        };
        assert!(hint("sm_86").contains("`ALBACORE_CUDA_ARCHS=86 cargo build"));
        assert_eq!(hint("sm_75"), "the kernels need a GPU of sm_80 or newer, as an A100");
    }

    #[test]
    fn an_old_driver_is_told_by_the_cuda_it_knows() {
        let error = Error::Driver { found: 12_040, wanted: 13_000 };
        assert_eq!(
            error.to_string(),
            "found a driver for CUDA 12.4, wanted 13.0 or newer: that is what this build was made with"
        );
    }
}
