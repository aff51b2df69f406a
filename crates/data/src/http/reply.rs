//! What servers answer, in the forms that they really use.
//!
//! The OpenAI API has two forms (`text` and `message.content`) and two of log-probabilities (lists
//! side by side, and a list of objects); servers mix them: llama.cpp answers `/completions` with the
//! log-probabilities of chat. So all forms are read wherever they come. What a text says is data:
//! nothing in it is looked at except for stop texts.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::request::stops;
use crate::language_model::estimated_tokens;
use crate::{Completion, CompletionRequest, Effort, FinishReason, Prompt, TokenLogprob, Usage};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<ServerUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<ServerMessage>,
    finish_reason: Option<String>,
    logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
struct ServerMessage {
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    content: Option<Vec<ServerToken>>,
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
}

#[derive(Deserialize)]
struct ServerToken {
    token: String,
    logprob: f64,
}

#[derive(Deserialize)]
struct ServerUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
}

/// What a body that is no answer is.
#[derive(Debug, PartialEq)]
pub(super) enum NoAnswer {
    /// Broken: asked again, it may be whole.
    Broken(String),
    /// An error with the status of success.
    Error,
    /// An answer without text, such as a call of a tool.
    Silent(String),
}

/// Reads the body of an answer with the status of success,
/// to a request that was asked for at most so many tokens.
pub(super) fn parse(
    body: &[u8],
    request: &CompletionRequest,
    max_tokens: u64,
) -> Result<Completion, NoAnswer> {
    let answer = match String::from_utf8_lossy(body) {
        // Bytes that are no text become U+FFFD: a model may end inside a character.
        Cow::Owned(repaired) => serde_json::from_str::<Answer>(&repaired),
        Cow::Borrowed(text) => serde_json::from_str(text),
    };
    let answer = answer.map_err(|error| NoAnswer::Broken(format!("no answer in JSON: {error}")))?;
    if answer.error.is_some_and(|error| !error.is_null()) {
        return Err(NoAnswer::Error);
    }
    let Some(choice) = answer.choices.into_iter().next() else {
        return Err(NoAnswer::Broken("no `choices`".into()));
    };
    let Some(text) = choice.text.or_else(|| choice.message.and_then(said)) else {
        let reason = choice.finish_reason.unwrap_or_else(|| "none".into());
        return Err(NoAnswer::Silent(format!("no text (finish_reason `{reason}`)")));
    };
    let logprobs = choice.logprobs.filter(|_| request.logprobs).and_then(tokens);
    let (usage, usage_is_estimated) = usage(answer.usage, &text, logprobs.as_deref(), request);
    let cut_off = usage.completion_tokens >= max_tokens;
    let mut completion = Completion {
        finish_reason: finish_reason(choice.finish_reason, cut_off && !usage_is_estimated),
        text,
        logprobs,
        usage,
        effort: Effort { usage_is_estimated, ..Effort::default() },
    };
    stop(&mut completion, &request.decoding.stop);
    Ok(completion)
}

fn said(message: ServerMessage) -> Option<String> {
    Some(match message.content? {
        Content::Text(text) => text,
        Content::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect(),
    })
}

/// The tokens, if every one has its number.
fn tokens(logprobs: Logprobs) -> Option<Vec<TokenLogprob>> {
    if let Some(content) = logprobs.content {
        let tokens = content.into_iter();
        return Some(
            tokens.map(|ServerToken { token, logprob }| TokenLogprob { token, logprob }).collect(),
        );
    }
    let (tokens, numbers) = (logprobs.tokens?, logprobs.token_logprobs?);
    if tokens.len() != numbers.len() {
        return None;
    }
    let pairs = tokens.into_iter().zip(numbers);
    pairs.map(|(token, logprob)| Some(TokenLogprob { token, logprob: logprob? })).collect()
}

/// What the server says that it took, and whether any of it is an estimate.
fn usage(
    told: Option<ServerUsage>,
    text: &str,
    logprobs: Option<&[TokenLogprob]>,
    request: &CompletionRequest,
) -> (Usage, bool) {
    let (prompt, completion) =
        told.map_or((None, None), |usage| (usage.prompt_tokens, usage.completion_tokens));
    let counted = || logprobs.map_or_else(|| estimated(text), |tokens| tokens.len() as u64);
    let usage = Usage {
        prompt_tokens: prompt.unwrap_or_else(|| prompt_tokens(&request.prompt)),
        completion_tokens: completion.unwrap_or_else(counted),
    };
    (usage, prompt.is_none() || completion.is_none())
}

fn estimated(text: &str) -> u64 {
    estimated_tokens(text) as u64
}

/// About as many tokens as a prompt has.
pub(super) fn prompt_tokens(prompt: &Prompt) -> u64 {
    match prompt {
        Prompt::Text(text) => estimated(text),
        // A role and the marks around a message are about four tokens.
        Prompt::Messages(messages) => messages.iter().map(|m| 4 + estimated(&m.content)).sum(),
    }
}

fn finish_reason(told: Option<String>, cut_off: bool) -> FinishReason {
    match told.as_deref() {
        // The other words are of text-generation-inference.
        Some("stop" | "eos_token" | "stop_sequence") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        // Without a word, an answer of all the tokens that it may have is taken for cut off.
        None | Some("") if cut_off => FinishReason::Length,
        None | Some("") => FinishReason::Other("unknown".into()),
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// Cuts an answer at the first of the texts that end it: servers know only some of them.
fn stop(completion: &mut Completion, texts: &[String]) {
    let found = stops(texts).filter_map(|stop| completion.text.find(stop.as_str())).min();
    let Some(end) = found else { return };
    completion.text.truncate(end);
    completion.finish_reason = FinishReason::Stop;
    if let Some(tokens) = &mut completion.logprobs {
        // A token that is partly of the text stays.
        let mut begin = 0;
        tokens.retain(|token| {
            let stays = begin < end;
            begin += token.token.len();
            stays
        });
    }
}

#[cfg(test)]
mod tests;
