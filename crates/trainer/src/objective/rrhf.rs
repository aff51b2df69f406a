//! RRHF: a better response is not to be less probable than a worse one; the best is learned.
//!
//! Yuan et al., "RRHF: Rank Responses to Align Language Models with Human Feedback without tears"
//! (arXiv 2304.05302), section 3:
//!
//! ```text
//! s_k   mean log-probability of the tokens of response k
//! loss = rank_weight * mean_groups Σ_(score_i < score_j) max(0, s_i - s_j)
//!        + mle_weight * mean_tokens(-log p(best))
//! ```
//! The mean is over the groups whose scores are not all equal. The published code (GanjinZero/RRHF,
//! `train.py`), which calls `rank_weight` `rrhf_weight`, adds up the pairs of a micro-batch instead: with one
//! group in each, the two are the same.

use serde::{Deserialize, Serialize};

use super::pairwise::hinge;
use super::ranking::{GROUPS, OWN};
use super::responses::{MleOver, Responses, share};
use super::{Counts, Groups, Loss, Objective, Pairs, not_negative};
use crate::config::Problems;

/// `[objective] kind = "rrhf"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rrhf {
    /// Weight of the ranking. Default 1, as in the paper; the default of the published code is 100.
    /// A larger one cares more for the order than for the best response.
    pub rank_weight: f64,
    /// Weight of the best response's cross entropy. Default 1. A larger one holds on to it.
    pub mle_weight: f64,
}

impl Default for Rrhf {
    fn default() -> Self {
        Self { rank_weight: 1.0, mle_weight: 1.0 }
    }
}

impl Rrhf {
    pub(super) fn validate(&self, problems: &mut Problems) {
        not_negative(problems, "objective.rank_weight", self.rank_weight);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }
}

impl Objective for Rrhf {
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
        let (mut sum, count) = (0.0, step.0[GROUPS] as f64);
        for group in 0..groups.len() {
            for (better, worse) in Pairs::All.of(groups, &groups.ranked(group)) {
                let (above, below) = (responses.mean(better), responses.mean(worse));
                let (loss, slope) = hinge(below.0 - above.0);
                sum += loss;
                responses.push(better, -self.rank_weight * slope * above.1 / count);
                responses.push(worse, self.rank_weight * slope * below.1 / count);
            }
        }
        responses.into_loss(logp, step, self.rank_weight, share(sum, count), Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{evaluate, mean};

    /// The best has s = (-0.5 - 1.5) / 2 = -1, the others -0.5 and -2: only the first of these is too
    /// probable, by 0.5; between the two nothing is wrong either. The best's tokens cost 1 each.
    #[test]
    fn the_worked_example() {
        let groups = Groups {
            target_starts: &[0, 2, 3, 4],
            group_starts: &[0, 3],
            scores: &[1.0, 0.5, 0.25],
            reference: &[],
        };
        let rrhf = Rrhf { rank_weight: 4.0, mle_weight: 2.0 };
        let loss = evaluate(&rrhf, &[-0.5, -1.5, -0.5, -2.0], &groups);
        assert_eq!(mean(&loss, "loss_ranking"), 0.5);
        assert_eq!(mean(&loss, "loss_mle"), 1.0);
        assert_eq!(mean(&loss, "loss"), 4.0);
        // -4 / 2 tokens - 2 / 2 tokens, twice; 4 / 1 token.
        assert_eq!(loss.gradient, [-3.0, -3.0, 4.0, 0.0]);
    }
}
