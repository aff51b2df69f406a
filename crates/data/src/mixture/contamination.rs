//! Contamination: records that share a run of 13 words with the texts that a model will be tested on.
//!
//! What a run of words is stands in [`crate::overlap`]. Every text of a record counts by itself; one of
//! fewer than 13 words overlaps with nothing. What a task says around each record (the definition and the
//! positive examples of Super-NI) counts for all of them, whatever a template shows of it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::overlap::{for_each_run, records, strings, texts};
use crate::task::{Raw, Task, expand};
use crate::{Mixture, Origin, Result};

/// Records that are named of each task.
const SHOWN: usize = 3;

/// All runs of 13 words of some texts.
#[derive(Clone, Debug, Default)]
pub struct Overlap {
    runs: HashSet<u64>,
    without: Vec<PathBuf>,
}

/// What of a task is found in the texts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contamination {
    /// The task.
    pub task: String,
    /// Its records.
    pub records: usize,
    /// Of these, those that share a run with the texts: all, if what is said around each of them does.
    pub overlapping: usize,
    /// Those that share a run by their own text.
    pub own: usize,
    /// What of the task's own words shares a run: `definition`, `positive example 2`.
    pub shared: Vec<String>,
    /// The first of those that share one by their own text.
    pub first: Vec<Origin>,
}

impl Overlap {
    /// The runs of all texts in some files: JSON, JSON lines, Parquet, or whatever has lines. Patterns and
    /// folders stand for several.
    ///
    /// # Errors
    /// If one cannot be read, or is no text.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(expand(path)?);
        }
        let found: Result<Vec<HashSet<u64>>> = files.par_iter().map(|file| of_file(file)).collect();
        let found: Vec<_> = files.into_iter().zip(found?).collect();
        let without = found.iter().filter(|(_, runs)| runs.is_empty());
        let without = without.map(|(file, _)| file.clone()).collect();
        Ok(Self { runs: found.into_iter().flat_map(|(_, runs)| runs).collect(), without })
    }

    /// The files that have no run at all: nothing can overlap with them.
    pub fn without_runs(&self) -> &[PathBuf] {
        &self.without
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether a text shares a run with them.
    fn is_in(&self, text: &str) -> bool {
        for_each_run(text, &mut |run| self.runs.contains(&run))
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
        let shared = task.shared_texts().into_iter().filter(|(_, text)| self.is_in(text));
        let mut shared: Vec<String> = shared.map(|(name, _)| name).collect();
        // Each part of an example has its name.
        shared.dedup();
        let found = (0..records).into_par_iter().filter_map(|record| match task.raw(record) {
            Ok((origin, raw)) => texts_of(raw, &mut |text| self.is_in(text)).then_some(Ok(origin)),
            Err(error) => Some(Err(error)),
        });
        let mut first = found.collect::<Result<Vec<_>>>()?;
        let own = first.len();
        let overlapping = if shared.is_empty() { own } else { records };
        first.truncate(SHOWN);
        let task = task.name().to_owned();
        Ok(Contamination { task, records, overlapping, own, shared, first })
    }
}

/// The runs of a file.
fn of_file(path: &Path) -> Result<HashSet<u64>> {
    let mut runs = HashSet::new();
    let mut add = |text: &str| {
        for_each_run(text, &mut |run| {
            runs.insert(run);
            false
        })
    };
    records(path, &mut |some| {
        for (_, record) in some {
            record.texts(&mut add);
        }
    })?;
    Ok(runs)
}

/// Asks about every text of a record, until one is found.
fn texts_of(raw: Raw, ask: &mut dyn FnMut(&str) -> bool) -> bool {
    match raw {
        Raw::Bytes(bytes) => texts(&bytes, ask),
        Raw::Object(object) => strings(&Value::Object(object), ask),
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
        Overlap { runs, without: Vec::new() }
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
