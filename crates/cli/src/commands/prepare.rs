//! `albacore prepare`: what becomes of every record, in counts.

use albacore_data::{Dataset, Packing, Plan, Report};
use serde_json::json;

use crate::args::Configured;
use crate::config::{Config, Settings};
use crate::failure::{Outcome, Result};
use crate::prepared::{Prepared, first};
use crate::program::program;
use crate::progress::count;
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config or its data cannot be used.
pub fn run(configured: &Configured, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = Config::load(configured, seed)?;
    let Prepared { dataset, .. } = Prepared::new(&config, None, terminal)?;
    let budget = config.data.tokens_per_batch;
    let packing = Packing::alone(config.run.seed, budget, config.data.shuffle);
    let packing = Packing { examples_per_step: config.train.groups_per_step, ..packing };
    let batches = Plan::new(packing, 0, &dataset.lengths()).len();
    if terminal.json {
        let held_out = dataset.held_out.iter().map(|example| example.origin.to_string());
        let line = json!({
            "report": dataset.report, "batches": batches, "fingerprint": dataset.fingerprint,
            "held_out": held_out.collect::<Vec<_>>(),
        });
        terminal.print(&line.to_string())?;
    } else {
        terminal.print(&text(&dataset, batches, budget))?;
    }
    Ok(Outcome::Done)
}

/// The counts of an epoch, or of the first examples of a mixture.
pub fn text(dataset: &Dataset, batches: usize, budget: usize) -> String {
    match &dataset.mixture {
        None => table(&dataset.report, "an epoch", batches, budget),
        Some(mixture) => format!(
            "mixture    of {} tasks with {} examples (`{} mixture` shows them); of those that come first:\n{}",
            count(mixture.tasks().len()),
            count(mixture.examples()),
            program(),
            table(&dataset.report, "of these", batches, budget)
        ),
    }
}

/// The counts, one a line.
fn table(report: &Report, each: &str, batches: usize, budget: usize) -> String {
    let mut rows = vec![("records", count(report.records), "read".to_owned())];
    for dropped in &report.dropped {
        let note = format!("{} ({})", dropped.reason, first(dropped));
        rows.push(("left out", count(dropped.count), note));
    }
    if let Some(truncated) = &report.truncated {
        let note = format!("at `data.max_tokens` ({})", first(truncated));
        rows.push(("truncated", count(truncated.count), note));
    }
    if let Some(fewer) = &report.fewer {
        let note = format!("prompts, of responses beyond `data.max_tokens` ({})", first(fewer));
        rows.push(("shortened", count(fewer.count), note));
    }
    if let Some(tied) = &report.tied {
        let note = format!("prompts whose responses all have one score ({})", first(tied));
        rows.push(("tied", count(tied.count), note));
    }
    if report.held_out > 0 {
        rows.push(("held out", count(report.held_out), "examples, never trained on".into()));
    }
    rows.push(("train", count(report.train), format!("examples {each}")));
    if report.responses > 0 {
        let note = format!("that share their prompt, {each}");
        rows.push(("responses", count(report.responses), note));
    }
    let longest = match &report.longest_origin {
        Some(origin) => {
            format!("{each}; the longest example has {} ({origin})", count(report.longest))
        }
        None => each.into(),
    };
    rows.push(("tokens", count(report.tokens), longest));
    let share = 100.0 * report.supervised_tokens as f64 / report.tokens.max(1) as f64;
    rows.push((
        "learned",
        count(report.supervised_tokens),
        format!("tokens of them, {share:.1} %"),
    ));
    let full = 100.0 * report.tokens as f64 / (batches * budget).max(1) as f64;
    let note = format!("{each}, of at most {} tokens, {full:.0} % full", count(budget));
    rows.push(("batches", count(batches), note));

    let width = rows.iter().map(|(_, number, _)| number.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, number, note)| format!("{name:<10} {number:>width$}  {note}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use albacore_data::{Dropped, Origin};

    use super::*;

    #[test]
    fn every_count_is_told() {
        let origin = |line| Origin::new("a.jsonl", line);
        let long =
            Dropped { reason: "too long".into(), count: 12, first: (1..5).map(origin).collect() };
        let report = Report {
            records: 1012,
            kept: 1000,
            dropped: vec![long],
            truncated: None,
            fewer: None,
            tied: Some(Dropped { reason: "tied".into(), count: 1, first: vec![origin(9)] }),
            responses: 3600,
            eos_added: 0,
            held_out: 100,
            train: 900,
            tokens: 123_456,
            supervised_tokens: 61_728,
            longest: 812,
            longest_origin: Some(origin(77)),
            tasks: Vec::new(),
        };
        insta::assert_snapshot!(table(&report, "an epoch", 31, 4096), @r"
        records      1,012  read
        left out        12  too long (a.jsonl:1, 2, 3, …)
        tied             1  prompts whose responses all have one score (a.jsonl:9)
        held out       100  examples, never trained on
        train          900  examples an epoch
        responses    3,600  that share their prompt, an epoch
        tokens     123,456  an epoch; the longest example has 812 (a.jsonl:77)
        learned     61,728  tokens of them, 50.0 %
        batches         31  an epoch, of at most 4,096 tokens, 97 % full
        ");
    }
}
