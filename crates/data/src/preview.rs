//! An example, token by token.

use serde::Serialize;

use crate::{Defect, Encoded, Reason, Tokenizer};

/// One token as `albacore preview` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewToken {
    /// Its text. A character that is spread over several tokens stands with the last of them; the
    /// others show their entry of the vocabulary.
    pub text: String,
    /// Its id.
    pub id: u32,
    /// Whether the model is trained to predict it.
    pub learned: bool,
    /// What it is.
    pub reason: Reason,
}

/// The tokens of an example; of responses that share a prompt, each goes on from the prompt.
///
/// # Errors
/// If the tokenizer's decoder fails.
pub fn preview(tokenizer: &Tokenizer, example: &Encoded) -> Result<Vec<PreviewToken>, Defect> {
    let mut stream = tokenizer.stream(false);
    let tokens = example.ids.iter().zip(&example.learned).zip(&example.reasons);
    let last_of_prompt = example.prompt().last();
    let shown = tokens.enumerate().map(|(at, ((&id, &learned), &reason))| {
        if example.responses.iter().any(|response| response.start == at) {
            // Behind the last token of the prompt, so that a space at the start is not lost.
            stream = tokenizer.stream(false);
            last_of_prompt.map_or(Ok(String::new()), |&last| stream.push(last))?;
        }
        let mut text = stream.push(id)?;
        if text.is_empty() {
            text = tokenizer.token(id);
        }
        Ok(PreviewToken { text, id, learned, reason })
    });
    shown.collect()
}
