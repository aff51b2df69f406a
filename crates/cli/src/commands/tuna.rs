//! `albacore tuna`: the whole recipe, stage after stage, each of which goes on where it was stopped.
//!
//! ```text
//!  RUN/  config.toml  stages.json   what is done, and with which settings
//!        1-sft/  2-sample/  …       the run folder of each stage
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_trainer::{Named, Resume, RunFolder, Scrutiny, newest};
use anyhow::Context;
use candle_core::Device;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::args::{self, Configured, Drawn, Train, Tuna};
use crate::commands::{rank, sample, train};
use crate::config::{Config, Planned, Rank, Recipe, Sample, Settings, StageCommand};
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::program::program;
use crate::run_log::shown;
use crate::terminal::Terminal;

/// What is done: the digest of the settings of each stage, by its name.
type Done = BTreeMap<String, String>;

/// Runs the command.
///
/// # Errors
/// Refused if the recipe or the config of any stage cannot be used; else as the stage that fails.
pub fn run(options: &Tuna, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    let recipe = Recipe::load(&options.configured, seed)?;
    let plan = recipe.plan().expect("a recipe that was read is valid");
    let seed = Some(recipe.run.seed);
    let folder = recipe.run.folder();
    for stage in &plan {
        check(stage, seed, &folder)?;
    }
    let mut done = read_done(&folder)?;
    for stage in &plan {
        refuse_changed(stage, &done, &folder)?;
    }
    if options.dry_run {
        terminal.print(&told(&plan, &done, recipe.run.seed, terminal.json))?;
        return Ok(Outcome::Done);
    }
    let held = RunFolder::take_bare(&folder).or_refuse()?;
    replace(&held.path().join("config.toml"), &recipe.to_toml())?;
    let within = Terminal { of_recipe: true, ..*terminal };
    for (number, stage) in plan.iter().enumerate() {
        if done.contains_key(&stage.name) {
            continue;
        }
        let (of, name) = (plan.len(), &stage.name);
        terminal.note(&format!("── stage {} of {of}: {name} ──", number + 1));
        if run_stage(stage, seed, device, &within)? == Outcome::Stopped {
            terminal.advise("run the same command again to go on")?;
            return Ok(Outcome::Stopped);
        }
        done.insert(name.clone(), digest(stage)?);
        replace(&held.path().join(DONE), &(serde_json::to_string_pretty(&done)? + "\n"))?;
    }
    terminal.print(&summary(&plan, &folder, terminal.json)?)?;
    Ok(Outcome::Done)
}

const DONE: &str = "stages.json";

fn configured(stage: &Planned) -> Configured {
    Configured { config: stage.config.clone(), set: stage.set.clone() }
}

/// Refuses a config that cannot be used, before any stage is run. What earlier stages will write is
/// taken to be there.
fn check(stage: &Planned, seed: Option<u64>, folder: &Path) -> Result<()> {
    let configured = configured(stage);
    match stage.command {
        StageCommand::Train => Config::load_with(&configured, seed, Some(folder)).map(drop),
        StageCommand::Sample => Sample::load_with(&configured, seed, Some(folder)).map(drop),
        StageCommand::Rank => Rank::load_with(&configured, seed, Some(folder)).map(drop),
    }
}

fn run_stage(stage: &Planned, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    let Planned { config, set, .. } = stage.clone();
    match stage.command {
        StageCommand::Train => {
            let configured = configured(stage);
            let options = Train {
                configured,
                resume: Resume::Auto,
                accept_changes: false,
                dry_run: false,
                profile: false,
            };
            train::run(&options, seed, device, terminal)
        }
        StageCommand::Sample => {
            sample::run(&Drawn { config, set, dry_run: false }, seed, device, terminal)
        }
        StageCommand::Rank => {
            let configured = configured(stage);
            let options = args::Rank { configured, against: None, dry_run: false };
            rank::run(&options, seed, device, terminal)
        }
    }
}

/// What a stage's result follows from.
fn digest(stage: &Planned) -> Result<String> {
    let config = fs::read(&stage.config)
        .with_context(|| format!("cannot read `{}`", stage.config.display()))?;
    let mut digest = Sha256::new();
    digest.update(stage.command.name());
    digest.update(config);
    for set in &stage.set {
        digest.update(format!("\n{set}"));
    }
    Ok(digest.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The stages that an earlier process has done.
fn read_done(folder: &Path) -> Result<Done> {
    let path = folder.join(DONE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Done::new()),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read `{}`", path.display()))
                .or_refuse();
        }
    };
    serde_json::from_str(&text).with_context(|| format!("`{}`", path.display())).or_refuse()
}

/// A stage that is done with other settings is not gone on from.
fn refuse_changed(stage: &Planned, done: &Done, folder: &Path) -> Result<()> {
    let Some(before) = done.get(&stage.name) else { return Ok(()) };
    if *before == digest(stage).map_err(refused)? {
        return Ok(());
    }
    let message = format!(
        "the stage `{}` of `{}` is done, and its settings have changed since",
        stage.name,
        folder.display()
    );
    let hint = format!(
        "change `{}` or the recipe back, or give the new run another `run.name`",
        stage.config.display()
    );
    Err(Refusal::new(message, hint)).or_refuse()
}

fn refused(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(error) => Failure::Refused(error),
        other => other,
    }
}

/// The commands that the recipe runs, as one would type them.
fn told(plan: &[Planned], done: &Done, seed: u64, as_json: bool) -> String {
    let typed = |stage: &Planned| {
        let sets = stage.set.iter().map(|set| format!(" --set '{set}'"));
        let command = stage.command.name();
        format!(
            "{} {command} {} --seed {seed}{}",
            program(),
            stage.config.display(),
            sets.collect::<String>()
        )
    };
    if as_json {
        let stages = plan.iter().map(|stage| {
            json!({ "name": stage.name, "command": typed(stage), "done": done.contains_key(&stage.name) })
        });
        return json!({ "stages": stages.collect::<Vec<_>>() }).to_string();
    }
    let mut text = String::new();
    for stage in plan {
        let state = if done.contains_key(&stage.name) { " (done)" } else { "" };
        text += &format!("{}{state}\n  {}\n", stage.name, typed(stage));
    }
    text + "Nothing was run or written.\n"
}

/// What each stage that trains has measured, before and after it.
fn summary(plan: &[Planned], folder: &Path, as_json: bool) -> Result<String> {
    let trained = plan.iter().filter(|stage| stage.command == StageCommand::Train);
    let measured = trained.map(|stage| measured(&stage.name, &folder.join(&stage.name)));
    let measured = measured.collect::<Result<Vec<_>>>()?;
    if as_json {
        let stages = measured.iter().map(|(name, model, before, after)| {
            let map = |named: &Named| named.iter().cloned().collect::<BTreeMap<_, _>>();
            json!({ "name": name, "model": model, "before": map(before), "after": map(after) })
        });
        return Ok(json!({ "run": folder, "stages": stages.collect::<Vec<_>>() }).to_string());
    }
    let mut text = String::new();
    for (name, _, before, after) in &measured {
        text += &format!("{name}\n");
        if after.is_empty() {
            text += "  nothing was held out: `data.held_out` of its config\n";
        }
        for (key, after) in after {
            let before = before.iter().find(|(name, _)| name == key);
            let before = before.map_or("–".into(), |(name, value)| shown(name, *value));
            text += &format!("  {key:<36} {before:>10} → {:>10}\n", shown(key, *after));
        }
    }
    if let Some((_, model, ..)) = measured.last() {
        text += &format!("\nthe model is in `{}`\n", model.display());
    }
    Ok(text)
}

/// A stage's name and model, and what was measured before its first step and after its last.
fn measured(name: &str, run: &Path) -> Result<(String, PathBuf, Named, Named)> {
    let newest = newest(run, Scrutiny::Sizes)?.checkpoint;
    let checkpoint =
        newest.with_context(|| format!("`{}` has no complete checkpoint", run.display()))?;
    let after = train::last_measured(run);
    Ok((name.to_owned(), checkpoint.folder, checkpoint.state.baseline, after))
}

/// Writes a file; what was there stays until all of it is written.
fn replace(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}
