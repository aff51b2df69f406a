//! Plackett-Luce: the whole ranking is to be probable, if the responses were drawn one after the other,
//! each by its gain over the frozen reference.
//!
//! Rafailov et al., "Direct Preference Optimization" (arXiv 2305.18290), appendix A.3, equation 20:
//!
//! ```text
//! s(y) = beta * (log p(y | x) - log p_ref(y | x))
//! loss = mean_groups Σ_k log( e^s_k + Σ_(score_j < score_k) e^s_j ) - s_k
//! ```
//! For two responses it is DPO. Where scores are tied the equation has no one order; the sum above
//! leaves a response's ties out of what it is drawn from, so that they do not depend on the file. The mean is
//! over the groups whose scores are not all equal. TRL has no such loss.

use serde::{Deserialize, Serialize};

use super::ranking::{GROUPS, ranking_counts};
use super::responses::{Responses, share};
use super::{Counts, Groups, Loss, Objective, above_zero};
use crate::config::Problems;

/// `[objective] kind = "plackett_luce"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlackettLuce {
    /// How strongly the model is held to the reference, per nat of the whole response. Default 0.1. A
    /// larger one lets it move away less.
    pub beta: f64,
}

impl Default for PlackettLuce {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

impl PlackettLuce {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
    }
}

impl Objective for PlackettLuce {
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
        let (mut sum, count) = (0.0, step.0[GROUPS] as f64);
        for group in 0..groups.len() {
            let ranked = groups.ranked(group);
            let values = ranked.iter().map(|one| self.beta * responses.log_ratio(*one).0);
            let values: Vec<_> = values.collect();
            for (rank, &drawn) in ranked.iter().enumerate() {
                let worse = |at: &usize| groups.score(ranked[*at]) < groups.score(drawn);
                let bag: Vec<_> =
                    std::iter::once(rank).chain((rank + 1..ranked.len()).filter(worse)).collect();
                if bag.len() == 1 {
                    continue; // Certain to be drawn; so are all of a tied group, which count has not.
                }
                let highest = bag.iter().map(|at| values[*at]).fold(f64::NEG_INFINITY, f64::max);
                let total = bag.iter().map(|at| (values[*at] - highest).exp()).sum::<f64>();
                sum += highest + total.ln() - values[rank];
                for at in bag {
                    let drawn = f64::from(at == rank);
                    let slope = (values[at] - highest).exp() / total - drawn;
                    responses.push(ranked[at], self.beta * slope / count);
                }
            }
        }
        responses.into_loss(logp, step, 1.0, share(sum, count), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{assert_close, evaluate, mean};

    const THREE: Groups = Groups {
        target_starts: &[0, 1, 2, 3],
        group_starts: &[0, 3],
        scores: &[2.0, 1.0, 3.0],
        reference: &[-2.0, -2.0, -2.0],
    };

    /// e^s = 3, 2, 1 by rank: the best is drawn with 3/6, the second with 2/3 of what is left. The loss is
    /// -log(1/2 * 2/3) = ln 3.
    #[test]
    fn the_worked_example() {
        let logp = [-2.0 + 2f32.ln(), -2.0, -2.0 + 3f32.ln()];
        let objective = PlackettLuce { beta: 1.0 };
        let loss = evaluate(&objective, &logp, &THREE);
        assert_close(mean(&loss, "loss"), 3f64.ln());
        // The best: 1/2 - 1. The second: 2/6, and 2/3 - 1. The last: 1/6 + 1/3.
        for (slope, wanted) in loss.gradient.iter().zip([0.0, 0.5, -0.5]) {
            assert_close(f64::from(*slope), wanted);
        }
    }

    /// Two that are tied for the best, with e^s 3 and 2, are each drawn from themselves and the last, 1.
    #[test]
    fn ties_are_not_drawn_from_each_other() {
        let logp = [-2.0 + 2f32.ln(), -2.0, -2.0 + 3f32.ln()];
        let tied = Groups { scores: &[3.0, 1.0, 3.0], ..THREE };
        let loss = evaluate(&PlackettLuce { beta: 1.0 }, &logp, &tied);
        assert_close(mean(&loss, "loss"), (3f64 / 2.0).ln() + (4f64 / 3.0).ln());
    }
}
