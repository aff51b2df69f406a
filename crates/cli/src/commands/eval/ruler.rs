//! How long a prompt is for a model.

use std::path::Path;

use albacore_data::{
    Encoder, HttpModel, LanguageModel, Learn, Message, Template, TemplateChoice, Tokenizer,
};
use albacore_eval::Ruler;
use albacore_model::ModelConfig;

use crate::failure::{OrRefuse, Result};
use crate::prepared::tokenizer;

/// A model here: its tokenizer, and the most that it was made for.
pub struct LocalRuler {
    tokenizer: Tokenizer,
    context: usize,
    /// Tokens that the chat template puts about a message.
    around: usize,
}

impl LocalRuler {
    /// What turns its prompts into tokens.
    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Reads the tokenizer of the model in `folder`; `chat` says whether it is asked by its template.
    ///
    /// # Errors
    /// Refused if it cannot be used.
    pub fn open(folder: &Path, chat: bool) -> Result<Self> {
        let shape = ModelConfig::load(folder).or_refuse()?;
        let tokenizer = tokenizer(folder, shape.vocab_size())?;
        let around = if chat { around(&tokenizer)? } else { 0 };
        Ok(Self { tokenizer, context: shape.context(), around })
    }
}

/// What a message comes to beside its own text. A model without a template is refused when it is opened.
fn around(tokenizer: &Tokenizer) -> Result<usize> {
    if tokenizer.chat_templates().is_empty() {
        return Ok(0);
    }
    let template = Template::load(&TemplateChoice::Chat, tokenizer, None).or_refuse()?;
    let encoder = Encoder::new(tokenizer, template, Learn::Answers);
    let asked = encoder.ask(&[Message::new("user", "A")]).or_refuse()?;
    Ok(asked.len())
}

impl Ruler for LocalRuler {
    fn tokens(&self, prompt: &str) -> usize {
        // What cannot be tokenized is refused when it is asked: here any number does.
        let tokens = self.tokenizer.encode_prompt(prompt).map_or(prompt.len(), |ids| ids.len());
        self.around + tokens
    }

    fn context(&self) -> Option<usize> {
        Some(self.context)
    }

    fn cut(&self, prompt: &str, tokens: usize) -> Option<String> {
        let room = tokens.checked_sub(self.around)?;
        let mut ids = self.tokenizer.encode(prompt).ok()?;
        let added = self.tokenizer.encode_prompt(prompt).ok()?.len() - ids.len();
        ids.truncate(room.checked_sub(added)?);
        self.tokenizer.decode(&ids, true).ok()
    }
}

/// A server: its tokens are estimated, and what it can read is not known here.
pub(super) struct ServerRuler(pub(super) HttpModel);

impl Ruler for ServerRuler {
    fn tokens(&self, prompt: &str) -> usize {
        self.0.count_tokens(prompt)
    }

    fn context(&self) -> Option<usize> {
        None
    }

    fn cut(&self, _: &str, _: usize) -> Option<String> {
        None
    }
}
