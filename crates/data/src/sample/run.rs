//! A run: round after round, until every set is diverse or the rounds are over.
//!
//! ```text
//!  settings.json      what every answer follows from: a run goes on only with the same
//!  requests.jsonl     the journal: every answer, as it came, under `sample/ID/ROUND/NUMBER`
//!  candidates.jsonl, summary.json      written whole, when all is answered
//! ```
//! A request follows from the seed and its key, so that a run that was killed asks what is missing and nothing
//! twice. Where an answer follows from its request it ends with the same bytes as one that was not; a model
//! here may round the last bits of a log-probability otherwise, since what runs beside it is another batch.
//! How the answers are judged (`novelty`, `rounds`, `keep_truncated`) may change from one start to the next:
//! what has been answered is judged anew, and only what is missing is asked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Asked, Diversity, SampleConfig};
use crate::candidates::{CandidateSet, Response};
use crate::journal::ask_each;
use crate::{
    Completion, CompletionRequest, Journal, LanguageModel, Prompt, Random, Result, Statistics,
    lines, settings,
};

/// What a run does.
pub struct Run<'r> {
    /// Its folder.
    pub folder: &'r Path,
    /// The settings, which are valid.
    pub config: &'r SampleConfig,
    /// The seed of everything random.
    pub seed: u64,
    /// What is asked; of more than `config.limit` the first.
    pub prompts: &'r [Asked],
    /// Who answers.
    pub model: &'r dyn LanguageModel,
    /// Whether to stop.
    pub stop: &'r dyn Fn() -> bool,
    /// Is told how far it is.
    pub progress: &'r dyn Fn(Progress),
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which, from 0.
    pub round: usize,
    /// Answers that have come.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// All is answered: what came of it, and what the requests took, those of earlier starts included.
    Complete(Box<Sampled>, Statistics),
    /// It was asked to stop: the next start goes on.
    Stopped,
}

/// What came of a run: `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// Prompts, each with a set.
    pub prompts: usize,
    /// Sets that are as diverse as was wanted, by the round that brought them.
    pub accepted: Vec<usize>,
    /// Sets that are not, after the last round: the most diverse of all rounds is kept.
    pub not_diverse: usize,
    /// Of these, sets with fewer answers than wanted: the others were empty or refused, or cut off and
    /// not kept.
    pub incomplete: usize,
    /// Sets in which an answer stands twice.
    pub with_duplicates: usize,
    /// The mean over the sets of their mean pairwise ROUGE-L F.
    pub rouge: f64,
    /// Answers that are kept.
    pub responses: usize,
    /// Of these, those that were cut off at the most tokens.
    pub truncated: usize,
    /// Of these, those whose log-probability is not known.
    pub without_logprobs: usize,
    /// Requests that were answered, kept or not, and their tokens.
    pub requests: u64,
    /// Requests that were refused for good.
    #[serde(default, skip_serializing_if = "crate::statistics::is_zero")]
    pub refused: u64,
    /// Tokens of the prompts of those that were answered.
    pub prompt_tokens: u64,
    /// Tokens of their answers.
    pub completion_tokens: u64,
    /// What they cost, if prices are known.
    pub cost: Option<f64>,
}

/// What a run will ask, before it asks anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Foretold {
    /// Requests of the first round, which all are asked.
    pub requests: u64,
    /// Tokens of their prompts, by the model's own count.
    pub prompt_tokens: u64,
    /// Tokens of their answers, at most.
    pub completion_tokens: u64,
    /// How many times that it may become, if no set is ever diverse.
    pub rounds: u64,
}

/// A set of one round, and how good it is.
struct Trial {
    responses: Vec<Response>,
    diversity: Diversity,
    round: usize,
}

impl Run<'_> {
    /// Looks whether the folder is new, or holds this run. Touches nothing.
    ///
    /// # Errors
    /// If its run has other settings, which are named.
    pub fn check(&self) -> Result<()> {
        settings::check(self.folder, &self.settings())
    }

    /// Asks, judges and writes.
    ///
    /// # Errors
    /// If the folder holds a run with other settings, a file cannot be read or written, or the model
    /// fails.
    pub fn run(&self) -> Result<Ended> {
        self.check()?;
        settings::keep(self.folder, &self.settings())?;
        let mut journal = Journal::open(self.folder.join("requests.jsonl"))?;
        let prompts = self.asked();
        let mut best: Vec<Option<Trial>> = prompts.iter().map(|_| None).collect();
        let mut statistics = Statistics::default();
        for round in 0..self.config.rounds {
            let still = (0..prompts.len()).filter(|&index| !self.accepts(best[index].as_ref()));
            let still: Vec<usize> = still.collect();
            if still.is_empty() {
                break;
            }
            let Some((answers, took)) = self.round(&mut journal, round, &still)? else {
                return Ok(Ended::Stopped);
            };
            statistics.join(&took);
            for (index, responses) in still.into_iter().zip(answers) {
                let trial = self.trial(responses, round);
                let better = best[index].as_ref().is_none_or(|best| trial.is_better(best));
                if better || self.accepts(Some(&trial)) {
                    best[index] = Some(trial);
                }
            }
        }
        let trials = best.into_iter().map(|trial| trial.expect("there is a first round"));
        let (sets, sampled) = self.finish(trials.collect(), &statistics);
        lines::replace(&self.folder.join("candidates.jsonl"), sets.iter())?;
        lines::replace(&self.folder.join("summary.json"), std::iter::once(&sampled))?;
        Ok(Ended::Complete(Box::new(sampled), statistics))
    }

    /// What it will ask. `count_tokens` counts as the model does.
    pub fn foretell(
        config: &SampleConfig,
        prompts: &[Asked],
        count_tokens: &dyn Fn(&str) -> usize,
    ) -> Foretold {
        let prompts = &prompts[..prompts.len().min(config.limit.unwrap_or(usize::MAX))];
        let tokens: usize = prompts.iter().map(|asked| count_tokens(&asked.prompt)).sum();
        let requests = prompts.len() * config.responses;
        Foretold {
            requests: requests as u64,
            prompt_tokens: (tokens * config.responses) as u64,
            completion_tokens: (requests * config.max_tokens) as u64,
            rounds: config.rounds as u64,
        }
    }

    /// The answers to these prompts, `config.responses` each or fewer where requests were refused; `None` if it was asked to stop.
    fn round(
        &self,
        journal: &mut Journal,
        round: usize,
        prompts: &[usize],
    ) -> Result<Option<(Vec<Vec<Response>>, Statistics)>> {
        let each = self.config.responses;
        let total = prompts.len() * each;
        let mut answers: Vec<Option<Option<Response>>> = vec![None; total];
        // All of a prompt, then all of the next: what they share is computed once.
        let mut requests = (0..total).map(|number| {
            let asked = &self.asked()[prompts[number / each]];
            let key = format!("sample/{}/{round}/{}", asked.id, number % each);
            let request = CompletionRequest {
                prompt: Prompt::Text(asked.prompt.clone()),
                decoding: self.config.decoding(round),
                seed: Random::new(self.seed, &key, 0).next(),
                logprobs: self.config.logprobs,
            };
            (key, request)
        });
        let mut done = 0;
        let mut on_answer = |number: usize, completion: Option<Completion>| {
            answers[number] = Some(completion.map(|one| response(one, self.model.name())));
            done += 1;
            (self.progress)(Progress { round, done, total: total as u64 });
        };
        let statistics = ask_each(self.model, journal, &mut requests, self.stop, &mut on_answer)?;
        let Some(answers) = answers.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let mut answers = answers.into_iter();
        let sets = prompts.iter().map(|_| answers.by_ref().take(each).flatten().collect());
        Ok(Some((sets.collect(), statistics)))
    }

    /// A round's answers to one prompt: those that are answers, and how different they are.
    fn trial(&self, mut responses: Vec<Response>, round: usize) -> Trial {
        responses.retain(|response| {
            let whole = self.config.keep_truncated || !response.is_truncated();
            whole && !response.text.trim().is_empty()
        });
        let texts: Vec<_> = responses.iter().map(|response| response.text.as_str()).collect();
        let diversity = Diversity::of(&texts, self.config.tokenization());
        Trial { responses, diversity, round }
    }

    fn accepts(&self, trial: Option<&Trial>) -> bool {
        trial.is_some_and(|trial| {
            trial.responses.len() == self.config.responses
                && trial.diversity.highest < self.config.novelty
        })
    }

    fn finish(&self, trials: Vec<Trial>, took: &Statistics) -> (Vec<CandidateSet>, Sampled) {
        let mut sampled = Sampled {
            prompts: trials.len(),
            accepted: vec![0; self.config.rounds],
            requests: took.answers,
            refused: took.refused,
            prompt_tokens: took.prompt_tokens,
            completion_tokens: took.completion_tokens,
            cost: took.cost,
            ..Sampled::default()
        };
        let mut sets = Vec::with_capacity(trials.len());
        for (asked, trial) in self.asked().iter().zip(trials) {
            let accepted = self.accepts(Some(&trial));
            match accepted {
                true => sampled.accepted[trial.round] += 1,
                false => sampled.not_diverse += 1,
            }
            let Trial { responses, diversity, round } = trial;
            sampled.incomplete += usize::from(responses.len() < self.config.responses);
            sampled.responses += responses.len();
            let count = |is: fn(&Response) -> bool| responses.iter().filter(|one| is(one)).count();
            sampled.truncated += count(Response::is_truncated);
            sampled.without_logprobs += count(|response| response.logprob.is_none());
            sampled.rouge += diversity.mean / self.asked().len() as f64;
            let set = CandidateSet {
                id: asked.id.clone(),
                prompt: asked.prompt.clone(),
                responses,
                original: asked.original.clone(),
                rouge: Some(diversity.mean),
                round: Some(round),
                accepted: Some(accepted),
            };
            sampled.with_duplicates += usize::from(set.has_duplicates());
            sets.push(set);
        }
        (sets, sampled)
    }

    fn asked(&self) -> &[Asked] {
        &self.prompts[..self.prompts.len().min(self.config.limit.unwrap_or(usize::MAX))]
    }

    /// What changes an answer.
    fn settings(&self) -> Map<String, Value> {
        let settings = json!({
            "command": "sample",
            "model": self.model.identity(),
            "seed": self.seed,
            "decoding": self.config.decoding(0),
            "temperature_step": self.config.temperature_step,
            "logprobs": self.config.logprobs,
        });
        let Value::Object(settings) = settings else { unreachable!("it is one") };
        settings
    }
}

impl Trial {
    /// More answers are better; of as many, those that are less alike.
    fn is_better(&self, other: &Self) -> bool {
        let (one, two) = (self.responses.len(), other.responses.len());
        one > two || one == two && self.diversity.mean < other.diversity.mean
    }
}

/// What is kept of a completion: the log-probabilities are summed in the order of the tokens.
fn response(completion: Completion, source: &str) -> Response {
    let Completion { text, finish_reason, logprobs, usage, .. } = completion;
    let logprobs = logprobs.filter(|tokens| !tokens.is_empty());
    let logprob = logprobs.as_ref().map(|tokens| tokens.iter().map(|token| token.logprob).sum());
    let tokens = logprobs.map_or(usage.completion_tokens, |tokens| tokens.len() as u64);
    Response {
        text,
        logprob,
        mean_logprob: logprob.map(|all: f64| all / tokens as f64),
        tokens: Some(tokens),
        finish_reason: Some(finish_reason),
        source: source.to_owned(),
        score: None,
    }
}
