//! IPO: a better response gains over the frozen reference by a fixed amount more than a worse one.
//!
//! Azar et al., "A General Theoretical Paradigm to Understand Learning from Human Preferences"
//! (arXiv 2310.12036), equation 17, with the paper's τ as `beta`:
//!
//! ```text
//! r(y) = (log p(y | x) - log p_ref(y | x)) / tokens of y
//! loss = mean_pairs (r(better) - r(worse) - 1 / (2 beta))²
//! ```
//! The division by the number of tokens is that of TRL's `DPOConfig(loss_type="ipo")`
//! (`trl/trainer/dpo_trainer.py`), which the authors confirmed there.

use serde::{Deserialize, Serialize};

use super::pairwise::{Pairs, compare};
use super::ranking::ranking_counts;
use super::responses::Responses;
use super::{Counts, Groups, Loss, Objective, above_zero};
use crate::config::Problems;

/// `[objective] kind = "ipo"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipo {
    /// The wanted gain is 1 / (2 beta), in nats per token. Default 0.1. A larger one lets the model move
    /// away from the reference less.
    pub beta: f64,
    /// Which pairs are compared: `best_worst` or `all`. Default `best_worst`.
    pub pairs: Pairs,
}

impl Default for Ipo {
    fn default() -> Self {
        Self { beta: 0.1, pairs: Pairs::BestWorst }
    }
}

impl Ipo {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
    }
}

impl Objective for Ipo {
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
        let value = Responses::mean_log_ratio;
        let ranking = compare(&mut responses, self.pairs, step, 1.0, value, |difference| {
            let over = difference - 0.5 / self.beta;
            (over * over, 2.0 * over)
        });
        responses.into_loss(logp, step, 1.0, ranking, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, evaluate, mean};

    /// Gains of 1 nat on two tokens and 0.25 on one: 0.5 - 0.25 is 0.75 short of the wanted 1.
    #[test]
    fn the_worked_example() {
        let groups = Groups { reference: &[-3.0, -1.5], ..PAIR };
        let loss = evaluate(&Ipo { beta: 0.5, ..Ipo::default() }, &[-0.5, -1.5, -1.25], &groups);
        assert_eq!(mean(&loss, "loss"), 0.5625);
        assert_eq!(loss.gradient, [-0.75, -0.75, 1.5]);
    }
}
