//! Who writes text for the data engine: a model of our own or a server, behind one trait.
//!
//! The engine asks for completions in streams: it hands over an iterator of requests and is told of
//! each reply as it comes, in whatever order. How many requests run at a time, how they are batched
//! and how often they are tried again is the model's own business.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::Message;

/// What a model is to continue or to answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Text that goes on.
    Text(String),
    /// A conversation whose next message is wanted.
    Messages(Vec<Message>),
}

/// How a completion is drawn, in the terms of the OpenAI API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decoding {
    /// Most new tokens. Default 256.
    pub max_tokens: usize,
    /// Divides the logits; 0 always takes the most probable token. Default 0.
    pub temperature: f64,
    /// Keeps the most probable tokens whose probabilities together reach this. Default 1.
    pub top_p: f64,
    /// Taken from the logit of each token that the completion holds already. Default 0.
    pub presence_penalty: f64,
    /// Taken from it for each time that it holds it. Default 0.
    pub frequency_penalty: f64,
    /// Texts that end a completion, and are no part of it. Default none.
    pub stop: Vec<String>,
    /// Answers of which the most probable one is taken, instead of any other text. Of no config.
    #[serde(skip_deserializing, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            max_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            stop: Vec::new(),
            options: Vec::new(),
        }
    }
}

impl Decoding {
    /// Everything that is wrong with it: found and wanted.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unless = |good: bool, key: &str, found: &dyn std::fmt::Display, wanted: &str| {
            if !good {
                problems.push(format!("`{key}` is {found}, wanted {wanted}"));
            }
        };
        unless(self.max_tokens > 0, "max_tokens", &self.max_tokens, "1 or more");
        let warm = self.temperature.is_finite() && self.temperature >= 0.0;
        unless(warm, "temperature", &self.temperature, "0 or more");
        // The published code asks for 0, which servers take for the most probable token alone.
        let share = (0.0..=1.0).contains(&self.top_p);
        unless(share, "top_p", &self.top_p, "a number from 0 to 1");
        for (key, penalty) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            unless((-2.0..=2.0).contains(&penalty), key, &penalty, "a number from -2 to 2");
        }
        unless(!self.stop.iter().any(String::is_empty), "stop", &"an empty text", "texts");
        problems
    }
}

/// One question to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequest {
    /// What it is asked.
    pub prompt: Prompt,
    /// How it is to answer.
    pub decoding: Decoding,
    /// Start of the random numbers, for models that take one.
    pub seed: u64,
    /// Whether the log-probability of each token is wanted.
    pub logprobs: bool,
}

/// Why a completion ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model had said all, or a stop text came.
    Stop,
    /// The most tokens were reached: the text is cut off.
    Length,
    /// Something else that a server names (`content_filter`).
    #[serde(untagged)]
    Other(String),
}

/// A token of a completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprob {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f64,
}

/// Tokens that a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u64,
    /// Of the completion.
    pub completion_tokens: u64,
}

/// What it took to get an answer, beside its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// How often the model was asked, the last time included.
    pub attempts: u32,
    /// From the first time that it was asked to the answer, waits between attempts included.
    pub seconds: f64,
    /// Whether the model did not tell its usage, so that it is estimated from the texts.
    #[serde(default)]
    pub usage_is_estimated: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self { attempts: 1, seconds: 0.0, usage_is_estimated: false }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The new text, without the stop text.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Its tokens, where they were asked for and the model tells; of a choice between options, each
    /// option's first token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The tokens that it took.
    pub usage: Usage,
    /// What else it took.
    #[serde(default)]
    pub effort: Effort,
}

/// Why a request has no answer. It is never recorded as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NoCompletion {
    /// What went wrong, in words: found and wanted.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Whether every other request would fare the same (a wrong key, no such model): the run stops.
    pub fatal: bool,
    /// Whether this request alone was refused for what it asks, and would be again (a policy on
    /// contents, an answer without text). All else is asked again by the next run.
    pub refused: bool,
}

/// What a model says to one request.
pub type Reply = std::result::Result<Completion, NoCompletion>;

/// Hands replies on as they come: the number of the request (from 0, in the order in which they were
/// taken), and the reply. `Break` stops the model: what runs is given up, and no more is asked.
pub type OnReply<'a> = dyn FnMut(usize, Reply) -> ControlFlow<()> + 'a;

/// Something that writes text.
pub trait LanguageModel {
    /// Its name, for records and reports.
    fn name(&self) -> &str;

    /// Its name and whatever else of its settings changes what it answers: a journal holds answers
    /// of one such model. Default: its name.
    fn identity(&self) -> String {
        self.name().to_owned()
    }

    /// Answers requests, each once. They are taken from the iterator as there is room for them, never
    /// all at once; `on_reply` is called on the calling thread. After a failure that is fatal no
    /// more is asked.
    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    );

    /// What tokens cost, in the currency of the prices that it was given, if it was.
    fn cost(&self, _usage: &Usage) -> Option<f64> {
        None
    }

    /// Tokens of a text, about: to foretell what a run takes.
    fn count_tokens(&self, text: &str) -> usize {
        estimated_tokens(text)
    }
}

/// Four characters a token is what English comes to with large vocabularies.
pub(crate) fn estimated_tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finish_reason_is_read_as_servers_write_it() {
        let read = |text: &str| serde_json::from_str::<FinishReason>(text).unwrap();
        assert_eq!(read("\"stop\""), FinishReason::Stop);
        assert_eq!(read("\"length\""), FinishReason::Length);
        assert_eq!(read("\"content_filter\""), FinishReason::Other("content_filter".into()));
    }
}
