//! The stages of a run, each of which goes on where it was stopped.
//!
//! ```text
//!  requests.jsonl          the journal: every answer, as it came
//!  instructions.jsonl, rejected.jsonl      stage 1, a round at a time
//!  classification.jsonl                    stage 2  ┐
//!  instances.jsonl                         stage 3  ├ written whole from the journal, when it is complete
//!  records.jsonl, train.jsonl, held_out.jsonl, funnel.json   stage 4  ┘
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BootstrapConfig, Method, Prompts, SeedTask, Unused};
use crate::{Journal, LanguageModel, Result, Statistics};

/// A stage of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// New instructions.
    Instructions,
    /// Whether each is classification.
    Classification,
    /// Inputs and outputs.
    Instances,
    /// What is kept, laid out to train on.
    Records,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 4] =
        [Self::Instructions, Self::Classification, Self::Instances, Self::Records];

    /// Its name, as commands and journal keys have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Classification => "classification",
            Self::Instances => "instances",
            Self::Records => "records",
        }
    }
}

/// How far a stage is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'p> {
    /// Which.
    pub stage: Stage,
    /// Instructions accepted, or requests answered.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// Instructions rejected so far, by rule.
    pub rejected: &'p BTreeMap<String, u64>,
    /// Requests answered in this stage.
    pub answers: u64,
}

/// How a stage ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// It is complete.
    Complete {
        /// What its requests took, those of earlier runs included.
        statistics: Statistics,
        /// What may surprise, as a sentence.
        warning: Option<String>,
    },
    /// It was asked to stop: the next run goes on.
    Stopped,
}

/// One answer of stage 2: a line of `classification.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classified {
    /// The instruction.
    pub instruction: String,
    /// What the model said.
    pub is_classification: String,
}

impl Classified {
    /// Whether that is a yes.
    pub fn is_yes(&self) -> bool {
        ["Yes", "yes", "YES"].contains(&super::python::strip(&self.is_classification))
    }
}

/// A record of `records.jsonl`, in the format `alpaca`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlpacaRecord {
    /// What is to be done.
    pub instruction: String,
    /// What it is about; may be empty.
    pub input: String,
    /// The answer.
    pub output: String,
}

/// What became of everything: `funnel.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Funnel {
    /// Instructions that the model wrote.
    pub written: u64,
    /// Those that were rejected, by rule.
    pub rejected: BTreeMap<String, u64>,
    /// Those that were accepted.
    pub accepted: u64,
    /// Of these, those held to be classification.
    pub classification: u64,
    /// Instances that are not used, by reason.
    pub unused_instances: BTreeMap<Unused, usize>,
    /// Tasks that have instances.
    pub tasks: usize,
    /// Their instances.
    pub instances: usize,
    /// Instances without input.
    pub without_input: usize,
    /// Records that were the same as others.
    pub repeated: usize,
    /// Records to train on.
    pub train: usize,
    /// Records that are held out.
    pub held_out: usize,
}

/// What a run is made of.
pub struct Run<'r> {
    /// Its folder.
    pub folder: &'r Path,
    /// Its settings, which are valid.
    pub config: &'r BootstrapConfig,
    /// Its seed.
    pub seed: u64,
    /// What people wrote.
    pub seeds: &'r [SeedTask],
    /// The templates.
    pub prompts: &'r Prompts,
    /// Who writes.
    pub model: &'r dyn LanguageModel,
    /// What speaks against an instruction by itself: a rule's name.
    pub rule: &'r dyn Fn(&str) -> Option<String>,
    /// Whether to stop.
    pub stop: &'r dyn Fn() -> bool,
    /// Is told how far it is.
    pub progress: &'r dyn Fn(Progress<'_>),
}

impl Run<'_> {
    /// Runs one stage; those before it must be complete.
    ///
    /// # Errors
    /// If a file cannot be read or written, a stage before is missing, or the model fails.
    pub fn stage(&self, stage: Stage) -> Result<Ended> {
        match (stage, self.config.method) {
            (Stage::Instructions, _) => self.instructions(),
            (Stage::Records, _) => self.records(),
            // Everything was written at once.
            (_, Method::Alpaca) => {
                Ok(Ended::Complete { statistics: Statistics::default(), warning: None })
            }
            (Stage::Classification, _) => self.classification(),
            (Stage::Instances, _) => self.instances(),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn journal(&self) -> Result<Journal> {
        Journal::open(self.path("requests.jsonl"))
    }
}
