//! What can be wrong with one record.

use std::fmt;

use crate::Origin;

/// Why a record cannot be used: what was found and what was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The line is no JSON.
    #[error("malformed JSON at column {column}: {message}")]
    Json {
        /// Where, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The line is JSON, but no object; or a field has the wrong type.
    #[error("{what} is {found}, wanted {wanted}")]
    Type {
        /// The record or one of its fields.
        what: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        wanted: &'static str,
    },
    /// A field that the format needs is not there.
    #[error("{what} has no field `{field}`, found {}", in_backticks(found))]
    MissingField {
        /// The record or one of its messages.
        what: String,
        /// The missing field.
        field: String,
        /// The fields that are there.
        found: Vec<String>,
    },
    /// There is no answer to learn.
    #[error("the answer is empty: `{field}` {found}, wanted text")]
    EmptyAnswer {
        /// The field that should hold it.
        field: String,
        /// What it holds.
        found: &'static str,
    },
    /// A speaker that ShareGPT does not know.
    #[error("message {number} is from `{found}`, wanted {wanted}")]
    Speaker {
        /// Which message, from 1.
        number: usize,
        /// Who speaks.
        found: String,
        /// Who may speak.
        wanted: &'static str,
    },
    /// There is nothing to answer.
    #[error("the prompt is empty: `{field}`, wanted text")]
    EmptyPrompt {
        /// The field that should hold it.
        field: String,
    },
    /// A candidate without a rival.
    #[error("the number of candidates in `{field}` is {found}, wanted 2 or more")]
    Candidates {
        /// The field that holds them, or their ranks.
        field: String,
        /// How many there are.
        found: usize,
    },
    /// Scores that do not lie along the candidates.
    #[error("`{field}` has {scores} entries, wanted {candidates}, one for each of `{of}`")]
    Scores {
        /// The field of the scores.
        field: String,
        /// The field of the candidates.
        of: String,
        /// Scores.
        scores: usize,
        /// Candidates.
        candidates: usize,
    },
    /// A ranking of something that is not there, or of something twice.
    #[error("`{field}` names answer {found}, wanted {wanted}")]
    Rank {
        /// The field of the ranking.
        field: String,
        /// What it names.
        found: i64,
        /// What it may name.
        wanted: String,
    },
    /// The original answer is wanted, and the record has none.
    #[error("the record has no original answer, wanted for `original` of its source")]
    NoOriginal,
    /// A candidate that is not one message of the assistant.
    #[error(
        "`{field}` ends with {messages} messages after the prompt, the last from `{role}`; wanted one from `assistant`"
    )]
    Answer {
        /// The field that holds it.
        field: String,
        /// How many follow the prompt.
        messages: usize,
        /// Who speaks last.
        role: String,
    },
    /// The candidates do not follow the same ids.
    #[error(
        "the template gives candidate {candidate} another prompt than the first, or parts what is learned of it"
    )]
    Prompts {
        /// Which one, from 1.
        candidate: usize,
    },
    /// A conversation without a message.
    #[error("the conversation is empty, wanted at least one message")]
    NoMessages,
    /// `labels` do not lie along `input_ids`.
    #[error("`labels` has {labels} entries, wanted {ids}, one for each of `input_ids`")]
    Lengths {
        /// Ids.
        ids: usize,
        /// Labels.
        labels: usize,
    },
    /// A label that is neither -100 nor the id itself.
    #[error("label {found} at position {position} (from 0), wanted -100 or the id there, {id}")]
    Label {
        /// Where, from 0.
        position: usize,
        /// The label.
        found: i64,
        /// The id at this position.
        id: u32,
    },
    /// An id that the vocabulary does not have.
    #[error("id {id} at position {position} (from 0) is out of range, wanted 0 to {}", vocabulary - 1)]
    Id {
        /// Where, from 0.
        position: usize,
        /// The id.
        id: i64,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A token of the text is what span corruption puts in the place of others.
    #[error("token {position} (from 0) of its text is the sentinel `{token}`")]
    Sentinel {
        /// Where, from 0.
        position: usize,
        /// How it is spelled.
        token: String,
    },
    /// A text of which nothing can be taken out.
    #[error(
        "its text has {tokens} tokens, wanted 2 or more: one that is taken out and one that stays"
    )]
    ShortText {
        /// How many it has.
        tokens: usize,
    },
    /// No token of the record would be learned.
    #[error("nothing of it would be learned with `learn = \"{learn}\"`: {why}")]
    NothingLearned {
        /// The rule.
        learn: String,
        /// What it was looked for and not found.
        why: String,
    },
    /// No label of ready-made ids asks for a token to be learned.
    #[error("nothing of it would be learned: all its labels after the first are -100")]
    NoLabels,
    /// A part of the prompt is to be learned, and an encoder reads that.
    #[error(
        "a token of its prompt would be learned; the model reads prompts with an encoder and is trained \
         on answers alone"
    )]
    LearnsPrompt,
    /// The template has no place for such a record.
    #[error("a `{record}` record does not fit `template = \"{template}\"`")]
    Misfit {
        /// The record's format.
        record: &'static str,
        /// The template.
        template: String,
    },
    /// The chat template refuses the conversation or fails on it.
    #[error("the chat template fails: {message}")]
    Template {
        /// What it says.
        message: String,
    },
    /// The beginning of the conversation is rendered differently when more follows.
    #[error(
        "the chat template renders the beginning of the conversation differently once message \
         {number} follows, so that its text cannot be told from the rest"
    )]
    Nesting {
        /// Which message, from 1.
        number: usize,
    },
    /// The text of a message is not in what the chat template makes of it.
    #[error("the chat template does not show message {number} as it is written")]
    Rewritten {
        /// Which message, from 1.
        number: usize,
    },
    /// Text with the character that marks answers inside the chat template.
    #[error("the text holds the noncharacter U+{0:04X}, which marks answers in the chat template")]
    Noncharacter(u32),
    /// The answer is to be chosen, and is none of the options.
    #[error("`{field}` is `{found}`, wanted one of the options {}", in_backticks(options))]
    NoOption {
        /// The field of the answer.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        options: Box<[String]>,
    },
    /// Exemplars are wanted, and no record of the task can be one.
    #[error("none of {tried} records that were drawn as exemplars for it can be used")]
    NoExemplar {
        /// How many were drawn.
        tried: usize,
    },
    /// A row of a table that is none.
    #[error("malformed row: {0}")]
    Tabular(String),
    /// The tokenizer fails on the text.
    #[error("the tokenizer fails: {0}")]
    Tokenizer(String),
}

impl Defect {
    /// A short name, under which such records are counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Json { .. } => "malformed JSON",
            Self::Type { .. } => "wrong type",
            Self::MissingField { .. } => "missing field",
            Self::EmptyAnswer { .. } => "empty answer",
            Self::Speaker { .. } => "unknown speaker",
            Self::NoMessages => "empty conversation",
            Self::EmptyPrompt { .. } => "empty prompt",
            Self::Candidates { .. } => "one candidate",
            Self::Scores { .. } => "scores that do not fit",
            Self::Rank { .. } => "ranks that do not fit",
            Self::NoOriginal => "no original answer",
            Self::Answer { .. } => "no single answer",
            Self::Prompts { .. } => "candidates of different prompts",
            Self::Lengths { .. } | Self::Label { .. } => "labels that do not fit",
            Self::Id { .. } => "id out of range",
            Self::Sentinel { .. } => "text with a sentinel",
            Self::ShortText { .. } => "text of fewer than two tokens",
            Self::NothingLearned { .. } | Self::NoLabels => "nothing to learn",
            Self::LearnsPrompt => "prompts cannot be learned",
            Self::Misfit { .. } => "does not fit the template",
            Self::Template { .. } | Self::Nesting { .. } | Self::Rewritten { .. } => {
                "chat template fails"
            }
            Self::Noncharacter(_) => "noncharacter",
            Self::NoOption { .. } => "answer that is no option",
            Self::NoExemplar { .. } => "no usable exemplar",
            Self::Tabular(_) => "malformed row",
            Self::Tokenizer(_) => "tokenizer fails",
        }
    }

    /// What to do about it, where something special helps.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::MissingField { field, .. } => {
                return Some(format!(
                    "if the file has another name for it, say so under `[[data.sources]]`: \
                     `fields = {{ {field} = \"its_name\" }}`"
                ));
            }
            Self::NoOriginal => {
                "leave `original` out of its `[[data.sources]]`, or say where the answer is: \
                 `fields = { original = \"its_name\" }`"
            }
            Self::Misfit { template, .. } if template.ends_with("span_corruption") => {
                "span corruption learns from `format = \"text\"`"
            }
            Self::Misfit { record: "messages" | "preference", .. } => {
                "conversations need `data.template = \"chat\"`"
            }
            Self::LearnsPrompt => {
                "learn the `answers` of records that have a prompt: `data.learn = \"answers\"`"
            }
            Self::NoExemplar { .. } => {
                "exemplars are other records of the task that can be used: `shots = \"zero\"` shows none"
            }
            Self::Nesting { .. } => {
                "mark the answers in the chat template with `{% generation %}` and \
                 `{% endgeneration %}`, or learn only the last answer: `data.learn = \"last\"`"
            }
            Self::Rewritten { .. } => {
                "learn `answers`, `last` or `all`, or use a chat template that shows messages as \
                 they are"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// A record that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// Where it stands.
    pub origin: Origin,
    /// What a record of several candidates calls itself.
    pub id: Option<String>,
    /// What is wrong with it.
    pub defect: Defect,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{} (id `{id}`): {}", self.origin, self.defect),
            None => write!(f, "{}: {}", self.origin, self.defect),
        }
    }
}

/// `` `a`, `b` `` or `nothing`.
pub(crate) fn in_backticks<S: AsRef<str>>(names: &[S]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    let names: Vec<_> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    names.join(", ")
}
