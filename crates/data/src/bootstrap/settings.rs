//! What a run's texts follow from: see [`crate::settings`].

use std::fs;

use serde_json::{Map, Value, json};

use super::{Recipe, Run, Stage};
use crate::settings::{self, digest};
use crate::{Error, Result};

impl Run<'_> {
    /// Looks whether the folder holds what a stage needs. Touches nothing.
    ///
    /// # Errors
    /// If its run has other settings, which are named, or the stage before was not run.
    pub fn check(&self, stage: Stage) -> Result<()> {
        // A run that was refused at its first question may go on with settings that are right.
        if self.has_answers() {
            settings::check(self.folder, &self.settings())?;
        }
        match stage.needs(self.recipe.config.method) {
            Some((name, before)) if !self.path(name).exists() => {
                Err(Error::StageBefore { path: self.path(name), stage: before.name() })
            }
            _ => Ok(()),
        }
    }

    /// Whether anything follows from the settings yet.
    fn has_answers(&self) -> bool {
        ["requests.jsonl", "instructions.jsonl"]
            .iter()
            .any(|name| fs::metadata(self.path(name)).is_ok_and(|file| file.len() > 0))
    }

    /// Writes the settings down, unless the run has answers that follow from those that are there.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn keep_settings(&self) -> Result<()> {
        if self.has_answers() {
            settings::keep(self.folder, &self.settings())
        } else {
            settings::write(self.folder, &self.settings())
        }
    }

    /// Of long ones a digest. What only the last stage asks for is not among them: it begins anew each
    /// time.
    fn settings(&self) -> Map<String, Value> {
        let Recipe { config, seed, seeds, prompts } = self.recipe;
        let settings = json!({
            "model": self.model.identity(),
            "seed": seed,
            "method": config.method,
            "seeds": digest(seeds),
            "prompts": digest(&prompts.texts()),
            "tasks_per_prompt": config.tasks_per_prompt(),
            "machine_tasks_per_prompt": config.machine_tasks_per_prompt(),
            "prompts_per_round": config.prompts_per_round,
            "classification_only": config.classification_only,
            "novelty": config.novelty,
            "rules": config.rule_names(),
            "unicode": config.unicode,
            "instruction_decoding": config.instruction_decoding(),
            "classification_decoding": config.classification_decoding,
            "instance_decoding": [config.instance_decoding(false), config.instance_decoding(true)],
        });
        let Value::Object(settings) = settings else { unreachable!("it is one") };
        settings
    }
}
