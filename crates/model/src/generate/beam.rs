//! Beam search, step for step as `generate(num_beams=K)` of transformers does it by default: so many
//! continuations are kept at each step, and of those that have ended the best by their mean.

use std::cell::RefCell;

use albacore_kernels::{KeyValueCache, storage};
use candle_core::Tensor;

use super::{Finish, Generated, Limits, Step, check};
use crate::{Error, Model, Result};

/// How beams are searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beams {
    /// Continuations kept at each step. 1 is greedy. Default 4.
    pub count: usize,
    /// The sum of the log-probabilities is divided by the length to this power: above 0 favours longer
    /// answers. Default 1.
    pub length_penalty: f32,
    /// End as soon as as many answers as beams have ended, whatever the others could still become.
    /// Default false.
    pub early_stopping: bool,
}

impl Default for Beams {
    fn default() -> Self {
        Self { count: 4, length_penalty: 1.0, early_stopping: false }
    }
}

/// No score: below every sum of log-probabilities, and what is taken from one to rule it out.
const NONE: f32 = -1e9;

/// An answer, and what it is worth.
#[derive(Clone, Debug)]
struct Beam {
    /// With what the decoder began with.
    ids: Vec<u32>,
    score: f32,
    ended: bool,
}

/// The best answer to each prompt by beam search, on the CPU.
///
/// # Errors
/// If a prompt is empty or names a token outside the vocabulary; if there are no beams, or more than the
/// vocabulary has tokens; if the model lies on a GPU.
pub fn beam_search(
    model: &Model,
    prompts: &[Vec<u32>],
    beams: Beams,
    limits: &Limits,
) -> Result<Vec<Generated>> {
    let vocabulary = model.config().vocab_size();
    let wrong = |found: String, wanted| Err(Error::Beams { found, wanted });
    if !model.device().is_cpu() {
        return wrong("a model on a GPU".into(), "one on the CPU");
    }
    let kept = beams.count.saturating_mul(1 + limits.stop_ids.len().max(1));
    if beams.count == 0 || kept > vocabulary {
        let found = format!("{} beams and {vocabulary} tokens", beams.count);
        return wrong(found, "at least one, and so many that there are continuations for all");
    }
    prompts.iter().enumerate().try_for_each(|(index, prompt)| check(model, index, prompt))?;
    prompts.iter().map(|prompt| Search::new(model, prompt, beams, limits)?.run(prompt)).collect()
}

/// The search for one prompt.
struct Search<'m> {
    model: &'m Model,
    beams: Beams,
    limits: &'m Limits,
    caches: RefCell<Vec<KeyValueCache>>,
    /// How many of the ids were given.
    given: usize,
    running: Vec<Beam>,
    /// The best that have ended, or places for them.
    done: Vec<Beam>,
    /// Whether what runs may still become better than what has ended.
    improvable: bool,
}

impl<'m> Search<'m> {
    fn new(model: &'m Model, prompt: &[u32], beams: Beams, limits: &'m Limits) -> Result<Self> {
        let start = model.config().decoder_start_token_id();
        let ids = start.map_or_else(|| prompt.to_vec(), |start| vec![start]);
        let caches = RefCell::new(model.new_caches());
        caches.borrow_mut().iter_mut().try_for_each(|cache| cache.admit(None))?;
        model.read_sources(&[prompt], &caches, 0..1)?;
        let first = Beam { ids, score: 0.0, ended: false };
        let done = vec![Beam { score: NONE, ..first.clone() }; beams.count];
        let given = first.ids.len();
        let running = vec![first];
        Ok(Self { model, beams, limits, caches, given, running, done, improvable: true })
    }

    fn run(mut self, prompt: &[u32]) -> Result<Generated> {
        let mut cached = 0;
        for length in 1..=self.limits.max_new_tokens {
            let held = self.running.iter().map(|beam| (beam.ids.as_slice(), cached));
            let step = Step::new(self.model, 0..self.running.len(), held)?;
            let logits = self.model.next_logits(&step, &self.caches)?;
            cached = self.given + length - 1;
            let candidates = self.candidates(&logits)?;
            let last = length == self.limits.max_new_tokens;
            let open = self.advance(&candidates, length, last);
            let from: Vec<usize> = open.iter().map(|&(from, _)| from).collect();
            self.running = open.into_iter().map(|(_, beam)| beam).collect();
            if !self.goes_on(length) {
                break;
            }
            self.reorder(&from, prompt)?;
        }
        // What has not ended is an answer where nothing has.
        let best = match self.done[0].ended {
            true => &self.done[0],
            false => &self.running[0],
        };
        let ids = best.ids[self.given..].to_vec();
        let stopped = ids.last().is_some_and(|id| self.limits.stop_ids.contains(id));
        let finish = if stopped { Finish::Stop } else { Finish::Length };
        Ok(Generated { ids, finish, compared: Vec::new() })
    }

    /// The best continuations of all beams, best first: whose they are, the token and the score.
    fn candidates(&self, logits: &Tensor) -> Result<Vec<(usize, u32, f32)>> {
        let (rows, words) = logits.dims2()?;
        let logits = storage::to_vec(logits)?;
        let mut all = Vec::with_capacity(rows * words);
        for (row, logits) in logits.chunks(words).enumerate() {
            let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum::<f64>();
            let (before, log_sum) = (self.running[row].score, sum.ln() as f32);
            all.extend(
                logits
                    .iter()
                    .enumerate()
                    .map(|(word, &logit)| (row, word as u32, logit - highest - log_sum + before)),
            );
        }
        let kept = (1 + self.limits.stop_ids.len().max(1)) * self.beams.count;
        // Of equals the first comes first: the sort is stable, and what is cut off is below.
        let (row, word) =
            (|&(row, ..): &(usize, u32, f32)| row, |&(_, word, _): &(usize, u32, f32)| word);
        let order = |left: &(usize, u32, f32), right: &(usize, u32, f32)| {
            right.2.total_cmp(&left.2).then((row(left), word(left)).cmp(&(row(right), word(right))))
        };
        if kept < all.len() {
            all.select_nth_unstable_by(kept, order);
            all.truncate(kept);
        }
        all.sort_by(order);
        Ok(all)
    }

    /// Takes in the answers that have ended; returns the best that have not, and whose they are.
    fn advance(
        &mut self,
        candidates: &[(usize, u32, f32)],
        length: usize,
        last: bool,
    ) -> Vec<(usize, Beam)> {
        let count = self.beams.count;
        let (mut open, mut ended) = (Vec::new(), Vec::new());
        let full = self.beams.early_stopping && self.done.iter().all(|beam| beam.ended);
        for (place, &(from, id, score)) in candidates.iter().enumerate() {
            let mut ids = self.running[from].ids.clone();
            ids.push(id);
            let stops = last || self.limits.stop_ids.contains(&id);
            if stops && place < count && self.improvable && !full {
                let score = score / (length as f32).powf(self.beams.length_penalty);
                ended.push(Beam { ids: ids.clone(), score, ended: true });
            }
            let score = if stops { score + NONE } else { score };
            open.push((from, Beam { ids, score, ended: false }));
        }
        self.done.extend(ended);
        self.done.sort_by(|left, right| right.score.total_cmp(&left.score));
        self.done.truncate(count);
        open.sort_by(|(_, left), (_, right)| right.score.total_cmp(&left.score));
        open.truncate(count);
        open
    }

    /// Whether another step may change the best answer.
    fn goes_on(&mut self, length: usize) -> bool {
        let best = self.running[0].score / (length as f32).powf(self.beams.length_penalty);
        // Places that nothing has taken are worth as little as can be.
        let worst = self.done.last().expect("there are beams");
        self.improvable &= best > worst.score;
        let all_ended = self.done.iter().all(|beam| beam.ended);
        self.improvable && !(self.beams.early_stopping && all_ended)
    }

    /// Lets the caches hold what the beams go on from.
    fn reorder(&mut self, from: &[usize], prompt: &[u32]) -> Result<()> {
        let mut caches = self.caches.borrow_mut();
        let of_targets = match self.model.has_encoder() {
            true => caches.len() / 2,
            false => caches.len(),
        };
        let (targets, sources) = caches.split_at_mut(of_targets);
        targets.iter_mut().for_each(|cache| cache.reorder(from));
        for cache in sources {
            // All beams read the same source: from one place, once.
            while cache.lengths().len() < from.len() {
                let head = cache.share(0, prompt.len())?;
                cache.admit(Some((&head, prompt.len())))?;
            }
        }
        Ok(())
    }
}
