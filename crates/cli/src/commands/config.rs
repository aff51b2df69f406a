//! `albacore config`: every key with its default, or a config as it takes effect.

use crate::args::{Configured, ShowConfig};
use crate::config::{Config, REFERENCE};
use crate::failure::{Outcome, Result};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config has problems.
pub fn run(options: &ShowConfig, seed: Option<u64>, terminal: &Terminal) -> Result {
    let Some(file) = &options.config else {
        terminal.print(REFERENCE)?;
        return Ok(Outcome::Done);
    };
    let configured = Configured { config: file.clone(), set: options.set.clone() };
    let config = Config::load(&configured, seed)?;
    if terminal.json {
        terminal.print(&serde_json::to_string(&config)?)?;
    } else {
        terminal.print(&config.to_toml())?;
    }
    Ok(Outcome::Done)
}
