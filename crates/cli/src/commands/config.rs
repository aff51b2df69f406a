//! `albacore config`: every key with its default, or a config as it takes effect.

use crate::args::{ConfigOf, Configured, ShowConfig};
use crate::config::{Bootstrap, Config, Rank, Recipe, Sample, Settings};
use crate::failure::{Outcome, Result};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config has problems.
pub fn run(options: &ShowConfig, seed: Option<u64>, terminal: &Terminal) -> Result {
    match options.of {
        ConfigOf::Train => show::<Config>(options, seed, terminal),
        ConfigOf::Bootstrap => show::<Bootstrap>(options, seed, terminal),
        ConfigOf::Sample => show::<Sample>(options, seed, terminal),
        ConfigOf::Rank => show::<Rank>(options, seed, terminal),
        ConfigOf::Tuna => show::<Recipe>(options, seed, terminal),
    }
}

fn show<S: Settings>(options: &ShowConfig, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = match &options.config {
        None => None,
        Some(file) => {
            let configured = Configured { config: file.clone(), set: options.set.clone() };
            Some(S::load(&configured, seed)?)
        }
    };
    terminal.print(&match config {
        config if terminal.json => serde_json::to_string(&config.unwrap_or_default())?,
        Some(config) => config.to_toml(),
        None => S::REFERENCE.to_owned(),
    })?;
    Ok(Outcome::Done)
}
