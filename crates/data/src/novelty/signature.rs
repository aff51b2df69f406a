//! A text's words in 256 bits.

/// For each bit, whether an odd number of the text's words fall on it. Two texts then differ in at
/// most as many bits as there are words (counted as often as they occur) on one side only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature([u64; 4]);

impl Signature {
    pub(crate) fn new(tokens: &[u32]) -> Self {
        let mut words = [0; 4];
        for &token in tokens {
            // Fibonacci hashing: neighbouring ids fall far apart.
            let bit = u64::from(token).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
            words[(bit / 64) as usize] ^= 1 << (bit % 64);
        }
        Self(words)
    }

    /// The same in 64 bits: a word falls on bit `b % 64`.
    pub(crate) fn folded(self) -> u64 {
        self.0.iter().fold(0, |all, word| all ^ word)
    }

    /// A lower bound of the number of words on one side only.
    pub(crate) fn apart(self, other: Self) -> usize {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Words on one side only, counted as often as they occur.
    fn symmetric_difference(a: &[u32], b: &[u32]) -> usize {
        let count = |side: &[u32], token| side.iter().filter(|other| **other == token).count();
        (0..1000).map(|token| count(a, token).abs_diff(count(b, token))).sum()
    }

    proptest! {
        #[test]
        fn bits_that_differ_are_never_more_than_words_that_do(
            a in prop::collection::vec(0u32..1000, 0..80), b in prop::collection::vec(0u32..1000, 0..80),
        ) {
            let [one, other] = [&a, &b].map(|tokens| Signature::new(tokens));
            let most = symmetric_difference(&a, &b);
            prop_assert!(one.apart(other) <= most);
            let folded = (one.folded() ^ other.folded()).count_ones() as usize;
            prop_assert!(folded <= one.apart(other));
        }
    }
}
