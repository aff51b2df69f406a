//! What judges have said of answers: its sections of a page.
//!
//! ```text
//!  run folder ─► judged.json, judgements.jsonl or rated.json, ratings.jsonl ─► tables; replies to read
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use albacore_data::Random;
use albacore_eval::{Agreement, Contested, Rating, Totals};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Cell, Page, Sample, Samples, Section, Table, facts, notice, paragraph};
use crate::failure::{OrRefuse, Refusal, Result};
use crate::judged::{Asked, Between, JUDGED, Judged, RATED, RatedAnswers, partial};
use crate::progress::count;

/// Replies that are shown.
const SHOWN: usize = 8;

/// Answers that judges were asked about.
#[derive(Debug)]
pub struct JudgedRun {
    path: PathBuf,
    /// Its name: that of its folder.
    name: String,
    numbers: Numbers,
    /// Every prompt and reply.
    lines: Vec<Value>,
}

#[derive(Debug)]
enum Numbers {
    Compared(Judged),
    Rated(RatedAnswers),
}

impl JudgedRun {
    /// Whether there is one in this folder, complete or not.
    pub fn is_in(path: &Path) -> bool {
        let names = [JUDGED, RATED].map(|name| path.join(name));
        names.iter().any(|path| path.is_file() || partial(path).is_file())
    }

    /// Reads one.
    ///
    /// # Errors
    /// Refused if it is not complete, or one of its files is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        if ![JUDGED, RATED].iter().any(|name| path.join(name).is_file()) {
            let message = format!("the judging in `{}` is not complete", path.display());
            let hint =
                "run its `albacore eval judge` or `rate` again: it goes on after the last reply";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        let (numbers, lines) = if path.join(JUDGED).is_file() {
            (Numbers::Compared(json_of(&path.join(JUDGED))?), path.join("judgements.jsonl"))
        } else {
            (Numbers::Rated(json_of(&path.join(RATED))?), path.join("ratings.jsonl"))
        };
        let text = text_of(&lines)?;
        let parsed = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let parsed = parsed.map_err(|error| bad(&lines, &error)).or_refuse()?;
        let real = path.canonicalize().or_refuse()?;
        let name = real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { path: path.to_owned(), name, numbers, lines: parsed })
    }

    /// Its numbers.
    pub fn json(&self) -> Value {
        match &self.numbers {
            Numbers::Compared(judged) => json!({ "run": self.path, "judged": judged }),
            Numbers::Rated(rated) => json!({ "run": self.path, "rated": rated }),
        }
    }

    fn sections(&self, seed: u64) -> Vec<Section> {
        let (asked, mut sections) = match &self.numbers {
            Numbers::Compared(judged) => (&judged.asked, compared(judged)),
            Numbers::Rated(rated) => (&rated.asked, vec![answers_rated(rated)]),
        };
        let unread =
            |line: &&Value| ["no_verdict", "no_rating"].iter().any(|key| line.get(*key).is_some());
        let aside = self.lines.iter().filter(unread).count();
        let mut first = vec![glance(asked, self.lines.len(), aside)];
        first.extend(asked.unfinished.iter().map(|(judge, why)| {
            notice(&format!(
                "Not finished: {judge} has not been asked all ({why}). The same command goes on with what is missing."
            ))
        }));
        sections.insert(0, Section::new("At a glance", first));
        sections.push(self.samples(seed));
        sections
    }

    /// Some replies, drawn by chance.
    fn samples(&self, seed: u64) -> Section {
        let mut random = Random::new(seed, "replies on a page", 0);
        let mut places: Vec<_> = (0..self.lines.len()).collect();
        random.shuffle(&mut places);
        places.truncate(SHOWN);
        let samples = places
            .into_iter()
            .map(|place| Sample { number: place + 1, fields: fields(&self.lines[place]) });
        let samples = samples.collect();
        let samples = Samples { name: self.name.clone(), questions: Vec::new(), samples };
        let about = "Drawn by chance; a record's number is its line in judgements.jsonl or ratings.jsonl, which has \
                     them all.";
        Section::new("Some replies", vec![paragraph(about), samples.markup()])
    }
}

fn text_of(path: &Path) -> Result<String> {
    let failed =
        |error| Refusal::new(format!("`{}`: {error}", path.display()), "run the judging again");
    fs::read_to_string(path).map_err(failed).or_refuse()
}

fn json_of<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text_of(path)?).map_err(|error| bad(path, &error)).or_refuse()
}

fn bad(path: &Path, error: &serde_json::Error) -> Refusal {
    let message = format!("`{}`: {error}", path.display());
    Refusal::new(message, "`albacore eval judge` and `eval rate` write these files: run it again")
}

fn glance(asked: &Asked, questions: usize, aside: usize) -> maud::Markup {
    let files = asked.answers.iter().map(|path| path.display().to_string());
    let limit = asked.limit.map_or_else(|| "none".to_owned(), |limit| count(limit as usize));
    facts(&[
        ("answers", files.collect::<Vec<_>>().join(", ")),
        ("suite", asked.suite.clone().unwrap_or_else(|| "all".to_owned())),
        ("limit", limit),
        ("questions to judges", count(questions)),
        ("set aside", count(aside)),
        ("attempts", count(asked.judge.attempts as usize)),
        ("seed", asked.seed.to_string()),
        ("albacore", asked.version.clone()),
    ])
}

/// Every two models, judge by judge.
fn compared(judged: &Judged) -> Vec<Section> {
    let of_contest = judged.contests.iter().map(|one| {
        let Contested { judge, first, second, all, categories, .. } = one;
        let columns = [
            "",
            "first",
            "second",
            "ties",
            "no verdict",
            "by order",
            "first's scores",
            "second's scores",
            "second's wins, %",
            "± error",
        ];
        let mut table = Table::new(&format!("Judged by {judge}"), &columns);
        let categories = categories.iter().filter(|_| categories.len() > 1);
        let rows = std::iter::once(("all", all))
            .chain(categories.map(|(name, totals)| (name.as_str(), totals)));
        table.rows = rows.map(|(name, totals)| row(name, totals)).collect();
        let about = "A pair is won in both orders, or in one with a tie in the other; what changes with the order \
                     is a tie, counted under “by order”. Scores are summed over the pairs that have them.";
        let title = format!("{first} (first) and {second} (second)");
        Section::new(&title, vec![paragraph(about), table.markup()])
    });
    let mut sections: Vec<_> = of_contest.collect();
    let columns =
        ["judge", "other judge", "pairs", "same, %", "kappa", "decided", "same winner, %"];
    let mut table = Table::new("Verdicts on the same pairs", &columns);
    table.rows = judged
        .agreements
        .iter()
        .map(|Between { one, other, agreement }| {
            let mut row = agreed(one, other, &agreement.verdicts);
            row.extend([Cell::Count(agreement.decided as u64), percent(agreement.same_winner)]);
            row
        })
        .collect();
    if !table.rows.is_empty() {
        sections.push(Section::new("How far judges agree", vec![table.markup()]));
    }
    sections
}

fn row(name: &str, totals: &Totals) -> Vec<Cell> {
    let number = |value: Option<f64>| value.map_or(Cell::None, |value| Cell::Number(value, 1));
    let has_scores = totals.scores != [0.0, 0.0];
    let score = |place: usize| number(has_scores.then_some(totals.scores[place]));
    vec![
        Cell::text(name),
        Cell::Count(totals.first as u64),
        Cell::Count(totals.second as u64),
        Cell::Count(totals.ties as u64),
        Cell::Count((totals.failed + totals.unclear) as u64),
        Cell::Count(totals.depending_on_order as u64),
        score(0),
        score(1),
        number(totals.second_win_rate()),
        number(totals.standard_error()),
    ]
}

/// How many answers of each model have which rating.
fn answers_rated(rated: &RatedAnswers) -> Section {
    let columns = ["judge", "model", "A", "B", "C", "D", "no rating", "no answer", "A or B, %"];
    let mut table = Table::new("Answers by their rating", &columns);
    let row = |of: &albacore_eval::Ratings| {
        let counts = Rating::ALL.map(|rating| Cell::Count(of.count(rating) as u64));
        let mut row = vec![Cell::text(&of.judge), Cell::text(&of.model)];
        row.extend(counts);
        row.push(Cell::Count((of.failed + of.unclear) as u64));
        row.push(Cell::Count(of.unanswered as u64));
        row.push(of.acceptable().map_or(Cell::None, |share| Cell::Number(share, 1)));
        row
    };
    table.rows = rated.ratings.iter().map(row).collect();
    let about = "A: correct and satisfying, B: acceptable, C: significant errors, D: irrelevant or invalid.";
    let mut parts = vec![paragraph(about), table.markup()];
    let columns = ["judge", "other judge", "answers", "same, %", "kappa"];
    let mut table = Table::new("How far judges agree", &columns);
    let agreements = rated.agreements.iter();
    table.rows = agreements.map(|of| agreed(&of.one, &of.other, &of.agreement)).collect();
    if !table.rows.is_empty() {
        parts.push(table.markup());
    }
    Section::new("Ratings", parts)
}

fn agreed(one: &str, other: &str, agreement: &Agreement) -> Vec<Cell> {
    let kappa = agreement.kappa.map_or(Cell::None, |kappa| Cell::Number(kappa, 2));
    let n = Cell::Count(agreement.n as u64);
    vec![Cell::text(one), Cell::text(other), n, percent(agreement.same), kappa]
}

fn percent(share: Option<f64>) -> Cell {
    share.map_or(Cell::None, |share| Cell::Number(100.0 * share, 1))
}

fn fields(line: &Value) -> Vec<(&'static str, String)> {
    let text = |key: &str| match &line[key] {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        Value::Array(texts) => {
            let texts = texts
                .iter()
                .map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned));
            Some(texts.collect::<Vec<_>>().join("\n\n"))
        }
        other => Some(other.to_string()),
    };
    let named = [
        ("judge", "judge"),
        ("first", "first"),
        ("second", "second"),
        ("model", "model"),
        ("question", "id"),
        ("order", "order"),
        ("prompt", "prompt"),
        ("replies", "replies"),
        ("verdict", "verdict"),
        ("scores", "scores"),
        ("rating", "rating"),
        ("no verdict", "no_verdict"),
        ("no rating", "no_rating"),
    ];
    named.into_iter().filter_map(|(name, key)| Some((name, text(key)?))).collect()
}

/// A page of one run, or of several, one after the other. `seed` draws the replies.
pub fn page(runs: &[JudgedRun], seed: u64) -> Page {
    let about = "Answers of models, as judges see them.".to_owned();
    if let [run] = runs {
        let title = format!("Judgement {}", run.name);
        return Page { title, about, sections: run.sections(seed) };
    }
    let sections = runs.iter().map(|run| Section {
        title: run.name.clone(),
        parts: Vec::new(),
        sections: run.sections(seed),
    });
    let title = format!("{} judgements", count(runs.len()));
    Page { title, about, sections: sections.collect() }
}
