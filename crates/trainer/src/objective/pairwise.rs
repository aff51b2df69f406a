//! What the objectives that compare two responses of a prompt have in common.

use serde::{Deserialize, Serialize};

use super::ranking::{GROUPS, PAIRS};
use super::responses::{Responses, Valued, share};
use super::{Counts, Groups};

/// Which pairs of a group are compared. Tied responses never are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// The best with the worst: one pair of each group.
    #[default]
    BestWorst,
    /// Each with each.
    All,
}

impl Pairs {
    /// The pairs `(better, worse)` of a group's ranking, whose scores differ.
    pub(super) fn of(self, groups: &Groups, ranked: &[usize]) -> Vec<(usize, usize)> {
        let pairs: Vec<_> = match (self, ranked) {
            (Self::BestWorst, [best, .., worst]) => vec![(*best, *worst)],
            (Self::BestWorst, _) => Vec::new(),
            (Self::All, _) => {
                let later = |(at, &better): (usize, _)| {
                    ranked[at + 1..].iter().map(move |&worse| (better, worse))
                };
                ranked.iter().enumerate().flat_map(later).collect()
            }
        };
        let differ =
            |(better, worse): &(usize, usize)| groups.score(*better) != groups.score(*worse);
        pairs.into_iter().filter(differ).collect()
    }

    /// How many there are in a step.
    fn count(self, step: &Counts) -> f64 {
        step.0[match self {
            Self::BestWorst => GROUPS,
            Self::All => PAIRS,
        }] as f64
    }
}

/// Adds `weight` times the mean, over the step's pairs, of `loss(value(better) - value(worse))`;
/// returns the batch's share of that mean. `loss` gives its value and its derivative.
pub(super) fn compare<'a>(
    responses: &mut Responses<'a>,
    pairs: Pairs,
    step: &Counts,
    weight: f64,
    value: impl Fn(&Responses<'a>, usize) -> Valued,
    loss: impl Fn(f64) -> (f64, f64),
) -> f64 {
    let (groups, count) = (responses.groups, pairs.count(step));
    let mut sum = 0.0;
    for group in 0..groups.len() {
        for (better, worse) in pairs.of(&groups, &groups.ranked(group)) {
            let (above, below) = (value(responses, better), value(responses, worse));
            let (loss, slope) = loss(above.0 - below.0);
            sum += loss;
            responses.push(better, weight * slope * above.1 / count);
            responses.push(worse, -weight * slope * below.1 / count);
        }
    }
    share(sum, count)
}

/// `1 / (1 + e^-x)`.
pub(super) fn sigmoid(x: f64) -> f64 {
    // e^-|x| does not overflow.
    let small = (-x.abs()).exp();
    (if x >= 0.0 { 1.0 } else { small }) / (1.0 + small)
}

/// `-log sigmoid(x)`, and its derivative.
pub(super) fn logistic(x: f64) -> (f64, f64) {
    ((-x).max(0.0) + (-x.abs()).exp().ln_1p(), -sigmoid(-x))
}

/// The logistic loss where a share `smoothing` of the labels is thought to be the wrong way round.
pub(super) fn smoothed_logistic(x: f64, smoothing: f64) -> (f64, f64) {
    let (right, wrong) = (logistic(x), logistic(-x));
    let mix = |right: f64, wrong: f64| (1.0 - smoothing) * right + smoothing * wrong;
    (mix(right.0, wrong.0), mix(right.1, -wrong.1))
}

/// `max(0, x)`, and its derivative.
pub(super) fn hinge(x: f64) -> (f64, f64) {
    if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logistic_loss_is_right_and_finite_everywhere() {
        let (loss, slope) = logistic(3f64.ln());
        assert!((loss - (4f64 / 3.0).ln()).abs() < 1e-15 && (slope + 0.25).abs() < 1e-15);
        assert_eq!(logistic(-800.0), (800.0, -1.0));
        assert_eq!(logistic(800.0), (0.0, 0.0));
        let (loss, slope) = smoothed_logistic(800.0, 0.25);
        assert_eq!((loss, slope), (200.0, 0.25));
    }

    #[test]
    fn pairs_are_of_different_scores() {
        let groups = Groups { scores: &[1.0, 3.0, 3.0, 2.0], ..Groups::default() };
        let ranked = [1, 2, 3, 0];
        assert_eq!(Pairs::BestWorst.of(&groups, &ranked), [(1, 0)]);
        assert_eq!(Pairs::All.of(&groups, &ranked), [(1, 3), (1, 0), (2, 3), (2, 0), (3, 0)]);
        for pairs in [Pairs::BestWorst, Pairs::All] {
            assert!(pairs.of(&groups, &ranked[..2]).is_empty(), "tied");
            assert!(pairs.of(&groups, &ranked[..1]).is_empty(), "alone");
            assert!(pairs.of(&groups, &[]).is_empty());
        }
    }
}
