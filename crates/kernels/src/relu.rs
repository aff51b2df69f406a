//! What stays of a number above zero: the activation of the first T5's feed-forward layers.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::device::points::{Points, relu_backward, relu_forward};
use crate::engine::Engine;
use crate::storage::Like;
use crate::{Result, Tape, Value, storage};

/// Numbers that one thread takes at a time: 64 KiB.
const CHUNK: usize = 1 << 14;

/// `max(x, 0)`, whose derivative at 0 is 0.
///
/// # Shapes
/// Any; returns the same.
///
/// # Errors
/// If memory cannot be allocated.
pub fn relu<'a>(tape: &mut Tape<'a>, x: &Value<'a>) -> Result<Value<'a>> {
    let out = forward(x.tensor())?;
    let (slot, kept, input) = (x.slot(), tape.keep(x), x.tensor().clone());
    let out = tape.record(out, slot.is_some(), move |slots, gradient| {
        let x = kept.get()?;
        slots.accumulate(slot, &Like::of(&x), |sum, accumulate| {
            input_gradient(sum, &gradient, &x, accumulate)
        })
    });
    Ok(out.with_recipe(tape, move || forward(&input)))
}

fn forward(x: &Tensor) -> Result<Tensor> {
    // SAFETY: all of it is written below.
    let out = unsafe { Like::of(x).empty()? };
    if let Some(gpu) = Engine::of(x.device())? {
        relu_forward(&*gpu, Points::of(x)?, [gpu.at(&out)?, gpu.at(x)?])?;
        return Ok(out);
    }
    let x = storage::read(x)?;
    storage::write(&out, |out| {
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
            // Not `f32::max`, which would hide a NaN.
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = if x <= 0.0 { 0.0 } else { x });
        });
        Ok(())
    })?;
    Ok(out)
}

/// `dx = dy` where `x > 0`.
fn input_gradient(sum: &Tensor, gradient: &Tensor, x: &Tensor, accumulate: bool) -> Result<()> {
    if let Some(gpu) = Engine::of(x.device())? {
        let places = [gpu.at(sum)?, gpu.at(gradient)?, gpu.at(x)?];
        return relu_backward(&*gpu, Points::of(x)?, places, accumulate);
    }
    let (gradient, x) = (storage::read(gradient)?, storage::read(x)?);
    storage::write(sum, |sum| {
        let chunks = sum.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        chunks.zip(x.par_chunks(CHUNK)).for_each(|((sum, gradient), x)| {
            for ((sum, &gradient), &x) in sum.iter_mut().zip(gradient).zip(x) {
                let term = if x <= 0.0 { 0.0 } else { gradient };
                *sum = if accumulate { *sum + term } else { term };
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{passes, prove, tensor};

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for shape in [(1, 1), (3, 33), (70, 300)] {
            let reference =
                |given: &[Vec<f64>]| -> Vec<f64> { given[0].iter().map(|x| x.max(0.0)).collect() };
            prove("relu", &[tensor(shape, 1)], &[], reference, |tape, leaves| {
                relu(tape, &leaves[0])
            });
        }
    }

    #[test]
    fn nothing_passes_at_zero_and_a_nan_is_not_hidden() {
        let x = Tensor::new(&[0f32, -0.0, f32::NAN, 2.0], &candle_core::Device::Cpu).unwrap();
        let found = passes(&[x], &[], &[1.0; 4], |tape, leaves| relu(tape, &leaves[0]));
        assert!(found.output[2].is_nan());
        assert_eq!((found.output[0], found.output[1], found.output[3]), (0.0, 0.0, 2.0));
        assert_eq!(found.gradients[0], [0.0, 0.0, 1.0, 1.0]);
    }
}
