//! The length of the longest common subsequence, 64 places at a time.
//!
//! Hyyrö (2004), after Crochemore et al. (2001): a row of the classic table rises by 0 or 1 from
//! place to place, so a row is one bit a place (0 where it rises), and a row follows from the one
//! above by an addition: `U = V & M; V = (V + U) | (V - U)`, where `M` marks the places of the token.
//! Since `U` is a part of `V`, `V - U` is `V & !M`: only the sum carries from word to word.

/// No token has this id: it marks a free slot.
const FREE: u32 = u32::MAX;

/// One sequence, made ready for being compared with many.
pub(crate) struct Pattern {
    length: usize,
    /// Words of 64 places.
    words: usize,
    /// A hash table: the token of each slot. At most half of it is taken.
    slots: Vec<u32>,
    /// For each slot, its places.
    places: Vec<u64>,
    /// Bits that a multiplicative hash is shifted by.
    shift: u32,
}

impl Pattern {
    /// Makes the table of places of each token. No token may be `u32::MAX`.
    pub(crate) fn new(tokens: &[u32]) -> Self {
        let words = tokens.len().div_ceil(64).max(1);
        let size = (2 * tokens.len()).next_power_of_two().max(2);
        let mut pattern = Self {
            length: tokens.len(),
            words,
            slots: vec![FREE; size],
            places: vec![0; size * words],
            shift: 32 - size.trailing_zeros(),
        };
        for (place, &token) in tokens.iter().enumerate() {
            let slot = pattern.slot(token);
            pattern.slots[slot] = token;
            pattern.places[slot * words + place / 64] |= 1 << (place % 64);
        }
        pattern
    }

    /// The slot of a token, or the free one where it would go.
    fn slot(&self, token: u32) -> usize {
        let mut slot = (token.wrapping_mul(0x9E37_79B1) >> self.shift) as usize;
        while self.slots[slot] != token && self.slots[slot] != FREE {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    /// The length of the longest common subsequence with another sequence.
    pub(crate) fn common(&self, tokens: &[u32]) -> usize {
        if self.words > 1 {
            return self.common_long(tokens);
        }
        let mut row = u64::MAX;
        for &token in tokens {
            let places = self.places[self.slot(token)];
            row = row.wrapping_add(row & places) | (row & !places);
        }
        // Places beyond the sequence are in no mask: they stay 1.
        row.count_zeros() as usize
    }

    fn common_long(&self, tokens: &[u32]) -> usize {
        let mut row = vec![u64::MAX; self.words];
        for &token in tokens {
            let slot = self.slot(token);
            if self.slots[slot] == FREE {
                continue;
            }
            let mut carry = false;
            let places = &self.places[slot * self.words..][..self.words];
            for (word, &places) in row.iter_mut().zip(places) {
                let (sum, over) = word.overflowing_add(*word & places);
                let (sum, over_again) = sum.overflowing_add(carry.into());
                carry = over | over_again;
                *word = sum | (*word & !places);
            }
        }
        // A carry out of the last place runs through the 1s behind it, and those are set again.
        let common = row.iter().map(|word| word.count_zeros() as usize).sum();
        debug_assert!(common <= self.length);
        common
    }
}

/// The length of the longest common subsequence of two sequences of any length.
///
/// ```
/// assert_eq!(albacore_data::common_subsequence(&[1, 2, 3, 4], &[2, 9, 4, 1]), 2);
/// ```
pub fn common_subsequence(a: &[u32], b: &[u32]) -> usize {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.is_empty() { 0 } else { Pattern::new(short).common(long) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The textbook: a table, filled row by row.
    fn reference(a: &[u32], b: &[u32]) -> usize {
        let mut row = vec![0; b.len() + 1];
        for x in a {
            let mut diagonal = 0;
            for (j, y) in b.iter().enumerate() {
                let up = row[j + 1];
                row[j + 1] = if x == y { diagonal + 1 } else { up.max(row[j]) };
                diagonal = up;
            }
        }
        row[b.len()]
    }

    fn sequence(longest: usize) -> impl Strategy<Value = Vec<u32>> {
        (1u32..40).prop_flat_map(move |tokens| prop::collection::vec(0..tokens, 0..=longest))
    }

    proptest! {
        #[test]
        fn it_is_what_the_textbook_table_says(a in sequence(70), b in sequence(300)) {
            prop_assert_eq!(common_subsequence(&a, &b), reference(&a, &b));
        }

        #[test]
        fn more_than_one_word_of_places_works_too(a in sequence(400), b in sequence(400)) {
            prop_assert_eq!(Pattern::new(&a).common(&b), reference(&a, &b));
            prop_assert_eq!(Pattern::new(&b).common(&a), reference(&a, &b));
        }
    }

    #[test]
    fn full_words_carry_into_the_next() {
        for length in [1, 63, 64, 65, 127, 128, 129, 1000] {
            let tokens: Vec<u32> = (0..length).collect();
            let same = vec![7; length as usize];
            assert_eq!(common_subsequence(&tokens, &tokens), length as usize);
            assert_eq!(common_subsequence(&same, &same), length as usize);
            assert_eq!(Pattern::new(&same).common(&[7]), 1);
        }
    }
}
