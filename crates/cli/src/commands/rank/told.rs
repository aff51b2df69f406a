//! What `rank` tells: what it will do, how far it is, and what came of it.

use std::cell::RefCell;

use albacore_data::Statistics;
use albacore_data::rank::{Judge, JudgePrompts, Progress, Summary};
use serde_json::json;

use super::Groups;
use crate::config::Rank;
use crate::data_run::{cost, took};
use crate::failure::{OrRefuse, Result};
use crate::program::program;
use crate::progress::{self, count};
use crate::terminal::Terminal;

/// The bar of an attempt, and which it is.
pub type Shown = Option<(usize, progress::Progress)>;

/// Tells how far a judge is.
pub fn tell(shown: &RefCell<Shown>, now: Progress, terminal: &Terminal) {
    let mut shown = shown.borrow_mut();
    if shown.as_ref().is_none_or(|(attempt, _)| *attempt != now.attempt) {
        // The bar of the attempt before goes first.
        *shown = None;
        let bar = progress::Progress::new(terminal, "replies", now.done, now.total);
        *shown = Some((now.attempt, bar));
    }
    if let Some((attempt, bar)) = shown.as_ref() {
        bar.set(now.done, if *attempt > 0 { "asked again" } else { "" });
    }
}

/// What a judge will be asked.
pub struct Measured {
    /// Those whose question is too long for it are set aside.
    pub groups: Groups,
    first: Option<String>,
    requests: u64,
    prompt_tokens: u64,
}

impl Measured {
    /// Makes every question once. `context` is the most that the judge was made for.
    ///
    /// # Errors
    /// Refused if a template of the user's cannot be filled in.
    pub fn of(
        config: &Rank,
        prompts: &JudgePrompts,
        groups: Groups,
        count_tokens: &dyn Fn(&str) -> usize,
        context: Option<usize>,
    ) -> Result<Self> {
        let mut measured = Self { groups: Vec::new(), first: None, requests: 0, prompt_tokens: 0 };
        for group in groups {
            let group = match group {
                Ok(group) => group,
                Err(why) => {
                    measured.groups.push(Err(why));
                    continue;
                }
            };
            let seed = config.run.seed;
            let prompt = Judge::prompt(&config.rank, seed, prompts, &group).or_refuse()?;
            let tokens = count_tokens(&prompt);
            match context {
                Some(context) if tokens >= context => {
                    let detail =
                        format!("it has about {tokens} tokens, the judge was made for {context}");
                    let why = "a question too long for the judge";
                    measured.groups.push(Err(group.unranked(why, Some(detail))));
                }
                _ => {
                    measured.requests += 1;
                    measured.prompt_tokens += tokens as u64;
                    measured.first.get_or_insert(prompt);
                    measured.groups.push(Ok(group));
                }
            }
        }
        Ok(measured)
    }

    /// What `--dry-run` shows.
    pub fn text(&self, config: &Rank, as_json: bool) -> String {
        let Self { requests, prompt_tokens, .. } = *self;
        let answers = requests * config.rank.max_tokens as u64;
        let cost = cost(config.server.as_ref(), prompt_tokens, answers);
        let first = self.first.as_deref().unwrap_or_default();
        let aside = self.groups.iter().filter(|group| group.is_err()).count();
        if as_json {
            let (least, most) = cost.unzip();
            return json!({
                "run": config.run.folder(), "prompt": first, "sets": self.groups.len(), "set_aside": aside,
                "requests": requests, "prompt_tokens": prompt_tokens, "most_completion_tokens": answers,
                "least_cost": least, "cost_of_as_many": most,
            })
            .to_string();
        }
        let mut text = format!(
            "── the first question ──\n{}\n\n{} requests, {} tokens of questions, at most {} of replies; {} sets \
             cannot be ranked.\nReplies that cannot be read are asked for again.\n",
            first.trim_end(),
            count(requests as usize),
            count(prompt_tokens as usize),
            count(answers as usize),
            count(aside)
        );
        if let Some((least, most)) = cost {
            text += &format!(
                "Cost of so many: {least:.2} to {most:.2}, by the prices in `[server]`.\n"
            );
        }
        text + "Nothing was asked or written.\n"
    }
}

/// What `--dry-run` shows where nobody is asked.
pub fn foretold(config: &Rank, groups: &Groups, as_json: bool) -> String {
    let ranked = groups.iter().flatten();
    let answers: usize = ranked.clone().map(|group| group.candidates.len()).sum();
    let (sets, aside) = (groups.len(), groups.len() - ranked.count());
    if as_json {
        let run = config.run.folder();
        return json!({ "run": run, "sets": sets, "set_aside": aside, "answers": answers })
            .to_string();
    }
    format!(
        "{} sets, {} of which cannot be ranked; {} answers in the others.\nNothing was ranked or written.\n",
        count(sets),
        count(aside),
        count(answers)
    )
}

/// What may surprise.
pub fn warning(summary: &Summary) -> Option<String> {
    let lost = summary.sets - summary.ranked;
    (lost * 2 > summary.sets).then(|| {
        format!(
            "{} of {} sets are not ranked: `unranked.jsonl` says why",
            count(lost),
            count(summary.sets)
        )
    })
}

/// What came of it.
pub fn summary(config: &Rank, summary: &Summary, statistics: &Statistics, as_json: bool) -> String {
    let folder = config.run.folder();
    if as_json {
        return json!({ "run": folder, "summary": summary, "statistics": statistics }).to_string();
    }
    let mut text = String::new();
    if statistics.answers > 0 {
        text += &format!("{}\n", took(statistics));
    }
    let mut line = |number: usize, what: &str| text += &format!("{:>9}  {what}\n", count(number));
    line(summary.sets, "sets");
    for (reason, number) in &summary.unranked {
        line(*number, &format!("not ranked: {reason}"));
    }
    line(summary.ranked, "ranked");
    line(summary.candidates, "answers in these");
    let counts = &summary.counts;
    let rare = [
        (summary.with_ties, "with tied answers"),
        (
            summary.all_tied,
            "with all answers tied: nothing but their place in the file orders them",
        ),
        (counts.empty, "answers that were empty"),
        (counts.merged, "answers that repeated another of their set"),
        (counts.duplicates_of_the_judge, "answers that the judge found to say what another says"),
        (counts.asked_again, "replies asked for again"),
        (counts.without_reference, "sets without the judge's own answer"),
    ];
    rare.into_iter()
        .filter(|(number, _)| *number > 0)
        .for_each(|(number, what)| line(number, what));
    text += &format!("mean difference between neighbours in the order: {:.4}\n", summary.margin);
    if let Some(against) = &summary.against {
        let share = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        let percent = |value: Option<f64>| {
            value.map_or("-".into(), |value| format!("{:.1} %", 100.0 * value))
        };
        let other = config.rank.against.as_deref().unwrap_or(folder.as_path()).display();
        text += &format!(
            "\nagreement with `{other}`\n\
             sets compared    sets apart    Kendall's tau-b    best the same    pairs in the same order\n\
             {:>13} {:>13} {:>18} {:>16} {:>26}\n",
            count(against.sets),
            count(against.apart),
            share(against.kendall_tau_b),
            percent(against.top_1),
            percent(against.same_order),
        );
    }
    text + &format!("\nthe ranking is in `{}/ranked.jsonl` (tuna)\n", folder.display())
}

/// What may be typed next.
pub fn next(config: &Rank) -> String {
    format!(
        "train on it:     {} train CONFIG --set 'data.sources=[{{path=\"{}/ranked.jsonl\"}}]' \
         --set objective.kind=tuna",
        program(),
        config.run.folder().display(),
    )
}
