//! Cross-attention over packed sequences: the queries of a target see all keys of its own source, and
//! nothing else (Vaswani et al., 2017, section 3.2.3).
//!
//! Tiles and waves are those of attention in a batch. Several targets may share a source: they follow
//! each other, and to the backward pass they are one stretch of queries.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use super::backward::{row_products, weights_and_slopes};
use super::pairs::{chunk, chunks};
use super::{Block, Dropped, QUERIES, Rows, Tile};
use crate::device::attention::{Call, Streams};
use crate::device::bias::Bias;
use crate::device::tiles::{self, Tiles};
use crate::dropout::Mask;
use crate::engine::{Engine, Memory, Mirror};
use crate::error::expect_shape;
use crate::launch::{Compute, Gpu};
use crate::matmul::{Matrix, MatrixMut, product_here};
use crate::parallel::SharedMut;
use crate::storage::Like;
use crate::{Error, Heads, Result, Sequences, Tape, Value, storage};

/// Which rows of a packed batch of sources the rows of a packed batch of targets see.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Rows of targets that follow each other, and the rows of the source that all of them see.
    stretches: Vec<(Range<usize>, Range<usize>)>,
    targets: usize,
    sources: usize,
    /// What the blocks of a GPU work on: sent there for the first layer of the first pass.
    query_tiles: Mirror,
    key_tiles: Mirror,
}

/// By who sees whom: the tiles follow from that.
impl PartialEq for Crossing {
    fn eq(&self, other: &Self) -> bool {
        let parts = |crossing: &Self| (crossing.targets, crossing.sources);
        self.stretches == other.stretches && parts(self) == parts(other)
    }
}

impl Eq for Crossing {}

impl Crossing {
    /// Target `i` sees source `source_of[i]`; those that share one follow each other.
    ///
    /// # Errors
    /// If there is not one source for each target, or the sources are not in order.
    pub fn new(targets: &Sequences, sources: &Sequences, source_of: &[u32]) -> Result<Self> {
        let operation = "cross-attention";
        expect_shape(operation, "source_of", &[source_of.len()], &[targets.count()])?;
        crate::error::expect_indices(operation, "source", source_of, sources.count())?;
        if let Some(index) = source_of.windows(2).position(|pair| pair[1] < pair[0]) {
            let found = [source_of[index], source_of[index + 1]];
            return Err(Error::SourceOrder { target: index + 1, found });
        }
        let mut stretches: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for (rows, &source) in targets.iter().zip(source_of) {
            let keys = sources.range(source as usize);
            match stretches.last_mut() {
                Some((queries, last)) if *last == keys => queries.end = rows.end,
                _ => stretches.push((rows, keys)),
            }
        }
        let (targets, sources) = (targets.tokens(), sources.tokens());
        let (query_tiles, key_tiles) = Default::default();
        Ok(Self { stretches, targets, sources, query_tiles, key_tiles })
    }

    /// Who sees what.
    #[cfg(test)]
    pub(crate) fn stretches(&self) -> &[(Range<usize>, Range<usize>)] {
        &self.stretches
    }

    /// The tiles of queries and those of keys, on the GPU.
    fn tiles(&self, gpu: &Engine) -> Result<[Tiles; 2]> {
        let queries = || tiles::crossing_query_tiles(&self.stretches);
        let keys = || tiles::crossing_key_tiles(&self.stretches, self.sources);
        Ok([
            Tiles::of_queries(self.query_tiles.of_words(gpu, queries)?),
            Tiles::of_keys(self.key_tiles.of_words(gpu, keys)?),
        ])
    }
}

/// `softmax(scale · q kᵀ) v` of each target with its own source; the tape drops weights at the rate
/// `dropout`, as [`crate::dropout()`] drops numbers.
///
/// # Shapes
/// `q` `(T, H D)` of the targets, `kv` `(S, 2 G D)` of the sources, k before v; returns `(T, H D)`.
///
/// # Errors
/// If the shapes, the heads and the sequences do not fit each other.
pub fn cross_attention<'a>(
    tape: &mut Tape<'a>,
    q: &Value<'a>,
    kv: &Value<'a>,
    heads: Heads,
    crossing: &'a Crossing,
    scale: f32,
    dropout: f32,
) -> Result<Value<'a>> {
    let operation = "cross-attention";
    if heads.width == 0 || heads.key_value == 0 || !heads.query.is_multiple_of(heads.key_value) {
        return Err(Error::Heads { operation, found: heads });
    }
    let call = Cross { heads, crossing, scale, dropout: Mask::next(tape, dropout) };
    let shape = [crossing.targets, heads.output_channels()];
    expect_shape(operation, "q", q.tensor().dims(), &shape)?;
    expect_shape(operation, "kv", kv.tensor().dims(), &[crossing.sources, call.key_stride()])?;
    let (out, lse) = call.run_forward(q.tensor(), kv.tensor())?;
    let inputs = (q.tensor().clone(), kv.tensor().clone());
    let out = Value::constant(out)
        .with_recipe(tape, move || Ok(call.run_forward(&inputs.0, &inputs.1)?.0));
    let (slots_of, output) = ((q.slot(), kv.slot()), tape.keep(&out));
    let (q, kv) = (tape.keep(q), tape.keep(kv));
    let needed = slots_of.0.is_some() || slots_of.1.is_some();
    Ok(tape.record_value(out, needed, move |slots, gradient| {
        let (q, kv, output) = (q.get()?, kv.get()?, output.get()?);
        let (d_q, d_kv) = call.run_backward([&q, &kv, &output, &lse, &gradient])?;
        slots.give(slots_of.0, d_q)?;
        slots.give(slots_of.1, d_kv)
    }))
}

/// What is attended to, and how.
#[derive(Clone, Copy)]
struct Cross<'a> {
    heads: Heads,
    crossing: &'a Crossing,
    scale: f32,
    dropout: Option<Mask>,
}

/// What all tiles of a backward pass read and write.
struct Operands<'a> {
    q: &'a [f32],
    kv: &'a [f32],
    gradient: &'a [f32],
    /// `(H, T)`, as `delta`.
    lse: &'a [f32],
    delta: &'a [f32],
    d_q: SharedMut<'a>,
    d_kv: SharedMut<'a>,
}

/// A chunk of queries, one of keys, and a key/value head.
struct Pair {
    group: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

impl Cross<'_> {
    /// Floats in a row of `kv`.
    fn key_stride(&self) -> usize {
        2 * self.heads.key_value * self.heads.width
    }

    /// Channels of a group's keys and of its values in a row of `kv`.
    fn of_group(&self, group: usize) -> [Range<usize>; 2] {
        [self.heads.q(group), self.heads.q(self.heads.key_value + group)]
    }

    /// The output `(T, H D)` and the log-sum-exp of each row of scores `(H, T)`.
    fn run_forward(self, q: &Tensor, kv: &Tensor) -> Result<(Tensor, Tensor)> {
        let tokens = self.crossing.targets;
        // SAFETY: each head of each target's token is written below, in both.
        let out = unsafe { Like::of(q).empty()? };
        // SAFETY: as above.
        let lse = unsafe { Like::of(q).wide().shaped((self.heads.query, tokens)).empty()? };
        if let Some(gpu) = Engine::of(q.device())? {
            let [queries, _] = self.crossing.tiles(&gpu)?;
            let (call, _bias) = self.on_gpu(&gpu, q)?;
            let from = Streams::apart(self.heads, [gpu.at(q)?, gpu.at(kv)?]);
            call.forward(&*gpu, queries, [gpu.at(&out)?, gpu.at(&lse)?], from)?;
            return Ok((out, lse));
        }
        let (q, kv) = (storage::read(q)?, storage::read(kv)?);
        storage::write(&out, |out| {
            storage::write(&lse, |lse| {
                self.forward(&q, &kv, out, lse);
                Ok(())
            })
        })?;
        drop((q, kv));
        Ok((out, lse))
    }

    fn forward(self, q: &[f32], kv: &[f32], out: &mut [f32], lse: &mut [f32]) {
        let (heads, tokens) = (self.heads, self.crossing.targets);
        let (stride, key_stride) = (heads.output_channels(), self.key_stride());
        let (out, lse) = (SharedMut::new(out), SharedMut::new(lse));
        let mut tasks = Vec::new();
        for (queries, keys) in &self.crossing.stretches {
            for head in 0..heads.query {
                let starts = queries.clone().step_by(QUERIES);
                tasks.extend(
                    starts.map(|start| (start..(start + QUERIES).min(queries.end), keys, head)),
                );
            }
        }
        tasks.into_par_iter().with_max_len(1).for_each(|(queries, keys, head)| {
            let [k, v] = self.of_group(head / heads.group());
            let first = &kv[keys.start * key_stride..];
            let tile = Tile {
                q: Rows::new(q, heads.q(head), stride).matrix(queries.clone()),
                queries: queries.len(),
                prompt: None,
                k: Rows::new(first, k, key_stride),
                v: Rows::new(first, v, key_stride),
                keys: keys.len(),
                first: None,
                scale: self.scale,
                bias: None,
                dropped: self.dropout.map(|mask| Dropped {
                    mask,
                    head,
                    query: queries.start,
                    key: keys.start,
                }),
            };
            let columns = head * tokens + queries.start..head * tokens + queries.end;
            let count = queries.len();
            // SAFETY: no other task has this head and one of these tokens.
            let mut out = unsafe { Block::new(&out, queries, heads.q(head), stride) };
            // SAFETY: as above.
            let mut lse = unsafe { Block::new(&lse, 0..1, columns, 0) };
            lse.row(0).copy_from_slice(&tile.attend(&mut out)[..count]);
        });
    }

    /// The gradients of `q` and of `kv`. A source that no target sees has one of zeros.
    fn run_backward(
        self,
        [q, kv, output, lse, gradient]: [&Tensor; 5],
    ) -> Result<(Tensor, Tensor)> {
        if let Some(gpu) = Engine::of(q.device())? {
            return self.backward_on_gpu(&gpu, [q, kv, output, lse, gradient]);
        }
        let (d_q, d_kv) = (q.zeros_like()?, kv.zeros_like()?);
        let (q, kv, output) = (storage::read(q)?, storage::read(kv)?, storage::read(output)?);
        let (lse, gradient) = (storage::read(lse)?, storage::read(gradient)?);
        let delta = row_products(self.heads, self.crossing.targets, &output, &gradient);
        storage::write(&d_q, |d_q| {
            storage::write(&d_kv, |d_kv| {
                let (d_q, d_kv) = (SharedMut::new(d_q), SharedMut::new(d_kv));
                let [q, kv, gradient, lse] = [&*q, &*kv, &*gradient, &*lse];
                let all = Operands { q, kv, gradient, lse, delta: &delta, d_q, d_kv };
                for pairs in self.waves() {
                    pairs.par_iter().with_max_len(1).for_each(|pair| self.pair(pair, &all));
                }
                Ok(())
            })
        })?;
        Ok((d_q, d_kv))
    }

    fn backward_on_gpu(
        self,
        gpu: &Engine,
        [q, kv, output, lse, gradient]: [&Tensor; 5],
    ) -> Result<(Tensor, Tensor)> {
        // SAFETY: each target has a source, and each source's row is in a tile of keys: the kernels
        // write all of both.
        let (d_q, d_kv) = unsafe { (Like::of(q).empty()?, Like::of(kv).empty()?) };
        let tiles = self.crossing.tiles(gpu)?;
        let (call, _bias) = self.on_gpu(gpu, q)?;
        let sums = Streams::apart(self.heads, [gpu.at(&d_q)?, gpu.at(&d_kv)?]);
        let from = Streams::apart(self.heads, [gpu.at(q)?, gpu.at(kv)?]);
        let places = [gpu.at(output)?, gpu.at(gradient)?, gpu.at(lse)?];
        call.backward(gpu, tiles, [sums, from], places, false, None)?;
        Ok((d_q, d_kv))
    }

    /// The call, and the memory of the bias that it reads: kernels that drop weights have one.
    fn on_gpu(self, gpu: &Engine, q: &Tensor) -> Result<(Call, Option<Memory>)> {
        let Self { heads, scale, dropout, .. } = self;
        let mut call = Call::new(heads, self.crossing.targets, scale, false, Compute::of(q)?)?;
        let Some(mask) = dropout else { return Ok((call, None)) };
        let zeros = gpu.upload(&vec![0f32.to_bits(); heads.query])?;
        call.bias = Some(Bias::of_one_distance(gpu.address(&zeros)));
        call.dropout = Some(mask);
        Ok((call, Some(zeros)))
    }

    /// In a wave no chunk of queries and no chunk of keys occurs twice.
    fn waves(&self) -> Vec<Vec<Pair>> {
        let rounds =
            |(queries, keys): &(Range<usize>, Range<usize>)| chunks(queries).max(chunks(keys));
        let most = self.crossing.stretches.iter().map(rounds).max().unwrap_or(0);
        let waves = (0..most).map(|wave| {
            let mut pairs = Vec::new();
            for stretch in &self.crossing.stretches {
                let ((queries, keys), rounds) = (stretch, rounds(stretch));
                for index in (0..chunks(keys)).filter(|_| wave < rounds) {
                    let of = (index + wave) % rounds;
                    if of < chunks(queries) {
                        pairs.extend((0..self.heads.key_value).map(|group| Pair {
                            group,
                            queries: chunk(queries, of),
                            keys: chunk(keys, index),
                        }));
                    }
                }
            }
            pairs
        });
        waves.collect()
    }

    fn pair(&self, pair: &Pair, all: &Operands) {
        let group = self.heads.group();
        for head in pair.group * group..(pair.group + 1) * group {
            for start in pair.queries.clone().step_by(QUERIES) {
                let queries = start..(start + QUERIES).min(pair.queries.end);
                self.tile(pair, head, queries, all);
            }
        }
    }

    /// Adds what one tile of queries of one head contributes.
    fn tile(&self, pair: &Pair, head: usize, queries: Range<usize>, all: &Operands) {
        let (heads, keys) = (self.heads, &pair.keys);
        let (stride, key_stride) = (heads.output_channels(), self.key_stride());
        let [of_k, of_v] = self.of_group(pair.group);
        let q = Rows::new(all.q, heads.q(head), stride).matrix(queries.clone());
        let gradient = Rows::new(all.gradient, heads.q(head), stride).matrix(queries.clone());
        let [k, v] = [&of_k, &of_v]
            .map(|channels| Rows::new(all.kv, channels.clone(), key_stride).matrix(keys.clone()));

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
        let row = head * self.crossing.targets;
        let row = row + queries.start..row + queries.end;
        let (query, key) = (queries.start, keys.start);
        let dropped = self.dropout.map(|mask| Dropped { mask, head, query, key });
        if let Some(dropped) = dropped {
            dropped.apply(slopes.as_chunks_mut().0, 0);
        }
        weights_and_slopes(weights, slopes, &all.lse[row.clone()], &all.delta[row], None);
        if let Some(dropped) = dropped {
            dropped.apply(weights.as_chunks_mut().0, 0);
        }

        let lanes = |data| Matrix::strided(data, keys.len(), queries.len(), QUERIES);
        let (weights, slopes) = (lanes(weights), lanes(slopes));
        // SAFETY: in a wave, no other pair has these queries or these keys and this group, and this
        // thread uses one block at a time.
        unsafe {
            let mut dv = Block::new(&all.d_kv, keys.clone(), of_v, key_stride);
            dv.product(weights, gradient, 1.0, true);
            let mut dk = Block::new(&all.d_kv, keys.clone(), of_k, key_stride);
            dk.product(slopes, q, self.scale, true);
            let mut dq = Block::new(&all.d_q, queries, heads.q(head), stride);
            dq.product(slopes.transposed(), k, self.scale, true);
        }
    }
}

#[cfg(test)]
mod tests;
