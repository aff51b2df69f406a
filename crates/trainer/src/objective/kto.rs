//! KTO: each response by itself is desirable or not; it gains or loses over the frozen reference,
//! measured from what the model has gained anyway.
//!
//! Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization" (arXiv 2402.01306),
//! equations 7 and 8:
//!
//! ```text
//! r(y) = log p(y | x) - log p_ref(y | x)
//! loss = mean_responses  desirable_weight   * (1 - σ(beta * (r(y) - z)))    if y is desirable
//!                        undesirable_weight * (1 - σ(beta * (z - r(y))))    if it is not
//! ```
//! as TRL's `KTOConfig(loss_type="kto")` (`trl/trainer/kto_trainer.py`), the point of reference `z` apart.
//! It stands for the KL divergence of the model from the reference, and no gradient goes through it. TRL
//! estimates it in a second forward pass, by prompts with the responses of other prompts, as
//! `max(0, mean r)` over a micro-batch, so that the loss depends on how the examples are batched. An
//! objective sees the responses of a prompt only. So here `z` is `max(0, mean r)` over the responses of
//! the same prompt, which does not depend on the batches; for a response alone it is 0. Or it is always 0,
//! as in TRL's `apo_zero_unpaired`.

use serde::{Deserialize, Serialize};

use super::pairwise::sigmoid;
use super::ranking::{OWN, ranking_counts};
use super::responses::{Responses, share};
use super::{Counts, Groups, Loss, Objective, above_zero, not_negative};
use crate::config::Problems;

/// What gains are measured from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferencePoint {
    /// The mean gain of the prompt's responses, if it is above 0; 0 for a response alone.
    #[default]
    Group,
    /// 0.
    Zero,
}

/// `[objective] kind = "kto"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kto {
    /// How steeply the loss falls, per nat of the whole response. Default 0.1. A larger one lets the
    /// model move away from the reference less.
    pub beta: f64,
    /// Weight of the desirable responses. Default 1. A larger one evens out a lack of them.
    pub desirable_weight: f64,
    /// Weight of the undesirable responses. Default 1. A larger one evens out a lack of them.
    pub undesirable_weight: f64,
    /// Score above which a response is desirable; the others are not. Default: the middle between the
    /// best and the worst score of the group, at which a response takes no part. Raising it makes
    /// more responses undesirable. An answer without a rival is desirable, if there is a threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// What gains are measured from: the `group`'s mean gain, or `zero`. Default `group`.
    pub reference_point: ReferencePoint,
}

impl Default for Kto {
    fn default() -> Self {
        Self {
            beta: 0.1,
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
            threshold: None,
            reference_point: ReferencePoint::Group,
        }
    }
}

impl Kto {
    pub(super) fn validate(&self, problems: &mut Problems) {
        above_zero(problems, "objective.beta", self.beta);
        not_negative(problems, "objective.desirable_weight", self.desirable_weight);
        not_negative(problems, "objective.undesirable_weight", self.undesirable_weight);
        if let Some(threshold) = self.threshold {
            problems.unless(threshold.is_finite(), "objective.threshold", threshold, "a number");
        }
    }

    /// The responses of a ranking that take part, and whether they are desirable.
    fn judged(&self, groups: &Groups, ranked: &[usize]) -> Vec<(usize, bool)> {
        let score = |one: usize| f64::from(groups.score(one));
        let judge = |&one: &usize| match (self.threshold, ranked) {
            (Some(threshold), _) => Some((one, score(one) > threshold)),
            (None, [best, .., worst]) => {
                let middle = 0.5 * (score(*best) + score(*worst));
                (score(one) != middle).then_some((one, score(one) > middle))
            }
            (None, _) => None,
        };
        ranked.iter().filter_map(judge).collect()
    }

    /// `z` of a group.
    fn reference_point(&self, responses: &Responses, ranked: &[usize]) -> f64 {
        if self.reference_point == ReferencePoint::Zero || ranked.len() < 2 {
            return 0.0;
        }
        let gained = ranked.iter().map(|one| responses.log_ratio(*one).0).sum::<f64>();
        (gained / ranked.len() as f64).max(0.0)
    }
}

impl Objective for Kto {
    fn needs_groups(&self) -> bool {
        true
    }

    fn learns_alone(&self) -> bool {
        self.threshold.is_some()
    }

    fn needs_reference(&self) -> bool {
        true
    }

    fn count(&self, groups: &Groups) -> Counts {
        let Counts(mut counts) = ranking_counts(groups);
        let judged = |group| self.judged(groups, &groups.ranked(group)).len() as u64;
        counts.push((0..groups.len()).map(judged).sum());
        Counts(counts)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let mut responses = Responses::of(logp, groups);
        let (mut sum, count) = (0.0, step.0[OWN] as f64);
        for group in 0..groups.len() {
            let ranked = groups.ranked(group);
            let from = self.reference_point(&responses, &ranked);
            for (one, desirable) in self.judged(groups, &ranked) {
                let (sign, weight) = match desirable {
                    true => (1.0, self.desirable_weight),
                    false => (-1.0, self.undesirable_weight),
                };
                // 1 - σ(x) = σ(-x)
                let missed = sigmoid(-sign * self.beta * (responses.log_ratio(one).0 - from));
                sum += weight * missed;
                let slope = -sign * self.beta * missed * (1.0 - missed);
                responses.push(one, weight * slope / count);
            }
        }
        responses.into_loss(logp, step, 1.0, share(sum, count), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{PAIR, assert_close, evaluate, mean};

    const LN3: f32 = 1.098_612_3;

    /// r = 2 ln 3 for the desirable response, 0 for the other: z = ln 3, and both are ln 3 on the right
    /// side of it. 1 - σ(ln 3) = 1/4. From 0, they are 1 - 9/10 and 1/2.
    #[test]
    fn the_worked_example() {
        let groups = Groups { reference: &[-2.0 - 2.0 * LN3, -1.5], ..PAIR };
        let logp = [-0.5, -1.5, -1.5];
        let kto = Kto { beta: 1.0, undesirable_weight: 2.0, ..Kto::default() };
        let loss = evaluate(&kto, &logp, &groups);
        assert_close(mean(&loss, "loss"), (0.25 + 2.0 * 0.25) / 2.0);
        // No gradient goes through z: 1/4 * 3/4, over two responses.
        for (slope, wanted) in loss.gradient.iter().zip([-0.09375, -0.09375, 0.1875]) {
            assert_close(f64::from(*slope), wanted);
        }
        let kto = Kto { reference_point: ReferencePoint::Zero, ..kto };
        assert_close(mean(&evaluate(&kto, &logp, &groups), "loss"), (0.1 + 2.0 * 0.5) / 2.0);
    }

    /// Scores 4, 1, 2.5, 0 and 2: the middle is 2. A threshold of 2.5 makes all but the first
    /// undesirable, and judges a response alone too.
    #[test]
    fn a_response_is_desirable_above_the_middle_or_the_threshold() {
        let groups = Groups { scores: &[4.0, 1.0, 2.5, 0.0, 2.0], ..Groups::default() };
        let ranked = [0, 2, 4, 1, 3];
        let judged = Kto::default().judged(&groups, &ranked);
        assert_eq!(judged, [(0, true), (2, true), (1, false), (3, false)]);
        assert!(Kto::default().judged(&groups, &[0]).is_empty());
        let kto = Kto { threshold: Some(2.5), ..Kto::default() };
        let judged = kto.judged(&groups, &ranked);
        assert_eq!(judged, [(0, true), (2, false), (4, false), (1, false), (3, false)]);
        assert_eq!(kto.judged(&groups, &[0]), [(0, true)]);
        // An answer that is learned as an ordinary one is desirable.
        let alone = Groups { scores: &[albacore_data::UNRIVALLED], ..Groups::default() };
        assert_eq!(kto.judged(&alone, &[0]), [(0, true)]);
    }
}
