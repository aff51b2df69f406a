//! A folder that is complete or does not exist.

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
        std::fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        Ok(Self { path, out: out.into(), finished: false })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn finish(mut self) -> Result<()> {
        std::fs::rename(&self.path, &self.out).map_err(Error::io("rename", &self.path))?;
        self.finished = true;
        Ok(())
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
