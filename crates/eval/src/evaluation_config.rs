//! `[evaluation]`: how suites are asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::suites;

/// Exemplars before each question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Shots {
    /// As many in every suite.
    All(usize),
    /// By the name of the suite; the others as their rules say.
    BySuite(BTreeMap<String, usize>),
}

impl Shots {
    /// Those of a suite, if something is said of it.
    pub fn of(&self, suite: &str) -> Option<usize> {
        match self {
            Self::All(shots) => Some(*shots),
            Self::BySuite(shots) => shots.get(suite).copied(),
        }
    }
}

impl<'de> Deserialize<'de> for Shots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Shots;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a table of numbers by suite")
            }

            fn visit_u64<E: de::Error>(self, shots: u64) -> Result<Shots, E> {
                usize::try_from(shots).map(Shots::All).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, shots: i64) -> Result<Shots, E> {
                let wrong = || E::invalid_value(Unexpected::Signed(shots), &self);
                usize::try_from(shots).map(Shots::All).map_err(|_| wrong())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Shots, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Shots::BySuite)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// Which models' replies to LMentry end with the first sentence of their first line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LmentryCut {
    /// Those of models that do not stop by themselves: most of whose replies are as long as they may be.
    #[default]
    Auto,
    /// No model's.
    Never,
    /// Every model's.
    Always,
}

impl fmt::Display for LmentryCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Never => "never",
            Self::Always => "always",
        })
    }
}

/// How `albacore eval` asks its suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Exemplars before each question, of all suites or by suite. Default: as each suite's rule says. Fewer are
    /// faster, and another measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shots: Option<Shots>,
    /// A file whose text stands before every prompt, the same for all tasks: TAPP's demonstrations as they
    /// are published, or any text. Default none. With `shots = 0` demonstrations are left out from the end
    /// until a prompt fits; beside exemplars it stays, and a suite's own limit counts what stands behind it.
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
    /// Whose replies to LMentry are cut behind their first sentence, as the benchmark does for models that do not
    /// stop by themselves. Default `auto`: models most of whose replies are as long as they may be.
    pub lmentry_cut: LmentryCut,
    /// Questions that run together. Default 16 on the CPU, 64 on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// `super_ni`: a file of more wordings of each task's definition, lines `{task, definitions}`. Each instance is
    /// asked under all of them, and how far the scores spread is told; the suite's own numbers stay those of its own
    /// definitions. Default: its own definition only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paraphrases: Option<PathBuf>,
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
            lmentry_cut: LmentryCut::Auto,
            concurrency: None,
            paraphrases: None,
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
        if let Some(Shots::BySuite(shots)) = &self.shots {
            let is_known = |name: &&String| suites().any(|(suite, _)| suite == name.as_str());
            problems.extend(shots.keys().filter(|name| !is_known(name)).map(|name| {
                format!("`evaluation.shots.{name}` is of no suite, see `albacore eval --help`")
            }));
        }
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
            shots: Some(Shots::BySuite([("mlmu".into(), 0), ("mmlu".into(), 0)].into())),
            ..EvaluationConfig::default()
        };
        let problems = config.validate();
        assert_eq!(problems.len(), 6);
        assert!(problems[5].starts_with("`evaluation.shots.mlmu` is of no suite"), "{problems:?}");
        assert_eq!(config.shots.as_ref().and_then(|shots| shots.of("mmlu")), Some(0));
        assert_eq!(config.shots.and_then(|shots| shots.of("bbh")), None);
        assert_eq!(Shots::All(3).of("bbh"), Some(3));
    }
}
