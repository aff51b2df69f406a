//! How different the answers of a set are.

use std::collections::HashMap;

use crate::{RougeL, Tokenization, common_subsequence, for_each_token};

/// What the ROUGE-L F of all pairs come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diversity {
    /// The mean; 0 without a pair.
    pub mean: f64,
    /// The highest; 0 without a pair.
    pub highest: f64,
}

impl Diversity {
    /// Of these texts. F is the same both ways, so that each pair counts once.
    ///
    /// ```
    /// use albacore_data::{Tokenization, sample::Diversity};
    /// // Of 4 and 3 words 3 are common in order: F = 2 * 3 / 7. With the third text nothing is.
    /// let found = Diversity::of(&["a b c d", "a b d", "e"], Tokenization::Stemmed);
    /// assert!((found.highest - 6.0 / 7.0).abs() < 1e-15 && (found.mean - 2.0 / 7.0).abs() < 1e-15);
    /// ```
    pub fn of(texts: &[&str], tokenization: Tokenization) -> Self {
        let mut ids: HashMap<String, u32> = HashMap::new();
        let sequences = texts.iter().map(|text| {
            let mut sequence = Vec::new();
            for_each_token(text, tokenization, |token| {
                let next = ids.len() as u32;
                sequence.push(*ids.entry(token.to_owned()).or_insert(next));
            });
            sequence
        });
        let sequences: Vec<_> = sequences.collect();
        let (mut sum, mut pairs, mut highest) = (0.0, 0, 0.0_f64);
        for (index, one) in sequences.iter().enumerate() {
            for other in &sequences[..index] {
                let common = common_subsequence(one, other);
                let f = RougeL::from_lengths(common, one.len(), other.len()).f_measure;
                sum += f;
                pairs += 1;
                highest = highest.max(f);
            }
        }
        Self { mean: sum / f64::from(pairs.max(1)), highest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_counts_once_and_stems_are_alike() {
        // Pairs: run/runs alike 1, each with `swim` 0. Unstemmed, none is alike.
        let texts = ["running", "runs", "swim"];
        let stemmed = Diversity::of(&texts, Tokenization::Stemmed);
        assert_eq!(stemmed, Diversity { mean: 1.0 / 3.0, highest: 1.0 });
        let plain = Diversity::of(&texts, Tokenization::Ascii);
        assert_eq!(plain, Diversity { mean: 0.0, highest: 0.0 });
    }

    #[test]
    fn one_text_has_no_pair() {
        let alone = Diversity { mean: 0.0, highest: 0.0 };
        assert_eq!(Diversity::of(&["a"], Tokenization::Stemmed), alone);
        assert_eq!(Diversity::of(&[], Tokenization::Stemmed), alone);
    }
}
