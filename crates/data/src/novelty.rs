//! Which texts are new: none that was accepted before has a ROUGE-L above a threshold with them.
//!
//! ```text
//!  text ─words─► ids ─rarest first─► prefix ─postings─► length, place, signature ─► LCS ─► above the threshold
//! ```
//!
//! Exact, and yet only few pairs are compared. F = 2L / (m + n), so for lengths m and n there is a
//! least L that is above the threshold, found with the very f64 expression that decides ([`least`]).
//! L is at most the number of words that two texts share, in whatever order. So
//!
//! - *length*: the shorter text must have L words at all;
//! - *prefix* (Chaudhuri et al., 2006; Bayardo et al., 2007): with the words of both texts in one
//!   fixed order, rarest first, the first shared word stands no later than place m - L of the one
//!   and n - L of the other. Only these words are posted, and only these lists are read;
//! - *signature*: each word flips one of 256 bits, so two texts differ in at most as many bits as
//!   there are words that they do not share, m + n - 2L;
//! - what is left is compared, 64 places at a time.
//!
//! The order must be the same for all texts, but is free: words are ordered by how frequent they
//! were when the index was last rebuilt, which it is whenever it has doubled; words that came
//! later count as rarer. A stale order costs time and never an answer.

mod postings;
mod scores;
mod signature;
mod store;

use rayon::prelude::*;

use crate::rouge::{Pattern, RougeL, Tokenization};
use postings::Postings;
pub use scores::Scores;
use signature::Signature;
use store::{Query, Store};

/// Texts that are looked up at once, by all threads, before any of them is accepted.
const BATCH: usize = 1024;

/// An indexed text and how like another it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Likeness {
    /// Which text: the number of texts that were indexed before it.
    pub index: usize,
    /// The F measure of ROUGE-L.
    pub score: f64,
}

/// An index of texts that answers which of them are like a new one; it grows as texts are accepted.
///
/// ```
/// use albacore_data::{Novelty, Tokenization};
/// let mut known = Novelty::new(0.7, Tokenization::Ascii);
/// known.insert("Write a short story about a dragon.");
/// assert!(!known.is_novel("Write a story about a dragon"));
/// assert!(known.is_novel("Translate the sentence into French."));
/// ```
#[derive(Debug)]
pub struct Novelty {
    threshold: f64,
    store: Store,
    postings: Postings,
}

impl Novelty {
    /// An empty index. A text is like another if their F is above `threshold`; at exactly the
    /// threshold it is not. The threshold is fixed, for it decides what has to be indexed.
    ///
    /// # Panics
    /// If the threshold is not between 0 and 1.
    pub fn new(threshold: f64, tokenization: Tokenization) -> Self {
        assert!((0.0..=1.0).contains(&threshold), "a threshold lies between 0 and 1");
        Self { threshold, store: Store::new(tokenization), postings: Postings::default() }
    }

    /// How many texts are indexed.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no indexed text is like this one. A text without words is always novel, as its F
    /// with any other is 0.
    pub fn is_novel(&self, text: &str) -> bool {
        self.like(text).is_empty()
    }

    /// All indexed texts that are like this one, in the order they were indexed.
    pub fn like(&self, text: &str) -> Vec<Likeness> {
        self.search(&self.store.look(text), 0)
    }

    /// The text most like this one, if one is above the threshold; the first of equals.
    pub fn nearest(&self, text: &str) -> Option<Likeness> {
        nearest(&self.like(text))
    }

    /// Adds a text, whether it is novel or not, and tells its index.
    pub fn insert(&mut self, text: &str) -> usize {
        self.refresh();
        let query = self.store.read(text);
        self.add(&query)
    }

    /// Adds many texts, whether they are novel or not.
    pub fn extend<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) {
        for text in texts {
            self.insert(text);
        }
    }

    /// Goes through texts in order and accepts each that is novel, the accepted ones before it
    /// included: its index, or else the accepted text most like it. Threads work on it together;
    /// the answer does not depend on their number.
    pub fn accept(&mut self, texts: &[&str]) -> Vec<Result<usize, Likeness>> {
        let mut answers = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let before = self.len();
            let (queries, found) = self.look_up(batch, |found| nearest(&found));
            for (query, found) in queries.iter().zip(found) {
                // What the batch itself has added stands at the ends of the postings.
                let likes: Vec<_> = found.into_iter().chain(self.search(query, before)).collect();
                answers.push(nearest(&likes).map_or_else(|| Ok(self.add(query)), Err));
            }
        }
        answers
    }

    /// Adds texts, whether they are novel or not, and tells for each all earlier ones that it is
    /// like: of all pairs, each once.
    pub fn pairs(&mut self, texts: &[&str]) -> Vec<Vec<Likeness>> {
        let mut answers = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let before = self.len();
            let (queries, found) = self.look_up(batch, |found| found);
            for (query, mut found) in queries.iter().zip(found) {
                found.extend(self.search(query, before));
                answers.push(found);
                self.add(query);
            }
        }
        answers
    }

    /// The queries of a batch, and of each what is wanted of the indexed texts that it is like.
    fn look_up<T: Send>(
        &mut self,
        batch: &[&str],
        wanted: impl Fn(Vec<Likeness>) -> T + Sync,
    ) -> (Vec<Query>, Vec<T>) {
        self.refresh();
        let queries: Vec<_> = batch.iter().map(|text| self.store.read(text)).collect();
        let search = |query| wanted(self.search(query, 0));
        let found = queries.par_iter().with_min_len(16).map(search).collect();
        (queries, found)
    }

    fn add(&mut self, query: &Query) -> usize {
        let index = self.store.push(query);
        self.postings.post(query, index as u32, self.threshold);
        index
    }

    /// Puts the words into a new order, when the index has doubled since the last time.
    fn refresh(&mut self) {
        if self.store.reorder() {
            self.postings = Postings::default();
            for index in 0..self.store.len() {
                let query = self.store.query(index);
                self.postings.post(&query, index as u32, self.threshold);
            }
        }
    }

    /// The texts from index `from` on whose F with the query is above the threshold, ascending.
    fn search(&self, query: &Query, from: usize) -> Vec<Likeness> {
        let mut candidates = Vec::new();
        let longest = self.store.longest();
        self.postings.candidates(query, from as u32, longest, self.threshold, &mut candidates);
        if candidates.is_empty() {
            return Vec::new();
        }
        candidates.sort_unstable();
        candidates.dedup();
        let length = query.tokens.len();
        let pattern = Pattern::new(&query.tokens);
        let likenesses = candidates.into_iter().filter_map(|index| {
            let index = index as usize;
            let tokens = self.store.tokens(index);
            // At least this many words are on one side only.
            let apart = query.signature.apart(self.store.signature(index));
            if (length + tokens.len()).saturating_sub(apart) < 2 {
                return None;
            }
            let most = (length + tokens.len() - apart) / 2;
            let f = |common| RougeL::from_lengths(common, length, tokens.len()).f_measure;
            if f(most) <= self.threshold {
                return None;
            }
            let score = f(pattern.common(tokens));
            (score > self.threshold).then_some(Likeness { index, score })
        });
        likenesses.collect()
    }
}

/// The likest, the first of equals.
fn nearest(found: &[Likeness]) -> Option<Likeness> {
    let better = |a: Likeness, b: Likeness| if b.score > a.score { b } else { a };
    found.iter().copied().reduce(better)
}

/// The least length of a common subsequence whose F is above the threshold, for texts of `a` and
/// `b` words; none if there is none. F rises with it, by far more than rounding takes away.
pub(crate) fn least(a: usize, b: usize, threshold: f64) -> Option<usize> {
    let most = a.min(b);
    // F = 2L / (a + b): one below it, as that is computed otherwise than F is
    let start = (threshold * (a + b) as f64 / 2.0) as usize;
    let above = |common: &usize| RougeL::from_lengths(*common, a, b).f_measure > threshold;
    (start.saturating_sub(1)..=most).find(above)
}

/// The shortest and the longest text, up to `longest` words, that can be above the threshold with a
/// text of `length` words.
pub(crate) fn lengths(length: usize, longest: usize, threshold: f64) -> Option<(usize, usize)> {
    let f = |common, other| RougeL::from_lengths(common, length, other).f_measure;
    if length == 0 || f(length, length) <= threshold {
        return None;
    }
    // At its best, the shorter text is a part of the longer one.
    let shortest = first(1, length, |other| f(other, other) > threshold);
    let end = first(length, longest.max(length) + 1, |other| f(length, other) <= threshold);
    Some((shortest, end - 1))
}

/// The first number from `low` on for which something holds that holds for all after it too; `high`
/// if there is none below.
fn first(mut low: usize, mut high: usize, holds: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests;
