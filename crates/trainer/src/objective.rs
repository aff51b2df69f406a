//! What is minimised: a pure function of the log-probabilities of the supervised tokens.
//!
//! An objective never sees a model. Before a run it says what it needs: groups of responses with scores
//! (`needs_groups`), a frozen reference (`needs_reference`). Then for each batch it is asked three
//! questions, in this order:
//!
//! ```text
//! count(groups)                  how many units does this batch add to the step's mean?
//!    the trainer adds up the counts of all batches of the step
//! ahead(groups, counts)          is the gradient known before the forward pass?
//! loss(logp, groups, counts)     what is the loss, and its gradient by each log-probability?
//! ```
//!
//! Since the counts of the whole step come first, each batch divides by them at once, and eight
//! batches of one weigh the same as one of eight.

mod cpo;
mod dpo;
mod ipo;
mod kto;
mod lipo_lambda;
mod orpo;
mod pairwise;
mod plackett_luce;
mod ranking;
mod responses;
mod rrhf;
mod sft;
mod simpo;
mod slic;
mod span_corruption;
#[cfg(test)]
mod tests;
mod tuna;

use std::ops::Range;

use albacore_kernels::Softening;
use serde::{Deserialize, Serialize};

use crate::config::Problems;

pub use cpo::Cpo;
pub use dpo::Dpo;
pub use ipo::Ipo;
pub use kto::{Kto, ReferencePoint};
pub use lipo_lambda::{Gain, LipoLambda};
pub use orpo::Orpo;
pub use pairwise::Pairs;
pub use plackett_luce::PlackettLuce;
pub use ranking::{ranking_counts, ranking_terms};
pub use responses::MleOver;
pub use rrhf::Rrhf;
pub use sft::Sft;
pub use simpo::Simpo;
pub use slic::Slic;
pub use span_corruption::SpanCorruption;
pub use tuna::{Average, Ties, Tuna};

/// `[objective]`: what is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// Supervised finetuning: the mean negative log-likelihood of the learned tokens. The default.
    Sft(Sft),
    /// The same of spans that were taken out of texts: a T5's pretraining.
    #[serde(alias = "span-corruption")]
    SpanCorruption(SpanCorruption),
    /// Margins by rank, and the cross entropy.
    Tuna(Tuna),
    /// No worse response more probable than a better one, and the best one's cross entropy.
    Rrhf(Rrhf),
    /// A margin between better and worse, and the best one's cross entropy.
    Slic(Slic),
    /// Better gains more over the reference than worse.
    Dpo(Dpo),
    /// Better gains a fixed amount more over the reference than worse.
    Ipo(Ipo),
    /// DPO over a list, weighted by its DCG.
    #[serde(alias = "lipo-lambda")]
    LipoLambda(LipoLambda),
    /// The probability of a whole ranking, by gains over the reference.
    #[serde(alias = "plackett-luce")]
    PlackettLuce(PlackettLuce),
    /// The best one's cross entropy, and odds of better against worse.
    Orpo(Orpo),
    /// Better more probable per token than worse, by a margin.
    Simpo(Simpo),
    /// Desirable responses gain over the reference, undesirable ones lose.
    Kto(Kto),
    /// Better more probable than worse, and the best one's cross entropy.
    Cpo(Cpo),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::Sft(Sft::default())
    }
}

impl ObjectiveConfig {
    /// The objective that it describes.
    pub fn build(&self) -> Box<dyn Objective> {
        match self {
            Self::Sft(it) => Box::new(*it),
            Self::SpanCorruption(it) => Box::new(*it),
            Self::Tuna(it) => Box::new(*it),
            Self::Rrhf(it) => Box::new(*it),
            Self::Slic(it) => Box::new(*it),
            Self::Dpo(it) => Box::new(*it),
            Self::Ipo(it) => Box::new(*it),
            Self::LipoLambda(it) => Box::new(*it),
            Self::PlackettLuce(it) => Box::new(*it),
            Self::Orpo(it) => Box::new(*it),
            Self::Simpo(it) => Box::new(*it),
            Self::Kto(it) => Box::new(*it),
            Self::Cpo(it) => Box::new(*it),
        }
    }

    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        match self {
            Self::Sft(it) => it.validate(&mut problems),
            Self::SpanCorruption(it) => it.validate(&mut problems),
            Self::Tuna(it) => it.validate(&mut problems),
            Self::Rrhf(it) => it.validate(&mut problems),
            Self::Slic(it) => it.validate(&mut problems),
            Self::Dpo(it) => it.validate(&mut problems),
            Self::Ipo(it) => it.validate(&mut problems),
            Self::LipoLambda(it) => it.validate(&mut problems),
            Self::PlackettLuce(it) => it.validate(&mut problems),
            Self::Orpo(it) => it.validate(&mut problems),
            Self::Simpo(it) => it.validate(&mut problems),
            Self::Kto(it) => it.validate(&mut problems),
            Self::Cpo(it) => it.validate(&mut problems),
        }
        problems.0
    }
}

fn above_zero(problems: &mut Problems, key: &str, value: f64) {
    problems.unless(value.is_finite() && value > 0.0, key, value, "a number above 0");
}

fn not_negative(problems: &mut Problems, key: &str, value: f64) {
    problems.unless(value.is_finite() && value >= 0.0, key, value, "0 or more");
}

fn below_half(problems: &mut Problems, key: &str, value: f64) {
    problems.unless((0.0..0.5).contains(&value), key, value, "a share from 0 to below 0.5");
}

/// Which of a batch's supervised tokens belong to which response, and which responses to which group.
///
/// ```text
/// group_starts   0           3        5     two prompts, with three and two responses
/// target_starts  0   4   6   9   14   15    responses of 4, 2, 3, 5 and 1 supervised tokens
/// scores        .9  .1  .5   1   0          of each response, higher is better
/// ```
///
/// A group is never spread over batches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Groups<'a> {
    /// For each sequence (response) the first of its supervised tokens and, last, how many there are.
    pub target_starts: &'a [u32],
    /// For each group (a prompt and its responses) the first of its responses and, last, how many
    /// responses there are. Empty: every sequence is a group of its own, as in data without groups.
    pub group_starts: &'a [u32],
    /// The score of each response, higher is better; equal ones are ties. Empty: the data has none.
    pub scores: &'a [f32],
    /// The log-probability of each response, summed over its supervised tokens, under the frozen
    /// reference. Empty unless the objective asks for it ([`Objective::needs_reference`]).
    pub reference: &'a [f32],
}

impl<'a> Groups<'a> {
    /// Sequences that are each a group of their own, without scores.
    pub fn alone(target_starts: &'a [u32]) -> Self {
        Self { target_starts, ..Self::default() }
    }

    /// The number of supervised tokens.
    pub fn targets(&self) -> usize {
        self.target_starts.last().map_or(0, |&end| end as usize)
    }

    /// The supervised tokens of each sequence, in order.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = Range<usize>> + 'a {
        self.target_starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        let starts =
            if self.group_starts.is_empty() { self.target_starts } else { self.group_starts };
        starts.len().saturating_sub(1)
    }

    /// Whether there is no group at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The responses of each group, in order.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Range<usize>> + 'a {
        let groups = *self;
        (0..groups.len()).map(move |group| groups.responses(group))
    }

    /// The responses of a group.
    pub fn responses(&self, group: usize) -> Range<usize> {
        match self.group_starts {
            [] => group..group + 1,
            starts => starts[group] as usize..starts[group + 1] as usize,
        }
    }

    /// The supervised tokens of a response.
    pub fn tokens(&self, response: usize) -> Range<usize> {
        self.target_starts[response] as usize..self.target_starts[response + 1] as usize
    }

    /// The log-probability of a response: the sum over its supervised tokens.
    pub fn sum(&self, logp: &[f32], response: usize) -> f64 {
        logp[self.tokens(response)].iter().map(|&logp| f64::from(logp)).sum()
    }

    /// The mean log-probability of a response's supervised tokens; `None` if it has none.
    pub fn mean(&self, logp: &[f32], response: usize) -> Option<f64> {
        let tokens = self.tokens(response).len();
        (tokens > 0).then(|| self.sum(logp, response) / tokens as f64)
    }
}

/// How many units an objective averages over, one number for each kind of unit it knows (tokens,
/// pairs of neighbours, …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<u64>);

impl Counts {
    /// Adds the counts of another batch.
    pub fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }
}

/// A mean that is reported: a batch's share of the sum, and the whole step's count.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Its name in `metrics.jsonl`.
    pub name: &'static str,
    /// The sum over this batch.
    pub sum: f64,
    /// What the sum over all batches of the step is divided by.
    pub count: f64,
}

impl Term {
    /// The batch's share of the mean; the shares of a step's batches add up to the mean.
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }
}

/// What an objective says about one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The terms. The first is named `loss`: it is what `gradient` is the gradient of.
    pub terms: Vec<Term>,
    /// The derivative of the step's loss by each log-probability.
    pub gradient: Vec<f32>,
}

/// A loss that depends on a model only through the log-probabilities of supervised tokens.
pub trait Objective: Send + Sync {
    /// How many units this batch adds to the step's.
    fn count(&self, groups: &Groups) -> Counts;

    /// Whether it ranks: the data must then have groups with a score for each response.
    fn needs_groups(&self) -> bool {
        false
    }

    /// Whether an answer without a rival teaches it something.
    fn learns_alone(&self) -> bool {
        !self.needs_groups()
    }

    /// Whether it compares with a frozen reference: [`Groups::reference`] must then be filled.
    fn needs_reference(&self) -> bool {
        false
    }

    /// What the log-probabilities are softened by before it sees them.
    fn softening(&self) -> Softening {
        Softening::default()
    }

    /// The parts of a loss of softened log-probabilities, told beside it: `logp` are those of the tokens
    /// as they are, `log_sums` the logarithms of what normalises each.
    fn parts(&self, _logp: &[f32], _log_sums: &[f32], _step: &Counts) -> Vec<Term> {
        Vec::new()
    }

    /// Whether the data are texts with spans taken out: each pass then takes out others.
    fn corrupts(&self) -> bool {
        false
    }

    /// The gradient, if it does not depend on the log-probabilities: the model's head then does its
    /// forward and backward passes at once.
    fn ahead(&self, _groups: &Groups, _step: &Counts) -> Option<Vec<f32>> {
        None
    }

    /// The loss of one batch, as a share of that of a step with these counts.
    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss;
}
