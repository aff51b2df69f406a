//! The model's last step: log-probabilities of the target words, without ever holding all logits.
//!
//! For logits `z = h Wᵀ` and a target `t`: `log p = z_t - max z - ln Σ e^(z - max z)`, and backward
//! `dz = d log p · (onehot(t) - p)`. The logits exist for [`LOGIT_ROWS`] rows at a time, and `dz`
//! takes their place. Where the gradient of the log-probabilities is known before the forward pass
//! (supervised training), one chunk of logits serves both passes.

mod chunks;
mod gpu;
mod rows;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::Tensor;

pub use gpu::rows_at_once;
pub use rows::Softening;

use crate::engine::Engine;
use crate::error::{expect_indices, expect_shape};
use crate::storage::Like;
use crate::{Error, Later, Parameter, Result, Tape, Value, linear, storage};
use chunks::Chunks;
use rows::{Scored, into_gradient, score};

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
    Ok(softened_logprob(tape, hidden, weight, targets, ahead, Softening::default())?.softened)
}

/// What [`softened_logprob`] returns, all `(N,)`.
#[must_use]
pub struct Softened<'a> {
    /// The softened log-probabilities: what a gradient comes back to.
    pub softened: Value<'a>,
    /// The log-probabilities themselves. Empty where nothing is softened.
    pub logprobs: Later<Vec<f32>>,
    /// `ln Σ e^z` of each row. Empty where nothing is softened.
    pub log_sums: Later<Vec<f32>>,
}

/// As [`linear_logprob`], of log-probabilities that are softened: with `s` the label smoothing and `w`
/// the weight of the z-loss, `(1 - s) log p_t + s mean(log p) - w (ln Σ e^z)²`. The mean is over all words.
///
/// # Shapes
/// As [`linear_logprob`].
///
/// # Errors
/// As [`linear_logprob`].
pub fn softened_logprob<'a>(
    tape: &mut Tape<'a>,
    hidden: &Value<'a>,
    weight: &'a Parameter,
    targets: &'a [u32],
    ahead: Option<Vec<f32>>,
    softening: Softening,
) -> Result<Softened<'a>> {
    let (words, channels) = weight.value().dims2()?;
    let wanted = [targets.len(), channels];
    expect_shape("linear_logprob", "hidden", hidden.tensor().dims(), &wanted)?;
    expect_indices("linear_logprob", "target", targets, words)?;
    if let Some(ahead) = &ahead {
        expect_shape("linear_logprob", "ahead", &[ahead.len()], &[targets.len()])?;
    }
    if let Some(gpu) = Engine::of(hidden.tensor().device())? {
        return gpu::softened_logprob(gpu, tape, hidden, weight, targets, ahead, softening);
    }
    let slot = hidden.slot();
    let needed = slot.is_some() || weight.is_trainable();
    let head = Head::new(hidden.tensor(), weight, targets, softening)?;
    let Some(ahead) = ahead.filter(|_| needed && tape.is_recording()) else {
        let (out, scored) = head.forward(|_, _, _| Ok(()))?;
        let kept = tape.keep(hidden);
        let [logprobs, log_sums] = softening.told(&scored);
        let softened = tape.record(out, needed, move |slots, gradient| {
            let head = Head::new(&kept.get()?, weight, targets, softening)?;
            let gradient = storage::read(&gradient)?;
            let d_hidden = head.chunks.d_hidden(slot.is_some())?;
            for rows in head.chunks.iter() {
                let logits = head.chunks.logits(&rows)?;
                let scored = &scored[rows.clone()];
                head.back(&rows, &logits, scored, &gradient, d_hidden.as_ref())?;
            }
            d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
        });
        return Ok(Softened { softened, logprobs, log_sums });
    };
    let d_hidden = head.chunks.d_hidden(slot.is_some())?;
    let (out, scored) = head.forward(|rows, logits, scored| {
        head.back(rows, logits, scored, &ahead, d_hidden.as_ref())
    })?;
    let [logprobs, log_sums] = softening.told(&scored);
    let softened = tape.record(out, needed, move |slots, gradient| {
        expect_announced(&gradient, &ahead)?;
        d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
    });
    Ok(Softened { softened, logprobs, log_sums })
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

/// The head over one batch.
struct Head<'t> {
    chunks: Chunks<'t>,
    targets: &'t [u32],
    softening: Softening,
}

impl<'t> Head<'t> {
    fn new(
        hidden: &Tensor,
        weight: &'t Parameter,
        targets: &'t [u32],
        softening: Softening,
    ) -> Result<Self> {
        Ok(Self { chunks: Chunks::new(hidden, weight, LOGIT_ROWS)?, targets, softening })
    }

    /// The softened log-probabilities, and what is known of each row. `then(rows, logits, scored)` may use
    /// up each chunk of logits before the next takes its place.
    fn forward(
        &self,
        mut then: impl FnMut(&Range<usize>, &Tensor, &[Scored]) -> Result<()>,
    ) -> Result<(Tensor, Vec<Scored>)> {
        let rows = self.targets.len();
        let mut all = Vec::with_capacity(rows);
        for rows in self.chunks.iter() {
            let logits = self.chunks.logits(&rows)?;
            let scored = score(&logits, &self.targets[rows.clone()], self.softening)?;
            then(&rows, &logits, &scored)?;
            all.extend(scored);
        }
        let softened: Vec<f32> = all.iter().map(|row| row.softened).collect();
        Ok((Tensor::from_vec(softened, rows, self.chunks.hidden().device())?, all))
    }

    /// Carries the gradient of the softened log-probabilities of `rows` back; their logits are used up.
    fn back(
        &self,
        rows: &Range<usize>,
        logits: &Tensor,
        scored: &[Scored],
        gradient: &[f32], // (N,)
        d_hidden: Option<&Tensor>,
    ) -> Result<()> {
        let (targets, gradient) = (&self.targets[rows.clone()], &gradient[rows.clone()]);
        into_gradient(logits, targets, gradient, scored, self.softening)?;
        self.chunks.back(rows, logits, d_hidden)
    }
}
