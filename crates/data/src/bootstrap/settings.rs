//! What a run's texts follow from, written down when it begins: one that goes on with something else
//! would be of two minds.

use std::fs;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Recipe, Run, Stage, lines};
use crate::{Error, Origin, Result};

/// The file.
const NAME: &str = "settings.json";

impl Run<'_> {
    /// Looks whether the folder holds what a stage needs. Touches nothing.
    ///
    /// # Errors
    /// If its run has other settings, which are named, or the stage before was not run.
    pub fn check(&self, stage: Stage) -> Result<()> {
        let (path, now) = (self.path(NAME), self.settings());
        let before: Map<String, Value> = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Line {
                origin: Origin::new(&path, 1),
                message: error.to_string(),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => now.clone(),
            Err(error) => return Err(Error::read(&path, error)),
        };
        let names = now.keys().chain(before.keys().filter(|name| !now.contains_key(*name)));
        let differ = names.filter(|name| now.get(*name) != before.get(*name));
        let shown = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
        let changed = differ.map(|name| {
            format!("`{name}` was {}, is {}", shown(before.get(name)), shown(now.get(name)))
        });
        let changed = changed.collect::<Vec<_>>();
        if !changed.is_empty() {
            return Err(Error::Settings { folder: self.folder.to_owned(), changed });
        }
        match stage.needs(self.recipe.config.method) {
            Some((name, before)) if !self.path(name).exists() => {
                Err(Error::StageBefore { path: self.path(name), stage: before.name() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the settings down, if the run is new.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn keep_settings(&self) -> Result<()> {
        let path = self.path(NAME);
        if path.exists() {
            return Ok(());
        }
        lines::replace(&path, std::iter::once(&self.settings()))
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
            "rules": config.rules,
            "unicode": config.unicode,
            "instruction_decoding": config.instruction_decoding(),
            "classification_decoding": config.classification_decoding,
            "instance_decoding": [config.instance_decoding(false), config.instance_decoding(true)],
        });
        let Value::Object(settings) = settings else { unreachable!("it is one") };
        settings
    }
}

fn digest(value: &(impl Serialize + ?Sized)) -> String {
    let text = serde_json::to_vec(value).expect("it is JSON");
    Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
