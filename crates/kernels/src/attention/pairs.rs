//! The pairs of a chunk of queries and one of keys that the backward pass works through, in waves.
//!
//! In a wave no chunk occurs twice, so that each pair may add to the gradients of its queries and of its
//! keys; the waves, and with them the terms of each sum, have one order whatever the number of threads.
//!
//! ```text
//! each sequence     wave w pairs query chunk c + w with key chunk c
//! then each prompt  wave w pairs chunk c + w of all its responses' queries, round and round, with its
//!                   key chunk c: every query sees every key, so one chunk may hold several responses
//! ```

use std::ops::Range;

use super::{Attention, QUERIES};
use crate::Heads;

/// Queries and keys of a chunk.
const CHUNK: usize = 4 * QUERIES;

/// A chunk of queries, one of keys (both packed rows), and a head.
pub(super) struct Pair {
    /// The key/value head.
    pub(super) group: usize,
    pub(super) queries: Range<usize>,
    pub(super) keys: Range<usize>,
    /// Whether a query sees only the keys up to its own row.
    pub(super) causal: bool,
}

impl Pair {
    /// The query heads of the group.
    pub(super) fn heads(&self, heads: Heads) -> Range<usize> {
        self.group * heads.group()..(self.group + 1) * heads.group()
    }
}

/// How many chunks so many rows make.
pub(super) fn chunks(rows: &Range<usize>) -> usize {
    rows.len().div_ceil(CHUNK)
}

/// Chunk `index` of some rows.
pub(super) fn chunk(rows: &Range<usize>, index: usize) -> Range<usize> {
    let start = rows.start + index * CHUNK;
    start..(start + CHUNK).min(rows.end)
}

impl Attention<'_> {
    /// The pairs of each wave. The first wave meets every chunk of keys and of queries.
    pub(super) fn waves(&self) -> Vec<Vec<Pair>> {
        let own = self.sequences.longest().div_ceil(CHUNK);
        let mut waves: Vec<_> = (0..own).map(|wave| self.own_pairs(wave)).collect();
        let shared = self.sequences.shared_prompts();
        let rounds = |(prompt, responses)| chunks(prompt).max(chunks(responses));
        let most = shared.iter().map(|(prompt, responses)| rounds((prompt, responses))).max();
        waves.extend((0..most.unwrap_or(0)).map(|wave| {
            let mut pairs = Vec::new();
            for (prompt, responses) in &shared {
                let rounds = rounds((prompt, responses));
                for keys in 0..chunks(prompt) {
                    let queries = (keys + wave) % rounds;
                    if wave < rounds && queries < chunks(responses) {
                        let (queries, keys) = (chunk(responses, queries), chunk(prompt, keys));
                        self.of_all_heads(&mut pairs, queries, keys, false);
                    }
                }
            }
            pairs
        }));
        waves
    }

    /// The pairs of one wave in which sequences see themselves.
    fn own_pairs(&self, wave: usize) -> Vec<Pair> {
        let mut pairs = Vec::new();
        for sequence in self.sequences.iter() {
            let chunks = chunks(&sequence);
            for keys in 0..chunks {
                let queries = keys + wave;
                // What lies beyond the last chunk of queries begins again at the first, which sees
                // these keys only if attention is bidirectional.
                if wave < chunks && (queries < chunks || !self.causal) {
                    let queries = chunk(&sequence, queries % chunks);
                    self.of_all_heads(&mut pairs, queries, chunk(&sequence, keys), self.causal);
                }
            }
        }
        pairs
    }

    fn of_all_heads(
        &self,
        pairs: &mut Vec<Pair>,
        queries: Range<usize>,
        keys: Range<usize>,
        causal: bool,
    ) {
        pairs.extend((0..self.heads.key_value).map(|group| Pair {
            group,
            queries: queries.clone(),
            keys: keys.clone(),
            causal,
        }));
    }
}
