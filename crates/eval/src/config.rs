//! `[eval]`: what is measured during a run, and when.

use serde::{Deserialize, Serialize};

/// A measurement on the held-out examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Mean negative log-likelihood of the learned tokens, in nats per token: `held_out_loss`.
    Loss,
    /// Share of held-out examples whose greedy answer equals the wanted one: `held_out_exact_match`.
    /// Measured before the first and after the last step, since it generates.
    ExactMatch,
}

/// What is measured during a run, and when. Needs `data.held_out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Steps between two measurements of the held-out loss; 0 measures before the first and after
    /// the last step only. Default 0. A smaller number shows overfitting sooner and costs time.
    pub every: usize,
    /// What to measure on the held-out examples. Default `["loss"]`.
    pub metrics: Vec<Metric>,
    /// Held-out examples answered and shown at the end. Default 0.
    pub samples: usize,
    /// Most tokens of a generated answer. Default 128.
    pub max_new_tokens: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { every: 0, metrics: vec![Metric::Loss], samples: 0, max_new_tokens: 128 }
    }
}

impl EvalConfig {
    /// What is wrong with these settings, all of it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max_new_tokens == 0 {
            problems.push("`eval.max_new_tokens` is 0, wanted at least 1".to_owned());
        }
        problems
    }
}
