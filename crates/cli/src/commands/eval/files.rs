//! What an evaluation leaves in its folder: `terms.json`, `answers.jsonl` and `results.json`.
//!
//! `terms.json` stands there from the beginning and says what is asked. A table and its answers stay until others
//! replace them: `answers.jsonl.partial` beside them tells that these are under way. The table comes last, so that
//! no table is ever beside the answers of another run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use albacore_eval::{Outcome, Results, Task, Terms, Unanswered};
use anyhow::Context;
use serde_json::{Value, json};

use crate::failure::{OrRefuse, Refusal, Result};

/// What was asked, and how.
const TERMS: &str = "terms.json";
/// The table.
const TABLE: &str = "results.json";

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

/// A table is no place for others' numbers if those of its models would be lost.
///
/// # Errors
/// Refused if a model of the folder's table is not among `models`.
pub(super) fn refuse_lost_models(folder: &Path, models: &[&str]) -> Result<()> {
    // A table that cannot be read has nothing to lose: the answers are in the journal.
    let Ok(text) = fs::read_to_string(folder.join(TABLE)) else { return Ok(()) };
    let Ok(before) = serde_json::from_str::<Results>(&text) else { return Ok(()) };
    let lost = before.rows.iter().map(|row| row.model.as_str());
    let lost: BTreeSet<_> = lost.filter(|model| !models.contains(model)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let lost: Vec<_> = lost.into_iter().map(|model| format!("`{model}`")).collect();
    let message = format!(
        "`{}` has the numbers of {}, which this command does not name",
        folder.display(),
        lost.join(", ")
    );
    let hint = "name them too, their answers are not asked again; or another folder: `--set run.name=NAME`";
    Err(Refusal::new(message, hint)).or_refuse()
}

/// Says what is asked from now on.
pub(super) fn begin(folder: &Path, terms: &Terms) -> Result<()> {
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

    /// Puts them in the place of those of before, whose table is gone first.
    pub(super) fn end(self) -> Result<()> {
        let Self { path, partial, out } = self;
        let table = path.with_file_name(TABLE);
        let remove = || if table.exists() { fs::remove_file(&table) } else { Ok(()) };
        out.into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .and_then(|()| remove())
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
    replace(folder, TABLE, &(serde_json::to_string_pretty(results)? + "\n"))
}

/// Writes a file; what was there stays until all of it is written.
fn replace(folder: &Path, name: &str, text: &str) -> Result<()> {
    let (path, partial) = (folder.join(name), folder.join(format!("{name}.partial")));
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, &path));
    Ok(written.with_context(|| cannot(&path))?)
}
