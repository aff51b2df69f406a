//! Twins of what works row by row: norms, rope, gather, sums, and the head's softmax.

use candle_core::Tensor;

use crate::launch::{Address, Compute, Gpu, Launch, arguments, blocks, pack_grid};
use crate::{Result, Softening};

/// Rows whose sum a block writes to its line of partial sums: `ROWS_A_BLOCK` of the kernels.
pub(crate) const ROWS_A_BLOCK: usize = 128;

/// A matrix of activations, `rows` x `columns`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) compute: Compute,
}

impl Rows {
    /// The rows of a tensor, `(T, C)`.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        let (rows, columns) = tensor.dims2()?;
        Ok(Self { rows, columns, compute: Compute::of(tensor)? })
    }

    fn launch(
        self,
        file: &'static str,
        kernel: &str,
        grid: [u32; 2],
        threads: u32,
        arguments: Vec<crate::launch::Argument>,
    ) -> Launch {
        let kernel = format!("{kernel}_{}", self.compute.name());
        Launch { file, kernel, grid, threads, shared: 0, arguments }
    }

    /// What kernels are called whose residual stream, of type `stream`, may be wider than the rest.
    fn beside(self, kernel: &str, stream: Compute) -> String {
        let wide = if stream == self.compute { "" } else { "_wide" };
        format!("{kernel}{wide}")
    }

    /// A warp for each row, four in a block.
    fn warp_grid(self) -> [u32; 2] {
        [blocks(self.rows, 4), 1]
    }

    /// A lane for each pack of a row, `ROWS_A_BLOCK` rows in a block.
    fn column_grid(self) -> [u32; 2] {
        [blocks(self.columns, 32 * self.compute.pack()), blocks(self.rows, ROWS_A_BLOCK)]
    }
}

/// `out = weight · x · inverse_rms` for `x` of type `stream`, and `inverse_rms` `(T,)` f32 for the backward pass.
pub(crate) fn rms_norm_forward(
    gpu: &impl Gpu,
    shape: Rows,
    stream: Compute,
    [out, inverse_rms, x, weight]: [Address; 4],
    epsilon: f32,
) -> Result<()> {
    let Rows { rows, columns, .. } = shape;
    let arguments = arguments![out, inverse_rms, x, weight, rows as u64, columns as u32, epsilon];
    gpu.launch(shape.launch(
        "rms_norm",
        &shape.beside("rms_norm_forward", stream),
        shape.warp_grid(),
        128,
        arguments,
    ))
}

/// The gradient of `x`, of its type, added to `sum` if `accumulate`.
pub(crate) fn rms_norm_backward(
    gpu: &impl Gpu,
    shape: Rows,
    stream: Compute,
    [sum, gradient, x, weight, inverse_rms]: [Address; 5],
    accumulate: bool,
) -> Result<()> {
    let Rows { rows, columns, .. } = shape;
    let arguments =
        arguments![sum, gradient, x, weight, inverse_rms, rows as u64, columns as u32, accumulate];
    gpu.launch(shape.launch(
        "rms_norm",
        &shape.beside("rms_norm_backward", stream),
        shape.warp_grid(),
        128,
        arguments,
    ))
}

/// The gradient of the norm's weight, `(C,)` f32.
pub(crate) fn rms_norm_weight_gradient(
    gpu: &impl Gpu,
    shape: Rows,
    stream: Compute,
    [sum, gradient, x, inverse_rms]: [Address; 4],
    accumulate: bool,
) -> Result<()> {
    let Rows { rows, columns, .. } = shape;
    let grid = shape.column_grid();
    let partial = gpu.allocate(grid[1] as usize * columns * 4)?;
    let lines = gpu.address(&partial);
    let arguments = arguments![lines, gradient, x, inverse_rms, rows as u64, columns as u32];
    gpu.launch(shape.launch(
        "rms_norm",
        &shape.beside("rms_norm_weight_gradient", stream),
        grid,
        256,
        arguments,
    ))?;
    sum_lines(gpu, sum, lines, grid[1], columns, accumulate)
}

/// The sum of each column of `x`, `(C,)` f32: a bias's gradient. A row of `x` may be part of a row of
/// `pitch` numbers.
pub(crate) fn column_sums(
    gpu: &impl Gpu,
    shape: Rows,
    pitch: usize,
    [sum, x]: [Address; 2],
    accumulate: bool,
) -> Result<()> {
    let Rows { rows, columns, .. } = shape;
    let grid = shape.column_grid();
    let partial = gpu.allocate(grid[1] as usize * columns * 4)?;
    let lines = gpu.address(&partial);
    let arguments = arguments![lines, x, rows as u64, columns as u32, pitch as u64];
    gpu.launch(shape.launch("reduce", "column_sums", grid, 256, arguments))?;
    sum_lines(gpu, sum, lines, grid[1], columns, accumulate)
}

/// Adds up the lines of `partial` `(lines, columns)`, first to last.
pub(crate) fn sum_lines(
    gpu: &impl Gpu,
    sum: Address,
    partial: Address,
    lines: u32,
    columns: usize,
    accumulate: bool,
) -> Result<()> {
    gpu.launch(Launch {
        file: "reduce",
        kernel: "sum_lines".to_owned(),
        grid: [blocks(columns, 256), 1],
        threads: 256,
        shared: 0,
        arguments: arguments![sum, partial, lines, columns as u32, accumulate],
    })
}

/// Turns `turning` heads of each row of `qkv` in place; `shape.columns` are all its channels.
pub(crate) fn rope(
    gpu: &impl Gpu,
    shape: Rows,
    [qkv, cosine, sine, positions]: [Address; 4],
    turning: usize,
    half_width: usize,
    direction: f32,
) -> Result<()> {
    let grid = [blocks(turning * half_width, 256), shape.rows.clamp(1, 65_535) as u32];
    let arguments = arguments![
        qkv,
        cosine,
        sine,
        positions,
        shape.rows as u64,
        shape.columns as u32,
        turning as u32,
        half_width as u32,
        direction,
    ];
    gpu.launch(shape.launch("rope", "rope", grid, 256, arguments))
}

/// `out[p] = table[indices[p]]`, for `shape.rows` of them; `out` is of type `stream`.
pub(crate) fn gather(
    gpu: &impl Gpu,
    shape: Rows,
    stream: Compute,
    [out, table, indices]: [Address; 3],
) -> Result<()> {
    if shape.rows == 0 {
        return Ok(());
    }
    let grid = pack_grid(shape.rows, shape.columns, shape.compute, 128);
    let arguments = arguments![out, table, indices, shape.rows as u64, shape.columns as u32];
    gpu.launch(shape.launch("gather", &shape.beside("gather", stream), grid, 128, arguments))
}

/// Positions sorted by the row they point at, and where each row's begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Positions, those of one row together and in order.
    pub(crate) order: Vec<u32>,
    /// Where in `order` each row's positions start, with the end: one more than `targets`.
    pub(crate) starts: Vec<u32>,
    /// The rows, each once, counted from the first wanted one.
    pub(crate) targets: Vec<u32>,
}

impl Segments {
    /// Sorts the positions whose index is among `rows`.
    pub(crate) fn new(indices: &[u32], rows: std::ops::Range<usize>) -> Self {
        let row_of = |position: &u32| indices[*position as usize];
        let inside = |position: &u32| rows.contains(&(row_of(position) as usize));
        let mut order: Vec<u32> = (0..indices.len() as u32).filter(inside).collect();
        // A stable sort: the positions of one row stay in order.
        order.sort_by_key(row_of);
        let (mut starts, mut targets) = (vec![0], Vec::new());
        for segment in order.chunk_by(|left, right| row_of(left) == row_of(right)) {
            starts.push(starts[targets.len()] + segment.len() as u32);
            targets.push(row_of(&segment[0]) - rows.start as u32);
        }
        Self { order, starts, targets }
    }
}

/// `sum[target] += gradient` over each segment. `sum` is f32 if it is a weight's gradient, and of
/// the gradient's type otherwise; it has been zeroed, or holds a sum already.
pub(crate) fn scatter(
    gpu: &impl Gpu,
    shape: Rows,
    [sum, gradient]: [Address; 2],
    segments: &Segments,
    to_weight: bool,
) -> Result<()> {
    if segments.targets.is_empty() {
        return Ok(());
    }
    let (order, starts) = (gpu.upload(&segments.order)?, gpu.upload(&segments.starts)?);
    let targets = gpu.upload(&segments.targets)?;
    let count = segments.targets.len();
    let arguments = arguments![
        sum,
        gradient,
        gpu.address(&order),
        gpu.address(&starts),
        gpu.address(&targets),
        count as u64,
        shape.columns as u32,
    ];
    let kernel = if to_weight { "scatter_to_weight" } else { "scatter" };
    let grid = pack_grid(count, shape.columns, shape.compute, 128);
    gpu.launch(shape.launch("gather", kernel, grid, 128, arguments))
}

/// `out = a + b`, number by number; `out` may be `a`.
pub(crate) fn add(
    gpu: &impl Gpu,
    compute: Compute,
    [out, a, b]: [Address; 3],
    count: usize,
) -> Result<()> {
    let shape = Rows { rows: 1, columns: count, compute };
    let grid = [blocks(count, 256 * compute.pack()), 1];
    gpu.launch(shape.launch("add", "add", grid, 256, arguments![out, a, b, count as u64]))
}

/// Adds `bias` to each row of `out`.
pub(crate) fn add_bias(gpu: &impl Gpu, shape: Rows, [out, bias]: [Address; 2]) -> Result<()> {
    let grid = pack_grid(shape.rows, shape.columns, shape.compute, 128);
    let arguments = arguments![out, bias, shape.rows as u64, shape.columns as u32];
    gpu.launch(shape.launch("add", "add_bias", grid, 128, arguments))
}

/// Log-probabilities of the targets and log-sums of `rows` rows of f32 logits, and in `softened` the softened
/// log-probabilities if they are asked for.
pub(crate) fn head_logprob(
    gpu: &impl Gpu,
    [logprobs, log_sums, logits, targets]: [Address; 4],
    softened: Option<(Address, Softening)>,
    rows: usize,
    vocabulary: usize,
) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let plain = arguments![logprobs, log_sums, logits, targets, vocabulary as u32];
    let (kernel, arguments) = match softened {
        None => ("head_logprob", plain),
        Some((softened, Softening { label_smoothing, z_loss })) => {
            let numbers = arguments![label_smoothing as f32, z_loss as f32];
            ("head_softened", [arguments![softened], plain, numbers].concat())
        }
    };
    gpu.launch(Launch {
        file: "head",
        kernel: kernel.to_owned(),
        grid: [blocks(rows, 1), 1],
        threads: 512,
        shared: 0,
        arguments,
    })
}

/// The gradient of the logits, `(rows, vocabulary)`, from that of the (softened) log-probabilities.
pub(crate) fn head_gradient(
    gpu: &impl Gpu,
    compute: Compute,
    [out, logits, log_sums, seeds, targets]: [Address; 5],
    Softening { label_smoothing, z_loss }: Softening,
    rows: usize,
    vocabulary: usize,
) -> Result<()> {
    if rows == 0 {
        return Ok(());
    }
    let shape = Rows { rows, columns: vocabulary, compute };
    let (words, smoothing, z_loss) = (vocabulary as u32, label_smoothing as f32, z_loss as f32);
    let arguments = arguments![out, logits, log_sums, seeds, targets, words, smoothing, z_loss];
    gpu.launch(shape.launch("head", "head_gradient", [blocks(rows, 1), 1], 512, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_hold_each_position_once_under_its_row() {
        let segments = Segments::new(&[7, 3, 7, 9, 3, 1], 2..9);
        assert_eq!(segments.order, [1, 4, 0, 2]);
        assert_eq!(segments.starts, [0, 2, 4]);
        assert_eq!(segments.targets, [1, 5]);
        assert_eq!(Segments::new(&[5], 0..3).starts, [0]);
    }
}
