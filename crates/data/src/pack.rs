//! Packing: which examples go into which micro-batch, and how they lie in it.
//!
//! A batch is a budget of tokens. Examples lie end to end in it; there is no padding, so a batch that
//! is not full costs nothing, and the simplest packing is as good as any: examples are taken in order,
//! and one that does not fit opens the next batch (next-fit).
//!
//! ```text
//!  ids        p p a a e | p a e      two examples, `a` and `e` (EOS) are learned
//!  starts     0           5       8
//!  rows         1 2 3       5 6      a row whose NEXT token is learned
//!  targets      a a e       a e      that token
//!  target_starts 0          3     5
//! ```

use std::borrow::Borrow;
use std::ops::Range;

use crate::Encoded;
use crate::random::{Random, shuffled};

/// How a plan packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Decides the order, if they are shuffled.
    pub seed: u64,
    /// The most tokens in a batch. An example that is longer gets a batch of its own.
    pub tokens_per_batch: usize,
    /// Whether every epoch has its own random order; else file order.
    pub shuffle: bool,
    /// Which of `world` workers this is, from 0.
    pub rank: usize,
    /// How many workers share an epoch's batches.
    pub world: usize,
}

impl Packing {
    /// All batches for one worker.
    pub fn alone(seed: u64, tokens_per_batch: usize, shuffle: bool) -> Self {
        Self { seed, tokens_per_batch, shuffle, rank: 0, world: 1 }
    }
}

/// The micro-batches of one epoch for one worker: a pure function of the packing, the epoch and the
/// lengths of the examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of examples, batch after batch.
    order: Vec<u32>,
    /// Where each of this worker's batches lies in `order`.
    batches: Vec<std::ops::Range<usize>>,
}

impl Plan {
    /// Plans an epoch. Batches go to the workers in turn; in the last round, some may get an empty
    /// one, so that all workers have equally many.
    pub fn new(packing: Packing, epoch: u64, lengths: &[usize]) -> Self {
        let Packing { seed, tokens_per_batch, shuffle, rank, world } = packing;
        debug_assert!(rank < world, "rank {rank} is one of {world}");
        let order = match shuffle {
            true => shuffled(lengths.len(), Random::new(seed, "shuffle", epoch)),
            false => (0..lengths.len() as u32).collect(),
        };
        let (mut all, mut start, mut tokens) = (Vec::new(), 0, 0);
        for (index, example) in order.iter().enumerate() {
            let length = lengths[*example as usize];
            if tokens + length > tokens_per_batch && index > start {
                all.push(start..index);
                (start, tokens) = (index, 0);
            }
            tokens += length;
        }
        if start < order.len() {
            all.push(start..order.len());
        }
        let rounds = all.len().div_ceil(world);
        let turn = |round: usize| all.get(round * world + rank).cloned().unwrap_or_default();
        Self { batches: (0..rounds).map(turn).collect(), order }
    }

    /// How many micro-batches the epoch has.
    #[expect(clippy::len_without_is_empty, reason = "an epoch is never empty")]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// The numbers of the examples in a batch.
    pub fn examples(&self, batch: usize) -> &[u32] {
        &self.order[self.batches[batch].clone()]
    }

    /// A batch; `examples` are those whose lengths were planned with.
    pub fn batch<E: Borrow<Encoded>>(&self, batch: usize, examples: &[E]) -> Batch {
        let numbers = self.examples(batch).iter().map(|number| *number as usize);
        Batch::of(numbers.map(|number| (number, examples[number].borrow())))
    }
}

/// Examples packed end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The ids of all examples.
    pub ids: Vec<u32>,
    /// Where each example begins, and last where the last one ends.
    pub starts: Vec<u32>,
    /// The rows whose next token is learned.
    pub rows: Vec<u32>,
    /// These next tokens.
    pub targets: Vec<u32>,
    /// The numbers of the examples.
    pub examples: Vec<usize>,
    /// Where the targets of each example begin, and last how many there are.
    pub target_starts: Vec<u32>,
}

impl Batch {
    /// Packs examples, each with its number, in the given order.
    pub fn of<'a>(examples: impl IntoIterator<Item = (usize, &'a Encoded)>) -> Self {
        let mut batch = Self { starts: vec![0], target_starts: vec![0], ..Self::default() };
        for (number, example) in examples {
            let start = batch.ids.len() as u32;
            batch.ids.extend(&example.ids);
            batch.starts.push(batch.ids.len() as u32);
            // The first token has no row before it that predicts it.
            for (row, next) in (start..).zip(1..example.len()) {
                if example.learned[next] {
                    batch.rows.push(row);
                    batch.targets.push(example.ids[next]);
                }
            }
            batch.target_starts.push(batch.targets.len() as u32);
            batch.examples.push(number);
        }
        batch
    }

    /// The same examples in order, in at most `parts` batches of about as many tokens each.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let (count, tokens) = (self.examples.len(), self.tokens());
        let (mut batches, mut first) = (Vec::new(), 0);
        for part in 1..=parts {
            let mut end = first;
            while end < count
                && (end == first || (self.starts[end + 1] as usize) <= tokens * part / parts)
            {
                end += 1;
            }
            if end > first {
                batches.push(self.examples(first..end));
            }
            first = end;
        }
        if first < count {
            batches.push(self.examples(first..count));
        }
        batches
    }

    /// Some of its examples as a batch of their own.
    fn examples(&self, range: Range<usize>) -> Self {
        let (start, end) = (self.starts[range.start], self.starts[range.end]);
        let (first, last) = (self.target_starts[range.start], self.target_starts[range.end]);
        let targets = first as usize..last as usize;
        let less = |numbers: &[u32], by: u32| numbers.iter().map(|number| number - by).collect();
        Self {
            ids: self.ids[start as usize..end as usize].to_vec(),
            starts: less(&self.starts[range.start..=range.end], start),
            rows: less(&self.rows[targets.clone()], start),
            targets: self.targets[targets].to_vec(),
            examples: self.examples[range.clone()].to_vec(),
            target_starts: less(&self.target_starts[range.start..=range.end], first),
        }
    }

    /// How many tokens it holds.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// How many of them are learned.
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }
}
