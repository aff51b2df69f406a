//! A value times a constant.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::device::points::{self, Points};
use crate::engine::Engine;
use crate::storage::Like;
use crate::{Result, Tape, Value, storage};

/// Numbers that one thread takes at a time: 64 KiB.
const CHUNK: usize = 1 << 14;

/// `factor · x`; `x` itself if `factor` is 1.
///
/// # Shapes
/// Any; returns the same.
///
/// # Errors
/// If memory cannot be allocated.
pub fn scale<'a>(tape: &mut Tape<'a>, x: &Value<'a>, factor: f32) -> Result<Value<'a>> {
    if factor == 1.0 {
        return Ok(x.clone());
    }
    let out = scaled(x.tensor(), factor)?;
    let slot = x.slot();
    Ok(tape.record(out, slot.is_some(), move |slots, gradient| {
        slots.give(slot, scaled(&gradient, factor)?)
    }))
}

fn scaled(x: &Tensor, factor: f32) -> Result<Tensor> {
    // SAFETY: all of it is written below.
    let out = unsafe { Like::of(x).empty()? };
    if let Some(gpu) = Engine::of(x.device())? {
        points::scale(&*gpu, Points::of(x)?, [gpu.at(&out)?, gpu.at(x)?], factor)?;
        return Ok(out);
    }
    let x = storage::read(x)?;
    storage::write(&out, |out| {
        let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.for_each(|(out, x)| out.iter_mut().zip(x).for_each(|(out, x)| *out = factor * x));
        Ok(())
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{prove, tensor};

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (shape, factor) in [((1, 1), -2.0), ((70, 300), 0.125), ((3, 5), 1.0)] {
            let reference = |given: &[Vec<f64>]| -> Vec<f64> {
                given[0].iter().map(|x| f64::from(factor) * x).collect()
            };
            prove("scale", &[tensor(shape, 1)], &[], reference, |tape, leaves| {
                scale(tape, &leaves[0], factor)
            });
        }
    }
}
