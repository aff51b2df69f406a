//! The twin of `attention`: tiles over packed sequences, forward and backward.

use super::bias::Bias;
use super::tiles::Tiles;
use crate::dropout::Mask;
use crate::launch::{Address, Argument, Compute, Gpu, Launch, arguments, blocks};
use crate::{Error, Heads, Result};

/// Head widths that have kernels; a narrower head runs in the next wider one.
pub(crate) const WIDTHS: [usize; 5] = [64, 80, 96, 128, 256];

/// Those that have kernels which drop weights.
const DROPPED_WIDTHS: [usize; 3] = [64, 128, 256];

/// One attention over a packed batch, or of one to another. A shared prompt and a bias exclude each
/// other: the kernels take the distance of two rows for that of their positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) heads: Heads,
    /// Rows of queries.
    pub(crate) tokens: usize,
    pub(crate) scale: f32,
    pub(crate) causal: bool,
    pub(crate) compute: Compute,
    pub(crate) bias: Option<Bias>,
    /// What is dropped of the weights; there is a bias then too.
    pub(crate) dropout: Option<Mask>,
}

/// Where rows of queries are, and those of keys and values: parts of one `qkv`, or tensors of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    q: Address,
    /// The first head of k; those of v follow those of k.
    k: Address,
    /// Numbers from one row to the next.
    q_stride: usize,
    k_stride: usize,
}

impl Streams {
    /// The parts of `qkv`, or of its gradient.
    pub(crate) fn packed(heads: Heads, compute: Compute, qkv: Address) -> Self {
        let (k, stride) = (qkv.after(heads.k(0).start, compute.size()), heads.channels());
        Self { q: qkv, k, q_stride: stride, k_stride: stride }
    }

    /// `q` `(T, H D)` and `kv` `(S, 2 G D)`, or their gradients.
    pub(crate) fn apart(heads: Heads, [q, kv]: [Address; 2]) -> Self {
        let k_stride = 2 * heads.key_value * heads.width;
        Self { q, k: kv, q_stride: heads.output_channels(), k_stride }
    }

    fn arguments(self) -> Vec<Argument> {
        arguments![self.q, self.k, self.q_stride as u32, self.k_stride as u32]
    }
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
    /// Of the kernel for heads of `width`, one of those that drop weights if asked, or `None` if there
    /// is none.
    fn new(width: usize, compute: Compute, drops: bool) -> Option<Self> {
        if width == 0 || !width.is_multiple_of(compute.pack()) {
            return None;
        }
        let widths = if drops { &DROPPED_WIDTHS[..] } else { &WIDTHS };
        let width = widths.iter().copied().find(|&kernel| width <= kernel)?;
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
        match Shape::new(heads.width, compute, false) {
            Some(_) => {
                Ok(Self { heads, tokens, scale, causal, compute, bias: None, dropout: None })
            }
            None => Err(Error::HeadWidth { found: heads.width, step: compute.pack() }),
        }
    }

    fn shape(&self) -> Shape {
        let shape = Shape::new(self.heads.width, self.compute, self.dropout.is_some());
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
        let kind = match (self.bias, self.dropout) {
            (_, Some(_)) => "_dropped",
            (Some(_), None) => "_biased",
            (None, None) => "",
        };
        if let Some(Bias { values, span, past }) = self.bias {
            arguments.extend(arguments![values, past as u32, (span - past - 1) as u32]);
        }
        arguments.extend(self.dropout.into_iter().flat_map(Mask::arguments));
        let (compute, width) = (self.compute.name(), self.shape().width);
        Launch {
            file,
            kernel: format!("attention_{kernel}{kind}_{compute}_{width}"),
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
        [out, log_sums]: [Address; 2],
        from: Streams,
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let mut all = arguments![out, log_sums];
        all.extend(from.arguments());
        all.extend(arguments![
            query_tiles.at,
            self.tokens as u32,
            query as u32,
            key_value as u32,
            width as u32,
            self.scale,
            self.causal,
        ]);
        let (grid, bytes) = ([query_tiles.count, query], self.shape().forward_bytes());
        gpu.launch(self.launch("attention", "forward", grid, 128, bytes, all))
    }

    /// The gradients of `from`, added to `sums` if `accumulate`; with a bias, and a place for them, also
    /// the sums of the scores' gradients by distance, a line for each tile of queries.
    pub(crate) fn backward(
        &self,
        gpu: &impl Gpu,
        [query_tiles, key_tiles]: [Tiles; 2],
        [sums, from]: [Streams; 2],
        [out, gradient, log_sums]: [Address; 3],
        accumulate: bool,
        by_distance: Option<Address>,
    ) -> Result<()> {
        let Heads { query, key_value, width } = self.heads;
        let tokens = self.tokens;
        let deltas = gpu.allocate(query * tokens * 4)?;
        let delta = gpu.address(&deltas);
        let (file, bytes) = ("attention_backward", self.shape().backward_bytes());
        let arguments = |sum: Address, tiles: Tiles| {
            let mut all = arguments![sum];
            all.extend(from.arguments());
            all.extend(arguments![
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
            ]);
            all
        };
        let (grid, given) = ([query_tiles.count, query], arguments(sums.q, query_tiles));
        if self.bias.is_some_and(Bias::tells_distances_apart) {
            let given = given.clone();
            gpu.launch(self.launch(file, "backward_deltas", grid, 128, bytes, given))?;
        } else {
            self.row_products(gpu, [delta, out, gradient])?;
        }
        let mut launch = self.launch(file, "backward_queries", grid, 128, bytes, given);
        if self.bias.is_some() {
            let place = by_distance.unwrap_or(delta);
            launch.arguments.extend(arguments![place, by_distance.is_some()]);
        }
        gpu.launch(launch)?;
        let (grid, given) = ([key_tiles.count, key_value], arguments(sums.k, key_tiles));
        let threads = 128 * self.shape().halves;
        gpu.launch(self.launch(file, "backward_keys", grid, threads, bytes, given))
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
                let shape = Shape::new(width, compute, false).unwrap();
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
        let width = |width, compute| Shape::new(width, compute, false).map(|shape| shape.width);
        assert_eq!(width(16, Compute::Bf16), Some(64));
        assert_eq!(width(72, Compute::Bf16), Some(80));
        assert_eq!(width(12, Compute::Bf16), None);
        assert_eq!(width(12, Compute::F32), Some(64));
        assert_eq!(width(264, Compute::F32), None);
        let dropped = |width| Shape::new(width, Compute::Bf16, true).map(|shape| shape.width);
        assert_eq!([dropped(64), dropped(72), dropped(136)], [Some(64), Some(128), Some(256)]);
    }
}
