//! How a command ends: the exit code, and the error with its hint.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

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
        data().or_else(defect).or_else(model).or_else(trainer)
    })
}

/// `error: …`, what it came from, and `hint: …`.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Libraries often repeat their source in their own message.
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    if let Some(hint) = hint(error) {
        text += &format!("\nhint: {hint}");
    }
    text
}

/// Whether the reader of our output went away, as `head` does: no error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken))
}

/// The exit code of a command, after its error was shown.
pub fn conclude(result: Result) -> ExitCode {
    let show = |error: &anyhow::Error| crate::terminal::complain(&describe(error));
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Stopped) => ExitCode::from(75),
        Err(Failure::Failed(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
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
