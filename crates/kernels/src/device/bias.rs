//! The twin of attention's bias: its values by distance, and from sums by distance its table's gradient.

use std::ops::Range;

use super::rows::sum_lines;
use crate::Result;
use crate::launch::{Address, Compute, Gpu, Launch, arguments, blocks};

/// A table `(B, H)` on the GPU, and the buckets of `span` distances from `-past` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) at: Address,
    pub(crate) compute: Compute,
    pub(crate) buckets: Address,
    pub(crate) span: usize,
    pub(crate) past: usize,
    /// `H`.
    pub(crate) heads: usize,
}

/// What attention's kernels read of a bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bias {
    /// `(H, span)` f32.
    pub(crate) values: Address,
    pub(crate) span: usize,
    pub(crate) past: usize,
}

impl Bias {
    /// One value a head, `(H,)` f32, whatever the distance.
    pub(crate) fn of_one_distance(values: Address) -> Self {
        Self { values, span: 1, past: 0 }
    }

    /// Whether it has a gradient worth summing by distance.
    pub(crate) fn tells_distances_apart(self) -> bool {
        self.span > 1
    }
}

/// Sums of the scores' gradients by distance, each line `(H, span)` of f32.
#[derive(Debug)]
pub(crate) struct Sums<M> {
    pub(crate) memory: M,
    pub(crate) lines: usize,
}

impl Table {
    /// The values of each head by distance, as [`Bias`] takes them.
    pub(crate) fn values<G: Gpu>(&self, gpu: &G) -> Result<G::Memory> {
        let values = gpu.allocate(self.heads * self.span * 4)?;
        gpu.launch(Launch {
            file: "attention_bias",
            kernel: format!("attention_bias_values_{}", self.compute.name()),
            grid: [blocks(self.span, 128), self.heads as u32],
            threads: 128,
            shared: 0,
            arguments: arguments![
                gpu.address(&values),
                self.at,
                self.buckets,
                self.heads as u32,
                self.span as u32,
            ],
        })?;
        Ok(values)
    }

    /// Where the values are, as attention takes them.
    pub(crate) fn bias(&self, values: Address) -> Bias {
        Bias { values, span: self.span, past: self.past }
    }

    /// Room for the sums of `lines` tiles.
    pub(crate) fn sums<G: Gpu>(&self, gpu: &G, lines: usize) -> Result<Sums<G::Memory>> {
        Ok(Sums { memory: gpu.allocate(lines * self.heads * self.span * 4)?, lines })
    }

    /// The gradient of the table's `rows`, from sums by distance `(H, span)`; added if `accumulate`.
    pub(crate) fn gradient(
        &self,
        gpu: &impl Gpu,
        [sum, by_distance]: [Address; 2],
        rows: Range<usize>,
        accumulate: bool,
    ) -> Result<()> {
        gpu.launch(Launch {
            file: "attention_bias",
            kernel: "attention_bias_gradient".to_owned(),
            grid: [blocks(rows.len() * self.heads, 128), 1],
            threads: 128,
            shared: 0,
            arguments: arguments![
                sum,
                by_distance,
                self.buckets,
                rows.start as u32,
                rows.len() as u32,
                self.heads as u32,
                self.span as u32,
                accumulate,
            ],
        })
    }
}

impl<M> Sums<M> {
    /// The lines added up, first to last.
    pub(crate) fn by_distance<G: Gpu<Memory = M>>(&self, gpu: &G, table: Table) -> Result<M> {
        let columns = table.heads * table.span;
        let sum = gpu.allocate(columns * 4)?;
        let places = (gpu.address(&sum), gpu.address(&self.memory));
        sum_lines(gpu, places.0, places.1, self.lines as u32, columns, false)?;
        Ok(sum)
    }
}
