//! CPO: a better response is to be more probable than a worse one; the best is learned. No reference.
//!
//! Xu et al., "Contrastive Preference Optimization" (arXiv 2401.08417), equation 3, and the cross entropy of
//! the best response:
//!
//! ```text
//! loss = mean_pairs -log σ(beta * (log p(better) - log p(worse))) + mle_weight * mean_tokens(-log p(best))
//! ```
//! Log-probabilities are those of whole responses. As TRL's `CPOConfig(loss_type="sigmoid")`
//! (`trl/experimental/cpo/cpo_trainer.py`), whose `cpo_alpha` is `mle_weight`; `label_smoothing` as in DPO.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare, smoothed_logistic};
use super::ranking::OWN;
use super::responses::{MleOver, Responses};
use super::{Counts, Groups, Loss, Objective, above_zero, below_half, not_negative};
use crate::config::Problems;

/// `[objective] kind = "cpo"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cpo {
    /// How steeply the loss falls, per nat of the whole response. Default 0.1. A larger one is content
    /// with a smaller difference.
    pub beta: f64,
    /// Share of the pairs, from 0 to below 0.5, thought to be the wrong way round. Default 0. A larger
    /// one trusts the scores less.
    pub label_smoothing: f64,
    /// Weight of the best response's cross entropy. Default 1. A larger one holds on to it.
    pub mle_weight: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Cpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, mle_weight: 1.0, pairs: Pairs::BestWorst }
    }
}

impl Cpo {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
        below_half(problems, "objective.label_smoothing", self.label_smoothing);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }
}

impl Objective for Cpo {
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
            compare(&mut responses, self.pairs, step, 1.0, Responses::sum, |difference| {
                let (loss, slope) = smoothed_logistic(self.beta * difference, self.label_smoothing);
                (loss, self.beta * slope)
            });
        responses.into_loss(logp, step, 1.0, ranking, Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, assert_close, evaluate, mean};

    /// log p = -2 and -2 - 2 ln 3, beta 0.5: σ(ln 3) = 3/4. The best's two tokens cost 1 each.
    #[test]
    fn the_worked_example() {
        let worse = -2.0 - 2.0 * 3f32.ln();
        let cpo = Cpo { beta: 0.5, mle_weight: 2.0, ..Cpo::default() };
        let loss = evaluate(&cpo, &[-0.5, -1.5, worse], &PAIR);
        assert_close(mean(&loss, "loss_ranking"), (4f64 / 3.0).ln());
        assert_close(mean(&loss, "loss"), (4f64 / 3.0).ln() + 2.0);
        for (slope, wanted) in loss.gradient.iter().zip([-1.125, -1.125, 0.125]) {
            assert_close(f64::from(*slope), wanted);
        }
    }
}
