//! From the log-probabilities of tokens to those of responses, and back with the gradient.
//!
//! Every ranking objective depends on the tokens of a response through their sum alone, so all of
//! them have the same gradient. All arithmetic is in f64; the gradient is rounded at the end.

use serde::{Deserialize, Serialize};

use super::ranking::{ranking_counts, ranking_terms};
use super::{Counts, Groups, Loss, Term};

/// The responses whose likelihood is maximised beside a ranking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MleOver {
    /// Every response.
    #[default]
    All,
    /// The best of each group; the first of several in the order of the file.
    Best,
}

impl MleOver {
    /// Those of a group.
    fn of(self, groups: &Groups, group: usize) -> Vec<usize> {
        let mut ranked = groups.ranked(group);
        if self == Self::Best {
            ranked.truncate(1);
        }
        ranked
    }

    /// The counts of a ranking, and behind them the supervised tokens that these have.
    pub(super) fn counts(self, groups: &Groups) -> Counts {
        let Counts(mut counts) = ranking_counts(groups);
        counts.push(self.tokens(groups));
        Counts(counts)
    }

    /// How many supervised tokens they have.
    pub(super) fn tokens(self, groups: &Groups) -> u64 {
        let chosen = (0..groups.len()).flat_map(|group| self.of(groups, group));
        chosen.map(|one| groups.tokens(one).len() as u64).sum()
    }
}

/// The responses of a batch, with the derivative of the step's loss by each one's log-probability.
pub(super) struct Responses<'a> {
    pub(super) groups: Groups<'a>,
    sums: Vec<f64>,
    slopes: Vec<f64>,
}

/// A value of a response, and its derivative by the response's log-probability.
pub(super) type Valued = (f64, f64);

impl<'a> Responses<'a> {
    pub(super) fn of(logp: &[f32], groups: &Groups<'a>) -> Self {
        let count = groups.sequences().len();
        for (what, len) in [("scores", groups.scores.len()), ("reference", groups.reference.len())]
        {
            assert!(len == 0 || len == count, "{count} responses have {len} numbers in {what}");
        }
        assert_eq!(logp.len(), groups.targets(), "each supervised token has a log-probability");
        let sums: Vec<_> = (0..count).map(|one| groups.sum(logp, one)).collect();
        Self { groups: *groups, slopes: vec![0.0; count], sums }
    }

    fn tokens(&self, response: usize) -> f64 {
        self.groups.tokens(response).len() as f64
    }

    /// `log p(y | x)`.
    pub(super) fn sum(&self, response: usize) -> Valued {
        (self.sums[response], 1.0)
    }

    /// `log p(y | x)` per token of the response, which has some.
    pub(super) fn mean(&self, response: usize) -> Valued {
        let share = 1.0 / self.tokens(response);
        (self.sums[response] * share, share)
    }

    /// `log p(y | x) - log p_ref(y | x)`.
    pub(super) fn log_ratio(&self, response: usize) -> Valued {
        let reference = self.groups.reference.get(response);
        let reference = reference.expect("the trainer gives the reference that is asked for");
        (self.sums[response] - f64::from(*reference), 1.0)
    }

    /// `log p(y | x) - log p_ref(y | x)` per token of the response, which has some.
    pub(super) fn mean_log_ratio(&self, response: usize) -> Valued {
        let share = 1.0 / self.tokens(response);
        (self.log_ratio(response).0 * share, share)
    }

    /// Adds to the derivative of the step's loss by the response's log-probability.
    pub(super) fn push(&mut self, response: usize, slope: f64) {
        self.slopes[response] += slope;
    }

    /// Adds `weight` times the mean cross entropy, over the step's `tokens` of these responses.
    pub(super) fn add_mle(&mut self, over: MleOver, weight: f64, tokens: u64) -> Mle {
        let mut sum = 0.0;
        for group in 0..self.groups.len() {
            for one in over.of(&self.groups, group) {
                sum -= self.sums[one];
                self.push(one, -weight / tokens as f64);
            }
        }
        Mle { weight, term: Term { name: "loss_mle", sum, count: tokens as f64 } }
    }

    /// The loss `weight * ranking + mle`, where `ranking` is the batch's share of the step's.
    pub(super) fn into_loss(
        self,
        logp: &[f32],
        step: &Counts,
        weight: f64,
        ranking: f64,
        mle: Option<Mle>,
    ) -> Loss {
        let of_mle =
            mle.as_ref().map_or(0.0, |mle| mle.weight * share(mle.term.sum, mle.term.count));
        // Their units differ, so what is reported of them is divided already.
        let divided = |name, sum| Term { name, sum, count: 1.0 };
        let mut terms =
            vec![divided("loss", weight * ranking + of_mle), divided("loss_ranking", ranking)];
        terms.extend(mle.map(|mle| mle.term));
        terms.extend(ranking_terms(logp, &self.groups, step));

        let mut gradient = vec![0.0; self.groups.targets()];
        for (tokens, slope) in self.groups.sequences().zip(self.slopes) {
            gradient[tokens].fill(slope as f32);
        }
        Loss { terms, gradient }
    }
}

/// The cross entropy beside a ranking.
pub(super) struct Mle {
    weight: f64,
    term: Term,
}

/// A share of a mean; nothing where there is nothing to average.
pub(super) fn share(sum: f64, count: f64) -> f64 {
    if count == 0.0 { 0.0 } else { sum / count }
}
