//! How like one text is to every other: what Self-Instruct records beside each instruction.

use rayon::prelude::*;

use super::{Likeness, Novelty};
use crate::rouge::{Pattern, RougeL};

/// The scores of one text with all that are indexed.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// The texts most like it, highest score first; of equal scores, the text indexed first. (In
    /// Self-Instruct's own records chance decides: numpy's `argsort` is not stable.)
    pub nearest: Vec<Likeness>,
    /// The mean over all texts, summed in the order of numpy's `mean`; 0 if there are none.
    pub mean: f64,
}

impl Novelty {
    /// The scores of a text with all that are indexed, of which the `most` highest are listed.
    pub fn scores(&self, text: &str, most: usize) -> Scores {
        let query = self.store.look(text);
        let scores: Vec<f64> = if query.tokens.is_empty() {
            vec![0.0; self.len()]
        } else {
            let pattern = Pattern::new(&query.tokens);
            let score = |index| {
                let tokens = self.store.tokens(index);
                let common = pattern.common(tokens);
                RougeL::from_lengths(common, query.tokens.len(), tokens.len()).f_measure
            };
            (0..self.len()).into_par_iter().with_min_len(4096).map(score).collect()
        };
        let mut nearest: Vec<_> = (0..).zip(&scores).collect();
        let order = |a: &(usize, &f64), b: &(usize, &f64)| b.1.total_cmp(a.1).then(a.0.cmp(&b.0));
        if most < nearest.len() {
            nearest.select_nth_unstable_by(most, order);
            nearest.truncate(most);
        }
        nearest.sort_unstable_by(order);
        let likeness = |(index, score): (usize, &f64)| Likeness { index, score: *score };
        Scores {
            nearest: nearest.into_iter().map(likeness).collect(),
            mean: pairwise_sum(&scores) / scores.len().max(1) as f64,
        }
    }
}

/// The sum of numbers in the order of numpy's `add.reduce`: eight sums side by side up to 128
/// numbers, halves beyond, cut at a multiple of eight.
fn pairwise_sum(numbers: &[f64]) -> f64 {
    match numbers.len() {
        0..8 => numbers.iter().sum(),
        8..=128 => {
            let (eights, rest) = numbers.as_chunks::<8>();
            let mut sums = [0.0; 8];
            sums.copy_from_slice(&eights[0]);
            for eight in &eights[1..] {
                sums.iter_mut().zip(eight).for_each(|(sum, number)| *sum += number);
            }
            let [a, b, c, d, e, f, g, h] = sums;
            let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
            rest.iter().fold(sum, |sum, number| sum + number)
        }
        length => {
            let half = length / 2 - length / 2 % 8;
            let (left, right) = numbers.split_at(half);
            pairwise_sum(left) + pairwise_sum(right)
        }
    }
}
