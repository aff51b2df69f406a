//! Stage 1: rounds of prompts that show a few tasks and ask for more.
//!
//! All prompts of a round are made from one state of the pool; what comes back is looked at in the
//! order of the prompts, so that a round depends on the seed and the rounds before, and on nothing
//! else. Each round is written whole; a run that was killed repeats the last one from its journal.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BootstrapConfig, Candidate, Instance, SeedTask, Shown};
use crate::lines::{self, Appended};
use crate::random::shuffled;
use crate::{Novelty, Random, Result, Rule};

/// How many of the most similar texts are recorded with an instruction.
const MOST_SIMILAR: usize = 10;

/// An instruction that was accepted: a line of `instructions.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewInstruction {
    /// What is to be done.
    pub instruction: String,
    /// Its input and output, if they were written with it.
    #[serde(flatten)]
    pub instance: Option<Instance>,
    /// The most similar texts of the pool, and their ROUGE-L, highest first.
    pub most_similar: Map<String, Value>,
    /// The mean of its ROUGE-L with all of the pool.
    pub avg_similarity_score: f64,
    /// The round.
    pub request_idx: u64,
    /// The request, in the journal.
    pub request: String,
}

/// An instruction that was not: a line of `rejected.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// What the model wrote.
    pub instruction: String,
    /// The rule that speaks against it.
    pub rule: String,
    /// The most similar text, where it is too similar to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_similar: Option<String>,
    /// Its ROUGE-L with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The round.
    pub request_idx: u64,
    /// The request, in the journal.
    pub request: String,
}

/// The tasks that there are, and the rounds so far.
pub(super) struct Pool<'s> {
    seeds: &'s [SeedTask],
    accepted: Vec<NewInstruction>,
    /// What an instruction is asked by itself.
    rules: Vec<Rule>,
    /// Texts of both, in this order.
    novelty: Novelty,
    accepted_file: Appended,
    rejected_file: Appended,
    /// Of all rounds so far.
    rejected: BTreeMap<String, u64>,
    /// The next round.
    round: u64,
}

impl<'s> Pool<'s> {
    /// Goes on where the files of a run end: the last round may have been written in part, and is
    /// made again.
    pub(super) fn open(
        accepted_path: &Path,
        rejected_path: &Path,
        seeds: &'s [SeedTask],
        config: &BootstrapConfig,
    ) -> Result<Self> {
        let mut accepted: Vec<NewInstruction> = lines::read(accepted_path)?;
        let mut rejected: Vec<Rejected> = lines::read(rejected_path)?;
        let last = accepted.last().map(|line| line.request_idx);
        let last = last.max(rejected.last().map(|line| line.request_idx));
        let mut round = last.unwrap_or(0);
        let before = accepted.iter().filter(|line| line.request_idx < round).count();
        if before >= config.instructions {
            // More than are wanted now: nothing is made again, and what there is stays.
            round += 1;
        }
        accepted.retain(|line| line.request_idx < round);
        rejected.retain(|line| line.request_idx < round);
        let mut novelty = Novelty::new(config.novelty, config.tokenization());
        novelty.extend(seeds.iter().map(|seed| seed.instruction.as_str()));
        novelty.extend(accepted.iter().map(|line| line.instruction.as_str()));
        let mut counts = BTreeMap::new();
        for line in &rejected {
            *counts.entry(line.rule.clone()).or_default() += 1;
        }
        Ok(Self {
            seeds,
            accepted_file: Appended::after(accepted_path, accepted.len())?,
            rejected_file: Appended::after(rejected_path, rejected.len())?,
            accepted,
            rules: config.rules(),
            novelty,
            rejected: counts,
            round,
        })
    }

    /// What was accepted so far.
    pub(super) fn accepted(&self) -> &[NewInstruction] {
        &self.accepted
    }

    /// What was rejected so far, by rule.
    pub(super) fn rejected(&self) -> &BTreeMap<String, u64> {
        &self.rejected
    }

    /// The number of the next round.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Rounds that have passed since one brought something.
    pub(super) fn rounds_in_vain(&self) -> u64 {
        let last = self.accepted.last().map_or(0, |line| line.request_idx + 1);
        self.round - last.min(self.round)
    }

    /// The tasks that prompt `number` of this round shows.
    pub(super) fn draw(&self, number: u64, all: usize, machine: usize, seed: u64) -> Vec<Shown> {
        draw(self.seeds, &self.accepted, self.round, number, all, machine, seed)
    }

    /// Looks at what a round has brought, in order, each with the request that brought it. Writes
    /// the round.
    pub(super) fn finish_round(&mut self, candidates: Vec<(String, Candidate)>) -> Result<()> {
        let (before, mut rejected) = (self.accepted.len(), Vec::new());
        for (request, Candidate { instruction, instance }) in candidates {
            let mut reject = |instruction, rule: String, most_similar, score| {
                *self.rejected.entry(rule.clone()).or_default() += 1;
                let request_idx = self.round;
                let request = request.clone();
                rejected.push(Rejected {
                    instruction,
                    rule,
                    most_similar,
                    score,
                    request_idx,
                    request,
                });
            };
            if let Some(rule) = self.rules.iter().find(|rule| rule.rejects(&instruction).is_some())
            {
                reject(instruction, rule.name().into(), None, None);
                continue;
            }
            if let Some(like) = self.novelty.nearest(&instruction) {
                let nearest = text(self.seeds, &self.accepted, like.index).to_owned();
                reject(instruction, "rouge_l".into(), Some(nearest), Some(like.score));
                continue;
            }
            let scores = self.novelty.scores(&instruction, MOST_SIMILAR);
            let named = scores.nearest.iter().map(|like| {
                let text = text(self.seeds, &self.accepted, like.index);
                (text.to_owned(), Value::from(like.score))
            });
            let most_similar = named.collect();
            self.novelty.insert(&instruction);
            self.accepted.push(NewInstruction {
                instruction,
                instance,
                most_similar,
                avg_similarity_score: scores.mean,
                request_idx: self.round,
                request,
            });
        }
        self.accepted_file.append(&self.accepted[before..])?;
        self.rejected_file.append(&rejected)?;
        self.round += 1;
        Ok(())
    }
}

/// The tasks that prompt `number` of a round shows: some of the model's own, if there are any, the
/// others seeds, in random order.
pub(super) fn draw(
    seeds: &[SeedTask],
    accepted: &[NewInstruction],
    round: u64,
    number: u64,
    all: usize,
    machine: usize,
    seed: u64,
) -> Vec<Shown> {
    let mut random = Random::new(seed, &format!("tasks shown in round {round}"), number);
    let machine = machine.min(accepted.len());
    let own = sample(accepted.len(), machine, &mut random).into_iter().map(|index| {
        let NewInstruction { instruction, instance, .. } = &accepted[index];
        Shown::new(instruction, instance.as_ref())
    });
    let wanted = (all - machine).min(seeds.len());
    let seeds = sample(seeds.len(), wanted, &mut random).into_iter().map(|index| {
        let seed = &seeds[index];
        Shown::new(&seed.instruction, seed.instances.first())
    });
    let mut shown = own.chain(seeds).collect::<Vec<_>>();
    random.shuffle(&mut shown);
    shown
}

/// Text number `index` of the pool.
fn text<'t>(seeds: &'t [SeedTask], accepted: &'t [NewInstruction], index: usize) -> &'t str {
    match seeds.get(index) {
        Some(seed) => &seed.instruction,
        None => &accepted[index - seeds.len()].instruction,
    }
}

/// `count` different numbers below `len`.
fn sample(len: usize, count: usize, random: &mut Random) -> Vec<usize> {
    if count * 4 > len {
        let purpose = Random::new(random.next(), "sample", 0);
        return shuffled(len, purpose)[..count].iter().map(|&index| index as usize).collect();
    }
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let index = random.below(len);
        if !drawn.contains(&index) {
            drawn.push(index);
        }
    }
    drawn
}
