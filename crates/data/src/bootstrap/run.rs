//! The stages of a run, each of which goes on where it was stopped.
//!
//! ```text
//!  settings.json           what all of it follows from: a run goes on only with the same
//!  requests.jsonl          the journal: every answer, as it came
//!  instructions.jsonl, rejected.jsonl      stage 1, a round at a time
//!  classification.jsonl                    stage 2  ┐
//!  instances.jsonl                         stage 3  ├ written whole from the journal, when it is complete
//!  records.jsonl, train.jsonl, held_out.jsonl, funnel.json   stage 4  ┘
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Alpaca, BootstrapConfig, Instructions, Method, Prompts, SeedTask, Unused, Writer};
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

    /// Whether the method has it: where whole tasks are written at once, nothing stands between the first
    /// stage and the last.
    pub fn is_of(self, method: Method) -> bool {
        match method {
            Method::SelfInstruct => true,
            Method::Alpaca => matches!(self, Self::Instructions | Self::Records),
        }
    }

    /// The file that it reads first, and the stage that writes it.
    pub(super) fn needs(self, method: Method) -> Option<(&'static str, Self)> {
        match (self, method) {
            (Self::Instructions, _) => None,
            (Self::Classification, _) | (_, Method::Alpaca) => {
                Some(("instructions.jsonl", Self::Instructions))
            }
            (Self::Instances, _) => Some(("classification.jsonl", Self::Classification)),
            (Self::Records, _) => Some(("instances.jsonl", Self::Instances)),
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
    /// Whether this was refused for good: then the task goes no further.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
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
    /// Requests that were refused for good, by stage. In the first stage such a prompt brings nothing; in
    /// the others its instruction goes no further.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<Stage, u64>,
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

/// What a run's texts are made from.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'r> {
    /// The settings, which are valid.
    pub config: &'r BootstrapConfig,
    /// The seed of everything random.
    pub seed: u64,
    /// What people wrote.
    pub seeds: &'r [SeedTask],
    /// The templates.
    pub prompts: &'r Prompts,
}

/// A run.
pub struct Run<'r> {
    /// Its folder.
    pub folder: &'r Path,
    /// What it is made from.
    pub recipe: Recipe<'r>,
    /// Who writes.
    pub model: &'r dyn LanguageModel,
    /// Whether to stop.
    pub stop: &'r dyn Fn() -> bool,
    /// Is told how far it is.
    pub progress: &'r dyn Fn(Progress<'_>),
}

impl Recipe<'_> {
    /// The seeds that prompts may show.
    pub fn eligible_seeds(&self) -> Vec<SeedTask> {
        let only = self.config.classification_only;
        let eligible = self.seeds.iter().filter(|seed| seed.is_classification || !only);
        eligible.cloned().collect()
    }

    /// Who asks for new tasks and reads what comes.
    pub(super) fn with_writer<T>(&self, act: impl FnOnce(&dyn Writer) -> T) -> T {
        let (prompts, classification_only) = (self.prompts, self.config.classification_only);
        match self.config.method {
            Method::SelfInstruct => act(&Instructions { prompts, classification_only }),
            Method::Alpaca => act(&Alpaca { prompts }),
        }
    }
}

impl Run<'_> {
    /// Runs one stage; those before it must be complete.
    ///
    /// # Errors
    /// If the folder holds a run with other settings, a file cannot be read or written, a stage before
    /// is missing, or the model fails.
    pub fn stage(&self, stage: Stage) -> Result<Ended> {
        self.check(stage)?;
        self.keep_settings()?;
        let nothing = || Ended::Complete { statistics: Statistics::default(), warning: None };
        if stage == Stage::Records {
            return self.records();
        }
        let mut journal = Journal::open(self.path("requests.jsonl"))?;
        match (stage, self.recipe.config.method) {
            (Stage::Instructions, _) => self.instructions(&mut journal),
            // Everything was written at once.
            (_, Method::Alpaca) => Ok(nothing()),
            (Stage::Classification, _) => self.classification(&mut journal),
            (Stage::Instances, _) => self.instances(&mut journal),
            (Stage::Records, _) => unreachable!("it asks nothing"),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}
