//! A checkpoint is complete or it does not exist.
//!
//! ```text
//! checkpoints/step-000123.partial/   config.json, tokenizer.json, …  what the model's folder needs
//!                                    model.safetensors               weights, f32
//!                                    optimizer.safetensors           moments `m.NAME` and `v.NAME`, or
//!                                                                    their codes, with `m_scale.NAME` …
//!                                    state.json                      where the run stands
//!                                    manifest.json                   written last: the seal
//!                └─ rename ─► checkpoints/step-000123/
//! ```
//!
//! Every file is on the disk before the manifest is, the manifest before the folder gets its name,
//! and the name before anything older is removed. Whatever the moment at which the process or the
//! machine stops, the folder without `.partial` is whole.

use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Problems;
use crate::course::Cursor;
use crate::manifest::{Manifest, Scrutiny};
use crate::metrics::Named;
use crate::{Error, Result};

/// `[checkpoint]`: when a run is saved, and what is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints; 0 saves at the end of the run only. Default 500. A smaller
    /// number loses less to a crash; saving runs behind training.
    pub every: u64,
    /// The newest checkpoints that are kept. Default 2. Each takes three times the size of the
    /// weights in f32, or one and a half with `optim.state = "int8"`.
    pub keep_last: usize,
    /// Checkpoints of steps divisible by this number are kept for good; 0 keeps none. Default 0.
    pub keep_every: u64,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every: 500, keep_last: 2, keep_every: 0 }
    }
}

impl CheckpointConfig {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        problems.unless(self.keep_last > 0, "checkpoint.keep_last", 0, "1 or more");
        problems.0
    }

    /// Of the checkpoints of these steps, those that go once the one of step `sealed` is there.
    /// Later ones than that belong to someone else.
    pub(crate) fn outdated(&self, steps: &[u64], sealed: u64) -> Vec<u64> {
        let mut steps = steps.iter().copied().filter(|&step| step <= sealed).collect::<Vec<_>>();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        let kept_for_good = |step: &u64| step.is_multiple_of(self.keep_every);
        steps.into_iter().skip(self.keep_last).filter(|step| !kept_for_good(step)).collect()
    }
}

/// The layout of checkpoints that this version writes.
const FORMAT: u32 = 1;
/// The file that says where the run stands.
pub(crate) const STATE: &str = "state.json";
/// The file with the moments.
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Layout of the checkpoint.
    format: u32,
    /// Steps made.
    pub step: u64,
    /// Steps that the run was to have.
    pub steps: u64,
    /// How far it has read the data.
    pub cursor: Cursor,
    /// Parts in which each batch is run: more than 1 once a GPU's memory did not do.
    #[serde(default = "whole")]
    pub parts: usize,
    /// The seed that the order of the data follows from.
    pub seed: u64,
    /// Seconds of training.
    pub elapsed_s: f64,
    /// What the data were, as a digest.
    pub data_fingerprint: String,
    /// What was measured before the first step.
    #[serde(with = "crate::metrics::named")]
    pub baseline: Named,
    /// The effective configuration.
    pub config: serde_json::Value,
}

/// A batch in one piece.
fn whole() -> usize {
    1
}

impl State {
    /// The start of a run.
    pub(crate) fn new(
        steps: u64,
        seed: u64,
        fingerprint: String,
        config: serde_json::Value,
    ) -> Self {
        Self {
            format: FORMAT,
            step: 0,
            steps,
            cursor: Cursor::default(),
            parts: whole(),
            seed,
            elapsed_s: 0.0,
            data_fingerprint: fingerprint,
            baseline: Named::new(),
            config,
        }
    }

    /// Takes over how far a run had come, with the length and configuration of now.
    pub(crate) fn go_on_from(&mut self, saved: &Self) {
        (self.step, self.cursor, self.elapsed_s) = (saved.step, saved.cursor, saved.elapsed_s);
        self.parts = saved.parts;
        self.baseline.clone_from(&saved.baseline);
    }

    /// Reads the state of a checkpoint; the error is what is wrong with it.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let text = fs::read(folder.join(STATE)).map_err(|error| format!("`{STATE}`: {error}"))?;
        let value = serde_json::from_slice::<serde_json::Value>(&text);
        let value = value.map_err(|error| format!("`{STATE}`: {error}"))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {
                serde_json::from_value(value).map_err(|error| format!("`{STATE}`: {error}"))
            }
            found => {
                let found = found.map_or("none".to_owned(), |format| format.to_string());
                Err(format!("has format {found}, wanted {FORMAT}: another version wrote it"))
            }
        }
    }
}

/// The name of the checkpoint after `step` steps.
pub(crate) fn name_of(step: u64) -> String {
    format!("step-{step:06}")
}

/// The step that a folder's name says, if it is that of a checkpoint.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    let plain = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The checkpoints in a folder, sealed or not, the newest first.
pub(crate) fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(checkpoints) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read folder", checkpoints))?,
    };
    let steps = entries
        .flatten()
        .filter_map(|entry| Some((step_of(&entry.file_name().to_string_lossy())?, entry.path())));
    let mut steps = steps.collect::<Vec<_>>();
    steps.sort_unstable_by(|a, b| b.cmp(a));
    Ok(steps)
}

/// The folder in which a checkpoint is written before it gets its name, or loses it. What could not
/// be removed (a file that someone on a network still holds open) may lie there: then another one.
pub(crate) fn partial(sealed: &Path) -> PathBuf {
    let more = (2..).map(|number| format!("{number}.partial"));
    let mut names = iter::once("partial".to_owned()).chain(more);
    let free =
        names.find_map(|name| Some(sealed.with_extension(name)).filter(|name| !name.exists()));
    free.expect("numbers do not end")
}

/// Removes what an interrupted save or removal has left. Returns a sentence for each that stays.
pub(crate) fn remove_partial(checkpoints: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(checkpoints).map_err(Error::file("read folder", checkpoints))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let partial = paths.filter(|path| path.extension().is_some_and(|ending| ending == "partial"));
    let stays = |path: PathBuf| {
        let error = fs::remove_dir_all(&path).err()?;
        Some(format!("`{}` is left over and cannot be removed: {error}", path.display()))
    };
    Ok(partial.filter_map(stays).collect())
}

/// The newest checkpoint in a folder that has all its files.
pub(crate) fn last_good(checkpoints: &Path) -> Option<PathBuf> {
    let mut folders = list(checkpoints).ok()?.into_iter().map(|(_, folder)| folder);
    folders.find(|folder| Manifest::check(folder, Scrutiny::Sizes).is_ok())
}

/// A sealed checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its folder: also a Hugging Face model folder.
    pub folder: PathBuf,
    /// Where the run stood.
    pub state: State,
}

impl Checkpoint {
    /// Opens a checkpoint; the error is the reason why it cannot be used.
    pub(crate) fn open(folder: &Path, scrutiny: Scrutiny) -> Result<Self, String> {
        Manifest::check(folder, scrutiny)?;
        Ok(Self { folder: folder.to_owned(), state: State::read(folder)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_every_so_many() {
        let config = CheckpointConfig { every: 10, keep_last: 2, keep_every: 50 };
        assert_eq!(config.outdated(&[10, 50, 60, 70], 70), [10]);
        assert_eq!(config.outdated(&[50, 60], 60), [0u64; 0]);
        // A later one was left by a run that was wound back: it does not count.
        assert_eq!(config.outdated(&[10, 20, 30, 90], 30), [10]);
    }

    #[test]
    fn a_folder_is_a_checkpoint_only_by_its_exact_name() {
        assert_eq!(step_of(&name_of(123)), Some(123));
        assert_eq!(step_of(&name_of(12_345_678)), Some(12_345_678));
        for name in ["step-000123.partial", "step-12", "step-", "step-+00123", "last"] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_left_over_goes_or_is_named_and_stands_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let sealed = folder.path().join(name_of(7));
        fs::create_dir(partial(&sealed)).unwrap();
        // A file in the place of a folder cannot be removed as one.
        fs::write(partial(&sealed), "").unwrap();
        fs::create_dir(partial(&sealed)).unwrap();
        let left = remove_partial(folder.path()).unwrap();
        let wanted = format!("`{}` is left over and", sealed.with_extension("2.partial").display());
        assert!(left.len() == 1 && left[0].starts_with(&wanted), "{left:?}");
        assert_eq!(partial(&sealed), sealed.with_extension("partial"));
        fs::create_dir(partial(&sealed)).unwrap();
        assert_eq!(partial(&sealed), sealed.with_extension("3.partial"));
    }

    #[test]
    fn a_state_of_another_format_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::new(10, 0, "digest".into(), serde_json::json!({"run": {}}));
        state.elapsed_s = 0.1 + 0.2;
        let write = |state: &State| {
            fs::write(folder.path().join(STATE), serde_json::to_vec(state).unwrap()).unwrap();
        };
        write(&state);
        assert_eq!(State::read(folder.path()).unwrap(), state);
        state.format = 2;
        write(&state);
        let error = State::read(folder.path()).unwrap_err();
        assert_eq!(error, "has format 2, wanted 1: another version wrote it");
    }
}
