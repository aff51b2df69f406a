//! The folder of a run, held by one process at a time.
//!
//! ```text
//! runs/NAME/  config.toml  metrics.jsonl  events.out.tfevents.*  log.txt  .lock
//!             checkpoints/step-000123/     what was sealed (see `checkpoint`)
//!             previous-1/                  what an earlier run under this name had written
//! ```

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::Problems;
use crate::{Error, Result};

/// The file of a run whose newest step has yet to be measured (see `train::unmeasured`).
pub(crate) const UNMEASURED: &str = "unmeasured.json";

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
        let run = Self::take_bare(path)?;
        let checkpoints = run.checkpoints();
        fs::create_dir_all(&checkpoints).map_err(Error::file("make folder", &checkpoints))?;
        Ok(run)
    }

    /// As [`take`](Self::take), for a run that trains nothing: without a folder for checkpoints.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn take_bare(path: &Path) -> Result<Self> {
        let lock = loop {
            fs::create_dir_all(path).map_err(Error::file("make folder", path))?;
            if let Some(lock) = hold(open_lock(path)?, path)? {
                break lock;
            }
        };
        Ok(Self { path: path.to_owned(), _lock: lock })
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
    /// `previous-N`: they belong to a course of training that is not continued. If anything is moved,
    /// the files of `copied` are copied there. Those that do not exist are passed over; returns the
    /// folder if anything was moved.
    ///
    /// # Errors
    /// If one of them cannot be moved or copied.
    pub fn set_aside(&self, moved: &[PathBuf], copied: &[PathBuf]) -> Result<Option<PathBuf>> {
        let there = |name: &&PathBuf| self.path.join(name).exists();
        let moved = moved.iter().filter(there).collect::<Vec<_>>();
        if moved.is_empty() {
            return Ok(None);
        }
        let mut names = (1..).map(|number| self.path.join(format!("previous-{number}")));
        let folder = names.find(|name| !name.exists()).expect("numbers do not end");
        let places = |name: &PathBuf| -> Result<_> {
            let (from, to) = (self.path.join(name), folder.join(name));
            let parent = to.parent().expect("it was joined to a folder");
            fs::create_dir_all(parent).map_err(Error::file("make folder", parent))?;
            Ok((from, to))
        };
        // Copies first: once all is moved, nothing would tell that they are still to be made.
        for name in copied.iter().filter(there) {
            let (from, to) = places(name)?;
            fs::copy(&from, &to).map_err(Error::file("copy", &from))?;
        }
        for name in moved {
            let (from, to) = places(name)?;
            fs::rename(&from, &to).map_err(Error::file("move aside", &from))?;
        }
        Ok(Some(folder))
    }
}

/// Opens the folder's `.lock` file, which names the process that holds it.
fn open_lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    open.map_err(Error::file("open", &path))
}

/// Locks the folder's `.lock` file. `None` if it was removed after it was opened, by a run that was
/// refused and left nothing behind: its lock would keep nobody out.
fn hold(mut file: File, folder: &Path) -> Result<Option<File>> {
    let path = folder.join(".lock");
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
    let held = file.metadata().map_err(Error::file("look at", &path))?;
    let same = |there: Metadata| (there.dev(), there.ino()) == (held.dev(), held.ino());
    if !fs::metadata(&path).is_ok_and(same) {
        return Ok(None);
    }
    let id = std::process::id().to_string();
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(id.as_bytes()));
    written.map_err(Error::file("write", &path))?;
    Ok(Some(file))
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
    fn the_lock_of_a_file_that_was_removed_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let open = || open_lock(folder.path()).unwrap();
        let removed = open();
        fs::remove_file(&path).unwrap();
        assert!(hold(removed, folder.path()).unwrap().is_none());

        let replaced = open();
        fs::remove_file(&path).unwrap();
        let (_there, text) = (open(), "of another");
        fs::write(&path, text).unwrap();
        assert!(hold(replaced, folder.path()).unwrap().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(hold(open(), folder.path()).unwrap().is_some());
    }

    #[test]
    fn what_is_set_aside_is_moved_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::take(folder.path()).unwrap();
        assert_eq!(run.set_aside(&["metrics.jsonl".into()], &[]).unwrap(), None);
        for number in ["previous-1", "previous-2"] {
            fs::write(folder.path().join("metrics.jsonl"), number).unwrap();
            fs::create_dir(run.checkpoints().join("step-000001")).unwrap();
            fs::write(folder.path().join("log.txt"), "both").unwrap();
            let inside = ["metrics.jsonl".into(), "checkpoints/step-000001".into()];
            let aside = run.set_aside(&inside, &["log.txt".into()]).unwrap().unwrap();
            assert_eq!(aside, folder.path().join(number));
            assert_eq!(fs::read_to_string(aside.join("metrics.jsonl")).unwrap(), number);
            assert!(aside.join("checkpoints/step-000001").is_dir());
            assert!(!folder.path().join("metrics.jsonl").exists());
            assert!(aside.join("log.txt").exists() && folder.path().join("log.txt").exists());
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
