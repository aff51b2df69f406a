//! By a judge who sees all answers at once: contextual ranking.
//!
//! ```text
//!  settings.json      what every reply follows from: a run goes on only with the same
//!  requests.jsonl     the journal: every reply, as it came, under `rank/ID/ATTEMPT`
//!  judgements.jsonl   every question and its reply, and which answer was shown where: written at the end
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::reply::{Order, parse_reply};
use super::{Counts, Group, JudgePrompts, RankConfig, Unranked, prompts};
use crate::candidates::{JUDGE, Response};
use crate::journal::ask_each;
use crate::random::shuffled;
use crate::settings::{self, digest};
use crate::{
    Completion, CompletionRequest, Journal, LanguageModel, Prompt, Random, Result, Statistics,
    lines,
};

/// A judge, and how it is asked.
pub struct Judge<'r> {
    /// The run's folder.
    pub folder: &'r Path,
    /// The settings, which are valid.
    pub config: &'r RankConfig,
    /// The seed of everything random.
    pub seed: u64,
    /// What it is asked.
    pub prompts: &'r JudgePrompts,
    /// Who judges.
    pub model: &'r dyn LanguageModel,
    /// Whether it is asked by messages.
    pub chats: bool,
    /// Whether to stop.
    pub stop: &'r dyn Fn() -> bool,
    /// Is told how far it is.
    pub progress: &'r dyn Fn(Progress),
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which, from 0.
    pub attempt: usize,
    /// Replies that have come.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// How judging ended.
#[derive(Debug)]
pub enum Judged {
    /// All was asked: each group as it came out, and what that took.
    Complete(Vec<Result<Group, Unranked>>, Counts, Statistics),
    /// It was asked to stop: the next start goes on.
    Stopped,
}

/// A question, what came of it, and why that cannot be read if it cannot: a line of `judgements.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The group's.
    pub id: String,
    /// The attempt, from 0.
    pub attempt: usize,
    /// For each place, which candidate was shown there.
    pub shown: Vec<usize>,
    /// All that was asked.
    pub question: String,
    /// What was said; nothing if the question was refused.
    pub reply: String,
    /// Why there is no order in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Judge<'_> {
    /// Looks whether the folder is new, or holds this run. Touches nothing.
    ///
    /// # Errors
    /// If its run has other settings, which are named.
    pub fn check(&self) -> Result<()> {
        settings::check(self.folder, &self.settings())
    }

    /// The prompt of one group, as the first attempt asks it.
    ///
    /// # Errors
    /// If a template of the user's cannot be filled in.
    pub fn prompt(
        config: &RankConfig,
        seed: u64,
        templates: &JudgePrompts,
        group: &Group,
    ) -> Result<String> {
        let shown = order(config, seed, group, 0);
        let texts = shown.iter().map(|&index| group.candidates[index].text.as_str());
        let prompt = templates.ask(&group.prompt, &texts.collect::<Vec<_>>(), true)?;
        Ok(prompts::text(&prompt))
    }

    /// Asks about every group; a reply that cannot be read is asked for again, with other random numbers.
    ///
    /// # Errors
    /// If the folder holds a run with other settings, a file cannot be read or written, a template cannot
    /// be filled in, or the model fails.
    pub fn run(&self, groups: Vec<Result<Group, Unranked>>) -> Result<Judged> {
        self.check()?;
        settings::keep(self.folder, &self.settings())?;
        let mut journal = Journal::open(self.folder.join("requests.jsonl"))?;
        let (mut counts, mut statistics) = (Counts::default(), Statistics::default());
        let mut orders: Vec<Option<(Order, usize)>> = groups.iter().map(|_| None).collect();
        let mut judgements: Vec<Judgement> = Vec::new();
        // The last judgement of each group.
        let mut last: Vec<Option<usize>> = vec![None; groups.len()];
        for attempt in 0..self.config.attempts {
            let open = |index: &usize| groups[*index].is_ok() && orders[*index].is_none();
            let open: Vec<usize> = (0..groups.len()).filter(open).collect();
            if open.is_empty() {
                break;
            }
            counts.asked_again += if attempt > 0 { open.len() } else { 0 };
            let Some((replies, took)) = self.attempt(&mut journal, attempt, &open, &groups)? else {
                return Ok(Judged::Stopped);
            };
            statistics.join(&took);
            for (index, reply) in open.into_iter().zip(replies) {
                let group = groups[index].as_ref().expect("it was asked about");
                let order = match &reply {
                    Some(reply) => parse_reply(reply, group.candidates.len()),
                    None => Err("the judge refuses the question".into()),
                };
                let mut judgement = self.judgement(group, attempt, reply.unwrap_or_default())?;
                match order {
                    Ok(order) => orders[index] = Some((order, attempt)),
                    Err(problem) => judgement.problem = Some(problem),
                }
                last[index] = Some(judgements.len());
                judgements.push(judgement);
            }
        }
        lines::replace(&self.folder.join("judgements.jsonl"), judgements.iter())?;
        let judged = groups.into_iter().zip(orders).zip(last).map(|((group, order), last)| {
            let (group, last) = (group?, &judgements[last.expect("each group was asked about")]);
            if let Some((order, attempt)) = order {
                return self.apply(group, order, attempt, &mut counts);
            }
            let unranked = group.unranked("the judge's reply cannot be read", last.problem.clone());
            Err(Unranked { reply: Some(last.reply.clone()), ..unranked })
        });
        let judged = judged.collect();
        Ok(Judged::Complete(judged, counts, statistics))
    }

    /// What is asked about a group.
    fn ask(&self, group: &Group, attempt: usize) -> Result<Prompt> {
        let shown = order(self.config, self.seed, group, attempt);
        let texts = shown.iter().map(|&index| group.candidates[index].text.as_str());
        self.prompts.ask(&group.prompt, &texts.collect::<Vec<_>>(), self.chats)
    }

    fn judgement(&self, group: &Group, attempt: usize, reply: String) -> Result<Judgement> {
        Ok(Judgement {
            id: group.id.clone(),
            attempt,
            shown: order(self.config, self.seed, group, attempt),
            question: prompts::text(&self.ask(group, attempt)?),
            reply,
            problem: None,
        })
    }

    /// Asks about these groups, and has no reply where a question was refused; `None` if it was asked to stop.
    fn attempt(
        &self,
        journal: &mut Journal,
        attempt: usize,
        open: &[usize],
        groups: &[Result<Group, Unranked>],
    ) -> Result<Option<(Vec<Option<String>>, Statistics)>> {
        let group = |number: usize| groups[open[number]].as_ref().expect("it can be ranked");
        let mut failed = None;
        let mut requests = (0..open.len()).map_while(|number| {
            let group = group(number);
            let prompt = self.ask(group, attempt);
            let prompt = prompt.map_err(|error| failed = Some(error)).ok()?;
            let key = key(group, attempt);
            let seed = Random::new(self.seed, &key, 0).next();
            let decoding = self.config.decoding();
            Some((key, CompletionRequest { prompt, decoding, seed, logprobs: false }))
        });
        let mut replies: Vec<Option<Option<String>>> = vec![None; open.len()];
        let mut done = 0;
        let mut on_answer = |number: usize, answer: Option<Completion>| {
            replies[number] = Some(answer.map(|answer| answer.text));
            done += 1;
            (self.progress)(Progress { attempt, done, total: open.len() as u64 });
        };
        let asked = ask_each(self.model, journal, &mut requests, self.stop, &mut on_answer);
        drop(requests);
        failed.map_or(Ok(()), Err)?;
        let statistics = asked?;
        Ok(replies.into_iter().collect::<Option<Vec<_>>>().map(|replies| (replies, statistics)))
    }

    /// Gives the answers the scores of an order: 0 for the worst, 1 more for each better one. Those that
    /// say the same as others are left out.
    fn apply(
        &self,
        mut group: Group,
        read: Order,
        attempt: usize,
        counts: &mut Counts,
    ) -> Result<Group, Unranked> {
        let shown = order(self.config, self.seed, &group, attempt);
        let own = shown.len();
        let reference = read.reference.filter(|text| {
            let repeats = group.candidates.iter().any(|candidate| candidate.text == *text);
            self.config.keep_reference && !repeats
        });
        let is_ranked = read.best_first.contains(&own);
        counts.without_reference +=
            usize::from(self.config.keep_reference && (reference.is_none() || !is_ranked));
        counts.duplicates_of_the_judge +=
            read.duplicates.iter().filter(|number| **number != own).count();
        let kept = |number: &&usize| **number != own || reference.is_some();
        let best_first: Vec<usize> = read.best_first.iter().filter(kept).copied().collect();
        let mut places: Vec<Option<usize>> = vec![None; own + 1];
        for (place, &number) in best_first.iter().rev().enumerate() {
            let index = if number == own { own } else { shown[number] };
            places[index] = Some(place);
        }
        if let Some(text) = reference {
            group.candidates.push(Response::new(text, JUDGE));
        }
        let scored = group.candidates.into_iter().zip(places);
        let scored = scored.filter_map(|(candidate, place)| {
            Some(Response { score: Some(place? as f64), ..candidate })
        });
        group.candidates = scored.collect();
        match group.candidates.len() {
            0 | 1 => {
                Err(group
                    .unranked("one candidate", Some("the judge finds all others alike".into())))
            }
            _ => Ok(group),
        }
    }

    /// What changes a reply.
    fn settings(&self) -> Map<String, Value> {
        let settings = json!({
            "command": "rank",
            "kind": self.config.kind,
            "model": self.model.identity(),
            "chats": self.chats,
            "seed": self.seed,
            "decoding": self.config.decoding(),
            "prompts": digest(&self.prompts.texts()),
            "shuffle": self.config.shuffle,
        });
        let Value::Object(settings) = settings else { unreachable!("it is one") };
        settings
    }
}

fn key(group: &Group, attempt: usize) -> String {
    format!("rank/{}/{attempt}", group.id)
}

/// Which candidate is shown at each place.
fn order(config: &RankConfig, seed: u64, group: &Group, attempt: usize) -> Vec<usize> {
    let count = group.candidates.len();
    if !config.shuffle {
        return (0..count).collect();
    }
    let random = Random::new(seed, &format!("order of {}", key(group, attempt)), 0);
    shuffled(count, random).into_iter().map(|index| index as usize).collect()
}
