//! Attention to the cache of one layer on the CPU.
//!
//! Each task attends with up to [`QUERIES`] queries. To a head that sequences share, the queries of all
//! of them attend together, so that it is read once a step; then each sequence attends to its own rows,
//! and the two softmaxes are put together by their log-sum-exps (as parts of a row are in
//! FlashAttention).

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::Grown;
use crate::attention::{Block, QUERIES, Rows, Tile};
use crate::parallel::SharedMut;
use crate::{BiasValues, Heads, Sequences};

/// Attention of the new tokens of some sequences, whose rows the cache holds already.
pub(super) struct Attention<'a> {
    pub(super) heads: Heads,
    pub(super) sequences: &'a [Grown],
    /// The new tokens in rows of `stride` floats, of which the first are the heads of q.
    pub(super) queries: &'a [f32],
    pub(super) stride: usize,
    pub(super) fresh: &'a Sequences,
    pub(super) seen: Seen<'a>,
}

/// What a query sees of its sequence, and how.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) scale: f32,
    /// Only what stands before it and itself; else everything.
    pub(super) causal: bool,
    /// What each head adds by distance; then no sequence has a shared head, and no heads share keys.
    pub(super) bias: Option<&'a BiasValues>,
}

/// Queries of one sequence: several tokens of one head, or several heads of one group and token.
struct Task {
    sequence: usize,
    heads: Range<usize>,
    /// Counted from the first new token of the sequence.
    tokens: Range<usize>,
}

/// Queries, of whatever sequences, to the rows of one shared head: rows of `(T, H)`.
struct HeadTask<'a> {
    rows: &'a [f32],
    group: usize,
    queries: Vec<usize>,
}

impl Attention<'_> {
    /// Writes each head of each new token, `(T, H D)`.
    pub(super) fn run(&self, out: &mut [f32]) {
        let out = SharedMut::new(out);
        let shared = self.head_tasks();
        // Of each head of each token: the log-sum-exp of its scores with a shared head.
        let rows = if shared.is_empty() { 0 } else { self.fresh.tokens() * self.heads.query };
        let mut log_sums = vec![f32::NEG_INFINITY; rows];
        let places = SharedMut::new(&mut log_sums);
        let tasks = shared.into_par_iter().with_max_len(1);
        tasks.for_each(|task| self.attend_to_head(&task, &out, &places));
        let tasks = self.tasks().into_par_iter().with_max_len(1);
        tasks.for_each(|task| self.attend_to_own(&task, &out, &log_sums));
    }

    fn head_tasks(&self) -> Vec<HeadTask<'_>> {
        /// The same rows, and as many of them.
        type Shared<'a> = (&'a [f32], Vec<usize>);
        let mut heads: Vec<Shared<'_>> = Vec::new();
        for (grown, tokens) in self.sequences.iter().zip(self.fresh.iter()) {
            let Some((rows, floats)) = &grown.head else { continue };
            let rows = &Arc::as_ref(rows)[..*floats];
            match heads.iter_mut().find(|(other, _)| std::ptr::eq(*other, rows)) {
                Some((_, all)) => all.extend(tokens),
                None => heads.push((rows, tokens.collect())),
            }
        }
        let (query, in_group) = (self.heads.query, self.heads.group());
        let mut tasks = Vec::new();
        for (rows, tokens) in heads {
            for group in 0..self.heads.key_value {
                let heads = group * in_group..(group + 1) * in_group;
                let queries = tokens
                    .iter()
                    .flat_map(|token| heads.clone().map(move |head| token * query + head));
                let queries = queries.collect::<Vec<_>>();
                tasks.extend(queries.chunks(QUERIES).map(|queries| HeadTask {
                    rows,
                    group,
                    queries: queries.to_vec(),
                }));
            }
        }
        tasks
    }

    fn attend_to_head(&self, task: &HeadTask<'_>, out: &SharedMut, log_sums: &SharedMut) {
        let Heads { query, width, .. } = self.heads;
        let mut q = Vec::with_capacity(task.queries.len() * width);
        for &row in &task.queries {
            let (token, head) = (row / query, row % query);
            let token = &self.queries[token * self.stride..];
            q.extend_from_slice(&token[self.heads.q(head)]);
        }
        let (k, v) = self.keys_and_values(task.rows, task.group);
        let tile = Tile {
            q: Rows::new(&q, 0..width, width).matrix(0..task.queries.len()),
            queries: task.queries.len(),
            prompt: None,
            k,
            v,
            keys: task.rows.len() / self.row(),
            first: None,
            scale: self.seen.scale,
            bias: None,
            dropped: None,
        };
        let mut mixed = vec![0.0; q.len()];
        let found = attend(&tile, &mut mixed, width);
        for ((&row, mixed), log_sum) in task.queries.iter().zip(mixed.chunks(width)).zip(found) {
            // SAFETY: no other task has this head of this token.
            unsafe {
                Block::new(out, row..row + 1, 0..width, width).row(0).copy_from_slice(mixed);
                Block::new(log_sums, row..row + 1, 0..1, 1).row(0)[0] = log_sum;
            }
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let heads = self.heads;
        let cut = |range: Range<usize>| {
            let end = range.end;
            range.step_by(QUERIES).map(move |start| start..(start + QUERIES).min(end))
        };
        let mut tasks = Vec::new();
        for (sequence, tokens) in self.fresh.iter().enumerate() {
            if tokens.len() == 1 {
                // The heads of a group read the same keys: together they read them once.
                for group in 0..heads.key_value {
                    let group = group * heads.group()..(group + 1) * heads.group();
                    tasks.extend(cut(group).map(|heads| Task { sequence, heads, tokens: 0..1 }));
                }
            } else {
                for head in 0..heads.query {
                    let heads = head..head + 1;
                    let tiles = cut(0..tokens.len());
                    tasks.extend(tiles.map(|tokens| Task {
                        sequence,
                        heads: heads.clone(),
                        tokens,
                    }));
                }
            }
        }
        tasks
    }

    fn attend_to_own(&self, task: &Task, out: &SharedMut, log_sums: &[f32]) {
        let (heads, width) = (self.heads, self.heads.width);
        let (stride, out_channels) = (self.stride, heads.output_channels());
        let (tokens, grown) = (self.fresh.range(task.sequence), &self.sequences[task.sequence]);
        let own = grown.own.len() / self.row();
        if own == 0 {
            // All it has is its head, to which it has attended.
            return;
        }
        // A token that sees what stands before it is among what the sequence holds.
        let past = if self.seen.causal { own - tokens.len() } else { 0 };
        let packed = tokens.start + task.tokens.start..tokens.start + task.tokens.end;
        let (head, first) = (task.heads.start, packed.start * heads.query);
        let (q, mut target) = if task.tokens.len() > 1 {
            let q = Rows::new(self.queries, heads.q(head), stride).matrix(packed.clone());
            // SAFETY: no other task has this head and one of these tokens.
            (q, unsafe { Block::new(out, packed, heads.q(head), out_channels) })
        } else {
            // Each head of the token is a row.
            let q = Rows::new(&self.queries[packed.start * stride..], 0..width, width);
            let rows = first + task.heads.start..first + task.heads.end;
            // SAFETY: no other task has this token and one of these heads.
            (q.matrix(task.heads.clone()), unsafe { Block::new(out, rows, 0..width, width) })
        };
        let (k, v) = self.keys_and_values(&grown.own, head / heads.group());
        let tile = Tile {
            q,
            queries: task.heads.len().max(task.tokens.len()),
            prompt: None,
            k,
            v,
            keys: if self.seen.causal { past + task.tokens.end } else { own },
            first: (self.seen.causal && task.tokens.len() > 1).then_some(past + task.tokens.start),
            scale: self.seen.scale,
            bias: self
                .seen
                .bias
                .and_then(|bias| bias.of_head(head))
                .map(|bias| (bias, past + task.tokens.start)),
            dropped: None,
        };
        if grown.head.is_none() {
            tile.attend(&mut target);
            return;
        }
        let mut own = vec![0.0; tile.queries * width];
        let found = attend(&tile, &mut own, width);
        let step = if task.tokens.len() > 1 { heads.query } else { 1 };
        for (query, own) in own.chunks(width).enumerate() {
            let with_head = log_sums[first + head + query * step];
            put_together(target.row(query), with_head, own, found[query]);
        }
    }

    /// Those of one group, in rows of the cache.
    fn keys_and_values<'r>(&self, rows: &'r [f32], group: usize) -> (Rows<'r>, Rows<'r>) {
        // A row of the cache is the end of a row of `qkv`.
        let from = self.heads.k(0).start;
        let of_group = |channels: Range<usize>| {
            Rows::new(rows, channels.start - from..channels.end - from, self.row())
        };
        (of_group(self.heads.k(group)), of_group(self.heads.v(group)))
    }

    /// Floats of a token in the cache.
    fn row(&self) -> usize {
        2 * self.heads.key_value * self.heads.width
    }
}

/// Runs a tile into `out`, a row for each query; returns the log-sum-exps of their scores.
fn attend(tile: &Tile<'_>, out: &mut [f32], width: usize) -> [f32; QUERIES] {
    assert_eq!(out.len(), tile.queries * width, "a row for each query");
    let out = SharedMut::new(out);
    // SAFETY: the block is all of the slice, which is borrowed here.
    tile.attend(&mut unsafe { Block::new(&out, 0..tile.queries, 0..width, width) })
}

/// Attention to two sets of keys, from that to each with its log-sum-exp; into the first.
fn put_together(first: &mut [f32], first_log: f32, second: &[f32], second_log: f32) {
    let highest = first_log.max(second_log);
    let (left, right) = ((first_log - highest).exp(), (second_log - highest).exp());
    let (left, right) = (left / (left + right), right / (left + right));
    for (first, second) in first.iter_mut().zip(second) {
        *first = *first * left + second * right;
    }
}
