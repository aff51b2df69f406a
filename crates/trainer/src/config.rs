//! What the `validate` functions of this crate's configuration have in common.
//!
//! The structs stand beside the code that reads them: [`crate::RunConfig`], [`crate::TrainConfig`],
//! [`crate::ObjectiveConfig`], [`crate::OptimConfig`], [`crate::ScheduleConfig`] and
//! [`crate::CheckpointConfig`].

use std::fmt::Display;

/// Problems of a configuration: each a sentence that names its key in backticks.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl Problems {
    /// Adds a problem unless the value of `key` fits.
    pub(crate) fn unless(&mut self, fits: bool, key: &str, found: impl Display, wanted: &str) {
        if !fits {
            self.0.push(format!("`{key}` is {found}, wanted {wanted}"));
        }
    }
}
