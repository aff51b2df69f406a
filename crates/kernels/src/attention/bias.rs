//! A learned bias by relative distance (Raffel et al., 2020, "T5", section 2.1): to the score of a query
//! and a key comes the number that the head has for the bucket of their distance.
//!
//! `B` stands for buckets here.

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use candle_core::Tensor;

use super::{Attention, QUERIES};
use crate::device::bias::{Bias, Sums, Table};
use crate::engine::{Engine, Memory, Mirror};
use crate::error::expect_shape;
use crate::launch::{Compute, Gpu};
use crate::simd::wide;
use crate::{Error, Parameter, Result, storage};

/// Which row of a table, or bucket, each distance between a query and a key falls into.
///
/// ```
/// let buckets = albacore_kernels::Buckets::t5(32, 128, true)?;
/// assert_eq!(buckets.of(0), 0);
/// assert_eq!([buckets.of(-7), buckets.of(-8), buckets.of(-10_000)], [7, 8, 15]);
/// assert_eq!(buckets.of(3), 16 + 3);
/// # Ok::<(), albacore_kernels::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buckets {
    /// Of the distances from `-past` on; those beyond an end are as the end.
    by_distance: Vec<u32>,
    past: usize,
    count: usize,
    bidirectional: bool,
    on_gpu: Mirror,
}

impl Buckets {
    /// T5's buckets. Near distances have one each; from half of the buckets on they hold ever longer
    /// ranges, and all from `max_distance` on share the last. If `bidirectional`, for attention that
    /// sees later tokens too, keys behind their query have a half of `count` to themselves.
    ///
    /// # Errors
    /// If there are too few buckets for this, or if `max_distance` is reached before the ranges begin.
    pub fn t5(count: usize, max_distance: usize, bidirectional: bool) -> Result<Self> {
        let of_direction = if bidirectional { count / 2 } else { count };
        let exact = of_direction / 2;
        if exact == 0 || max_distance <= exact || max_distance >= 1 << 24 {
            return Err(Error::Buckets { count, max_distance, exact });
        }
        // In f32 and in this order, as `_relative_position_bucket` of transformers computes it: at an
        // edge between two buckets the rounding decides.
        let whole = (max_distance as f64 / exact as f64).ln() as f32;
        let bucket = |distance: usize| {
            if distance < exact {
                return distance as u32;
            }
            let part = (distance as f32 / exact as f32).ln() / whole;
            let beyond = (part * (of_direction - exact) as f32) as usize;
            (exact + beyond).min(of_direction - 1) as u32
        };
        let mut by_distance: Vec<u32> = (0..=max_distance).rev().map(bucket).collect();
        if bidirectional {
            let behind = |distance| of_direction as u32 + bucket(distance);
            by_distance.extend((1..=max_distance).map(behind));
        }
        let on_gpu = Mirror::default();
        Ok(Self { by_distance, past: max_distance, count, bidirectional, on_gpu })
    }

    /// `B`: how many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether they tell keys behind their query apart.
    pub fn is_bidirectional(&self) -> bool {
        self.bidirectional
    }

    /// The buckets of the distances from `-past` on, and `past`.
    #[cfg(test)]
    pub(crate) fn by_distance(&self) -> (&[u32], usize) {
        (&self.by_distance, self.past)
    }

    /// The bucket of a distance: the position of the key less that of the query.
    pub fn of(&self, distance: i64) -> usize {
        let last = self.by_distance.len() - 1;
        let index = distance.saturating_add(self.past as i64).clamp(0, last as i64);
        self.by_distance[index as usize] as usize
    }
}

/// A learned bias: the table's row of a distance's bucket holds what each head adds to its score.
#[derive(Clone, Copy, Debug)]
pub struct RelativeBias<'a> {
    /// `(B, H)`, as checkpoints hold `relative_attention_bias.weight`. Layers may share it: their
    /// gradients add up.
    pub table: &'a Parameter,
    /// Which row is whose.
    pub buckets: &'a Buckets,
}

impl RelativeBias<'_> {
    pub(super) fn check(self, heads: usize) -> Result<()> {
        let wanted = [self.buckets.count, heads];
        expect_shape("attention", "the bias table", self.table.value().dims(), &wanted)
    }

    /// The table and its buckets on the GPU.
    pub(super) fn on_gpu(self, gpu: &Engine) -> Result<Table> {
        let Buckets { by_distance, past, on_gpu, .. } = self.buckets;
        let (buckets, span) = on_gpu.of_words(gpu, || by_distance.clone())?;
        let (at, compute) = (gpu.at(self.table.value())?, Compute::of(self.table.value())?);
        let (_, heads) = self.table.value().dims2()?;
        Ok(Table { at, compute, buckets, span, past: *past, heads })
    }

    /// Adds what a backward pass has summed up to the table's gradient.
    pub(super) fn add_sums_on_gpu(
        self,
        gpu: &Engine,
        table: Table,
        sums: &Sums<Memory>,
    ) -> Result<()> {
        let by_distance = sums.by_distance(gpu, table)?;
        self.table.accumulate(|sum, rows, accumulate| {
            table.gradient(gpu, [gpu.at(sum)?, gpu.address(&by_distance)], rows, accumulate)
        })
    }

    /// Adds `(B, H)` sums to the table's gradient.
    pub(super) fn add_sums(self, sums: &[f64]) -> Result<()> {
        let heads = sums.len() / self.buckets.count;
        let add = |sum: &Tensor, rows: Range<usize>, accumulate| {
            storage::write(sum, |sum| {
                let terms = &sums[rows.start * heads..rows.end * heads];
                for (sum, &term) in sum.iter_mut().zip(terms) {
                    let before = if accumulate { f64::from(*sum) } else { 0.0 };
                    *sum = (before + term) as f32;
                }
                Ok(())
            })
        };
        self.table.accumulate(add)
    }
}

/// The values of a bias by distance, each head's in one row: on the CPU for sequences up to some length, on
/// a GPU for all.
#[derive(Debug)]
pub struct BiasValues {
    heads: usize,
    place: Place,
}

enum Place {
    Memory(HostValues),
    /// What kernels take, and the memory that it points to.
    Gpu(Bias, #[allow(dead_code, reason = "held for as long as it is read")] Memory),
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(values) => values.fmt(f),
            Self::Gpu(bias, _) => bias.fmt(f),
        }
    }
}

/// A row holds them from the last key's of the first query to the first key's of the last query, so
/// that a key's values for a tile of queries lie side by side; behind it is room for a whole tile.
#[derive(Debug)]
pub(super) struct HostValues {
    numbers: Vec<f32>,
    row: usize,
    /// Where in a row distance 0 is.
    middle: usize,
}

impl Attention<'_> {
    /// The values of the bias, if there is one.
    pub(super) fn bias_values(&self) -> Result<Option<HostValues>> {
        let values = |bias: RelativeBias<'_>| bias.host_values(self.sequences.longest());
        self.bias.map(values).transpose()
    }
}

impl RelativeBias<'_> {
    /// The values of all distances in sequences of at most `longest` tokens, where the table is.
    ///
    /// # Errors
    /// If the table is neither f32 nor on a GPU, or a GPU has no room.
    pub fn values(self, longest: usize) -> Result<BiasValues> {
        let (_, heads) = self.table.value().dims2()?;
        let place = match Engine::of(self.table.value().device())? {
            Some(gpu) => {
                let table = self.on_gpu(&gpu)?;
                let values = table.values(&*gpu)?;
                Place::Gpu(table.bias(gpu.address(&values)), values)
            }
            None => Place::Memory(self.host_values(longest)?),
        };
        Ok(BiasValues { heads, place })
    }

    fn host_values(self, longest: usize) -> Result<HostValues> {
        let Self { table, buckets } = self;
        let (_, heads) = table.value().dims2()?;
        let middle = longest.max(1) - 1;
        let row = 2 * middle + 1 + QUERIES;
        let table = storage::read(table.value())?;
        let bucket = |index: usize| buckets.of(middle as i64 - index as i64);
        let buckets: Vec<usize> = (0..2 * middle + 1).map(bucket).collect();
        let mut numbers = vec![0.0; heads * row];
        for (head, numbers) in numbers.chunks_mut(row).enumerate() {
            let values = buckets.iter().map(|&bucket| table[bucket * heads + head]);
            numbers.iter_mut().zip(values).for_each(|(number, value)| *number = value);
        }
        Ok(HostValues { numbers, row, middle })
    }
}

impl BiasValues {
    /// How long sequences may be; any length on a GPU.
    pub(crate) fn longest(&self) -> usize {
        match &self.place {
            Place::Memory(values) => values.middle + 1,
            Place::Gpu(..) => usize::MAX,
        }
    }

    /// How many heads there are.
    pub(crate) fn heads(&self) -> usize {
        self.heads
    }

    /// Those of a head, where they are in the CPU's memory.
    pub(crate) fn of_head(&self, head: usize) -> Option<HeadBias<'_>> {
        match &self.place {
            Place::Memory(values) => Some(values.of_head(head)),
            Place::Gpu(..) => None,
        }
    }

    /// What kernels on a GPU take, where they are there.
    pub(crate) fn on_gpu(&self) -> Option<Bias> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Gpu(bias, _) => Some(*bias),
        }
    }
}

impl HostValues {
    pub(super) fn of_head(&self, head: usize) -> HeadBias<'_> {
        let row = &self.numbers[head * self.row..(head + 1) * self.row];
        HeadBias { row, middle: self.middle }
    }
}

/// The values of one head by distance.
#[derive(Clone, Copy)]
pub(crate) struct HeadBias<'a> {
    row: &'a [f32],
    middle: usize,
}

impl HeadBias<'_> {
    /// Adds them to scores of keys (rows) and queries (lanes), by the positions of the first ones.
    pub(super) fn add(self, scores: &mut [[f32; QUERIES]], first_key: usize, first_query: usize) {
        wide!(|| {
            for (key, scores) in scores.iter_mut().enumerate() {
                let start = self.middle + first_query - (first_key + key);
                let values = &self.row[start..start + QUERIES];
                scores.iter_mut().zip(values).for_each(|(score, value)| *score += value);
            }
        });
    }
}

/// Sums the gradients of scores by the bucket of their distance, for one head.
///
/// The diagonals of a tile are summed first: their terms are neighbours, and in one order always.
pub(super) fn add_by_bucket(
    sums: &mut [f32],
    buckets: &Buckets,
    slopes: &[[f32; QUERIES]],
    keys: Range<usize>,
    queries: Range<usize>,
) {
    let mut diagonals = vec![0f32; keys.len() + QUERIES];
    wide!(|| {
        for (key, slopes) in slopes.iter().enumerate() {
            // Lanes without a query stay out: what they hold is nobody's.
            let slopes = &slopes[..queries.len()];
            let diagonals = &mut diagonals[keys.len() - 1 - key..][..queries.len()];
            diagonals.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += slope);
        }
    });
    let last_key = keys.end as i64 - 1 - queries.start as i64;
    for (index, sum) in diagonals[..keys.len() + queries.len() - 1].iter().enumerate() {
        sums[buckets.of(last_key - index as i64)] += sum;
    }
}
