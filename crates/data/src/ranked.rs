//! A prompt and several candidates for its answer, each with a score.
//!
//! ```text
//!  tuna, preference ─parse─► Ranked ─ original? ─► Ranked ─ Encoder ─► Encoded: a prompt once, then responses
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Body, Defect, Message, Record, UNRIVALLED};

/// What a ranked record says.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The name of its format.
    pub format: &'static str,
    /// What the candidates answer.
    pub prompt: Asked,
    /// The candidates, as the file orders them. There are at least two.
    pub candidates: Vec<Candidate>,
    /// The answer that the prompt had before anyone was asked for candidates.
    pub original: Option<Original>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Text as the model is to see it: no template is put around it.
    Text(String),
    /// An instruction and what it is about (may be empty).
    Instruction {
        /// What to do.
        instruction: String,
        /// What to do it with; empty if there is nothing.
        input: String,
    },
    /// A conversation so far.
    Messages {
        /// In the order they were said.
        messages: Vec<Message>,
        /// The record's `tools`, which the chat template sees as they are.
        tools: Option<Value>,
    },
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The text, or the message.
    pub said: Said,
    /// Higher is better.
    pub score: f32,
}

/// What a candidate says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Text.
    Text(String),
    /// A message of the assistant.
    Message(Message),
}

/// The answer that the prompt had at first.
#[derive(Clone, Debug, PartialEq)]
pub struct Original {
    /// What it says.
    pub text: String,
    /// Its score, if it was ranked with the others.
    pub score: Option<f32>,
}

/// The value of a source's `original`: what becomes of the answer that a ranked record had at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginalAnswer {
    /// It joins the candidates, with the score that it was given with them; without one it is the best,
    /// by as much as the others are apart on average (by 1 if they are all tied).
    Candidate,
    /// It is an example of its own, which has no rival and is learned as an ordinary answer.
    Record,
}

impl Ranked {
    /// Lets the original answer take its place among the candidates, if that is wanted.
    ///
    /// # Errors
    /// If the original answer is wanted, and there is none.
    pub(crate) fn with_original(mut self, wanted: Option<OriginalAnswer>) -> Result<Self, Defect> {
        match (wanted, &self.original) {
            (Some(_), None) => Err(Defect::NoOriginal),
            (Some(OriginalAnswer::Candidate), Some(original)) => {
                let score = original.score.unwrap_or_else(|| self.above_all());
                let said = Said::Text(original.text.clone());
                self.candidates.push(Candidate { said, score });
                self.original = None;
                Ok(self)
            }
            (Some(OriginalAnswer::Record), Some(_)) => Ok(self),
            (None, _) => Ok(Self { original: None, ..self }),
        }
    }

    /// The score of a candidate that is better than all.
    fn above_all(&self) -> f32 {
        let scores = || self.candidates.iter().map(|candidate| candidate.score);
        let (highest, lowest) =
            (scores().fold(f32::NEG_INFINITY, f32::max), scores().fold(f32::INFINITY, f32::min));
        match highest - lowest {
            0.0 => highest + 1.0,
            apart => highest + apart / (self.candidates.len() - 1) as f32,
        }
    }

    /// The record of prompt and answer that this candidate is; `None` if the prompt is no record's but
    /// text as it is.
    pub(crate) fn body(&self, said: &Said) -> Option<Body> {
        Some(match (&self.prompt, said) {
            (Asked::Instruction { instruction, input }, Said::Text(output)) => Body::Alpaca {
                instruction: instruction.clone(),
                input: input.clone(),
                output: output.clone(),
            },
            (Asked::Messages { messages, tools }, said) => {
                let said = match said {
                    Said::Text(text) => Message::new("assistant", text),
                    Said::Message(message) => message.clone(),
                };
                let messages = messages.iter().cloned().chain([said]).collect();
                Body::Messages { messages, tools: tools.clone() }
            }
            (Asked::Instruction { .. }, Said::Message(_)) | (Asked::Text(_), _) => return None,
        })
    }
}

impl Record {
    /// The original answer of a ranked record as a record of its own, if it is still to become one.
    pub(crate) fn original_alone(&self) -> Option<Self> {
        let Body::Ranked(ranked) = &self.body else { return None };
        let said = Said::Text(ranked.original.as_ref()?.text.clone());
        let alone = Ranked {
            candidates: vec![Candidate { said, score: UNRIVALLED }],
            original: None,
            ..ranked.clone()
        };
        Some(Self { body: Body::Ranked(alone), origin: self.origin.clone(), id: self.id.clone() })
    }
}
