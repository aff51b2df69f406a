//! Which questions of suites stand in what a model was trained on.
//!
//! ```text
//!  suites ─► Questions ─ training files ─► Contamination ─► a table; contamination.json, contamination.jsonl
//! ```
//! A question is found if a record shares 13 words in a row with it or with one of its right answers. The
//! exemplars before it do not count: they are of the benchmark's own training part.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::{Origin, Questions, RUN_WORDS};
use albacore_eval::Task;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::failure::{OrRefuse, Result};
use crate::progress::count;

/// The table's file in the folder of an evaluation.
pub const CONTAMINATION: &str = "contamination.json";
/// Tasks that are shown of a suite unless all are wanted.
const SHOWN: usize = 20;

/// What of some suites is found in training files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contamination {
    /// Words in a row that a record and a question share.
    pub words: usize,
    /// The training files.
    pub files: Vec<PathBuf>,
    /// Their records.
    pub records: usize,
    /// What of each task is found.
    pub tasks: Vec<OfTask>,
    /// The questions that are found, with a record of each.
    #[serde(skip)]
    pub found: Vec<Found>,
}

/// What of a task is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OfTask {
    pub suite: String,
    pub task: String,
    /// Questions that are asked.
    pub questions: usize,
    /// Of these, those that are found.
    pub found: usize,
    /// Of these, those that are too short to be found.
    pub too_short: usize,
}

/// A question that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Found {
    pub suite: String,
    pub task: String,
    pub id: String,
    pub record: Origin,
}

impl Contamination {
    /// Looks for the examples of these numbers of each suite.
    ///
    /// # Errors
    /// Refused if a file cannot be read.
    pub fn of(suites: &[(&dyn Task, &[usize])], files: &[PathBuf]) -> Result<Self> {
        let all = || {
            let all = suites.iter().flat_map(|(task, numbers)| numbers.iter().map(|n| (*task, *n)));
            all.filter(|(task, number)| !task.repeats(*number))
        };
        let mut questions = Questions::default();
        for (place, (task, number)) in (0..).zip(all()) {
            let example = &task.examples()[number];
            questions.add(place, &example.question.tail);
            example.references.iter().for_each(|text| questions.add(place, text));
        }
        let overlapping = questions.find_in(files).or_refuse()?;
        let mut tasks: Vec<OfTask> = Vec::new();
        let mut places = BTreeMap::new();
        let mut found = Vec::new();
        for (place, (task, number)) in (0..).zip(all()) {
            let example = &task.examples()[number];
            let of = *places.entry((task.name(), &example.task)).or_insert_with(|| {
                let (suite, task) = (task.name().to_owned(), example.task.clone());
                tasks.push(OfTask { suite, task, ..OfTask::default() });
                tasks.len() - 1
            });
            tasks[of].questions += 1;
            tasks[of].too_short += usize::from(questions.is_too_short(place));
            if let Some(record) = overlapping.first.get(&place) {
                tasks[of].found += 1;
                let (suite, record) = (task.name().to_owned(), record.clone());
                let (task, id) = (example.task.clone(), example.id.clone());
                found.push(Found { suite, task, id, record });
            }
        }
        let (files, records) = (files.to_vec(), overlapping.records);
        Ok(Self { words: RUN_WORDS, files, records, tasks, found })
    }

    /// Writes the table, and the ids that are found into `contamination.jsonl`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let lines = self.found.iter().map(|found| {
            let Found { suite, task, id, record } = found;
            json!({ "suite": suite, "task": task, "id": id, "record": record.to_string() })
        });
        let lines: String = lines.map(|line| format!("{line}\n")).collect();
        let table = serde_json::to_string_pretty(self)? + "\n";
        for (name, text) in [("contamination.jsonl", lines), (CONTAMINATION, table)] {
            let (path, partial) = (folder.join(name), folder.join(format!("{name}.partial")));
            fs::write(&partial, text)
                .and_then(|()| fs::rename(&partial, &path))
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(())
    }

    /// Removes what an evaluation's folder holds of another check.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn remove(folder: &Path) -> Result<()> {
        for name in ["contamination.jsonl", CONTAMINATION] {
            let path = folder.join(name);
            if path.exists() {
                let removed = fs::remove_file(&path);
                removed.with_context(|| format!("cannot remove `{}`", path.display()))?;
            }
        }
        Ok(())
    }

    /// What an evaluation's folder holds of it.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(CONTAMINATION);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let read = serde_json::from_slice(&text);
        Ok(Some(read.with_context(|| format!("`{}` is none of ours", path.display()))?))
    }

    /// All suites' numbers: questions, those found, those too short.
    pub fn total(&self) -> [usize; 3] {
        let sum = |of: fn(&OfTask) -> usize| self.tasks.iter().map(of).sum();
        [sum(|task| task.questions), sum(|task| task.found), sum(|task| task.too_short)]
    }

    /// In a sentence.
    pub fn about(&self) -> String {
        let [questions, found, too_short] = self.total();
        let mut text = format!(
            "{} of {} questions share {} words in a row with one of {} training records",
            count(found),
            count(questions),
            self.words,
            count(self.records)
        );
        if too_short > 0 {
            text += &format!("; {} are too short to tell", count(too_short));
        }
        text
    }

    /// For people: a line a task of which something is found.
    pub fn table(&self) -> String {
        let mut text = self.about() + "\n";
        let bad: Vec<_> = self.tasks.iter().filter(|task| task.found > 0).collect();
        for OfTask { suite, task, questions, found, .. } in bad.iter().take(SHOWN) {
            let name = if task == suite { suite.clone() } else { format!("{suite}/{task}") };
            let _ = writeln!(text, "  {name}: {} of {}", count(*found), count(*questions));
        }
        if bad.len() > SHOWN {
            let _ = writeln!(text, "  and {} tasks more", count(bad.len() - SHOWN));
        }
        text
    }
}
