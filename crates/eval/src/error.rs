//! What can go wrong in an evaluation.

/// Result of an evaluation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The model could not be run.
    #[error(transparent)]
    Model(#[from] albacore_model::Error),
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] albacore_kernels::Error),
    /// An answer could not be turned into text.
    #[error("an answer cannot be decoded: {0}")]
    Decode(#[from] albacore_data::Defect),
}
