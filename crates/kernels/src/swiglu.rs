//! The gated activation of a feed-forward layer (Shazeer, 2020, "GLU Variants Improve
//! Transformer", equation 6): `y = silu(g) · u`, where `silu(g) = g σ(g)` and `σ(g) = 1 / (1 + e⁻ᵍ)`.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::expect_shape;
use crate::parallel::ROWS;
use crate::simd::{exp, wide};
use crate::{Result, Tape, Value, storage};

/// `silu(gate) · up`, where `gate` is the first half of each row and `up` the second.
///
/// # Shapes
/// `gate_up` `(T, 2F)`; returns `(T, F)`.
///
/// # Errors
/// If the rows have no halves.
pub fn swiglu<'a>(tape: &mut Tape<'a>, gate_up: &Value<'a>) -> Result<Value<'a>> {
    let (tokens, columns) = gate_up.tensor().dims2()?;
    let wanted = [tokens, 2 * (columns / 2).max(1)];
    expect_shape("swiglu", "gate_up", gate_up.tensor().dims(), &wanted)?;
    let out = forward(gate_up.tensor())?;
    let (slot, kept, input) = (gate_up.slot(), tape.keep(gate_up), gate_up.tensor().clone());
    let out = tape.record(out, slot.is_some(), move |slots, gradient| {
        let gate_up = kept.get()?;
        slots.accumulate(slot, gate_up.shape(), gate_up.device(), |sum, accumulate| {
            input_gradient(sum, &gradient, &gate_up, accumulate)
        })
    });
    Ok(out.with_recipe(tape, move || forward(&input)))
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    (1.0 + exp(-x)).recip()
}

fn forward(gate_up: &Tensor) -> Result<Tensor> {
    let (tokens, columns) = gate_up.dims2()?;
    let width = columns / 2;
    let out = storage::empty((tokens, width), gate_up.device())?;
    let gate_up = storage::read(gate_up)?;
    storage::write(&out, |out| {
        let blocks = out.par_chunks_mut(ROWS * width).zip(gate_up.par_chunks(ROWS * columns));
        blocks.for_each(|(out, gate_up)| {
            wide(|| {
                for (out, gate_up) in out.chunks_mut(width).zip(gate_up.chunks(columns)) {
                    let (gate, up) = gate_up.split_at(width);
                    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                        *out = gate * sigmoid(*gate) * up;
                    }
                }
            });
        });
        Ok(())
    })?;
    Ok(out)
}

/// `dg = dy · u · σ (1 + g (1 - σ))` and `du = dy · silu(g)`, side by side as `gate_up` is.
fn input_gradient(
    sum: &Tensor,
    gradient: &Tensor,
    gate_up: &Tensor,
    accumulate: bool,
) -> Result<()> {
    let (_, columns) = gate_up.dims2()?;
    let width = columns / 2;
    let (gradient, gate_up) = (storage::read(gradient)?, storage::read(gate_up)?);
    storage::write(sum, |sum| {
        let blocks = sum.par_chunks_mut(ROWS * columns).zip(gradient.par_chunks(ROWS * width));
        blocks.zip(gate_up.par_chunks(ROWS * columns)).for_each(|((sum, gradient), gate_up)| {
            wide(|| {
                let rows = sum.chunks_mut(columns).zip(gradient.chunks(width));
                for ((sum, gradient), gate_up) in rows.zip(gate_up.chunks(columns)) {
                    row_gradient(sum, gradient, gate_up, accumulate);
                }
            });
        });
        Ok(())
    })
}

#[inline(always)]
fn row_gradient(sum: &mut [f32], gradient: &[f32], gate_up: &[f32], accumulate: bool) {
    let width = gradient.len();
    let (d_gate, d_up) = sum.split_at_mut(width);
    let (gate, up) = gate_up.split_at(width);
    let halves = d_gate.iter_mut().zip(d_up).zip(gate.iter().zip(up));
    for (((d_gate, d_up), (&gate, &up)), &gradient) in halves.zip(gradient) {
        let sigmoid = sigmoid(gate);
        let from_gate = gradient * up * (sigmoid * (1.0 + gate * (1.0 - sigmoid)));
        let from_up = gradient * (gate * sigmoid);
        *d_gate = if accumulate { *d_gate + from_gate } else { from_gate };
        *d_up = if accumulate { *d_up + from_up } else { from_up };
    }
}
