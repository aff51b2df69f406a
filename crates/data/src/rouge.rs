//! ROUGE-L (Lin, 2004), to the last bit of what the Python package `rouge-score` 0.1.2 computes.
//!
//! ```text
//!  text ─tokens─► words ─longest common subsequence─► L ─► P = L / prediction, R = L / reference, F = 2PR / (P + R)
//! ```
//!
//! The last bit matters: of the 98 pairs of lengths below 64 that can have an F of exactly 0.7, 54
//! come out a last bit or two higher and are then "above 0.7". So P, R and F are computed in f64 by
//! the very same expressions in the same order.

mod porter;
mod subsequence;
mod tokens;

use std::collections::HashMap;

pub use porter::stem;
pub(crate) use subsequence::Pattern;
pub use subsequence::common_subsequence;
pub use tokens::{Tokenization, for_each_token, is_python_space, is_wordless, tokens};

/// How much of a prediction is in a reference, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RougeL {
    /// Share of the prediction's words that are common.
    pub precision: f64,
    /// Share of the reference's words that are common.
    pub recall: f64,
    /// Their harmonic mean.
    pub f_measure: f64,
}

impl RougeL {
    /// From the length of the longest common subsequence and the numbers of words. All 0 if one
    /// side has none.
    pub fn from_lengths(common: usize, prediction: usize, reference: usize) -> Self {
        if prediction == 0 || reference == 0 {
            return Self::default();
        }
        let precision = common as f64 / prediction as f64;
        let recall = common as f64 / reference as f64;
        let sum = precision + recall;
        // ((2P)R) / (P + R): another order of the products has another last bit
        let f_measure = if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 };
        Self { precision, recall, f_measure }
    }

    /// ROUGE-L of two texts.
    ///
    /// ```
    /// use albacore_data::{RougeL, Tokenization};
    /// let score = RougeL::of("The cat sat", "the cat SAT down", Tokenization::Ascii);
    /// assert_eq!((score.precision, score.recall), (1.0, 0.75));
    /// ```
    pub fn of(prediction: &str, reference: &str, tokenization: Tokenization) -> Self {
        let mut ids: HashMap<String, u32> = HashMap::new();
        let [prediction, reference] = [prediction, reference].map(|text| {
            let mut sequence = Vec::new();
            for_each_token(text, tokenization, |token| {
                let next = ids.len() as u32;
                sequence.push(*ids.entry(token.to_owned()).or_insert(next));
            });
            sequence
        });
        let common = common_subsequence(&prediction, &reference);
        Self::from_lengths(common, prediction.len(), reference.len())
    }

    /// The best of several references by F, the first of equals; all 0 without references.
    pub fn best<'a>(
        prediction: &str,
        references: impl IntoIterator<Item = &'a str>,
        tokenization: Tokenization,
    ) -> Self {
        let scores = references.into_iter().map(|text| Self::of(prediction, text, tokenization));
        let better = |a: Self, b: Self| if b.f_measure > a.f_measure { b } else { a };
        scores.reduce(better).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_common_is_zero_and_not_undefined() {
        let zero = RougeL::default();
        for (a, b) in [("", ""), ("", "a"), ("a", ""), ("a", "b"), ("...", "a"), ("日本", "日本")]
        {
            assert_eq!(RougeL::of(a, b, Tokenization::Ascii), zero, "{a} {b}");
        }
        assert_eq!(RougeL::of("日本", "日本", Tokenization::Unicode).f_measure, 1.0);
    }

    #[test]
    fn f_is_the_same_both_ways() {
        for (common, a, b) in (1..40).flat_map(|a| (1..40).map(move |b| (a.min(b) / 2, a, b))) {
            let [one, other] = [(a, b), (b, a)].map(|(a, b)| RougeL::from_lengths(common, a, b));
            assert_eq!(one.f_measure.to_bits(), other.f_measure.to_bits());
        }
    }

    #[test]
    fn an_f_of_exactly_seven_tenths_is_above_it_more_often_than_not() {
        // 2L / (a + b) = 7 / 10, in whole numbers
        let pairs = (1..64).flat_map(|a| (1..64).map(move |b| (a, b)));
        let exact = pairs.filter_map(|(a, b)| {
            let common = 7 * (a + b) / 20;
            (common * 20 == 7 * (a + b) && common <= a.min(b)).then_some((common, a, b))
        });
        let f: Vec<_> = exact.map(|(l, a, b)| RougeL::from_lengths(l, a, b).f_measure).collect();
        assert_eq!((f.len(), f.iter().filter(|f| **f > 0.7).count()), (98, 54));
    }

    #[test]
    fn the_best_reference_is_the_first_of_equals() {
        let best = RougeL::best("a b", ["a", "a b c", "a b d", "x"], Tokenization::Ascii);
        assert_eq!(best, RougeL::from_lengths(2, 2, 3));
        assert_eq!(RougeL::best("a b", [], Tokenization::Ascii), RougeL::default());
    }
}
