//! Dropout (Srivastava et al., 2014): in training each number is 0 with some probability, and the others
//! grow so that the expected sum stays.
//!
//! Whether a number is dropped follows from the tape's seed, from which dropout of the pass it is and
//! from the number's place alone: the same at any thread count, and when a block is computed again.

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::device::points::{self, Points};
use crate::engine::Engine;
use crate::launch::{Argument, Compute, arguments};
use crate::storage::Like;
use crate::{Result, Tape, Value, storage};

/// Numbers that one thread takes at a time: 64 KiB.
const CHUNK: usize = 1 << 14;

/// Drops each number of `x` with the probability `rate` and divides the others by `1 - rate`; `x` itself
/// if the rate is 0 or the tape has no seed ([`Tape::with_dropout_seed`]).
///
/// # Shapes
/// Any; returns the same.
///
/// # Errors
/// If memory cannot be allocated.
///
/// # Panics
/// If the rate is not in `0 .. 1`.
pub fn dropout<'a>(tape: &mut Tape<'a>, x: &Value<'a>, rate: f32) -> Result<Value<'a>> {
    let Some(mask) = Mask::next(tape, rate) else { return Ok(x.clone()) };
    let out = mask.applied(x.tensor(), x.tensor().dtype())?;
    let (slot, input) = (x.slot(), x.tensor().clone());
    let dtype = input.dtype();
    let out = tape.record(out, slot.is_some(), move |slots, gradient| {
        slots.give(slot, mask.applied(&gradient, dtype)?)
    });
    Ok(out.with_recipe(tape, move || mask.applied(&input, dtype)))
}

/// What one call drops.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    key: u64,
    /// Of the 2³² values of a place's random number, those below this one drop it.
    below: u64,
    keep: f32,
}

impl Mask {
    /// That of the tape's next dropout, if it is to drop anything.
    pub(crate) fn next(tape: &mut Tape<'_>, rate: f32) -> Option<Self> {
        assert!((0.0..1.0).contains(&rate), "a rate of dropout is at least 0 and below 1");
        if rate == 0.0 {
            return None;
        }
        let below = (f64::from(rate) * 2f64.powi(32)) as u64;
        Some(Self { key: tape.next_dropout()?, below, keep: 1.0 / (1.0 - rate) })
    }

    /// What the number at a place is multiplied by.
    #[inline(always)]
    pub(crate) fn factor(self, place: u64) -> f32 {
        if mixed(self.key.wrapping_add(place)) >> 32 < self.below { 0.0 } else { self.keep }
    }

    /// As kernels take it: `Mask` of cuda/mask.cuh.
    pub(crate) fn arguments(self) -> Vec<Argument> {
        // A rate below 1 in f32 leaves this below 2^32.
        arguments![self.key, self.below as u32, self.keep]
    }

    /// What is left of `x`, as numbers of the type `dtype`.
    pub(crate) fn applied(self, x: &Tensor, dtype: DType) -> Result<Tensor> {
        // SAFETY: all of it is written below.
        let out = unsafe { Like::of(x).of_type(dtype).empty()? };
        if let Some(gpu) = Engine::of(x.device())? {
            let places = [gpu.at(&out)?, gpu.at(x)?];
            points::dropout(&*gpu, Points::of(&out)?, Compute::of(x)?, places, self)?;
            return Ok(out);
        }
        let x = storage::read(x)?;
        storage::write(&out, |out| {
            let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate();
            chunks.for_each(|(chunk, (out, x))| {
                for (place, (out, &x)) in out.iter_mut().zip(x).enumerate() {
                    *out = self.left_of(x, (chunk * CHUNK + place) as u64);
                }
            });
            Ok(())
        })?;
        Ok(out)
    }

    /// `sum = residual + what is left of sum`.
    pub(crate) fn add_to(self, sum: &Tensor, residual: &Tensor) -> Result<()> {
        if let Some(gpu) = Engine::of(sum.device())? {
            let places = [gpu.at(sum)?, gpu.at(residual)?];
            return points::dropout_add(&*gpu, Points::of(sum)?, places, self);
        }
        let residual = storage::read(residual)?;
        storage::write(sum, |sum| {
            let chunks = sum.par_chunks_mut(CHUNK).zip(residual.par_chunks(CHUNK)).enumerate();
            chunks.for_each(|(chunk, (sum, residual))| {
                for (place, (sum, &residual)) in sum.iter_mut().zip(residual).enumerate() {
                    *sum = residual + self.left_of(*sum, (chunk * CHUNK + place) as u64);
                }
            });
            Ok(())
        })
    }

    /// Not the product with the factor, which a NaN or an infinity would outlive.
    #[inline(always)]
    fn left_of(self, number: f32, place: u64) -> f32 {
        let factor = self.factor(place);
        if factor == 0.0 { 0.0 } else { number * factor }
    }
}

/// The random number of a counter: SplitMix64's output function (Steele, Lea and Flood, 2014).
pub(crate) fn mixed(counter: u64) -> u64 {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recompute;
    use crate::support::{floats, on_threads, tensor};
    use candle_core::Device;

    fn ones() -> Tensor {
        Tensor::ones((300, 100), DType::F32, &Device::Cpu).unwrap()
    }

    /// Output, and the gradient of the input for a gradient of ones; of two dropouts in a row.
    fn run(seed: Option<u64>, recompute: Recompute) -> (Vec<f32>, Vec<f32>) {
        let mut tape = Tape::recording(recompute);
        if let Some(seed) = seed {
            tape = tape.with_dropout_seed(seed);
        }
        let x = tape.leaf(ones());
        let out = tape.checkpoint(&x, |tape, x| dropout(tape, x, 0.25)).unwrap();
        let out = tape.checkpoint(&out, |tape, x| dropout(tape, x, 0.25)).unwrap();
        let numbers = floats(out.tensor());
        let slots = tape.backward(&out, ones()).unwrap();
        (numbers, floats(slots.of(&x).unwrap()))
    }

    #[test]
    fn so_many_are_dropped_and_the_others_grow() {
        let mut tape = Tape::recording(Recompute::None).with_dropout_seed(7);
        let out = dropout(&mut tape, &Value::constant(ones()), 0.25).unwrap();
        let numbers = floats(out.tensor());
        let dropped = numbers.iter().filter(|number| **number == 0.0).count();
        // 30,000 draws: a standard deviation is 75.
        assert!((7500 - 300..7500 + 300).contains(&dropped), "{dropped}");
        assert!(numbers.iter().all(|&number| number == 0.0 || number == 1.0 / 0.75));
    }

    #[test]
    fn the_gradient_passes_where_the_numbers_passed_computed_again_or_not() {
        let (output, gradient) = run(Some(3), Recompute::None);
        assert_eq!(output, gradient);
        for recompute in [Recompute::Selective, Recompute::Block] {
            assert!(run(Some(3), recompute) == (output.clone(), gradient.clone()), "{recompute:?}");
        }
        // Two in a row: 9 of 16 pass both.
        let passed = output.iter().filter(|number| **number > 0.0).count();
        assert!((16_400..17_400).contains(&passed), "{passed}");
    }

    #[test]
    fn the_bits_depend_on_the_seed_and_not_on_the_threads() {
        let alone = on_threads(1, || run(Some(3), Recompute::None));
        assert!(alone == on_threads(5, || run(Some(3), Recompute::None)));
        assert!(alone != run(Some(4), Recompute::None));
    }

    #[test]
    fn nothing_is_dropped_without_a_seed_or_at_a_rate_of_0() {
        assert_eq!(run(None, Recompute::None).0, floats(&ones()));
        let x = Value::constant(tensor((2, 3), 1));
        let mut tape = Tape::recording(Recompute::None).with_dropout_seed(1);
        assert_eq!(floats(dropout(&mut tape, &x, 0.0).unwrap().tensor()), floats(x.tensor()));
    }
}
