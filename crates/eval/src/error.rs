//! What can go wrong in an evaluation.

use std::path::PathBuf;

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
    /// A file of records, or the journal of answers, cannot be used.
    #[error(transparent)]
    Data(#[from] albacore_data::Error),
    /// There is no suite of this name.
    #[error("there is no suite `{name}`, wanted one of {}", in_backticks(known))]
    Suite {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// A suite has no task of this name.
    #[error("`{suite}` has no task `{task}` in `{}`", folder.display())]
    Task {
        /// The suite.
        suite: &'static str,
        /// What was asked for.
        task: String,
        /// Where its files are.
        folder: PathBuf,
    },
    /// The files of a suite are not there.
    #[error("there is no `{wanted}` of `{suite}` in `{}`", folder.display())]
    NoData {
        /// The suite.
        suite: &'static str,
        /// Where they were looked for.
        folder: PathBuf,
        /// What was looked for.
        wanted: String,
        /// Where it belongs.
        place: PathBuf,
        /// Where it comes from.
        origin: &'static str,
    },
    /// Two examples of a task have one id.
    #[error("the id `{id}` stands twice in the task `{task}` of `{suite}` in `{}`", folder.display())]
    Twice {
        /// The suite.
        suite: &'static str,
        /// The task, which most suites have a file of this name for.
        task: String,
        /// The id.
        id: String,
        /// Where the suite's files are.
        folder: PathBuf,
    },
    /// A file of a suite cannot be read, or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file of a suite is not what it should be.
    #[error("{place}: {message}")]
    Malformed {
        /// The file, and the line if it is known.
        place: String,
        /// What was found and wanted.
        message: String,
    },
    /// Predictions are not one for every example.
    #[error("`{}` does not fit `{task}`: {}", path.display(), problems.join("; "))]
    Predictions {
        /// The file.
        path: PathBuf,
        /// What is scored.
        task: String,
        /// What is missing, what is too much, what stands there twice.
        problems: Vec<String>,
    },
    /// Answers cannot be judged.
    #[error("{message}")]
    Judging {
        /// What was found and wanted.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The model can answer nothing more.
    #[error("`{model}` answers no more: {reason}")]
    Stopped {
        /// Its name.
        model: String,
        /// What it said.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Error {
    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoData { place, origin, suite, .. } => Some(format!(
                "put it at `{}`, or let `--data` name the folder that holds the benchmark; it comes from {origin}, and \
                 `albacore data get {suite}` downloads it",
                place.display()
            )),
            Self::Twice { .. } => {
                Some("answers are told by these ids: give one of them another".into())
            }
            Self::Predictions { .. } => Some(
                "a line is {\"id\", \"prediction\"}, one for every example and no other".into(),
            ),
            Self::Judging { hint, .. } => Some(hint.clone()),
            Self::Stopped { hint, .. } => hint.clone(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            _ => None,
        }
    }

    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    pub(crate) fn malformed(place: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Self::Malformed { place: place.to_string(), message: message.into() }
    }
}

fn in_backticks(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
