//! A folder that is complete or does not exist.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A folder that is being made beside the one that it will become. Dropped unfinished, it goes.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    out: PathBuf,
    finished: bool,
}

impl Staging {
    /// Makes the folder that is to become `out`.
    ///
    /// # Errors
    /// If `out` exists and is not an empty folder, or the folder cannot be made.
    pub fn new(out: &Path) -> Result<Self> {
        let is_free = match std::fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        let exists = || Error::Exists { path: out.into() };
        let name = out.file_name().filter(|_| is_free).ok_or_else(exists)?;
        let path = out.with_file_name(format!("{}.{}.partial", name.display(), std::process::id()));
        // What a killed process of the same number left there is not ours to finish.
        if let Err(error) = std::fs::remove_dir_all(&path)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(Error::io("remove", &path)(error));
        }
        std::fs::create_dir_all(parent(out)).map_err(Error::io("create", parent(out)))?;
        std::fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path, out: out.into(), finished: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name, and waits until names are on the disk: of its files before, and
    /// its own after.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(mut self) -> Result<()> {
        sync(&self.path)?;
        std::fs::rename(&self.path, &self.out).map_err(Error::io("rename", &self.path))?;
        self.finished = true;
        sync(parent(&self.out))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing better can be done about a folder that cannot be removed.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The folder in which `path` lies.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Waits until the names in a folder are on the disk.
fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(Error::io("write", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_of_the_same_number_left_does_not_come_along() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("deeper/out");
        let stale = folder.path().join(format!("deeper/out.{}.partial", std::process::id()));
        std::fs::create_dir_all(stale.join("inner")).unwrap();
        std::fs::write(stale.join("model-00002-of-00002.safetensors"), "stale").unwrap();
        let staging = Staging::new(&out).unwrap();
        std::fs::write(staging.path().join("config.json"), "{}").unwrap();
        staging.finish().unwrap();
        let names = |folder: &Path| {
            let entries = std::fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        assert_eq!(names(&out), ["config.json"]);
        assert_eq!(names(out.parent().unwrap()), ["out"]);
    }

    #[test]
    fn a_folder_that_is_not_finished_goes() {
        let folder = tempfile::tempdir().unwrap();
        // Its parent is made as well.
        drop(Staging::new(&folder.path().join("new/out")).unwrap());
        assert_eq!(std::fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
    }
}
