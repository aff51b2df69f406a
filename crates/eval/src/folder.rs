//! Where a suite's files are: in the folder that is named, or in one that the benchmark's publishers
//! made inside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The first of `places` inside `data` that holds a file of this kind; `""` is `data` itself.
pub(crate) fn find(
    data: &Path,
    places: &[&str],
    is_ours: impl Fn(&str) -> bool,
) -> Option<PathBuf> {
    let folders = places.iter().map(|place| data.join(place));
    folders.into_iter().find(|folder| names(folder).iter().any(|name| is_ours(name)))
}

/// The names in a folder, in order; none if there is no such folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// The names in a folder without this ending, of those that have it.
pub(crate) fn stems(folder: &Path, ending: &str) -> Vec<String> {
    let names = names(folder).into_iter();
    names.filter_map(|name| Some(name.strip_suffix(ending)?.to_owned())).collect()
}

/// A whole file as text.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file(path))
}

/// A whole file as JSON.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read(path)?;
    serde_json::from_str(&text).map_err(|error| {
        Error::malformed(format!("{}:{}", path.display(), error.line()), error.to_string())
    })
}

/// Every line of a file as JSON.
pub(crate) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read(path)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| {
                Error::malformed(format!("{}:{number}", path.display()), error.to_string())
            })
        })
        .collect()
}
