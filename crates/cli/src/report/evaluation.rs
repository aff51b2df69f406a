//! What an evaluation has come to: its sections of a page.
//!
//! ```text
//!  run folder ─► results.json, answers.jsonl ─► a section a suite: chart, table, differences; answers to read
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::Random;
use albacore_eval::{Difference, Part, Results, Row};
use maud::{Markup, html};
use serde_json::Value;

use super::{
    Cell, Interval, Intervals, Page, Sample, Samples, Section, Table, contamination, facts,
    paragraph,
};
use crate::contamination::Contamination;
use crate::failure::{OrRefuse, Refusal, Result};
use crate::progress::count;

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
    answers: Vec<Value>,
    contamination: Option<Contamination>,
}

impl EvaluationRun {
    /// Whether there is one in this folder, complete or not.
    pub fn is_in(path: &Path) -> bool {
        path.join("results.json").is_file() || path.join("answers.jsonl.partial").is_file()
    }

    /// Reads one.
    ///
    /// # Errors
    /// Refused if it is not complete, or one of its files is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let table = path.join("results.json");
        if !table.is_file() {
            let message = format!("the evaluation in `{}` is not complete", path.display());
            let hint = "run its `albacore eval` again: it goes on after the last answer";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        let results = serde_json::from_str(&read(&table)?).map_err(|error| bad(&table, &error));
        let lines = path.join("answers.jsonl");
        let answers = read(&lines)?;
        let answers = answers
            .lines()
            .map(|line| serde_json::from_str(line).map_err(|error| bad(&lines, &error)));
        let answers = answers.collect::<Result<_, Refusal>>().or_refuse()?;
        let real = path.canonicalize().or_refuse()?;
        let name = real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned();
        let (path, results) = (path.to_owned(), results.or_refuse()?);
        let contamination = Contamination::read(&path).or_refuse()?;
        Ok(Self { path, name, results, answers, contamination })
    }

    fn sections(&self, seed: u64) -> Vec<Section> {
        let mut first = vec![self.facts()];
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
        let contamination = self.contamination.iter().map(contamination::section);
        std::iter::once(glance).chain(contamination).chain(suites).collect()
    }

    fn facts(&self) -> Markup {
        let Results { seed, resamples, confidence, rows, .. } = &self.results;
        let whole = || rows.iter().filter(|row| row.part == Part::Suite && row.is_headline);
        let unanswered = whole().map(|row| row.unanswered).sum::<usize>();
        let dropped = self.answers.iter().filter(|line| line.get("dropped_exemplars").is_some());
        facts(&[
            ("models", count(distinct(rows.iter().map(|row| &row.model)).len())),
            ("suites", count(distinct(rows.iter().map(|row| &row.suite)).len())),
            ("answers", count(whole().map(|row| row.n).sum())),
            ("questions without an answer", count(unanswered)),
            ("prompts without some exemplars", count(dropped.count())),
            ("intervals", format!("{} %, {} draws", 100.0 * confidence, count(*resamples))),
            ("seed", seed.to_string()),
        ])
    }

    fn suite(&self, suite: &str, seed: u64) -> Section {
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
        section.sections.push(self.samples(suite, seed));
        section
    }

    fn differences(&self, is_shown: &dyn Fn(&Part) -> bool, caption: &str) -> Table {
        let columns = ["suite", "metric", "first", "second", "second − first", "interval", ""];
        let mut table = Table::new(caption, &columns);
        let all = self.results.differences.iter().filter(|one| is_shown(&one.part));
        let row = |one: &Difference| {
            let clear = if one.is_clear() { "clear" } else { "may be chance" };
            vec![
                Cell::text(&one.suite),
                Cell::text(&one.metric),
                Cell::text(&one.first),
                Cell::text(&one.second),
                Cell::text(format!("{:+.1}", one.points)),
                Cell::text(format!("{:+.1} to {:+.1}", one.low, one.high)),
                Cell::text(clear),
            ]
        };
        table.rows = all.map(row).collect();
        table
    }

    /// Some answers of a suite, drawn by chance.
    fn samples(&self, suite: &str, seed: u64) -> Section {
        let of: Vec<_> =
            self.answers.iter().enumerate().filter(|(_, line)| line["suite"] == suite).collect();
        let mut random = Random::new(seed, "answers on a page", 0);
        let mut places: Vec<_> = (0..of.len()).collect();
        random.shuffle(&mut places);
        places.truncate(SHOWN);
        let samples = places.into_iter().map(|place| {
            let (number, line) = of[place];
            Sample { number: number + 1, fields: fields(line) }
        });
        let name = format!("{}/{suite}", self.name);
        let samples = Samples { name, questions: Vec::new(), samples: samples.collect() };
        let about =
            "Drawn by chance; a record's number is its line in answers.jsonl, which has them all.";
        Section::new("Some answers", vec![paragraph(about), samples.markup()])
    }
}

fn read(path: &Path) -> Result<String> {
    let read = fs::read_to_string(path);
    let failed = |error| Refusal::new(format!("`{}`: {error}", path.display()), "run it again");
    read.map_err(failed).or_refuse()
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
    fields.extend([
        ("answer", text(answer)),
        ("what counts", text("extracted")),
        ("right answers", text("references")),
        ("scores", text("scores")),
    ]);
    fields
}

/// The headline of the whole suite, model by model.
fn chart(rows: &[&Row]) -> Markup {
    let whole = rows.iter().filter(|row| row.part == Part::Suite && row.is_headline);
    let metric = whole.clone().next().map_or("", |row| row.metric.as_str());
    let intervals = whole.clone().map(|row| Interval {
        name: row.model.clone(),
        value: row.percent,
        low: row.low,
        high: row.high,
    });
    let intervals = intervals.collect();
    let title = "The whole suite".to_owned();
    Intervals { title, unit: format!("{metric}, %"), intervals }.markup()
}

/// Every metric of the whole suite.
fn whole(rows: &[&Row]) -> Table {
    let columns = ["model", "metric", "%", "low", "high", "answers", "no answer"];
    let mut table = Table::new("The whole suite", &columns);
    let whole = rows.iter().filter(|row| row.part == Part::Suite);
    table.rows = whole
        .map(|row| {
            vec![
                Cell::text(&row.model),
                Cell::text(&row.metric),
                Cell::Number(row.percent, 2),
                Cell::Number(row.low, 1),
                Cell::Number(row.high, 1),
                Cell::Count(row.n as u64),
                Cell::Count(row.unanswered as u64),
            ]
        })
        .collect();
    table
}

/// The headlines of some parts, a column a model.
fn by_part(caption: &str, rows: &[&Row]) -> Option<Table> {
    let models = distinct(rows.iter().map(|row| &row.model));
    let columns: Vec<_> = ["", "metric"].into_iter().chain(models.iter().copied()).collect();
    let mut table = Table::new(caption, &columns);
    let mut parts: Vec<&Part> = Vec::new();
    for row in rows {
        if !parts.contains(&&row.part) {
            parts.push(&row.part);
        }
    }
    for part in parts {
        let (Part::Category(name) | Part::Task(name)) = part else { continue };
        let of_part = || rows.iter().filter(|row| row.part == *part && row.is_headline);
        let metric = of_part().next()?.metric.clone();
        let cells = models.iter().map(|model| {
            let found = of_part().find(|row| row.model == *model);
            found.map_or(Cell::None, |row| {
                Cell::text(format!("{:.1} [{:.1}, {:.1}]", row.percent, row.low, row.high))
            })
        });
        table.rows.push([Cell::text(name), Cell::text(metric)].into_iter().chain(cells).collect());
    }
    (!table.rows.is_empty()).then_some(table)
}

/// A page of one evaluation, or of several, one after the other. `seed` draws the answers.
pub fn page(runs: &[EvaluationRun], seed: u64) -> Page {
    let about = "Models on benchmarks, scored as the benchmarks' own papers score them.".to_owned();
    if let [run] = runs {
        return Page {
            title: format!("Evaluation {}", run.name),
            about,
            sections: run.sections(seed),
        };
    }
    let sections = runs.iter().map(|run| Section {
        title: run.name.clone(),
        parts: Vec::new(),
        sections: run.sections(seed),
    });
    Page {
        title: format!("{} evaluations", count(runs.len())),
        about,
        sections: sections.collect(),
    }
}
