//! SLiC-HF: a better response is to be more probable than a worse one by a margin; the best is learned.
//!
//! Zhao et al., "SLiC-HF: Sequence Likelihood Calibration with Human Feedback" (arXiv 2305.10425):
//!
//! ```text
//! loss = mean_pairs max(0, margin - log p(better) + log p(worse)) + mle_weight * mean_tokens(-log p(best))
//! ```
//! Log-probabilities are those of whole responses. The paper's δ is `margin`, its λ is `mle_weight`, and
//! its target of regularisation is the best response. TRL has the same hinge as
//! `CPOConfig(loss_type="hinge")` (`trl/experimental/cpo/cpo_trainer.py`), with `beta = 1 / margin`, and
//! divided by the margin.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare, hinge};
use super::ranking::OWN;
use super::responses::{MleOver, Responses};
use super::{Counts, Groups, Loss, Objective, not_negative};
use crate::config::Problems;

/// `[objective] kind = "slic"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slic {
    /// How much more probable the better response is to be, in nats of the whole response. Default 1.
    /// A larger one pushes further.
    pub margin: f64,
    /// Weight of the best response's cross entropy. Default 1. A larger one holds on to it.
    pub mle_weight: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Slic {
    fn default() -> Self {
        Self { margin: 1.0, mle_weight: 1.0, pairs: Pairs::BestWorst }
    }
}

impl Slic {
    pub(super) fn validate(&self, problems: &mut Problems) {
        not_negative(problems, "objective.margin", self.margin);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }
}

impl Objective for Slic {
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
                let (loss, slope) = hinge(self.margin - difference);
                (loss, -slope)
            });
        responses.into_loss(logp, step, 1.0, ranking, Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, evaluate, mean};

    /// log p = -2 (two tokens) and -2.5: short of the margin by 0.5. The best's tokens cost 1 each.
    #[test]
    fn the_worked_example() {
        let slic = Slic { mle_weight: 0.5, ..Slic::default() };
        let loss = evaluate(&slic, &[-0.5, -1.5, -2.5], &PAIR);
        assert_eq!(mean(&loss, "loss_ranking"), 0.5);
        assert_eq!(mean(&loss, "loss"), 0.5 + 0.5 * 1.0);
        assert_eq!(loss.gradient, [-1.25, -1.25, 1.0]);
        let far = evaluate(&slic, &[-0.5, -1.5, -3.5], &PAIR);
        assert_eq!(mean(&far, "loss_ranking"), 0.0);
        assert_eq!(far.gradient, [-0.25, -0.25, 0.0]);
    }
}
