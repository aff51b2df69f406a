//! What the `validate` functions of this crate's configuration have in common.
//!
//! The structs stand beside the code that reads them: [`crate::RunConfig`], [`crate::TrainConfig`],
//! [`crate::ObjectiveConfig`], [`crate::OptimConfig`], [`crate::ScheduleConfig`] and
//! [`crate::CheckpointConfig`].

use std::fmt::Display;

use crate::{OptimConfig, ScheduleConfig, TrainConfig};

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

/// What a configuration asks for that the CPU has not: problems as those of `validate`.
pub fn only_on_a_gpu(optim: &OptimConfig, train: &TrainConfig) -> Vec<String> {
    let mut problems = Vec::new();
    if optim.offload {
        problems.push(
            "`optim.offload` is true, wanted false on the CPU\n\
             hint: the state lies in the host's memory already; `optim.state = \"int8\"` makes it \
             smaller, and `--device cuda` trains on a GPU"
                .to_owned(),
        );
    }
    if !train.master_weights {
        problems.push(
            "`train.master_weights` is false, wanted true on the CPU\n\
             hint: the CPU trains in f32; weights that are bf16 alone need a GPU: `--device cuda`"
                .to_owned(),
        );
    }
    problems
}

/// A rate that is set beside the relative step, which asks nobody for one.
pub fn one_rate(optim: &OptimConfig, schedule: &ScheduleConfig) -> Vec<String> {
    let set = [
        ("optim.learning_rate", optim.learning_rate != OptimConfig::default().learning_rate),
        ("schedule", *schedule != ScheduleConfig::default()),
    ];
    let set = set.iter().filter(|(_, is_set)| *is_set && optim.relative_step);
    set.map(|(key, _)| {
        format!(
            "`{key}` is set, and so is `optim.relative_step`, which has a rate of its own\n\
             hint: leave out one of the two"
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{OptimKind, Precision, ScheduleKind};

    #[test]
    fn a_relative_step_wants_no_other_rate() {
        let optim = OptimConfig {
            kind: OptimKind::Adafactor,
            relative_step: true,
            learning_rate: 1e-3,
            ..OptimConfig::default()
        };
        let schedule = ScheduleConfig { kind: ScheduleKind::Constant, ..Default::default() };
        let problems = one_rate(&optim, &schedule);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("`optim.learning_rate` is set, and so is"), "{problems:?}");
        assert!(problems[1].starts_with("`schedule` is set, and so is"), "{problems:?}");
        assert!(one_rate(&OptimConfig { relative_step: false, ..optim }, &schedule).is_empty());
    }

    #[test]
    fn what_needs_a_gpu_is_refused_without_one_all_at_once() {
        let (mut optim, mut train) = (OptimConfig::default(), TrainConfig::default());
        assert!(only_on_a_gpu(&optim, &train).is_empty());
        (optim.offload, train.master_weights) = (true, false);
        let problems = only_on_a_gpu(&optim, &train);
        let first_lines: Vec<_> =
            problems.iter().filter_map(|problem| problem.lines().next()).collect();
        assert_eq!(
            first_lines,
            [
                "`optim.offload` is true, wanted false on the CPU",
                "`train.master_weights` is false, wanted true on the CPU",
            ]
        );
    }

    #[test]
    fn weights_in_f32_have_no_masters_to_leave_out() {
        let train =
            |precision| TrainConfig { precision, master_weights: false, ..TrainConfig::default() };
        assert!(train(None).validate().is_empty());
        assert!(train(Some(Precision::Bf16)).validate().is_empty());
        let problems = train(Some(Precision::F32)).validate();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("`train.master_weights` is false, wanted true where"));
    }
}
