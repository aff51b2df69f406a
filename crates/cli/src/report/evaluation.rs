//! What an evaluation has come to: its sections of a page.
//!
//! ```text
//!  run folder ─► results.json, answers.jsonl ─► a section a suite: chart, table, differences; answers to read
//! ```

mod tables;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use albacore_data::Random;
use albacore_eval::{Difference, FEWEST_FOR_CLEAR, Part, Results, Row, Terms};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use self::tables::{by_part, chart, prompts, whole};
use super::{Cell, Page, Sample, Samples, Section, Table, contamination, facts, notice, paragraph};
use crate::contamination::{CONTAMINATION, Contamination};
use crate::failure::{OrRefuse, Refusal, Result};
use crate::progress::count;

/// Every question with its answer.
const ANSWERS: &str = "answers.jsonl";

/// Answers of each suite that are shown.
const SHOWN: usize = 6;

/// An evaluation.
#[derive(Debug)]
pub struct EvaluationRun {
    /// Its folder.
    pub path: PathBuf,
    /// Its name: that of its folder.
    pub name: String,
    /// The numbers.
    pub results: Results,
    lines: Lines,
    /// Prompts without some exemplars.
    dropped: usize,
    contamination: Option<Contamination>,
    /// Whether others are to replace these numbers, and have not yet.
    is_replaced: bool,
}

/// Where the answers to each suite stand: the number of the line from 0, and its first byte.
type Lines = BTreeMap<String, Vec<(usize, u64)>>;

/// What is read of every answer: the few that are shown are read again.
#[derive(Deserialize)]
struct Head {
    suite: String,
    dropped_exemplars: Option<usize>,
}

impl EvaluationRun {
    /// Whether there is one in this folder, complete or not.
    pub fn is_in(path: &Path) -> bool {
        ["results.json", "terms.json", CONTAMINATION].iter().any(|name| path.join(name).is_file())
    }

    /// Reads one.
    ///
    /// # Errors
    /// Refused if it is not complete, or one of its files is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let table = path.join("results.json");
        if !table.is_file() && !path.join("terms.json").is_file() {
            let message = format!("no model was asked in `{}`", path.display());
            let hint = format!(
                "what stands in training files is in its `{CONTAMINATION}`: a page is of models"
            );
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        if !table.is_file() {
            let message = format!("the evaluation in `{}` is not complete", path.display());
            let hint = "run its `albacore eval` again: it goes on after the last answer";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        let results = serde_json::from_str(&read(&table)?).map_err(|error| bad(&table, &error));
        let answers = path.join(ANSWERS);
        let (lines, dropped) = heads(&answers)?;
        let real = path.canonicalize().or_refuse()?;
        let name = real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned();
        let (path, results) = (path.to_owned(), results.or_refuse()?);
        let contamination = Contamination::read(&path).or_refuse()?;
        let is_replaced = path.join(format!("{ANSWERS}.partial")).is_file();
        Ok(Self { path, name, results, lines, dropped, contamination, is_replaced })
    }

    fn sections(&self, seed: u64) -> Result<Vec<Section>> {
        let mut first = vec![self.facts()];
        if self.is_replaced {
            first.push(notice(
                "These are the numbers of before: the last evaluation in this folder has not ended.",
            ));
        }
        for (model, why) in &self.results.unfinished {
            first.push(notice(&format!(
                "Not finished: {model} has not been asked all ({why}). The same command goes on with what is missing."
            )));
        }
        first.extend(self.results.terms.as_ref().map(terms));
        if !self.results.prompts.is_empty() {
            first.push(prompts(&self.results.prompts).markup());
        }
        if !self.results.differences.is_empty() {
            first.push(
                self.differences(&|part| *part == Part::Suite, "Models on whole suites").markup(),
            );
        }
        let suites = distinct(self.results.rows.iter().map(|row| &row.suite));
        let of_all = self.results.summaries.iter();
        let of_all = of_all.filter(|summary| !suites.contains(&summary.suite.as_str()));
        let mut together = Table::new("All suites together", &["", "model", "value"]);
        together.rows = of_all
            .map(|summary| {
                let name = format!("{} {}", summary.suite, summary.metric.replace('_', " "));
                vec![Cell::text(name), Cell::text(&summary.model), Cell::Number(summary.value, 1)]
            })
            .collect();
        if !together.rows.is_empty() {
            first.push(together.markup());
        }
        let glance = Section::new("At a glance", first);
        let suites = suites.into_iter().map(|suite| self.suite(suite, seed));
        let contamination = self.contamination.iter().map(contamination::section).map(Ok);
        std::iter::once(Ok(glance)).chain(contamination).chain(suites).collect()
    }

    fn facts(&self) -> Markup {
        let Results { seed, resamples, confidence, rows, .. } = &self.results;
        let whole = || rows.iter().filter(|row| row.part == Part::Suite && row.is_headline);
        let unanswered = whole().map(|row| row.unanswered).sum::<usize>();
        let models = distinct(rows.iter().map(|row| &row.model));
        let models =
            if self.results.models.is_empty() { models.len() } else { self.results.models.len() };
        facts(&[
            ("models", count(models)),
            ("suites", count(distinct(rows.iter().map(|row| &row.suite)).len())),
            ("answers", count(whole().map(|row| row.n).sum())),
            ("questions without an answer", count(unanswered)),
            ("prompts without some exemplars", count(self.dropped)),
            ("intervals", format!("{} %, {} draws", 100.0 * confidence, count(*resamples))),
            ("seed", seed.to_string()),
        ])
    }

    fn suite(&self, suite: &str, seed: u64) -> Result<Section> {
        let rows: Vec<_> = self.results.rows.iter().filter(|row| row.suite == suite).collect();
        let mut parts = vec![chart(&rows), whole(&rows).markup()];
        let summaries = self.results.summaries.iter().filter(|summary| summary.suite == suite);
        let summaries = summaries.map(|summary| {
            let value = Cell::Number(summary.value, 2);
            vec![Cell::text(&summary.metric), Cell::text(&summary.model), value]
        });
        let mut others = Table::new("Other numbers", &["", "model", "value"]);
        others.rows = summaries.collect();
        if !others.rows.is_empty() {
            parts.push(others.markup());
        }
        let is_category = |row: &&&Row| matches!(row.part, Part::Category(_));
        let is_task = |row: &&&Row| matches!(row.part, Part::Task(_));
        for (caption, is_shown) in
            [("By category", &is_category as &dyn Fn(&&&Row) -> bool), ("By task", &is_task)]
        {
            let of: Vec<_> = rows.iter().filter(is_shown).copied().collect();
            let Some(table) = by_part(caption, &of) else { continue };
            let is_long = table.rows.len() > 16;
            parts.push(if is_long {
                html! { details { summary { (caption) } (table.markup()) } }
            } else {
                table.markup()
            });
        }
        let mut section = Section::new(suite, parts);
        section.sections.push(self.samples(suite, seed)?);
        Ok(section)
    }

    fn differences(&self, is_shown: &dyn Fn(&Part) -> bool, caption: &str) -> Table {
        let columns =
            ["suite", "metric", "first", "second", "second − first", "interval", "questions", ""];
        let mut table = Table::new(caption, &columns);
        let all = self.results.differences.iter().filter(|one| is_shown(&one.part));
        let row = |one: &Difference| {
            let clear = match one.is_clear() {
                true => "clear",
                false if one.n < FEWEST_FOR_CLEAR => "too few questions",
                false => "may be chance",
            };
            vec![
                Cell::text(&one.suite),
                Cell::text(&one.metric),
                Cell::text(&one.first),
                Cell::text(&one.second),
                Cell::text(format!("{:+.1}", one.points)),
                Cell::text(format!("{:+.1} to {:+.1}", one.low, one.high)),
                Cell::Count(one.n as u64),
                Cell::text(clear),
            ]
        };
        table.rows = all.map(row).collect();
        table
    }

    /// Some answers of a suite, drawn by chance.
    fn samples(&self, suite: &str, seed: u64) -> Result<Section> {
        let mut places = self.lines.get(suite).cloned().unwrap_or_default();
        Random::new(seed, "answers on a page", 0).shuffle(&mut places);
        places.truncate(SHOWN);
        let path = self.path.join(ANSWERS);
        let mut file =
            BufReader::new(File::open(&path).map_err(|error| unread(&path, &error)).or_refuse()?);
        let mut samples = Vec::new();
        for (number, start) in places {
            let mut line = String::new();
            let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_line(&mut line));
            read.map_err(|error| unread(&path, &error)).or_refuse()?;
            let line =
                serde_json::from_str(&line).map_err(|error| bad(&path, &error)).or_refuse()?;
            samples.push(Sample { number: number + 1, fields: fields(&line) });
        }
        let name = format!("{}/{suite}", self.name);
        let samples = Samples { name, questions: Vec::new(), samples };
        let about =
            "Drawn by chance; a record's number is its line in answers.jsonl, which has them all.";
        Ok(Section::new("Some answers", vec![paragraph(about), samples.markup()]))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| unread(path, &error)).or_refuse()
}

/// Where the answers to each suite stand, and how many prompts lack exemplars: read line by line, since there
/// may be more of them than memory.
fn heads(path: &Path) -> Result<(Lines, usize)> {
    let file = File::open(path).map_err(|error| unread(path, &error)).or_refuse()?;
    let (mut file, mut line) = (BufReader::new(file), Vec::new());
    let (mut lines, mut dropped, mut start) = (Lines::new(), 0, 0);
    for number in 0.. {
        line.clear();
        let bytes = file.read_until(b'\n', &mut line);
        let bytes = bytes.map_err(|error| unread(path, &error)).or_refuse()?;
        if bytes == 0 {
            break;
        }
        let head: Head =
            serde_json::from_slice(&line).map_err(|error| bad(path, &error)).or_refuse()?;
        dropped += usize::from(head.dropped_exemplars.is_some());
        lines.entry(head.suite).or_default().push((number, start));
        start += bytes as u64;
    }
    Ok((lines, dropped))
}

fn unread(path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(format!("`{}`: {error}", path.display()), "run it again")
}

fn bad(path: &Path, error: &serde_json::Error) -> Refusal {
    let message = format!("`{}`: {error}", path.display());
    Refusal::new(message, "`albacore eval` writes this file: run it again")
}

fn distinct<'t>(texts: impl Iterator<Item = &'t String>) -> Vec<&'t str> {
    let mut found: Vec<&str> = Vec::new();
    for text in texts {
        if !found.contains(&text.as_str()) {
            found.push(text);
        }
    }
    found
}

fn fields(line: &Value) -> Vec<(&'static str, String)> {
    let text = |key: &str| match &line[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut fields = vec![
        ("model", text("model")),
        ("question", format!("{}, {}", text("task"), text("id"))),
        ("prompt", text("prompt")),
    ];
    if line.get("unanswered").is_some() {
        fields.push(("no answer", text("unanswered")));
        return fields;
    }
    let answer = if line.get("answers").is_some() { "answers" } else { "answer" };
    fields.extend([("answer", text(answer)), ("what counts", text("extracted"))]);
    // Some rules know what is right without a list of it.
    if line["references"].as_array().is_some_and(|references| !references.is_empty()) {
        fields.push(("right answers", text("references")));
    }
    fields.push(("scores", text("scores")));
    fields
}

/// What was asked, and how.
fn terms(terms: &Terms) -> Markup {
    let none = || "as each suite says".to_owned();
    let mut told = vec![
        ("data", terms.data.clone()),
        (
            "questions of each task",
            terms.limit.map_or("all".to_owned(), |limit| format!("the first {limit}")),
        ),
        (
            "asked",
            if terms.chat { "in the chat template" } else { "as text to go on with" }.to_owned(),
        ),
        (
            "longest answer",
            terms.max_new_tokens.map_or_else(none, |tokens| format!("{tokens} tokens")),
        ),
        ("version", terms.version.clone()),
    ];
    if let Some(temperature) = terms.temperature {
        told.push(("samples", format!("{} at temperature {temperature}", terms.samples)));
    }
    let mut table = Table::new("What was asked", &["suite", "questions", "exemplars", "digest"]);
    let row = |suite: &albacore_eval::SuiteTerms| {
        let (questions, shots) = (suite.questions as u64, suite.shots as u64);
        vec![
            Cell::text(&suite.name),
            Cell::Count(questions),
            Cell::Count(shots),
            Cell::text(&suite.digest),
        ]
    };
    table.rows = terms.suites.iter().map(row).collect();
    html! { (facts(&told)) (table.markup()) }
}

/// A page of one evaluation, or of several, one after the other. `seed` draws the answers.
///
/// # Errors
/// Refused if the answers that are shown cannot be read.
pub fn page(runs: &[EvaluationRun], seed: u64) -> Result<Page> {
    let about = "Models on benchmarks, scored as the benchmarks' own papers score them.".to_owned();
    if let [run] = runs {
        let sections = run.sections(seed)?;
        return Ok(Page { title: format!("Evaluation {}", run.name), about, sections });
    }
    let section = |run: &EvaluationRun| {
        let sections = run.sections(seed)?;
        Ok(Section { title: run.name.clone(), parts: Vec::new(), sections })
    };
    let sections = runs.iter().map(section).collect::<Result<_>>()?;
    Ok(Page { title: format!("{} evaluations", count(runs.len())), about, sections })
}
