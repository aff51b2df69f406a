//! The end of a run: what was learned, and what to type next.

use std::path::Path;
use std::time::Duration;

use albacore_eval::Answer;
use albacore_trainer::{End, Outcome};
use serde_json::json;

use crate::config::Config;
use crate::program::program;
use crate::progress::time;
use crate::run_log::shown;

/// What is known at the end of a run.
pub struct Summary<'a> {
    /// Its folder.
    pub run: &'a Path,
    /// Its config.
    pub config: &'a Config,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// Whether a longer run would have had the same learning rates so far.
    pub may_be_longer: bool,
    /// How long this process took.
    pub took: Duration,
    /// Held-out answers, before and after.
    pub samples: &'a [Vec<Answer>; 2],
}

impl Summary<'_> {
    /// The summary for people, or one JSON object.
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return self.json().to_string();
        }
        [self.headline(), self.measured(), self.answers()]
            .iter()
            .filter(|part| !part.is_empty())
            .map(|part| format!("{part}\n"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn headline(&self) -> String {
        let Outcome { end, step, checkpoint, .. } = self.outcome;
        let (run, checkpoint) = (self.run.display(), checkpoint.display());
        match end {
            End::Finished => format!(
                "finished step {step} after {}, the model is in `{checkpoint}`",
                time(self.took)
            ),
            End::AlreadyFinished => format!(
                "run `{run}` had finished already: {step} steps, the model is in `{checkpoint}`"
            ),
            End::Stopped => format!("stopped after step {step}, saved in `{checkpoint}`"),
        }
    }

    /// A table of what was measured before and after: on the held-out examples, then by suites.
    fn measured(&self) -> String {
        let tables = [("held out", "held_out_"), ("suites", "suite_")];
        let tables = tables.map(|(title, prefix)| self.table(title, prefix));
        tables.into_iter().filter(|table| !table.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    /// The values whose names begin alike.
    fn table(&self, title: &str, prefix: &str) -> String {
        let Outcome { before, after, .. } = self.outcome;
        let mut rows = vec![[title.to_owned(), "before".into(), "after".into()]];
        for (name, value) in after {
            let Some(short) = name.strip_prefix(prefix) else { continue };
            let base = before.iter().find(|(known, _)| known == name);
            let base = base.map_or("-".into(), |(_, value)| shown(name, *value));
            rows.push([short.replace('_', " "), base, shown(name, *value)]);
        }
        if rows.len() == 1 {
            return String::new();
        }
        let width = rows[1..].iter().map(|[name, ..]| name.len()).max().unwrap_or(0).max(12);
        let rows = rows
            .iter()
            .map(|[name, before, after]| format!("{name:<width$} {before:>9} {after:>9}"));
        rows.collect::<Vec<_>>().join("\n")
    }

    /// The sample answers.
    fn answers(&self) -> String {
        let [before, after] = self.samples;
        let shown = after.iter().enumerate().map(|(index, answer)| {
            let mut rows = vec![("prompt", &answer.prompt), ("wanted", &answer.wanted)];
            rows.extend(before.get(index).map(|base| ("before", &base.found)));
            rows.push(("after", &answer.found));
            let row = |(name, text): (&str, &String)| {
                format!("{name:<7} {}", text.trim().replace('\n', "\n        "))
            };
            rows.into_iter().map(row).collect::<Vec<_>>().join("\n")
        });
        shown.collect::<Vec<_>>().join("\n\n")
    }

    /// What may be typed next.
    pub fn next(&self) -> String {
        match self.outcome.end {
            End::Stopped => "\nrun the same command again to go on".into(),
            End::Finished => format!("\nnext\n{}", self.use_it()),
            End::AlreadyFinished => format!(
                "\nnext\n{}\nor the same command with more\n{}",
                self.use_it(),
                self.train_more()
            ),
        }
    }

    fn use_it(&self) -> String {
        let (run, name, albacore) = (self.run.display(), &self.config.run.name, program());
        let page = match self.config.eval.suites.is_empty() {
            true => String::new(),
            false => format!("\n  {albacore} report {run}/evaluation"),
        };
        format!(
            "  {albacore} complete {run} --prompt \"…\"\n  {albacore} export {run} out/{name}{page}"
        )
    }

    /// What to add to the command of a finished run, and what that does.
    fn train_more(&self) -> String {
        let (run, name) = (self.run.display(), &self.config.run.name);
        let steps = 2 * self.outcome.step;
        let names = (2..).map(|number| format!("{name}-{number}"));
        let mut free = names.skip_while(|name| self.run.with_file_name(name).exists());
        let another = free.next().expect("numbers do not end");
        let longer = match self.may_be_longer {
            true => (format!("--set train.steps={steps}"), "trains on"),
            false => (
                format!("--set train.steps={steps} --accept-changes"),
                "trains on; the learning rate rises again",
            ),
        };
        let more = [
            longer,
            (
                format!("--set model.path={run} --set run.name={another}"),
                "a new run, from this one's model",
            ),
            (format!("--set run.name={another}"), "a new run, from the start"),
            ("--resume never".into(), "from the start; what is here is moved aside"),
        ];
        let width = more.iter().map(|(options, _)| options.len()).max().unwrap_or(0);
        more.map(|(options, does)| format!("  {options:<width$}   {does}")).join("\n")
    }

    fn json(&self) -> serde_json::Value {
        let Outcome { end, step, checkpoint, before, after } = self.outcome;
        let end = match end {
            End::Finished => "finished",
            End::AlreadyFinished => "already_finished",
            End::Stopped => "stopped",
        };
        let object = |named: &[(String, f64)]| -> serde_json::Map<String, serde_json::Value> {
            named.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let sample = |answer: &Answer| json!({ "prompt": answer.prompt, "wanted": answer.wanted, "found": answer.found });
        json!({
            "end": end,
            "step": step,
            "run": self.run,
            "checkpoint": checkpoint,
            "before": object(before),
            "after": object(after),
            "samples": self.samples[1].iter().map(sample).collect::<Vec<_>>(),
        })
    }
}
