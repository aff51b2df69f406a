//! Where the sequences of a packed batch start and end.

use std::ops::Range;

use crate::device::tiles::{self, Tiles, alone};
use crate::engine::{Engine, Mirror};
use crate::{Error, Result};

/// The sequences of a packed batch: `B + 1` starts, the first 0 and the last `T` (elsewhere called
/// `cu_seqlens`). There is at least one sequence and none is empty.
///
/// ```
/// let sequences = albacore_kernels::Sequences::from_lengths([3, 1, 2])?;
/// assert_eq!(sequences.starts(), [0, 3, 4, 6]);
/// assert_eq!(sequences.iter().nth(2), Some(4..6));
/// # Ok::<(), albacore_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequences {
    starts: Vec<u32>,
    /// What attention's blocks work on, causal or not: sent to a GPU for the first layer of the
    /// first pass, and the same for all.
    query_tiles: [Mirror; 2],
    key_tiles: [Mirror; 2],
}

/// By their starts: the tiles follow from them.
impl PartialEq for Sequences {
    fn eq(&self, other: &Self) -> bool {
        self.starts == other.starts
    }
}

impl Eq for Sequences {}

impl Sequences {
    /// Takes the starts of the sequences, with the number of tokens at the end.
    ///
    /// # Errors
    /// If they do not begin with 0 or do not increase, or if there is no sequence.
    pub fn new(starts: Vec<u32>) -> Result<Self> {
        let wrong = |index, wanted: String| {
            let found = starts.get(index).map_or("missing".to_owned(), u32::to_string);
            Err(Error::Starts { index, found, wanted })
        };
        if starts.first() != Some(&0) {
            return wrong(0, "0".to_owned());
        }
        if starts.len() < 2 {
            return wrong(1, "the end of a sequence".to_owned());
        }
        if let Some(index) = starts.windows(2).position(|pair| pair[1] <= pair[0]) {
            return wrong(index + 1, format!("more than {}", starts[index]));
        }
        Ok(Self { starts, query_tiles: Default::default(), key_tiles: Default::default() })
    }

    /// Sequences of these lengths, end to end.
    ///
    /// # Errors
    /// If a length is 0, if there is none, or if the tokens cannot be counted in 32 bits.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut starts = vec![0u32];
        for length in lengths {
            let last = starts[starts.len() - 1];
            // One that does not fit repeats the last start, which `new` refuses.
            let next = u32::try_from(length).ok().and_then(|length| last.checked_add(length));
            starts.push(next.unwrap_or(last));
        }
        Self::new(starts)
    }

    /// The starts, with the number of tokens at the end.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// `B`: how many sequences there are, at least 1.
    pub fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// `T`: how many tokens they have together.
    pub fn tokens(&self) -> usize {
        self.starts[self.count()] as usize
    }

    /// The packed rows of sequence `index`.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.starts[index] as usize..self.starts[index + 1] as usize
    }

    /// The packed rows of each sequence, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        (0..self.count()).map(|index| self.range(index))
    }

    /// The length of the longest sequence.
    pub fn longest(&self) -> usize {
        self.iter().map(|range| range.len()).max().expect("there is at least one sequence")
    }

    /// The tiles of queries, on the GPU.
    pub(crate) fn query_tiles(&self, gpu: &Engine, causal: bool) -> Result<Tiles> {
        let words = || tiles::query_tiles(&alone(&self.starts), causal);
        Ok(Tiles::of_queries(self.query_tiles[usize::from(causal)].of_words(gpu, words)?))
    }

    /// The tiles of keys, on the GPU.
    pub(crate) fn key_tiles(&self, gpu: &Engine, causal: bool) -> Result<Tiles> {
        let words = || tiles::key_tiles(&alone(&self.starts), causal);
        Ok(Tiles::of_keys(self.key_tiles[usize::from(causal)].of_words(gpu, words)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_that_leave_a_sequence_empty_or_overlapping_are_refused_by_index() {
        let message = |starts: &[u32]| Sequences::new(starts.to_vec()).unwrap_err().to_string();
        assert_eq!(message(&[]), "sequence starts: entry 0 is missing, wanted 0");
        assert_eq!(message(&[1, 2]), "sequence starts: entry 0 is 1, wanted 0");
        assert_eq!(
            message(&[0]),
            "sequence starts: entry 1 is missing, wanted the end of a sequence"
        );
        assert_eq!(message(&[0, 4, 4]), "sequence starts: entry 2 is 4, wanted more than 4");
        assert_eq!(message(&[0, 4, 3]), "sequence starts: entry 2 is 3, wanted more than 4");
        assert!(Sequences::from_lengths([2, 0]).is_err());
        assert!(Sequences::from_lengths([1, u32::MAX as usize]).is_err());
    }

    #[test]
    fn lengths_and_ranges_say_the_same() {
        let sequences = Sequences::from_lengths([3, 1, 7]).unwrap();
        assert_eq!(sequences.iter().collect::<Vec<_>>(), [0..3, 3..4, 4..11]);
        assert_eq!((sequences.count(), sequences.tokens(), sequences.longest()), (3, 11, 7));
        assert_eq!(sequences, Sequences::new(sequences.starts().to_vec()).unwrap());
    }
}
