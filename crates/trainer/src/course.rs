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

#[cfg(test)]
mod tests {
    use albacore_data::Origin;

    use super::*;

    /// Seven examples of three tokens.
    fn examples() -> Vec<Arc<Encoded>> {
        let one = |line| {
            Arc::new(Encoded {
                ids: vec![line; 3],
                learned: vec![false, true, true],
                reasons: Vec::new(),
                origin: Origin::new("data.jsonl", line),
                eos_added: false,
            })
        };
        (1..=7).map(one).collect()
    }

    #[test]
    fn a_pass_takes_every_example_once_and_its_last_step_may_be_smaller() {
        let examples = examples();
        // Two examples a batch, so four batches a pass; three of them a step.
        let mut course = Course::new(&examples, Packing::alone(1, 6, true), 3);
        for pass in 1..=3 {
            let steps = [course.next_step(), course.next_step()];
            assert_eq!([steps[0].len(), steps[1].len()], [3, 1]);
            let mut seen =
                steps.iter().flatten().flat_map(|batch| batch.examples.clone()).collect::<Vec<_>>();
            seen.sort_unstable();
            assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
            assert_eq!(course.cursor(), Cursor { epoch: pass, batch: 0 });
        }
        assert_eq!(course.epochs(), 3.0);
        assert_eq!([1.0, 3.0, 0.25, 1.5].map(|epochs| course.steps_in(epochs)), [2, 6, 1, 3]);
    }

    #[test]
    fn a_cursor_is_all_that_is_needed_to_go_on() {
        let examples = examples();
        let course = || Course::new(&examples, Packing::alone(1, 6, true), 3);
        let mut never_stopped = course();
        for _ in 0..5 {
            let mut resumed = course();
            resumed.seek(never_stopped.cursor());
            assert_eq!(resumed.next_step(), never_stopped.next_step());
        }
    }
}
