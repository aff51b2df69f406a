//! The forward pass: each task attends with one tile of queries of one head.

use std::ops::Range;

use rayon::prelude::*;

use super::bias::{HeadBias, HostValues};
use super::{Attention, Block, Dropped, QUERIES, Rows};
use crate::matmul::{Matrix, MatrixMut, product_here};
use crate::parallel::SharedMut;
use crate::simd::{exp, wide};
use crate::storage;

/// Keys of a tile: its scores are 48 KiB.
const KEYS: usize = 256;

impl Attention<'_> {
    /// Writes the output `(T, H D)` and the log-sum-exp of each row of scores `(H, T)`.
    pub(super) fn forward(
        &self,
        qkv: &[f32],
        bias: Option<&HostValues>,
        out: &mut [f32],
        lse: &mut [f32],
    ) {
        let (heads, tokens) = (self.heads, self.sequences.tokens());
        let (channels, out_channels) = (heads.channels(), heads.output_channels());
        let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
        self.tasks().into_par_iter().with_max_len(1).for_each(|(index, head, queries)| {
            let (sequence, group) = (self.sequences.range(index), head / heads.group());
            let rows =
                |first: usize, of_head| Rows::new(&qkv[first * channels..], of_head, channels);
            let tile = Tile {
                q: rows(sequence.start, heads.q(head)).matrix(queries.clone()),
                queries: queries.len(),
                prompt: self.sequences.prompt(index).map(|prompt| Prompt {
                    k: rows(prompt.start, heads.k(group)),
                    v: rows(prompt.start, heads.v(group)),
                    keys: prompt.len(),
                }),
                k: rows(sequence.start, heads.k(group)),
                v: rows(sequence.start, heads.v(group)),
                keys: sequence.len(),
                first: self.causal.then_some(queries.start),
                scale: self.scale,
                bias: bias.map(|bias| (bias.of_head(head), queries.start)),
                dropped: self.dropout.map(|mask| {
                    let query = sequence.start + queries.start;
                    Dropped { mask, head, query, key: sequence.start }
                }),
            };
            let rows = sequence.start + queries.start..sequence.start + queries.end;
            let columns = head * tokens + rows.start..head * tokens + rows.end;
            // SAFETY: no other task has this head and one of these tokens.
            let mut out = unsafe { Block::new(&out, rows, heads.q(head), out_channels) };
            // SAFETY: as above.
            let mut lse = unsafe { Block::new(&lse, 0..1, columns, 0) };
            lse.row(0).copy_from_slice(&tile.attend(&mut out)[..queries.len()]);
        });
    }

    /// Sequence, head and queries (counted from the start of the sequence) of each task.
    fn tasks(&self) -> Vec<(usize, usize, Range<usize>)> {
        let mut tasks = Vec::new();
        for (index, sequence) in self.sequences.iter().enumerate() {
            for head in 0..self.heads.query {
                let starts = (0..sequence.len()).step_by(QUERIES);
                let queries = starts.map(|start| start..(start + QUERIES).min(sequence.len()));
                tasks.extend(queries.map(|queries| (index, head, queries)));
            }
        }
        tasks
    }
}

/// Some queries of one head and the keys and values that they attend to.
pub(crate) struct Tile<'a> {
    /// The queries, at most [`QUERIES`].
    pub(crate) q: Matrix<'a>,
    /// How many there are.
    pub(crate) queries: usize,
    /// What all of them see before those below.
    pub(crate) prompt: Option<Prompt<'a>>,
    pub(crate) k: Rows<'a>,
    pub(crate) v: Rows<'a>,
    /// How many keys there are.
    pub(crate) keys: usize,
    /// If given, query `i` sees only the keys up to number `first + i`.
    pub(crate) first: Option<usize>,
    pub(crate) scale: f32,
    /// What is added to the scores, and the position of the first query.
    pub(crate) bias: Option<(HeadBias<'a>, usize)>,
    /// What is dropped of the weights, where no prompt is shared.
    pub(crate) dropped: Option<Dropped>,
}

/// The keys and values of a prompt that is shared.
pub(crate) struct Prompt<'a> {
    k: Rows<'a>,
    v: Rows<'a>,
    /// How many keys there are.
    keys: usize,
}

/// What a tile has seen so far.
struct Seen {
    /// Room for the scores of [`KEYS`] keys, or of as many as there are.
    scores: Vec<f32>,
    softmax: Softmax,
    any: bool,
}

impl Tile<'_> {
    /// Writes the output of the queries and returns the log-sum-exps of their scores.
    pub(crate) fn attend(&self, out: &mut Block) -> [f32; QUERIES] {
        let own = self.first.map_or(self.keys, |first| self.keys.min(first + self.queries));
        let most = self.prompt.as_ref().map_or(own, |prompt| own.max(prompt.keys));
        // SAFETY: each product writes the lanes of all queries before they are read, and lanes
        // without a query are filled here.
        let mut scores = unsafe { storage::empty_vec(KEYS.min(most) * QUERIES) };
        if self.queries < QUERIES {
            scores.fill(0.0);
        }
        let mut seen = Seen { scores, softmax: Softmax::new(), any: false };
        let pieces =
            |keys| (0..keys).step_by(KEYS).map(move |start| start..(start + KEYS).min(keys));
        if let Some(prompt) = &self.prompt {
            for keys in pieces(prompt.keys) {
                let k = prompt.k.matrix(keys.clone());
                self.see(&mut seen, out, [k, prompt.v.matrix(keys.clone())], keys, |_| {});
            }
        }
        for keys in pieces(own) {
            let k = self.k.matrix(keys.clone());
            self.see(&mut seen, out, [k, self.v.matrix(keys.clone())], keys.clone(), |lanes| {
                if let Some((bias, first_query)) = self.bias {
                    bias.add(lanes, keys.start, first_query);
                }
                if let Some(first) = self.first {
                    hide_later_keys(lanes, keys.start, first);
                }
            });
        }
        rescale(out, &seen.softmax.sum.map(f32::recip), self.queries);
        seen.softmax.log_sum()
    }

    /// Attends to some `keys`, whose scores `change` may alter before the softmax.
    fn see(
        &self,
        seen: &mut Seen,
        out: &mut Block,
        [k, v]: [Matrix; 2],
        keys: Range<usize>,
        change: impl FnOnce(&mut [[f32; QUERIES]]),
    ) {
        let scores = &mut seen.scores[..keys.len() * QUERIES];
        let target = MatrixMut::strided(scores, keys.len(), self.queries, QUERIES);
        product_here(target, k, self.q.transposed(), self.scale, false);
        let (lanes, _) = scores.as_chunks_mut();
        change(lanes);
        let softmax = &mut seen.softmax;
        let factor = wide!(|| softmax.absorb(lanes));
        if seen.any {
            rescale(out, &factor, self.queries);
        }
        // The sum of the softmax is that of all weights.
        if let Some(dropped) = self.dropped {
            dropped.apply(lanes, keys.start);
        }
        let weights = Matrix::strided(scores, keys.len(), self.queries, QUERIES).transposed();
        out.product(weights, v, 1.0, seen.any);
        seen.any = true;
    }
}

/// Hides from each query (lane), of which the first is number `first`, the keys (rows) after it.
#[inline(always)]
pub(super) fn hide_later_keys(scores: &mut [[f32; QUERIES]], first_key: usize, first: usize) {
    for (key, row) in scores.iter_mut().enumerate().skip(first.saturating_sub(first_key)) {
        let hidden = (first_key + key - first).min(QUERIES);
        row[..hidden].fill(f32::NEG_INFINITY);
    }
}

fn rescale(out: &mut Block, factor: &[f32; QUERIES], queries: usize) {
    wide!(|| {
        for (index, factor) in factor[..queries].iter().enumerate() {
            out.row(index).iter_mut().for_each(|out| *out *= factor);
        }
    });
}

/// The softmax of a row of scores that arrives in pieces: one lane a query.
struct Softmax {
    /// The highest score so far.
    highest: [f32; QUERIES],
    /// `Σ exp(score - highest)`.
    sum: [f32; QUERIES],
}

impl Softmax {
    fn new() -> Self {
        Self { highest: [f32::NEG_INFINITY; QUERIES], sum: [0.0; QUERIES] }
    }

    /// Replaces scores by `exp(score - highest)`, and returns by what earlier ones must be scaled.
    #[inline(always)]
    fn absorb(&mut self, scores: &mut [[f32; QUERIES]]) -> [f32; QUERIES] {
        let mut highest = self.highest;
        for row in scores.iter() {
            for lane in 0..QUERIES {
                highest[lane] = if row[lane] > highest[lane] { row[lane] } else { highest[lane] };
            }
        }
        // Summed tile by tile, so that rounding errors do not grow with thousands of keys.
        let mut sum = [0.0; QUERIES];
        for row in scores {
            for lane in 0..QUERIES {
                row[lane] = exp(row[lane] - highest[lane]);
                sum[lane] += row[lane];
            }
        }
        let mut factor = [0.0; QUERIES];
        for lane in 0..QUERIES {
            factor[lane] = exp(self.highest[lane] - highest[lane]);
            self.sum[lane] = self.sum[lane] * factor[lane] + sum[lane];
        }
        self.highest = highest;
        factor
    }

    fn log_sum(&self) -> [f32; QUERIES] {
        std::array::from_fn(|lane| self.highest[lane] + self.sum[lane].ln())
    }
}
