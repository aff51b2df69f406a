//! The backward pass: scores are computed again, pair by pair of a chunk of queries and one of keys.
//!
//! With the weights `P`, `dP = dO Vᵀ` and `δ = rowsum(dO ∘ O)` (algorithm 2 of Dao, 2023):
//! `dS = P ∘ (dP - δ)`, `dV = Pᵀ dO`, `dQ = scale · dS K` and `dK = scale · dSᵀ Q`.
//!
//! A pair adds to the gradients of its queries and of its keys, so pairs run in waves in which no
//! chunk occurs twice (see `pairs`). Nothing is computed twice, no thread needs a copy of a gradient,
//! and the order of every sum is fixed.

use std::ops::Range;

use rayon::prelude::*;

use super::bias::{Buckets, HostValues, RelativeBias, add_by_bucket};
use super::forward::hide_later_keys;
use super::pairs::Pair;
use super::{Attention, Block, Dropped, QUERIES, Rows};
use crate::matmul::{Matrix, MatrixMut, product_here};
use crate::parallel::SharedMut;
use crate::simd::{exp, sum2, wide};
use crate::{Heads, storage};

/// What a pair contributes to the gradient of the bias's table: `(heads of the group, B)`.
struct PairSums<'a> {
    buckets: &'a Buckets,
    sums: Vec<f32>,
}

impl<'a> PairSums<'a> {
    fn new(bias: RelativeBias<'a>, heads: Heads) -> Self {
        Self { buckets: bias.buckets, sums: vec![0.0; heads.group() * bias.buckets.count()] }
    }

    fn of_head(&mut self, index: usize) -> &mut [f32] {
        let count = self.buckets.count();
        &mut self.sums[index * count..(index + 1) * count]
    }

    /// Adds them to those of all heads, `(B, H)`.
    fn add_to(&self, table: &mut [f64], heads: Range<usize>) {
        let (count, all_heads) = (self.buckets.count(), table.len() / self.buckets.count());
        for (head, sums) in heads.zip(self.sums.chunks(count)) {
            for (bucket, &sum) in sums.iter().enumerate() {
                table[bucket * all_heads + head] += f64::from(sum);
            }
        }
    }
}

/// What all pairs read and write.
struct Operands<'a> {
    qkv: &'a [f32],
    gradient: &'a [f32],
    /// `(H, T)`, as `delta`.
    lse: &'a [f32],
    delta: &'a [f32],
    bias: Option<&'a HostValues>,
    /// The gradient of `qkv`.
    sum: SharedMut<'a>,
}

impl Attention<'_> {
    /// Adds the gradient of `qkv` to `sum`, or overwrites `sum` with it. Returns that of the table of
    /// the bias, `(B, H)`, if it is trained.
    pub(super) fn backward(
        &self,
        [qkv, output, lse, gradient]: [&[f32]; 4],
        bias: Option<&HostValues>,
        sum: &mut [f32],
        accumulate: bool,
    ) -> Option<Vec<f64>> {
        let delta = &row_products(self.heads, self.sequences.tokens(), output, gradient);
        let all = Operands { qkv, gradient, lse, delta, bias, sum: SharedMut::new(sum) };
        let mut table =
            self.trained_table().map(|bias| vec![0.0; bias.buckets.count() * self.heads.query]);
        for (wave, pairs) in self.waves().into_iter().enumerate() {
            let run = |pair: &Pair| {
                // The first wave meets every chunk.
                if wave == 0 && !accumulate {
                    self.clear(pair, &all);
                }
                let mut sums = self.trained_table().map(|bias| PairSums::new(bias, self.heads));
                for head in pair.heads(self.heads) {
                    for start in pair.queries.clone().step_by(QUERIES) {
                        let queries = start..(start + QUERIES).min(pair.queries.end);
                        self.tile(pair, head, queries, &all, sums.as_mut());
                    }
                }
                sums
            };
            let sums: Vec<_> = pairs.par_iter().with_max_len(1).map(run).collect();
            if let Some(table) = &mut table {
                let sums = pairs.iter().zip(sums.iter().flatten());
                sums.for_each(|(pair, sums)| sums.add_to(table, pair.heads(self.heads)));
            }
        }
        table
    }

    /// The bias, if its table is trained.
    pub(super) fn trained_table(&self) -> Option<RelativeBias<'_>> {
        self.bias.filter(|bias| bias.table.is_trainable())
    }

    /// Sets the gradients of a pair's queries, keys and values to zero.
    fn clear(&self, pair: &Pair, all: &Operands) {
        let heads = self.heads;
        let Range { start, end } = pair.heads(heads);
        let q = heads.q(start).start..heads.q(end - 1).end;
        let k = (heads.k(pair.group), &pair.keys);
        for (channels, rows) in [(q, &pair.queries), k, (heads.v(pair.group), &pair.keys)] {
            // SAFETY: in a wave, no other pair has these queries or these keys and this group.
            let mut block = unsafe { all.block(rows, channels, heads.channels()) };
            (0..rows.len()).for_each(|index| block.row(index).fill(0.0));
        }
    }

    /// Adds what one tile of queries of one head contributes.
    fn tile(
        &self,
        pair: &Pair,
        head: usize,
        queries: Range<usize>,
        all: &Operands,
        sums: Option<&mut PairSums>,
    ) {
        let (heads, channels) = (self.heads, self.heads.channels());
        let end = if pair.causal { pair.keys.end.min(queries.end) } else { pair.keys.end };
        let keys = pair.keys.start..end;
        let rows =
            |channels_of_head, rows| Rows::new(all.qkv, channels_of_head, channels).matrix(rows);
        let q = rows(heads.q(head), queries.clone());
        let k = rows(heads.k(pair.group), keys.clone());
        let v = rows(heads.v(pair.group), keys.clone());
        let out_channels = heads.output_channels();
        let gradient = Rows::new(all.gradient, heads.q(head), out_channels).matrix(queries.clone());

        // SAFETY: the products write the lanes of all queries before they are read, and lanes
        // without a query are filled here.
        let mut weights = unsafe { storage::empty_vec(2 * keys.len() * QUERIES) };
        if queries.len() < QUERIES {
            weights.fill(0.0);
        }
        let (weights, slopes) = weights.split_at_mut(keys.len() * QUERIES);
        let lanes = |data| MatrixMut::strided(data, keys.len(), queries.len(), QUERIES);
        product_here(lanes(weights), k, q.transposed(), self.scale, false);
        product_here(lanes(slopes), v, gradient.transposed(), 1.0, false);
        let row = head * self.sequences.tokens();
        let row = row + queries.start..row + queries.end;
        let (lse, delta) = (&all.lse[row.clone()], &all.delta[row]);
        if let Some(bias) = all.bias {
            let (scores, _) = weights.as_chunks_mut();
            bias.of_head(head).add(scores, keys.start, queries.start);
        }
        let first_query = pair.causal.then_some((keys.start, queries.start));
        let dropped = self.dropout.map(|mask| {
            let (query, key) = (queries.start, keys.start);
            Dropped { mask, head, query, key }
        });
        if let Some(dropped) = dropped {
            dropped.apply(slopes.as_chunks_mut().0, 0);
        }
        weights_and_slopes(weights, slopes, lse, delta, first_query);
        if let Some(dropped) = dropped {
            dropped.apply(weights.as_chunks_mut().0, 0);
        }
        if let Some(sums) = sums {
            let (slopes, _) = slopes.as_chunks();
            let (buckets, index) = (sums.buckets, head - pair.heads(heads).start);
            add_by_bucket(sums.of_head(index), buckets, slopes, keys.clone(), queries.clone());
        }

        let lanes = |data| Matrix::strided(data, keys.len(), queries.len(), QUERIES);
        let (weights, slopes) = (lanes(weights), lanes(slopes));
        // SAFETY: in a wave, no other pair has these queries or these keys and this group, and this
        // thread uses one block at a time.
        unsafe {
            let mut dv = all.block(&keys, heads.v(pair.group), channels);
            dv.product(weights, gradient, 1.0, true);
            let mut dk = all.block(&keys, heads.k(pair.group), channels);
            dk.product(slopes, q, self.scale, true);
            let mut dq = all.block(&queries, heads.q(head), channels);
            dq.product(slopes.transposed(), k, self.scale, true);
        }
    }
}

impl Operands<'_> {
    /// Some channels of some rows of the gradient of `qkv`.
    ///
    /// # Safety
    /// Nobody else may use them while the block lives.
    unsafe fn block(
        &self,
        rows: &Range<usize>,
        channels: Range<usize>,
        stride: usize,
    ) -> Block<'_> {
        // SAFETY: the rows are tokens of the batch, and the caller vouches for the rest.
        unsafe { Block::new(&self.sum, rows.clone(), channels, stride) }
    }
}

/// `δ`, the sum of output times gradient of each head and token: `(H, T)`.
pub(super) fn row_products(
    heads: Heads,
    tokens: usize,
    output: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let channels = heads.output_channels();
    // SAFETY: each row is written below.
    let mut delta = unsafe { storage::empty_vec(heads.query * tokens) };
    let rows = delta.par_chunks_mut(tokens).enumerate();
    rows.for_each(|(head, row)| {
        wide!(|| {
            for (token, delta) in row.iter_mut().enumerate() {
                let start = token * channels + head * heads.width;
                let range = start..start + heads.width;
                *delta = sum2(&output[range.clone()], &gradient[range], |x, y| x * y);
            }
        });
    });
    delta
}

/// Turns scores into weights `P` and their gradients `dP` into `dS`.
///
/// `causal` gives the numbers of the first key and of the first query.
pub(super) fn weights_and_slopes(
    scores: &mut [f32],
    gradients: &mut [f32],
    lse: &[f32],
    delta: &[f32],
    causal: Option<(usize, usize)>,
) {
    let (mut all_lse, mut all_delta) = ([0.0; QUERIES], [0.0; QUERIES]);
    all_lse[..lse.len()].copy_from_slice(lse);
    all_delta[..delta.len()].copy_from_slice(delta);
    let (scores, _) = scores.as_chunks_mut::<QUERIES>();
    let (gradients, _) = gradients.as_chunks_mut::<QUERIES>();
    if let Some((first_key, first_query)) = causal {
        hide_later_keys(scores, first_key, first_query);
    }
    wide!(|| {
        for (scores, gradients) in scores.iter_mut().zip(gradients) {
            for lane in 0..QUERIES {
                scores[lane] = exp(scores[lane] - all_lse[lane]);
                gradients[lane] = scores[lane] * (gradients[lane] - all_delta[lane]);
            }
        }
    });
}
