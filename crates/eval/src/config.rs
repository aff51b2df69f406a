//! `[eval]`: what is measured during a run, and when.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::suites;

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

/// What is measured during a run, and when: on `data.held_out`, and by the suites of `albacore eval`.
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
    /// Most tokens of a generated answer to a held-out example. Default 128.
    pub max_new_tokens: usize,
    /// Suites that the model in training is asked, as `albacore eval` asks them: `["super_ni", "mmlu/anatomy"]`.
    /// Default none. They are asked before the first and after the last step, and as `suites_every` says.
    pub suites: Vec<String>,
    /// The folder with the suites' files. Default `benchmarks`.
    pub data: PathBuf,
    /// Only so many questions of each task of a suite, the first. Default: all. More take longer and have
    /// narrower intervals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Steps between two measurements by suites. Default: as `every`. A smaller number costs much time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suites_every: Option<usize>,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every: 0,
            metrics: vec![Metric::Loss],
            samples: 0,
            max_new_tokens: 128,
            suites: Vec::new(),
            data: "benchmarks".into(),
            limit: None,
            suites_every: None,
        }
    }
}

impl EvalConfig {
    /// What is wrong with these settings, all of it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.max_new_tokens == 0 {
            problems.push("`eval.max_new_tokens` is 0, wanted at least 1".to_owned());
        }
        if self.limit == Some(0) {
            problems.push("`eval.limit` is 0, wanted at least 1".to_owned());
        }
        let known: Vec<_> = suites().map(|(name, _)| name).collect();
        let named = |name: &String| name.split('/').next().unwrap_or_default().to_owned();
        for (place, name) in self.suites.iter().enumerate() {
            let suite = named(name);
            if !known.contains(&&*suite) {
                let known = known.join("`, `");
                problems.push(format!("`eval.suites` has `{name}`, wanted one of `{known}`"));
            } else if self.suites[..place].iter().any(|other| named(other) == suite) {
                problems.push(format!("`eval.suites` has `{suite}` twice, wanted each suite once"));
            }
        }
        problems
    }

    /// Whether the held-out examples are measured after this step of a run.
    pub fn is_due(&self, step: u64) -> bool {
        every(self.every, step)
    }

    /// Whether the suites are asked after this step of a run.
    pub fn asks_suites(&self, step: u64) -> bool {
        !self.suites.is_empty() && every(self.suites_every.unwrap_or(self.every), step)
    }
}

/// Whether so many steps have passed again; 0 is never.
fn every(steps: usize, step: u64) -> bool {
    steps > 0 && step.is_multiple_of(steps as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_that_there_are_not_and_that_stand_there_twice_are_problems() {
        let of = |suites: &[&str]| EvalConfig {
            suites: suites.iter().map(|name| (*name).to_owned()).collect(),
            ..EvalConfig::default()
        };
        assert_eq!(of(&["mmlu/anatomy", "bbh"]).validate(), [] as [&str; 0]);
        let problems = of(&["mlmu", "bbh/a", "bbh/b"]).validate();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("`eval.suites` has `mlmu`, wanted one of `super_ni`"));
        assert!(problems[1].starts_with("`eval.suites` has `bbh` twice"), "{problems:?}");
        assert_eq!(EvalConfig { limit: Some(0), ..of(&[]) }.validate().len(), 1);
    }

    #[test]
    fn suites_are_asked_as_often_as_the_held_out_examples_unless_told_otherwise() {
        let mut config = EvalConfig { every: 3, ..EvalConfig::default() };
        assert!(config.is_due(6) && !config.is_due(4) && !config.asks_suites(6));
        config.suites = vec!["bbh".into()];
        assert!(config.asks_suites(6) && !config.asks_suites(4));
        config.suites_every = Some(4);
        assert!(config.asks_suites(4) && !config.asks_suites(6));
        config.suites_every = Some(0);
        assert!(!config.asks_suites(12));
    }
}
