//! The gradient of one optimizer step: forward and backward passes over its batches.

use albacore_data::Batch;
use albacore_kernels::{Recompute, Tape, storage};
use albacore_model::{Llama, Packed};
use candle_core::Tensor;

use crate::Result;
use crate::objective::{Counts, Groups, Objective, Term};

/// What the batches of one step add up to, besides their gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// The objective's terms, summed over the batches.
    pub(crate) terms: Vec<Term>,
    /// The share of the loss that came from each batch.
    pub(crate) shares: Vec<f64>,
    pub(crate) tokens: u64,
    pub(crate) supervised_tokens: u64,
}

/// Adds up the gradient of the step's loss in the model's parameters.
///
/// The units of all batches are counted first, so that each batch divides by the step's count: the
/// result does not depend on how the examples are spread over batches, up to rounding.
pub(crate) fn accumulate(
    model: &Llama,
    objective: &dyn Objective,
    batches: &[Batch],
    recompute: Recompute,
) -> Result<Measured> {
    debug_assert!(!batches.is_empty(), "a step is made of something");
    model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
    let mut counts = Counts::default();
    batches.iter().for_each(|batch| counts.add(&objective.count(&groups(batch))));

    let mut measured = Measured::default();
    for batch in batches {
        let terms = backward(model, objective, batch, &counts, recompute)?;
        measured.add(terms, batch);
    }
    Ok(measured)
}

/// Forward and backward of one batch; returns the objective's terms.
fn backward(
    model: &Llama,
    objective: &dyn Objective,
    batch: &Batch,
    counts: &Counts,
    recompute: Recompute,
) -> Result<Vec<Term>> {
    let groups = groups(batch);
    let packed = Packed::new(
        model.config(),
        batch.ids.clone(),
        batch.starts.clone(),
        batch.rows.clone(),
        batch.targets.clone(),
    )?;
    let mut tape = Tape::recording(recompute);
    let ahead = objective.ahead(&groups, counts);
    let logprobs = model.logprobs(&mut tape, &packed, ahead)?; // (N,)
    let loss = objective.loss(&storage::to_vec(logprobs.tensor())?, &groups, counts);
    let device = logprobs.tensor().device();
    let seed = Tensor::from_vec(loss.gradient, batch.supervised(), device);
    tape.backward(&logprobs, seed.map_err(albacore_kernels::Error::from)?)?;
    Ok(loss.terms)
}

fn groups(batch: &Batch) -> Groups<'_> {
    Groups { target_starts: &batch.target_starts }
}

impl Measured {
    fn add(&mut self, terms: Vec<Term>, batch: &Batch) {
        self.tokens += batch.tokens() as u64;
        self.supervised_tokens += batch.supervised() as u64;
        self.shares.push(terms.first().map_or(f64::NAN, Term::mean));
        if self.terms.is_empty() {
            self.terms = terms;
            return;
        }
        for (total, term) in self.terms.iter_mut().zip(terms) {
            total.sum += term.sum;
        }
    }
}
