//! The files that a source's `path` stands for.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Endings of the files that a folder is searched for.
const ENDINGS: [&str; 5] = ["jsonl", "json", "parquet", "tsv", "csv"];

/// A file as it is; of a folder its data files; else the files that fit a pattern with `*`. In the order
/// of their names.
///
/// # Errors
/// If there is none.
pub(crate) fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = if path.is_dir() {
        files_in(path)?
    } else if path.exists() || !is_pattern(path) {
        // One that does not exist is told by whoever reads it.
        return Ok(vec![path.to_owned()]);
    } else {
        let found = matches(path)?;
        let files = found.iter().map(|found| match found.is_dir() {
            true => files_in(found),
            false => Ok(vec![found.clone()]),
        });
        files.collect::<Result<Vec<_>>>()?.concat()
    };
    found.sort();
    if found.is_empty() {
        return Err(Error::NoFile { path: path.into(), nearest: None });
    }
    Ok(found)
}

/// The data files of a folder.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder).map_err(|error| Error::read(folder, error))?;
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    Ok(files.filter(|file| has_ending(file)).collect())
}

fn has_ending(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending))
}

/// Whether a path is a pattern for several.
pub(crate) fn is_pattern(path: &Path) -> bool {
    path.to_string_lossy().contains(['*', '?', '['])
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let wrong = |error: String| Error::Read {
        path: pattern.into(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, error),
    };
    let found = glob::glob(&pattern.to_string_lossy()).map_err(|error| wrong(error.to_string()))?;
    found.map(|file| file.map_err(|error| wrong(error.to_string()))).collect()
}
