//! The learning rate of each step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::Problems;

/// The shape of the learning rate over a run, after the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Stays where it is.
    Constant,
    /// Falls in a straight line until the end of the run.
    #[default]
    Linear,
    /// Falls along half a cosine until the end of the run.
    Cosine,
    /// Stays, then falls in a straight line over the last tenth of the run (warm-up, stable, decay).
    Wsd,
    /// Falls as one over the square root of the step; the length of the run does not matter.
    InverseSqrt,
    /// The same without a rise before: stays for the steps of the warm-up, as T5X has it.
    Rsqrt,
}

/// `[schedule]`: how the learning rate changes over a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Shape after the warm-up: `constant`, `linear`, `cosine`, `wsd`, `inverse_sqrt` or `rsqrt`.
    /// Default `linear`.
    pub kind: ScheduleKind,
    /// Steps over which the rate rises from 0 to `optim.learning_rate`; with `rsqrt`, over which it stays
    /// there. Default 0. More of them calm the start, when the moments still know little.
    pub warmup_steps: u64,
    /// Share of `optim.learning_rate`, from 0 to 1, below which the rate does not fall. Default 0.
    /// A larger one keeps the end of the run learning.
    pub min_ratio: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { kind: ScheduleKind::default(), warmup_steps: 0, min_ratio: 0.0 }
    }
}

impl ScheduleConfig {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        let share = (0.0..=1.0).contains(&self.min_ratio);
        problems.unless(share, "schedule.min_ratio", self.min_ratio, "a share from 0 to 1");
        problems.0
    }
}

/// The learning rate of every step of a run of known length.
#[derive(Clone, Debug)]
pub struct Schedule {
    config: ScheduleConfig,
    learning_rate: f64,
    steps: u64,
    /// Whether the rate is that of Adafactor's paper, and then whether it rises first.
    relative: Option<bool>,
}

impl Schedule {
    /// The schedule of a run of `steps` steps whose highest rate is `learning_rate`.
    pub fn new(config: ScheduleConfig, learning_rate: f64, steps: u64) -> Self {
        Self { config, learning_rate, steps, relative: None }
    }

    /// The relative step of Adafactor's paper, `min(0.01, 1 / sqrt(step))`, with steps from 1, which asks
    /// nobody for a rate. With `warmup_init` it rises by 1e-6 a step until it meets the other.
    pub fn relative(warmup_init: bool) -> Self {
        Self { relative: Some(warmup_init), ..Self::new(ScheduleConfig::default(), 0.0, 0) }
    }

    /// The rate of the step that follows `done` steps.
    ///
    /// It is that of transformers' schedules: the first of several warm-up steps has rate 0, and the
    /// last step of a run is the last above the floor.
    pub fn rate(&self, done: u64) -> f64 {
        let Some(warmup_init) = self.relative else {
            return self.learning_rate * self.ratio(done as f64);
        };
        let step = (done + 1) as f64;
        let least = if warmup_init { 1e-6 * step } else { 1e-2 };
        least.min(1.0 / step.sqrt())
    }

    fn ratio(&self, done: f64) -> f64 {
        let (warmup, steps) = (self.config.warmup_steps as f64, self.steps as f64);
        if done < warmup && self.config.kind != ScheduleKind::Rsqrt {
            return done / warmup;
        }
        let left = |length: f64| ((steps - done) / length.max(1.0)).clamp(0.0, 1.0);
        let shape = match self.config.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => left(steps - warmup),
            ScheduleKind::Cosine => 0.5 * (1.0 + (PI * (1.0 - left(steps - warmup))).cos()),
            ScheduleKind::Wsd => left(steps / 10.0),
            // Without a warm-up, it falls as if one of 10,000 steps had gone before.
            ScheduleKind::InverseSqrt if warmup == 0.0 => (1e4 / (done + 1e4)).sqrt(),
            ScheduleKind::InverseSqrt => (warmup / done).sqrt(),
            // T5X's 1 / sqrt(max(step, warm-up)), as a share of what it begins with.
            ScheduleKind::Rsqrt => (warmup.max(1.0) / done.max(warmup).max(1.0)).sqrt(),
        };
        let floor = self.config.min_ratio;
        floor + (1.0 - floor) * shape
    }

    /// Whether a run of another length would have had the same rates in its first `done` steps.
    pub(crate) fn agrees_until(&self, done: u64, steps: u64) -> bool {
        let other = Self { steps, ..self.clone() };
        (0..done).all(|step| self.rate(step) == other.rate(step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(kind: ScheduleKind, warmup_steps: u64, min_ratio: f64, at: &[u64]) -> Vec<f64> {
        let schedule = Schedule::new(ScheduleConfig { kind, warmup_steps, min_ratio }, 1.0, 100);
        at.iter().map(|&done| schedule.rate(done)).collect()
    }

    fn assert_close(found: &[f64], wanted: &[f64]) {
        let close = found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12);
        assert!(close && found.len() == wanted.len(), "found {found:?}, wanted {wanted:?}");
    }

    #[test]
    fn warm_up_rises_from_zero_and_constant_stays() {
        let found = rates(ScheduleKind::Constant, 4, 0.0, &[0, 1, 2, 3, 4, 50, 99, 1000]);
        assert_close(&found, &[0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_decay_ends_on_its_floor_and_stays_there() {
        // Half of the way down from 1 to 0.2 is 0.6.
        for kind in [ScheduleKind::Linear, ScheduleKind::Cosine] {
            assert_close(&rates(kind, 0, 0.2, &[0, 50, 100, 200]), &[1.0, 0.6, 0.2, 0.2]);
        }
    }

    /// ```python
    /// import torch
    /// from transformers import (get_linear_schedule_with_warmup as linear,
    ///     get_cosine_schedule_with_warmup as cosine, get_inverse_sqrt_schedule as inverse)
    /// for make, total in ((linear, [100]), (cosine, [100]), (inverse, [])):
    ///     optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    ///     schedule = make(optimizer, 10, *total)
    ///     print([schedule.lr_lambdas[0](step) for step in (0, 3, 10, 11, 40, 55, 77, 99, 100)])
    /// ```
    #[test]
    fn rates_are_those_of_transformers() {
        let at = [0, 3, 10, 11, 40, 55, 77, 99, 100];
        let linear = [
            0.0,
            0.3,
            1.0,
            0.9888888888888889,
            0.6666666666666666,
            0.5,
            0.25555555555555554,
            0.011111111111111112,
            0.0,
        ];
        assert_close(&rates(ScheduleKind::Linear, 10, 0.0, &at), &linear);
        let cosine = [
            0.0,
            0.3,
            1.0,
            0.9996954135095479,
            0.75,
            0.5,
            0.15267081477050132,
            0.00030458649045211894,
            0.0,
        ];
        assert_close(&rates(ScheduleKind::Cosine, 10, 0.0, &at), &cosine);
        let inverse = [
            0.0,
            0.3,
            1.0,
            0.9534625892455922,
            0.5,
            0.42640143271122083,
            0.3603749850782236,
            0.3178208630818641,
            0.31622776601683794,
        ];
        assert_close(&rates(ScheduleKind::InverseSqrt, 10, 0.0, &at), &inverse);
    }

    /// √(4 / max(step, 4)): 1 until step 4, √(4/16) = 1/2 at 16, √(4/64) = 1/4 at 64.
    #[test]
    fn rsqrt_stays_for_its_warm_up_and_then_falls_as_t5x_does() {
        let found = rates(ScheduleKind::Rsqrt, 4, 0.0, &[0, 1, 4, 9, 16, 64, 400]);
        assert_close(&found, &[1.0, 1.0, 1.0, 2.0 / 3.0, 0.5, 0.25, 0.1]);
        // Without a warm-up it falls from the second step on.
        let found = rates(ScheduleKind::Rsqrt, 0, 0.0, &[0, 1, 4, 100]);
        assert_close(&found, &[1.0, 1.0, 0.5, 0.1]);
        // T5's own: 1e-2 for 10,000 steps, then 1 / √step.
        let config = ScheduleConfig {
            kind: ScheduleKind::Rsqrt,
            warmup_steps: 10_000,
            ..ScheduleConfig::default()
        };
        let schedule = Schedule::new(config, 1e-2, 1_000_000);
        let found = [0, 10_000, 40_000, 999_999].map(|done| schedule.rate(done));
        assert_close(&found, &[1e-2, 1e-2, 1.0 / 200.0, 1.0 / 999_999f64.sqrt()]);
    }

    /// As transformers' `Adafactor._get_lr`, with steps from 1.
    #[test]
    fn the_relative_step_is_a_hundredth_until_one_over_the_root_is_less() {
        let of = |warmup_init, at: &[u64]| {
            let schedule = Schedule::relative(warmup_init);
            at.iter().map(|&done| schedule.rate(done)).collect::<Vec<_>>()
        };
        assert_close(&of(false, &[0, 9_999, 39_999]), &[1e-2, 1e-2, 5e-3]);
        // 1e-6 · step meets 1 / √step at step 10,000.
        assert_close(&of(true, &[0, 99, 9_999, 39_999]), &[1e-6, 1e-4, 1e-2, 5e-3]);
    }

    #[test]
    fn wsd_falls_over_the_last_tenth() {
        assert_close(
            &rates(ScheduleKind::Wsd, 0, 0.0, &[0, 89, 90, 95, 99, 100]),
            &[1.0, 1.0, 1.0, 0.5, 0.1, 0.0],
        );
    }

    #[test]
    fn only_a_schedule_that_has_begun_to_fall_feels_a_longer_run() {
        let config = |kind| ScheduleConfig { kind, warmup_steps: 5, ..Default::default() };
        let longer = |kind, done| Schedule::new(config(kind), 1.0, 100).agrees_until(done, 200);
        assert!(longer(ScheduleKind::Constant, 100));
        assert!(longer(ScheduleKind::InverseSqrt, 100) && longer(ScheduleKind::Rsqrt, 100));
        assert!(Schedule::relative(true).agrees_until(100, 200));
        assert!(longer(ScheduleKind::Wsd, 90) && !longer(ScheduleKind::Wsd, 92));
        assert!(longer(ScheduleKind::Cosine, 6) && !longer(ScheduleKind::Cosine, 7));
    }

    #[test]
    fn a_ratio_above_one_is_a_problem() {
        let config = ScheduleConfig { min_ratio: 1.5, ..Default::default() };
        let problems = config.validate();
        assert_eq!(problems[0], "`schedule.min_ratio` is 1.5, wanted a share from 0 to 1");
    }
}
