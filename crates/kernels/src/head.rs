//! The model's last step: log-probabilities of the target words, without ever holding all logits.
//!
//! For logits `z = h Wᵀ` and a target `t`: `log p = z_t - max z - ln Σ e^(z - max z)`, and backward
//! `dz = d log p · (onehot(t) - p)`. The logits exist for [`LOGIT_ROWS`] rows at a time, and `dz`
//! takes their place. Where the gradient of the log-probabilities is known before the forward pass
//! (supervised training), one chunk of logits serves both passes.

mod chunks;
mod gpu;

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

pub use gpu::rows_at_once;

use crate::engine::Engine;
use crate::error::{expect_indices, expect_shape};
use crate::simd::{LANES, exp, sum1, wide};
use crate::storage::Like;
use crate::{Error, Parameter, Result, Tape, Value, linear, storage};
use chunks::Chunks;

/// Rows whose logits exist at one time.
///
/// 256 rows x 49,152 words x 4 bytes = 48 MiB. Twice as many make the products 4 % faster. The bits
/// of the weight's gradient depend on this number, which is why it is not a setting.
pub const LOGIT_ROWS: usize = 256;

/// `log softmax(hidden Wᵀ)` at one target word per row.
///
/// With `ahead`, the gradient that the log-probabilities will receive, a recording tape carries it
/// on to `weight` and to `hidden` at once, and the backward pass must start from the same numbers.
/// Without, the backward pass computes the logits again.
///
/// # Shapes
/// `hidden` `(N, C)`, `weight` `(V, C)`, `targets` and `ahead` `N` of them; returns `(N,)`.
///
/// # Errors
/// If the shapes do not fit, or if a target is not below `V`; in the backward pass, if its gradient
/// is not the one announced by `ahead`.
pub fn linear_logprob<'a>(
    tape: &mut Tape<'a>,
    hidden: &Value<'a>,
    weight: &'a Parameter,
    targets: &'a [u32],
    ahead: Option<Vec<f32>>,
) -> Result<Value<'a>> {
    let (words, channels) = weight.value().dims2()?;
    let wanted = [targets.len(), channels];
    expect_shape("linear_logprob", "hidden", hidden.tensor().dims(), &wanted)?;
    expect_indices("linear_logprob", "target", targets, words)?;
    if let Some(ahead) = &ahead {
        expect_shape("linear_logprob", "ahead", &[ahead.len()], &[targets.len()])?;
    }
    if let Some(gpu) = Engine::of(hidden.tensor().device())? {
        return gpu::linear_logprob(gpu, tape, hidden, weight, targets, ahead);
    }
    let slot = hidden.slot();
    let needed = slot.is_some() || weight.is_trainable();
    let head = Head::new(hidden.tensor(), weight, targets)?;
    let Some(ahead) = ahead.filter(|_| needed && tape.is_recording()) else {
        let (out, normalisers) = head.forward(|_, _, _| Ok(()))?;
        let kept = tape.keep(hidden);
        return Ok(tape.record(out, needed, move |slots, gradient| {
            let head = Head::new(&kept.get()?, weight, targets)?;
            let gradient = storage::read(&gradient)?;
            let d_hidden = head.chunks.d_hidden(slot.is_some())?;
            for rows in head.chunks.iter() {
                let logits = head.chunks.logits(&rows)?;
                let normalisers = &normalisers[rows.clone()];
                head.back(&rows, &logits, normalisers, &gradient, d_hidden.as_ref())?;
            }
            d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
        }));
    };
    let d_hidden = head.chunks.d_hidden(slot.is_some())?;
    let (out, _) = head.forward(|rows, logits, normalisers| {
        head.back(rows, logits, normalisers, &ahead, d_hidden.as_ref())
    })?;
    Ok(tape.record(out, needed, move |slots, gradient| {
        expect_announced(&gradient, &ahead)?;
        d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
    }))
}

/// `hidden Wᵀ`, whole: for the few rows of a generation step.
///
/// # Shapes
/// `hidden` `(N, C)`, `weight` `(V, C)`; returns `(N, V)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_logits(hidden: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (words, channels) = weight.dims2()?;
    let rows = hidden.dims().first().copied().unwrap_or(0);
    expect_shape("linear_logits", "hidden", hidden.dims(), &[rows, channels])?;
    // SAFETY: the product writes all of it.
    let out = unsafe { Like::of(hidden).wide().shaped((rows, words)).empty()? };
    linear::forward(&out, hidden, weight, false)?;
    Ok(out)
}

fn expect_announced(gradient: &Tensor, ahead: &[f32]) -> Result<()> {
    let gradient = storage::read(gradient)?;
    let pairs = gradient.iter().zip(ahead);
    match pairs.enumerate().find(|(_, (found, wanted))| found != wanted) {
        Some((row, (&found, &wanted))) => {
            Err(Error::Announced { operation: "linear_logprob", row, found, wanted })
        }
        None => Ok(()),
    }
}

/// What turns a row of logits into probabilities: `p = e^(z - max) / sum`.
#[derive(Clone, Copy)]
struct Normaliser {
    max: f32,
    sum: f64,
}

/// The head over one batch.
struct Head<'t> {
    chunks: Chunks<'t>,
    targets: &'t [u32],
}

impl<'t> Head<'t> {
    fn new(hidden: &Tensor, weight: &'t Parameter, targets: &'t [u32]) -> Result<Self> {
        Ok(Self { chunks: Chunks::new(hidden, weight, LOGIT_ROWS)?, targets })
    }

    /// Log-probabilities and normalisers of all rows. `then(rows, logits, normalisers)` may use up
    /// each chunk of logits before the next takes its place.
    fn forward(
        &self,
        mut then: impl FnMut(&Range<usize>, &Tensor, &[Normaliser]) -> Result<()>,
    ) -> Result<(Tensor, Vec<Normaliser>)> {
        let rows = self.targets.len();
        let (mut logprobs, mut normalisers) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for rows in self.chunks.iter() {
            let logits = self.chunks.logits(&rows)?;
            let (found, normalised) = score(&logits, &self.targets[rows.clone()])?;
            then(&rows, &logits, &normalised)?;
            logprobs.extend(found);
            normalisers.extend(normalised);
        }
        Ok((Tensor::from_vec(logprobs, rows, self.chunks.hidden().device())?, normalisers))
    }

    /// Carries the gradient of the log-probabilities of `rows` back; their logits are used up.
    fn back(
        &self,
        rows: &Range<usize>,
        logits: &Tensor,
        normalisers: &[Normaliser],
        gradient: &[f32], // (N,)
        d_hidden: Option<&Tensor>,
    ) -> Result<()> {
        let (targets, gradient) = (&self.targets[rows.clone()], &gradient[rows.clone()]);
        into_gradient(logits, targets, gradient, normalisers)?;
        self.chunks.back(rows, logits, d_hidden)
    }
}

/// The log-probability of each row's target, and what normalises each row.
fn score(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, Vec<Normaliser>)> {
    let (_, words) = logits.dims2()?;
    let logits = storage::read(logits)?;
    let rows = logits.par_chunks(words).zip(targets);
    let scores = rows.map(|(row, &target)| {
        let normaliser = wide!(|| normaliser(row));
        let logit = f64::from(row[target as usize]) - f64::from(normaliser.max);
        ((logit - normaliser.sum.ln()) as f32, normaliser)
    });
    Ok(scores.unzip())
}

#[inline(always)]
fn normaliser(row: &[f32]) -> Normaliser {
    // Sums of at most 512 terms in f32: 16 in each lane.
    const BLOCK: usize = 16 * LANES;
    let max = max(row);
    let mut sum = 0f64;
    // A plain loop: `map` and `sum` are not sure to be inlined, which `wide!` needs.
    for block in row.chunks(BLOCK) {
        let terms = sum1(
            block,
            #[inline(always)]
            |logit| exp(logit - max),
        );
        sum += f64::from(terms);
    }
    Normaliser { max, sum }
}

/// The largest number of a row. A NaN is passed over here, and then makes the row's sum NaN.
#[inline(always)]
fn max(row: &[f32]) -> f32 {
    let larger = |left: f32, right: f32| if right > left { right } else { left };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

/// Logits become `d log p · (onehot - p)`, in place.
fn into_gradient(
    logits: &Tensor,
    targets: &[u32],
    gradient: &[f32],
    normalisers: &[Normaliser],
) -> Result<()> {
    let (_, words) = logits.dims2()?;
    storage::write(logits, |logits| {
        let rows = logits.par_chunks_mut(words).zip(targets);
        rows.zip(gradient.par_iter().zip(normalisers)).for_each(
            |((row, &target), (&gradient, normaliser))| {
                let scale = (f64::from(-gradient) / normaliser.sum) as f32;
                wide!(|| {
                    for logit in row.iter_mut() {
                        *logit = scale * exp(*logit - normaliser.max);
                    }
                });
                row[target as usize] += gradient;
            },
        );
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recompute;
    use crate::support::{
        Passes, assert_close, floats, gradient, numbers, parameter, passes, prove, tensor, wider,
    };

    /// The specification.
    fn reference(hidden: &[f64], weight: &[f64], targets: &[u32], channels: usize) -> Vec<f64> {
        let rows = hidden.chunks(channels).zip(targets);
        let logprob = |(hidden, &target): (&[f64], &u32)| {
            let dot = |word: &[f64]| word.iter().zip(hidden).map(|(w, h)| w * h).sum::<f64>();
            let logits: Vec<f64> = weight.chunks(channels).map(dot).collect();
            let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
            logits[target as usize] - max - sum.ln()
        };
        rows.map(logprob).collect()
    }

    fn targets(rows: usize, words: usize) -> Vec<u32> {
        (0..rows).map(|row| (row * 7 % words) as u32).collect()
    }

    const SIZES: [(usize, usize, usize); 4] =
        [(1, 1, 1), (3, 50, 33), (LOGIT_ROWS + 4, 3, 2), (2, 1100, 2)];

    fn both_ways(
        hidden: &Tensor,
        weight: &Parameter,
        targets: &[u32],
        seed: &[f32],
        ahead: bool,
    ) -> Passes {
        passes(std::slice::from_ref(hidden), &[weight], seed, |tape, leaves| {
            linear_logprob(tape, &leaves[0], weight, targets, ahead.then(|| seed.to_vec()))
        })
    }

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (rows, words, channels) in SIZES {
            let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
            let targets = targets(rows, words);
            let reference =
                |given: &[Vec<f64>]| reference(&given[0], &given[1], &targets, channels);
            prove("linear_logprob", &[hidden], &[&weight], reference, |tape, leaves| {
                linear_logprob(tape, &leaves[0], &weight, &targets, None)
            });
        }
    }

    #[test]
    fn the_sum_over_a_large_vocabulary_keeps_its_digits() {
        let (words, channels) = (49_152, 3);
        let (hidden, weight) = (tensor((5, channels), 1), parameter((words, channels), 2));
        let targets = targets(5, words);
        let found = linear_logprob(
            &mut Tape::inference(),
            &Value::constant(hidden.clone()),
            &weight,
            &targets,
            None,
        );
        let given = [&hidden, weight.value()].map(|tensor| wider(&floats(tensor)));
        let wanted = reference(&given[0], &given[1], &targets, channels);
        // One rounding of numbers between 8 and 16 to f32, 5e-7, and hardly more.
        let found = floats(found.unwrap().tensor());
        assert_close("49,152 words", &found, &wanted, 6e-8);
    }

    #[test]
    fn a_gradient_known_ahead_gives_the_same_bits() {
        for (rows, words, channels) in SIZES {
            let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
            let (targets, seed) = (targets(rows, words), numbers(rows, 3));
            let plain = both_ways(&hidden, &weight, &targets, &seed, false);
            assert_eq!(both_ways(&hidden, &weight, &targets, &seed, true), plain);
        }
    }

    #[test]
    fn only_what_asks_for_a_gradient_receives_one() {
        let (hidden, mut weight) = (tensor((5, 4), 1), parameter((7, 4), 2));
        let (targets, seed) = (targets(5, 7), numbers(5, 3));
        let wanted = both_ways(&hidden, &weight, &targets, &seed, false).gradients;
        for (trains_weight, ahead) in [(true, false), (true, true), (false, false), (false, true)] {
            weight.clear_gradient();
            weight.set_trainable(|_| trains_weight);
            let mut tape = Tape::recording(Recompute::None);
            let constant = Value::constant(hidden.clone());
            let input = if trains_weight { constant } else { tape.leaf(hidden.clone()) };
            let ahead = ahead.then(|| seed.clone());
            let out = linear_logprob(&mut tape, &input, &weight, &targets, ahead).unwrap();
            let seed = Tensor::from_slice(&seed, 5, hidden.device()).unwrap();
            let slots = tape.backward(&out, seed).unwrap();
            let found = [slots.of(&input).map(floats), gradient(&weight)];
            let (of_hidden, of_weight) = (Some(wanted[0].clone()), Some(wanted[1].clone()));
            assert_eq!(found, if trains_weight { [None, of_weight] } else { [of_hidden, None] });
        }
    }

    #[test]
    fn a_tape_that_does_not_record_leaves_no_gradient_behind() {
        let (hidden, weight) = (Value::constant(tensor((5, 4), 1)), parameter((7, 4), 2));
        let (targets, ahead) = (targets(5, 7), Some(vec![1.0; 5]));
        linear_logprob(&mut Tape::inference(), &hidden, &weight, &targets, ahead).unwrap();
        assert_eq!(gradient(&weight), None);
    }

    #[test]
    fn a_backward_pass_that_was_announced_otherwise_is_refused() {
        let (hidden, weight) = (tensor((2, 4), 1), parameter((7, 4), 2));
        let mut tape = Tape::recording(Recompute::None);
        let leaf = tape.leaf(hidden);
        let out = linear_logprob(&mut tape, &leaf, &weight, &[0, 1], Some(vec![1., 2.])).unwrap();
        let seed = Tensor::new(&[1f32, 3.], out.tensor().device()).unwrap();
        assert_eq!(
            tape.backward(&out, seed).err().unwrap().to_string(),
            "linear_logprob: row 1 receives the gradient 3, but 2 was announced"
        );
    }

    #[test]
    fn huge_logits_stay_exact_and_what_is_not_finite_shows() {
        let device = candle_core::Device::Cpu;
        let words = Tensor::new(&[[300f32], [299.]], &device).unwrap();
        let weight = Parameter::single("weight", words);
        let logprob = |hidden: f32| {
            let hidden = Value::constant(Tensor::new(&[[hidden]], &device).unwrap());
            let out = linear_logprob(&mut Tape::inference(), &hidden, &weight, &[0], None).unwrap();
            floats(out.tensor())[0]
        };
        // -ln(1 + 1/e), up to one rounding of 1/e.
        assert!((logprob(1.0) + 0.313_261_7).abs() < 1e-7);
        assert_eq!(logprob(-1e3), -1000.0);
        assert!(logprob(f32::NAN).is_nan());
        assert!(logprob(f32::INFINITY).is_nan());
    }
}
