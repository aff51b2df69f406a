//! What is minimised: a pure function of the log-probabilities of the supervised tokens.
//!
//! An objective never sees a model. For each batch it is asked three questions, in this order:
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

mod sft;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use sft::Sft;

/// `[objective]`: what is minimised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectiveConfig {
    /// Supervised finetuning: the mean negative log-likelihood of the learned tokens. The default.
    Sft {},
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::Sft {}
    }
}

impl ObjectiveConfig {
    /// The objective that it describes.
    pub fn build(&self) -> Box<dyn Objective> {
        match self {
            Self::Sft {} => Box::new(Sft),
        }
    }
}

/// Which of a batch's supervised tokens belong to which sequence.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// For each sequence the first of its supervised tokens and, last, how many there are.
    pub target_starts: &'a [u32],
}

impl Groups<'_> {
    /// The number of supervised tokens.
    pub fn targets(&self) -> usize {
        self.target_starts.last().map_or(0, |&end| end as usize)
    }

    /// The supervised tokens of each sequence, in order.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.target_starts.windows(2).map(|pair| pair[0] as usize..pair[1] as usize)
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

    /// The gradient, if it does not depend on the log-probabilities: the model's head then does its
    /// forward and backward passes at once.
    fn ahead(&self, _groups: &Groups, _step: &Counts) -> Option<Vec<f32>> {
        None
    }

    /// The loss of one batch, as a share of that of a step with these counts.
    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_batches_add_up() {
        let mut step = Counts::default();
        step.add(&Counts(vec![3, 1]));
        step.add(&Counts(vec![4, 0]));
        assert_eq!(step, Counts(vec![7, 1]));
    }

    #[test]
    fn the_config_names_its_kind_and_refuses_unknown_keys() {
        let read = serde_json::from_str::<ObjectiveConfig>;
        assert_eq!(read(r#"{"kind": "sft"}"#).unwrap(), ObjectiveConfig::default());
        let error = read(r#"{"kind": "sft", "margin": 1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `margin`"), "{error}");
    }
}
