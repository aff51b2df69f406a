//! Which batches make up which step: a pure function of the data, the seed and the step.

use std::sync::Arc;

use albacore_data::{Batch, Encoded, Packing, Plan};
use serde::{Deserialize, Serialize};

/// How far a run has read its data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Whole passes over the data.
    pub epoch: u64,
    /// Batches taken of the current pass.
    pub batch: usize,
}

/// The batches of a run, step by step. A step never reaches across the end of a pass: the last step
/// of a pass may have fewer batches, and divides by what it has.
pub(crate) struct Course<'d> {
    examples: &'d [Arc<Encoded>],
    lengths: Vec<usize>,
    packing: Packing,
    batches_per_step: usize,
    cursor: Cursor,
    /// The batches of the current pass.
    plan: Plan,
}

impl<'d> Course<'d> {
    /// The start of a run.
    pub(crate) fn new(
        examples: &'d [Arc<Encoded>],
        packing: Packing,
        batches_per_step: usize,
    ) -> Self {
        let lengths = examples.iter().map(|example| example.len()).collect::<Vec<_>>();
        let plan = Plan::new(packing, 0, &lengths);
        Self { examples, lengths, packing, batches_per_step, cursor: Cursor::default(), plan }
    }

    /// How far it has come.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a cursor of the same run.
    pub(crate) fn seek(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.plan = self.plan_of(cursor.epoch);
    }

    /// The batches of the next step.
    pub(crate) fn next_step(&mut self) -> Vec<Batch> {
        let end = (self.cursor.batch + self.batches_per_step).min(self.plan.len());
        let batches = (self.cursor.batch..end).map(|batch| self.plan.batch(batch, self.examples));
        let batches = batches.collect();
        match end == self.plan.len() {
            true => self.seek(Cursor { epoch: self.cursor.epoch + 1, batch: 0 }),
            false => self.cursor.batch = end,
        }
        batches
    }

    /// Passes over the data so far, with the part of the current one.
    pub(crate) fn epochs(&self) -> f64 {
        self.cursor.epoch as f64 + self.cursor.batch as f64 / self.plan.len() as f64
    }

    /// Steps in so many passes from the start. Packing differs from pass to pass where the order
    /// does, so each is planned; of a part of a pass, the step that completes it is the last.
    pub(crate) fn steps_in(&self, epochs: f64) -> u64 {
        let steps = |epoch: u64| self.plan_of(epoch).len().div_ceil(self.batches_per_step) as u64;
        let whole = (0..epochs as u64).map(steps).sum::<u64>();
        match epochs.fract() {
            0.0 => whole,
            part => whole + (steps(epochs as u64) as f64 * part).ceil() as u64,
        }
    }

    fn plan_of(&self, epoch: u64) -> Plan {
        Plan::new(self.packing, epoch, &self.lengths)
    }
}
