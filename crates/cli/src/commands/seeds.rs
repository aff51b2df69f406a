//! `albacore seeds check`: whether a file of seed tasks is fit to start from.

use albacore_data::bootstrap::{SeedTask, read_seeds};
use albacore_data::{Novelty, Rule, Tokenization, is_wordless};
use anyhow::anyhow;
use serde_json::json;

use crate::args::{CheckSeeds, Seeds, SeedsAction};
use crate::failure::{Failure, OrRefuse, Outcome, Result};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the file cannot be read or is malformed, with all that is; fails if two instructions are
/// too alike.
pub fn run(options: &Seeds, terminal: &Terminal) -> Result {
    let SeedsAction::Check(options) = &options.action;
    let seeds = read_seeds(&options.file).or_refuse()?;
    let looked = Looked::over(&seeds, options);
    terminal.print(&looked.text(terminal.json))?;
    match looked.alike.len() {
        0 => Ok(Outcome::Done),
        alike => Err(Failure::Failed(anyhow!(
            "instructions too like an earlier one: {alike}, wanted a ROUGE-L of {} or less",
            options.rouge_l
        ))),
    }
}

/// What a file of seed tasks holds.
struct Looked<'s> {
    seeds: &'s [SeedTask],
    /// Two that are too alike, the earlier one first, and how alike.
    alike: Vec<(&'s SeedTask, &'s SeedTask, f64)>,
    /// Those that stage 1 would reject if the model had written them, and its rule.
    rejected: Vec<(&'s SeedTask, &'static str)>,
    wordless: Vec<&'s SeedTask>,
}

impl<'s> Looked<'s> {
    fn over(seeds: &'s [SeedTask], options: &CheckSeeds) -> Self {
        let tokenization =
            if options.unicode { Tokenization::Unicode } else { Tokenization::Ascii };
        let rules = Rule::self_instruct();
        let mut novelty = Novelty::new(options.rouge_l, tokenization);
        let (mut alike, mut rejected, mut wordless) = (Vec::new(), Vec::new(), Vec::new());
        for seed in seeds {
            let text = &seed.instruction;
            if let Some(like) = novelty.nearest(text) {
                alike.push((&seeds[like.index], seed, like.score));
            }
            novelty.insert(text);
            if let Some(rule) = rules.iter().find(|rule| rule.rejects(text).is_some()) {
                rejected.push((seed, rule.name()));
            }
            if is_wordless(text, tokenization) {
                wordless.push(seed);
            }
        }
        Self { seeds, alike, rejected, wordless }
    }

    fn text(&self, as_json: bool) -> String {
        let Self { seeds, alike, rejected, wordless } = self;
        let tasks = seeds.len();
        let classification = seeds.iter().filter(|seed| seed.is_classification).count();
        let instances = seeds.iter().map(|seed| seed.instances.len()).sum::<usize>();
        let inputs = seeds.iter().flat_map(|seed| &seed.instances);
        let without_input = inputs.filter(|instance| instance.input.trim().is_empty()).count();
        let mut words: Vec<_> =
            seeds.iter().map(|seed| seed.instruction.split_whitespace().count()).collect();
        words.sort_unstable();
        let (least, median, most) = (
            words.first().unwrap_or(&0),
            words.get(tasks / 2).unwrap_or(&0),
            words.last().unwrap_or(&0),
        );
        if as_json {
            let alike = alike.iter().map(|(one, two, score)| json!([one.id, two.id, score]));
            let rejected = rejected.iter().map(|(seed, rule)| json!([seed.id, rule]));
            return json!({
                "tasks": tasks, "classification": classification, "instances": instances,
                "without_input": without_input, "words": [least, median, most],
                "alike": alike.collect::<Vec<_>>(), "rejected": rejected.collect::<Vec<_>>(),
                "wordless": wordless.iter().map(|seed| &seed.id).collect::<Vec<_>>(),
            })
            .to_string();
        }
        let share = 100.0 * classification as f64 / tasks.max(1) as f64;
        let mut text = format!(
            "{tasks} tasks, {classification} of them classification ({share:.0} %)\n\
             {instances} instances, {without_input} without input\n\
             instructions of {least} to {most} words, half of them of {median} or fewer\n"
        );
        if tasks < 8 {
            text += "fewer than 8 tasks: the prompts of stage 1 show 8 where there are as many\n";
        }
        if !(5.0..=50.0).contains(&share) {
            text += "out of balance: the published seeds have 14 % classification, and a model writes what it is shown\n";
        }
        for (one, two, score) in alike {
            text += &format!(
                "too alike: ROUGE-L {score:.3}\n  {}: {}\n  {}: {}\n",
                one.id, one.instruction, two.id, two.instruction
            );
        }
        for (seed, rule) in rejected {
            text +=
                &format!("would be rejected as `{rule}` if a model had written it: {}\n", seed.id);
        }
        for seed in wordless {
            text += &format!(
                "no ASCII letter or digit, like no other text without `--unicode`: {}\n",
                seed.id
            );
        }
        text
    }
}
