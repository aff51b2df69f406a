//! How a command ends: the exit code, and the error with its hint.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use crate::terminal::{Terminal, Unprinted};

/// How a command ended when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to.
    Done,
    /// A signal stopped it, after it had saved.
    Stopped,
}

/// Why a command did not end well.
#[derive(Debug)]
pub enum Failure {
    /// Bad usage, config or input: nothing was touched.
    Refused(anyhow::Error),
    /// As [`Failure::Refused`], several problems found at once: each is an error of its own.
    Problems(Vec<anyhow::Error>),
    /// It failed while running.
    Failed(anyhow::Error),
}

impl Failure {
    /// What went wrong, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Refused(error) | Self::Failed(error) => message(error),
            Self::Problems(errors) => errors.iter().map(message).collect::<Vec<_>>().join("; "),
        }
    }

    /// As it is once something has been touched: whatever is refused then has failed.
    pub fn while_running(self) -> Self {
        match self {
            Self::Refused(error) | Self::Failed(error) => Self::Failed(error),
            problems @ Self::Problems(_) => Self::Failed(anyhow::Error::msg(problems.words())),
        }
    }

    /// Says where what was refused is written, if that is known.
    pub fn at(self, place: Option<&str>) -> Self {
        match (self, place) {
            (Self::Refused(error), Some(place)) => {
                let refusal = Refusal {
                    message: format!("{place}: {}", message(&error)),
                    hint: hint(&error),
                };
                Self::Refused(refusal.into())
            }
            (failure, _) => failure,
        }
    }
}

/// What commands return.
pub type Result<T = Outcome, E = Failure> = std::result::Result<T, E>;

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Turns an error met before anything was touched into a refusal.
pub trait OrRefuse<T> {
    /// The value, or a refusal: exit code 2 instead of 1.
    fn or_refuse(self) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrRefuse<T> for std::result::Result<T, E> {
    fn or_refuse(self) -> Result<T> {
        self.map_err(|error| Failure::Refused(error.into()))
    }
}

/// An error of the command line itself, with what to do about it.
#[derive(Debug)]
pub struct Refusal {
    /// What was found, and what was wanted.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal with a hint.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// What to do about an error, if any error behind it knows.
fn hint(error: &anyhow::Error) -> Option<String> {
    // Also finds one that was added as the context of another error.
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.hint.clone();
    }
    error.chain().find_map(|cause| {
        let data = || cause.downcast_ref::<albacore_data::Error>()?.hint();
        let defect = || cause.downcast_ref::<albacore_data::Defect>()?.hint();
        let model = || cause.downcast_ref::<albacore_model::Error>()?.hint();
        let trainer = || cause.downcast_ref::<albacore_trainer::Error>()?.hint();
        let eval = || cause.downcast_ref::<albacore_eval::Error>()?.hint();
        data().or_else(defect).or_else(model).or_else(trainer).or_else(eval)
    })
}

/// What failed, and what it came from.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Libraries often repeat their source in their own message.
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// Whether the reader of our output went away, as `head` does: no error.
fn is_reader_gone(error: &anyhow::Error) -> bool {
    let unprinted = error.downcast_ref::<Unprinted>();
    unprinted.is_some_and(|Unprinted(error)| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The exit code of a command, after its error was shown.
pub fn conclude(result: Result, terminal: &Terminal) -> ExitCode {
    let show = |error: &anyhow::Error| terminal.error(&message(error), hint(error).as_deref());
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped) => ExitCode::from(75),
        Err(Failure::Failed(error)) if is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(Failure::Failed(error)) => {
            show(&error);
            ExitCode::from(1)
        }
        Err(Failure::Refused(error)) => {
            show(&error);
            ExitCode::from(2)
        }
        Err(Failure::Problems(errors)) => {
            errors.iter().for_each(show);
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reader_of_stdout_may_go_away() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_reader_gone(&Unprinted(broken()).into()));
        // A connection that a server closed, a file on a pipe.
        assert!(!is_reader_gone(&broken().into()));
        assert!(!is_reader_gone(&anyhow::Error::from(broken()).context("cannot download")));
        assert!(!is_reader_gone(&Unprinted(io::ErrorKind::StorageFull.into()).into()));
    }
}
