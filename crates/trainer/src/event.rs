//! What a run asks of its surroundings, and what it tells them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use albacore_model::Model;
use serde::{Deserialize, Serialize};

use crate::metrics::{Line, Named};
use crate::writer::Saved;

/// When in a run an evaluation takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Before the first step: the base.
    Before,
    /// Between two steps.
    During,
    /// After the last step.
    After,
}

/// Measures a model during its training.
pub trait Evaluator {
    /// Whether it wants to measure after this step too, beside those of `Options::evaluate_every`.
    fn is_due(&self, _step: u64) -> bool {
        false
    }

    /// Values by name, as they are to stand in `metrics.jsonl`: `held_out_loss`, …. `step` steps have been
    /// made. `None` if it was stopped before it had them all: it is asked again when the run goes on.
    ///
    /// # Errors
    /// Whatever keeps it from measuring; the run stops.
    fn evaluate(
        &mut self,
        model: &Model,
        when: When,
        step: u64,
    ) -> Result<Option<Named>, Box<dyn std::error::Error + Send + Sync>>;
}

/// What happens in a run, as it happens.
#[derive(Clone, Copy, Debug)]
pub enum Event<'e> {
    /// The run begins, or goes on.
    Started {
        /// Steps made before.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Numbers that are trained.
        trained: usize,
        /// Where what an abandoned course of this run had written was moved to.
        set_aside: Option<&'e Path>,
    },
    /// The frozen reference, the model as it is before the first step, is asked for the
    /// log-probabilities of all responses.
    Referring {
        /// Examples done.
        done: usize,
        /// Of how many.
        total: usize,
    },
    /// A step was made and logged.
    Stepped {
        /// What was logged.
        line: &'e Line,
        /// Steps of the whole run.
        steps: u64,
    },
    /// The model was measured.
    Evaluated {
        /// After how many steps.
        step: u64,
        /// The values.
        values: &'e Named,
        /// How long it took.
        took: Duration,
    },
    /// A checkpoint was sealed.
    Saved(&'e Saved),
    /// Something went wrong that training can do without: a sentence.
    Warning(&'e str),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It has made all its steps.
    Finished,
    /// It had made all its steps before: nothing was done.
    AlreadyFinished,
    /// It was asked to stop, and can go on from where it stands.
    Stopped,
}

/// How a run ended, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Steps made.
    pub step: u64,
    /// The newest checkpoint.
    pub checkpoint: PathBuf,
    /// What was measured before the first step.
    pub before: Named,
    /// What was measured after the last step.
    pub after: Named,
}
