//! Robustness to how a task is put: the same examples under several instructions.
//!
//! A model that has understood a task scores the same whatever the wording. So each instruction's score
//! is taken over the same examples; what is told is their mean, how far they spread, and the best and
//! the worst of them.

/// What the scores of one task under several instructions come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ParaphraseRobustness {
    /// The mean of the instructions' scores, each the mean over its examples.
    pub(crate) mean: f64,
    /// Their standard deviation, as that of a sample.
    pub(crate) deviation: f64,
    /// The lowest.
    pub(crate) worst: f64,
    /// The highest.
    pub(crate) best: f64,
    /// The share of examples with the same score under every instruction.
    pub(crate) steady: f64,
}

/// Compares the scores that the same examples, in the same order, have under several instructions. `None` of fewer
/// than two instructions, or without examples.
pub(crate) fn paraphrase_robustness(by_instruction: &[Vec<f64>]) -> Option<ParaphraseRobustness> {
    let [first, others @ ..] = by_instruction else { return None };
    if others.is_empty() || first.is_empty() {
        return None;
    }
    let scores: Vec<_> = by_instruction.iter().map(|scores| mean(scores)).collect();
    let middle = mean(&scores);
    let squares: f64 = scores.iter().map(|score| (score - middle).powi(2)).sum();
    let same = |example: &usize| others.iter().all(|scores| scores[*example] == first[*example]);
    Some(ParaphraseRobustness {
        mean: middle,
        deviation: (squares / (scores.len() - 1) as f64).sqrt(),
        worst: scores.iter().copied().fold(f64::INFINITY, f64::min),
        best: scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        steady: (0..first.len()).filter(same).count() as f64 / first.len() as f64,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_over_instructions_and_not_over_examples() {
        let right = |answers: &[u8]| answers.iter().map(|&answer| f64::from(answer)).collect();
        let scores = [right(&[1, 0, 1, 0]), right(&[1, 1, 1, 0]), right(&[1, 1, 1, 1])];
        let found = paraphrase_robustness(&scores).unwrap();
        assert_eq!((found.mean, found.worst, found.best), (0.75, 0.5, 1.0));
        // Deviations -0.25, 0, 0.25: the root of 0.125 / 2.
        assert_eq!((found.deviation, found.steady), (0.25, 0.5));
    }

    #[test]
    fn one_instruction_alone_tells_nothing() {
        assert_eq!(paraphrase_robustness(&[vec![1.0]]), None);
        assert_eq!(paraphrase_robustness(&[vec![], vec![]]), None);
        assert_eq!(paraphrase_robustness(&[]), None);
    }
}
