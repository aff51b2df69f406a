//! LiPO-λ: pairs of a list as in DPO, weighted by what exchanging the two would do to its DCG.
//!
//! Liu et al., "LiPO: Listwise Preference Optimization through Learning-to-Rank" (arXiv 2402.01878),
//! its lambda loss:
//!
//! ```text
//! s(y) = beta * (log p(y | x) - log p_ref(y | x))
//! ψ(y) = (score - lowest of the group) / (highest - lowest),   G = 2^ψ - 1 or ψ
//! τ(y) = rank of s(y) in the group, from 1,   D(τ) = log(1 + τ)
//! loss = mean_groups Σ_(ψ_i > ψ_j) |G_i - G_j| |1 / D(τ_i) - 1 / D(τ_j)| log(1 + e^-(s_i - s_j))
//! ```
//! No gradient goes through the ranks. Equal `s` rank in the order of the scores; before the first update
//! all are equal but for rounding, so that rounding decides. The mean is over the groups whose scores are
//! not all equal. TRL has no such loss.

use serde::{Deserialize, Serialize};

use super::pairwise::logistic;
use super::ranking::{GROUPS, ranking_counts};
use super::responses::{Responses, share};
use super::{Counts, Groups, Loss, Objective, above_zero};
use crate::config::Problems;

/// What a score is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gain {
    /// 2^ψ - 1: differences between good responses weigh more.
    #[default]
    Exponential,
    /// ψ itself.
    Linear,
}

/// `[objective] kind = "lipo_lambda"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LipoLambda {
    /// How strongly the model is held to the reference, per nat of the whole response. Default 0.1. A
    /// larger one lets it move away less.
    pub beta: f64,
    /// What a score, scaled to [0, 1] in its group, is worth: `exponential` or `linear`. Default
    /// `exponential`.
    pub gain: Gain,
}

impl Default for LipoLambda {
    fn default() -> Self {
        Self { beta: 0.1, gain: Gain::Exponential }
    }
}

impl LipoLambda {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
    }

    /// `G` of each response of a ranking, in its order; `None` if all are tied.
    fn gains(&self, groups: &Groups, ranked: &[usize]) -> Option<Vec<f64>> {
        let score = |one: usize| f64::from(groups.score(one));
        let [highest, lowest] =
            [ranked.first(), ranked.last()].map(|one| one.map(|&one| score(one)));
        let (lowest, range) = (lowest?, highest? - lowest?);
        let gain = |&one: &usize| {
            let scaled = (score(one) - lowest) / range;
            match self.gain {
                Gain::Exponential => scaled.exp2() - 1.0,
                Gain::Linear => scaled,
            }
        };
        (range > 0.0).then(|| ranked.iter().map(gain).collect())
    }
}

/// `1 / D(τ)` of each response of a ranking, in its order.
fn discounts(values: &[f64]) -> Vec<f64> {
    let mut by_value: Vec<_> = (0..values.len()).collect();
    // + 0.0 makes 0 of -0.
    by_value.sort_by(|&a, &b| (values[b] + 0.0).total_cmp(&(values[a] + 0.0)));
    let mut discounts = vec![0.0; values.len()];
    for (rank, at) in (1u32..).zip(by_value) {
        discounts[at] = 1.0 / f64::from(rank).ln_1p();
    }
    discounts
}

impl Objective for LipoLambda {
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
            let Some(gains) = self.gains(groups, &ranked) else { continue };
            let values = ranked.iter().map(|one| self.beta * responses.log_ratio(*one).0);
            let values: Vec<_> = values.collect();
            let discounts = discounts(&values);
            for better in 0..ranked.len() {
                for worse in better + 1..ranked.len() {
                    // Nothing is gained by exchanging two that are tied.
                    let exchanged = (discounts[better] - discounts[worse]).abs();
                    let weight = (gains[better] - gains[worse]) * exchanged;
                    let (loss, slope) = logistic(values[better] - values[worse]);
                    sum += weight * loss;
                    let slope = self.beta * weight * slope / count;
                    responses.push(ranked[better], slope);
                    responses.push(ranked[worse], -slope);
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

    const LIST: Groups = Groups {
        target_starts: &[0, 1, 2, 3],
        group_starts: &[0, 3],
        scores: &[10.0, 30.0, 20.0],
        reference: &[-2.0, -2.0, -2.0],
    };

    /// ψ = 0, 1, 1/2. e^s = 2, 1, 4, so τ = 2, 3, 1. Of the pairs, best first (1 with 2, 1 with 0, 2
    /// with 0), the e^-(s_i - s_j) are 4, 2, 1/2.
    #[test]
    fn the_worked_example() {
        let logp = [-2.0 + 2f32.ln(), -2.0, -2.0 + 4f32.ln()];
        let [first, second, third] = [2f64, 3.0, 4.0].map(|rank| 1.0 / rank.ln());
        let wanted = |gain: f64| {
            (1.0 - gain) * (first - third) * 5f64.ln()
                + (second - third) * 3f64.ln()
                + gain * (first - second) * 1.5f64.ln()
        };
        let objective = LipoLambda { beta: 1.0, gain: Gain::Linear };
        let loss = evaluate(&objective, &logp, &LIST);
        assert_close(mean(&loss, "loss"), wanted(0.5));
        let objective = LipoLambda { beta: 1.0, gain: Gain::Exponential };
        let loss = evaluate(&objective, &logp, &LIST);
        assert_close(mean(&loss, "loss"), wanted(2f64.sqrt() - 1.0));
    }

    /// The model is still the reference, to the bit: s is 0 for all.
    #[test]
    fn responses_of_equal_s_rank_by_their_scores() {
        let pair = Groups {
            target_starts: &[0, 1, 2],
            group_starts: &[0, 2],
            scores: &[10.0, 30.0],
            reference: &[-2.0, -2.0],
        };
        let loss = evaluate(&LipoLambda::default(), &[-2.0, -2.0], &pair);
        let weight = 1.0 / 2f64.ln() - 1.0 / 3f64.ln();
        assert_close(mean(&loss, "loss"), weight * 2f64.ln());
        for (slope, wanted) in loss.gradient.iter().zip([0.05 * weight, -0.05 * weight]) {
            assert_close(f64::from(*slope), wanted);
        }
    }
}
