//! Record formats: from a JSON object to what it says.

mod ranked;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Body, Defect, Message};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// What the records of a file look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `instruction`, `input` (may be missing), `output`.
    Alpaca,
    /// `prompt`, `completion`.
    Prompt,
    /// `messages`, each with `role` and `content` (text, or a list of text parts); `tools` if any.
    Messages,
    /// `conversations`, each with `from` and `value`.
    Sharegpt,
    /// `input_ids` and `labels`, -100 where nothing is learned.
    Tokens,
    /// `text`.
    Text,
    /// `instruction`, already in its template; `output`, a list; `score`, one for each, higher is better.
    /// The raw files of Tuna's authors too: `orig`, `text`, `avg_token_prob`; and `instruct`,
    /// `generation`, `ranks` (or `rank`).
    Tuna,
    /// `prompt`, `chosen`, `rejected`: text, or lists of messages. Or `prompt`, `completion`, `label`: one
    /// answer, good or not.
    Preference,
    /// The fields of a family of templates.
    Task,
    /// A task file of Super-NaturalInstructions.
    #[serde(rename = "super_ni")]
    SuperNi,
    /// Lines of question, answer and rationale, tabs between them.
    Cot,
    /// Rows of a question, four options and a letter, as MMLU has them.
    Mmlu,
    /// `examples` of `input` and `target`, as BIG-Bench Hard has them.
    Bbh,
}

const ALL: [Format; 8] = [
    Format::Tuna,
    Format::Preference,
    Format::Messages,
    Format::Sharegpt,
    Format::Tokens,
    Format::Alpaca,
    Format::Prompt,
    Format::Text,
];

const SPEAKERS: &str = "`human`, `gpt`, `system` or `tool`";

/// The names that a file uses for the fields of its format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a>(pub &'a BTreeMap<String, String>);

impl<'a> Names<'a> {
    pub(crate) fn of(&self, field: &'a str) -> &'a str {
        self.0.get(field).map_or(field, String::as_str)
    }
}

impl Format {
    /// The format whose fields are all there: the first of tuna, preference, messages, sharegpt,
    /// tokens, alpaca, prompt, text.
    pub(crate) fn detect(object: &Object, names: Names<'_>) -> Option<Self> {
        let fits = |format: &Format| match format {
            Self::Tuna => ranked::Shape::of(object, names).is_some(),
            _ => format.needed().iter().all(|field| object.contains_key(names.of(field))),
        };
        ALL.into_iter().find(fits)
    }

    /// The fields by which records of this format are known.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Alpaca => &["instruction", "output"],
            Self::Prompt => &["prompt", "completion"],
            Self::Messages => &["messages"],
            Self::Sharegpt => &["conversations"],
            Self::Tokens => &["input_ids", "labels"],
            Self::Text => &["text"],
            Self::Tuna => &["instruction", "output", "score"],
            Self::Preference => &["chosen", "rejected"],
            Self::Task | Self::SuperNi | Self::Cot | Self::Mmlu | Self::Bbh => &[],
        }
    }

    /// The templates that records of a task have unless the source names others; `None` if the format is
    /// no task.
    pub(crate) fn family(self) -> Option<&'static str> {
        match self {
            Self::Task | Self::Bbh => Some("plain"),
            Self::SuperNi => Some("instruction"),
            Self::Cot => Some("cot"),
            Self::Mmlu => Some("multiple_choice"),
            _ => None,
        }
    }

    /// Whether its records hold several answers to one prompt.
    pub(crate) fn is_ranked(self) -> bool {
        matches!(self, Self::Tuna | Self::Preference)
    }

    /// All fields that a format reads; those of every format if none is given.
    pub(crate) fn fields(format: Option<Self>) -> Vec<&'static str> {
        let Some(format) = format else {
            return ALL.iter().flat_map(|format| Self::fields(Some(*format))).collect();
        };
        let further: &[&str] = match format {
            Self::Alpaca => &["input"],
            Self::Messages => &["role", "content", "tools"],
            Self::Sharegpt => &["from", "value"],
            Self::Tuna => &["id", "original"],
            Self::Preference => {
                &["id", "prompt", "role", "content", "tools", "completion", "label"]
            }
            _ => &[],
        };
        [format.needed(), further].concat()
    }

    /// Reads one object. All its other fields are ignored.
    pub(crate) fn parse(self, mut object: Object, names: Names<'_>) -> Result<Body, Defect> {
        let (what, place) = ("the record".into(), String::new());
        let mut fields = Fields { object: &mut object, names, what, place };
        match self {
            Self::Alpaca => {
                let instruction = fields.text("instruction")?;
                let input = fields.optional_text("input")?;
                Ok(Body::Alpaca { instruction, input, output: fields.answer("output")? })
            }
            Self::Prompt => {
                let prompt = fields.text("prompt")?;
                Ok(Body::Prompt { prompt, completion: fields.answer("completion")? })
            }
            Self::Messages => {
                let messages =
                    fields.messages("messages", |fields, number| fields.message(number))?;
                let tools = fields.take("tools").ok().filter(|tools| !tools.is_null());
                Ok(Body::Messages { messages, tools })
            }
            Self::Sharegpt => {
                let messages = fields.messages("conversations", |fields, number| {
                    let role = role_of_speaker(&fields.text("from")?, number)?;
                    let content = if role == "assistant" {
                        fields.answer("value")
                    } else {
                        fields.text("value")
                    };
                    Ok(Message::new(role, content?))
                })?;
                Ok(Body::Messages { messages, tools: None })
            }
            Self::Tokens => tokens(&mut fields),
            Self::Text => Ok(Body::Text { text: fields.answer("text")? }),
            Self::Tuna => ranked::tuna(&mut fields).map(Body::Ranked),
            Self::Preference => ranked::preference(&mut fields).map(Body::Ranked),
            Self::Task | Self::SuperNi | Self::Cot | Self::Mmlu | Self::Bbh => {
                unreachable!("tasks are read by their own readers")
            }
        }
    }
}

/// The fields of the record, or of one of its messages; null is left where one was read.
struct Fields<'o, 'a> {
    object: &'o mut Object,
    names: Names<'a>,
    what: String,
    /// Before the name of a field: `messages[1].`, or nothing.
    place: String,
}

impl<'a> Fields<'_, 'a> {
    fn take(&mut self, field: &'a str) -> Result<Value, Defect> {
        let name = self.names.of(field);
        self.object.get_mut(name).map(Value::take).ok_or_else(|| Defect::MissingField {
            what: self.what.clone(),
            field: name.to_owned(),
            found: self.object.keys().cloned().collect(),
        })
    }

    fn text(&mut self, field: &'a str) -> Result<String, Defect> {
        match self.take(field)? {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(field, &other, "a string")),
        }
    }

    /// Missing and null are the empty string.
    fn optional_text(&mut self, field: &'a str) -> Result<String, Defect> {
        match self.take(field) {
            Err(_) | Ok(Value::Null) => Ok(String::new()),
            Ok(Value::String(text)) => Ok(text),
            Ok(other) => Err(self.wrong(field, &other, "a string")),
        }
    }

    /// Text that is to be learned: whitespace alone is no answer.
    fn answer(&mut self, field: &'a str) -> Result<String, Defect> {
        let text = self.text(field)?;
        self.not_blank(field, text)
    }

    fn not_blank(&self, field: &'a str, text: String) -> Result<String, Defect> {
        let found = match text.as_str() {
            "" => "is `\"\"`",
            text if text.trim().is_empty() => "holds only whitespace",
            _ => return Ok(text),
        };
        let field = format!("{}{}", self.place, self.names.of(field));
        Err(Defect::EmptyAnswer { field, found })
    }

    fn numbers(&mut self, field: &'a str) -> Result<Vec<i64>, Defect> {
        let value = self.take(field)?;
        let Some(list) = value.as_array() else {
            return Err(self.wrong(field, &value, "a list of whole numbers"));
        };
        let numbers = list.iter().map(|item| {
            let what = format!("an item of `{}`", self.names.of(field));
            let wrong = Defect::Type { what, found: kind(item), wanted: "a whole number" };
            item.as_i64().ok_or(wrong)
        });
        numbers.collect()
    }

    /// Reads each object of a list as a message.
    fn messages(
        &mut self,
        field: &'a str,
        read: impl Fn(&mut Fields<'_, 'a>, usize) -> Result<Message, Defect>,
    ) -> Result<Vec<Message>, Defect> {
        let list = match self.take(field)? {
            Value::Array(list) => list,
            other => return Err(self.wrong(field, &other, "a list of messages")),
        };
        if list.is_empty() {
            return Err(Defect::NoMessages);
        }
        let messages = list.into_iter().enumerate().map(|(index, mut message)| {
            let number = index + 1;
            let what = format!("message {number}");
            let place = format!("{}[{index}].", self.names.of(field));
            let found = kind(&message);
            let Some(object) = message.as_object_mut() else {
                return Err(Defect::Type { what, found, wanted: "an object" });
            };
            let mut fields = Fields { object, names: self.names, what, place };
            read(&mut fields, number)
        });
        messages.collect()
    }

    /// One message of a conversation.
    fn message(&mut self, number: usize) -> Result<Message, Defect> {
        let role = self.text("role")?;
        let content = self.content(&role, number)?;
        let mut extra = std::mem::take(self.object);
        for field in ["role", "content"] {
            extra.shift_remove(self.names.of(field));
        }
        Ok(Message { role, content, extra })
    }

    /// Text, or a list of text parts, which are joined. Only a message with `tool_calls` may be
    /// without.
    fn content(&mut self, role: &str, number: usize) -> Result<String, Defect> {
        let calls = self.object.get("tool_calls").is_some_and(|calls| !calls.is_null());
        let content = match self.take("content") {
            Err(_) | Ok(Value::Null) if calls => String::new(),
            Err(missing) => return Err(missing),
            Ok(Value::String(text)) => text,
            Ok(Value::Array(parts)) => {
                let texts = parts.iter().map(|part| part_text(part, number));
                texts.collect::<Result<String, _>>()?
            }
            Ok(other) => return Err(self.wrong("content", &other, "a string or a list of parts")),
        };
        if role == "assistant" && !calls { self.not_blank("content", content) } else { Ok(content) }
    }

    fn wrong(&self, field: &'a str, found: &Value, wanted: &'static str) -> Defect {
        let name = self.names.of(field);
        let what = match self.what.as_str() {
            "the record" => format!("`{name}`"),
            message => format!("`{name}` of {message}"),
        };
        Defect::Type { what, found: kind(found), wanted }
    }
}

/// The text of one part of a content list: `{"type": "text", "text": …}` or a bare string.
fn part_text(part: &Value, number: usize) -> Result<&str, Defect> {
    let text = part.as_str().or_else(|| part.get("text").and_then(Value::as_str));
    text.ok_or_else(|| Defect::Type {
        what: format!("a part of message {number}"),
        found: if part.is_object() { "of another type" } else { kind(part) },
        wanted: "a text part",
    })
}

fn role_of_speaker(from: &str, number: usize) -> Result<&'static str, Defect> {
    match from {
        "human" | "user" => Ok("user"),
        "gpt" | "chatgpt" | "assistant" | "model" | "bing" | "bard" => Ok("assistant"),
        "system" => Ok("system"),
        "tool" | "observation" | "function" => Ok("tool"),
        other => Err(Defect::Speaker { number, found: other.to_owned(), wanted: SPEAKERS }),
    }
}

fn tokens(fields: &mut Fields<'_, '_>) -> Result<Body, Defect> {
    let (found, labels) = (fields.numbers("input_ids")?, fields.numbers("labels")?);
    if found.len() != labels.len() {
        return Err(Defect::Lengths { ids: found.len(), labels: labels.len() });
    }
    // The upper end is checked where the vocabulary is known.
    let ids = found.iter().map(|&id| {
        let what = "an item of `input_ids`".into();
        let wrong = Defect::Type { what, found: "no id", wanted: "a small number, 0 or more" };
        u32::try_from(id).map_err(|_| wrong)
    });
    let ids = ids.collect::<Result<Vec<u32>, _>>()?;
    let learned =
        ids.iter().zip(&labels).enumerate().map(|(position, (&id, &label))| match label {
            -100 => Ok(false),
            label if label == i64::from(id) => Ok(true),
            found => Err(Defect::Label { position, found, id }),
        });
    let learned = learned.collect::<Result<_, _>>()?;
    Ok(Body::Tokens { ids, learned })
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
