//! Where benchmarks are published, and what their authors ask of those who use them.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::{OrRefuse, Refusal, Result};
use crate::terminal::Terminal;

/// The list that comes along.
const LIST: &str = include_str!("benchmarks.toml");

/// A benchmark as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The suite that reads it.
    pub name: String,
    /// What it is.
    pub about: String,
    /// The terms of its files, as far as its authors state any.
    pub licence: String,
    /// Where people read about it.
    pub home: String,
    /// What is not to be trained on.
    pub note: String,
    /// Its files, by where they come from.
    pub parts: Vec<Part>,
}

/// Files that lie together.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Where they are, without their names: an address that a commit pins.
    pub url: String,
    /// Where they go, inside the folder with all benchmarks: where the suite looks for them.
    pub folder: PathBuf,
    /// The files.
    pub files: Vec<Published>,
}

/// A file as it is published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Its size, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    benchmark: Vec<Benchmark>,
}

/// The benchmarks of a list, or of the one that comes along.
///
/// # Errors
/// Refused if the list cannot be read, or a file of it would lie outside of the folder with all
/// benchmarks.
pub fn benchmarks(list: Option<&Path>) -> Result<Vec<Benchmark>> {
    let name = list.map_or("the list of benchmarks".to_owned(), |path| path.display().to_string());
    let refuse = |message: String| {
        let hint = "`albacore data list --json` shows the fields of the list that comes along";
        Refusal::new(format!("`{name}`: {message}"), hint)
    };
    let text = match list {
        Some(path) => {
            fs::read_to_string(path).map_err(|error| refuse(error.to_string())).or_refuse()?
        }
        None => LIST.to_owned(),
    };
    let List { benchmark } =
        toml::from_str(&text).map_err(|error| refuse(error.to_string())).or_refuse()?;
    let parts = || benchmark.iter().flat_map(|benchmark| &benchmark.parts);
    let paths = parts().flat_map(|part| part.files.iter().map(|file| part.folder.join(&file.name)));
    let is_inside = |path: &PathBuf| {
        path.components().all(|component| matches!(component, Component::Normal(_)))
    };
    match paths.into_iter().find(|path| !is_inside(path)) {
        Some(path) => {
            Err(refuse(format!("`{}` leads out of the folder", path.display()))).or_refuse()
        }
        None => Ok(benchmark),
    }
}

/// Says once for each benchmark what its authors ask of those who measure with it.
///
/// # Errors
/// None of the list that comes along.
pub fn tell_notes<'s>(suites: impl Iterator<Item = &'s str>, terminal: &Terminal) -> Result<()> {
    let known = benchmarks(None)?;
    let mut told: Vec<&str> = Vec::new();
    for suite in suites {
        let name = suite.split('/').next().unwrap_or(suite);
        let name = name.strip_suffix("_cot").unwrap_or(name);
        let found = known.iter().find(|benchmark| benchmark.name == name);
        if let Some(Benchmark { name, note, .. }) = found
            && !told.contains(&name.as_str())
        {
            terminal.note(&format!("{name}: {note}"));
            told.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_can_be_had_and_every_checksum_is_one() {
        let known = benchmarks(None).unwrap();
        for (suite, _) in albacore_eval::suites() {
            let name = suite.strip_suffix("_cot").unwrap_or(suite);
            let found = known.iter().filter(|benchmark| benchmark.name == name).count();
            assert_eq!(found, 1, "{suite}");
        }
        for Benchmark { name, licence, note, parts, .. } in &known {
            assert!(!licence.is_empty() && !note.is_empty(), "{name}");
            for Part { url, files, .. } in parts {
                assert!(url.starts_with("https://") && !files.is_empty(), "{url}");
                for file in files.iter().filter_map(|file| file.sha256.as_ref()) {
                    assert!(file.len() == 64 && file.bytes().all(|b| b.is_ascii_hexdigit()));
                }
            }
        }
    }

    #[test]
    fn no_list_may_write_outside_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.toml");
        let list = |inside: &str, name: &str| {
            let text = format!(
                "[[benchmark]]\nname = \"a\"\nabout = \"a\"\nlicence = \"a\"\nhome = \"a\"\nnote = \"a\"\n\
                 [[benchmark.parts]]\nurl = \"http://a\"\nfolder = \"{inside}\"\nfiles = [{{ name = \"{name}\" }}]\n"
            );
            fs::write(&path, text).unwrap();
            benchmarks(Some(&path))
        };
        assert_eq!(list("a/b", "c.json").unwrap().len(), 1);
        for (inside, name) in [("..", "c"), ("a", "../../c"), ("/etc", "c"), ("a", "/etc/c")] {
            assert!(list(inside, name).is_err(), "{inside} {name}");
        }
    }
}
