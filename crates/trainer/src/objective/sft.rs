//! Supervised finetuning: the mean negative log-likelihood of the learned tokens.

use super::{Counts, Groups, Loss, Objective, Term};

/// `loss = -(1/n) Σ log p(token)`, over the `n` supervised tokens of the whole step.
///
/// Long answers weigh more than short ones, as everywhere in next-token training. The gradient by
/// each log-probability is `-1/n`: known before the forward pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sft;

impl Objective for Sft {
    fn count(&self, groups: &Groups) -> Counts {
        Counts(vec![groups.targets() as u64])
    }

    fn ahead(&self, groups: &Groups, step: &Counts) -> Option<Vec<f32>> {
        Some(vec![(-1.0 / step.0[0] as f64) as f32; groups.targets()])
    }

    fn loss(&self, logp: &[f32], groups: &Groups, step: &Counts) -> Loss {
        let sum = -logp.iter().map(|&logp| f64::from(logp)).sum::<f64>();
        let gradient = self.ahead(groups, step).expect("its gradient is always known ahead");
        Loss { terms: vec![Term { name: "loss", sum, count: step.0[0] as f64 }], gradient }
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
        let mut step = Sft.count(&first);
        step.add(&Sft.count(&second));
        assert_eq!(step, Counts(vec![4]));

        let first = Sft.loss(&[-0.5, -1.0, -1.5], &first, &step);
        let second = Sft.loss(&[-2.0], &second, &step);
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
        let ahead = Sft.ahead(&groups, &step).unwrap();
        assert_eq!(ahead.len(), logp.len());
        assert_eq!(Sft.loss(&logp, &groups, &step).gradient, ahead);
        for (token, &slope) in ahead.iter().enumerate() {
            let moved = |by: f32| {
                let mut logp = logp;
                logp[token] += by;
                Sft.loss(&logp, &groups, &step).terms[0].mean()
            };
            let wanted = moved(0.5) - moved(-0.5);
            assert!((f64::from(slope) - wanted).abs() < 1e-8, "{slope}, wanted {wanted}");
        }
    }
}
