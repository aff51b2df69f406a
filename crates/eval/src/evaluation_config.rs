//! `[evaluation]`: how suites are asked.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How `albacore eval` asks its suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Exemplars before each question. Default: as each suite's rule says. Fewer are faster, and another
    /// measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<usize>,
    /// A file whose text stands before every prompt, the same for all tasks: TAPP's demonstrations as they
    /// are published, or any text. Default none. With `shots = 0` demonstrations are left out from the end
    /// until a prompt fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<PathBuf>,
    /// Whether prompts are asked as messages of the user, in the chat template of a model here. Default
    /// false: models go on with the text, as the papers have them do.
    pub chat: bool,
    /// Answers drawn for each question of a suite that reasons; the majority counts (self-consistency).
    /// Default 1, which draws none and takes the most probable tokens. More take as many times as long.
    pub samples: usize,
    /// Temperature of more than one sample. Default 0.7. Raising it makes them differ more.
    pub temperature: f64,
    /// Longest answer in tokens. Default: as each suite says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Questions that run together. Default 16 on the CPU, 64 on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Times that the questions are drawn anew for the intervals. Default 1,000. More make their ends
    /// steadier.
    pub resamples: usize,
    /// Share of those means that an interval holds. Default 0.95.
    pub confidence: f64,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            shots: None,
            prefix: None,
            chat: false,
            samples: 1,
            temperature: 0.7,
            max_new_tokens: None,
            concurrency: None,
            resamples: 1000,
            confidence: 0.95,
        }
    }
}

impl EvaluationConfig {
    /// What is wrong with these settings, all of it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, key: &str, found: &dyn std::fmt::Display, wanted: &str| {
            if !good {
                problems.push(format!("`evaluation.{key}` is {found}, wanted {wanted}"));
            }
        };
        unless(self.samples > 0, "samples", &self.samples, "1 or more");
        let warm = self.temperature.is_finite() && self.temperature > 0.0;
        let cold = self.samples == 1 && self.temperature == 0.0;
        unless(warm || cold, "temperature", &self.temperature, "more than 0");
        for (key, value) in
            [("max_new_tokens", self.max_new_tokens), ("concurrency", self.concurrency)]
        {
            unless(value != Some(0), key, &0, "1 or more");
        }
        unless(self.resamples > 0, "resamples", &self.resamples, "1 or more");
        let share = self.confidence > 0.0 && self.confidence < 1.0;
        unless(share, "confidence", &self.confidence, "a number between 0 and 1");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        assert_eq!(EvaluationConfig::default().validate(), [] as [&str; 0]);
        let config = EvaluationConfig {
            samples: 0,
            temperature: f64::NAN,
            max_new_tokens: Some(0),
            resamples: 0,
            confidence: 1.0,
            ..EvaluationConfig::default()
        };
        assert_eq!(config.validate().len(), 5);
    }
}
