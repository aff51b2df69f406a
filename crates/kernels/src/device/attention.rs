//! The twin of `attention`: tiles over packed sequences, forward and backward.

use super::bias::Bias;
use super::tiles::Tiles;
use crate::launch::{Address, Argument, Compute, Gpu, Launch, arguments, blocks};
use crate::{Error, Heads, Result};

/// Head widths that have kernels; a narrower head runs in the next wider one.
pub(crate) const WIDTHS: [usize; 5] = [64, 80, 96, 128, 256];

/// One attention over a packed batch. A shared prompt and a bias exclude each other: the kernels take
/// the distance of two rows for that of their positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) heads: Heads,
    pub(crate) tokens: usize,
    pub(crate) scale: f32,
    pub(crate) causal: bool,
    pub(crate) compute: Compute,
    pub(crate) bias: Option<Bias>,
}

/// Rows and bytes of a kernel's tiles: `Shape` of cuda/attention.cuh.
#[derive(Clone, Copy, Debug)]
struct Shape {
    width: usize,
    row_bytes: usize,
    key_rows: usize,
    key_stages: usize,
    passing_rows: usize,
    stages: usize,
    halves: usize,
}

impl Shape {
    /// Of the kernel for heads of `width`, or `None` if there is none.
    fn new(width: usize, compute: Compute) -> Option<Self> {
        if width == 0 || !width.is_multiple_of(compute.pack()) {
            return None;
        }
        let width = WIDTHS.into_iter().find(|&kernel| width <= kernel)?;
        let bytes = width * compute.size();
        Some(Self {
            width,
            row_bytes: (width + compute.pack()) * compute.size(),
            key_rows: if bytes <= 256 {
                64
            } else if bytes <= 512 {
                32
            } else {
                16
            },
            key_stages: if bytes > 512 { 1 } else { 2 },
            passing_rows: if bytes < 256 {
                64
            } else if bytes == 256 {
                32
            } else {
                16
            },
            stages: if bytes > 512 { 1 } else { 2 },
            halves: if width > 128 { 2 } else { 1 },
        })
    }

    /// q, and the stages of k and v.
    fn forward_bytes(self) -> usize {
        (super::tiles::ROWS as usize + 2 * self.key_stages * self.key_rows) * self.row_bytes
    }

    /// Two tiles that stay, and the stages of two that pass.
    fn backward_bytes(self) -> usize {
        (2 * super::tiles::ROWS as usize + 2 * self.stages * self.passing_rows) * self.row_bytes
    }
}

impl Call {
    /// Checks that there is a kernel for the heads.
    ///
    /// # Errors
    /// If their width is too large or no multiple of 16 bytes.
    pub(crate) fn new(
        heads: Heads,
        tokens: usize,
        scale: f32,
        causal: bool,
        compute: Compute,
    ) -> Result<Self> {
        match Shape::new(heads.width, compute) {
            Some(_) => Ok(Self { heads, tokens, scale, causal, compute, bias: None }),
            None => Err(Error::HeadWidth { found: heads.width, step: compute.pack() }),
        }
    }

    fn shape(&self) -> Shape {
        let shape = Shape::new(self.heads.width, self.compute);
        shape.expect("the public function checked the width")
    }

    fn launch(
        &self,
        file: &'static str,
        kernel: &str,
        grid: [usize; 2],
        threads: usize,
        shared: usize,
        mut arguments: Vec<Argument>,
    ) -> Launch {
        let biased = if self.bias.is_some() { "_biased" } else { "" };
        if let Some(Bias { values, span, past }) = self.bias {
            arguments.extend(arguments![values, past as u32, (span - past - 1) as u32]);
        }
        let (compute, width) = (self.compute.name(), self.shape().width);
        Launch {
            file,
            kernel: format!("attention_{kernel}{biased}_{compute}_{width}"),
            grid: grid.map(|blocks| blocks as u32),
            threads: threads as u32,
            shared: shared as u32,
            arguments,
        }
    }

    /// `out` `(T, H D)` and `log_sums` `(H, T)` f32.
    pub(crate) fn forward(
        &self,
        gpu: &impl Gpu,
        query_tiles: Tiles,
        [out, log_sums, qkv]: [Address; 3],
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let arguments = arguments![
            out,
            log_sums,
            qkv,
            query_tiles.at,
            self.tokens as u32,
            query as u32,
            key_value as u32,
            width as u32,
            self.scale,
            self.causal,
        ];
        gpu.launch(self.launch(
            "attention",
            "forward",
            [query_tiles.count, query],
            128,
            self.shape().forward_bytes(),
            arguments,
        ))
    }

    /// The gradient of `qkv`, added to `sum` if `accumulate`; with a bias, and a place for them, also
    /// the sums of the scores' gradients by distance, a line for each tile of queries.
    pub(crate) fn backward(
        &self,
        gpu: &impl Gpu,
        [query_tiles, key_tiles]: [Tiles; 2],
        [sum, qkv, out, gradient, log_sums]: [Address; 5],
        accumulate: bool,
        by_distance: Option<Address>,
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let tokens = self.tokens;
        let deltas = gpu.allocate(query * tokens * 4)?;
        let delta = gpu.address(&deltas);
        let bytes = self.shape().backward_bytes();
        let arguments = |tiles: Tiles| {
            arguments![
                sum,
                qkv,
                gradient,
                log_sums,
                delta,
                tiles.at,
                tokens as u32,
                query as u32,
                key_value as u32,
                width as u32,
                self.scale,
                self.causal,
                accumulate,
            ]
        };
        let (grid, given) = ([query_tiles.count, query], arguments(query_tiles));
        if self.bias.is_some() {
            let given = given.clone();
            let kernel = "backward_deltas";
            gpu.launch(self.launch("attention_backward", kernel, grid, 128, bytes, given))?;
        } else {
            self.row_products(gpu, [delta, out, gradient])?;
        }
        let mut launch =
            self.launch("attention_backward", "backward_queries", grid, 128, bytes, given);
        if self.bias.is_some() {
            let place = by_distance.unwrap_or(delta);
            launch.arguments.extend(arguments![place, by_distance.is_some()]);
        }
        gpu.launch(launch)?;
        let (grid, given) = ([key_tiles.count, key_value], arguments(key_tiles));
        let threads = 128 * self.shape().halves;
        gpu.launch(self.launch("attention_backward", "backward_keys", grid, threads, bytes, given))
    }

    /// The sums of output times gradient, `(H, T)`.
    fn row_products(&self, gpu: &impl Gpu, places: [Address; 3]) -> Result<()> {
        let ([deltas, out, gradient], Heads { query, width, .. }) = (places, self.heads);
        let tokens = self.tokens;
        gpu.launch(Launch {
            file: "attention_backward",
            kernel: format!("attention_row_products_{}", self.compute.name()),
            grid: [blocks(tokens * query, 4), 1],
            threads: 128,
            shared: 0,
            arguments: arguments![deltas, out, gradient, tokens as u32, query as u32, width as u32],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_fits_a_block_of_every_listed_architecture() {
        for width in WIDTHS {
            for compute in [Compute::F32, Compute::Bf16] {
                let shape = Shape::new(width, compute).unwrap();
                // sm_89 has 99 KiB; f32 heads wider than 128 need the 163 KiB of sm_80 and sm_90.
                let wide = compute == Compute::F32 && width > 128;
                let limit = if wide { 163 << 10 } else { 99 << 10 };
                assert!(shape.forward_bytes() <= limit, "{width} {compute:?} {shape:?}");
                assert!(shape.backward_bytes() <= limit, "{width} {compute:?} {shape:?}");
            }
        }
    }

    #[test]
    fn a_narrow_head_runs_in_the_next_wider_kernel() {
        let width = |width, compute| Shape::new(width, compute).map(|shape| shape.width);
        assert_eq!(width(16, Compute::Bf16), Some(64));
        assert_eq!(width(72, Compute::Bf16), Some(80));
        assert_eq!(width(12, Compute::Bf16), None);
        assert_eq!(width(12, Compute::F32), Some(64));
        assert_eq!(width(264, Compute::F32), None);
    }
}
