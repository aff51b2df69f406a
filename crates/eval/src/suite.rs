//! The suites by name.

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
use crate::{Error, Result, Task};

/// What is wanted of a suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuiteOptions {
    /// Exemplars before each question. Default: as the suite's rule says.
    pub shots: Option<usize>,
    /// One of its tasks. Default: all.
    pub task: Option<String>,
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
        let Some(task) = &self.task else { return Ok(names) };
        if names.contains(task) {
            return Ok(vec![task.clone()]);
        }
        Err(Error::Task { suite, task: task.clone(), folder: folder.to_owned() })
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
        |data, options| Ok(Box::new(Lmentry::open(data, options.task.as_deref(), false)?)),
    ),
    ("user_oriented", "252 tasks of users (Self-Instruct), by ROUGE-L", |data, options| {
        // It has no parts to be named.
        options.chosen("user_oriented", data, Vec::new())?;
        Ok(Box::new(UserOriented::open(data)?))
    }),
    (
        "tydiqa",
        "TyDi QA, gold passages in 8 languages, 1 exemplar; English by `tydiqa/english`",
        |data, options| {
            let shots = options.shots.unwrap_or(1);
            Ok(Box::new(TydiQa::open(data, options.task.as_deref(), shots)?))
        },
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
/// If there is none of this name, or its files are missing or malformed.
pub fn open_suite(name: &str, data: &Path, options: &SuiteOptions) -> Result<Box<dyn Task>> {
    let (suite, task) = match name.split_once('/') {
        Some((suite, task)) => (suite, Some(task.to_owned())),
        None => (name, None),
    };
    let Some((_, _, open)) = SUITES.iter().find(|(known, ..)| *known == suite) else {
        let known = suites().map(|(name, _)| name).collect();
        return Err(Error::Suite { name: name.to_owned(), known });
    };
    open(data, &SuiteOptions { task: task.or_else(|| options.task.clone()), ..options.clone() })
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
}
