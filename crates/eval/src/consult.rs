//! A judge's replies, in the order of what it is asked, each recorded as it comes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use albacore_data::{
    CompletionRequest, Decoding, Journal, LanguageModel, Message, NoCompletion, Prompt, Reply,
    journaled,
};

use crate::Result;

/// A request to a judge: the most probable reply to two messages.
pub(crate) fn question(system: &str, user: String) -> CompletionRequest {
    let messages = vec![Message::new("system", system), Message::new("user", user)];
    CompletionRequest {
        prompt: Prompt::Messages(messages),
        decoding: Decoding { max_tokens: 1024, ..Decoding::default() },
        seed: 0,
        logprobs: false,
    }
}

/// Asks what the journal does not know, and gives one reply for each request. A request that the
/// model was not asked any more, after a failure of all, has that failure for a reply.
///
/// # Errors
/// If the journal cannot be used, or has another request's answer under a key.
pub(crate) fn consult(
    judge: &dyn LanguageModel,
    journal: &mut Journal,
    requests: Vec<(String, CompletionRequest)>,
) -> Result<Vec<Reply>> {
    let keys: Vec<_> = requests.iter().map(|(key, _)| key.clone()).collect();
    let mut replies = HashMap::new();
    let mut put = |key: &str, reply: Reply| {
        replies.insert(key.to_owned(), reply);
        ControlFlow::Continue(())
    };
    journaled(judge, journal, &mut requests.into_iter(), &mut put)?;
    let fatal = replies.values().filter_map(|reply| reply.as_ref().err()).find(|why| why.fatal);
    let not_asked = fatal.cloned().unwrap_or_else(|| NoCompletion {
        message: format!("`{}` has not answered", judge.name()),
        hint: None,
        fatal: false,
        refused: false,
    });
    let reply = |key| replies.remove(&key).unwrap_or_else(|| Err(not_asked.clone()));
    Ok(keys.into_iter().map(reply).collect())
}
