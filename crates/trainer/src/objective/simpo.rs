//! SimPO: a better response is to be more probable per token than a worse one, by a margin. No
//! reference.
//!
//! Meng et al., "SimPO: Simple Preference Optimization with a Reference-Free Reward"
//! (arXiv 2405.14734), equation 6:
//!
//! ```text
//! s(y) = log p(y | x) / tokens of y
//! loss = mean_pairs -log σ(beta * (s(better) - s(worse)) - gamma) + mle_weight * mean_tokens(-log p(best))
//! ```
//! As TRL's `CPOConfig(loss_type="simpo")` (`trl/experimental/cpo/cpo_trainer.py`), whose `simpo_gamma` is
//! `gamma` and whose `cpo_alpha` is `mle_weight`, 0 in the paper.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare, logistic};
use super::ranking::OWN;
use super::responses::{MleOver, Responses};
use super::{Counts, Groups, Loss, Objective, above_zero, not_negative};
use crate::config::Problems;

/// `[objective] kind = "simpo"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simpo {
    /// How steeply the loss falls, per nat per token. Default 2. A larger one is content with a smaller
    /// difference.
    pub beta: f64,
    /// The margin, in units of `beta` times nats per token. Default 1. A larger one pushes further.
    pub gamma: f64,
    /// Weight of the best response's cross entropy. Default 0. A larger one holds on to it.
    pub mle_weight: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Simpo {
    fn default() -> Self {
        Self { beta: 2.0, gamma: 1.0, mle_weight: 0.0, pairs: Pairs::BestWorst }
    }
}

impl Simpo {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
        not_negative(problems, "objective.gamma", self.gamma);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }
}

impl Objective for Simpo {
    fn needs_groups(&self) -> bool {
        true
    }

    fn learns_alone(&self) -> bool {
        self.mle_weight > 0.0
    }

    fn count(&self, groups: &Groups) -> Counts {
        MleOver::Best.counts(groups)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let mut responses = Responses::of(logp, groups);
        let mle = responses.add_mle(MleOver::Best, self.mle_weight, step.0[OWN]);
        let ranking =
            compare(&mut responses, self.pairs, step, 1.0, Responses::mean, |difference| {
                let (loss, slope) = logistic(self.beta * difference - self.gamma);
                (loss, self.beta * slope)
            });
        responses.into_loss(logp, step, 1.0, ranking, Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, assert_close, evaluate, mean};

    /// s = -1 and -1.5 - ln 3 / 2: the difference, doubled, is the margin of 1 and ln 3.
    #[test]
    fn the_worked_example() {
        let loss = evaluate(&Simpo::default(), &[-0.5, -1.5, -1.5 - 0.5 * 3f32.ln()], &PAIR);
        assert_close(mean(&loss, "loss"), (4f64 / 3.0).ln());
        // -2 / 4, over two tokens or one.
        for (slope, wanted) in loss.gradient.iter().zip([-0.25, -0.25, 0.5]) {
            assert_close(f64::from(*slope), wanted);
        }
    }
}
