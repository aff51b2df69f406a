//! Contamination: records that share a run of 13 words with the texts that a model will be tested on.
//!
//! What a run of words is stands in [`crate::overlap`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::overlap::{for_each_run, strings, texts};
use crate::task::{Raw, Task, expand};
use crate::{Error, Mixture, Origin, Result};

/// Records that are named of each task.
const SHOWN: usize = 3;

/// All runs of 13 words of some texts.
#[derive(Clone, Debug, Default)]
pub struct Overlap(HashSet<u64>);

/// What of a task is found in the texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contamination {
    /// The task.
    pub task: String,
    /// Its records.
    pub records: usize,
    /// Of these, those that share a run with the texts.
    pub overlapping: usize,
    /// The first of these.
    pub first: Vec<Origin>,
}

impl Overlap {
    /// The runs of all texts in some files: JSON, JSON lines, or whatever has lines. Patterns and folders
    /// stand for several.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(expand(path)?);
        }
        let found: Result<Vec<HashSet<u64>>> =
            files.par_iter().map(|file| Self::of_file(file)).collect();
        Ok(Self(found?.into_iter().flatten().collect()))
    }

    fn of_file(path: &Path) -> Result<HashSet<u64>> {
        let bytes = std::fs::read(path).map_err(|error| Error::read(path, error))?;
        let mut runs = HashSet::new();
        let mut add = |text: &str| {
            for_each_run(text, &mut |run| {
                runs.insert(run);
                false
            })
        };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => {
                strings(&value, &mut add);
            }
            Err(_) => {
                for line in bytes.split(|byte| *byte == b'\n') {
                    texts(line, &mut add);
                }
            }
        }
        Ok(runs)
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a text shares a run with them.
    fn is_in(&self, text: &str) -> bool {
        for_each_run(text, &mut |run| self.0.contains(&run))
    }

    /// What of a mixture's tasks is found in the texts.
    ///
    /// # Errors
    /// If a file of a task cannot be read.
    pub fn with(&self, mixture: &Mixture) -> Result<Vec<Contamination>> {
        mixture.tasks().par_iter().map(|task| self.with_task(task)).collect()
    }

    fn with_task(&self, task: &Task) -> Result<Contamination> {
        let records = task.records();
        let found = (0..records).into_par_iter().filter_map(|record| match task.raw(record) {
            Ok((origin, raw)) => {
                let mut is_in = |text: &str| self.is_in(text);
                let shared = match raw {
                    Raw::Bytes(bytes) => texts(&bytes, &mut is_in),
                    Raw::Object(object) => strings(&Value::Object(object), &mut is_in),
                };
                shared.then_some(Ok(origin))
            }
            Err(error) => Some(Err(error)),
        });
        let mut first = found.collect::<Result<Vec<_>>>()?;
        let overlapping = first.len();
        first.truncate(SHOWN);
        Ok(Contamination { task: task.name().to_owned(), records, overlapping, first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(text: &str) -> Overlap {
        let mut runs = HashSet::new();
        for_each_run(text, &mut |run| {
            runs.insert(run);
            false
        });
        Overlap(runs)
    }

    #[test]
    fn thirteen_words_in_a_row_are_an_overlap_and_twelve_are_not() {
        let words: Vec<_> = (0..20).map(|number| format!("w{number}")).collect();
        let test = overlap(&words.join(" "));
        assert_eq!(test.len(), 8);
        assert!(test.is_in(&format!("Before, {}! After", words[4..17].join(", ").to_uppercase())));
        assert!(!test.is_in(&format!("{} other {}", words[..12].join(" "), words[12..].join(" "))));
        assert!(!test.is_in(&words[..12].join(" ")));
    }

    #[test]
    fn a_run_never_reaches_from_one_text_into_the_next() {
        let value = serde_json::json!({"a": "1 2 3 4 5 6", "b": ["7 8 9 10 11 12 13"]});
        let test = overlap("1 2 3 4 5 6 7 8 9 10 11 12 13");
        assert!(!strings(&value, &mut |text| test.is_in(text)));
    }
}
