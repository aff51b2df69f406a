//! Prompt styles: how a record becomes a prompt and an answer.
//!
//! | record     | `chat`                                | `alpaca`, FILE              | `none`               |
//! | ---------- | ------------------------------------- | --------------------------- | -------------------- |
//! | `alpaca`   | user: instruction, blank line, input  | by the patterns             | the same text, as is |
//! | `prompt`   | user: prompt, assistant: completion   | the prompt is the instruction | as is              |
//! | `messages` | as they are                           | refused                     | refused              |
//! | `tokens`   | ids as they are, under every template |                             |                      |
//! | `text`     | as it is, under every template, all of it learned |                 |                      |
//! | `tuna`     | instruction and answers as they are, under every template |         |                      |
//! | `preference` | as `prompt` or `messages`, each answer in turn |                  |                      |

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Body, ChatTemplate, Defect, Error, Message, Result, Tokenizer};

/// The value of `data.template`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum TemplateChoice {
    /// `"chat"`: the model's own chat template.
    #[default]
    Chat,
    /// `"alpaca"`: the two prompts of Stanford Alpaca.
    Alpaca,
    /// `"none"`: prompt and answer as they are; an instruction and its input are joined by a blank
    /// line.
    None,
    /// A TOML file with [`Patterns`].
    File(PathBuf),
}

impl From<String> for TemplateChoice {
    fn from(text: String) -> Self {
        match text.as_str() {
            "chat" => Self::Chat,
            "alpaca" => Self::Alpaca,
            "none" => Self::None,
            _ => Self::File(text.into()),
        }
    }
}

impl From<TemplateChoice> for String {
    fn from(choice: TemplateChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for TemplateChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat => f.write_str("chat"),
            Self::Alpaca => f.write_str("alpaca"),
            Self::None => f.write_str("none"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A prompt style that is made of three patterns, as a TOML file gives them.
///
/// In `prompt` and `prompt_with_input`, `{instruction}` and `{input}` stand for the record's text;
/// in `response`, `{output}` does. A record without input uses `prompt`. A `prompt` record's prompt
/// counts as its instruction. Every other brace stays what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patterns {
    /// The prompt of a record without input.
    pub prompt: String,
    /// The prompt of a record with input; default: `prompt`, with `{input}` if it has one, else with
    /// instruction and input joined by a blank line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_with_input: Option<String>,
    /// The answer; default `{output}`.
    #[serde(default = "output_alone")]
    pub response: String,
}

fn output_alone() -> String {
    "{output}".into()
}

/// How a record becomes text.
#[derive(Debug)]
pub enum Template {
    /// By the model's chat template.
    Chat(Box<ChatTemplate>),
    /// By patterns; with the name that the config gives them.
    Patterns(Patterns, String),
    /// Prompt and answer as they are.
    None,
}

/// A prompt and its answer, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub prompt: String,
    pub response: String,
}

impl Template {
    /// Loads what `data.template` names. `date` is today for a chat template; `None` is the real
    /// today.
    ///
    /// # Errors
    /// If the model has no chat template, or the file is missing or malformed.
    pub fn load(
        choice: &TemplateChoice,
        tokenizer: &Tokenizer,
        date: Option<jiff::civil::DateTime>,
    ) -> Result<Self> {
        match Self::without_model(choice)? {
            Some(template) => Ok(template),
            None => Ok(Self::Chat(ChatTemplate::of(tokenizer, date)?.into())),
        }
    }

    /// As [`load`](Self::load), where there is no model: `None` for its chat template.
    ///
    /// # Errors
    /// If the file is missing or malformed.
    pub fn without_model(choice: &TemplateChoice) -> Result<Option<Self>> {
        Ok(Some(match choice {
            TemplateChoice::Chat => return Ok(None),
            TemplateChoice::Alpaca => Self::Patterns(Patterns::alpaca(), "alpaca".into()),
            TemplateChoice::None => Self::None,
            TemplateChoice::File(path) => match Patterns::load(path) {
                // The name may be meant for one of the others.
                Err(Error::NoFile { path, nearest }) => return Err(no_template(&path, nearest)),
                patterns => Self::Patterns(patterns?, path.display().to_string()),
            },
        }))
    }

    /// What decides the text, for a hash.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Chat(chat) => format!("chat {}", chat.source()),
            Self::Patterns(patterns, _) => format!("patterns {patterns:?}"),
            Self::None => "none".into(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Chat(_) => "chat",
            Self::Patterns(_, name) => name,
            Self::None => "none",
        }
    }

    /// The prompt and answer of a record, where the template is no chat.
    pub(crate) fn pair(&self, body: &Body) -> Result<Pair, Defect> {
        let (instruction, input, output) = match body {
            Body::Alpaca { instruction, input, output } => (instruction, input.as_str(), output),
            Body::Prompt { prompt, completion } => (prompt, "", completion),
            other => {
                let template = self.name().to_owned();
                return Err(Defect::Misfit { record: other.name(), template });
            }
        };
        Ok(match self {
            Self::Patterns(patterns, _) => Pair {
                prompt: patterns.prompt(instruction, input),
                response: fill(&patterns.response, &[("output", output)]),
            },
            _ => Pair { prompt: joined(instruction, input), response: output.clone() },
        })
    }

    /// The prompt for a bare instruction, where the template is no chat.
    pub(crate) fn prompt(&self, instruction: &str) -> String {
        match self {
            Self::Patterns(patterns, _) => patterns.prompt(instruction, ""),
            _ => instruction.to_owned(),
        }
    }
}

fn no_template(path: &Path, nearest: Option<PathBuf>) -> Error {
    let nearest = nearest.map(|nearest| format!(" (the nearest is `{}`)", nearest.display()));
    let message = format!(
        "there is no file `{}`{}, wanted `chat`, `alpaca`, `none` or a TOML file",
        path.display(),
        nearest.unwrap_or_default()
    );
    Error::Template { place: "`data.template`".into(), message }
}

/// The conversation that a record is, under a chat template.
pub(crate) fn conversation(body: &Body) -> Option<Vec<Message>> {
    let turns = |user: String, assistant: &str| {
        vec![Message::new("user", user), Message::new("assistant", assistant)]
    };
    match body {
        Body::Messages { messages, .. } => Some(messages.clone()),
        Body::Alpaca { instruction, input, output } => {
            Some(turns(joined(instruction, input), output))
        }
        Body::Prompt { prompt, completion } => Some(turns(prompt.clone(), completion)),
        Body::Tokens { .. } | Body::Text { .. } | Body::Ranked(_) => None,
    }
}

/// An instruction and what it is about, a blank line between them.
fn joined(instruction: &str, input: &str) -> String {
    if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") }
}

impl Patterns {
    /// The two prompts with which Stanford Alpaca was trained, word for word: other tools and
    /// published models use the same.
    pub fn alpaca() -> Self {
        Self {
            prompt: "Below is an instruction that describes a task. Write a response that \
                     appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n\
                     ### Response:"
                .into(),
            prompt_with_input: Some(
                "Below is an instruction that describes a task, paired with an input that \
                 provides further context. Write a response that appropriately completes the \
                 request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n\
                 ### Response:"
                    .into(),
            ),
            response: output_alone(),
        }
    }

    /// Reads patterns from a TOML file and checks that they can work.
    ///
    /// # Errors
    /// If the file is missing or malformed, or a pattern lacks the text it is for.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
        let wrong = |line: Option<usize>, message: String| {
            let file = path.display();
            let place = line.map_or(file.to_string(), |line| format!("{file}:{line}"));
            Error::Template { place, message }
        };
        let patterns: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            wrong(line, error.message().replace('\n', ", "))
        })?;
        let with_input = patterns.prompt_with_input.as_deref();
        let needed = [
            ("prompt", Some(patterns.prompt.as_str()), "{instruction}"),
            ("prompt_with_input", with_input, "{instruction}"),
            ("prompt_with_input", with_input, "{input}"),
            ("response", Some(patterns.response.as_str()), "{output}"),
        ];
        for (key, pattern, name) in needed {
            if pattern.is_some_and(|pattern| !pattern.contains(name)) {
                return Err(wrong(None, format!("`{key}` has no `{name}`")));
            }
        }
        for (key, pattern) in [
            ("prompt", Some(&patterns.prompt)),
            ("prompt_with_input", patterns.prompt_with_input.as_ref()),
        ] {
            if pattern.is_some_and(|pattern| pattern.contains("{output}")) {
                return Err(wrong(
                    None,
                    format!("`{key}` has `{{output}}`, which belongs to `response`"),
                ));
            }
        }
        Ok(patterns)
    }

    fn prompt(&self, instruction: &str, input: &str) -> String {
        match &self.prompt_with_input {
            Some(pattern) if !input.is_empty() => {
                fill(pattern, &[("instruction", instruction), ("input", input)])
            }
            _ if self.prompt.contains("{input}") => {
                fill(&self.prompt, &[("instruction", instruction), ("input", input)])
            }
            _ => fill(&self.prompt, &[("instruction", &joined(instruction, input))]),
        }
    }
}

/// Puts values in for `{names}`, once over: braces in a value stay what they are.
fn fill(pattern: &str, values: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(start) = rest.find('{') {
        out += &rest[..start];
        rest = &rest[start..];
        let known = values.iter().find(|(name, _)| {
            rest[1..].strip_prefix(name).is_some_and(|after| after.starts_with('}'))
        });
        let (value, length) = known.map_or(("{", 1), |(name, value)| (*value, name.len() + 2));
        out += value;
        rest = &rest[length..];
    }
    out + rest
}
