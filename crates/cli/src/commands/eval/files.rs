//! What an evaluation leaves in its folder: `terms.json`, `answers.jsonl` and `results.json`.
//!
//! `terms.json` stands there from the beginning and says what is asked. The table comes last, so that no table
//! is ever beside the answers or the terms of another run.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use albacore_eval::{Outcome, Results, Task, Terms, Unanswered};
use anyhow::Context;
use serde_json::{Value, json};

use crate::failure::{OrRefuse, Refusal, Result};

/// What was asked, and how.
const TERMS: &str = "terms.json";

/// A folder whose answers are to other questions is no place for these.
///
/// # Errors
/// Refused if it is one.
pub(super) fn refuse_other_terms(folder: &Path, terms: &Terms) -> Result<()> {
    let path = folder.join(TERMS);
    if !path.is_file() {
        return Ok(());
    }
    let place = path.display();
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{place}`")).or_refuse()?;
    let before = serde_json::from_str(&text).map_err(|error| {
        Refusal::new(format!("`{place}`: {error}"), "give this evaluation another `run.name`")
    });
    let differences = terms.differences(&before.or_refuse()?);
    if differences.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`{}` holds an evaluation on other terms: {}",
        folder.display(),
        differences.join("; ")
    );
    let hint = "give this one a folder of its own: `--set run.name=NAME`, or delete that one";
    Err(Refusal::new(message, hint)).or_refuse()
}

/// Says what is asked from now on; a table of before is gone until there is one again.
pub(super) fn begin(folder: &Path, terms: &Terms) -> Result<()> {
    for name in ["results.json", "answers.jsonl"] {
        let path = folder.join(name);
        if path.exists() {
            fs::remove_file(&path)
                .with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    replace(folder, TERMS, &(serde_json::to_string_pretty(terms)? + "\n"))
}

/// Every question with its answer and what that is worth, written as suites are done. The file is
/// complete or has another name.
pub(super) struct Answers {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
}

impl Answers {
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        let path = folder.join("answers.jsonl");
        let partial = folder.join("answers.jsonl.partial");
        let file = File::create(&partial).with_context(|| cannot(&path))?;
        Ok(Self { path, partial, out: BufWriter::new(file) })
    }

    /// What a model made of a suite.
    pub(super) fn append(&mut self, model: &str, task: &dyn Task, outcome: &Outcome) -> Result<()> {
        for line in lines(model, task, outcome) {
            writeln!(self.out, "{line}").with_context(|| cannot(&self.path))?;
        }
        Ok(self.out.flush().with_context(|| cannot(&self.path))?)
    }

    pub(super) fn end(self) -> Result<()> {
        let Self { path, partial, out } = self;
        out.into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(|| cannot(&path))?;
        Ok(())
    }
}

fn cannot(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

/// Every question of a suite, in the order of the examples.
pub fn lines(model: &str, task: &dyn Task, outcome: &Outcome) -> Vec<Value> {
    let place = |number: usize| {
        let example = &task.examples()[number];
        json!({
            "model": model, "suite": task.name(), "task": example.task, "id": example.id,
            "question": example.question.bare(), "references": example.references,
        })
    };
    let answered = outcome.answered.iter().map(|answered| {
        let mut line = place(answered.example);
        let one = (answered.raw.len() == 1).then(|| &answered.raw[0]);
        line["prompt"] = json!(answered.prompt);
        match one {
            Some(answer) => line["answer"] = json!(answer),
            None => line["answers"] = json!(answered.raw),
        }
        if !answered.options.is_empty() {
            line["options"] = json!(answered.options);
        }
        line["extracted"] = json!(answered.extracted);
        line["scores"] = json!(answered.scores);
        if answered.dropped > 0 {
            line["dropped_exemplars"] = json!(answered.dropped);
        }
        if answered.is_cut {
            line["is_cut"] = json!(true);
        }
        (answered.example, line)
    });
    let unanswered = outcome.unanswered.iter().map(|(&number, Unanswered { prompt, why })| {
        let mut line = place(number);
        line["prompt"] = json!(prompt);
        line["unanswered"] = json!(why);
        (number, line)
    });
    let mut lines: Vec<_> = answered.chain(unanswered).collect();
    lines.sort_by_key(|(number, _)| *number);
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Writes the table.
///
/// # Errors
/// If it cannot be written.
pub fn write_results(folder: &Path, results: &Results) -> Result<()> {
    replace(folder, "results.json", &(serde_json::to_string_pretty(results)? + "\n"))
}

/// Writes a file; what was there stays until all of it is written.
fn replace(folder: &Path, name: &str, text: &str) -> Result<()> {
    let (path, partial) = (folder.join(name), folder.join(format!("{name}.partial")));
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path));
    Ok(written.with_context(|| cannot(&path))?)
}
