//! AdamW over moments in 8 bits, fused: each block of numbers is widened, updated and narrowed again
//! while it is in the cache. The weight moves by the moments as they are before they are narrowed.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::adamw::Factors;
use crate::dynamic_map::{BLOCK, DynamicMap, SIGNED, UNSIGNED};
use crate::error::expect_shape;
use crate::simd::wide;
use crate::state::Coded;
use crate::{AdamWStep, Result, storage};

/// Blocks that one thread takes at a time: about 160 KiB.
const BLOCKS: usize = 64;

/// Updates `weights` and both moments in place.
///
/// # Shapes
/// Any, the same for all: a parameter, or the same rows of each. Blocks are counted from the first of
/// these numbers.
///
/// # Errors
/// If the shapes differ, or the moments are not in the memory of the CPU.
pub fn adamw_int8(
    weights: &Tensor,
    gradient: &Tensor,
    first_moment: &Coded,
    second_moment: &Coded,
    update: &AdamWStep,
) -> Result<()> {
    let expect = |what, dims| expect_shape("adamw_int8", what, dims, weights.dims());
    expect("gradient", gradient.dims())?;
    expect("first_moment", first_moment.codes.dims())?;
    expect("second_moment", second_moment.codes.dims())?;
    let factors = Factors::new(update);
    let gradient = storage::read(gradient)?;
    storage::write(weights, |weights| {
        first_moment.write(|first_codes, first_scales| {
            second_moment.write(|second_codes, second_scales| {
                let first = first_codes
                    .par_chunks_mut(BLOCKS * BLOCK)
                    .zip(first_scales.par_chunks_mut(BLOCKS));
                let second = second_codes
                    .par_chunks_mut(BLOCKS * BLOCK)
                    .zip(second_scales.par_chunks_mut(BLOCKS));
                let chunks =
                    weights.par_chunks_mut(BLOCKS * BLOCK).zip(gradient.par_chunks(BLOCKS * BLOCK));
                chunks.zip(first.zip(second)).for_each(|((weights, gradient), (first, second))| {
                    wide!(|| factors.apply_narrow(weights, gradient, first, second));
                });
                Ok(())
            })
        })
    })
}

/// Codes and scales of neighbouring blocks.
type Blocks<'b> = (&'b mut [u8], &'b mut [f32]);

impl Factors {
    #[inline(always)]
    fn apply_narrow(
        &self,
        weights: &mut [f32],
        gradient: &[f32],
        (first_codes, first_scales): Blocks<'_>,
        (second_codes, second_scales): Blocks<'_>,
    ) {
        let (signed, unsigned): (&DynamicMap, &DynamicMap) = (&SIGNED, &UNSIGNED);
        let numbers = weights.chunks_mut(BLOCK).zip(gradient.chunks(BLOCK));
        let first = first_codes.chunks_mut(BLOCK).zip(first_scales);
        let second = second_codes.chunks_mut(BLOCK).zip(second_scales);
        let (mut m, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
        for ((weights, gradient), (first, second)) in numbers.zip(first.zip(second)) {
            let (m, v) = (&mut m[..weights.len()], &mut v[..weights.len()]);
            signed.widen(first.0, *first.1, m);
            unsigned.widen(second.0, *second.1, v);
            self.apply(weights, gradient, m, v);
            *first.1 = signed.narrow(m, first.0);
            *second.1 = unsigned.narrow(v, second.0);
        }
    }
}

impl Coded {
    /// Lets `f` write codes and scales in the memory of the CPU.
    fn write<R>(&self, f: impl FnOnce(&mut [u8], &mut [f32]) -> Result<R>) -> Result<R> {
        let (codes, scales) = (self.codes.tensor()?, self.scales.tensor()?);
        storage::write_codes(codes, |codes| storage::write(scales, |scales| f(codes, scales)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adamw;
    use crate::adamw::tests::update;
    use crate::state::{Moments, StateKind, StateNumbers};
    use crate::support::{floats, on_threads, tensor};

    fn coded(weights: &Tensor) -> [Coded; 2] {
        match Moments::zeros(weights, StateKind::Int8, false).unwrap() {
            Moments::Int8 { first, second } => [first, second],
            small => panic!("{small:?}"),
        }
    }

    /// The numbers that a moment stands for.
    fn widened(moment: &Coded, map: &DynamicMap) -> Vec<f32> {
        let mut numbers = vec![0.0; moment.codes.count()];
        moment
            .write(|codes, scales| {
                let blocks = codes.chunks(BLOCK).zip(scales).zip(numbers.chunks_mut(BLOCK));
                blocks.for_each(|((codes, scale), numbers)| map.widen(codes, *scale, numbers));
                Ok(())
            })
            .unwrap();
        numbers
    }

    /// Weights and moments after some updates, to the bit.
    fn run(shape: (usize, usize), steps: u64) -> (Vec<f32>, Vec<Vec<u8>>, Vec<Vec<f32>>) {
        let weights = tensor(shape, 1);
        let [first, second] = coded(&weights);
        for step in 1..=steps {
            adamw_int8(&weights, &tensor(shape, 10 + step), &first, &second, &update(step))
                .unwrap();
        }
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for moment in [first, second] {
            for buffer in [&moment.codes, &moment.scales] {
                let keep = |numbers: StateNumbers<'_>| match numbers {
                    StateNumbers::Codes(found) => codes.push(found.to_vec()),
                    StateNumbers::F32(found) => scales.push(found.to_vec()),
                };
                buffer.read(keep).unwrap();
            }
        }
        (floats(&weights), codes, scales)
    }

    /// The specification: widen, update as in f32, narrow.
    #[test]
    fn an_update_is_that_of_f32_on_moments_that_are_narrowed_afterwards() {
        // Whole blocks, a rest of one number, and more than one thread takes.
        for shape in [(16, 256), (64, 65), (241, 17), (65, 257)] {
            let (weights, exact) = (tensor(shape, 1), tensor(shape, 1));
            let [first, second] = coded(&weights);
            for step in 1..=3 {
                let gradient = tensor(shape, 10 + step);
                let before = [widened(&first, &SIGNED), widened(&second, &UNSIGNED)];
                let [m, v] = before.map(|numbers| {
                    Tensor::from_vec(numbers, shape, &candle_core::Device::Cpu).unwrap()
                });
                adamw(&exact, &gradient, &m, &v, &update(step)).unwrap();
                adamw_int8(&weights, &gradient, &first, &second, &update(step)).unwrap();
                assert!(floats(&weights) == floats(&exact), "{shape:?}");
                for (moment, wanted, map) in [(&first, &m, &SIGNED), (&second, &v, &UNSIGNED)] {
                    let mut wanted = floats(wanted);
                    for numbers in wanted.chunks_mut(BLOCK) {
                        let mut codes = vec![0; numbers.len()];
                        let scale = map.narrow(numbers, &mut codes);
                        map.widen(&codes, scale, numbers);
                    }
                    assert!(widened(moment, map) == wanted, "{shape:?}, step {step}");
                }
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let on = |threads| on_threads(threads, || run((5 * BLOCKS + 3, 257), 3));
        assert!(on(1) == on(2) && on(1) == on(5));
    }

    /// Rows of an embedding whose tokens are rare: a gradient once, and zeros from then on. A second
    /// moment that had been rounded to 0 would throw its weight a thousand times too far.
    #[test]
    fn a_weight_whose_gradients_are_tiny_beside_its_neighbours_does_not_jump() {
        let shape = (16, 256);
        let mut gradient = floats(&tensor(shape, 2));
        gradient[0] = 1.0;
        gradient[1..9].fill(1e-4);
        let gradient = Tensor::from_vec(gradient, shape, &candle_core::Device::Cpu).unwrap();
        let weights = tensor(shape, 1).zeros_like().unwrap();
        let [first, second] = coded(&weights);
        for step in 1..=20 {
            let gradient = if step == 1 { &gradient } else { &gradient.zeros_like().unwrap() };
            let step = AdamWStep { betas: (0.9, 0.999), ..update(step) };
            adamw_int8(&weights, gradient, &first, &second, &step).unwrap();
        }
        // Every step is at most the rate, and the first moment fades away.
        let longest = floats(&weights).into_iter().map(f32::abs).fold(0.0, f32::max);
        assert!(longest < 20.0 * 1e-2, "{longest}");
    }

    /// A bowl: the gradient of `Σ aᵢ wᵢ² / 2` with curvatures over two decades.
    #[test]
    fn a_bowl_is_descended_as_far_as_with_f32_moments() {
        const STEPS: u64 = 400;
        let (shape, count) = ((64, 257), 64 * 257);
        let curvature = |index: usize| 10f32.powf((index * 7919 % 1000) as f32 / 500.0 - 1.0);
        let loss = |weights: &Tensor| {
            let terms = floats(weights).into_iter().enumerate();
            terms.map(|(i, w)| f64::from(curvature(i) * w * w) / 2.0).sum::<f64>() / count as f64
        };
        let gradient = |weights: &Tensor| {
            let gradient = floats(weights).into_iter().enumerate().map(|(i, w)| curvature(i) * w);
            let gradient = gradient.collect::<Vec<_>>();
            Tensor::from_vec(gradient, shape, &candle_core::Device::Cpu).unwrap()
        };
        let [narrow, wide] = [1, 1].map(|seed| tensor(shape, seed));
        let [first, second] = coded(&narrow);
        let [m, v] = [1, 1].map(|_| wide.zeros_like().unwrap());
        let start = loss(&wide);
        for step in 1..=STEPS {
            let learning_rate = 1e-2 * (1.0 - (step - 1) as f64 / STEPS as f64);
            let step = AdamWStep {
                learning_rate,
                weight_decay: 0.0,
                gradient_scale: 1.0,
                betas: (0.9, 0.999),
                ..update(step)
            };
            adamw_int8(&narrow, &gradient(&narrow), &first, &second, &step).unwrap();
            adamw(&wide, &gradient(&wide), &m, &v, &step).unwrap();
        }
        let (narrow, wide) = (loss(&narrow), loss(&wide));
        println!("a bowl: from {start:.3} to {narrow:.2e} in 8 bits, {wide:.2e} in f32");
        assert!(wide < start / 1e3);
        // 2e-5 of the start was measured, and 3e-4 where second moments were rounded to 0.
        assert!((narrow - wide).abs() < 1e-4 * start, "{narrow} {wide}");
    }
}
