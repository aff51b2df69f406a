//! How far two rankings of the same answers agree.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::candidates::RankedRecord;

/// What two rankings have in common. Sets are known by their ids, answers by their texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Sets that are compared: both rank two or more of the same answers.
    pub sets: usize,
    /// Sets that only one of them has, or in which they share fewer than two answers.
    pub apart: usize,
    /// The mean of Kendall's tau-b over the sets in which it is defined; from -1 to 1.
    pub kendall_tau_b: Option<f64>,
    /// Sets in which it is not, because one of the rankings ties all answers.
    pub all_tied: usize,
    /// Of the sets in which neither ranking ties all answers, the share in which an answer is the best by both,
    /// tied ones included.
    pub top_1: Option<f64>,
    /// Pairs of answers that neither ties.
    pub pairs: u64,
    /// The share of these that both put in the same order.
    pub same_order: Option<f64>,
}

/// Compares two rankings.
pub fn agreement(one: &[RankedRecord], two: &[RankedRecord]) -> Agreement {
    let theirs: HashMap<&str, &RankedRecord> =
        two.iter().map(|record| (record.id.as_str(), record)).collect();
    let mut found = Agreement::default();
    let (mut shared_ids, mut tau, mut tops, mut same) = (0, Vec::new(), 0, 0);
    for record in one {
        let Some(other) = theirs.get(record.id.as_str()) else { continue };
        shared_ids += 1;
        let scores = shared(record, other);
        let (mine, others): (Vec<f64>, Vec<f64>) = scores.into_iter().unzip();
        if mine.len() < 2 {
            found.apart += 1;
            continue;
        }
        found.sets += 1;
        let Some(value) = kendall_tau_b(&mine, &others) else {
            found.all_tied += 1;
            continue;
        };
        tau.push(value);
        let best = |scores: &[f64]| scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (best_mine, best_other) = (best(&mine), best(&others));
        let both = |(a, b): (&f64, &f64)| *a == best_mine && *b == best_other;
        tops += usize::from(mine.iter().zip(&others).any(both));
        let Pairs { concordant, discordant, .. } = Pairs::of(&mine, &others);
        found.pairs += concordant + discordant;
        same += concordant;
    }
    found.apart += one.len() - shared_ids + theirs.len() - shared_ids.min(theirs.len());
    let share = |part: f64, of: f64| (of > 0.0).then(|| part / of);
    found.kendall_tau_b = share(tau.iter().sum(), tau.len() as f64);
    found.top_1 = share(tops as f64, tau.len() as f64);
    found.same_order = share(same as f64, found.pairs as f64);
    found
}

/// The two scores of each answer that both records have; the first of equal texts counts.
fn shared(one: &RankedRecord, two: &RankedRecord) -> Vec<(f64, f64)> {
    let scores = |record: &RankedRecord| {
        let mut scores: Vec<(String, f64)> = Vec::new();
        for (text, score) in record.output.iter().zip(&record.score) {
            if !scores.iter().any(|(known, _)| known == text) {
                scores.push((text.clone(), *score));
            }
        }
        scores
    };
    let theirs: HashMap<String, f64> = scores(two).into_iter().collect();
    let both =
        scores(one).into_iter().filter_map(|(text, score)| Some((score, *theirs.get(&text)?)));
    both.collect()
}

/// Pairs of items by how two lists of scores order them.
struct Pairs {
    concordant: u64,
    discordant: u64,
    /// Tied by the first list, whatever the second says; and the other way round.
    tied: [u64; 2],
    all: u64,
}

impl Pairs {
    fn of(one: &[f64], two: &[f64]) -> Self {
        let mut pairs = Self { concordant: 0, discordant: 0, tied: [0; 2], all: 0 };
        for right in 0..one.len() {
            for left in 0..right {
                let (a, b) = (one[left] - one[right], two[left] - two[right]);
                pairs.all += 1;
                pairs.tied[0] += u64::from(a == 0.0);
                pairs.tied[1] += u64::from(b == 0.0);
                // Not their product: that of two small differences may be 0.
                match (a != 0.0 && b != 0.0, (a > 0.0) == (b > 0.0)) {
                    (true, true) => pairs.concordant += 1,
                    (true, false) => pairs.discordant += 1,
                    (false, _) => {}
                }
            }
        }
        pairs
    }
}

/// Kendall's tau-b: pairs in the same order less pairs in the other, divided by the geometric mean of the
/// pairs that each list does not tie. `None` if one of them ties all.
///
/// ```
/// use albacore_data::rank::kendall_tau_b;
/// // Of 6 pairs, one is the other way round: (5 - 1) / 6.
/// let tau = kendall_tau_b(&[4.0, 3.0, 2.0, 1.0], &[4.0, 3.0, 1.0, 2.0]).unwrap();
/// assert!((tau - 4.0 / 6.0).abs() < 1e-15);
/// ```
pub fn kendall_tau_b(one: &[f64], two: &[f64]) -> Option<f64> {
    let Pairs { concordant, discordant, tied, all } = Pairs::of(one, two);
    let [one, two] = tied.map(|tied| (all - tied) as f64);
    let difference = concordant as f64 - discordant as f64;
    (one > 0.0 && two > 0.0).then(|| difference / (one.sqrt() * two.sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, scored: &[(&str, f64)]) -> RankedRecord {
        RankedRecord {
            id: id.into(),
            output: scored.iter().map(|(text, _)| (*text).to_owned()).collect(),
            score: scored.iter().map(|(_, score)| *score).collect(),
            ..RankedRecord::default()
        }
    }

    #[test]
    fn tau_b_by_hand() {
        let tau = |one: &[f64], two: &[f64]| {
            kendall_tau_b(one, two).map(|tau| (tau * 1e12).round() / 1e12)
        };
        assert_eq!(tau(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), Some(1.0));
        assert_eq!(tau(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        // Pairs 12, 13, 23: the first list ties 12; 13 and 23 agree. 2 / sqrt(2 * 3).
        assert_eq!(tau(&[1.0, 1.0, 2.0], &[1.0, 2.0, 3.0]), Some(0.816_496_580_928));
        // Both tie 12: 2 / sqrt(2 * 2).
        assert_eq!(tau(&[1.0, 1.0, 2.0], &[5.0, 5.0, 6.0]), Some(1.0));
        // scipy.stats.kendalltau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0])
        let (one, two) = ([12.0, 2.0, 1.0, 12.0, 2.0], [1.0, 4.0, 7.0, 1.0, 0.0]);
        assert_eq!(tau(&one, &two), Some(-0.471_404_520_791));
        assert_eq!(tau(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(tau(&[1e-200, 2e-200, 0.0], &[1e-200, 2e-200, 0.0]), Some(1.0));
    }

    #[test]
    fn sets_are_compared_on_the_answers_that_both_have() {
        let one = [
            record("a", &[("x", 3.0), ("y", 2.0), ("z", 1.0)]),
            record("b", &[("x", 1.0), ("y", 1.0)]),
            record("c", &[("x", 1.0), ("y", 0.0)]),
            record("only one has it", &[("x", 1.0), ("y", 0.0)]),
        ];
        let two = [
            // `z` is unknown to the other; `w` to this one. x over y in one, y over x in the other.
            record("a", &[("w", 9.0), ("y", 2.0), ("x", 1.0)]),
            record("b", &[("y", 2.0), ("x", 1.0)]),
            record("c", &[("x", 1.0), ("w", 0.0)]),
            record("only the other", &[("x", 1.0), ("y", 0.0)]),
        ];
        let found = agreement(&one, &two);
        // Compared: `a` (tau -1, other tops); `b` is all tied by one.
        let wanted = Agreement {
            sets: 2,
            apart: 3,
            kendall_tau_b: Some(-1.0),
            all_tied: 1,
            top_1: Some(0.0),
            pairs: 1,
            same_order: Some(0.0),
        };
        assert_eq!(found, wanted);
        let same = agreement(&one, &one);
        assert_eq!(
            (same.sets, same.apart, same.kendall_tau_b, same.top_1),
            (4, 0, Some(1.0), Some(1.0))
        );
        assert_eq!(agreement(&[], &[]), Agreement::default());
    }
}
