//! What each stage does.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::folder::refused;
use super::instructions::Pool;
use super::run::{AlpacaRecord, Classified, Ended, Funnel, Progress, Run, Stage};
use super::{Method, NewInstruction, RawInstances, Task, Unused, finetuning_records, parse_task};
use crate::journal::ask_each;
use crate::{
    Completion, CompletionRequest, Decoding, Entry, Error, FinishReason, Journal, Outcome, Prompt,
    Random, Result, Statistics, lines,
};

/// What a round of requests has come to.
enum Answers {
    /// One each, in order; `None` for a request that was refused for good.
    All(Vec<Option<Completion>>, Statistics),
    /// The run was asked to stop.
    Stopped,
}

impl Run<'_> {
    /// Stage 1.
    pub(super) fn instructions(&self, journal: &mut Journal) -> Result<Ended> {
        let (accepted, rejected) = (self.path("instructions.jsonl"), self.path("rejected.jsonl"));
        let seeds = self.recipe.eligible_seeds();
        let mut pool = Pool::open(&accepted, &rejected, &seeds, self.recipe.config)?;
        let (mut statistics, mut cut_off) = self.rounds_before(journal, pool.round())?;
        let patience = self.recipe.config.patience as u64;
        while pool.accepted().len() < self.recipe.config.instructions {
            if patience > 0 && pool.rounds_in_vain() >= patience {
                let mut warning = format!(
                    "{patience} rounds brought no new instruction: stage 1 ends with {} of {}",
                    pool.accepted().len(),
                    self.recipe.config.instructions
                );
                if cut_off > 0 {
                    warning += &format!(
                        "; {cut_off} of {} answers were cut off: `bootstrap.instruction_decoding` \
                         has a `max_tokens` of {}",
                        statistics.answers,
                        self.recipe.config.instruction_decoding().max_tokens
                    );
                }
                return Ok(Ended::Complete { statistics, warning: Some(warning) });
            }
            let (round, prompts) = (pool.round(), self.round_prompts(&pool)?);
            let key = |number: usize| format!("instructions/{round}/{number}");
            let requests = prompts.iter().enumerate().map(|(number, (prompt, _))| {
                let decoding = self.recipe.config.instruction_decoding();
                (key(number), self.request(&key(number), prompt.clone(), decoding))
            });
            let progress = |answers| {
                (self.progress)(Progress {
                    stage: Stage::Instructions,
                    done: pool.accepted().len() as u64,
                    total: self.recipe.config.instructions as u64,
                    rejected: pool.rejected(),
                    answers: round * prompts.len() as u64 + answers,
                });
            };
            let Answers::All(answers, took) =
                self.ask(journal, prompts.len(), &mut requests.into_iter(), &progress)?
            else {
                return Ok(Ended::Stopped);
            };
            statistics.join(&took);
            cut_off += answers.iter().flatten().filter(|answer| is_cut_off(answer)).count();
            let candidates = answers.iter().zip(&prompts).enumerate();
            let candidates = candidates.flat_map(|(number, (answer, (_, shown)))| {
                // A prompt that was refused brings nothing.
                let Some(answer) = answer else { return Vec::new() };
                let candidates = self.recipe.with_writer(|writer| writer.parse(answer, *shown));
                candidates.into_iter().map(|candidate| (key(number), candidate)).collect()
            });
            pool.finish_round(candidates.collect())?;
        }
        Ok(Ended::Complete { statistics, warning: None })
    }

    /// What the requests of the rounds before this one took, and how many of their answers were cut off.
    fn rounds_before(&self, journal: &mut Journal, round: u64) -> Result<(Statistics, usize)> {
        let (mut statistics, mut cut_off) = (Statistics::default(), 0);
        if round == 0 {
            return Ok((statistics, cut_off));
        }
        for entry in journal.entries() {
            let Entry { key, outcome, .. } = entry?;
            let mut parts = key.split('/');
            let is_ours = parts.next() == Some(Stage::Instructions.name());
            let number = parts.next().and_then(|round| round.parse::<u64>().ok());
            if is_ours && number.is_some_and(|number| number < round) {
                match outcome {
                    Outcome::Completion(answer) => {
                        statistics.add(&answer, self.model.cost(&answer.usage));
                        cut_off += usize::from(is_cut_off(&answer));
                    }
                    Outcome::Refusal(_) => statistics.refused += 1,
                }
            }
        }
        Ok((statistics, cut_off))
    }

    /// The prompts of the next round, each with the number of tasks that it shows.
    fn round_prompts(&self, pool: &Pool<'_>) -> Result<Vec<(String, usize)>> {
        let (all, machine) =
            (self.recipe.config.tasks_per_prompt(), self.recipe.config.machine_tasks_per_prompt());
        let prompts = (0..self.recipe.config.prompts_per_round).map(|number| {
            let shown = pool.draw(number as u64, all, machine, self.recipe.seed);
            Ok((self.recipe.with_writer(|writer| writer.prompt(&shown))?, shown.len()))
        });
        prompts.collect()
    }

    /// Stage 2.
    pub(super) fn classification(&self, journal: &mut Journal) -> Result<Ended> {
        let instructions: Vec<NewInstruction> = lines::read(&self.path("instructions.jsonl"))?;
        let mut failed = None;
        let mut requests = instructions.iter().enumerate().map_while(|(number, line)| {
            let key = format!("classification/{number}");
            let prompt = self.recipe.prompts.is_classification(&line.instruction);
            let prompt = prompt.map_err(|error| failed = Some(error)).ok()?;
            let request =
                self.request(&key, prompt, self.recipe.config.classification_decoding.clone());
            Some((key, request))
        });
        let answers = self.ask(journal, instructions.len(), &mut requests, &|answers| {
            self.tell(Stage::Classification, answers, instructions.len());
        });
        failed.map_or(Ok(()), Err)?;
        let Answers::All(answers, statistics) = answers? else { return Ok(Ended::Stopped) };
        let lines = instructions.into_iter().zip(answers).map(|(line, answer)| Classified {
            instruction: line.instruction,
            refused: answer.is_none(),
            is_classification: answer.map_or(String::new(), |answer| answer.text),
        });
        lines::replace(&self.path("classification.jsonl"), lines)?;
        Ok(Ended::Complete { statistics, warning: None })
    }

    /// Stage 3.
    pub(super) fn instances(&self, journal: &mut Journal) -> Result<Ended> {
        let tasks: Vec<Classified> = lines::read(&self.path("classification.jsonl"))?;
        let accepted: Vec<IgnoredAny> = lines::read(&self.path("instructions.jsonl"))?;
        self.refuse_behind(Stage::Instances, tasks.len(), accepted.len())?;
        let mut failed = None;
        let (open, refused): (Vec<_>, Vec<_>) =
            tasks.iter().enumerate().partition(|(_, task)| !task.refused);
        let mut requests = open.iter().map_while(|(number, task)| {
            let key = format!("instances/{number}");
            let prompt = self.recipe.prompts.instances(&task.instruction, task.is_yes());
            let prompt = prompt.map_err(|error| failed = Some(error)).ok()?;
            let decoding = self.recipe.config.instance_decoding(task.is_yes());
            let request = self.request(&key, prompt, decoding);
            Some((key, request))
        });
        let answers = self.ask(journal, open.len(), &mut requests, &|answers| {
            self.tell(Stage::Instances, answers, open.len());
        });
        drop(requests);
        failed.map_or(Ok(()), Err)?;
        let Answers::All(answers, statistics) = answers? else { return Ok(Ended::Stopped) };
        let refused = refused.into_iter().map(|task| (task, None));
        let mut lines = open.into_iter().zip(answers).chain(refused).collect::<Vec<_>>();
        lines.sort_by_key(|((number, _), _)| *number);
        let lines = lines.into_iter().map(|((_, task), answer)| RawInstances {
            instruction: task.instruction.clone(),
            is_classification: task.is_yes(),
            refused: answer.is_none(),
            finish_reason: answer
                .as_ref()
                .map_or(FinishReason::Stop, |answer| answer.finish_reason.clone()),
            raw_instances: answer.map_or(String::new(), |answer| answer.text),
        });
        lines::replace(&self.path("instances.jsonl"), lines)?;
        Ok(Ended::Complete { statistics, warning: None })
    }

    /// Stage 4.
    pub(super) fn records(&self) -> Result<Ended> {
        let accepted: Vec<NewInstruction> = lines::read(&self.path("instructions.jsonl"))?;
        let rejected: Vec<super::Rejected> = lines::read(&self.path("rejected.jsonl"))?;
        let mut funnel = Funnel { accepted: accepted.len() as u64, ..Funnel::default() };
        for line in rejected {
            *funnel.rejected.entry(line.rule).or_default() += 1;
        }
        funnel.refused = refused(&self.path("requests.jsonl"))?;
        funnel.written = funnel.accepted + funnel.rejected.values().sum::<u64>();
        let tasks = match self.recipe.config.method {
            Method::SelfInstruct => self.parsed(&mut funnel)?,
            Method::Alpaca => {
                // The published code keeps what has no output; training refuses it.
                let has_output = |line: &NewInstruction| {
                    line.instance.as_ref().is_some_and(|instance| !instance.output.is_empty())
                };
                let (good, empty): (Vec<_>, Vec<_>) = accepted.into_iter().partition(has_output);
                if !empty.is_empty() {
                    funnel.unused_instances.insert(Unused::EmptyOutput, empty.len());
                }
                let task = |line: NewInstruction| Task {
                    instruction: line.instruction,
                    instances: line.instance.into_iter().collect(),
                };
                good.into_iter().map(task).collect()
            }
        };
        let instances = tasks
            .iter()
            .flat_map(|task| task.instances.iter().map(|instance| (&task.instruction, instance)));
        let records = instances.map(|(instruction, instance)| AlpacaRecord {
            instruction: instruction.clone(),
            input: instance.input.clone(),
            output: instance.output.clone(),
        });
        let records = records.collect::<Vec<_>>();
        funnel.tasks = tasks.len();
        funnel.instances = records.len();
        funnel.without_input = records.iter().filter(|record| record.input.is_empty()).count();
        let split =
            finetuning_records(&tasks, self.recipe.seeds, self.recipe.config, self.recipe.seed);
        funnel.repeated = split.repeated;
        (funnel.train, funnel.held_out) = (split.train.len(), split.held_out.len());
        lines::replace(&self.path("records.jsonl"), records.iter())?;
        lines::replace(&self.path("held_out.jsonl"), split.held_out.iter())?;
        lines::replace(&self.path("train.jsonl"), split.train.iter())?;
        lines::replace(&self.path("funnel.json"), std::iter::once(&funnel))?;
        let warning = split.train.is_empty().then(|| "nothing is left to train on".to_owned());
        Ok(Ended::Complete { statistics: Statistics::default(), warning })
    }

    /// What stage 3 wrote, parsed.
    fn parsed(&self, funnel: &mut Funnel) -> Result<Vec<Task>> {
        let raw: Vec<RawInstances> = lines::read(&self.path("instances.jsonl"))?;
        self.refuse_behind(Stage::Records, raw.len(), funnel.accepted as usize)?;
        funnel.classification = raw.iter().filter(|raw| raw.is_classification).count() as u64;
        let most = self.recipe.config.instances_per_task;
        let answered = (0u64..).zip(&raw).filter(|(_, raw)| !raw.refused);
        let tasks = answered.filter_map(|(number, raw)| {
            parse_task(raw, most, self.recipe.seed, number, &mut funnel.unused_instances)
        });
        Ok(tasks.collect())
    }

    /// Refuses to go on from a file with fewer instructions than there are: stage 1 has been run for more.
    fn refuse_behind(&self, stage: Stage, found: usize, wanted: usize) -> Result<()> {
        match stage.needs(self.recipe.config.method) {
            Some((name, before)) if found < wanted => {
                let (path, stage) = (self.path(name), before.name());
                Err(Error::StageBehind { path, stage, found, wanted })
            }
            _ => Ok(()),
        }
    }

    /// Asks for all of these, and waits until each is answered or refused.
    fn ask(
        &self,
        journal: &mut Journal,
        count: usize,
        requests: &mut dyn Iterator<Item = (String, CompletionRequest)>,
        progress: &dyn Fn(u64),
    ) -> Result<Answers> {
        let mut answers: Vec<Option<Option<Completion>>> = vec![None; count];
        let mut done = 0;
        let mut on_answer = |number: usize, answer| {
            answers[number] = Some(answer);
            done += 1;
            progress(done);
        };
        let statistics = ask_each(self.model, journal, requests, self.stop, &mut on_answer)?;
        match answers.into_iter().collect::<Option<Vec<_>>>() {
            Some(answers) => Ok(Answers::All(answers, statistics)),
            None => Ok(Answers::Stopped),
        }
    }

    /// A request whose random numbers follow from the run's seed and its key.
    fn request(&self, key: &str, prompt: String, decoding: Decoding) -> CompletionRequest {
        let seed = Random::new(self.recipe.seed, key, 0).next();
        CompletionRequest { prompt: Prompt::Text(prompt), decoding, seed, logprobs: false }
    }

    fn tell(&self, stage: Stage, answers: u64, total: usize) {
        let rejected = &BTreeMap::new();
        (self.progress)(Progress { stage, done: answers, total: total as u64, rejected, answers });
    }
}

fn is_cut_off(answer: &Completion) -> bool {
    answer.finish_reason == FinishReason::Length
}
