//! Where a run goes on: finds the checkpoint, and passes over those that are not whole.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::checkpoint::{self, Checkpoint};
use crate::manifest::Scrutiny;
use crate::{Error, Result};

/// Which checkpoint a run goes on from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// The newest complete one of the run, or the start if it has none.
    #[default]
    Auto,
    /// None: the run starts afresh.
    Never,
    /// This one, or the newest complete one of this run.
    From(PathBuf),
}

impl FromStr for Resume {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            "never" => Self::Never,
            path => Self::From(path.into()),
        })
    }
}

/// What a search for a checkpoint has found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The checkpoint, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Newer ones that cannot be used.
    pub skipped: Vec<Skipped>,
}

/// A checkpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its folder.
    pub folder: PathBuf,
    /// What is wrong with it, as in `is corrupt: …`.
    pub reason: String,
}

/// Finds the checkpoint that the run in folder `run` goes on from. Nothing is changed.
///
/// # Errors
/// If a checkpoint that was asked for by its path is missing or damaged.
pub fn find(run: &Path, resume: &Resume) -> Result<Found> {
    match resume {
        Resume::Never => Ok(Found::default()),
        Resume::Auto => newest(run, Scrutiny::Hashes),
        Resume::From(path) if path.join("checkpoints").is_dir() => {
            let found = newest(path, Scrutiny::Hashes)?;
            let reason = || "is a run without a complete checkpoint".to_owned();
            match found.checkpoint {
                None => Err(Error::Damaged { folder: path.clone(), reason: reason() }),
                Some(_) => Ok(found),
            }
        }
        Resume::From(folder) => match Checkpoint::open(folder, Scrutiny::Hashes) {
            Err(reason) => Err(Error::Damaged { folder: folder.clone(), reason }),
            Ok(checkpoint) => Ok(Found { checkpoint: Some(checkpoint), skipped: Vec::new() }),
        },
    }
}

/// Finds the newest complete checkpoint of the run in folder `run`.
///
/// # Errors
/// If the folder cannot be read.
pub fn newest(run: &Path, scrutiny: Scrutiny) -> Result<Found> {
    let mut skipped = Vec::new();
    for (_, folder) in checkpoint::list(&run.join("checkpoints"))? {
        match Checkpoint::open(&folder, scrutiny) {
            Ok(checkpoint) => return Ok(Found { checkpoint: Some(checkpoint), skipped }),
            Err(reason) => skipped.push(Skipped { folder, reason }),
        }
    }
    Ok(Found { checkpoint: None, skipped })
}
