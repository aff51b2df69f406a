//! Rows of logits on the CPU: what they say of their targets, and their gradient in their place.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::simd::{LANES, exp, sum1, wide};
use crate::{Later, Result, storage};

/// Terms of a sum in f32: 16 in each lane.
const BLOCK: usize = 16 * LANES;

/// What is learned besides the target word. None of it by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Softening {
    /// Share of the target that is spread evenly over all words.
    pub label_smoothing: f64,
    /// Weight of the squared log-normaliser, which keeps logits from drifting away together.
    pub z_loss: f64,
}

impl Softening {
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The log-probabilities and log-sums of all rows, where anybody may ask for them.
    pub(super) fn told(self, scored: &[Scored]) -> [Later<Vec<f32>>; 2] {
        let rows = if self.is_none() { &[] } else { scored };
        let told = rows.iter().map(|row| (row.logprob, row.normaliser.log_sum() as f32));
        let (logprobs, log_sums) = told.unzip();
        [Later::here(logprobs), Later::here(log_sums)]
    }
}

/// What is known of a row once its logits were seen.
#[derive(Clone, Copy)]
pub(super) struct Scored {
    /// The softened log-probability of its target.
    pub(super) softened: f32,
    /// The log-probability of its target.
    logprob: f32,
    normaliser: Normaliser,
}

/// What turns a row of logits into probabilities: `p = e^(z - max) / sum`.
#[derive(Clone, Copy)]
struct Normaliser {
    max: f32,
    sum: f64,
}

impl Normaliser {
    /// `ln Σ e^z`.
    fn log_sum(self) -> f64 {
        f64::from(self.max) + self.sum.ln()
    }
}

/// What the rows of logits say of their targets.
pub(super) fn score(logits: &Tensor, targets: &[u32], softening: Softening) -> Result<Vec<Scored>> {
    let (_, words) = logits.dims2()?;
    let logits = storage::read(logits)?;
    let rows = logits.par_chunks(words).zip(targets);
    let scores = rows.map(|(row, &target)| {
        let normaliser = wide!(|| normaliser(row));
        let logit = f64::from(row[target as usize]) - f64::from(normaliser.max);
        let logprob = logit - normaliser.sum.ln();
        let softened = match softening.is_none() {
            true => logprob,
            false => softened(row, logprob, normaliser.log_sum(), softening),
        };
        Scored { softened: softened as f32, logprob: logprob as f32, normaliser }
    });
    Ok(scores.collect())
}

/// `(1 - s) log p_t + s mean(log p) - w (ln Σ e^z)²`.
fn softened(row: &[f32], logprob: f64, log_sum: f64, softening: Softening) -> f64 {
    let Softening { label_smoothing, z_loss } = softening;
    let mean = match label_smoothing == 0.0 {
        true => 0.0,
        false => wide!(|| sum(row)) / row.len() as f64 - log_sum,
    };
    (1.0 - label_smoothing) * logprob + label_smoothing * mean - z_loss * log_sum * log_sum
}

/// Sums of few terms in f32, of many in f64.
#[inline(always)]
fn sum(row: &[f32]) -> f64 {
    let mut all = 0f64;
    for block in row.chunks(BLOCK) {
        all += f64::from(sum1(
            block,
            #[inline(always)]
            |logit| logit,
        ));
    }
    all
}

#[inline(always)]
fn normaliser(row: &[f32]) -> Normaliser {
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

/// Logits become `d · dq/dz` in place, where `q` is what `score` returns and `d` its gradient:
///
/// ```text
/// dq/dz = (1 - s) onehot + s / V - (1 + 2 w ln Σ e^z) p
/// ```
pub(super) fn into_gradient(
    logits: &Tensor,
    targets: &[u32],
    gradient: &[f32],
    scored: &[Scored],
    softening: Softening,
) -> Result<()> {
    let (_, words) = logits.dims2()?;
    let Softening { label_smoothing, z_loss } = softening;
    let (of_target, even) = ((1.0 - label_smoothing) as f32, label_smoothing / words as f64);
    storage::write(logits, |logits| {
        let rows = logits.par_chunks_mut(words).zip(targets);
        rows.zip(gradient.par_iter().zip(scored)).for_each(
            |((row, &target), (&gradient, scored))| {
                let normaliser = scored.normaliser;
                let drift = 1.0 + 2.0 * z_loss * normaliser.log_sum();
                let scale = (f64::from(-gradient) * drift / normaliser.sum) as f32;
                let even = (f64::from(gradient) * even) as f32;
                wide!(|| {
                    for logit in row.iter_mut() {
                        *logit = scale * exp(*logit - normaliser.max);
                    }
                    if label_smoothing != 0.0 {
                        for logit in row.iter_mut() {
                            *logit += even;
                        }
                    }
                });
                row[target as usize] += gradient * of_target;
            },
        );
        Ok(())
    })
}
