//! The twin of the key/value cache: new tokens join it and attend to it.

use crate::launch::{Address, Compute, Gpu, Launch, arguments, blocks, pack_grid};
use crate::{Heads, Result};

/// Query heads of a block: `HEADS` of decode.cu.
const HEADS: usize = 4;

/// Head widths that have kernels; a narrower head runs in the next wider one.
const WIDTHS: [usize; 3] = [64, 128, 256];

/// One layer's cache: `(slots, capacity, 2 G D)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cache {
    pub(crate) heads: Heads,
    pub(crate) at: Address,
    pub(crate) capacity: usize,
    pub(crate) compute: Compute,
}

impl Cache {
    /// Copies the keys and values of `tokens` new tokens to the slots and positions of `table`,
    /// `(T, 2)`.
    pub(crate) fn append(
        &self,
        gpu: &impl Gpu,
        [qkv, table]: [Address; 2],
        tokens: usize,
    ) -> Result<()> {
        let row = 2 * self.heads.key_value * self.heads.width;
        gpu.launch(Launch {
            file: "decode",
            kernel: format!("append_{}", self.compute.name()),
            grid: pack_grid(tokens, row, self.compute, 128),
            threads: 128,
            shared: 0,
            arguments: arguments![
                self.at,
                qkv,
                table,
                tokens as u64,
                self.capacity as u32,
                self.heads.channels() as u32,
                row as u32,
            ],
        })
    }

    /// Attends with each new token to its slot, up to its own position.
    pub(crate) fn attend(
        &self,
        gpu: &impl Gpu,
        [out, qkv, table]: [Address; 3],
        tokens: usize,
        scale: f32,
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let kernel = WIDTHS.into_iter().find(|&kernel| width <= kernel);
        let kernel = kernel.expect("the prompt's attention has refused wider heads");
        gpu.launch(Launch {
            file: "decode",
            kernel: format!("decode_{}_{kernel}", self.compute.name()),
            grid: [blocks(tokens, 1), (key_value * self.heads.group().div_ceil(HEADS)) as u32],
            threads: 128,
            shared: 0,
            arguments: arguments![
                out,
                qkv,
                self.at,
                table,
                self.capacity as u32,
                query as u32,
                key_value as u32,
                width as u32,
                scale,
            ],
        })
    }
}
