//! The folder of a run, held by one process at a time.
//!
//! ```text
//! runs/NAME/  config.toml  metrics.jsonl  events.out.tfevents.*  log.txt  .lock
//!             checkpoints/step-000123/     what was sealed (see `checkpoint`)
//!             previous-1/                  what an earlier run under this name had written
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Problems;
use crate::{Error, Result};

/// `[run]`: where a run is written, and its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Folder that holds the runs. Default `runs`.
    pub dir: PathBuf,
    /// Name of the run, and of its folder in `dir`. Default: the config file's name without its
    /// ending.
    pub name: String,
    /// Seed of everything random: the order of the examples. Default 0. Another one gives another
    /// run, equally good.
    pub seed: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { dir: "runs".into(), name: String::new(), seed: 0 }
    }
}

impl RunConfig {
    /// The run's folder.
    pub fn folder(&self) -> PathBuf {
        self.dir.join(&self.name)
    }

    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        let plain = Path::new(&self.name).file_name().is_some_and(|name| *name == *self.name);
        problems.unless(plain, "run.name", format!("`{}`", self.name), "the name of a folder");
        problems.0
    }
}

/// A run folder that this process holds until it drops this value or ends, however it ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The system releases the lock when the file is closed, be it by SIGKILL.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder if it is not there, and takes hold of it.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be written.
    pub fn take(path: &Path) -> Result<Self> {
        let checkpoints = path.join("checkpoints");
        fs::create_dir_all(&checkpoints).map_err(Error::file("make folder", &checkpoints))?;
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Moves files and folders of the run, given by their paths inside it, to a fresh folder
    /// `previous-N`: they belong to a course of training that is not continued. Those that do not
    /// exist are passed over; returns the folder if anything was moved.
    ///
    /// # Errors
    /// If one of them cannot be moved.
    pub fn set_aside(&self, inside: &[PathBuf]) -> Result<Option<PathBuf>> {
        let found = inside.iter().filter(|name| self.path.join(name).exists()).collect::<Vec<_>>();
        if found.is_empty() {
            return Ok(None);
        }
        let mut names = (1..).map(|number| self.path.join(format!("previous-{number}")));
        let folder = names.find(|name| !name.exists()).expect("numbers do not end");
        for name in found {
            let (from, to) = (self.path.join(name), folder.join(name));
            let parent = to.parent().expect("it was joined to a folder");
            fs::create_dir_all(parent).map_err(Error::file("make folder", parent))?;
            fs::rename(&from, &to).map_err(Error::file("move aside", &from))?;
        }
        Ok(Some(folder))
    }
}

/// Locks the folder's `.lock` file, which names the process that holds it.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(Error::file("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is told if it can be read; that it is held is known.
            let _ = file.read_to_string(&mut holder);
            let process = match holder.trim().parse::<u32>() {
                Ok(id) => format!("process {id}"),
                Err(_) => "another process".to_owned(),
            };
            return Err(Error::InUse { folder: folder.to_owned(), process });
        }
        Err(TryLockError::Error(error)) => return Err(Error::file("lock", &path)(error)),
    }
    let id = std::process::id().to_string();
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(id.as_bytes()));
    written.map_err(Error::file("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_is_held_by_one_at_a_time_and_the_error_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let held = RunFolder::take(folder.path()).unwrap();
        let error = RunFolder::take(folder.path()).unwrap_err();
        let wanted = format!("is in use by process {}", std::process::id());
        assert!(error.to_string().ends_with(&wanted), "{error}");
        assert!(error.hint().unwrap().contains("run.name"));
        drop(held);
        RunFolder::take(folder.path()).unwrap();
    }

    #[test]
    fn what_is_set_aside_is_moved_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::take(folder.path()).unwrap();
        assert_eq!(run.set_aside(&["metrics.jsonl".into()]).unwrap(), None);
        for number in ["previous-1", "previous-2"] {
            fs::write(folder.path().join("metrics.jsonl"), number).unwrap();
            fs::create_dir(run.checkpoints().join("step-000001")).unwrap();
            let inside = ["metrics.jsonl".into(), "checkpoints/step-000001".into()];
            let aside = run.set_aside(&inside).unwrap().unwrap();
            assert_eq!(aside, folder.path().join(number));
            assert_eq!(fs::read_to_string(aside.join("metrics.jsonl")).unwrap(), number);
            assert!(aside.join("checkpoints/step-000001").is_dir());
        }
    }

    #[test]
    fn a_name_is_one_folder() {
        let problems =
            |name: &str| RunConfig { name: name.into(), ..Default::default() }.validate();
        assert!(problems("llama-1").is_empty());
        for name in ["", "..", "a/b", "/a", "a/"] {
            assert_eq!(problems(name).len(), 1, "{name}");
        }
    }
}
