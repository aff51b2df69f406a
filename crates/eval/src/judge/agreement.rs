//! How far two judges agree.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Judgement, Verdict};

/// What two judges' words on the same things have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Things on which both have a word.
    pub n: usize,
    /// The share of these with the same word.
    pub same: Option<f64>,
    /// Cohen's kappa: 0 if they agree as often as chance would have it, 1 if always.
    pub kappa: Option<f64>,
}

impl Agreement {
    /// Of what each of the two said of each thing.
    pub fn of<T: PartialEq>(both: &[(T, T)]) -> Self {
        let n = both.len();
        let same = (n > 0).then(|| {
            let same = both.iter().filter(|(one, other)| one == other).count();
            same as f64 / n as f64
        });
        // By chance they agree as often as the product of how often each says a thing.
        let alike = |said: &T| both.iter().filter(|(_, other)| other == said).count();
        let chance =
            both.iter().map(|(said, _)| alike(said)).sum::<usize>() as f64 / (n * n) as f64;
        let kappa = same.filter(|_| chance < 1.0).map(|same| (same - chance) / (1.0 - chance));
        Self { n, same, kappa }
    }
}

/// What two judges' verdicts on the same pairs have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgeAgreement {
    /// All verdicts, ties included.
    #[serde(flatten)]
    pub verdicts: Agreement,
    /// Pairs on which neither says tie.
    pub decided: usize,
    /// The share of these with the same winner.
    pub same_winner: Option<f64>,
}

impl JudgeAgreement {
    /// Of both verdicts on each pair.
    pub fn of(both: &[(Verdict, Verdict)]) -> Self {
        let decided = both.iter().filter(|(a, b)| *a != Verdict::Tie && *b != Verdict::Tie);
        let decided: Vec<_> = decided.copied().collect();
        let same_winner = Agreement::of(&decided).same;
        Self { verdicts: Agreement::of(both), decided: decided.len(), same_winner }
    }
}

/// The verdicts of two judges on the pairs that have both, which are known by their ids.
pub fn both_verdicts(one: &[Judgement], other: &[Judgement]) -> Vec<(Verdict, Verdict)> {
    let others: HashMap<&str, Verdict> =
        other.iter().filter_map(|of| Some((of.id.as_str(), of.verdict()?))).collect();
    let both = one.iter().filter_map(|of| Some((of.verdict()?, *others.get(of.id.as_str())?)));
    both.collect()
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
        let found = JudgeAgreement::of(&both_verdicts(&one, &other));
        // Both say: first, first, second against first, tie. By chance 2/4 x 3/4 + 1/4 x 0 + 1/4 x 1/4.
        assert_eq!((found.verdicts.n, found.verdicts.same), (4, Some(0.75)));
        assert_eq!(found.verdicts.kappa, Some((0.75 - 0.4375) / (1.0 - 0.4375)));
        assert_eq!((found.decided, found.same_winner), (3, Some(2.0 / 3.0)));
        assert_eq!(JudgeAgreement::of(&[]), JudgeAgreement::default());
        // Where both always say the same thing, chance explains all.
        let alike = both_verdicts(&one[..2], &one[..2]);
        assert_eq!(JudgeAgreement::of(&alike).verdicts.kappa, None);
    }
}
