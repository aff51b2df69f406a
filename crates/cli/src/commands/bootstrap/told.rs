//! What a run of `bootstrap` tells: how far it is, and what came of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use albacore_data::Statistics;
use albacore_data::bootstrap::{Funnel, Progress, Stage};
use anyhow::Context;
use serde_json::json;

use crate::data_run::took;
use crate::failure::Result;
use crate::program::program;
use crate::progress::{self, count};
use crate::terminal::Terminal;

/// Shows how far each stage is.
pub struct Teller<'t> {
    terminal: &'t Terminal,
    stage: RefCell<Option<Shown>>,
}

/// The stage that runs.
struct Shown {
    stage: Stage,
    progress: progress::Progress,
    began: Instant,
    /// Answers that it had when it was first heard of.
    before: u64,
}

impl<'t> Teller<'t> {
    /// Nothing runs yet.
    pub fn new(terminal: &'t Terminal) -> Self {
        Self { terminal, stage: RefCell::new(None) }
    }

    /// Tells how far it is.
    pub fn tell(&self, progress: &Progress<'_>) {
        let Progress { stage, done, total, rejected, answers } = *progress;
        let mut shown = self.stage.borrow_mut();
        if shown.as_ref().is_none_or(|shown| shown.stage != stage) {
            let progress = progress::Progress::new(self.terminal, stage.name(), done, total);
            *shown = Some(Shown { stage, progress, began: Instant::now(), before: answers });
        }
        let Some(shown) = shown.as_ref() else { return };
        let seconds = shown.began.elapsed().as_secs_f64().max(1e-3);
        let rate = (answers - shown.before.min(answers)) as f64 / seconds;
        let detail = match rejections(rejected) {
            none if none.is_empty() => format!("{rate:.1} requests/s"),
            rejected => format!("{rate:.1} requests/s, rejected: {rejected}"),
        };
        shown.progress.set(done, &detail);
    }

    /// The stage has ended: its bar goes.
    pub fn close(&self) {
        *self.stage.borrow_mut() = None;
    }
}

/// `rouge_l 12, words 3`: the most frequent first.
fn rejections(rejected: &BTreeMap<String, u64>) -> String {
    let mut rules: Vec<_> = rejected.iter().collect();
    rules.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    let rules = rules.iter().map(|(rule, number)| format!("{rule} {}", count(**number as usize)));
    rules.collect::<Vec<_>>().join(", ")
}

/// What a stage took.
pub fn ended(stage: Stage, statistics: &Statistics) -> String {
    match statistics.answers + statistics.refused {
        0 => format!("stage `{}` is complete", stage.name()),
        _ => format!("stage `{}` is complete: {}", stage.name(), took(statistics)),
    }
}

/// What came of a run: the funnel if the last stage was run, and what to type next.
///
/// # Errors
/// If the funnel cannot be read.
pub fn summary(folder: &Path, stages: &[Stage], all: &Statistics, as_json: bool) -> Result<String> {
    let whole = stages.contains(&Stage::Records);
    let funnel = whole.then(|| funnel(folder)).transpose()?;
    if as_json {
        return Ok(json!({ "run": folder, "funnel": funnel, "statistics": all }).to_string());
    }
    let mut text = String::new();
    if all.answers + all.refused > 0 {
        text += &format!("{}\n", took(all));
    }
    let run = folder.display();
    let Some(funnel) = funnel else { return Ok(format!("{text}the run is in `{run}`\n")) };
    let mut line = |what: &str, number: u64, more: String| {
        text += &format!("{:>9}  {what}{more}\n", count(number as usize));
    };
    line("instructions written", funnel.written, String::new());
    let rejected = funnel.rejected.values().sum();
    if rejected > 0 {
        line("rejected: ", rejected, rejections(&funnel.rejected));
    }
    let with = |number: u64, what: &str| match number {
        0 => String::new(),
        number => format!(", {} {what}", count(number as usize)),
    };
    let classification = with(funnel.classification, "of them held to be classification");
    line("accepted", funnel.accepted, classification);
    let refused = funnel.refused.iter();
    for (stage, number) in refused {
        line("requests refused: ", *number, format!("stage `{}`", stage.name()));
    }
    line("tasks with instances", funnel.tasks as u64, String::new());
    line("instances", funnel.instances as u64, with(funnel.without_input as u64, "without input"));
    let unused = funnel.unused_instances.iter();
    for (reason, number) in unused {
        line("instances unused: ", *number as u64, format!("{reason}"));
    }
    line("records to train on", funnel.train as u64, with(funnel.held_out as u64, "held out"));
    let program = program();
    text += &format!(
        "\nthe records are in `{run}/train.jsonl` (prompt, completion) and `{run}/records.jsonl` (alpaca)\n\
         look at them:    {program} report {run}\n"
    );
    if funnel.train > 0 {
        text += &format!(
            "train on them:   {program} train configs/alpaca.toml --set 'data.sources=[{{path=\"{run}/train.jsonl\"}}]' \
             --set data.template=none\n"
        );
    }
    Ok(text)
}

fn funnel(folder: &Path) -> Result<Funnel> {
    let path = folder.join("funnel.json");
    let read =
        || -> anyhow::Result<Funnel> { Ok(serde_json::from_str(&fs::read_to_string(&path)?)?) };
    Ok(read().with_context(|| format!("cannot read `{}`", path.display()))?)
}
