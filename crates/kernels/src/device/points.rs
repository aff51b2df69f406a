//! Twins of what works number by number: gated activations, relu, dropout, a constant factor.

use candle_core::Tensor;

use super::rows::Rows;
use crate::Result;
use crate::dropout::Mask;
use crate::launch::{Address, Argument, Compute, Gpu, Launch, arguments, blocks, pack_grid};

/// The activation of a gated feed-forward layer: how its kernels begin.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gating {
    Swiglu,
    Geglu,
}

impl Gating {
    fn file(self) -> &'static str {
        match self {
            Self::Swiglu => "swiglu",
            Self::Geglu => "geglu",
        }
    }

    fn launch(self, direction: &str, shape: Rows, arguments: Vec<Argument>) -> Launch {
        let file = self.file();
        let kernel = format!("{file}_{direction}_{}", shape.compute.name());
        let grid = pack_grid(shape.rows, shape.columns, shape.compute, 128);
        Launch { file, kernel, grid, threads: 128, shared: 0, arguments }
    }
}

/// `a(gate) · up`; `shape.columns` is `F`, half of a row of `gate_up`.
pub(crate) fn gated_forward(
    gpu: &impl Gpu,
    gating: Gating,
    shape: Rows,
    [out, gate_up]: [Address; 2],
) -> Result<()> {
    let arguments = arguments![out, gate_up, shape.rows as u64, shape.columns as u32];
    gpu.launch(gating.launch("forward", shape, arguments))
}

/// The gradient of `gate_up`.
pub(crate) fn gated_backward(
    gpu: &impl Gpu,
    gating: Gating,
    shape: Rows,
    [sum, gradient, gate_up]: [Address; 3],
    accumulate: bool,
) -> Result<()> {
    let arguments =
        arguments![sum, gradient, gate_up, shape.rows as u64, shape.columns as u32, accumulate];
    gpu.launch(gating.launch("backward", shape, arguments))
}

/// Some numbers, whatever their shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points {
    pub(crate) count: usize,
    pub(crate) compute: Compute,
}

impl Points {
    /// Those of a tensor.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self { count: tensor.elem_count(), compute: Compute::of(tensor)? })
    }

    fn launch(self, file: &'static str, kernel: &str, arguments: Vec<Argument>) -> Launch {
        let kernel = format!("{kernel}_{}", self.compute.name());
        let grid = [blocks(self.count, 256 * self.compute.pack()), 1];
        Launch { file, kernel, grid, threads: 256, shared: 0, arguments }
    }
}

/// `max(x, 0)`.
pub(crate) fn relu_forward(gpu: &impl Gpu, points: Points, [out, x]: [Address; 2]) -> Result<()> {
    gpu.launch(points.launch("relu", "relu_forward", arguments![out, x, points.count as u64]))
}

/// The gradient of `x`, added to `sum` if `accumulate`.
pub(crate) fn relu_backward(
    gpu: &impl Gpu,
    points: Points,
    [sum, gradient, x]: [Address; 3],
    accumulate: bool,
) -> Result<()> {
    let arguments = arguments![sum, gradient, x, points.count as u64, accumulate];
    gpu.launch(points.launch("relu", "relu_backward", arguments))
}

/// `factor · x`.
pub(crate) fn scale(
    gpu: &impl Gpu,
    points: Points,
    [out, x]: [Address; 2],
    factor: f32,
) -> Result<()> {
    gpu.launch(points.launch("scale", "scale", arguments![out, x, points.count as u64, factor]))
}

/// What `mask` leaves of `x`, which may be wider than `out`; `points` are those of `out`.
pub(crate) fn dropout(
    gpu: &impl Gpu,
    points: Points,
    from: Compute,
    [out, x]: [Address; 2],
    mask: Mask,
) -> Result<()> {
    let kernel = if from == points.compute { "dropout" } else { "dropout_narrowing" };
    let mut arguments = arguments![out, x, points.count as u64];
    arguments.extend(mask.arguments());
    gpu.launch(points.launch("dropout", kernel, arguments))
}

/// `sum = residual + what the mask leaves of sum`.
pub(crate) fn dropout_add(
    gpu: &impl Gpu,
    points: Points,
    [sum, residual]: [Address; 2],
    mask: Mask,
) -> Result<()> {
    let mut arguments = arguments![sum, residual, points.count as u64];
    arguments.extend(mask.arguments());
    gpu.launch(points.launch("dropout", "dropout_add", arguments))
}
