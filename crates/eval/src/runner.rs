//! Asks a model the questions of a suite, each until it is answered.
//!
//! ```text
//!  Task ─ in order of task and length ─► prompt that fits ─journaled─► raw answers ─► Answered
//!                                                            └ no answer: set aside and counted
//! ```
//! Questions of one task stand beside each other, so that their exemplars are computed once; those of
//! similar length too, so that few of a batch wait for one. An answer is known by what was asked and who
//! was asked: a run that is started again asks only what has no answer, whatever else has changed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use albacore_data::{
    Completion, CompletionRequest, FinishReason, Journal, LanguageModel, NoCompletion, Prompt,
    Random, Statistics, TokenLogprob, journaled,
};
use sha2::{Digest, Sha256};

use crate::chain_of_thought::majority;
use crate::fit::{Fitted, Fitter};
use crate::parallel::each;
use crate::{Error, LmentryCut, Question, Result, Scores, Task};

/// How long prompts may be for a model.
pub trait Ruler {
    /// Tokens of a prompt as the model reads it.
    fn tokens(&self, prompt: &str) -> usize;

    /// The most tokens that the model was made for, prompt and answer together, if that is known.
    fn context(&self) -> Option<usize>;

    /// A prompt without what is behind its first `tokens`, if that can be told.
    fn cut(&self, prompt: &str, tokens: usize) -> Option<String>;
}

/// How questions are asked.
pub struct Asking<'a> {
    /// Who answers.
    pub model: &'a dyn LanguageModel,
    /// How long prompts may be for it.
    pub ruler: &'a dyn Ruler,
    /// Answers drawn for a question of a suite that reasons; the majority counts. 1 draws none: the most
    /// probable tokens are taken.
    pub samples: usize,
    /// The temperature of more than one.
    pub temperature: f64,
    /// Longest answer in tokens, in place of the suite's own.
    pub max_new_tokens: Option<usize>,
    /// Whether the model is asked by its chat template: its answer then begins a line.
    pub chat: bool,
    /// Whether the model is taken for one that does not stop by itself.
    pub lmentry_cut: LmentryCut,
    /// Start of all random numbers.
    pub seed: u64,
    /// Asked after every answer; true ends the run.
    pub stop: &'a dyn Fn() -> bool,
    /// Is told how many answers there are, and how many are wanted.
    pub progress: &'a dyn Fn(u64, u64),
}

/// A question with what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The number of the example.
    pub example: usize,
    /// What was asked.
    pub prompt: String,
    /// Exemplars that did not fit.
    pub dropped: usize,
    /// Whether the prompt was too long even without them, and was cut.
    pub is_cut: bool,
    /// What was answered: one text, or as many as were drawn.
    pub raw: Vec<String>,
    /// The options and their log-probabilities, where there was a choice.
    pub options: Vec<TokenLogprob>,
    /// What of the answer counts.
    pub extracted: String,
    /// What it is worth.
    pub scores: Scores,
}

/// A question that has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What was asked.
    pub prompt: String,
    /// Why no answer came.
    pub why: String,
}

/// What a model made of a suite.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In order of the examples.
    pub answered: Vec<Answered>,
    /// Examples without an answer; of several samples, those where fewer than half came.
    pub unanswered: BTreeMap<usize, Unanswered>,
    /// Whether the model was taken for one that does not stop by itself, which some suites score otherwise.
    pub unstopped: bool,
    /// What the answers took.
    pub statistics: Statistics,
}

impl Outcome {
    /// The scores by number of the example.
    pub fn scores(&self) -> BTreeMap<usize, Scores> {
        self.answered.iter().map(|answered| (answered.example, answered.scores.clone())).collect()
    }
}

/// Asks the examples of these numbers; `None` if it was stopped before the end.
///
/// # Errors
/// If the journal cannot be used, or the model can answer nothing more. What came until then is kept.
pub fn ask(
    task: &dyn Task,
    examples: &[usize],
    asking: &Asking<'_>,
    journal: &mut Journal,
) -> Result<Option<Outcome>> {
    let samples = if task.reasons() { asking.samples.max(1) } else { 1 };
    let wanted = (examples.len() * samples) as u64;
    let fitter = Fitter::new(asking.ruler, task.most_prompt_tokens(), room(task, examples, asking));
    let prompts = RefCell::new(HashMap::new());
    let keys = RefCell::new(HashMap::new());
    let mut came = Came::default();
    let (mut fatal, stopped) = (None, Cell::new(false));
    let ordered = in_order(task, examples);
    let mut requests = ordered.iter().flat_map(|&example| (0..samples).map(move |s| (example, s)));
    let mut requests = std::iter::from_fn(|| {
        let (example, sample) = requests.next()?;
        let mut prompts = prompts.borrow_mut();
        let question = &task.examples()[example].question;
        let fitted = prompts.entry(example).or_insert_with(|| fitter.fit(question));
        let (key, request) = request(task, example, sample, samples, &fitted.text, asking);
        keys.borrow_mut().insert(key.clone(), (example, sample));
        Some((key, request))
    });
    let statistics = journaled(asking.model, journal, &mut requests, &mut |key, reply| {
        let (example, sample) =
            keys.borrow_mut().remove(key).expect("a reply is to a request, and each has one");
        match reply {
            Ok(answer) => {
                came.replies.insert((example, sample), answer);
            }
            Err(none) if none.fatal => fatal = Some(none),
            Err(none) => came.failures.entry(example).or_default().push(none.message),
        }
        (asking.progress)(came.count(), wanted);
        stopped.set((asking.stop)());
        if stopped.get() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(NoCompletion { message, hint, .. }) = fatal {
        let model = asking.model.name().to_owned();
        return Err(Error::Stopped { model, reason: message, hint });
    }
    // What is neither answered nor set aside was not asked any more.
    if came.count() < wanted {
        return Ok(None);
    }
    Ok(Some(came.outcome(task, examples, samples, prompts.into_inner(), asking, statistics)))
}

/// What has come so far.
#[derive(Default)]
struct Came {
    /// By example and sample.
    replies: HashMap<(usize, usize), Completion>,
    /// Why samples of an example did not come.
    failures: BTreeMap<usize, Vec<String>>,
}

impl Came {
    fn count(&self) -> u64 {
        (self.replies.len() + self.failures.values().map(Vec::len).sum::<usize>()) as u64
    }

    fn outcome(
        mut self,
        task: &dyn Task,
        examples: &[usize],
        samples: usize,
        mut prompts: HashMap<usize, Fitted>,
        asking: &Asking<'_>,
        statistics: Statistics,
    ) -> Outcome {
        let mut outcome =
            Outcome { statistics, unstopped: self.unstopped(asking), ..Outcome::default() };
        let mut kept = Vec::new();
        for &example in examples {
            let replies = (0..samples).filter_map(|sample| self.replies.remove(&(example, sample)));
            let replies: Vec<_> = replies.collect();
            let failures = self.failures.remove(&example);
            let fitted = prompts.remove(&example).expect("what came of it was asked");
            if let Some(why) = failures.filter(|failures| failures.len() > replies.len()) {
                let why = why.into_iter().next().unwrap_or_default();
                outcome.unanswered.insert(example, Unanswered { prompt: fitted.text, why });
                continue;
            }
            kept.push((example, fitted, replies));
        }
        let scored =
            each(&kept, |(example, _, replies)| scored(task, *example, replies, outcome.unstopped));
        let answered = kept.into_iter().zip(scored).map(|((example, prompt, replies), scored)| {
            let Fitted { text, dropped, is_cut } = prompt;
            let (extracted, scores) = scored;
            let options = replies.first().and_then(|reply| reply.logprobs.clone());
            Answered {
                example,
                prompt: text,
                dropped,
                is_cut,
                options: options.unwrap_or_default(),
                raw: replies.into_iter().map(|reply| reply.text).collect(),
                extracted,
                scores,
            }
        });
        outcome.answered = answered.collect();
        outcome
    }

    /// Whether the model does not stop by itself: most of its answers are as long as they may be.
    fn unstopped(&self, asking: &Asking<'_>) -> bool {
        let ran_on = |reply: &&Completion| reply.finish_reason == FinishReason::Length;
        match asking.lmentry_cut {
            LmentryCut::Never => false,
            LmentryCut::Always => true,
            LmentryCut::Auto => {
                2 * self.replies.values().filter(ran_on).count() > self.replies.len()
            }
        }
    }
}

/// Task by task, and in a task the longest question first: no batch ends with one that all wait for.
fn in_order(task: &dyn Task, examples: &[usize]) -> Vec<usize> {
    let all = task.examples();
    let mut places = HashMap::new();
    for &example in examples {
        let next = places.len();
        places.entry(all[example].task.as_str()).or_insert(next);
    }
    let mut ordered = examples.to_vec();
    ordered.sort_by_key(|&example| {
        let Question { tail, .. } = &all[example].question;
        (places[all[example].task.as_str()], std::cmp::Reverse(tail.len()))
    });
    ordered
}

/// Tokens that an answer is to have room for: a choice between options has one.
fn room(task: &dyn Task, examples: &[usize], asking: &Asking<'_>) -> usize {
    let chooses = |&example: &usize| !task.examples()[example].question.options.is_empty();
    if examples.iter().all(chooses) { 1 } else { longest_answer(task, asking) }
}

fn longest_answer(task: &dyn Task, asking: &Asking<'_>) -> usize {
    asking.max_new_tokens.unwrap_or(task.decoding().max_tokens)
}

/// A request, and the key that no other request to any model has.
fn request(
    task: &dyn Task,
    number: usize,
    sample: usize,
    samples: usize,
    prompt: &str,
    asking: &Asking<'_>,
) -> (String, CompletionRequest) {
    let example = &task.examples()[number];
    let mut decoding = task.decoding();
    decoding.max_tokens = longest_answer(task, asking);
    decoding.options = example.question.options_behind(asking.chat);
    let mut key = format!("{}/{}/{}", task.name(), example.task, example.id);
    // What is not drawn at random is the same for every seed.
    let mut seed = 0;
    if samples > 1 {
        decoding.temperature = asking.temperature;
        seed = Random::new(asking.seed, &key, sample as u64).next();
        key += &format!("/{sample}");
    }
    let prompt = Prompt::Text(prompt.to_owned());
    let request = CompletionRequest { prompt, decoding, seed, logprobs: false };
    let asked = serde_json::to_vec(&(asking.model.identity(), &request));
    let digest = Sha256::digest(asked.expect("a request is JSON"));
    let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    (format!("{key} {digest}"), request)
}

/// What of some replies to an example counts, and what that is worth.
fn scored(
    task: &dyn Task,
    example: usize,
    replies: &[Completion],
    unstopped: bool,
) -> (String, Scores) {
    let mut extracted: Vec<_> =
        replies.iter().map(|reply| task.extract(example, &reply.text)).collect();
    let best = majority(&extracted).unwrap_or_default();
    let extracted = extracted.swap_remove(best);
    let scores = match unstopped {
        true => task.score_unstopped(example, &extracted),
        false => task.score(example, &extracted),
    };
    (extracted, scores)
}

#[cfg(test)]
mod tests;
