//! The `[data]` table of a config.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Format, HeldOut, Learn, OriginalAnswer, TemplateChoice, TooLong};

/// What is trained on, and how it becomes ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The longest example, in tokens; default 2048. Raising it keeps more of long records and
    /// costs memory: attention works on whole examples.
    pub max_tokens: usize,
    /// What becomes of an example longer than `max_tokens`; default `"drop"`. `"truncate"` keeps its
    /// head, and so loses the end-of-sequence token; `"error"` refuses to start. The first two are
    /// counted and reported.
    pub too_long: TooLong,
    /// What becomes of a record that cannot be used (a missing field, an empty answer, nothing to
    /// learn); default `"error"`, which names all of them and refuses to start. `"drop"` leaves them
    /// out, counted and reported.
    pub bad_records: BadRecords,
    /// Which tokens are learned; default `"answers"`, all turns of the assistant. `"last"` is the
    /// last of them, `"all"` every token, `"role:NAME"` the messages of one role.
    pub learn: Learn,
    /// How a record becomes text; default `"chat"`, the model's own chat template. `"alpaca"` is
    /// Alpaca's prompt, `"none"` joins prompt and answer as they are, anything else is a TOML file
    /// with `prompt`, `prompt_with_input` and `response`.
    pub template: TemplateChoice,
    /// Whether every epoch has its own random order; default true. False is file order.
    pub shuffle: bool,
    /// How many examples are kept from training to measure the loss on: a count (`100`) or a share
    /// (`0.05`); default 0. Raising it makes the measure steadier and training poorer.
    pub held_out: HeldOut,
    /// The budget of a micro-batch, in tokens; default 4096, at least `max_tokens`. Raising it is
    /// faster up to a point and costs memory.
    pub tokens_per_batch: usize,
    /// The day that a chat template sees when it asks for today's (`strftime_now`), as
    /// `YYYY-MM-DD`; default `2024-07-26`. Fixed, so that a run resumed tomorrow reads the same
    /// text.
    pub date: jiff::civil::Date,
    /// Where the records come from, at least one.
    pub sources: Vec<SourceConfig>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            max_tokens: 2048,
            too_long: TooLong::Drop,
            bad_records: BadRecords::Error,
            learn: Learn::Answers,
            template: TemplateChoice::Chat,
            shuffle: true,
            held_out: HeldOut::Count(0),
            tokens_per_batch: 4096,
            date: jiff::civil::date(2024, 7, 26),
            sources: Vec::new(),
        }
    }
}

/// One file of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A JSON array or JSON lines.
    pub path: PathBuf,
    /// What its records look like; default: told from the fields of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// At most so many records: a random choice that depends on the seed alone, kept in file order;
    /// default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
    /// How often an epoch has each record; default 1. Held-out examples are never repeated.
    #[serde(default = "once")]
    pub repeat: usize,
    /// What becomes of the answer that a ranked record had at first (`original` of a `tuna` record, or
    /// what its raw file has): `"candidate"` joins the candidates, as the best of them unless it was
    /// ranked with them; `"record"` is an example of its own, learned as an ordinary answer. Default:
    /// it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalAnswer>,
    /// What the file calls the fields of the format: `fields = { instruction = "question" }`;
    /// default: as the format does.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl SourceConfig {
    /// All records of a file, once.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, fields) = (path.into(), BTreeMap::new());
        Self { path, format: None, cap: None, repeat: once(), original: None, fields }
    }
}

fn once() -> usize {
    1
}

/// What becomes of records that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadRecords {
    /// All are named, nothing is trained.
    Error,
    /// They are left out, counted and reported.
    Drop,
}

/// A value of the configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `data.max_tokens`.
    pub key: String,
    /// What was found and what was wanted.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key, self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

impl DataConfig {
    /// All problems that can be seen without touching a file.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: String, message: String, hint: Option<String>| {
            if !fits {
                problems.push(Problem { key: format!("data.{key}"), message, hint });
            }
        };
        let at_least = |least: usize, found: usize| format!("is {found}, wanted {least} or more");
        unless(self.max_tokens >= 2, "max_tokens".into(), at_least(2, self.max_tokens), None);
        unless(
            self.tokens_per_batch >= self.max_tokens,
            "tokens_per_batch".into(),
            format!("is {}, less than `data.max_tokens`", self.tokens_per_batch),
            Some(format!(
                "an example must fit into a batch: raise it to {}, or lower `data.max_tokens`",
                self.max_tokens
            )),
        );
        if let HeldOut::Share(share) = self.held_out {
            unless(
                (0.0..1.0).contains(&share),
                "held_out".into(),
                format!("is {share:?}, wanted a count (`100`) or a share below 1 (`0.05`)"),
                None,
            );
        }
        unless(
            !self.sources.is_empty(),
            "sources".into(),
            "is empty, wanted at least one file".into(),
            Some("add `[[data.sources]]` with `path = \"records.jsonl\"`".into()),
        );
        for (index, source) in self.sources.iter().enumerate() {
            let key = |name: &str| format!("sources[{index}].{name}");
            unless(source.repeat >= 1, key("repeat"), at_least(1, source.repeat), None);
            unless(source.cap != Some(0), key("cap"), at_least(1, 0), None);
            unless(
                source.original.is_none() || matches!(source.format, None | Some(Format::Tuna)),
                key("original"),
                "is set, wanted only for `format = \"tuna\"`".into(),
                Some(
                    "leave it out: records of this format have one answer, or two ranked ones"
                        .into(),
                ),
            );
            let known = Format::fields(source.format);
            for field in source.fields.keys().filter(|field| !known.contains(&field.as_str())) {
                unless(
                    false,
                    key("fields"),
                    format!("names `{field}`, which the format does not have"),
                    Some(format!(
                        "write our name first: `fields = {{ OURS = \"{field}\" }}`; known: {}",
                        crate::defect::in_backticks(&known)
                    )),
                );
            }
        }
        problems
    }
}
