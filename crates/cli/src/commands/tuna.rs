//! `albacore tuna`: the whole recipe, stage after stage, each of which goes on where it was stopped.
//!
//! ```text
//!  RUN/  config.toml  stages.json   what is done, and with which settings
//!        summary.json  report.md    what it has come to
//!        1-sft/  2-sample/  …       the run folder of each stage
//! ```

mod report;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use albacore_trainer::{Resume, RunFolder};
use anyhow::Context;
use candle_core::Device;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::args::{self, Configured, Drawn, Train, Tuna};
use crate::commands::{rank, sample, train};
use crate::config::{Config, Planned, Rank, Recipe, Sample, Settings, StageCommand};
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::program::program;
use crate::terminal::Terminal;

use report::Stage;

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
    check(&plan, seed, &folder)?;
    let mut done = read_done(&folder)?;
    for stage in &plan {
        refuse_changed(stage, recipe.run.seed, &done, &folder)?;
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
        done.insert(name.clone(), digest(stage, recipe.run.seed)?);
        replace(&held.path().join(DONE), &(serde_json::to_string_pretty(&done)? + "\n"))?;
    }
    let stages = plan.iter().map(|stage| Stage::read(stage, &folder.join(&stage.name)));
    let stages = stages.collect::<Result<Vec<_>>>()?;
    let summary = report::summary(&stages, &folder);
    replace(&held.path().join("summary.json"), &format!("{summary}\n"))?;
    let page = report::page(&stages, &recipe.run.name, recipe.run.seed);
    replace(&held.path().join("report.md"), &page)?;
    terminal.print(&if terminal.json { summary } else { report::told(&stages) })?;
    Ok(Outcome::Done)
}

const DONE: &str = "stages.json";

fn configured(stage: &Planned) -> Configured {
    Configured { config: stage.config.clone(), set: stage.set.clone() }
}

/// Refuses the configs that cannot be used, all at once, before any stage is run. What earlier stages will
/// write is taken to be there.
fn check(plan: &[Planned], seed: Option<u64>, folder: &Path) -> Result<()> {
    let mut problems = Vec::new();
    for stage in plan {
        let configured = configured(stage);
        let checked = match stage.command {
            StageCommand::Train => Config::load_with(&configured, seed, Some(folder)).map(drop),
            StageCommand::Sample => Sample::load_with(&configured, seed, Some(folder)).map(drop),
            StageCommand::Rank => Rank::load_with(&configured, seed, Some(folder)).map(drop),
        };
        match checked {
            Ok(()) => {}
            Err(Failure::Problems(found)) => problems.extend(found),
            Err(Failure::Refused(found)) => problems.push(found),
            Err(failure) => return Err(failure),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Problems(problems)) }
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
fn digest(stage: &Planned, seed: u64) -> Result<String> {
    let config = fs::read(&stage.config)
        .with_context(|| format!("cannot read `{}`", stage.config.display()))?;
    let mut digest = Sha256::new();
    digest.update(stage.command.name());
    digest.update(seed.to_le_bytes());
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

/// A stage that is done with other settings, or whose result is gone, is not gone on from.
fn refuse_changed(stage: &Planned, seed: u64, done: &Done, folder: &Path) -> Result<()> {
    let Some(before) = done.get(&stage.name) else { return Ok(()) };
    let name = &stage.name;
    if *before != digest(stage, seed).map_err(refused)? {
        let message = format!(
            "the stage `{name}` of `{}` is done, and its settings or the seed have changed since",
            folder.display()
        );
        let hint = format!(
            "change `{}`, the recipe or the seed back, or give the new run another `run.name`",
            stage.config.display()
        );
        return Err(Refusal::new(message, hint)).or_refuse();
    }
    let result = folder.join(&stage.name).join(stage.command.result());
    if result.exists() {
        return Ok(());
    }
    let message = format!(
        "the stage `{name}` of `{}` is done, and `{}` is gone",
        folder.display(),
        result.display()
    );
    let hint = format!(
        "put it back, or take `{name}` out of `{}` to run the stage again",
        folder.join(DONE).display()
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

/// Writes a file; what was there stays until all of it is written.
fn replace(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::File::create(&partial)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&partial, path));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}
