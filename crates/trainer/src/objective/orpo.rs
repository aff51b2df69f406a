//! ORPO: the best response is learned, and its odds are to be higher than those of a worse one. No
//! reference.
//!
//! Hong et al., "ORPO: Monolithic Preference Optimization without Reference Model"
//! (arXiv 2403.07691), equations 4, 6 and 7, with the paper's λ as `beta`:
//!
//! ```text
//! s(y) = log p(y | x) / tokens of y,   odds(y) = e^s / (1 - e^s)
//! loss = mle_weight * mean_tokens(-log p(best)) + beta * mean_pairs -log σ(log odds(better) - log odds(worse))
//! ```
//! The ranking is that of TRL's `ORPOTrainer.odds_ratio_loss` (`trl/experimental/orpo/orpo_trainer.py`).
//! Its cross entropy is over the prompt's tokens too; here, as in the paper, over the response's alone.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare, logistic};
use super::ranking::OWN;
use super::responses::{MleOver, Responses, Valued};
use super::{Counts, Groups, Loss, Objective, not_negative};
use crate::config::Problems;

/// `[objective] kind = "orpo"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Orpo {
    /// Weight of the odds ratio. Default 0.1. A larger one pushes the worse response away more.
    pub beta: f64,
    /// Weight of the best response's cross entropy. Default 1. A larger one learns it more.
    pub mle_weight: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Orpo {
    fn default() -> Self {
        Self { beta: 0.1, mle_weight: 1.0, pairs: Pairs::BestWorst }
    }
}

impl Orpo {
    pub(super) fn validate(&self, problems: &mut Problems) {
        not_negative(problems, "objective.beta", self.beta);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }
}

/// `log odds(y)`. The odds of a certain response would be infinite: `s` counts as at most -1e-7, what
/// f32 can still tell from 0 there.
fn log_odds(responses: &Responses, response: usize) -> Valued {
    let (mean, share) = responses.mean(response);
    let mean = mean.min(-1e-7);
    let rest = -mean.exp_m1(); // 1 - e^s
    (mean - rest.ln(), share / rest)
}

impl Objective for Orpo {
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
        let ranking = compare(&mut responses, self.pairs, step, self.beta, log_odds, logistic);
        responses.into_loss(logp, step, self.beta, ranking, Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, assert_close, evaluate, mean};

    /// Probabilities per token of 3/4 and 1/2, odds of 3 and 1: σ(ln 3) = 3/4. The best's tokens cost
    /// ln (4/3) each.
    #[test]
    fn the_worked_example() {
        let (good, bad) = (0.75f32.ln(), 0.5f32.ln());
        let loss = evaluate(&Orpo { beta: 2.0, ..Orpo::default() }, &[good, good, bad], &PAIR);
        assert_close(mean(&loss, "loss_ranking"), (4f64 / 3.0).ln());
        assert_close(mean(&loss, "loss_mle"), (4f64 / 3.0).ln());
        assert_close(mean(&loss, "loss"), 3.0 * (4f64 / 3.0).ln());
        // 2 * -1/4 by the log odds; these by s: 1 / (1 - p), 4 and 2; s by a token: 1/2 and 1.
        for (slope, wanted) in loss.gradient.iter().zip([-1.0 - 0.5, -1.0 - 0.5, 1.0]) {
            assert_close(f64::from(*slope), wanted);
        }
    }

    #[test]
    fn a_certain_response_has_finite_odds() {
        for logp in [[0.0, 0.0, -1.0], [-1.0, -1.0, 0.0], [0.0, 0.0, 0.0]] {
            let loss = evaluate(&Orpo::default(), &logp, &PAIR);
            assert!(mean(&loss, "loss").is_finite(), "{logp:?}: {loss:?}");
            assert!(loss.gradient.iter().all(|slope| slope.is_finite()), "{logp:?}: {loss:?}");
        }
    }
}
