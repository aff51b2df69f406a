//! `albacore config`: every key with its default, a config as it takes effect, or the families of templates.

use std::fs;
use std::path::Path;

use albacore_data::FamilyCard;

use crate::args::{ConfigOf, Configured, ShowConfig};
use crate::config::{Bootstrap, Config, Evaluation, Judging, Rank, Recipe, Sample, Settings};
use crate::failure::{Failure, Outcome, Refusal, Result};
use crate::program::program;
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config has problems.
pub fn run(options: &ShowConfig, seed: Option<u64>, terminal: &Terminal) -> Result {
    if options.families {
        let families = albacore_data::families();
        terminal.print(&match terminal.json {
            true => serde_json::to_string(&families)?,
            false => families.iter().map(family).collect::<Vec<_>>().join("\n"),
        })?;
        return Ok(Outcome::Done);
    }
    match options.of {
        ConfigOf::Train => show::<Config>(options, seed, terminal),
        ConfigOf::Bootstrap => show::<Bootstrap>(options, seed, terminal),
        ConfigOf::Sample => show::<Sample>(options, seed, terminal),
        ConfigOf::Rank => show::<Rank>(options, seed, terminal),
        ConfigOf::Tuna => show::<Recipe>(options, seed, terminal),
        ConfigOf::Eval => show::<Evaluation>(options, seed, terminal),
        ConfigOf::Judge => show::<Judging>(options, seed, terminal),
    }
}

/// A family, and what its records are made of.
fn family(family: &FamilyCard) -> String {
    let FamilyCard { name, about, fields, templates, inversions } = family;
    let inversions = match inversions {
        0 => String::new(),
        count => format!(", {count} inversions"),
    };
    format!("{name}: {about} ({templates} templates{inversions})\n  {}\n", fields.join(", "))
}

fn show<S: Settings>(options: &ShowConfig, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = match &options.config {
        None => None,
        Some(file) => {
            let configured = Configured { config: file.clone(), set: options.set.clone() };
            Some(S::load(&configured, seed).map_err(|failure| named(failure, file, options.of))?)
        }
    };
    terminal.print(&match config {
        config if terminal.json => serde_json::to_string(&config.unwrap_or_default())?,
        Some(config) => config.to_toml(),
        None => S::REFERENCE.to_owned(),
    })?;
    Ok(Outcome::Done)
}

/// Tables that one kind of config alone has, and what `--for` calls it.
const TABLES: [(&str, &str, ConfigOf); 5] = [
    ("evaluation", "eval", ConfigOf::Eval),
    ("judge", "judge", ConfigOf::Judge),
    ("bootstrap", "bootstrap", ConfigOf::Bootstrap),
    ("sample", "sample", ConfigOf::Sample),
    ("rank", "rank", ConfigOf::Rank),
];

/// Says so, if the file is a config of another command than it was read for.
fn named(failure: Failure, file: &Path, of: ConfigOf) -> Failure {
    let text = fs::read_to_string(file).unwrap_or_default();
    let tables = text.parse::<toml::Table>().unwrap_or_default();
    let other = TABLES.iter().find(|(table, ..)| tables.contains_key(*table));
    let (mut problems, other) = match (failure, other) {
        (Failure::Problems(problems), Some(other)) => (problems, other),
        (failure, _) => return failure,
    };
    let (table, kind, its) = other;
    if *its != of {
        let file = file.display();
        let command = if *its == ConfigOf::Judge { "eval judge" } else { kind };
        let message = format!("{file}: a table `{table}` is of a config of `albacore {command}`");
        let hint = format!("`{} config --for {kind} {file}` reads it as one", program());
        problems.push(Refusal::new(message, hint).into());
    }
    Failure::Problems(problems)
}
