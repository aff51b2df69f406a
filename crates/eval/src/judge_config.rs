//! `[judge]`: how a judge is asked.

use albacore_data::Decoding;
use serde::{Deserialize, Serialize};

use crate::{JudgeForm, Orders};

/// How `albacore eval judge` and `albacore eval rate` ask their judges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeConfig {
    /// Two scores from 1 to 10 before the reasons (`scores`, the default), or a verdict `[[A]]`, `[[B]]` or
    /// `[[C]]` after them (`verdict`). Ratings have a form of their own.
    pub form: JudgeForm,
    /// Whether two answers are shown in both orders (`both`, the default), or as they are only (`one`), which
    /// takes half as many requests and leaves the judge its favourite place.
    pub orders: Orders,
    /// Times that a judge is asked whose reply cannot be read. Default 2: then the question is set aside. More
    /// leave fewer aside.
    pub attempts: u32,
    /// Temperature from the second attempt on; the first takes the most probable tokens. Default 0.7. At 0 a
    /// judge would repeat itself.
    pub temperature: f64,
    /// Longest reply in tokens. Default 1,024. A shorter one may end before its verdict.
    pub max_tokens: usize,
    /// Requests that run together at a judge here. Default 16 on the CPU, 64 on a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            form: JudgeForm::default(),
            orders: Orders::default(),
            attempts: 2,
            temperature: 0.7,
            max_tokens: 1024,
            concurrency: None,
        }
    }
}

impl JudgeConfig {
    /// What is wrong with these settings, all of it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, key: &str, found: &dyn std::fmt::Display, wanted: &str| {
            if !good {
                problems.push(format!("`judge.{key}` is {found}, wanted {wanted}"));
            }
        };
        unless(self.attempts > 0, "attempts", &self.attempts, "1 or more");
        let warm = self.temperature.is_finite() && self.temperature > 0.0;
        unless(warm || self.attempts == 1, "temperature", &self.temperature, "more than 0");
        unless(self.max_tokens > 0, "max_tokens", &self.max_tokens, "1 or more");
        unless(self.concurrency != Some(0), "concurrency", &0, "1 or more");
        problems
    }

    /// How the reply of this attempt is drawn; the first is 0.
    pub(crate) fn decoding(&self, attempt: u32) -> Decoding {
        let temperature = if attempt == 0 { 0.0 } else { self.temperature };
        Decoding { max_tokens: self.max_tokens, temperature, ..Decoding::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_at_once() {
        assert_eq!(JudgeConfig::default().validate(), [] as [&str; 0]);
        let config = JudgeConfig {
            attempts: 0,
            temperature: 0.0,
            max_tokens: 0,
            concurrency: Some(0),
            ..JudgeConfig::default()
        };
        let problems = config.validate();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert_eq!(problems[0], "`judge.attempts` is 0, wanted 1 or more");
        // What is asked once is asked at 0.
        let once = JudgeConfig { attempts: 1, temperature: 0.0, ..JudgeConfig::default() };
        assert_eq!(once.validate(), [] as [&str; 0]);
    }

    #[test]
    fn only_the_first_attempt_takes_the_most_probable_tokens() {
        let config = JudgeConfig::default();
        assert_eq!([0, 1].map(|attempt| config.decoding(attempt).temperature), [0.0, 0.7]);
    }
}
