//! What the runs that make data have in common: `bootstrap`, `sample` and `rank`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use albacore_data::{Error, HttpConfig, Statistics, Usage};
use anyhow::Context;

use crate::config::Settings;
use crate::failure::{Failure, OrRefuse, Refusal, Result};
use crate::progress::{count, time};

/// A folder in which a model was trained is no place for data.
///
/// # Errors
/// Refused if this is one.
pub fn refuse_training_run(folder: &Path) -> Result<()> {
    let trained =
        [albacore_trainer::METRICS, "checkpoints"].iter().any(|name| folder.join(name).exists());
    if !trained {
        return Ok(());
    }
    let message = format!("`{}` holds a training run, wanted a folder for data", folder.display());
    Err(Refusal::new(message, "give this run another `run.name`")).or_refuse()
}

/// A run that began with other settings is refused; all else fails while running.
pub fn refused(error: Error) -> Failure {
    match error {
        Error::Settings { .. } | Error::StageBefore { .. } | Error::StageBehind { .. } => {
            Failure::Refused(error.into())
        }
        _ => Failure::Failed(error.into()),
    }
}

/// Writes the config beside the run; what was there stays until all of it is written.
///
/// # Errors
/// If it cannot be written.
pub fn write_config(run: &Path, config: &impl Settings) -> Result<()> {
    let (path, partial) = (run.join("config.toml"), run.join("config.toml.partial"));
    let written = fs::write(&partial, config.to_toml()).and_then(|()| fs::rename(&partial, &path));
    Ok(written.with_context(|| format!("cannot write `{}`", path.display()))?)
}

/// What so many tokens cost by the prices of a server: those of the prompts alone, and all.
pub fn cost(server: Option<&HttpConfig>, prompts: u64, answers: u64) -> Option<(f64, f64)> {
    let cost =
        |completion_tokens| server?.cost(&Usage { prompt_tokens: prompts, completion_tokens });
    cost(0).zip(cost(answers))
}

/// What requests took, in a line.
pub fn took(statistics: &Statistics) -> String {
    let Statistics { answers, retries, prompt_tokens, completion_tokens, cost, .. } = statistics;
    let number = |number: &u64| count(*number as usize);
    let mut text = format!(
        "{} requests, {} prompt and {} answer tokens",
        number(answers),
        number(prompt_tokens),
        number(completion_tokens)
    );
    if statistics.estimated > 0 {
        text += " (estimated)";
    }
    if *retries > 0 {
        text += &format!(", {} asked again", number(retries));
    }
    if statistics.refused > 0 {
        text += &format!(", {} refused", number(&statistics.refused));
    }
    if let Some(cost) = cost {
        text += &format!(", cost {cost:.2}");
    }
    let each =
        Duration::try_from_secs_f64(statistics.seconds / *answers as f64).unwrap_or_default();
    text + &format!(", {} each", time(each))
}
