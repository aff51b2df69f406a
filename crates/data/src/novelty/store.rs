//! The texts of an index: their words as ids, and the order of the words.

use std::collections::HashMap;

use super::Signature;
use crate::rouge::{Tokenization, for_each_token};

/// Orders of words that were there at the last reordering begin here; before it come the words that
/// are newer, by their ids.
const KNOWN: u32 = 1 << 31;

/// A text made ready for being looked up or added.
#[derive(Debug)]
pub(crate) struct Query {
    /// Ids of its words, in order.
    pub tokens: Vec<u32>,
    /// Each of its words once, rarest first: the place of its first occurrence in all words put
    /// into that order, and its id.
    pub rarest: Vec<(u32, u32)>,
    pub signature: Signature,
}

/// The words that were ever seen and the texts that were added.
#[derive(Debug)]
pub(crate) struct Store {
    tokenization: Tokenization,
    ids: HashMap<Box<str>, u32>,
    /// For each id, where the word stands in the order: the smaller the rarer.
    order: Vec<u32>,
    /// The ids of all texts, and where each text ends.
    tokens: Vec<u32>,
    ends: Vec<usize>,
    signatures: Vec<Signature>,
    longest: usize,
    /// How many texts there were when the words were put into order.
    ordered: usize,
}

impl Store {
    pub(crate) fn new(tokenization: Tokenization) -> Self {
        Self {
            tokenization,
            ids: HashMap::new(),
            order: Vec::new(),
            tokens: Vec::new(),
            ends: Vec::new(),
            signatures: Vec::new(),
            longest: 0,
            ordered: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Words of the longest text.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The words of a text, in order.
    pub(crate) fn tokens(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.tokens[start..self.ends[index]]
    }

    pub(crate) fn signature(&self, index: usize) -> Signature {
        self.signatures[index]
    }

    /// A text as a query. Words that were never seen get an id and stay known.
    pub(crate) fn read(&mut self, text: &str) -> Query {
        let mut tokens = Vec::new();
        let Self { ids, order, .. } = self;
        for_each_token(text, self.tokenization, |word| {
            let id = ids.get(word).copied().unwrap_or_else(|| {
                let id = order.len() as u32;
                assert!(id < KNOWN, "less than two thousand million different words");
                ids.insert(word.into(), id);
                order.push(id);
                id
            });
            tokens.push(id);
        });
        self.prepare(tokens)
    }

    /// A text as a query that is not going to be added: words that were never seen are like no other.
    pub(crate) fn look(&self, text: &str) -> Query {
        let mut tokens = Vec::new();
        for_each_token(text, self.tokenization, |word| {
            // One below the id that marks a free slot.
            tokens.push(self.ids.get(word).copied().unwrap_or(u32::MAX - 1));
        });
        self.prepare(tokens)
    }

    /// A text that was added, as a query.
    pub(crate) fn query(&self, index: usize) -> Query {
        self.prepare(self.tokens(index).to_vec())
    }

    fn prepare(&self, tokens: Vec<u32>) -> Query {
        let order = |id: u32| self.order.get(id as usize).copied().unwrap_or(0);
        let mut sorted: Vec<_> = tokens.iter().map(|id| (order(*id), *id)).collect();
        sorted.sort_unstable();
        let places = (0u32..).zip(&sorted).map(|(place, (_, id))| (place, *id));
        let mut rarest: Vec<_> = places.collect();
        rarest.dedup_by_key(|(_, id)| *id);
        let signature = Signature::new(&tokens);
        Query { tokens, rarest, signature }
    }

    /// Adds a text and tells its index.
    pub(crate) fn push(&mut self, query: &Query) -> usize {
        self.tokens.extend_from_slice(&query.tokens);
        self.ends.push(self.tokens.len());
        self.signatures.push(query.signature);
        self.longest = self.longest.max(query.tokens.len());
        self.len() - 1
    }

    /// Puts the words into order by how often they occur, if the number of texts has doubled since
    /// the last time. Tells whether it did; queries made before are then of no use.
    pub(crate) fn reorder(&mut self) -> bool {
        if self.len() < 2 * self.ordered.max(500) {
            return false;
        }
        self.ordered = self.len();
        let mut counts: Vec<(u32, u32)> = (0..self.order.len() as u32).map(|id| (0, id)).collect();
        for &id in &self.tokens {
            counts[id as usize].0 += 1;
        }
        counts.sort_unstable();
        for (place, (_, id)) in (KNOWN..).zip(counts) {
            self.order[id as usize] = place;
        }
        true
    }
}
