//! Loss on examples that are never trained on.

use std::borrow::Borrow;

use albacore_data::{Batch, Encoded, Packing, Plan};
use albacore_kernels::{Tape, storage};
use albacore_model::{Model, Rows};

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
    model: &Model,
    examples: &[E],
    tokens_per_batch: usize,
) -> Result<Loss> {
    let lengths = examples.iter().map(|example| example.borrow().len()).collect::<Vec<_>>();
    let plan = Plan::new(Packing::alone(0, tokens_per_batch, false), 0, &lengths);
    let mut loss = Loss::default();
    for batch in 0..plan.len() {
        let Batch { ids, starts, is_response, rows, targets, target_starts, .. } =
            plan.batch(batch, examples);
        let packed = model.pack(Rows { ids, starts, is_response, rows, targets, target_starts })?;
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None)?;
        let logprobs = storage::to_vec(logprobs.tensor())?;
        loss.sum -= logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
        loss.tokens += logprobs.len();
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use albacore_data::Origin;

    use super::*;
    use crate::tiny;

    fn example(ids: &[u32], learned: &[usize]) -> Encoded {
        Encoded {
            ids: ids.to_vec(),
            learned: (0..ids.len()).map(|place| learned.contains(&place)).collect(),
            reasons: Vec::new(),
            origin: Origin::new("here", 1),
            eos_added: false,
            responses: Vec::new(),
        }
    }

    /// The log-probabilities of an example's learned tokens, the example alone in the model.
    fn alone(model: &Model, example: &Encoded) -> Vec<f32> {
        let rows = (1..example.ids.len()).filter(|&next| example.learned[next]);
        let targets = rows.clone().map(|next| example.ids[next]).collect();
        let rows = rows.map(|next| next as u32 - 1).collect();
        let (ids, starts) = (example.ids.clone(), vec![0, example.ids.len() as u32]);
        let (is_response, target_starts) = (vec![false], Vec::new());
        let rows = Rows { ids, starts, is_response, rows, targets, target_starts };
        let packed = model.pack(rows).unwrap();
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None).unwrap();
        storage::read(logprobs.tensor()).unwrap().to_vec()
    }

    #[test]
    fn the_loss_is_the_mean_over_the_tokens_of_examples_scored_alone() {
        let model = tiny::model();
        let examples = [
            example(&[3, 1, 4, 1, 5], &[2, 3, 4]),
            example(&[9, 2, 6], &[2]),
            example(&[5, 3, 5, 8, 9, 7, 9], &[1, 2, 5]),
            example(&[3, 2], &[1]),
        ];
        let logprobs = examples.iter().flat_map(|example| alone(&model, example));
        let logprobs = logprobs.map(f64::from).collect::<Vec<_>>();
        assert_eq!(logprobs.len(), 3 + 1 + 3 + 1);
        let wanted = -logprobs.iter().sum::<f64>() / 8.0;
        // One batch for all, several in one and some alone, each alone.
        for tokens_per_batch in [64, 8, 1] {
            let loss = held_out_loss(&model, &examples, tokens_per_batch).unwrap();
            assert_eq!(loss.tokens, 8);
            // Packed equals alone up to the rounding of f32.
            assert!((loss.mean() - wanted).abs() <= 1e-6 * wanted, "{loss:?}, wanted {wanted}");
        }
    }
}
