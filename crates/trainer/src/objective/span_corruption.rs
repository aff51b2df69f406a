//! Span corruption: the mean negative log-likelihood of what was taken out of a text.
//!
//! The data engine takes the spans out (`albacore_data::Spans`); the loss is that of supervised finetuning.

use albacore_kernels::Softening;
use serde::{Deserialize, Serialize};

use super::{Counts, Groups, Loss, Objective, Sft, Term};
use crate::config::Problems;

/// `[objective] kind = "span_corruption"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpanCorruption {
    /// Share of a text's tokens that is taken out. Default 0.15. A larger one asks for more with less to go
    /// by.
    pub noise_density: f64,
    /// Mean length of what is taken out in one piece, in tokens. Default 3. A larger one asks for longer
    /// answers.
    pub mean_noise_span_length: f64,
    /// Longest source, in tokens, its sentinels and EOS among them: longer texts are cut. Default 512, to which
    /// targets of 114 belong. A larger one shows more of a text at once and costs memory.
    pub inputs_length: usize,
    /// Whether texts are joined before they are cut, 128 at a time, so that every source is as long as it may
    /// be. Default true, as seqio's `merge_examples_to_reduce_padding`; false cuts each text by itself.
    pub merge_examples: bool,
    /// Weight of the z-loss, as of `sft`. Default 0; T5X has 1e-4.
    pub z_loss: f64,
    /// Share of each target that is spread evenly over the vocabulary, as of `sft`. Default 0.
    pub label_smoothing: f64,
}

impl Default for SpanCorruption {
    fn default() -> Self {
        Self {
            noise_density: 0.15,
            mean_noise_span_length: 3.0,
            inputs_length: 512,
            merge_examples: true,
            z_loss: 0.0,
            label_smoothing: 0.0,
        }
    }
}

impl SpanCorruption {
    fn sft(&self) -> Sft {
        Sft { z_loss: self.z_loss, label_smoothing: self.label_smoothing }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let Self { noise_density, mean_noise_span_length, inputs_length, .. } = *self;
        let share = noise_density > 0.0 && noise_density < 1.0;
        let wanted = "a share between 0 and 1";
        problems.unless(share, "objective.noise_density", noise_density, wanted);
        let length = mean_noise_span_length.is_finite() && mean_noise_span_length >= 1.0;
        let key = "objective.mean_noise_span_length";
        problems.unless(length, key, mean_noise_span_length, "1 or more");
        problems.unless(inputs_length >= 3, "objective.inputs_length", inputs_length, "3 or more");
        self.sft().validate(problems);
    }
}

impl Objective for SpanCorruption {
    fn count(&self, groups: &Groups) -> Counts {
        self.sft().count(groups)
    }

    fn softening(&self) -> Softening {
        self.sft().softening()
    }

    fn parts(&self, logp: &[f32], log_sums: &[f32], step: &Counts) -> Vec<Term> {
        self.sft().parts(logp, log_sums, step)
    }

    fn corrupts(&self) -> bool {
        true
    }

    fn ahead(&self, groups: &Groups, step: &Counts) -> Option<Vec<f32>> {
        self.sft().ahead(groups, step)
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        self.sft().loss(logp, groups, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_leave_nothing_to_take_out_are_problems() {
        let mut problems = Problems::default();
        SpanCorruption::default().validate(&mut problems);
        assert!(problems.0.is_empty());
        let wrong = SpanCorruption {
            noise_density: 0.0,
            mean_noise_span_length: 0.5,
            inputs_length: 2,
            ..SpanCorruption::default()
        };
        wrong.validate(&mut problems);
        assert_eq!(
            problems.0,
            [
                "`objective.noise_density` is 0, wanted a share between 0 and 1",
                "`objective.mean_noise_span_length` is 0.5, wanted 1 or more",
                "`objective.inputs_length` is 2, wanted 3 or more",
            ]
        );
    }
}
