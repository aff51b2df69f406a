//! A record: one example as the user wrote it, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Ranked;

/// Where a record stands: shown as `file:line`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The file, as the user named it.
    pub file: Arc<Path>,
    /// The line on which the record begins, from 1.
    pub line: u32,
}

impl Origin {
    /// Line `line` of `file`.
    pub fn new(file: impl AsRef<Path>, line: u32) -> Self {
        Self { file: file.as_ref().into(), line }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`, or whatever the chat template knows.
    pub role: String,
    /// What is said. The text parts of a content list are joined.
    pub content: String,
    /// All other fields (`name`, `tool_calls`, …), which the chat template sees as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A message without further fields.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }
}

/// What a record says, whatever its file calls the fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// An instruction, what it is about (may be empty), and the answer.
    Alpaca {
        /// What to do.
        instruction: String,
        /// What to do it with; empty if there is nothing.
        input: String,
        /// The answer.
        output: String,
    },
    /// A prompt and what follows it.
    Prompt {
        /// What is given.
        prompt: String,
        /// What is answered.
        completion: String,
    },
    /// A conversation.
    Messages {
        /// In the order they were said.
        messages: Vec<Message>,
        /// The record's `tools`, which the chat template sees as they are.
        tools: Option<Value>,
    },
    /// Ids made elsewhere, taken as they are.
    Tokens {
        /// The ids.
        ids: Vec<u32>,
        /// Which of them are learned.
        learned: Vec<bool>,
    },
    /// Plain text: no prompt, all of it learned.
    Text {
        /// The text.
        text: String,
    },
    /// A prompt and several answers to it, some better than others.
    Ranked(Ranked),
}

/// One example as the user wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// What it says.
    pub body: Body,
    /// What a record of several candidates calls itself.
    pub id: Option<String>,
    /// Where it stands.
    pub origin: Origin,
}

impl Record {
    /// A record that stands there.
    pub fn new(body: Body, origin: Origin) -> Self {
        Self { body, origin, id: None }
    }
}

impl Body {
    /// The name of its format, as `format = …` spells it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Alpaca { .. } => "alpaca",
            Self::Prompt { .. } => "prompt",
            Self::Messages { .. } => "messages",
            Self::Tokens { .. } => "tokens",
            Self::Text { .. } => "text",
            Self::Ranked(ranked) => ranked.format,
        }
    }
}
