//! Root-mean-square normalisation (Zhang and Sennrich, 2019, equation 4): `y = w · x / rms(x)`.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::device::rows::{self, Rows};
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::launch::Compute;
use crate::parallel::{ROWS, sum_over_row_blocks};
use crate::simd::{sum1, sum2, wide};
use crate::storage::Like;
use crate::{Parameter, Result, Tape, Value, storage};

/// `weight · x / sqrt(mean(x²) + epsilon)`, row by row, as numbers of the weight's type: `x` may be f32, a residual
/// stream, beside a weight in bf16.
///
/// # Shapes
/// `x` `(T, C)`, `weight` `(C,)`; returns `(T, C)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn rms_norm<'a>(
    tape: &mut Tape<'a>,
    x: &Value<'a>,
    weight: &'a Parameter,
    epsilon: f32,
) -> Result<Value<'a>> {
    let (_, channels) = x.tensor().dims2()?;
    expect_shape("rms_norm", "weight", weight.value().dims(), &[channels])?;
    let (out, inverse_rms) = forward(x.tensor(), weight.value(), epsilon)?;
    let needed = x.slot().is_some() || weight.is_trainable();
    let (slot, input) = (x.slot(), x.tensor().clone());
    let recipe_input = input.clone();
    let out = tape.record(out, needed, move |slots, gradient| {
        let x = &Input { x: &input, epsilon, inverse_rms: inverse_rms.as_ref() };
        slots.accumulate(slot, &Like::of(&input), |sum, accumulate| {
            input_gradient(sum, &gradient, x, weight.value(), accumulate)
        })?;
        weight.accumulate(|sum, _, accumulate| weight_gradient(sum, &gradient, x, accumulate))
    });
    let recipe = move || forward(&recipe_input, weight.value(), epsilon).map(|(out, _)| out);
    Ok(out.with_recipe(tape, recipe))
}

/// `1 / sqrt(mean(x²) + epsilon)` of one row.
#[inline(always)]
fn inverse_rms(x: &[f32], epsilon: f32) -> f32 {
    (sum1(x, |x| x * x) / x.len() as f32 + epsilon).sqrt().recip()
}

/// What was normalised. A GPU also keeps `1 / rms` of each row, `(T,)`; the CPU has it at hand.
struct Input<'t> {
    x: &'t Tensor,
    epsilon: f32,
    inverse_rms: Option<&'t Tensor>,
}

/// The output, and on a GPU `1 / rms` of each row.
fn forward(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<(Tensor, Option<Tensor>)> {
    let (tokens, channels) = x.dims2()?;
    // SAFETY: each row is written below.
    let out = unsafe { Like::of(x).of_type(weight.dtype()).empty()? };
    if let Some(gpu) = Engine::of(x.device())? {
        // SAFETY: the kernel writes it.
        let inverse_rms = unsafe { Like::of(x).wide().shaped(tokens).empty()? };
        let places = [gpu.at(&out)?, gpu.at(&inverse_rms)?, gpu.at(x)?, gpu.at(weight)?];
        rows::rms_norm_forward(&*gpu, Rows::of(&out)?, Compute::of(x)?, places, epsilon)?;
        return Ok((out, Some(inverse_rms)));
    }
    let (x, weight) = (storage::read(x)?, storage::read(weight)?);
    storage::write(&out, |out| {
        let blocks = out.par_chunks_mut(ROWS * channels).zip(x.par_chunks(ROWS * channels));
        blocks.for_each(|(out, x)| {
            wide!(|| {
                for (out, x) in out.chunks_mut(channels).zip(x.chunks(channels)) {
                    let scale = inverse_rms(x, epsilon);
                    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight.iter()) {
                        *out = weight * (x * scale);
                    }
                }
            });
        });
        Ok(())
    })?;
    Ok((out, None))
}

/// With `n = x / rms(x)` and `h = w · dy`: `dx = (h - n · mean(h · n)) / rms(x)`.
fn input_gradient(
    sum: &Tensor,
    gradient: &Tensor,
    input: &Input<'_>,
    weight: &Tensor,
    accumulate: bool,
) -> Result<()> {
    let &Input { x, epsilon, .. } = input;
    if let (Some(gpu), Some(inverse_rms)) = (Engine::of(x.device())?, input.inverse_rms) {
        let (norm, weight) = (gpu.at(inverse_rms)?, gpu.at(weight)?);
        let places = [gpu.at(sum)?, gpu.at(gradient)?, gpu.at(x)?, weight, norm];
        let (shape, stream) = (Rows::of(gradient)?, Compute::of(x)?);
        return rows::rms_norm_backward(&*gpu, shape, stream, places, accumulate);
    }
    let (_, channels) = x.dims2()?;
    let (gradient, x) = (storage::read(gradient)?, storage::read(x)?);
    let weight = storage::read(weight)?;
    storage::write(sum, |sum| {
        let block = ROWS * channels;
        let blocks = sum.par_chunks_mut(block).zip(gradient.par_chunks(block));
        blocks.zip(x.par_chunks(block)).for_each(|((sum, gradient), x)| {
            wide!(|| {
                let mut hidden = vec![0f32; channels];
                let rows = sum.chunks_mut(channels).zip(gradient.chunks(channels));
                for ((sum, gradient), x) in rows.zip(x.chunks(channels)) {
                    let scale = inverse_rms(x, epsilon);
                    for ((hidden, gradient), weight) in
                        hidden.iter_mut().zip(gradient).zip(weight.iter())
                    {
                        *hidden = gradient * weight;
                    }
                    let dot = sum2(&hidden, x, |hidden, x| hidden * x) * scale;
                    let mean = dot / channels as f32 * scale;
                    for ((sum, hidden), x) in sum.iter_mut().zip(&hidden).zip(x) {
                        let term = scale * (hidden - x * mean);
                        *sum = if accumulate { *sum + term } else { term };
                    }
                }
            });
        });
        Ok(())
    })
}

/// `dw = Σ over rows of dy · n`.
fn weight_gradient(
    sum: &Tensor,
    gradient: &Tensor,
    input: &Input<'_>,
    accumulate: bool,
) -> Result<()> {
    let &Input { x, epsilon, .. } = input;
    if let (Some(gpu), Some(inverse_rms)) = (Engine::of(x.device())?, input.inverse_rms) {
        let places = [gpu.at(sum)?, gpu.at(gradient)?, gpu.at(x)?, gpu.at(inverse_rms)?];
        let (shape, stream) = (Rows::of(gradient)?, Compute::of(x)?);
        return rows::rms_norm_weight_gradient(&*gpu, shape, stream, places, accumulate);
    }
    let (tokens, channels) = x.dims2()?;
    let (gradient, x) = (storage::read(gradient)?, storage::read(x)?);
    storage::write(sum, |sum| {
        if !accumulate {
            sum.fill(0.0);
        }
        sum_over_row_blocks(tokens, sum, |rows, partial| {
            wide!(|| {
                for row in rows {
                    let range = row * channels..(row + 1) * channels;
                    let (x, gradient) = (&x[range.clone()], &gradient[range]);
                    let scale = inverse_rms(x, epsilon);
                    for ((partial, x), gradient) in partial.iter_mut().zip(x).zip(gradient) {
                        *partial += gradient * (x * scale);
                    }
                }
            });
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{parameter, prove, tensor};

    /// The specification.
    fn reference(x: &[f64], weight: &[f64], epsilon: f64) -> Vec<f64> {
        let rows = x.chunks(weight.len()).flat_map(|x| {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / weight.len() as f64;
            x.iter().zip(weight).map(move |(x, weight)| weight * x / (mean + epsilon).sqrt())
        });
        rows.collect()
    }

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        // One channel normalised is ±1 but for epsilon: with a small one its gradient is all rounding.
        for (tokens, channels, epsilon) in [(1, 1, 0.5), (3, 33, 1e-5), (70, 5, 1e-5)] {
            let (x, weight) = (tensor((tokens, channels), 1), parameter(channels, 2));
            let reference =
                |given: &[Vec<f64>]| reference(&given[0], &given[1], f64::from(epsilon));
            prove("rms_norm", &[x], &[&weight], reference, |tape, leaves| {
                rms_norm(tape, &leaves[0], &weight, epsilon)
            });
        }
    }
}
