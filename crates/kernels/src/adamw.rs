//! AdamW (Loshchilov and Hutter, 2019, algorithm 2), fused: one pass over weights, gradient and
//! moments, in the order of arithmetic of `torch.optim.AdamW`.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::expect_shape;
use crate::simd::wide;
use crate::{Result, storage};

/// Elements that one thread takes at a time: four buffers of 64 KiB.
const CHUNK: usize = 1 << 14;

/// What one update needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// 1 for the first update: the moments' bias is corrected by it.
    pub step: u64,
    /// How far a weight moves, about, in one update.
    pub learning_rate: f64,
    /// How much of the first and of the second moment an update keeps.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Share of a weight that an update takes away, times the learning rate; not part of the
    /// gradient ("decoupled").
    pub weight_decay: f64,
    /// What the gradient is multiplied by before anything else: clipping.
    pub gradient_scale: f32,
}

/// Updates `weights` and both moments in place.
///
/// # Shapes
/// Any, the same for all four: a parameter, or the same rows of each.
///
/// # Errors
/// If the shapes differ.
pub fn adamw(
    weights: &Tensor,
    gradient: &Tensor,
    first_moment: &Tensor,
    second_moment: &Tensor,
    update: &AdamWStep,
) -> Result<()> {
    expect_shape("adamw", "gradient", gradient.dims(), weights.dims())?;
    expect_shape("adamw", "first_moment", first_moment.dims(), weights.dims())?;
    expect_shape("adamw", "second_moment", second_moment.dims(), weights.dims())?;
    let factors = Factors::new(update);
    let gradient = storage::read(gradient)?;
    storage::write(weights, |weights| {
        storage::write(first_moment, |first| {
            storage::write(second_moment, |second| {
                let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
                let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
                chunks.zip(moments).for_each(|((weights, gradient), (first, second))| {
                    wide(|| factors.apply(weights, gradient, first, second));
                });
                Ok(())
            })
        })
    })
}

/// The scalars of an update, formed in f64 as PyTorch does and rounded once.
struct Factors {
    gradient_scale: f32,
    decay: f32,
    first_rate: f32,
    second_kept: f32,
    second_rate: f32,
    second_correction: f32,
    epsilon: f32,
    step_size: f32,
}

impl Factors {
    fn new(update: &AdamWStep) -> Self {
        let (beta1, beta2) = update.betas;
        let correction = |beta: f64| 1.0 - beta.powf(update.step as f64);
        Self {
            gradient_scale: update.gradient_scale,
            decay: (1.0 - update.learning_rate * update.weight_decay) as f32,
            first_rate: (1.0 - beta1) as f32,
            second_kept: beta2 as f32,
            second_rate: (1.0 - beta2) as f32,
            second_correction: correction(beta2).sqrt() as f32,
            epsilon: update.epsilon as f32,
            step_size: (update.learning_rate / correction(beta1)) as f32,
        }
    }

    #[inline(always)]
    fn apply(&self, weights: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let moments = first.iter_mut().zip(second);
        for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * self.gradient_scale;
            *first += self.first_rate * (gradient - *first);
            *second = *second * self.second_kept + self.second_rate * gradient * gradient;
            let denominator = second.sqrt() / self.second_correction + self.epsilon;
            *weight = *weight * self.decay - self.step_size * *first / denominator;
        }
    }
}
