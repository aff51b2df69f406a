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
                    wide!(|| factors.apply(weights, gradient, first, second));
                });
                Ok(())
            })
        })
    })
}

/// The scalars of an update, formed in f64 as PyTorch does and rounded once.
pub(crate) struct Factors {
    pub(crate) gradient_scale: f32,
    pub(crate) decay: f32,
    pub(crate) first_rate: f32,
    pub(crate) second_kept: f32,
    pub(crate) second_rate: f32,
    pub(crate) second_correction: f32,
    pub(crate) epsilon: f32,
    pub(crate) step_size: f32,
}

impl Factors {
    pub(crate) fn new(update: &AdamWStep) -> Self {
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

    /// Updates neighbours and their moments.
    #[inline(always)]
    pub(crate) fn apply(
        &self,
        weights: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let moments = first.iter_mut().zip(second);
        for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * self.gradient_scale;
            // `torch.lerp` fuses the multiplication with the addition.
            *first = self.first_rate.mul_add(gradient - *first, *first);
            *second = *second * self.second_kept + self.second_rate * gradient * gradient;
            let denominator = second.sqrt() / self.second_correction + self.epsilon;
            *weight = *weight * self.decay - self.step_size * *first / denominator;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::support::{assert_close, floats, on_threads, tensor, wider};

    /// The specification, of one element: weight, first and second moment.
    fn reference(state: [f64; 3], gradient: f64, update: &AdamWStep) -> [f64; 3] {
        let ([weight, first, second], (beta1, beta2)) = (state, update.betas);
        let gradient = gradient * f64::from(update.gradient_scale);
        let first = beta1 * first + (1.0 - beta1) * gradient;
        let second = beta2 * second + (1.0 - beta2) * gradient * gradient;
        let corrected = |moment: f64, beta: f64| moment / (1.0 - beta.powf(update.step as f64));
        let ratio = corrected(first, beta1) / (corrected(second, beta2).sqrt() + update.epsilon);
        let weight = weight - update.learning_rate * (update.weight_decay * weight + ratio);
        [weight, first, second]
    }

    /// An update like any other.
    pub(crate) fn update(step: u64) -> AdamWStep {
        AdamWStep {
            step,
            learning_rate: 1e-2,
            betas: (0.9, 0.95),
            epsilon: 1e-8,
            weight_decay: 0.1,
            gradient_scale: 0.5,
        }
    }

    /// Weights and moments after three updates.
    fn three_updates(len: usize) -> [Tensor; 3] {
        let state = [tensor(len, 1), tensor(len, 0).zeros_like().unwrap()];
        let [weights, first, second] =
            [state[0].clone(), state[1].clone(), state[1].copy().unwrap()];
        for step in 1..=3 {
            let gradient = tensor(len, 10 + step);
            adamw(&weights, &gradient, &first, &second, &update(step)).unwrap();
        }
        [weights, first, second]
    }

    #[test]
    fn three_updates_equal_the_specification() {
        for len in [1, 33, CHUNK + 5] {
            let mut states: Vec<[f64; 3]> =
                wider(&floats(&tensor(len, 1))).iter().map(|&weight| [weight, 0., 0.]).collect();
            for step in 1..=3 {
                let gradient = wider(&floats(&tensor(len, 10 + step)));
                for (state, gradient) in states.iter_mut().zip(gradient) {
                    *state = reference(*state, gradient, &update(step));
                }
            }
            for (index, found) in three_updates(len).iter().enumerate() {
                let wanted: Vec<f64> = states.iter().map(|state| state[index]).collect();
                // Three updates of ten operations, each rounded to 6e-8.
                assert_close(&format!("adamw: {index}"), &floats(found), &wanted, 3e-7);
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let run = |threads| {
            on_threads(threads, || three_updates(5 * CHUNK + 3).map(|tensor| floats(&tensor)))
        };
        assert!(run(1) == run(2) && run(1) == run(5));
    }

    #[test]
    fn a_range_of_rows_is_updated_and_its_neighbours_are_not() {
        let [weights, first, second] = three_updates(6);
        let before = floats(&weights);
        let rows = |tensor: &Tensor| tensor.narrow(0, 2, 3).unwrap();
        let gradient = tensor(3, 4);
        adamw(&rows(&weights), &gradient, &rows(&first), &rows(&second), &update(4)).unwrap();
        let changed: Vec<bool> =
            floats(&weights).iter().zip(before).map(|(after, before)| *after != before).collect();
        assert_eq!(changed, [false, false, true, true, true, false]);
    }
}
