//! Residual addition.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::device::rows;
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::launch::Compute;
use crate::storage::Like;
use crate::{Result, Tape, Value, storage};

/// Elements that one thread takes at a time: 64 KiB.
const CHUNK: usize = 1 << 14;

/// `x + y`.
///
/// # Shapes
/// Any, the same for both.
///
/// # Errors
/// If the shapes differ.
pub fn add<'a>(tape: &mut Tape<'a>, x: &Value<'a>, y: &Value<'a>) -> Result<Value<'a>> {
    expect_shape("add", "y", y.tensor().dims(), x.tensor().dims())?;
    let out = copy(x.tensor())?;
    add_in_place(&out, y.tensor())?;
    let slots = (x.slot(), y.slot());
    let needed = slots.0.is_some() || slots.1.is_some();
    Ok(tape.record(out, needed, move |gradients, gradient| {
        // Both inputs receive the same numbers, and each will add to its own.
        let second = if slots.1.is_some() { Some(copy(&gradient)?) } else { None };
        gradients.give(slots.0, gradient)?;
        second.map_or(Ok(()), |second| gradients.give(slots.1, second))
    }))
}

/// A copy with storage of its own.
pub(crate) fn copy(x: &Tensor) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return Ok(x.force_contiguous()?);
    }
    // SAFETY: all of it is copied below.
    let out = unsafe { Like::of(x).empty()? };
    let from = storage::read(x)?;
    storage::write(&out, |to| {
        let chunks = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
        chunks.for_each(|(to, from)| to.copy_from_slice(from));
        Ok(())
    })?;
    Ok(out)
}

/// `sum += term`.
pub(crate) fn add_in_place(sum: &Tensor, term: &Tensor) -> Result<()> {
    expect_shape("add", "term", term.dims(), sum.dims())?;
    if let Some(gpu) = Engine::of(sum.device())? {
        let (at, places) = (gpu.at(sum)?, gpu.at(term)?);
        return rows::add(&*gpu, Compute::of(sum)?, [at, at, places], sum.elem_count());
    }
    let term = storage::read(term)?;
    storage::write(sum, |sum| {
        let chunks = sum.par_chunks_mut(CHUNK).zip(term.par_chunks(CHUNK));
        chunks
            .for_each(|(sum, term)| sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Recompute;
    use crate::support::{prove, tensor};

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for shape in [(1, 1), (3, 33)] {
            let inputs = [tensor(shape, 1), tensor(shape, 2)];
            let reference = |given: &[Vec<f64>]| -> Vec<f64> {
                given[0].iter().zip(&given[1]).map(|(x, y)| x + y).collect()
            };
            prove("add", &inputs, &[], reference, |tape, leaves| add(tape, &leaves[0], &leaves[1]));
        }
    }

    #[test]
    fn both_inputs_receive_the_gradient_and_a_value_used_twice_receives_it_twice() {
        let mut tape = Tape::recording(Recompute::None);
        let x = tape.leaf(Tensor::new(&[1f32, 2.], &Device::Cpu).unwrap());
        let y = tape.leaf(Tensor::new(&[10f32, 20.], &Device::Cpu).unwrap());
        let sum = add(&mut tape, &x, &y).unwrap();
        let sum = add(&mut tape, &sum, &x).unwrap();
        assert_eq!(sum.tensor().to_vec1::<f32>().unwrap(), [12., 24.]);
        let seed = Tensor::new(&[1f32, -1.], &Device::Cpu).unwrap();
        let slots = tape.backward(&sum, seed).unwrap();
        assert_eq!(slots.of(&x).unwrap().to_vec1::<f32>().unwrap(), [2., -2.]);
        assert_eq!(slots.of(&y).unwrap().to_vec1::<f32>().unwrap(), [1., -1.]);
    }
}
