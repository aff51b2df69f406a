//! Tuna's ranking loss: a response of a higher rank is to be more probable, by more the further
//! apart the ranks are; beside it the cross entropy, for regularisation.
//!
//! Li et al., "Tuna: Instruction Tuning using Feedback from Large Language Models"
//! (arXiv 2310.13385), as published in microsoft/LMOps, `tuna/src/custom.py`:
//!
//! ```text
//! s_k   mean log-probability of the tokens of the response at rank k (0 is the best)
//! loss = Σ_gap mean_(pairs k, k+gap) max(0, margin * gap - (s_k - s_(k+gap)))
//!        + mle_weight * mean_tokens(-log p)
//! ```
//! A mean at a gap is over the pairs of the whole step that are so far apart: in groups of different
//! sizes, over those that exist. The code ranks tied responses in the order of the file, and so does
//! this, unless told otherwise. The paper's own formula sums over all pairs of a group: `average`.

use serde::{Deserialize, Serialize};

use super::pairwise::hinge;
use super::ranking::{OWN, ranking_counts};
use super::responses::{MleOver, Responses, share};
use super::{Counts, Groups, Loss, Objective, not_negative};
use crate::config::Problems;

/// What is done with responses of the same score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The one that comes first in the file is the better one, as in the published code.
    #[default]
    FileOrder,
    /// They are not compared with each other; they keep their ranks to the others.
    LeaveOut,
}

/// Over what the hinges of pairs are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Over the step's pairs at each gap; the means are added up. As in the published code.
    #[default]
    Gaps,
    /// Over the step's groups, each of which adds up its pairs. As in the paper.
    Groups,
}

/// `[objective] kind = "tuna"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tuna {
    /// How much more probable a response is to be than the next one in rank, in nats per token.
    /// Default 0.1. A larger one pushes the responses further apart.
    pub margin: f64,
    /// Weight of the cross entropy. Default 1. A larger one holds on to the responses' likelihood.
    pub mle_weight: f64,
    /// Whose cross entropy: `all` responses', as in the published code, or the `best` one's of each
    /// group. Default `all`.
    pub mle_over: MleOver,
    /// Responses of the same score: `file_order` (the first is the better one) or `leave_out` (they are
    /// not compared). Default `file_order`.
    pub ties: Ties,
    /// How pairs are averaged: at each of the `gaps`, as in the published code, or over `groups`, as
    /// in the paper, which weighs the ranking higher. Default `gaps`.
    pub average: Average,
}

impl Default for Tuna {
    fn default() -> Self {
        Self {
            margin: 0.1,
            mle_weight: 1.0,
            mle_over: MleOver::All,
            ties: Ties::FileOrder,
            average: Average::Gaps,
        }
    }
}

/// Where the tokens of the cross entropy are counted.
const TOKENS: usize = OWN;
/// Where the groups that have a pair are counted.
const COMPARED: usize = OWN + 1;
/// Where the pairs at gap 1 are counted; those at larger gaps follow.
const NEIGHBOURS: usize = OWN + 2;

impl Tuna {
    pub(super) fn validate(&self, problems: &mut Problems) {
        not_negative(problems, "objective.margin", self.margin);
        not_negative(problems, "objective.mle_weight", self.mle_weight);
    }

    /// The pairs of a group: the better one, the worse one, and how far apart their ranks are.
    fn pairs(&self, groups: &Groups, ranked: &[usize]) -> Vec<(usize, usize, usize)> {
        let mut pairs = Vec::new();
        for (rank, &better) in ranked.iter().enumerate() {
            for (gap, &worse) in (1..).zip(&ranked[rank + 1..]) {
                let tied = groups.score(better) == groups.score(worse);
                if !(tied && self.ties == Ties::LeaveOut) {
                    pairs.push((better, worse, gap));
                }
            }
        }
        pairs
    }
}

impl Objective for Tuna {
    fn needs_groups(&self) -> bool {
        true
    }

    fn learns_alone(&self) -> bool {
        self.mle_weight > 0.0
    }

    fn count(&self, groups: &Groups) -> Counts {
        let Counts(mut counts) = ranking_counts(groups);
        counts.extend([self.mle_over.tokens(groups), 0]);
        for group in 0..groups.len() {
            let pairs = self.pairs(groups, &groups.ranked(group));
            counts[COMPARED] += u64::from(!pairs.is_empty());
            for (.., gap) in pairs {
                let unit = NEIGHBOURS + gap - 1;
                counts.resize(counts.len().max(unit + 1), 0);
                counts[unit] += 1;
            }
        }
        Counts(counts)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let mut responses = Responses::of(logp, groups);
        let mle = responses.add_mle(self.mle_over, self.mle_weight, step.0[TOKENS]);
        let mut ranking = 0.0;
        for group in 0..groups.len() {
            for (better, worse, gap) in self.pairs(groups, &groups.ranked(group)) {
                let unit = match self.average {
                    Average::Gaps => NEIGHBOURS + gap - 1,
                    Average::Groups => COMPARED,
                };
                let count = step.0[unit] as f64;
                let (above, below) = (responses.mean(better), responses.mean(worse));
                let (loss, slope) = hinge(self.margin * gap as f64 - (above.0 - below.0));
                ranking += share(loss, count);
                responses.push(better, -slope * above.1 / count);
                responses.push(worse, slope * below.1 / count);
            }
        }
        responses.into_loss(logp, step, 1.0, ranking, Some(mle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::tests::{evaluate, mean};

    /// One group of four, one token each, in file order best, third, second, worst.
    const FOUR: Groups = Groups {
        target_starts: &[0, 1, 2, 3, 4],
        group_starts: &[0, 4],
        scores: &[9.0, 2.0, 5.0, 1.0],
        reference: &[],
    };

    /// s = -0.5, -0.6, -0.55, -1.0 by rank. Gap 1: 0, 0.15, 0, mean 0.05. Gap 2: 0.15, 0, mean
    /// 0.075. Gap 3: 0. Cross entropy: (0.5 + 0.6 + 0.55 + 1) / 4 = 0.6625.
    #[test]
    fn the_worked_example() {
        let loss = evaluate(&Tuna::default(), &[-0.5, -0.55, -0.6, -1.0], &FOUR);
        assert!((mean(&loss, "loss_ranking") - 0.125).abs() < 1e-7);
        assert!((mean(&loss, "loss_mle") - 0.6625).abs() < 1e-7);
        assert!((mean(&loss, "loss") - 0.7875).abs() < 1e-7);
        // The pair (-0.6, -0.55) is one of three, (-0.5, -0.55) one of two; a token is one of four.
        let wanted = [-0.5 - 0.25, 0.5 + 1.0 / 3.0 - 0.25, -1.0 / 3.0 - 0.25, -0.25];
        for (slope, wanted) in loss.gradient.iter().zip(wanted) {
            assert!((f64::from(*slope) - wanted).abs() < 1e-7, "{:?}", loss.gradient);
        }
    }

    #[test]
    fn the_paper_adds_up_the_pairs_of_a_group() {
        let tuna = Tuna { average: Average::Groups, ..Tuna::default() };
        let loss = evaluate(&tuna, &[-0.5, -0.55, -0.6, -1.0], &FOUR);
        assert!((mean(&loss, "loss_ranking") - (0.15 + 0.15)).abs() < 1e-7);
    }

    #[test]
    fn the_best_alone_may_have_the_cross_entropy() {
        let tuna = Tuna { mle_over: MleOver::Best, mle_weight: 3.0, ..Tuna::default() };
        let loss = evaluate(&tuna, &[-0.5, -0.55, -0.6, -1.0], &FOUR);
        assert_eq!(mean(&loss, "loss_mle"), 0.5);
        assert!((mean(&loss, "loss") - (0.125 + 1.5)).abs() < 1e-7);
    }

    /// Tied: the later one in the file is to be less probable by the margin, or they are not compared.
    #[test]
    fn ties_are_ranked_by_the_file_or_left_out() {
        let tied = Groups { scores: &[1.0; 4], ..FOUR };
        let logp = [-1.0; 4];
        let in_order = evaluate(&Tuna::default(), &logp, &tied);
        assert!((mean(&in_order, "loss_ranking") - (0.1 + 0.2 + 0.3)).abs() < 1e-12);
        let tuna = Tuna { ties: Ties::LeaveOut, ..Tuna::default() };
        let left_out = evaluate(&tuna, &logp, &tied);
        assert_eq!(mean(&left_out, "loss_ranking"), 0.0);
        assert_eq!(left_out.gradient, [-0.25; 4]);
    }

    /// The mean at gap 1 is over three pairs, that at gap 2 over one, though there are two groups.
    #[test]
    fn a_mean_is_over_the_pairs_that_exist() {
        let ragged = Groups {
            target_starts: &[0, 1, 2, 3, 4, 5],
            group_starts: &[0, 3, 5],
            scores: &[3.0, 2.0, 1.0, 2.0, 1.0],
            reference: &[],
        };
        let tuna = Tuna { margin: 1.0, ..Tuna::default() };
        assert_eq!(tuna.count(&ragged).0[OWN..], [5, 2, 3, 1]);
        let loss = evaluate(&tuna, &[-1.0; 5], &ragged);
        assert!((mean(&loss, "loss_ranking") - (1.0 + 2.0)).abs() < 1e-12);
    }
}
