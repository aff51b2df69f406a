//! What a run of `bootstrap` will ask: shown by `--dry-run`, and checked against the model's context.

use albacore_data::bootstrap::{Foretold, Stage};
use serde_json::json;

use super::Job;
use crate::data_run::cost;
use crate::failure::Result;
use crate::progress::count;
use crate::writer::refuse_too_long;

impl Job<'_> {
    /// Looks at a prompt of each stage; shows it if asked to.
    ///
    /// # Errors
    /// Refused if a template cannot be filled in, or leaves the model no room for an answer.
    pub fn foretell(
        &self,
        stages: &[Stage],
        count_tokens: &dyn Fn(&str) -> usize,
        context: Option<usize>,
        show: bool,
    ) -> Result<()> {
        use crate::failure::OrRefuse;
        let foretold = self.recipe().foretell(count_tokens).or_refuse()?;
        let foretold = foretold.iter().filter(|stage| stages.contains(&stage.stage));
        for stage in foretold.clone() {
            let tokens = (stage.prompt_tokens / stage.requests.max(1)) as usize;
            refuse_too_long(tokens, context.unwrap_or(usize::MAX), stage.stage.name())?;
        }
        if show {
            self.terminal.print(&self.text(&foretold.collect::<Vec<_>>()))?;
        }
        Ok(())
    }

    fn text(&self, foretold: &[&Foretold]) -> String {
        let sum = |of: fn(&Foretold) -> u64| foretold.iter().map(|stage| of(stage)).sum::<u64>();
        let requests = sum(|stage| stage.requests);
        let (prompts, answers) =
            (sum(|stage| stage.prompt_tokens), sum(|stage| stage.completion_tokens));
        let cost = cost(self.config.server.as_ref(), prompts, answers);
        if self.terminal.json {
            let stage = |stage: &&Foretold| {
                json!({
                    "stage": stage.stage, "requests": stage.requests,
                    "prompt_tokens": stage.prompt_tokens,
                    "most_completion_tokens": stage.completion_tokens, "prompt": stage.prompt,
                })
            };
            let stages = foretold.iter().map(stage).collect::<Vec<_>>();
            let (least, most) = cost.unzip();
            return json!({ "run": self.config.run.folder(), "stages": stages, "least_cost": least,
                           "cost_of_as_many": most })
            .to_string();
        }
        let mut text = String::new();
        for stage in foretold {
            let name = stage.stage.name();
            text +=
                &format!("── a prompt of the stage `{name}` ──\n{}\n\n", stage.prompt.trim_end());
        }
        text += "stage             requests   prompt tokens   answer tokens\n";
        let mut row = |name: &str, requests: u64, prompts: u64, answers: u64| {
            let [requests, prompts, answers] =
                [requests, prompts, answers].map(|n| count(n as usize));
            text += &format!("{name:<14} {requests:>11} {prompts:>15} {answers:>15}\n");
        };
        for stage in foretold {
            row(stage.stage.name(), stage.requests, stage.prompt_tokens, stage.completion_tokens);
        }
        if foretold.len() > 1 {
            row("all", requests, prompts, answers);
        }
        text += "Requests are the fewest there can be: each instruction that is rejected asks for more. Answers \
                 are rarely as long as they may be.\n";
        if let Some((least, most)) = cost {
            text += &format!(
                "Cost of so many: {least:.2} to {most:.2}, by the prices in `[server]`.\n"
            );
        }
        text + "Nothing was asked or written.\n"
    }
}
