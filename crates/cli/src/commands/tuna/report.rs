//! What a recipe has come to: told at its end, and kept as `summary.json` and `report.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_trainer::{Named, Scrutiny, newest};
use anyhow::Context;
use serde_json::{Value, json};

use crate::commands::train;
use crate::config::{Planned, StageCommand};
use crate::failure::Result;
use crate::run_log::shown;

/// What is known of a stage that is done.
pub struct Stage {
    name: String,
    command: StageCommand,
    config: PathBuf,
    outcome: Outcome,
}

enum Outcome {
    /// A model: its folder, and what was measured before its first step and after its last.
    Trained { model: PathBuf, before: Named, after: Named },
    /// What `sample` and `rank` count.
    Counted(Value),
}

impl Stage {
    /// Of a stage whose folder is `run`.
    ///
    /// # Errors
    /// If its result is not there.
    pub fn read(planned: &Planned, run: &Path) -> Result<Self> {
        let outcome = match planned.command {
            StageCommand::Train => {
                let newest = newest(run, Scrutiny::Sizes)?.checkpoint;
                let checkpoint = newest
                    .with_context(|| format!("`{}` has no complete checkpoint", run.display()))?;
                let (model, before) = (checkpoint.folder, checkpoint.state.baseline);
                Outcome::Trained { model, before, after: train::last_measured(run) }
            }
            StageCommand::Sample | StageCommand::Rank => {
                let path = run.join("summary.json");
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                let found =
                    serde_json::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
                Outcome::Counted(found)
            }
        };
        let Planned { name, command, config, .. } = planned.clone();
        Ok(Self { name, command, config, outcome })
    }

    fn json(&self) -> Value {
        let map = |named: &Named| named.iter().cloned().collect::<BTreeMap<_, _>>();
        match &self.outcome {
            Outcome::Trained { model, before, after } => json!({
                "name": self.name, "command": self.command.name(), "model": model,
                "before": map(before), "after": map(after)
            }),
            Outcome::Counted(counts) => {
                json!({ "name": self.name, "command": self.command.name(), "counts": counts })
            }
        }
    }
}

/// Each measure before and after, as it is shown.
fn changes(before: &Named, after: &Named) -> Vec<[String; 3]> {
    let change = |(name, value): &(String, f64)| {
        let before = before.iter().find(|(known, _)| known == name);
        let before = before.map_or("–".into(), |(name, value)| shown(name, *value));
        [name.clone(), before, shown(name, *value)]
    };
    after.iter().map(change).collect()
}

/// What every stage has come to, as JSON.
pub fn summary(stages: &[Stage], folder: &Path) -> String {
    let stages: Vec<_> = stages.iter().map(Stage::json).collect();
    json!({ "run": folder, "stages": stages }).to_string()
}

/// What each stage that trains has measured, before and after it, and where the model is.
pub fn told(stages: &[Stage]) -> String {
    let (mut text, mut newest) = (String::new(), None);
    for stage in stages {
        let Outcome::Trained { model, before, after } = &stage.outcome else { continue };
        text += &format!("{}\n", stage.name);
        if after.is_empty() {
            text += "  nothing was held out: `data.held_out` of its config\n";
        }
        for [name, before, after] in changes(before, after) {
            text += &format!("  {name:<36} {before:>10} → {after:>10}\n");
        }
        newest = Some(model);
    }
    newest.map_or(text.clone(), |model| format!("{text}\nthe model is in `{}`\n", model.display()))
}

/// The same and all that was counted, in Markdown.
pub fn page(stages: &[Stage], name: &str, seed: u64) -> String {
    let mut text = format!(
        "# {name}\n\nSeed {seed}. Each stage has measured on examples that it held out of its own \
        data: an earlier stage may have learned their prompts.\n"
    );
    for stage in stages {
        text += &format!(
            "\n## {}\n\n`{} {}`\n\n",
            stage.name,
            stage.command.name(),
            stage.config.display()
        );
        match &stage.outcome {
            Outcome::Trained { model, before, after } => {
                if !after.is_empty() {
                    text += "| held out | before | after |\n| --- | --- | --- |\n";
                }
                for [name, before, after] in changes(before, after) {
                    text += &format!("| {name} | {before} | {after} |\n");
                }
                text += &format!("\nThe model is in `{}`.\n", model.display());
            }
            Outcome::Counted(counts) => {
                text += "| | |\n| --- | --- |\n";
                for (name, value) in counts.as_object().into_iter().flatten() {
                    text += &format!("| {} | {value} |\n", name.replace('_', " "));
                }
            }
        }
    }
    text
}
