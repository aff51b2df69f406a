//! The gradient of one optimizer step: forward and backward passes over its batches.

use albacore_data::Batch;
use albacore_kernels::{Later, Recompute, Tape, storage};
use albacore_model::Model;

use crate::Result;
use crate::objective::{Counts, Groups, Loss, Objective, Term};
use crate::packed::packed;
use crate::reference::Reference;

/// What the loss of a step is made by.
#[derive(Clone, Copy)]
pub(crate) struct Aim<'a> {
    pub(crate) objective: &'a dyn Objective,
    /// What the frozen reference gives the examples, if the objective asks for it.
    pub(crate) reference: Option<&'a Reference>,
    /// Whether responses share one copy of their prompt.
    pub(crate) share_prompts: bool,
    /// Of what the step drops, for models with dropout; each part of a batch has the next one.
    pub(crate) dropout_seed: u64,
}

/// What an objective is told of a batch.
#[derive(Debug)]
pub(crate) struct Told {
    target_starts: Vec<u32>,
    group_starts: Vec<u32>,
    scores: Vec<f32>,
    reference: Vec<f32>,
    /// The log-probabilities and log-sums behind softened ones, once they are asked for.
    behind: Option<[Later<Vec<f32>>; 2]>,
}

impl Told {
    pub(crate) fn of(batch: &Batch, aim: Aim<'_>) -> Self {
        Self {
            target_starts: batch.target_starts.clone(),
            group_starts: batch.group_starts.clone(),
            scores: batch.scores.clone(),
            reference: aim.reference.map_or(Vec::new(), |reference| reference.of(&batch.examples)),
            behind: None,
        }
    }

    pub(crate) fn groups(&self) -> Groups<'_> {
        Groups {
            target_starts: &self.target_starts,
            group_starts: &self.group_starts,
            scores: &self.scores,
            reference: &self.reference,
        }
    }

    /// What the objective says of these log-probabilities; the terms have the parts of a softened loss too,
    /// for which it waits.
    fn loss(
        mut self,
        objective: &dyn Objective,
        logprobs: &[f32],
        counts: &Counts,
    ) -> Result<Loss> {
        let mut loss = objective.loss(logprobs, &self.groups(), counts);
        if let Some([behind, log_sums]) = self.behind.take() {
            loss.terms.extend(objective.parts(&behind.get()?, &log_sums.get()?, counts));
        }
        Ok(loss)
    }
}

/// What the batches of one step add up to, besides their gradient.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// The objective's terms, summed over the batches.
    pub(crate) terms: Vec<Term>,
    /// The share of the loss that came from each batch.
    pub(crate) shares: Vec<f64>,
}

/// A step whose gradient was asked for: what it measured may still be on its way.
#[derive(Debug)]
pub(crate) struct Accumulated {
    counts: Counts,
    /// Of each batch, what its parts say.
    batches: Vec<Vec<Said>>,
    pub(crate) tokens: u64,
    pub(crate) supervised_tokens: u64,
}

/// What the objective says about a part of a batch.
#[derive(Debug)]
enum Said {
    /// It had to be asked, to know the gradient.
    Terms(Vec<Term>),
    /// It will be asked: its gradient was known ahead.
    Later { logprobs: Later<Vec<f32>>, told: Told },
}

impl Accumulated {
    /// Waits for what was measured.
    pub(crate) fn read(self, objective: &dyn Objective) -> Result<Measured> {
        let mut measured = Measured::default();
        for parts in self.batches {
            let mut share = 0.0;
            for said in parts {
                let terms = match said {
                    Said::Terms(terms) => terms,
                    Said::Later { logprobs, told } => {
                        told.loss(objective, &logprobs.get()?, &self.counts)?.terms
                    }
                };
                share += terms.first().map_or(f64::NAN, Term::mean);
                measured.add(terms);
            }
            measured.shares.push(share);
        }
        Ok(measured)
    }
}

/// Adds up the gradient of the step's loss in the model's parameters.
///
/// The units of all batches are counted first, so that each batch divides by the step's count: the
/// result does not depend on how the examples are spread over batches, up to rounding. Each batch is
/// run in at most `parts` parts, which take as much less memory.
pub(crate) fn accumulate(
    model: &Model,
    aim: Aim<'_>,
    batches: &[Batch],
    recompute: Recompute,
    parts: usize,
) -> Result<Accumulated> {
    debug_assert!(!batches.is_empty(), "a step is made of something");
    model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
    let mut counts = Counts::default();
    for batch in batches {
        counts.add(&aim.objective.count(&Told::of(batch, aim).groups()));
    }

    let mut seeds = (0..).map(|part| aim.dropout_seed.wrapping_add(part));
    let said = batches.iter().map(|batch| {
        let parts = batch.split(parts).into_iter().zip(&mut seeds);
        parts
            .map(|(part, dropout_seed)| {
                backward(model, Aim { dropout_seed, ..aim }, part, &counts, recompute)
            })
            .collect()
    });
    Ok(Accumulated {
        batches: said.collect::<Result<_>>()?,
        tokens: batches.iter().map(|batch| batch.tokens() as u64).sum(),
        supervised_tokens: batches.iter().map(|batch| batch.supervised() as u64).sum(),
        counts,
    })
}

/// Forward and backward of one batch; returns what the objective says about it.
fn backward(
    model: &Model,
    aim: Aim<'_>,
    batch: Batch,
    counts: &Counts,
    recompute: Recompute,
) -> Result<Said> {
    let mut told = Told::of(&batch, aim);
    // An encoder reads a prompt apart from its responses, and never more than once.
    let share = aim.share_prompts || model.has_encoder();
    let batch = if share { batch } else { batch.with_copies() };
    let packed = packed(model, batch)?;
    let mut tape = Tape::recording(recompute).with_dropout_seed(aim.dropout_seed);
    let ahead = aim.objective.ahead(&told.groups(), counts);
    let softening = aim.objective.softening();
    let found = model.softened_logprobs(&mut tape, &packed, ahead.clone(), softening)?;
    told.behind = Some([found.logprobs, found.log_sums]);
    let logprobs = found.softened; // (N,)
    let (said, gradient) = match ahead {
        // Nobody needs to see the log-probabilities for the backward pass to begin.
        Some(gradient) => {
            let logprobs = Later::of(logprobs.tensor(), |logprobs| logprobs)?;
            (Said::Later { logprobs, told }, gradient)
        }
        None => {
            let numbers = storage::to_vec(logprobs.tensor())?;
            let loss = told.loss(aim.objective, &numbers, counts)?;
            (Said::Terms(loss.terms), loss.gradient)
        }
    };
    let seed = storage::vector(&gradient, logprobs.tensor().device())?;
    tape.backward(&logprobs, seed)?;
    Ok(said)
}

impl Measured {
    pub(crate) fn add(&mut self, terms: Vec<Term>) {
        if self.terms.is_empty() {
            self.terms = terms;
            return;
        }
        for (total, term) in self.terms.iter_mut().zip(terms) {
            total.sum += term.sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use albacore_model::{Llama, LlamaConfig};
    use candle_core::Device;
    use serde_json::json;

    use super::*;
    use crate::objective::Sft;

    fn model() -> Model {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 20, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
            "initializer_range": 0.2, "hidden_act": "silu", "rope_theta": 10000.0,
        });
        let config = config.as_object().unwrap().clone();
        let config = LlamaConfig::from_json(config, "the test").unwrap();
        Llama::random(config, 7, &Device::Cpu).unwrap().into()
    }

    /// Three sequences of 5, 2 and 4 tokens, every token learned but the first.
    fn batch() -> Batch {
        Batch {
            ids: vec![3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
            starts: vec![0, 5, 7, 11],
            is_response: vec![false; 3],
            rows: vec![0, 1, 2, 3, 5, 7, 8, 9],
            targets: vec![4, 5, 6, 7, 9, 11, 12, 13],
            examples: vec![0, 1, 2],
            target_starts: vec![0, 4, 5, 8],
            group_starts: vec![0, 1, 2, 3],
            scores: vec![0.0; 3],
        }
    }

    #[test]
    fn the_parts_of_a_batch_give_the_loss_and_the_gradient_of_the_whole() {
        let (model, batches) = (model(), [batch()]);
        let aim = Aim {
            objective: &Sft::default(),
            reference: None,
            share_prompts: true,
            dropout_seed: 0,
        };
        let run = |parts| {
            let step = accumulate(&model, aim, &batches, Recompute::None, parts).unwrap();
            assert_eq!((step.tokens, step.supervised_tokens), (11, 8));
            let parameters = model.parameters();
            let gradients = parameters.iter().map(|parameter| {
                let gradient = parameter.part_gradient(&parameter.parts()[0]).unwrap().unwrap();
                storage::to_vec(&gradient).unwrap()
            });
            (step.read(&Sft::default()).unwrap(), gradients.flatten().collect::<Vec<_>>())
        };
        let (whole, wanted) = run(1);
        for parts in [2, 3, 8] {
            let (measured, found) = run(parts);
            assert!((measured.shares[0] - whole.shares[0]).abs() < 1e-6, "{parts} parts");
            assert!((measured.terms[0].mean() - whole.terms[0].mean()).abs() < 1e-6);
            // Sums of f32 in another order.
            let apart = found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-6, "{parts} parts: {apart}");
        }
    }
}
