//! Where a suite's files are: in the folder that is named, or in one that the benchmark's publishers
//! made inside it.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Where a suite's files lie as they are published, and where they come from.
pub(crate) struct Home {
    /// The suite.
    pub(crate) suite: &'static str,
    /// Folders inside the one that is named, the first one as we put it; `""` is that folder itself.
    pub(crate) places: &'static [&'static str],
    /// Where they come from, with their licence.
    pub(crate) origin: &'static str,
}

impl Home {
    /// The first of the places in `data` that holds a file of this kind, or that `wanted` is missing.
    pub(crate) fn find(
        &self,
        data: &Path,
        wanted: &str,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<PathBuf> {
        let mut folders = self.places.iter().map(|place| data.join(place));
        let found = folders.find(|folder| names(folder).iter().any(|name| is_ours(name)));
        found.ok_or_else(|| self.missing(data, &data.join(self.places[0]), wanted))
    }

    /// That a file is missing which belongs into this folder.
    pub(crate) fn missing(&self, data: &Path, folder: &Path, wanted: &str) -> Error {
        Error::NoData {
            suite: self.suite,
            folder: data.to_owned(),
            wanted: wanted.to_owned(),
            place: plain(&folder.join(wanted)),
            origin: self.origin,
        }
    }
}

/// Without what `..` takes back.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir && plain.file_name().is_some() {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_with_the_place_where_it_belongs() {
        let home = Home { suite: "adding", places: &["add/test", ""], origin: "https://x" };
        let data = tempfile::tempdir().unwrap();
        let error = home.find(data.path(), "sums.csv", |_| true).unwrap_err();
        let here = data.path().display();
        assert_eq!(error.to_string(), format!("there is no `sums.csv` of `adding` in `{here}`"));
        assert!(error.hint().unwrap().contains(&format!("`{here}/add/test/sums.csv`")));
        let beside = home.missing(data.path(), &data.path().join("add/test/.."), "dev/a.csv");
        assert!(beside.hint().unwrap().contains(&format!("`{here}/add/dev/a.csv`")));
        fs::write(data.path().join("sums.csv"), "1,2").unwrap();
        assert_eq!(home.find(data.path(), "sums.csv", |_| true).unwrap(), data.path().join(""));
    }
}
