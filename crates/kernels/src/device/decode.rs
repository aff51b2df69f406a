//! The twin of the key/value cache: new tokens join it and attend to it.

use super::bias::Bias;
use crate::launch::{Address, Compute, Gpu, Launch, arguments, blocks, pack_grid};
use crate::{Error, Heads, Result};

/// Query heads of a block: `HEADS` of decode.cu.
const HEADS: usize = 4;

/// Head widths that have kernels; a narrower head runs in the next wider one.
const WIDTHS: [usize; 3] = [64, 128, 256];

/// In place of the reach of a bias: there is none. `NO_BIAS` of decode.cu.
const NO_BIAS: u32 = u32::MAX;

/// Blocks that copy a slot: 2,048 numbers each a round in bf16, and a slot of 256 tokens and 2,048
/// channels has 2^19.
const COPY_BLOCKS: u32 = 32;

/// One layer's cache: `(slots, capacity, 2 G D)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache {
    pub(crate) heads: Heads,
    pub(crate) at: Address,
    pub(crate) capacity: usize,
    pub(crate) compute: Compute,
}

impl Cache {
    /// Numbers of a token.
    fn row(&self) -> usize {
        2 * self.heads.key_value * self.heads.width
    }

    /// Copies the keys and values of `tokens` new tokens, the last of `channels` numbers each, to the
    /// slots and positions of `table`, `(T, 2)`.
    pub(crate) fn append(
        &self,
        gpu: &impl Gpu,
        [rows, table]: [Address; 2],
        tokens: usize,
        channels: usize,
    ) -> Result<()> {
        let row = self.row();
        gpu.launch(Launch {
            file: "decode",
            kernel: format!("append_{}", self.compute.name()),
            grid: pack_grid(tokens, row, self.compute, 128),
            threads: 128,
            shared: 0,
            arguments: arguments![
                self.at,
                rows,
                table,
                tokens as u64,
                self.capacity as u32,
                channels as u32,
                row as u32,
            ],
        })
    }

    /// Attends with each new token, the first of `channels` numbers each, to its slot, up to its own
    /// position or the one that `table` has in its place.
    ///
    /// # Errors
    /// If the heads are too wide for the kernels.
    pub(crate) fn attend(
        &self,
        gpu: &impl Gpu,
        [out, rows, table]: [Address; 3],
        [tokens, channels]: [usize; 2],
        scale: f32,
        bias: Option<Bias>,
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let kernel = WIDTHS.into_iter().find(|&kernel| width <= kernel);
        let kernel = kernel.ok_or(Error::HeadWidth { found: width, step: self.compute.pack() })?;
        let (values, past, span) = match bias {
            Some(Bias { values, span, past }) => (values, past as u32, span as u32),
            None => (table, NO_BIAS, 0),
        };
        gpu.launch(Launch {
            file: "decode",
            kernel: format!("decode_{}_{kernel}", self.compute.name()),
            grid: [blocks(tokens, 1), (key_value * self.heads.group().div_ceil(HEADS)) as u32],
            threads: 128,
            shared: 0,
            arguments: arguments![
                out,
                rows,
                self.at,
                table,
                channels as u32,
                self.capacity as u32,
                query as u32,
                key_value as u32,
                width as u32,
                scale,
                values,
                past,
                span,
            ],
        })
    }

    /// Makes slots like others, as many times as `table` says: `(copies, 3)`, from, to and rows.
    pub(crate) fn copy_slots(&self, gpu: &impl Gpu, table: Address, copies: usize) -> Result<()> {
        gpu.launch(Launch {
            file: "decode",
            kernel: format!("copy_slots_{}", self.compute.name()),
            grid: [COPY_BLOCKS, blocks(copies, 1)],
            threads: 256,
            shared: 0,
            arguments: arguments![self.at, table, self.capacity as u32, self.row() as u32],
        })
    }
}
