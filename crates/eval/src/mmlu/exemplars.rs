//! Where the exemplars of MMLU come from, and the rows of its questions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Choice, LETTERS};
use crate::folder::{json, names};
use crate::{Error, Result};

const REASONS: &str = "A: Let's think step by step.";

/// Files that hold exemplars.
pub(super) enum Source {
    /// `dev/SUBJECT_dev.csv`.
    Dev(PathBuf),
    /// Tasks of Super-NaturalInstructions that were made of the `dev` files.
    SuperNi(PathBuf),
    /// One prompt a subject, the exemplars reasoned out.
    Reasoned(BTreeMap<String, String>, PathBuf),
}

impl Source {
    /// The best source inside a folder, if there is one; those that reason are in one file alone.
    pub(super) fn find(folder: &Path, reasons: bool) -> Result<Option<Self>> {
        let dev = folder.join("dev");
        if !reasons && names(&dev).iter().any(|name| name.ends_with("_dev.csv")) {
            return Ok(Some(Self::Dev(dev)));
        }
        let super_ni = folder.join("sni_form");
        if !reasons && super_ni.is_dir() {
            return Ok(Some(Self::SuperNi(super_ni)));
        }
        let path = folder.join("mmlu-cot.json");
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Self::Reasoned(json(&path)?, path)))
    }

    /// What a prompt that reasons begins with, if it is told here: the file has its own lines.
    pub(super) fn head(&self, subject: &str) -> Option<String> {
        let Self::Reasoned(prompts, _) = self else { return None };
        let (head, _) = prompts.get(subject)?.split_once("\n\nQ: ")?;
        Some(format!("{head}\n\n"))
    }

    /// The first exemplars of a subject, each as it stands in a prompt.
    pub(super) fn exemplars(
        &self,
        subject: &str,
        shots: usize,
        reasons: bool,
    ) -> Result<Vec<String>> {
        let direct = |choices: Vec<Choice>| {
            let choices = choices.into_iter().take(shots);
            choices.map(|choice| format!("{} {}\n\n", choice.direct(), choice.right)).collect()
        };
        match self {
            Self::Dev(folder) => {
                read_questions(&folder.join(format!("{subject}_dev.csv"))).map(direct)
            }
            Self::SuperNi(folder) => super_ni(folder, subject).map(direct),
            Self::Reasoned(prompts, path) => {
                let malformed = |message: String| Error::malformed(path.display(), message);
                let prompt = prompts
                    .get(subject)
                    .ok_or_else(|| malformed(format!("no prompt of the subject `{subject}`")))?;
                let parts = prompt.split("\n\nQ: ").skip(1);
                if reasons {
                    return Ok(parts
                        .take(shots)
                        .map(|part| format!("Q: {}\n\n", part.trim_end()))
                        .collect());
                }
                let choices = parts.map(|part| {
                    reasoned(part).ok_or_else(|| {
                        malformed(format!("an exemplar of `{subject}` cannot be read: `{part}`"))
                    })
                });
                Ok(direct(choices.collect::<Result<_>>()?))
            }
        }
    }
}

/// The rows of a file of questions.
pub(super) fn read_questions(path: &Path) -> Result<Vec<Choice>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_path(path)
        .map_err(|error| Error::malformed(path.display(), error.to_string()))?;
    let rows = reader.records().enumerate().map(|(index, row)| {
        let place = format!("{}:{}", path.display(), index + 1);
        let row = row.map_err(|error| Error::malformed(&place, error.to_string()))?;
        let row: Vec<_> = row.iter().map(str::to_owned).collect();
        let Ok([question, a, b, c, d, right]) = <[String; 6]>::try_from(row.clone()) else {
            let message =
                format!("{} columns, wanted a question, four answers and a letter", row.len());
            return Err(Error::malformed(place, message));
        };
        if !LETTERS.contains(&right.as_str()) {
            return Err(Error::malformed(place, format!("the answer is `{right}`, wanted A to D")));
        }
        Ok(Choice { question, answers: [a, b, c, d], right })
    });
    rows.collect()
}

#[derive(Deserialize)]
struct TaskFile {
    #[serde(rename = "Positive Examples")]
    positive: Vec<Positive>,
}

#[derive(Deserialize)]
struct Positive {
    input: String,
    output: String,
}

/// The exemplars of the task that was made of a subject.
fn super_ni(folder: &Path, subject: &str) -> Result<Vec<Choice>> {
    // The task of `miscellaneous` has another name.
    let subject = if subject == "miscellaneous" { "random_topic" } else { subject };
    let ending = format!("_mmmlu_answer_generation_{subject}.json");
    let found = names(folder).into_iter().find(|name| name.ends_with(&ending));
    let path = folder.join(found.unwrap_or(ending));
    let task: TaskFile = json(&path)?;
    let choices = task.positive.into_iter().map(|Positive { input, output }| {
        let (question, options) = input.rsplit_once("\n(A)")?;
        let answers = in_brackets(options)?;
        let right = output.trim().to_owned();
        Some(Choice { question: question.to_owned(), answers, right })
    });
    let choices = choices.collect::<Option<Vec<_>>>();
    choices
        .ok_or_else(|| Error::malformed(path.display(), "a positive example has no `(A)` to `(D)`"))
}

/// An exemplar that is reasoned out, without its reasons.
fn reasoned(part: &str) -> Option<Choice> {
    let (asked, reasons) = part.split_once(REASONS)?;
    let (question, options) = asked.trim_end().rsplit_once("\n(A)")?;
    let right = reasons.rsplit_once("answer is (")?.1.chars().next()?.to_string();
    let answers = in_brackets(options)?;
    Some(Choice { question: question.to_owned(), answers, right })
}

/// Four answers, of which the first stands without its `(A)`.
fn in_brackets(options: &str) -> Option<[String; 4]> {
    let (a, rest) = options.split_once("(B)")?;
    let (b, rest) = rest.split_once("(C)")?;
    let (c, d) = rest.split_once("(D)")?;
    Some([a, b, c, d].map(|answer| answer.trim().to_owned()))
}
