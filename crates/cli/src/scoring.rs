//! Log-probabilities of given responses: what `score` and `rank` run.

use albacore_data::{Batch, Encoded, Packing, Plan};
use albacore_kernels::{Tape, storage};
use albacore_model::{Model, Rows};

use crate::failure::Result;

/// Tokens that go through the model at once: enough to fill its matrix products.
const TOKENS_PER_BATCH: usize = 4096;

/// Examples in batches, in their order.
pub struct Scoring<'e> {
    examples: Vec<&'e Encoded>,
    plan: Plan,
}

impl<'e> Scoring<'e> {
    /// Puts these into batches.
    pub fn new(examples: impl IntoIterator<Item = &'e Encoded>) -> Self {
        let examples: Vec<_> = examples.into_iter().collect();
        let lengths: Vec<_> = examples.iter().map(|example| example.len()).collect();
        let plan = Plan::new(Packing::alone(0, TOKENS_PER_BATCH, false), 0, &lengths);
        Self { examples, plan }
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        self.plan.len()
    }

    /// The numbers of the examples of a batch.
    pub fn examples(&self, batch: usize) -> &[u32] {
        self.plan.examples(batch)
    }

    /// The log-probability of each token that is learned, for each example of a batch.
    ///
    /// # Errors
    /// If the model fails.
    pub fn score(&self, model: &Model, batch: usize) -> Result<Vec<Vec<f32>>> {
        let numbers = self.examples(batch).iter().map(|&number| number as usize);
        let batch = Batch::of(numbers.map(|number| (number, self.examples[number])));
        let Batch { ids, starts, is_response, rows, targets, target_starts, .. } = batch;
        let of = target_starts.clone();
        let packed =
            model.pack(Rows { ids, starts, is_response, rows, targets, target_starts: of })?;
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None)?;
        let logprobs = storage::to_vec(logprobs.tensor())?;
        let of = |pair: &[u32]| logprobs[pair[0] as usize..pair[1] as usize].to_vec();
        Ok(target_starts.windows(2).map(of).collect())
    }
}

/// The sum of log-probabilities, in f64.
pub fn sum(logprobs: &[f32]) -> f64 {
    logprobs.iter().map(|logprob| f64::from(*logprob)).sum()
}
