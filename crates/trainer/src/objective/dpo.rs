//! DPO: a better response gains more over the frozen reference than a worse one.
//!
//! Rafailov et al., "Direct Preference Optimization" (arXiv 2305.18290), equation 7:
//!
//! ```text
//! r(y) = log p(y | x) - log p_ref(y | x)
//! loss = mean_pairs -log σ(beta * (r(better) - r(worse)))
//! ```
//! as TRL's `DPOConfig(loss_type="sigmoid")` (`trl/trainer/dpo_trainer.py`). With `label_smoothing` ε it
//! is the conservative DPO of E. Mitchell's note, `(1 - ε) loss + ε loss(the wrong way round)`: TRL's
//! `CPOTrainer` has this formula; the `robust` loss of its `DPOTrainer` is another one.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare, smoothed_logistic};
use super::ranking::ranking_counts;
use super::responses::Responses;
use super::{Counts, Groups, Loss, Objective, above_zero, below_half};
use crate::config::Problems;

/// `[objective] kind = "dpo"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpo {
    /// How strongly the model is held to the reference, per nat of the whole response. Default 0.1. A
    /// larger one lets it move away less.
    pub beta: f64,
    /// Share of the pairs, from 0 to below 0.5, thought to be the wrong way round. Default 0. A larger
    /// one trusts the scores less.
    pub label_smoothing: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, pairs: Pairs::BestWorst }
    }
}

impl Dpo {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
        below_half(problems, "objective.label_smoothing", self.label_smoothing);
    }
}

impl Objective for Dpo {
    fn needs_groups(&self) -> bool {
        true
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn count(&self, groups: &Groups) -> Counts {
        ranking_counts(groups)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let mut responses = Responses::of(logp, groups);
        let ranking =
            compare(&mut responses, self.pairs, step, 1.0, Responses::log_ratio, |difference| {
                let (loss, slope) = smoothed_logistic(self.beta * difference, self.label_smoothing);
                (loss, self.beta * slope)
            });
        responses.into_loss(logp, step, 1.0, ranking, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, assert_close, evaluate, mean};

    /// The ratios differ by ln 3 / beta: σ(ln 3) = 3/4, and the slope is -beta / 4.
    #[test]
    fn the_worked_example() {
        let ln3 = 3f32.ln();
        let groups = Groups { reference: &[-2.0 - 2.0 * ln3, -1.5], ..PAIR };
        let dpo = Dpo { beta: 0.5, ..Dpo::default() };
        let loss = evaluate(&dpo, &[-0.5, -1.5, -1.5], &groups);
        assert_close(mean(&loss, "loss"), (4f64 / 3.0).ln());
        for (slope, wanted) in loss.gradient.iter().zip([-0.125, -0.125, 0.125]) {
            assert_close(f64::from(*slope), wanted);
        }
        // Were one label in four wrong, -log σ(-ln 3) = ln 4 would weigh so much.
        let smoothed = Dpo { label_smoothing: 0.25, ..dpo };
        let loss = evaluate(&smoothed, &[-0.5, -1.5, -1.5], &groups);
        assert_close(mean(&loss, "loss"), 0.75 * (4f64 / 3.0).ln() + 0.25 * 4f64.ln());
    }
}
