//! Gated activations of a feed-forward layer (Shazeer, 2020, "GLU Variants Improve Transformer",
//! equation 6): `y = a(g) · u`, whatever the activation `a` is.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::device::points::{Gating, gated_backward, gated_forward};
use crate::device::rows::Rows;
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::parallel::ROWS;
use crate::simd::wide;
use crate::storage::Like;
use crate::{Result, storage};

/// An activation `a` of one number. Its functions must be inlined: see [`wide!`].
pub(crate) trait Gate: Copy + Sync {
    /// Its kernels on a GPU.
    const GATING: Gating;

    /// `a(x)`.
    fn value(self, x: f32) -> f32;

    /// `a(x)` and its derivative.
    fn value_and_slope(self, x: f32) -> (f32, f32);
}

/// Checks at the door of a public function that rows have halves; returns `(T, F)`.
pub(crate) fn halves(operation: &'static str, gate_up: &Tensor) -> Result<(usize, usize)> {
    let (tokens, columns) = gate_up.dims2()?;
    let width = (columns / 2).max(1);
    expect_shape(operation, "gate_up", gate_up.dims(), &[tokens, 2 * width])?;
    Ok((tokens, width))
}

/// `a(g) · u`, `(T, F)`.
pub(crate) fn forward<G: Gate>(gate_up: &Tensor, gate: G) -> Result<Tensor> {
    let (tokens, columns) = gate_up.dims2()?;
    let width = columns / 2;
    // SAFETY: each row is written below.
    let out = unsafe { Like::of(gate_up).shaped((tokens, width)).empty()? };
    if let Some(gpu) = Engine::of(gate_up.device())? {
        let places = [gpu.at(&out)?, gpu.at(gate_up)?];
        gated_forward(&*gpu, G::GATING, Rows::of(&out)?, places)?;
        return Ok(out);
    }
    let gate_up = storage::read(gate_up)?;
    storage::write(&out, |out| {
        let blocks = out.par_chunks_mut(ROWS * width).zip(gate_up.par_chunks(ROWS * columns));
        blocks.for_each(|(out, gate_up)| {
            wide!(|| {
                for (out, gate_up) in out.chunks_mut(width).zip(gate_up.chunks(columns)) {
                    let (gates, ups) = gate_up.split_at(width);
                    for ((out, x), up) in out.iter_mut().zip(gates).zip(ups) {
                        *out = gate.value(*x) * up;
                    }
                }
            });
        });
        Ok(())
    })?;
    Ok(out)
}

/// `dg = dy · u · a'(g)` and `du = dy · a(g)`, side by side as `gate_up` is.
pub(crate) fn input_gradient<G: Gate>(
    sum: &Tensor,
    gradient: &Tensor,
    gate_up: &Tensor,
    gate: G,
    accumulate: bool,
) -> Result<()> {
    if let Some(gpu) = Engine::of(gate_up.device())? {
        let places = [gpu.at(sum)?, gpu.at(gradient)?, gpu.at(gate_up)?];
        return gated_backward(&*gpu, G::GATING, Rows::of(gradient)?, places, accumulate);
    }
    let (_, columns) = gate_up.dims2()?;
    let width = columns / 2;
    let (gradient, gate_up) = (storage::read(gradient)?, storage::read(gate_up)?);
    storage::write(sum, |sum| {
        let blocks = sum.par_chunks_mut(ROWS * columns).zip(gradient.par_chunks(ROWS * width));
        blocks.zip(gate_up.par_chunks(ROWS * columns)).for_each(|((sum, gradient), gate_up)| {
            wide!(|| {
                let rows = sum.chunks_mut(columns).zip(gradient.chunks(width));
                for ((sum, gradient), gate_up) in rows.zip(gate_up.chunks(columns)) {
                    row_gradient(sum, gradient, gate_up, gate, accumulate);
                }
            });
        });
        Ok(())
    })
}

#[inline(always)]
fn row_gradient(
    sum: &mut [f32],
    gradient: &[f32],
    gate_up: &[f32],
    gate: impl Gate,
    accumulate: bool,
) {
    let width = gradient.len();
    let (d_gate, d_up) = sum.split_at_mut(width);
    let (gates, ups) = gate_up.split_at(width);
    let halves = d_gate.iter_mut().zip(d_up).zip(gates.iter().zip(ups));
    for (((d_gate, d_up), (&x, &up)), &gradient) in halves.zip(gradient) {
        let (value, slope) = gate.value_and_slope(x);
        let from_gate = gradient * up * slope;
        let from_up = gradient * value;
        *d_gate = if accumulate { *d_gate + from_gate } else { from_gate };
        *d_up = if accumulate { *d_up + from_up } else { from_up };
    }
}
