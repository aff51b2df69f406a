//! The gated activation of LLaMA's feed-forward layers: `y = silu(g) · u`, where `silu(g) = g σ(g)` and
//! `σ(g) = 1 / (1 + e⁻ᵍ)`.

use crate::device::points::Gating;
use crate::gated::{self, Gate, halves};
use crate::simd::exp;
use crate::storage::Like;
use crate::{Result, Tape, Value};

/// `silu(gate) · up`, where `gate` is the first half of each row and `up` the second.
///
/// # Shapes
/// `gate_up` `(T, 2F)`; returns `(T, F)`.
///
/// # Errors
/// If the rows have no halves.
pub fn swiglu<'a>(tape: &mut Tape<'a>, gate_up: &Value<'a>) -> Result<Value<'a>> {
    halves("swiglu", gate_up.tensor())?;
    let out = gated::forward(gate_up.tensor(), Silu)?;
    let (slot, kept, input) = (gate_up.slot(), tape.keep(gate_up), gate_up.tensor().clone());
    let out = tape.record(out, slot.is_some(), move |slots, gradient| {
        let gate_up = kept.get()?;
        slots.accumulate(slot, &Like::of(&gate_up), |sum, accumulate| {
            gated::input_gradient(sum, &gradient, &gate_up, Silu, accumulate)
        })
    });
    Ok(out.with_recipe(tape, move || gated::forward(&input, Silu)))
}

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    (1.0 + exp(-x)).recip()
}

#[derive(Clone, Copy)]
struct Silu;

impl Gate for Silu {
    const GATING: Gating = Gating::Swiglu;

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn value_and_slope(self, x: f32) -> (f32, f32) {
        let sigmoid = sigmoid(x);
        (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::support::{passes, prove, tensor};

    /// The specification.
    fn reference(gate_up: &[f64], width: usize) -> Vec<f64> {
        let rows = gate_up.chunks(2 * width).map(|row| row.split_at(width));
        let pairs = rows.flat_map(|(gate, up)| gate.iter().zip(up));
        pairs.map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect()
    }

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (tokens, width) in [(1, 1), (3, 33), (70, 5)] {
            let gate_up = (tensor((tokens, 2 * width), 1) * 4.0).unwrap();
            let reference = |given: &[Vec<f64>]| reference(&given[0], width);
            prove("swiglu", &[gate_up], &[], reference, |tape, leaves| swiglu(tape, &leaves[0]));
        }
    }

    #[test]
    fn a_gate_far_from_zero_is_open_or_shut_and_never_nan() {
        let huge = 2f32.powi(100);
        let gate_up = [[200., -200., huge, -huge, 3., 3., 3., 3.]];
        let gate_up = Tensor::new(&gate_up, &candle_core::Device::Cpu).unwrap();
        let found = passes(&[gate_up], &[], &[1.; 4], |tape, leaves| swiglu(tape, &leaves[0]));
        assert_eq!(found.output, [600., 0., 3. * huge, 0.]);
        assert_eq!(found.gradients[0], [3., 0., 3., 0., 200., 0., huge, 0.]);
    }

    #[test]
    fn rows_without_halves_are_refused() {
        let mut tape = Tape::inference();
        let error = swiglu(&mut tape, &Value::constant(tensor((2, 3), 1))).err().unwrap();
        assert_eq!(error.to_string(), "swiglu: gate_up has shape [2, 3], wanted [2, 2]");
    }
}
