//! From a record to ids, and which of them are learned.
//!
//! Prompt and answer are tokenised apart, so that the prompt's ids are those that the model sees
//! when it is asked. BOS stands where the tokenizer or the chat template puts it, once. EOS follows
//! the answer and is learned, whatever token others pad with: nothing is padded here.

mod learn;
mod responses;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use learn::Learn;
pub use responses::Response;

use crate::template::Pair;
use crate::{Body, Defect, Message, Origin, Record, Template, Tokenizer};

/// The number of this way to make ids of records. It is raised with every change of the ids, of what
/// is learned or of the reasons, so that no cache made in another way is taken for this one's.
pub(crate) const REVISION: u32 = 1;

/// The value of `data.too_long`: what becomes of an example longer than `max_tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TooLong {
    /// It is left out.
    Drop,
    /// Its head is kept. If nothing of that is learned, it is left out.
    Truncate,
    /// Nothing is trained.
    Error,
}

/// What a token is, and so why it is learned or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Reason {
    /// The token that begins a text.
    Bos,
    /// What the template puts around the messages.
    Template,
    /// What the model is given.
    Prompt,
    /// What the model should say.
    Answer,
    /// The token that ends an answer.
    AnswerEnd,
    /// Text without a prompt.
    Text,
    /// An id made elsewhere, learned as its label says.
    Given,
}

impl Reason {
    pub(crate) const ALL: [Self; 7] = [
        Self::Bos,
        Self::Template,
        Self::Prompt,
        Self::Answer,
        Self::AnswerEnd,
        Self::Text,
        Self::Given,
    ];
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bos => "beginning of text",
            Self::Template => "template",
            Self::Prompt => "prompt",
            Self::Answer => "answer",
            Self::AnswerEnd => "end of answer",
            Self::Text => "text",
            Self::Given => "given",
        })
    }
}

/// One example as ids. The first three lists are equally long.
///
/// The first token is never learned, whatever its label: nothing precedes it, so no position of the
/// model predicts it.
///
/// Several responses to one prompt are one example: the prompt's ids stand first, once, and behind them
/// the responses, each of which goes on from the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The ids.
    pub ids: Vec<u32>,
    /// Whether the model is trained to predict this token from those before it.
    pub learned: Vec<bool>,
    /// What each token is.
    pub reasons: Vec<Reason>,
    /// Where the record stands.
    pub origin: Origin,
    /// Whether EOS was put after the last answer because the chat template ends it without one.
    pub eos_added: bool,
    /// The responses that share the prompt; none in an ordinary example.
    pub responses: Vec<Response>,
}

impl Encoded {
    pub(crate) fn empty(origin: Origin) -> Self {
        let (ids, learned, reasons, responses) = Default::default();
        Self { ids, learned, reasons, origin, eos_added: false, responses }
    }

    pub(crate) fn push(&mut self, id: u32, learned: bool, reason: Reason) {
        self.learned.push(learned && !self.ids.is_empty());
        self.ids.push(id);
        self.reasons.push(reason);
    }

    fn extend(&mut self, ids: Vec<u32>, learned: bool, reason: Reason) {
        ids.into_iter().for_each(|id| self.push(id, learned, reason));
    }

    /// Shortens the source before an answer to so many tokens in all; its last one, which ends it, stays. False,
    /// and nothing is done, if the answer leaves it no room.
    pub(crate) fn cut_source(&mut self, len: usize) -> bool {
        let prompt = self.prompt().len();
        let excess = self.len().saturating_sub(len);
        // A token of text at least, and the one that ends it.
        if prompt < excess + 2 {
            return false;
        }
        let cut = prompt - 1 - excess..prompt - 1;
        self.ids.drain(cut.clone());
        self.learned.drain(cut.clone());
        self.reasons.drain(cut);
        true
    }

    /// Forgets all tokens from the given position on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.learned.truncate(len);
        self.reasons.truncate(len);
    }

    /// How many tokens it has.
    #[expect(clippy::len_without_is_empty, reason = "an example without tokens is never made")]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many of them are learned.
    pub fn supervised(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    /// The ids before the first answer, whatever is learned of either; all of them if there is no
    /// answer or nothing before it. Of ids made elsewhere, those that are learned are the answer.
    pub fn prompt(&self) -> &[u32] {
        if let Some(first) = self.responses.first() {
            return &self.ids[..first.start];
        }
        let is_answer = |(reason, learned): (&Reason, &bool)| match reason {
            Reason::Answer | Reason::Text => true,
            Reason::Given => *learned,
            // The end may be that of a question: those are learned as answers are.
            Reason::Bos | Reason::Template | Reason::Prompt | Reason::AnswerEnd => false,
        };
        let end = self.reasons.iter().zip(&self.learned).position(is_answer);
        let end = end.filter(|end| *end > 1).unwrap_or(self.len());
        &self.ids[..end]
    }
}

/// Turns records into ids by one tokenizer, one template and one rule of what is learned.
#[derive(Debug)]
pub struct Encoder<'a> {
    pub(crate) tokenizer: &'a Tokenizer,
    pub(crate) template: Arc<Template>,
    pub(crate) learn: Learn,
    pub(crate) eos: bool,
}

impl<'a> Encoder<'a> {
    /// An encoder that ends every answer with EOS.
    pub fn new(tokenizer: &'a Tokenizer, template: Template, learn: Learn) -> Self {
        Self { tokenizer, template: Arc::new(template), learn, eos: true }
    }

    /// Neither adds EOS nor learns the token that ends an answer.
    pub fn without_eos(self) -> Self {
        Self { eos: false, ..self }
    }

    /// The ids of a record.
    ///
    /// # Errors
    /// If the record does not fit the template, the tokenizer or the vocabulary, or if nothing of
    /// it would be learned.
    pub fn encode(&self, record: &Record) -> Result<Encoded, Defect> {
        let mut out = Encoded::empty(record.origin.clone());
        match (&record.body, &*self.template) {
            (Body::Ranked(ranked), _) => {
                return self.encode_ranked(ranked, &record.origin);
            }
            (Body::Tokens { ids, learned }, _) => self.take(&mut out, ids, learned)?,
            (Body::Text { text }, _) => {
                self.start(&mut out, text, true, Reason::Text)?;
                self.end(&mut out, true);
            }
            (body, Template::Chat(chat)) => self.encode_turns(&mut out, chat, body)?,
            (body, template) => self.encode_pair(&mut out, &template.pair(body)?)?,
        }
        if out.supervised() == 0 {
            return Err(self.nothing_learned(&record.body));
        }
        if self.tokenizer.has_encoder() && out.learned[..out.prompt().len()].contains(&true) {
            return Err(Defect::LearnsPrompt);
        }
        Ok(out)
    }

    /// The ids that ask the model to follow an instruction, as it was trained to see them.
    ///
    /// # Errors
    /// If the chat template or the tokenizer fails.
    pub fn prompt(&self, instruction: &str) -> Result<Vec<u32>, Defect> {
        match &*self.template {
            Template::Chat(_) => self.ask(&[Message::new("user", instruction)]),
            template => self.tokenizer.encode_prompt(&template.prompt(instruction)),
        }
    }

    /// The ids of a conversation so far, the turn of the assistant opened at its end.
    ///
    /// # Errors
    /// If the template is no chat template, or it or the tokenizer fails.
    pub fn ask(&self, messages: &[Message]) -> Result<Vec<u32>, Defect> {
        let Template::Chat(chat) = &*self.template else {
            let template = self.template.name().to_owned();
            return Err(Defect::Misfit { record: "messages", template });
        };
        self.tokenizer.encode(&chat.render(messages, None, true)?.text)
    }

    fn take(&self, out: &mut Encoded, ids: &[u32], learned: &[bool]) -> Result<(), Defect> {
        let vocabulary = self.tokenizer.vocabulary();
        for (position, (&id, &learned)) in ids.iter().zip(learned).enumerate() {
            if id as usize >= vocabulary {
                return Err(Defect::Id { position, id: id.into(), vocabulary });
            }
            out.push(id, learned, Reason::Given);
        }
        Ok(())
    }

    fn encode_pair(&self, out: &mut Encoded, pair: &Pair) -> Result<(), Defect> {
        let prompt = self.tokenizer.encode_prompt(&pair.prompt)?;
        out.extend(prompt, self.learn.wants("user"), Reason::Prompt);
        self.name_bos(out);
        let learned = self.learn.wants("assistant");
        out.extend(self.tokenizer.encode(&pair.response)?, learned, Reason::Answer);
        self.end(out, learned);
        Ok(())
    }

    /// The text that begins a sequence, and BOS before it where the tokenizer adds one.
    fn start(
        &self,
        out: &mut Encoded,
        text: &str,
        learned: bool,
        reason: Reason,
    ) -> Result<(), Defect> {
        out.extend(self.tokenizer.encode_start(text)?, learned, reason);
        self.name_bos(out);
        Ok(())
    }

    pub(crate) fn name_bos(&self, out: &mut Encoded) {
        if out.ids.first().is_some_and(|first| Some(*first) == self.tokenizer.bos()) {
            out.reasons[0] = Reason::Bos;
        }
    }

    /// EOS, once: the text may have spelled it already.
    fn end(&self, out: &mut Encoded, learned: bool) {
        let ended = out.ids.last().is_some_and(|last| self.tokenizer.eos_ids().contains(last));
        if ended && out.len() > 1 {
            let last = out.len() - 1;
            out.reasons[last] = Reason::AnswerEnd;
            out.learned[last] = learned && self.eos;
        } else if self.eos {
            out.push(self.tokenizer.eos(), learned, Reason::AnswerEnd);
        }
    }

    fn nothing_learned(&self, body: &Body) -> Defect {
        let why = match body {
            Body::Tokens { .. } => return Defect::NoLabels,
            Body::Messages { messages, .. }
                if !messages.iter().any(|message| self.learn.wants(&message.role)) =>
            {
                let mut roles: Vec<_> = messages.iter().map(|message| &message.role).collect();
                roles.sort();
                roles.dedup();
                format!("it has messages from {}", crate::defect::in_backticks(&roles))
            }
            Body::Alpaca { .. } | Body::Prompt { .. }
                if !["user", "assistant"].iter().any(|role| self.learn.wants(role)) =>
            {
                "a record of prompt and answer has the roles `user` and `assistant`".to_owned()
            }
            _ => "the template gives no token to learn".to_owned(),
        };
        Defect::NothingLearned { learn: self.learn.to_string(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_is_cut_keeps_the_token_that_ends_it_and_the_whole_answer() {
        let example = || {
            let mut example = Encoded::empty(Origin::new("a.jsonl", 1));
            (10..15).for_each(|id| example.push(id, false, Reason::Prompt));
            example.push(1, false, Reason::Template);
            example.push(20, true, Reason::Answer);
            example.push(1, true, Reason::AnswerEnd);
            example
        };
        let cut = |len| {
            let mut example = example();
            example.cut_source(len).then_some(example)
        };
        let shorter = cut(5).unwrap();
        assert_eq!(shorter.ids, [10, 11, 1, 20, 1]);
        assert_eq!(shorter.learned, [false, false, false, true, true]);
        assert_eq!(shorter.reasons.len(), 5);
        assert_eq!(cut(4).unwrap().ids, [10, 1, 20, 1]);
        assert_eq!(cut(3), None);
        assert_eq!(cut(8).unwrap(), example());
    }
}
