//! The terms of a ranking objective on groups that are never trained on.

use std::sync::Arc;

use albacore_data::{Batch, Encoded, Packing, Plan};
use albacore_kernels::{Tape, storage};
use albacore_model::Model;

use crate::Result;
use crate::metrics::Named;
use crate::objective::{Counts, Term};
use crate::packed::packed;
use crate::step::{Aim, Measured, Told};

/// All terms of the objective over all of `examples`, as of one step: `held_out_loss`, ….
pub(crate) fn measure(
    model: &Model,
    aim: Aim<'_>,
    examples: &[Arc<Encoded>],
    tokens_per_batch: usize,
) -> Result<Named> {
    let lengths: Vec<_> = examples.iter().map(|example| example.len()).collect();
    let plan = Plan::new(Packing::alone(0, tokens_per_batch, false), 0, &lengths);
    let batches: Vec<Batch> = (0..plan.len()).map(|batch| plan.batch(batch, examples)).collect();
    let mut counts = Counts::default();
    for batch in &batches {
        counts.add(&aim.objective.count(&Told::of(batch, aim).groups()));
    }
    let mut measured = Measured::default();
    for batch in batches {
        let told = Told::of(&batch, aim);
        let packed = packed(model, batch)?;
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None)?;
        let logprobs = storage::to_vec(logprobs.tensor())?;
        measured.add(aim.objective.loss(&logprobs, &told.groups(), &counts).terms);
    }
    let named = |term: &Term| (format!("held_out_{}", term.name), term.mean());
    Ok(measured.terms.iter().map(named).collect())
}
