//! The end of a step: the gradient's norm, clipping, and AdamW or Adafactor over every trained tensor.

use candle_core::{DType, Tensor};

use crate::adamw::Factors;
use crate::device::{adafactor as by_rows, update};
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::launch::{Address, Gpu};
use crate::storage::Like;
use crate::{
    AdafactorState, AdafactorStep, AdamWStep, Later, Moments, Result, adafactor, adamw, adamw_int8,
    squared_norm,
};

/// One tensor that an update changes; all of the same shape.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The weights in f32, where small updates add up; on a GPU they may be bf16 alone, and then each
    /// update rounds them by chance.
    pub weights: Tensor,
    /// The weights that the model computes with, where those are bf16 beside the ones in f32.
    pub rounded: Option<Tensor>,
    /// The gradient, f32.
    pub gradient: Tensor,
    /// What the optimizer keeps of it.
    pub moments: Moments,
    /// Share of a weight that an update takes away, times the learning rate.
    pub weight_decay: f64,
}

/// Updates all tensors by gradients that are clipped together to the norm `longest` (0: not at all),
/// as `torch.nn.utils.clip_grad_norm_` clips them. Returns the norm before clipping: where it is not
/// finite, nothing was changed.
///
/// `step` holds what is common to the tensors: its weight decay and gradient scale are not used.
///
/// # Errors
/// If the shapes of a tensor differ, or the device fails.
pub fn clip_and_update(tensors: &[Trained], step: &AdamWStep, longest: f64) -> Result<Later<f64>> {
    let Some(first) = tensors.first() else { return Ok(Later::here(0.0)) };
    if let Some(gpu) = Engine::of(first.weights.device())? {
        return on_gpu(&gpu, tensors, step, longest);
    }
    let (norm, clipped) = clip(tensors.iter().map(|tensor| &tensor.gradient), longest)?;
    let Some(gradient_scale) = clipped else { return Ok(Later::here(norm)) };
    for tensor in tensors {
        let step = AdamWStep { weight_decay: tensor.weight_decay, gradient_scale, ..*step };
        let Trained { weights, gradient, .. } = tensor;
        match &tensor.moments {
            Moments::F32 { first, second } => {
                adamw(weights, gradient, first.tensor()?, second.tensor()?, &step)?;
            }
            Moments::Int8 { first, second } => {
                adamw_int8(weights, gradient, first, second, &step)?;
            }
        }
    }
    Ok(Later::here(norm))
}

/// One tensor that an update by Adafactor changes.
#[derive(Clone, Debug)]
pub struct Factored {
    /// As of [`Trained`].
    pub weights: Tensor,
    /// As of [`Trained`].
    pub rounded: Option<Tensor>,
    /// The gradient, f32, of their shape.
    pub gradient: Tensor,
    /// What the optimizer keeps of it.
    pub state: AdafactorState,
    /// Share of a weight that an update takes away, times the rate.
    pub weight_decay: f64,
}

/// As [`clip_and_update`], by Adafactor.
///
/// `step` holds what is common to the tensors: its weight decay and gradient scale are not used.
///
/// # Errors
/// If the shapes of a tensor differ, or the device fails.
pub fn clip_and_adafactor(
    tensors: &[Factored],
    step: &AdafactorStep,
    longest: f64,
) -> Result<Later<f64>> {
    let Some(first) = tensors.first() else { return Ok(Later::here(0.0)) };
    if let Some(gpu) = Engine::of(first.weights.device())? {
        return adafactor_on_gpu(&gpu, tensors, step, longest);
    }
    let (norm, clipped) = clip(tensors.iter().map(|tensor| &tensor.gradient), longest)?;
    let Some(gradient_scale) = clipped else { return Ok(Later::here(norm)) };
    for Factored { weights, gradient, state, weight_decay, .. } in tensors {
        let step = AdafactorStep { weight_decay: *weight_decay, gradient_scale, ..*step };
        adafactor(weights, gradient, state, &step)?;
    }
    Ok(Later::here(norm))
}

/// The norm of all gradients together, and what they are multiplied by: nothing, where the norm is not
/// finite.
fn clip<'t>(
    gradients: impl Iterator<Item = &'t Tensor>,
    longest: f64,
) -> Result<(f64, Option<f32>)> {
    let mut squares = 0.0;
    for gradient in gradients {
        squares += squared_norm(gradient)?;
    }
    let norm = squares.sqrt();
    // The small constant is PyTorch's.
    let clipped = if longest == 0.0 { 1.0 } else { (longest / (norm + 1e-6)).min(1.0) };
    Ok((norm, norm.is_finite().then_some(clipped as f32)))
}

/// The norm of all gradients together on the GPU, and what they are multiplied by: `(2,)`.
fn clip_on_gpu<'t>(
    gpu: &Engine,
    gradients: impl Iterator<Item = &'t Tensor> + Clone,
    longest: f64,
) -> Result<Tensor> {
    let like = gradients.clone().next().expect("something is trained");
    // SAFETY: `clip` writes both numbers.
    let norm = unsafe { Like::of(like).wide().shaped(2).empty()? };
    let gradients = gradients.map(|gradient| Ok((gpu.at(gradient)?, gradient.elem_count())));
    let gradients = gradients.collect::<Result<Vec<_>>>()?;
    update::clip(gpu, gpu.at(&norm)?, &gradients, (longest > 0.0).then_some(longest as f32))?;
    Ok(norm)
}

/// Where the f32 weights are, and those that are bf16: one of them at least.
fn places(
    gpu: &Engine,
    weights: &Tensor,
    rounded: Option<&Tensor>,
) -> Result<[Option<Address>; 2]> {
    Ok(match rounded {
        Some(rounded) => [Some(gpu.at(weights)?), Some(gpu.at(rounded)?)],
        None if weights.dtype() == DType::BF16 => [None, Some(gpu.at(weights)?)],
        None => [Some(gpu.at(weights)?), None],
    })
}

/// Norm, factor and update stay on the GPU; only the norm comes back.
fn on_gpu(gpu: &Engine, tensors: &[Trained], step: &AdamWStep, longest: f64) -> Result<Later<f64>> {
    let norm = clip_on_gpu(gpu, tensors.iter().map(|tensor| &tensor.gradient), longest)?;
    let updated = tensors.iter().map(|tensor| {
        let [master, weights] = places(gpu, &tensor.weights, tensor.rounded.as_ref())?;
        let (first, second, scales) = match &tensor.moments {
            Moments::F32 { first, second } => (first.at(gpu)?, second.at(gpu)?, None),
            Moments::Int8 { first, second } => (
                first.codes.at(gpu)?,
                second.codes.at(gpu)?,
                Some([first.scales.at(gpu)?, second.scales.at(gpu)?]),
            ),
        };
        Ok(update::Updated {
            master,
            weights,
            gradient: gpu.at(&tensor.gradient)?,
            first,
            second,
            scales,
            count: tensor.weights.elem_count(),
            weight_decay: tensor.weight_decay as f32,
        })
    });
    let table = update::table(&updated.collect::<Result<Vec<_>>>()?);
    let memory = gpu.upload(&table.words)?;
    let (table, factors) = ((&table, gpu.address(&memory)), Factors::new(step));
    // Seeded by the step: a run that goes on rounds as one that never stopped.
    update::adamw(gpu, table, gpu.at(&norm)?, step.learning_rate, &factors, step.step as u32)?;
    Later::of(&norm, |norm| f64::from(norm[0]))
}

/// The same by Adafactor.
fn adafactor_on_gpu(
    gpu: &Engine,
    tensors: &[Factored],
    step: &AdafactorStep,
    longest: f64,
) -> Result<Later<f64>> {
    for Factored { weights, gradient, state, .. } in tensors {
        expect_shape("adafactor", "gradient", gradient.dims(), weights.dims())?;
        expect_shape("adafactor", "state", state.dims(), weights.dims())?;
    }
    let norm = clip_on_gpu(gpu, tensors.iter().map(|tensor| &tensor.gradient), longest)?;
    let updated = tensors.iter().map(|tensor| {
        let [master, weights] = places(gpu, &tensor.weights, tensor.rounded.as_ref())?;
        let (second, first) = tensor.state.at(gpu)?;
        let (gradient, weight_decay) = (gpu.at(&tensor.gradient)?, tensor.weight_decay as f32);
        Ok(by_rows::Updated { master, weights, gradient, first, second, weight_decay })
    });
    let updated = updated.collect::<Result<Vec<_>>>()?;
    by_rows::adafactor(gpu, &updated, gpu.at(&norm)?, step, step.step as u32)?;
    Later::of(&norm, |norm| f64::from(norm[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateKind;
    use crate::support::{floats, tensor};

    const STEP: AdamWStep = AdamWStep {
        step: 1,
        learning_rate: 0.1,
        betas: (0.9, 0.999),
        epsilon: 1e-8,
        weight_decay: 0.0,
        gradient_scale: 1.0,
    };

    fn trained(gradient: f32) -> Trained {
        let zeros = || (tensor(4, 1) * 0.0).unwrap();
        let gradient = (zeros() + f64::from(gradient)).unwrap();
        let weights = zeros();
        let moments = Moments::zeros(&weights, StateKind::F32, false).unwrap();
        Trained { weights, rounded: None, gradient, moments, weight_decay: 0.0 }
    }

    /// The numbers of the first moment.
    fn first(tensor: &Trained) -> Vec<f32> {
        match &tensor.moments {
            Moments::F32 { first, .. } => floats(first.tensor().unwrap()),
            narrow => panic!("{narrow:?}"),
        }
    }

    #[test]
    fn the_norm_is_that_of_all_tensors_and_clips_them_together() {
        let tensors = [trained(3.0), trained(4.0)];
        assert_eq!(clip_and_update(&tensors, &STEP, 1.0).unwrap().get().unwrap(), 10.0); // √(4 · 3² + 4 · 4²)
        // The first moment is a tenth of the clipped gradient.
        for (tensor, wanted) in tensors.iter().zip([0.03, 0.04]) {
            assert!(first(tensor).iter().all(|first| (first - wanted).abs() < 1e-7));
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_changes_nothing() {
        let tensors = [trained(1.0), trained(f32::INFINITY)];
        assert!(!clip_and_update(&tensors, &STEP, 0.0).unwrap().get().unwrap().is_finite());
        assert_eq!(floats(&tensors[0].weights), [0.0; 4]);
        assert_eq!(first(&tensors[0]), [0.0; 4]);
    }
}
