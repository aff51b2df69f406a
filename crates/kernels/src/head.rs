//! The model's last step: log-probabilities of the target words, without ever holding all logits.
//!
//! For logits `z = h Wᵀ` and a target `t`: `log p = z_t - max z - ln Σ e^(z - max z)`, and backward
//! `dz = d log p · (onehot(t) - p)`. The logits exist for [`LOGIT_ROWS`] rows at a time, and `dz`
//! takes their place. Where the gradient of the log-probabilities is known before the forward pass
//! (supervised training), one chunk of logits serves both passes.

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use crate::error::{expect_indices, expect_shape};
use crate::simd::{LANES, exp, sum1, wide};
use crate::{Error, Parameter, Result, Tape, Value, linear, storage};

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
    let slot = hidden.slot();
    let needed = slot.is_some() || weight.is_trainable();
    let head = Head::new(hidden.tensor(), weight, targets)?;
    let Some(ahead) = ahead.filter(|_| needed && tape.is_recording()) else {
        let (out, normalisers) = head.forward(|_, _, _| Ok(()))?;
        let kept = tape.keep(hidden);
        return Ok(tape.record(out, needed, move |slots, gradient| {
            let head = Head::new(&kept.get()?, weight, targets)?;
            let gradient = storage::read(&gradient)?;
            let d_hidden = head.d_hidden(slot.is_some())?;
            for rows in head.chunks() {
                let logits = head.logits(&rows)?;
                head.back(&rows, &logits, &normalisers[rows.clone()], &gradient, &d_hidden)?;
            }
            d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
        }));
    };
    let d_hidden = head.d_hidden(slot.is_some())?;
    let (out, _) = head.forward(|rows, logits, normalisers| {
        head.back(rows, logits, normalisers, &ahead, &d_hidden)
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
    let out = storage::empty((rows, words), hidden.device())?;
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

/// The head over one batch, and the one buffer for its logits.
struct Head<'t> {
    hidden: Tensor, // (N, C)
    weight: &'t Parameter,
    targets: &'t [u32],
    buffer: Tensor, // (LOGIT_ROWS, V)
}

impl<'t> Head<'t> {
    fn new(hidden: &Tensor, weight: &'t Parameter, targets: &'t [u32]) -> Result<Self> {
        let rows = targets.len().min(LOGIT_ROWS);
        let buffer = storage::empty((rows, weight.value().dims()[0]), hidden.device())?;
        Ok(Self { hidden: hidden.clone(), weight, targets, buffer })
    }

    fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.targets.len();
        (0..rows).step_by(LOGIT_ROWS).map(move |start| start..(start + LOGIT_ROWS).min(rows))
    }

    /// Log-probabilities and normalisers of all rows. `then(rows, logits, normalisers)` may use up
    /// each chunk of logits before the next takes its place.
    fn forward(
        &self,
        mut then: impl FnMut(&Range<usize>, &Tensor, &[Normaliser]) -> Result<()>,
    ) -> Result<(Tensor, Vec<Normaliser>)> {
        let rows = self.targets.len();
        let (mut logprobs, mut normalisers) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for rows in self.chunks() {
            let logits = self.logits(&rows)?;
            let (found, normalised) = score(&logits, &self.targets[rows.clone()])?;
            then(&rows, &logits, &normalised)?;
            logprobs.extend(found);
            normalisers.extend(normalised);
        }
        Ok((Tensor::from_vec(logprobs, rows, self.hidden.device())?, normalisers))
    }

    fn d_hidden(&self, wanted: bool) -> Result<Option<Tensor>> {
        let empty = || storage::empty(self.hidden.shape().clone(), self.hidden.device());
        wanted.then(empty).transpose()
    }

    /// The logits of `rows`, in the buffer.
    fn logits(&self, rows: &Range<usize>) -> Result<Tensor> {
        let logits = self.buffer.narrow(0, 0, rows.len())?;
        let hidden = self.hidden.narrow(0, rows.start, rows.len())?;
        linear::forward(&logits, &hidden, self.weight.value(), false)?;
        Ok(logits)
    }

    /// Carries the gradient of the log-probabilities of `rows` back; their logits are used up.
    fn back(
        &self,
        rows: &Range<usize>,
        logits: &Tensor,
        normalisers: &[Normaliser],
        gradient: &[f32], // (N,)
        d_hidden: &Option<Tensor>,
    ) -> Result<()> {
        let (targets, gradient) = (&self.targets[rows.clone()], &gradient[rows.clone()]);
        into_gradient(logits, targets, gradient, normalisers)?;
        let hidden = self.hidden.narrow(0, rows.start, rows.len())?;
        self.weight.accumulate(|sum, words, accumulate| {
            linear::weight_gradient(sum, logits, words.start, &hidden, accumulate)
        })?;
        let Some(d_hidden) = d_hidden else { return Ok(()) };
        let d_hidden = d_hidden.narrow(0, rows.start, rows.len())?;
        linear::input_gradient(&d_hidden, logits, self.weight.value(), false)
    }
}

/// The log-probability of each row's target, and what normalises each row.
fn score(logits: &Tensor, targets: &[u32]) -> Result<(Vec<f32>, Vec<Normaliser>)> {
    let (_, words) = logits.dims2()?;
    let logits = storage::read(logits)?;
    let rows = logits.par_chunks(words).zip(targets);
    let scores = rows.map(|(row, &target)| {
        let normaliser = wide(|| normaliser(row));
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
    let blocks = row.chunks(BLOCK);
    let sum = blocks.map(|block| f64::from(sum1(block, |logit| exp(logit - max)))).sum();
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
                wide(|| {
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
