//! The likeliest pieces of a text, word by word.
//!
//! Sums run from the start of the text and are rounded to f32 at every piece, as SentencePiece's are; two ways that
//! are about as likely are told apart by that rounding. So what was found for a word holds behind another text
//! only if no choice in it was as close as rounding can be; then its pieces are the same, and the sum behind it is
//! what adding them up gives.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::SPACE;
use crate::tokenizer::seen::{Place, Seen};

/// Pieces and what they cost.
#[derive(Debug)]
pub(super) struct Unigram {
    trie: Trie,
    scores: Vec<f32>,
    /// The score of a character that no piece has, and the id that stands for it.
    unknown: (f32, u32),
    /// What was found for words; none if words cannot be looked at one by one.
    seen: Option<Seen<Word>>,
}

/// What was found for a word behind nothing.
struct Word {
    ids: Box<[u32]>,
    /// What is added to the sum, one behind the other.
    scores: Box<[f32]>,
    /// How close the closest choice was.
    gap: f32,
    /// The sum that is farthest from 0.
    farthest: f32,
    /// How many scores are added at most: one for each character.
    most: usize,
}

/// The best way to the end of a piece: its sum, where the piece begins, and which it is.
#[derive(Clone, Copy)]
struct Way {
    sum: f32,
    start: usize,
    id: u32,
}

impl Unigram {
    /// `pieces` are those that texts are made of, with their ids; `scores` are those of all.
    pub(super) fn new<'t>(
        pieces: impl Iterator<Item = (&'t str, u32)>,
        scores: Vec<f32>,
        unknown: (f32, u32),
    ) -> Self {
        let (mut trie, mut reach_over, mut space) = (Trie::default(), false, false);
        for (text, id) in pieces {
            trie.insert(text.as_bytes(), id);
            reach_over |= text.trim_start_matches(SPACE).contains(SPACE);
            space |= text == SPACE;
        }
        // Unknown characters on both sides of a word's start would be one.
        let seen = (space && !reach_over).then(Seen::new);
        Self { trie, scores, unknown, seen }
    }

    /// How many pieces there are.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    /// Appends the ids of a text whose spaces are visible.
    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let Some(seen) = &self.seen else {
            self.likeliest(text, 0.0, ids);
            return;
        };
        let (mut sum, mut rest) = (0.0, text);
        while !rest.is_empty() {
            let word;
            (word, rest) = rest.split_at(end_of_word(rest));
            sum = match seen.place(word) {
                Place::Known(known) => self.add(known, word, sum, ids),
                Place::Free(free) => {
                    let found = self.word(word);
                    let sum = self.add(&found, word, sum, ids);
                    free.put(word, found);
                    sum
                }
                Place::Full => self.likeliest(word, sum, ids),
            };
        }
    }

    /// Appends the ids of a word behind this sum; the sum behind it.
    fn add(&self, known: &Word, word: &str, sum: f32, ids: &mut Vec<u32>) -> f32 {
        if !known.holds_behind(sum) {
            return self.likeliest(word, sum, ids);
        }
        ids.extend_from_slice(&known.ids);
        known.scores.iter().fold(sum, |sum, score| score + sum)
    }

    fn word(&self, word: &str) -> Word {
        let mut ids = Vec::new();
        let found = self.ways(word, 0.0);
        let mut scores = Vec::new();
        self.back(&found.ways, &mut ids, |id| {
            scores.push(if id == self.unknown.1 {
                self.unknown.0
            } else {
                self.scores[id as usize]
            });
        });
        scores.reverse();
        let (gap, farthest, most) = (found.gap, found.farthest, word.chars().count());
        Word { ids: ids.into(), scores: scores.into(), gap, farthest, most }
    }

    /// Appends the ids of a text behind one with this sum; the sum behind it.
    fn likeliest(&self, text: &str, sum: f32, ids: &mut Vec<u32>) -> f32 {
        let found = self.ways(text, sum);
        self.back(&found.ways, ids, |_| {});
        found.ways.last().copied().flatten().map_or(sum, |way| way.sum)
    }

    /// Of each place the best way to it, found from the left.
    fn ways(&self, text: &str, sum: f32) -> Found {
        let bytes = text.as_bytes();
        let mut ways: Vec<Option<Way>> = vec![None; bytes.len() + 1];
        let (mut gap, mut farthest) = (f32::INFINITY, 0f32);
        for (start, character) in text.char_indices() {
            let before = if start == 0 { sum } else { ways[start].map_or(0.0, |way| way.sum) };
            let width = character.len_utf8();
            let mut whole = false;
            let mut reach = |end: usize, id: u32, score: f32| {
                let sum = score + before;
                farthest = farthest.max(sum.abs());
                if let Some(way) = ways[end] {
                    gap = gap.min((sum - way.sum).abs());
                }
                if ways[end].is_none_or(|way| sum > way.sum) {
                    ways[end] = Some(Way { sum, start, id });
                }
            };
            self.trie.prefixes(&bytes[start..], |length, id| {
                reach(start + length, id, self.scores[id as usize]);
                whole |= length == width;
            });
            if !whole {
                reach(start + width, self.unknown.1, self.unknown.0);
            }
        }
        Found { ways, gap, farthest }
    }

    /// Appends the ids on the best way, and tells each from the last.
    fn back(&self, ways: &[Option<Way>], ids: &mut Vec<u32>, mut tell: impl FnMut(u32)) {
        let (first, mut end) = (ids.len(), ways.len() - 1);
        while end > 0 {
            let way = ways[end].expect("every character is at least unknown");
            tell(way.id);
            // Unknown characters side by side are one.
            if way.id != self.unknown.1 || ids[first..].last() != Some(&way.id) {
                ids.push(way.id);
            }
            end = way.start;
        }
        ids[first..].reverse();
    }
}

/// All ways through a text, how close the closest choice was, and the sum that is farthest from 0.
struct Found {
    ways: Vec<Option<Way>>,
    gap: f32,
    farthest: f32,
}

impl Word {
    /// Whether every choice in it is the same behind a text of this sum. Each addition is off by half a unit in
    /// the last place at most, and a choice compares two sums, here and where it was made first; twice that.
    fn holds_behind(&self, sum: f32) -> bool {
        let magnitude = sum.abs() + 2.0 * self.farthest;
        self.gap > 2.0 * self.most as f32 * f32::EPSILON * magnitude
    }
}

/// Where the first word ends: before the next visible space behind another character.
fn end_of_word(text: &str) -> usize {
    let spaces = text.len() - text.trim_start_matches(SPACE).len();
    text[spaces..].find(SPACE).map_or(text.len(), |at| spaces + at)
}

/// Pieces by their bytes.
#[derive(Debug, Default)]
struct Trie {
    /// From a node and a byte to the next node; node 0 is the root.
    edges: HashMap<u64, u32, BuildHasherDefault<EdgeHasher>>,
    /// The piece that ends at each node but the root.
    pieces: Vec<Option<u32>>,
}

impl Trie {
    fn insert(&mut self, text: &[u8], id: u32) {
        let mut node = 0;
        for &byte in text {
            node = *self.edges.entry(edge(node, byte)).or_insert_with(|| {
                self.pieces.push(None);
                self.pieces.len() as u32
            });
        }
        if node > 0 {
            self.pieces[node as usize - 1].get_or_insert(id);
        }
    }

    /// Tells the lengths and ids of all pieces with which `text` begins, shortest first.
    fn prefixes(&self, text: &[u8], mut tell: impl FnMut(usize, u32)) {
        let mut node = 0;
        for (place, &byte) in text.iter().enumerate() {
            let Some(&next) = self.edges.get(&edge(node, byte)) else { return };
            node = next;
            if let Some(id) = self.pieces[node as usize - 1] {
                tell(place + 1, id);
            }
        }
    }
}

fn edge(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

/// Hashes an edge by one product: a step of the trie is most of what a byte of text costs.
#[derive(Default)]
struct EdgeHasher(u64);

impl Hasher for EdgeHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, edge: u64) {
        let product = u128::from(edge) * 0x9E37_79B9_7F4A_7C15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Scores such that many ways are as likely, and many nearly so.
    fn unigram() -> Unigram {
        let pieces = [
            ("▁", -1.5),
            ("a", -2.0),
            ("aa", -4.0),
            ("aaa", -6.000_001),
            ("b", -2.25),
            ("ab", -4.25),
            ("ba", -4.2),
            ("▁a", -3.5),
            ("▁ab", -5.7),
            ("aab", -6.25),
            ("▁b", -3.7),
            ("▁▁", -3.0),
            ("bb", -4.499_999),
            ("c", -0.1),
            ("abab", -8.5),
            ("▁abab", -9.9),
            ("cab", -4.35),
            ("é", -3.3),
        ];
        let scores = pieces.iter().map(|(_, score)| *score).chain([0.0]).collect();
        let texts = pieces.iter().zip(0..).map(|((text, _), id)| (*text, id));
        Unigram::new(texts, scores, (-16.25, pieces.len() as u32))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        #[test]
        fn word_by_word_the_pieces_are_those_of_the_whole_text_ties_included(
            text in "[abcéx▁]{0,8}([ab]{0,5}▁?[abc]{0,6}▁[abcéx]{0,4}){0,40}"
        ) {
            thread_local!(static UNIGRAM: Unigram = unigram());
            UNIGRAM.with(|unigram| {
                let mut whole = Vec::new();
                unigram.likeliest(&text, 0.0, &mut whole);
                for _ in 0..2 {
                    let mut ids = Vec::new();
                    unigram.encode(&text, &mut ids);
                    prop_assert_eq!(&ids, &whole);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn what_is_close_is_looked_at_again_and_what_is_not_is_known() {
        let unigram = unigram();
        // `aa` is as likely as `a` and `a`; of the ways to `▁a` one is likelier by far.
        assert!(!unigram.word("▁aa").holds_behind(0.0));
        let word = Word { gap: 0.001, farthest: 10.0, most: 5, ids: [].into(), scores: [].into() };
        assert!(word.holds_behind(-500.0) && !word.holds_behind(-1000.0));
    }

    #[test]
    fn pieces_that_reach_over_a_space_leave_texts_whole() {
        let unigram =
            |piece| Unigram::new([("▁", 0), (piece, 1)].into_iter(), vec![-1.0; 3], (-9.0, 2));
        assert!(unigram("▁▁a").seen.is_some());
        assert!(unigram("a▁").seen.is_none());
    }
}
