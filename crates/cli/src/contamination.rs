//! Which questions of suites stand in what a model was trained on.
//!
//! ```text
//!  suites ─► Questions ─ training files ─► Contamination ─► a table; contamination.json, contamination.jsonl
//! ```
//! A question is found if a record shares 13 words in a row with one of its texts, as the benchmark has them
//! (the question, its input, its options), or with one of its right answers. What a prompt puts around them
//! does not count, nor do exemplars or a prefix: whether a question is found does not depend on how it is asked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::{Error, Origin, Questions, RUN_WORDS};
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
/// Files that are named in a sentence.
const NAMED: usize = 3;

/// What of some suites is found in training files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Contamination {
    /// Words in a row that a record and a question share.
    pub words: usize,
    /// The training files.
    pub files: Vec<PathBuf>,
    /// Their records.
    pub records: usize,
    /// Files in which nothing can be found: no text of them is long enough.
    #[serde(default)]
    pub without_text: Vec<PathBuf>,
    /// Why files were not looked through.
    #[serde(default)]
    pub unread: Vec<String>,
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
        let (found, mut unread) = Self::as_far_as_read(suites, files);
        if unread.is_empty() { Ok(found) } else { Err(unread.swap_remove(0)).or_refuse() }
    }

    /// Looks for them in the files that can be read; with the reasons why others cannot.
    pub fn as_far_as_read(
        suites: &[(&dyn Task, &[usize])],
        files: &[PathBuf],
    ) -> (Self, Vec<Error>) {
        let all = || {
            let all = suites.iter().flat_map(|(task, numbers)| numbers.iter().map(|n| (*task, *n)));
            all.filter(|(task, number)| !task.repeats(*number))
        };
        let mut questions = Questions::default();
        for (place, (task, number)) in (0..).zip(all()) {
            let example = &task.examples()[number];
            let texts = example.texts.iter().chain(&example.references);
            texts.for_each(|text| questions.add(place, text));
        }
        let overlapping = questions.find_in(files);
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
        let (files, records, without_text) =
            (files.to_vec(), overlapping.records, overlapping.without);
        let unread = overlapping.unread.iter().map(Error::to_string).collect();
        let words = RUN_WORDS;
        (Self { words, files, records, without_text, unread, tasks, found }, overlapping.unread)
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
        if !self.without_text.is_empty() {
            let files = self.without_text.iter().take(NAMED);
            let mut files: Vec<_> = files.map(|file| format!("`{}`", file.display())).collect();
            let more = self.without_text.len() - files.len();
            files.extend((more > 0).then(|| format!("{} more", count(more))));
            let words = self.words;
            text += &format!("; no text in {} has {words} words to look for", files.join(", "));
        }
        if !self.unread.is_empty() {
            text += &format!("; not looked through: {}", count(self.unread.len()));
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

#[cfg(test)]
mod tests {
    use albacore_eval::{Mmlu, Prefixed, SuiteOptions, SuperNi};

    use super::*;

    fn words(range: std::ops::Range<usize>) -> String {
        range.map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ")
    }

    fn of(task: &dyn Task, file: &Path) -> [usize; 3] {
        let all: Vec<_> = (0..task.examples().len()).collect();
        Contamination::of(&[(task, &all)], &[file.to_owned()]).unwrap().total()
    }

    #[test]
    fn a_question_in_its_own_record_is_found_or_too_short() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("test")).unwrap();
        // The second is long enough only with the words and the letters of a prompt, the third by an option.
        let rows = [
            [words(0..13), "a".into(), "b".into(), "c".into(), "d".into()],
            [words(20..28), "a".into(), "b".into(), "c".into(), "d".into()],
            ["Which?".into(), words(40..53), "b".into(), "c".into(), "d".into()],
        ];
        let csv: String = rows.iter().map(|row| format!("{},A\n", row.join(","))).collect();
        fs::write(folder.path().join("test/anatomy_test.csv"), csv).unwrap();
        let line = |row: &[String; 5]| json!({"question": row[0], "choices": row[1..]});
        let raw: String = rows.iter().map(|row| format!("{}\n", line(row))).collect();
        let train = folder.path().join("train.jsonl");
        fs::write(&train, raw).unwrap();
        for reasons in [false, true] {
            let options = SuiteOptions { shots: Some(0), ..SuiteOptions::default() };
            let suite = Mmlu::open(folder.path(), &options, reasons).unwrap();
            assert_eq!(of(&suite, &train), [3, 2, 1]);
        }
    }

    #[test]
    fn what_is_found_does_not_depend_on_how_it_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let instance = |id: &str, input: String| json!({"id": id, "input": input, "output": ["x"]});
        let task = json!({
            "Categories": ["C"], "Definition": [words(100..120)],
            "Positive Examples": [{"input": words(200..220), "output": "y"}],
            "Instances": [instance("a", words(0..20)), instance("b", words(20..29))],
        });
        fs::write(folder.path().join("task1_x.json"), task.to_string()).unwrap();
        let [definition, own] = ["definition.txt", "own.txt"].map(|name| folder.path().join(name));
        fs::write(&definition, format!("{}\n{}\n", words(100..120), words(200..220))).unwrap();
        fs::write(&own, words(0..40)).unwrap();
        let prefix = [words(300..320)];
        for shots in [None, Some(0)] {
            let open = || {
                let options = SuiteOptions { shots, ..SuiteOptions::default() };
                SuperNi::open(folder.path(), &options).unwrap()
            };
            let prefixed = Prefixed::new(Box::new(open()), &prefix);
            for suite in [&open() as &dyn Task, &prefixed] {
                assert_eq!(of(suite, &definition), [2, 0, 1]);
                assert_eq!(of(suite, &own), [2, 1, 1]);
            }
        }
    }

    #[test]
    fn files_that_say_nothing_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        fs::write(here("tokens.jsonl"), "{\"input_ids\": [1, 2]}\n").unwrap();
        fs::write(here("ids.bin"), [0; 8]).unwrap();
        let files = ["tokens.jsonl", "ids.bin"].map(here);
        let (found, unread) = Contamination::as_far_as_read(&[], &files);
        assert!(found.about().contains("tokens.jsonl` has 13 words"), "{}", found.about());
        assert!(found.about().ends_with("; not looked through: 1"), "{}", found.about());
        assert!(unread.len() == 1 && unread[0].to_string().contains("ids.bin"), "{unread:?}");
        assert!(matches!(Contamination::of(&[], &files), Err(crate::failure::Failure::Refused(_))));
        found.write(folder.path()).unwrap();
        let read = Contamination::read(folder.path()).unwrap();
        assert_eq!(read, Some(found));
    }
}
