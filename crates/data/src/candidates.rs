//! Several answers to one prompt, before and after they are ranked.
//!
//! ```text
//!  prompts ─sample─► CandidateSet ─rank─► RankedRecord ─train─► …
//!                       ▲
//!  tuna, raw, preference┘   published files, read as what was sampled
//! ```

mod input;
mod shapes;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::FinishReason;

pub use input::{Opened, read_candidates, read_rankings};
pub(crate) use shapes::numbers;

/// The source of the answer that a record had before anyone was asked.
pub const ORIGINAL: &str = "original";
/// The source of a judge's own answer.
pub const JUDGE: &str = "judge";

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// What it says.
    pub text: String,
    /// Natural logarithm of its probability, where who wrote it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f64>,
    /// The same per token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_logprob: Option<f64>,
    /// How many tokens that is of; without log-probabilities, how many were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// Who wrote it: the name of a model, `original` or `judge`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// Higher is better, where someone has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Response {
    /// A text and who wrote it.
    pub fn new(text: impl Into<String>, source: &str) -> Self {
        Self { text: text.into(), source: source.to_owned(), ..Self::default() }
    }

    /// Whether it was cut off at the most tokens.
    pub fn is_truncated(&self) -> bool {
        self.finish_reason == Some(FinishReason::Length)
    }
}

/// The answers to one prompt: a line of `candidates.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CandidateSet {
    /// What the prompt's record calls itself, else its number.
    pub id: String,
    /// The text that was asked, template and all.
    pub prompt: String,
    /// The answers, in the order in which they were asked for.
    pub responses: Vec<Response>,
    /// The answer that the record had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// The mean ROUGE-L F over all pairs of the answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rouge: Option<f64>,
    /// The round that it comes from, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<usize>,
    /// Whether it is as diverse as was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<bool>,
}

impl CandidateSet {
    /// Whether two of its answers are the same text.
    pub fn has_duplicates(&self) -> bool {
        let texts: std::collections::HashSet<_> =
            self.responses.iter().map(|response| &response.text).collect();
        texts.len() < self.responses.len()
    }
}

/// Ranked answers to one prompt: a line of `ranked.jsonl`, in the format `tuna`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RankedRecord {
    /// As the candidates have it.
    pub id: String,
    /// The text that was asked, template and all.
    pub instruction: String,
    /// The answers.
    pub output: Vec<String>,
    /// One for each, higher is better.
    pub score: Vec<f64>,
    /// Who wrote each.
    #[serde(default)]
    pub source: Vec<String>,
    /// The answer that the record had, if it is to be an example of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
}

/// An id as text, be it a string or a number.
pub(crate) fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
