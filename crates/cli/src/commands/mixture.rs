//! `albacore mixture`: which tasks there are, how often each is drawn, and what the run sees of it.

use albacore_data::{
    Contamination, Dataset, Dropped, Encoder, Excluded, Mixture, MixtureSource, MixtureStream,
    Overlap, Preparation, TaskRate,
};
use serde::Serialize;
use serde_json::json;

use crate::args;
use crate::config::{Config, Settings};
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::prepared::{Prepared, by_key, by_task, encoding, first, losses_of};
use crate::progress::count;
use crate::terminal::Terminal;

/// Positions that are drawn and encoded to estimate tokens: about this many of each task, and in all at
/// most [`MOST`].
const EACH: usize = 8;
/// See [`EACH`].
const MOST: usize = 20_000;
/// At least so many.
const LEAST: usize = 2_000;

/// A task and what the run sees of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub of: TaskRate,
    /// How often its examples are drawn in the run, on average.
    pub epochs: f64,
    /// Tokens of its examples in the run.
    pub tokens: f64,
    /// The share of its draws that gives no example (too long, a bad record), if it has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// Refused if the config or its data cannot be used, or are no mixture.
pub fn run(options: &args::Mixture, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = Config::load(&options.configured, seed)?;
    let prepared = Prepared::new(&config, None, terminal)?;
    let Dataset { mixture: Some(mixture), .. } = &prepared.dataset else {
        let message = "the data of this config are no mixture: every epoch has each record once";
        let hint = "give sources a `weight`, such as `weight = \"proportional\"`";
        return Err(Refusal::new(message.to_owned(), hint.to_owned())).or_refuse();
    };
    let preparation = prepared.preparation(&config);
    let encoder = preparation.encoder().or_refuse()?;
    let mut stream = MixtureStream::new(MixtureSource { mixture, preparation, encoder: &encoder });
    let sample = sample(&config, mixture, &mut stream)?;
    let losses = stream.tally().losses();
    if !losses.is_empty() {
        let (drawn, tasks) = (count(stream.tally().drawn), by_task(&stream.losses_by_task()));
        terminal
            .warn(&format!("of the first {drawn} examples drawn are left out: {losses} ({tasks})"));
    }
    let rows = rows(mixture, &sample);
    let is_idle = |row: &&Row| row.of.examples > 0 && row.epochs * (row.of.examples as f64) < 0.5;
    let never = rows.iter().filter(is_idle).count();
    if never > 0 {
        terminal.warn(&format!(
            "{} of {} tasks are hardly ever drawn in this run: a number beside `\"proportional\"` is weighed \
             against the number of examples, unless a group is put around either",
            count(never),
            count(rows.len())
        ));
    }
    let found = contamination(options, mixture, terminal)?;
    if terminal.json {
        let line = json!({
            "tasks": rows, "examples_drawn": sample.draws, "steps": config.train.steps,
            "excluded": mixture.excluded(),
            "contamination": (!options.contamination.is_empty()).then_some(&found),
        });
        terminal.print(&line.to_string())?;
    } else {
        terminal.print(&table(&rows))?;
        terminal.print(&total(&rows, &sample, config.train.steps.unwrap_or(0)))?;
        if !mixture.excluded().is_empty() {
            terminal.print(&excluded_table(mixture.excluded()))?;
        }
        if !options.contamination.is_empty() {
            terminal.print(&contamination_table(&found))?;
        }
    }
    if options.check {
        check(preparation, &encoder, mixture, terminal)?;
    }
    Ok(Outcome::Done)
}

/// Tries every record, tells what becomes of them, and refuses those that the config does not forgive.
fn check(
    preparation: Preparation<'_>,
    encoder: &Encoder<'_>,
    mixture: &Mixture,
    terminal: &Terminal,
) -> Result<()> {
    let progress = encoding(terminal);
    let preparation = Preparation { progress: Some(&progress), ..preparation };
    let (report, forgiven) = preparation.check(encoder, mixture).or_refuse()?;
    let (kept, all) = (count(report.kept), count(report.records));
    let losses = losses_of(&report);
    // Of JSON, stdout has one line.
    match terminal.json {
        true => losses.iter().for_each(|line| terminal.warn(line)),
        false => {
            let told = format!("{kept} of {all} records give an example in their first pass");
            terminal.print(&[vec![told], losses].concat().join("\n"))?;
        }
    }
    forgiven.or_refuse()
}

/// What some first positions of the stream say of the whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Positions that the run draws.
    pub draws: f64,
    /// Tokens of each position of a task, those that give no example counted.
    pub tokens_each: Vec<f64>,
    /// The share of a task's positions that gives none, if it has come.
    pub left_out: Vec<Option<f64>>,
}

/// Draws enough batches to know the tokens of every task, and how many positions a batch takes.
fn sample(config: &Config, mixture: &Mixture, stream: &mut MixtureStream<'_>) -> Result<Sample> {
    let tasks = mixture.tasks().len();
    let wanted = (EACH * tasks).clamp(LEAST, MOST) as u64;
    let (mut tokens, mut batches, mut examples) = (vec![0.0; tasks], 0.0, 0);
    let (budget, mut full) = (config.data.tokens_per_batch, 0);
    while stream.position() < wanted {
        let (position, example) = stream.example().or_refuse()?;
        tokens[mixture.task_at(position)] += example.len() as f64;
        examples += 1;
        full += example.len();
        if full > budget {
            (full, batches) = (example.len(), batches + 1.0);
        }
    }
    batches += full as f64 / budget as f64;
    let drawn = stream.position() as f64;
    let mut seen = vec![0.0; tasks];
    (0..stream.position()).for_each(|position| seen[mixture.task_at(position)] += 1.0);
    // A task that has not come yet is taken for an average one.
    let mean = tokens.iter().sum::<f64>() / drawn;
    let each = tokens.iter().zip(&seen);
    let tokens_each =
        each.map(|(tokens, seen)| if *seen > 0.0 { tokens / seen } else { mean }).collect();
    let steps = config.train.steps.unwrap_or(0) as f64;
    let draws = match config.train.groups_per_step {
        Some(groups) => steps * groups as f64 * drawn / f64::from(examples),
        None => steps * config.train.batches_per_step as f64 * drawn / batches,
    };
    Ok(Sample { draws, tokens_each, left_out: stream.left_out() })
}

/// The tasks with what the run sees of them.
fn rows(mixture: &Mixture, sample: &Sample) -> Vec<Row> {
    let rates = mixture.rates().into_iter().zip(&sample.tokens_each).zip(&sample.left_out);
    rates
        .map(|((of, tokens), left_out)| {
            let draws = of.rate * sample.draws;
            let epochs = draws / of.examples.max(1) as f64;
            Row { epochs, tokens: draws * tokens, left_out: *left_out, of }
        })
        .collect()
}

/// The tasks, one a line.
fn table(rows: &[Row]) -> String {
    let name = |row: &Row| match &row.of.group {
        Some(group) => format!("{group} / {}", row.of.task),
        None => row.of.task.clone(),
    };
    let width = rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(4);
    let mut text = format!(
        "{:<width$} {:>11} {:>10} {:>9} {:>13} {:>9}\n",
        "task", "examples", "rate", "epochs", "tokens", "left out"
    );
    for row in rows {
        if row.of.examples == 0 {
            text += &format!("{:<width$} {:>11}   held out\n", name(row), count(row.of.held_out));
            continue;
        }
        let left_out = row.left_out.map_or("?".into(), |share| format!("{:.1} %", 100.0 * share));
        text += &format!(
            "{:<width$} {:>11} {:>8.4} % {:>9.3} {:>13} {left_out:>9}\n",
            name(row),
            count(row.of.examples),
            100.0 * row.of.rate,
            row.epochs,
            count(row.tokens.round() as usize),
        );
    }
    text
}

/// What they add up to.
fn total(rows: &[Row], sample: &Sample, steps: u64) -> String {
    let examples: usize = rows.iter().map(|row| row.of.examples).sum();
    let held_out: usize = rows.iter().map(|row| row.of.held_out).sum();
    let tokens: f64 = rows.iter().map(|row| row.tokens).sum();
    let held_out = match held_out {
        0 => String::new(),
        held_out => format!(" ({} more are held out)", count(held_out)),
    };
    format!(
        "{} tasks with {} examples{held_out}; about {} of these in {} steps, {} tokens",
        count(rows.len()),
        count(examples),
        count(sample.draws.round() as usize),
        count(steps as usize),
        count(tokens.round() as usize),
    )
}

/// What the rules of sources took out, a line for each key.
fn excluded_table(excluded: &[Excluded]) -> String {
    let line = |rules: &[Excluded]| {
        let all: usize = rules.iter().map(|of| of.files).sum();
        let each = rules.iter().map(|of| format!("`{}` {}", of.rule, count(of.files)));
        let (each, of) = (each.collect::<Vec<_>>().join(", "), &rules[0]);
        let (all, path) = (count(all), of.path.display());
        format!("files left out of `{path}` by `{}`: {all} ({each})\n", of.key)
    };
    by_key(excluded).map(line).collect()
}

fn contamination(
    options: &args::Mixture,
    mixture: &Mixture,
    terminal: &Terminal,
) -> Result<Vec<Contamination>> {
    if options.contamination.is_empty() {
        return Ok(Vec::new());
    }
    let overlap = Overlap::of_files(&options.contamination).or_refuse()?;
    for file in overlap.without_runs() {
        terminal.warn(&format!(
            "`{}` has no text of 13 words: nothing can be found to overlap with it",
            file.display()
        ));
    }
    overlap.with(mixture).or_refuse()
}

/// The tasks that share text with the files, one a line.
fn contamination_table(found: &[Contamination]) -> String {
    let records: usize = found.iter().map(|task| task.records).sum();
    let overlapping: usize = found.iter().map(|task| task.overlapping).sum();
    let mut text = format!(
        "{} of {} records share 13 words in a row with the files\n",
        count(overlapping),
        count(records)
    );
    for task in found.iter().filter(|task| task.overlapping > 0) {
        let own = Dropped { reason: String::new(), count: task.own, first: task.first.clone() };
        let (overlapping, records) = (count(task.overlapping), count(task.records));
        let why = match (task.shared.is_empty(), task.own) {
            (true, _) => first(&own),
            (false, 0) => format!("its {}", task.shared.join(", its ")),
            (false, number) => format!(
                "its {}; by themselves {}: {}",
                task.shared.join(", its "),
                count(number),
                first(&own)
            ),
        };
        text += &format!("  {}: {overlapping} of {records} ({why})\n", task.task);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_every_task_with_its_rate_and_what_comes_of_it() {
        let row = |task: &str, group: Option<&str>, examples, rate, epochs, tokens| Row {
            of: TaskRate {
                task: task.into(),
                group: group.map(String::from),
                examples,
                held_out: 3,
                rate,
            },
            epochs,
            tokens,
            left_out: Some(0.125),
        };
        let rows = [
            row("snli", Some("flan"), 30_000, 0.75, 0.25, 1e6),
            row("gsm8k", None, 12, 0.25, 1.5, 7.0),
        ];
        let sample = Sample { draws: 10_000.0, ..Sample::default() };
        insta::assert_snapshot!(format!("{}{}", table(&rows), total(&rows, &sample, 100)), @"
        task           examples       rate    epochs        tokens  left out
        flan / snli      30,000  75.0000 %     0.250     1,000,000    12.5 %
        gsm8k                12  25.0000 %     1.500             7    12.5 %
        2 tasks with 30,012 examples (6 more are held out); about 10,000 of these in 100 steps, 1,000,007 tokens
        ");
    }

    #[test]
    fn what_rules_take_out_is_told_by_key() {
        let of = |source, key: &str, rule: &str, files| Excluded {
            source,
            path: "tasks".into(),
            key: key.into(),
            rule: rule.into(),
            files,
        };
        let excluded = [
            of(0, "exclude", "task1*", 2),
            of(0, "exclude", "task2*", 0),
            of(0, "exclude_categories", "Word Analogy", 1),
            of(1, "exclude_categories", "Word Analogy", 1),
        ];
        insta::assert_snapshot!(excluded_table(&excluded), @"
        files left out of `tasks` by `exclude`: 2 (`task1*` 2, `task2*` 0)
        files left out of `tasks` by `exclude_categories`: 1 (`Word Analogy` 1)
        files left out of `tasks` by `exclude_categories`: 1 (`Word Analogy` 1)
        ");
    }
}
