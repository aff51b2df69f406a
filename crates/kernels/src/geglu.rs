//! The gated activation of T5 v1.1's feed-forward layers: `y = gelu(g) · u`, with the approximation
//! that its checkpoints were trained with, `gelu_new` of transformers (Hendrycks and Gimpel, 2016,
//! section 2): `gelu(g) = g/2 · (1 + tanh(√(2/π) (g + 0.044715 g³)))`.

use crate::device::points::Gating;
use crate::gated::{self, Gate, halves};
use crate::storage::Like;
use crate::swiglu::sigmoid;
use crate::{Result, Tape, Value};

/// `gelu(gate) · up`, where `gate` is the first half of each row and `up` the second.
///
/// # Shapes
/// `gate_up` `(T, 2F)`; returns `(T, F)`.
///
/// # Errors
/// If the rows have no halves.
pub fn geglu<'a>(tape: &mut Tape<'a>, gate_up: &Value<'a>) -> Result<Value<'a>> {
    halves("geglu", gate_up.tensor())?;
    let out = gated::forward(gate_up.tensor(), Gelu)?;
    let (slot, kept, input) = (gate_up.slot(), tape.keep(gate_up), gate_up.tensor().clone());
    let out = tape.record(out, slot.is_some(), move |slots, gradient| {
        let gate_up = kept.get()?;
        slots.accumulate(slot, &Like::of(&gate_up), |sum, accumulate| {
            gated::input_gradient(sum, &gradient, &gate_up, Gelu, accumulate)
        })
    });
    Ok(out.with_recipe(tape, move || gated::forward(&input, Gelu)))
}

/// `(1 + tanh z) / 2 = σ(2z)`: the same as silu's, but for what it is the sigmoid of.
#[derive(Clone, Copy)]
struct Gelu;

impl Gelu {
    /// `2 √(2/π)`.
    const FACTOR: f32 = 1.595_769_2;
    const CUBE: f32 = 0.044_715;
}

impl Gate for Gelu {
    const GATING: Gating = Gating::Geglu;

    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(Self::FACTOR * (x + Self::CUBE * (x * x * x)))
    }

    #[inline(always)]
    fn value_and_slope(self, x: f32) -> (f32, f32) {
        let sigmoid = sigmoid(Self::FACTOR * (x + Self::CUBE * (x * x * x)));
        let inner = Self::FACTOR * (1.0 + 3.0 * Self::CUBE * (x * x));
        // Far from zero `inner` may be infinite, and what it is times is 0.
        let flank = sigmoid * (1.0 - sigmoid);
        let bend = if flank == 0.0 { 0.0 } else { x * flank * inner };
        (x * sigmoid, sigmoid + bend)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::support::{passes, prove, tensor};

    /// The specification.
    fn reference(gate_up: &[f64], width: usize) -> Vec<f64> {
        let gelu = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        };
        let rows = gate_up.chunks(2 * width).map(|row| row.split_at(width));
        let pairs = rows.flat_map(|(gate, up)| gate.iter().zip(up));
        pairs.map(|(gate, up)| gelu(*gate) * up).collect()
    }

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (tokens, width) in [(1, 1), (3, 33), (70, 5)] {
            let gate_up = (tensor((tokens, 2 * width), 1) * 4.0).unwrap();
            let reference = |given: &[Vec<f64>]| reference(&given[0], width);
            prove("geglu", &[gate_up], &[], reference, |tape, leaves| geglu(tape, &leaves[0]));
        }
    }

    #[test]
    fn a_gate_far_from_zero_is_open_or_shut_and_never_nan() {
        let huge = 2f32.powi(100);
        let gate_up = [[200., -200., huge, -huge, 3., 3., 3., 3.]];
        let gate_up = Tensor::new(&gate_up, &candle_core::Device::Cpu).unwrap();
        let found = passes(&[gate_up], &[], &[1.; 4], |tape, leaves| geglu(tape, &leaves[0]));
        assert_eq!(found.output, [600., 0., 3. * huge, 0.]);
        assert_eq!(found.gradients[0], [3., 0., 3., 0., 200., 0., huge, 0.]);
    }

    #[test]
    fn rows_without_halves_are_refused() {
        let mut tape = Tape::inference();
        let error = geglu(&mut tape, &Value::constant(tensor((2, 3), 1))).err().unwrap();
        assert_eq!(error.to_string(), "geglu: gate_up has shape [2, 3], wanted [2, 2]");
    }
}
