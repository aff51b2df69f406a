//! Supervised finetuning: the mean negative log-likelihood of the learned tokens.

use albacore_kernels::Softening;
use serde::{Deserialize, Serialize};

use super::{Counts, Groups, Loss, Objective, Term, not_negative};
use crate::config::Problems;

/// `[objective] kind = "sft"`: `loss = -(1/n) Σ log p(token)`, over the `n` supervised tokens of the whole
/// step.
///
/// Long answers weigh more than short ones, as everywhere in next-token training. The gradient by
/// each log-probability is `-1/n`: known before the forward pass. With label smoothing `s` and a z-loss of
/// weight `w`, `log p` is `(1 - s) log p + s mean(log p of all words) - w (ln Σ e^logit)²`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sft {
    /// Weight of the squared logarithm of what normalises the probabilities. Default 0; T5X has 1e-4. A
    /// larger one keeps logits closer to where nothing needs normalising.
    pub z_loss: f64,
    /// Share of each target, from 0 to below 1, that is spread evenly over the vocabulary. Default 0. A larger
    /// one makes the model less sure.
    pub label_smoothing: f64,
}

impl Sft {
    pub(super) fn validate(&self, problems: &mut Problems) {
        not_negative(problems, "objective.z_loss", self.z_loss);
        let share = (0.0..1.0).contains(&self.label_smoothing);
        let wanted = "a share from 0 to below 1";
        problems.unless(share, "objective.label_smoothing", self.label_smoothing, wanted);
    }
}

fn sum(logp: &[f32]) -> f64 {
    logp.iter().map(|&logp| f64::from(logp)).sum()
}

impl Objective for Sft {
    fn count(&self, groups: &Groups) -> Counts {
        Counts(vec![groups.targets() as u64])
    }

    fn softening(&self) -> Softening {
        Softening { label_smoothing: self.label_smoothing, z_loss: self.z_loss }
    }

    fn parts(&self, logp: &[f32], log_sums: &[f32], step: &Counts) -> Vec<Term> {
        if self.softening() == Softening::default() {
            return Vec::new();
        }
        let count = step.0[0] as f64;
        let squares = log_sums.iter().map(|&sum| f64::from(sum) * f64::from(sum)).sum::<f64>();
        let mle = Term { name: "loss_mle", sum: -sum(logp), count };
        let z = Term { name: "loss_z", sum: self.z_loss * squares, count };
        [mle].into_iter().chain((self.z_loss > 0.0).then_some(z)).collect()
    }

    fn ahead(&self, groups: &Groups, step: &Counts) -> Option<Vec<f32>> {
        Some(vec![(-1.0 / step.0[0] as f64) as f32; groups.targets()])
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let gradient = self.ahead(groups, step).expect("its gradient is always known ahead");
        let loss = Term { name: "loss", sum: -sum(logp), count: step.0[0] as f64 };
        Loss { terms: vec![loss], gradient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two batches of one step: (0.5 + 1.0 + 1.5) nats on three tokens, 2.0 on one. The mean over
    /// the four tokens is 5 / 4; the mean of the batches' means, 1.5, would be the known mistake.
    #[test]
    fn the_loss_is_the_mean_over_the_tokens_of_the_whole_step() {
        let (first, second) = (Groups::alone(&[0, 2, 3]), Groups::alone(&[0, 1]));
        let mut step = Sft::default().count(&first);
        step.add(&Sft::default().count(&second));
        assert_eq!(step, Counts(vec![4]));

        let first = Sft::default().loss(&[-0.5, -1.0, -1.5], &first, &step);
        let second = Sft::default().loss(&[-2.0], &second, &step);
        assert_eq!(first.terms[0].mean() + second.terms[0].mean(), 1.25);
        assert_eq!(first.gradient, [-0.25, -0.25, -0.25]);
        assert_eq!(second.gradient, [-0.25]);
    }

    /// By central differences. The loss is linear, so the step need not be small: one, from
    /// half below to half above, leaves the rounding of the gradient to f32 alone.
    #[test]
    fn the_gradient_known_ahead_is_the_slope_of_the_loss() {
        let groups = Groups::alone(&[0, 1, 3]);
        let (step, logp) = (Counts(vec![7]), [-3.0, -1.0, -0.25]);
        let ahead = Sft::default().ahead(&groups, &step).unwrap();
        assert_eq!(ahead.len(), logp.len());
        assert_eq!(Sft::default().loss(&logp, &groups, &step).gradient, ahead);
        for (token, &slope) in ahead.iter().enumerate() {
            let moved = |by: f32| {
                let mut logp = logp;
                logp[token] += by;
                Sft::default().loss(&logp, &groups, &step).terms[0].mean()
            };
            let wanted = moved(0.5) - moved(-0.5);
            assert!((f64::from(slope) - wanted).abs() < 1e-8, "{slope}, wanted {wanted}");
        }
    }

    /// Two tokens of -1 and -2 nats whose log-sums are 3 and -1: 0.1 · (9 + 1) / 2 = 0.5.
    #[test]
    fn the_parts_of_a_softened_loss_are_told_beside_it() {
        let sft = Sft { z_loss: 0.1, label_smoothing: 0.0 };
        let parts = sft.parts(&[-1.0, -2.0], &[3.0, -1.0], &Counts(vec![2]));
        let named: Vec<_> = parts.iter().map(|term| (term.name, term.mean())).collect();
        assert_eq!(named, [("loss_mle", 1.5), ("loss_z", 0.5)]);
        let smooth = Sft { z_loss: 0.0, label_smoothing: 0.1 };
        assert_eq!(smooth.parts(&[-1.0], &[3.0], &Counts(vec![1])).len(), 1);
        assert!(Sft::default().parts(&[], &[], &Counts(vec![1])).is_empty());
    }

    #[test]
    fn numbers_out_of_range_are_problems() {
        let mut problems = Problems::default();
        Sft { z_loss: -1.0, label_smoothing: 1.0 }.validate(&mut problems);
        assert_eq!(
            problems.0,
            [
                "`objective.z_loss` is -1, wanted 0 or more",
                "`objective.label_smoothing` is 1, wanted a share from 0 to below 1",
            ]
        );
    }
}
