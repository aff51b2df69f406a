//! Loss on examples that are never trained on.

use std::borrow::Borrow;

use albacore_data::{Encoded, Packing, Plan};
use albacore_kernels::{Tape, storage};
use albacore_model::{Llama, Packed};

use crate::Result;

/// A sum of negative log-likelihoods and the number of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Sum over the learned tokens, in nats.
    pub sum: f64,
    /// Learned tokens.
    pub tokens: usize,
}

impl Loss {
    /// Nats per learned token.
    pub fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

/// The loss of `model` on all of `examples`, packed `tokens_per_batch` at a time.
///
/// # Errors
/// If the model cannot be run.
pub fn held_out_loss<E: Borrow<Encoded>>(
    model: &Llama,
    examples: &[E],
    tokens_per_batch: usize,
) -> Result<Loss> {
    let lengths = examples.iter().map(|example| example.borrow().len()).collect::<Vec<_>>();
    let plan = Plan::new(Packing::alone(0, tokens_per_batch, false), 0, &lengths);
    let mut loss = Loss::default();
    for batch in 0..plan.len() {
        let batch = plan.batch(batch, examples);
        let packed =
            Packed::new(model.config(), batch.ids, batch.starts, batch.rows, batch.targets)?;
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None)?;
        let logprobs = storage::read(logprobs.tensor())?;
        loss.sum -= logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
        loss.tokens += logprobs.len();
    }
    Ok(loss)
}
