//! How far two judges agree.

use std::collections::HashMap;

use serde::Serialize;

use super::{Judgement, Verdict};

/// What two judges' verdicts on the same pairs have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct JudgeAgreement {
    /// Pairs on which both have a verdict.
    pub pairs: usize,
    /// The share of these with the same verdict.
    pub same: Option<f64>,
    /// Cohen's kappa: 0 if they agree as often as chance would have it, 1 if always.
    pub kappa: Option<f64>,
    /// Pairs on which neither says tie.
    pub decided: usize,
    /// The share of these with the same winner.
    pub same_winner: Option<f64>,
}

/// Compares two judges' verdicts; pairs are known by their ids.
pub fn judge_agreement(one: &[Judgement], other: &[Judgement]) -> JudgeAgreement {
    let others: HashMap<&str, Verdict> =
        other.iter().filter_map(|of| Some((of.id.as_str(), of.verdict()?))).collect();
    let both = one.iter().filter_map(|of| Some((of.verdict()?, *others.get(of.id.as_str())?)));
    let both: Vec<(Verdict, Verdict)> = both.collect();
    let pairs = both.len();
    let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
    let same = share(both.iter().filter(|(a, b)| a == b).count(), pairs);
    // By chance they agree as often as the product of how often each says a thing.
    let says = |verdict, pick: fn(&(Verdict, Verdict)) -> Verdict| {
        both.iter().filter(|pair| pick(pair) == verdict).count() as f64 / pairs.max(1) as f64
    };
    let verdicts = [Verdict::First, Verdict::Second, Verdict::Tie];
    let chance: f64 =
        verdicts.iter().map(|&v| says(v, |pair| pair.0) * says(v, |pair| pair.1)).sum();
    let kappa = same.filter(|_| chance < 1.0).map(|same| (same - chance) / (1.0 - chance));
    let decided = both.iter().filter(|(a, b)| *a != Verdict::Tie && *b != Verdict::Tie);
    let (count, agreed) =
        decided.fold((0, 0), |(count, agreed), (a, b)| (count + 1, agreed + usize::from(a == b)));
    JudgeAgreement { pairs, same, kappa, decided: count, same_winner: share(agreed, count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(scores: &[(&str, [f64; 2])]) -> Vec<Judgement> {
        let judgement = |(id, scores): &(&str, [f64; 2])| {
            Judgement::from_scores((*id).to_owned(), String::new(), *scores)
        };
        scores.iter().map(judgement).collect()
    }

    #[test]
    fn kappa_is_what_is_left_beyond_chance() {
        let (first, second, tie) = ([2.0, 1.0], [1.0, 2.0], [1.0, 1.0]);
        let one = judged(&[("a", first), ("b", first), ("c", second), ("d", tie), ("x", first)]);
        let other = judged(&[("d", tie), ("c", first), ("b", first), ("a", first), ("y", tie)]);
        let found = judge_agreement(&one, &other);
        // Both say: first, first, second against first, tie. By chance 2/4 x 3/4 + 1/4 x 0 + 1/4 x 1/4.
        assert_eq!((found.pairs, found.same), (4, Some(0.75)));
        assert_eq!(found.kappa, Some((0.75 - 0.4375) / (1.0 - 0.4375)));
        assert_eq!((found.decided, found.same_winner), (3, Some(2.0 / 3.0)));
        assert_eq!(judge_agreement(&one, &[]).same, None);
        // Where both always say the same thing, chance explains all.
        assert_eq!(judge_agreement(&one[..2], &one[..2]).kappa, None);
    }
}
