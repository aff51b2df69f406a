//! Where the sequences of a packed batch start and end, and which of them share a prompt.

use std::ops::Range;

use crate::device::tiles::{self, Stretch, Tiles};
use crate::engine::{Engine, Mirror};
use crate::error::expect_shape;
use crate::{Error, Result};

/// The sequences of a packed batch: `B + 1` starts, the first 0 and the last `T` (elsewhere called
/// `cu_seqlens`). There is at least one sequence and none is empty.
///
/// Several responses may share their prompt: it is stored once, as a sequence, and the responses follow
/// it, each a sequence that goes on from the prompt's last token. A response's tokens see the whole
/// prompt and themselves, but no other response.
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
    /// Of each sequence the rows of the prompt that it goes on from; `0..0` if it stands alone.
    prompts: Vec<Range<u32>>,
    /// What attention's blocks work on, causal or not: sent to a GPU for the first layer of the
    /// first pass, and the same for all.
    query_tiles: [Mirror; 2],
    key_tiles: [Mirror; 2],
}

/// By their starts and prompts: the tiles follow from them.
impl PartialEq for Sequences {
    fn eq(&self, other: &Self) -> bool {
        self.starts == other.starts && self.prompts == other.prompts
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
        let prompts = vec![0..0; starts.len() - 1];
        Ok(Self { starts, prompts, query_tiles: Default::default(), key_tiles: Default::default() })
    }

    /// Sequences of which some are responses: each goes on from the nearest sequence before it that is
    /// none, its prompt.
    ///
    /// ```
    /// // A prompt of 3 tokens with responses of 2 and 4, and a sequence of 5 that stands alone.
    /// let is_response = [false, true, true, false];
    /// let sequences =
    ///     albacore_kernels::Sequences::with_responses(vec![0, 3, 5, 9, 14], &is_response)?;
    /// assert_eq!(sequences.prompt(2), Some(0..3));
    /// assert_eq!(sequences.prompt(3), None);
    /// # Ok::<(), albacore_kernels::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Sequences::new`]; if there is not one flag for each sequence, or the first is a response.
    pub fn with_responses(starts: Vec<u32>, is_response: &[bool]) -> Result<Self> {
        let mut sequences = Self::new(starts)?;
        let wanted = [sequences.count()];
        expect_shape("sequences", "is_response", &[is_response.len()], &wanted)?;
        if is_response[0] {
            return Err(Error::NoPrompt);
        }
        let mut prompt = 0;
        for (index, &is_response) in is_response.iter().enumerate() {
            match is_response {
                true => {
                    sequences.prompts[index] =
                        sequences.starts[prompt]..sequences.starts[prompt + 1];
                }
                false => prompt = index,
            }
        }
        Ok(sequences)
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

    /// The packed rows of the prompt that sequence `index` goes on from, if it is a response.
    pub fn prompt(&self, index: usize) -> Option<Range<usize>> {
        let Range { start, end } = self.prompts[index];
        (end > start).then_some(start as usize..end as usize)
    }

    /// Whether any two responses may share a prompt: whether there is a response at all.
    pub fn share_prompts(&self) -> bool {
        self.prompts.iter().any(|prompt| !prompt.is_empty())
    }

    /// The rows of each prompt that has responses, and the rows of all its responses, which lie end to
    /// end behind it.
    pub(crate) fn shared_prompts(&self) -> Vec<(Range<usize>, Range<usize>)> {
        let mut shared: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for index in 0..self.count() {
            let Some(prompt) = self.prompt(index) else { continue };
            let rows = self.range(index);
            match shared.last_mut().filter(|(last, _)| *last == prompt) {
                Some((_, responses)) => responses.end = rows.end,
                None => shared.push((prompt, rows)),
            }
        }
        shared
    }

    /// The length of the longest sequence; a response counts without its prompt.
    pub fn longest(&self) -> usize {
        self.iter().map(|range| range.len()).max().expect("there is at least one sequence")
    }

    /// What attention's tiles are made of.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        let rows = self.starts.windows(2).map(|pair| pair[0]..pair[1]);
        let prompts = self.prompts.iter().cloned();
        rows.zip(prompts).map(|(rows, prompt)| Stretch { rows, prompt }).collect()
    }

    /// The tiles of queries, on the GPU.
    pub(crate) fn query_tiles(&self, gpu: &Engine, causal: bool) -> Result<Tiles> {
        let words = || tiles::query_tiles(&self.stretches(), causal);
        Ok(Tiles::of_queries(self.query_tiles[usize::from(causal)].of_words(gpu, words)?))
    }

    /// The tiles of keys, on the GPU.
    pub(crate) fn key_tiles(&self, gpu: &Engine, causal: bool) -> Result<Tiles> {
        let words = || tiles::key_tiles(&self.stretches(), causal);
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
    fn responses_go_on_from_the_nearest_prompt_before_them() {
        let starts = vec![0, 3, 5, 9, 14, 15];
        let sequences =
            Sequences::with_responses(starts.clone(), &[false, true, true, false, true]).unwrap();
        let prompts = (0..5).map(|index| sequences.prompt(index)).collect::<Vec<_>>();
        assert_eq!(prompts, [None, Some(0..3), Some(0..3), None, Some(9..14)]);
        assert_eq!(sequences.shared_prompts(), [(0..3, 3..9), (9..14, 14..15)]);
        let alone = Sequences::with_responses(starts.clone(), &[false; 5]).unwrap();
        assert_eq!(alone, Sequences::new(starts).unwrap());
        assert!(sequences != alone && sequences.share_prompts() && !alone.share_prompts());
    }

    #[test]
    fn a_response_without_a_prompt_is_refused() {
        let message = |flags: &[bool]| {
            Sequences::with_responses(vec![0, 2, 3], flags).unwrap_err().to_string()
        };
        assert_eq!(message(&[true, true]), "sequence 0 is a response, wanted a prompt before it");
        assert_eq!(message(&[false]), "sequences: is_response has shape [1], wanted [2]");
    }

    #[test]
    fn lengths_and_ranges_say_the_same() {
        let sequences = Sequences::from_lengths([3, 1, 7]).unwrap();
        assert_eq!(sequences.iter().collect::<Vec<_>>(), [0..3, 3..4, 4..11]);
        assert_eq!((sequences.count(), sequences.tokens(), sequences.longest()), (3, 11, 7));
        assert_eq!(sequences, Sequences::new(sequences.starts().to_vec()).unwrap());
    }
}
