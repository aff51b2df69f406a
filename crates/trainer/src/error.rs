//! What can go wrong while training.

use std::io;
use std::path::{Path, PathBuf};

use crate::difference::{self, Difference};

/// Result of the trainer's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the trainer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The configuration cannot be used.
    #[error("{}", problems.join("\n"))]
    Config {
        /// Everything that is wrong with it.
        problems: Vec<String>,
    },
    /// Another process trains in the run folder.
    #[error("run folder `{}` is in use by {process}", folder.display())]
    InUse {
        /// The run folder.
        folder: PathBuf,
        /// `process 123`, or `another process` if that is not known.
        process: String,
    },
    /// There is no room for a checkpoint.
    #[error(
        "no room to save in `{}`: found {free} bytes free, wanted {needed}{}",
        folder.display(), untouched(last_good)
    )]
    DiskFull {
        /// Where the checkpoint was to be written.
        folder: PathBuf,
        /// Size of the checkpoint.
        needed: u64,
        /// What the file system has left for us.
        free: u64,
        /// The newest checkpoint that is whole, if there is one.
        last_good: Option<PathBuf>,
    },
    /// The line of a step could not be written.
    #[error("cannot write `{}`: {source}{}", path.display(), untouched(last_good))]
    Metrics {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
        /// The newest checkpoint that is whole, if there is one.
        last_good: Option<PathBuf>,
    },
    /// A checkpoint that was asked for by its path cannot be used.
    #[error("checkpoint `{}` {reason}", folder.display())]
    Damaged {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The log-probabilities of the reference that a checkpoint holds do not fit the data.
    #[error("`{}` is {what}, wanted the log-probabilities that the starting weights give this data", path.display())]
    Reference {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The configuration differs from that of the checkpoint in a way that alters the training.
    #[error(
        "the config differs from that of checkpoint `{}` in what alters the training:{}",
        folder.display(), difference::listing(differences)
    )]
    Changed {
        /// The checkpoint's folder.
        folder: PathBuf,
        /// The differences that alter the training.
        differences: Vec<Difference>,
    },
    /// A loss or a gradient is infinite or not a number.
    #[error("step {step}: the {what} is {value}, computed from {}", examples.join(", "))]
    NotFinite {
        /// The step that failed; nothing of it was saved.
        step: u64,
        /// `loss` or `gradient's norm`.
        what: &'static str,
        /// `inf`, `-inf` or `NaN`.
        value: f64,
        /// The examples of the batch, as `file:line`.
        examples: Vec<String>,
    },
    /// The held-out evaluation failed.
    #[error("the evaluation after step {step} failed: {source}")]
    Evaluation {
        /// The step after which it was due.
        step: u64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A tensor of `optimizer.safetensors` does not fit the model.
    #[error("`{}`: {message}", path.display())]
    Moments {
        /// The file.
        path: PathBuf,
        /// Which tensor, found and wanted.
        message: String,
    },
    /// The host has no room for the optimizer's state.
    #[error(
        "cannot offload the optimizer's state, {needed} bytes of page-locked memory in all: {source}"
    )]
    Offload {
        /// Bytes of the whole state.
        needed: u64,
        /// Why.
        #[source]
        source: albacore_kernels::Error,
    },
    /// An operation failed.
    #[error(transparent)]
    Kernel(#[from] albacore_kernels::Error),
    /// The records of a mixture cannot be read or used.
    #[error(transparent)]
    Data(#[from] albacore_data::Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] albacore_model::Error),
}

impl Error {
    /// Wraps the error of a file operation: `.map_err(Error::file("read", path))`.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }

    /// Of a run whose newest whole checkpoint is `last_good`: the error of a file is that of its
    /// metrics.
    pub(crate) fn of_metrics(self, last_good: Option<PathBuf>) -> Self {
        match self {
            Self::File { path, source, .. } => Self::Metrics { path, source, last_good },
            other => other,
        }
    }

    /// Whether the memory of a GPU has run out.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        match self {
            Self::Kernel(error) => error.is_out_of_memory(),
            Self::Model(error) => error.is_out_of_memory(),
            _ => false,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InUse { .. } => {
                "wait until it ends or stop it, or give this run another name: `--set run.name=NAME`"
            }
            Self::File { source, .. } if is_full(source) => FREE_SPACE,
            Self::DiskFull { last_good, .. } => return Some(go_on(FREE_SPACE, last_good)),
            Self::Metrics { source, last_good, .. } if is_full(source) => {
                return Some(go_on(FREE_SPACE, last_good));
            }
            Self::Metrics { last_good, .. } => {
                let again = "run the same command again once the file can be written";
                return Some(go_on(again, last_good));
            }
            Self::Moments { path, .. } => {
                let checkpoint = path.parent().unwrap_or(path).display();
                return Some(format!(
                    "start a new run from it: `--set model.path={checkpoint} --set run.name=NAME`"
                ));
            }
            Self::Reference { .. } => {
                "the reference are the weights from before the first step: start afresh with the new \
                 data, `--resume never` or `--set run.name=NAME`"
            }
            Self::Damaged { .. } => {
                "`--resume auto` goes on from the newest checkpoint that is complete"
            }
            Self::Changed { .. } => {
                "undo the changes, go on with them all the same (`--accept-changes`), or start a \
                 run under another name: `--set run.name=NAME`"
            }
            Self::NotFinite { what: "loss", .. } => {
                "nothing of this step was saved; look at these examples with `albacore preview`, or \
                 lower `optim.learning_rate`"
            }
            Self::NotFinite { .. } => {
                "nothing of this step was saved; lower `optim.learning_rate`, or look at these \
                 examples with `albacore preview`"
            }
            Self::Offload { .. } => {
                "free memory of the host, or let its container have more; `optim.state = \"int8\"` \
                 takes a quarter, `train.freeze` less, `optim.offload = false` none"
            }
            Self::Data(error) => return error.hint(),
            Self::Model(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

const FREE_SPACE: &str = "free some space and run the same command again";

/// What to do, and from where the run then goes on.
fn go_on(what_to_do: &str, last_good: &Option<PathBuf>) -> String {
    match last_good {
        None => what_to_do.to_owned(),
        Some(folder) => format!(
            "{what_to_do}: it goes on from `{}`; fewer checkpoints are kept with a smaller \
             `checkpoint.keep_last`",
            folder.display()
        ),
    }
}

fn untouched(last_good: &Option<PathBuf>) -> &'static str {
    if last_good.is_some() { "; the last good checkpoint is untouched" } else { "" }
}

/// Whether the disk is full or a quota spent.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
