//! Robustness to how a task is put: the same examples under several instructions.
//!
//! A model that has understood a task scores the same whatever the wording. So each instruction's score
//! is taken over the same examples; what is told is their mean, how far they spread, and the best and
//! the worst of them.

use serde::Serialize;

/// The scores of one task under several instructions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ParaphraseRobustness {
    /// The score under each instruction: the mean over its examples.
    pub scores: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, as that of a sample.
    pub deviation: f64,
    /// The lowest.
    pub worst: f64,
    /// The highest.
    pub best: f64,
    /// The share of examples with the same score under every instruction.
    pub steady: f64,
}

/// Why scores cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotComparable {
    /// One instruction has no other to be compared with.
    #[error("there are {0} instructions, wanted at least 2")]
    Few(usize),
    /// Instructions were not scored on the same examples.
    #[error("instruction {instruction} has {found} scores, wanted {wanted} as the first has")]
    Uneven {
        /// Which, from 0.
        instruction: usize,
        /// Its scores.
        found: usize,
        /// Those of the first.
        wanted: usize,
    },
    /// There are no scores.
    #[error("there are no scores")]
    Empty,
}

/// Compares the scores that the same examples, in the same order, have under several instructions.
///
/// # Errors
/// If there are fewer than two instructions, no scores, or not as many under each.
pub fn paraphrase_robustness(
    by_instruction: &[Vec<f64>],
) -> Result<ParaphraseRobustness, NotComparable> {
    let [first, others @ ..] = by_instruction else { return Err(NotComparable::Few(0)) };
    if others.is_empty() {
        return Err(NotComparable::Few(1));
    }
    let wanted = first.len();
    if wanted == 0 {
        return Err(NotComparable::Empty);
    }
    let uneven = (0..).zip(by_instruction).find(|(_, scores)| scores.len() != wanted);
    if let Some((instruction, scores)) = uneven {
        return Err(NotComparable::Uneven { instruction, found: scores.len(), wanted });
    }
    let scores: Vec<_> = by_instruction.iter().map(|scores| mean(scores)).collect();
    let middle = mean(&scores);
    let squares: f64 = scores.iter().map(|score| (score - middle).powi(2)).sum();
    let same = |example: &usize| others.iter().all(|scores| scores[*example] == first[*example]);
    Ok(ParaphraseRobustness {
        mean: middle,
        deviation: (squares / (scores.len() - 1) as f64).sqrt(),
        worst: scores.iter().copied().fold(f64::INFINITY, f64::min),
        best: scores.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        steady: (0..wanted).filter(same).count() as f64 / wanted as f64,
        scores,
    })
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_over_instructions_and_not_over_examples() {
        // Two of four right, then three, then all four; the first and the last example never change.
        let scores = [[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0]];
        let found = paraphrase_robustness(&scores.map(Vec::from)).unwrap();
        assert_eq!(found.scores, [0.5, 0.75, 1.0]);
        assert_eq!((found.mean, found.worst, found.best), (0.75, 0.5, 1.0));
        // Deviations -0.25, 0, 0.25: the root of 0.125 / 2.
        assert_eq!((found.deviation, found.steady), (0.25, 0.5));
    }

    #[test]
    fn what_cannot_be_compared_is_told() {
        let told = |scores: &[Vec<f64>]| paraphrase_robustness(scores).unwrap_err().to_string();
        assert_eq!(told(&[vec![1.0]]), "there are 1 instructions, wanted at least 2");
        assert_eq!(told(&[vec![], vec![]]), "there are no scores");
        let uneven = told(&[vec![1.0, 0.0], vec![1.0, 1.0], vec![0.5]]);
        assert_eq!(uneven, "instruction 2 has 1 scores, wanted 2 as the first has");
    }
}
