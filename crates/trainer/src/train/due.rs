//! What is due behind a step.

use crate::event::{Evaluator, When};
use crate::setup::Training;

impl Training<'_> {
    pub(super) fn is_finished(&self) -> bool {
        self.state.step >= self.state.steps
    }

    pub(super) fn evaluation_due(&self, evaluator: Option<&dyn Evaluator>) -> Option<When> {
        let step = self.state.step;
        let is_wanted = || evaluator.is_some_and(|evaluator| evaluator.is_due(step));
        match self.is_finished() {
            true => Some(When::After),
            false => {
                let is_due = self.is_due(self.options.evaluate_every) || is_wanted();
                is_due.then_some(When::During)
            }
        }
    }

    pub(super) fn checkpoint_due(&self) -> bool {
        self.is_finished() || self.is_due(self.options.checkpoint.every)
    }

    /// Whether so many steps have passed again; 0 is never.
    pub(super) fn is_due(&self, every: u64) -> bool {
        every > 0 && self.state.step.is_multiple_of(every)
    }
}
