//! The suites by name.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::bbh::Bbh;
use crate::gsm8k::Gsm8k;
use crate::lmentry::Lmentry;
use crate::mgsm::Mgsm;
use crate::mmlu::Mmlu;
use crate::super_ni::SuperNi;
use crate::tydiqa::TydiQa;
use crate::user_oriented::UserOriented;
use crate::vicuna::Vicuna;
use crate::{Error, Example, Result, Task};

/// What is wanted of a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuiteOptions {
    /// Exemplars before each question. Default: as the suite's rule says.
    pub shots: Option<usize>,
    /// Some of its tasks. Default: all.
    pub tasks: Vec<String>,
    /// More wordings of each task's definition, for suites that have definitions: a file.
    pub paraphrases: Option<PathBuf>,
    /// Every example, where the rule takes the first of each task only.
    pub whole: bool,
}

impl SuiteOptions {
    /// Those of `names` that are wanted.
    pub(crate) fn chosen(
        &self,
        suite: &'static str,
        folder: &Path,
        names: Vec<String>,
    ) -> Result<Vec<String>> {
        if self.tasks.is_empty() {
            return Ok(names);
        }
        if let Some(task) = self.tasks.iter().find(|task| !names.contains(task)) {
            return Err(Error::Task { suite, task: task.clone(), folder: folder.to_owned() });
        }
        // In the order of the suite, whatever theirs is.
        Ok(names.into_iter().filter(|name| self.tasks.contains(name)).collect())
    }
}

/// Opens a suite from its files.
type Open = fn(&Path, &SuiteOptions) -> Result<Box<dyn Task>>;

/// Every suite, and what it asks.
const SUITES: [(&str, &str, Open); 11] = [
    (
        "super_ni",
        "Super-NaturalInstructions: definition and 2 positive examples",
        |data, options| Ok(Box::new(SuperNi::open(data, options)?)),
    ),
    ("mmlu", "57 subjects, 5 exemplars, the most probable of A to D", |data, options| {
        Ok(Box::new(Mmlu::open(data, options, false)?))
    }),
    ("mmlu_cot", "the same, reasoned out", |data, options| {
        Ok(Box::new(Mmlu::open(data, options, true)?))
    }),
    ("bbh", "BIG-Bench Hard, 3 exemplars, answered at once", |data, options| {
        Ok(Box::new(Bbh::open(data, options, false)?))
    }),
    ("bbh_cot", "the same, reasoned out", |data, options| {
        Ok(Box::new(Bbh::open(data, options, true)?))
    }),
    ("gsm8k", "grade school mathematics, 8 exemplars, reasoned out", |data, options| {
        Ok(Box::new(Gsm8k::open(data, options)?))
    }),
    (
        "mgsm",
        "problems of GSM8K in 10 languages, reasoned out in each; English by `mgsm/en`",
        |data, options| Ok(Box::new(Mgsm::open(data, options)?)),
    ),
    (
        "lmentry",
        "LMentry: 25 elementary tasks, by patterns; robustness with all 41 files",
        |data, options| Ok(Box::new(Lmentry::open(data, options)?)),
    ),
    ("user_oriented", "252 tasks of users (Self-Instruct), by ROUGE-L", |data, options| {
        // It has no parts to be named.
        options.chosen("user_oriented", data, Vec::new())?;
        Ok(Box::new(UserOriented::open(data)?))
    }),
    (
        "tydiqa",
        "TyDi QA, gold passages in 8 languages, 1 exemplar; English by `tydiqa/english`",
        |data, options| Ok(Box::new(TydiQa::open(data, options)?)),
    ),
    ("vicuna", "80 open questions in 9 categories, for `albacore eval judge`", |data, options| {
        Ok(Box::new(Vicuna::open(data, options)?))
    }),
];

/// The suites, each with what it asks.
pub fn suites() -> impl Iterator<Item = (&'static str, &'static str)> {
    SUITES.iter().map(|(name, about, _)| (*name, *about))
}

/// Opens the suite of this name, or one of its tasks by `SUITE/TASK`, from the folder `data`.
///
/// # Errors
/// If there is none of this name, its files are missing or malformed, or two examples of a task have one id.
pub fn open_suite(name: &str, data: &Path, options: &SuiteOptions) -> Result<Box<dyn Task>> {
    let (suite, task) = match name.split_once('/') {
        Some((suite, task)) => (suite, Some(task.to_owned())),
        None => (name, None),
    };
    let Some((_, _, open)) = SUITES.iter().find(|(known, ..)| *known == suite) else {
        let known = suites().map(|(name, _)| name).collect();
        return Err(Error::Suite { name: name.to_owned(), known });
    };
    let tasks = task.map_or_else(|| options.tasks.clone(), |task| vec![task]);
    let task = open(data, &SuiteOptions { tasks, ..options.clone() })?;
    let mut ids = HashSet::new();
    let twice = task.examples().iter().find(|one| !ids.insert((&one.task, &one.id)));
    if let Some(Example { task: name, id, .. }) = twice {
        let (suite, folder) = (task.name(), data.to_owned());
        return Err(Error::Twice { suite, task: name.clone(), id: id.clone(), folder });
    }
    Ok(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_suite_is_refused_with_those_that_there_are() {
        let error = open_suite("mlmu", Path::new("."), &SuiteOptions::default()).err();
        let error = error.unwrap().to_string();
        assert!(
            error.starts_with("there is no suite `mlmu`, wanted one of `super_ni`, `mmlu`"),
            "{error}"
        );
    }

    #[test]
    fn files_that_are_missing_are_named_with_where_they_come_from() {
        let folder = tempfile::tempdir().unwrap();
        for (suite, _) in suites() {
            let error = open_suite(suite, folder.path(), &SuiteOptions::default()).err().unwrap();
            assert!(matches!(error, Error::NoData { .. }), "{suite}: {error}");
            assert!(error.hint().unwrap().contains("https://"), "{suite}");
        }
    }

    #[test]
    fn an_id_that_stands_twice_is_told_when_the_suite_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let instance = r#"{"id": "t-1", "input": "One", "output": ["1"]}"#;
        let text = format!(
            r#"{{"Categories": ["Other"], "Definition": "Say", "Positive Examples": [],
                "Instances": [{instance}, {instance}]}}"#
        );
        std::fs::write(folder.path().join("task1_what.json"), text).unwrap();
        let options = SuiteOptions::default();
        let error = open_suite("super_ni", folder.path(), &options).err().unwrap().to_string();
        assert!(
            error.starts_with("the id `t-1` stands twice in the task `task1_what` of"),
            "{error}"
        );
    }

    #[test]
    fn some_tasks_of_a_suite_are_opened_together() {
        let folder = tempfile::tempdir().unwrap();
        for subject in ["anatomy", "astronomy", "virology"] {
            let path = folder.path().join(format!("{subject}_test.csv"));
            std::fs::write(path, "Who?,a,b,c,d,A\n").unwrap();
        }
        let open = |tasks: &[&str]| {
            let tasks = tasks.iter().map(|&task| task.to_owned()).collect();
            open_suite(
                "mmlu",
                folder.path(),
                &SuiteOptions { tasks, shots: Some(0), ..SuiteOptions::default() },
            )
        };
        let both = open(&["virology", "anatomy"]).unwrap();
        let ids: Vec<_> = both.examples().iter().map(|example| &*example.id).collect();
        assert_eq!(ids, ["anatomy/0", "virology/0"]);
        let error = open(&["anatomy", "logic"]).err().unwrap().to_string();
        assert!(error.starts_with("`mmlu` has no task `logic`"), "{error}");
    }
}
