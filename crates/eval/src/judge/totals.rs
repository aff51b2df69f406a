//! What judgements come to, in all and by category.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Judgement, NoOpinion, Verdict};

/// Verdicts and scores, summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Pairs that the first model won.
    pub first: usize,
    /// Pairs that the second won.
    pub second: usize,
    /// Ties, those that come of the order included.
    pub ties: usize,
    /// Pairs whose verdict depends on the order of the answers.
    pub depending_on_order: usize,
    /// Sums of the scores of the pairs that have them.
    pub scores: [f64; 2],
    /// Pairs for which the judge gave no reply in some order: they count for neither.
    pub failed: usize,
    /// Pairs with a reply that holds no verdict: they count for neither.
    pub unclear: usize,
}

impl Totals {
    /// Pairs with a verdict.
    pub fn judged(&self) -> usize {
        self.first + self.second + self.ties
    }

    /// Percentage of the pairs with a verdict that the second model wins, ties as half.
    pub fn second_win_rate(&self) -> Option<f64> {
        let won = self.second as f64 + 0.5 * self.ties as f64;
        (self.judged() > 0).then(|| 100.0 * won / self.judged() as f64)
    }

    /// How far the win rate may be off, in points: the deviation of the pairs over the root of their number, as for
    /// AlpacaEval. `None` of fewer than two.
    pub fn standard_error(&self) -> Option<f64> {
        let n = self.judged() as f64;
        let mean = self.second_win_rate()? / 100.0;
        let square = |count: usize, won: f64| count as f64 * (won - mean).powi(2);
        let squares = square(self.first, 0.0) + square(self.second, 1.0) + square(self.ties, 0.5);
        (self.judged() > 1).then(|| 100.0 * (squares / (n - 1.0) / n).sqrt())
    }

    fn add(&mut self, judgement: &Judgement) {
        match judgement.verdict() {
            Some(Verdict::First) => self.first += 1,
            Some(Verdict::Second) => self.second += 1,
            Some(Verdict::Tie) => self.ties += 1,
            None => {
                let failed = |opinion: &_| matches!(opinion, Err(NoOpinion::Failed(_)));
                match judgement.opinions.iter().any(failed) {
                    true => self.failed += 1,
                    false => self.unclear += 1,
                }
                return;
            }
        }
        self.depending_on_order += usize::from(judgement.depends_on_order());
        if let Some(scores) = judgement.scores() {
            for (sum, score) in self.scores.iter_mut().zip(scores) {
                *sum += score;
            }
        }
    }
}

/// The totals of all judgements, and those of each category.
pub fn totals(judgements: &[Judgement]) -> (Totals, BTreeMap<String, Totals>) {
    let (mut all, mut categories) = (Totals::default(), BTreeMap::<String, Totals>::new());
    for judgement in judgements {
        all.add(judgement);
        categories.entry(judgement.category.clone()).or_default().add(judgement);
    }
    (all, categories)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Opinion;

    #[test]
    fn failures_and_unclear_replies_count_for_neither() {
        let scored = |id: &str, category: &str, scores| {
            Judgement::from_scores(id.into(), category.into(), scores)
        };
        let unclear = Err(NoOpinion::Unclear);
        let opinion = Opinion { verdict: Verdict::First, scores: Some([9.0, 1.0]) };
        let judgements = [
            scored("1", "math", [7.0, 8.5]),
            scored("2", "math", [6.0, 6.0]),
            scored("3", "coding", [9.0, 2.0]),
            Judgement {
                id: "4".into(),
                category: "coding".into(),
                opinions: vec![Ok(opinion), unclear],
                exchanges: Vec::new(),
            },
        ];
        let (all, categories) = totals(&judgements);
        assert_eq!((all.first, all.second, all.ties, all.unclear), (1, 1, 1, 1));
        assert_eq!(all.scores, [22.0, 16.5]);
        assert_eq!(all.second_win_rate(), Some(50.0));
        // Deviations 0.5, 0, -0.5: the root of 0.5 / 2, over the root of 3.
        assert_eq!(all.standard_error(), Some(100.0 * (0.5_f64 / 2.0 / 3.0).sqrt()));
        assert_eq!(categories["coding"].standard_error(), None);
        assert_eq!(categories["math"].scores, [13.0, 14.5]);
        assert_eq!(categories["math"].second_win_rate(), Some(75.0));
        assert_eq!(Totals::default().second_win_rate(), None);
    }
}
