//! What was found out about words that were seen before.
//!
//! Threads share it. A word that was put into the table stays there, so that reading it takes no lock; a table
//! that is full takes no more. What is frequent comes early.

use std::sync::OnceLock;

/// Places in the table: 5 MiB or so, and about 64 bytes for each word in it.
const PLACES: usize = 1 << 17;
/// Places that a word may stand in, one behind the other.
const TRIED: usize = 4;
/// Bytes of the longest word that is kept.
const LONGEST: usize = 48;

/// A place in the table: a word and its value, once it is taken.
type Slot<V> = OnceLock<(Box<[u8]>, V)>;

/// Words, and of each a value.
pub(crate) struct Seen<V>(Box<[Slot<V>]>);

/// A word in the table, or where it may be put.
pub(crate) enum Place<'a, V> {
    Known(&'a V),
    Free(Free<'a, V>),
    Full,
}

/// Where a word may be put.
pub(crate) struct Free<'a, V>(&'a Slot<V>);

impl<V> Seen<V> {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| OnceLock::new()).collect())
    }

    /// Where a word stands.
    pub(crate) fn place(&self, word: &str) -> Place<'_, V> {
        if word.len() > LONGEST {
            return Place::Full;
        }
        let first = hash(word.as_bytes()) as usize;
        for tried in 0..TRIED {
            let place = &self.0[(first + tried) % PLACES];
            match place.get() {
                None => return Place::Free(Free(place)),
                Some((known, value)) if **known == *word.as_bytes() => return Place::Known(value),
                Some(_) => {}
            }
        }
        Place::Full
    }
}

impl<V> Free<'_, V> {
    /// Puts a word there, unless another thread has taken the place.
    pub(crate) fn put(self, word: &str, value: V) {
        let _ = self.0.set((word.as_bytes().into(), value));
    }
}

impl<V> std::fmt::Debug for Seen<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen").finish_non_exhaustive()
    }
}

/// Eight bytes at a time, multiplied by the golden ratio and folded.
fn hash(word: &[u8]) -> u64 {
    let (parts, rest) = word.as_chunks::<8>();
    let last = rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte));
    let parts = parts.iter().map(|part| u64::from_le_bytes(*part));
    parts.chain([last]).fold(word.len() as u64, |hash, part| {
        let product = u128::from(hash ^ part) * 0x9E37_79B9_7F4A_7C15;
        product as u64 ^ (product >> 64) as u64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_again_until_the_table_is_full() {
        let seen = Seen::new();
        let mut kept = 0;
        for number in 0..2 * PLACES {
            let word = number.to_string();
            match seen.place(&word) {
                Place::Free(free) => {
                    free.put(&word, number);
                    kept += 1;
                }
                Place::Full => {}
                Place::Known(known) => panic!("{word} is not {known}"),
            }
        }
        let known = (0..2 * PLACES).filter(
            |number| matches!(seen.place(&number.to_string()), Place::Known(known) if known == number),
        );
        assert_eq!(known.count(), kept);
        assert!((PLACES * 3 / 4..=PLACES).contains(&kept), "{kept}");
        assert!(matches!(seen.place(&"a".repeat(LONGEST + 1)), Place::Full));
    }
}
