//! The `[data]` table of a config.

mod check;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::task::{expand, is_pattern};
use crate::{
    Format, GroupConfig, HeldOut, Learn, OptionStyle, OriginalAnswer, Shots, TemplateChoice,
    TooLong, Weight,
};

/// What is trained on, and how it becomes ids.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// The longest example, in tokens; default 2048. Raising it keeps more of long records and
    /// costs memory: attention works on whole examples.
    pub max_tokens: usize,
    /// What becomes of an example longer than `max_tokens`; default `"drop"`. `"truncate"` keeps its
    /// head, and so loses the end-of-sequence token (of a model with an encoder, the source is cut and the
    /// answer stays whole); `"error"` refuses to start. The first two are
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
    /// Whether every epoch has its own random order; default true. False is file order, which a mixture
    /// does not have.
    pub shuffle: bool,
    /// How many examples are kept from training to measure the loss on: a count (`100`) or a share
    /// (`0.05`); default 0: a random choice, of Parquet in a mixture the last rows. Raising it makes the measure
    /// steadier and training poorer.
    pub held_out: HeldOut,
    /// The budget of a micro-batch, in tokens; default 4096, at least `max_tokens`. Raising it is
    /// faster up to a point and costs memory.
    pub tokens_per_batch: usize,
    /// The day that a chat template sees when it asks for today's (`strftime_now`), as
    /// `YYYY-MM-DD`; default `2024-07-26`. Fixed, so that a run resumed tomorrow reads the same
    /// text.
    pub date: jiff::civil::Date,
    /// How even the rates of tasks are that are weighed by their examples; default 1, in proportion. A
    /// higher one raises small tasks and lowers large ones: the capped number of examples to the power
    /// `1 / temperature`.
    pub temperature: f64,
    /// Where the records come from, at least one.
    pub sources: Vec<SourceConfig>,
    /// Groups of sources, by name; default none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, GroupConfig>,
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
            temperature: 1.0,
            sources: Vec::new(),
            groups: BTreeMap::new(),
        }
    }
}

/// Records of one kind: a file, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// A JSON array, JSON lines or Parquet; a pattern with `*`, or a folder, for several files.
    pub path: PathBuf,
    /// What it is called in tables; default: the file's name. A task for each file has both names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its part of a mixture, beside those of its neighbours: a number, or `"proportional"`, as many
    /// parts as it has examples, at most `cap`. Default: proportional, if the data are a mixture. Raising
    /// it draws its examples more often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<Weight>,
    /// The group that it stands in; default: none, it is weighed against the groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// At most so many records of each task are used: a random choice, of Parquet the first; default all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether each of several files is a task of its own, with a rate of its own; default: only of the
    /// formats `super_ni`, `cot`, `mmlu` and `bbh`. Else they are parts of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_each: Option<bool>,
    /// Tasks that are left out, by their files' names without ending; `*` stands for any text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Categories of Super-NI whose tasks are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_categories: Vec<String>,
    /// The templates of a task: the name of a family, or a TOML file; default: as the format says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Whether the family's inversions are used, which ask for the question; default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inverted: bool,
    /// The answer options of every record, if the records do not name them; an answer that is a number is
    /// the place of one of them, from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// How answer options are shown; default `"fixed"`. `"random"` changes from example to example,
    /// `"none"` hides them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub option_style: OptionStyle,
    /// Exemplars before an example; default `"zero"`. `"same"` has two or three (of Super-NI two) in the example's own
    /// template, `"mixed"` five in others, `"both"` now these and now those.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shots: Shots,
    /// Most tokens of an input and its exemplars; default 15/16 of `data.max_tokens`. Raising it leaves
    /// less room for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shot_tokens: Option<usize>,
    /// What its records look like; default: told from the fields of the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// At most so many records: a random choice that depends on the seed alone, kept in file order;
    /// default all. In a mixture all are used, and no task counts as more than so many examples where
    /// examples are weighed: `limit` is there to leave some out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<usize>,
    /// How often an epoch has each record; default 1. Held-out examples are never repeated.
    #[serde(default = "once")]
    pub repeat: usize,
    /// Whether nothing of it is trained on and all of it is measured on, beside what `data.held_out` takes of
    /// the others; default false. Of a mixture these are tasks that training never sees.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held_out: bool,
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
        Self {
            path: path.into(),
            name: None,
            weight: None,
            group: None,
            limit: None,
            task_each: None,
            exclude: Vec::new(),
            exclude_categories: Vec::new(),
            family: None,
            inverted: false,
            options: Vec::new(),
            option_style: OptionStyle::default(),
            shots: Shots::default(),
            shot_tokens: None,
            format: None,
            cap: None,
            repeat: once(),
            held_out: false,
            original: None,
            fields: BTreeMap::new(),
        }
    }

    /// Whether its records have templates.
    pub fn is_task(&self) -> bool {
        self.format.is_some_and(|format| format.family().is_some())
    }

    /// Whether there is a file that its path stands for.
    pub fn is_found(&self) -> bool {
        self.path.exists() || (is_pattern(&self.path) && expand(&self.path).is_ok())
    }

    /// Whether it is one file of records as they are, read at once.
    pub(crate) fn is_one_file(&self) -> bool {
        let is_parquet = self.path.extension().is_some_and(|ending| ending == "parquet");
        let is_several = self.path.is_dir() || (is_pattern(&self.path) && !self.path.exists());
        !self.is_task() && !is_parquet && !is_several
    }

    /// Whether each of its files is a task of its own.
    pub(crate) fn is_task_each(&self) -> bool {
        self.task_each.unwrap_or(self.is_task() && self.format != Some(Format::Task))
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// Whether examples are drawn from tasks at rates, and not taken once an epoch: as soon as a weight is
    /// given, or a group.
    pub fn is_mixture(&self) -> bool {
        !self.groups.is_empty() || self.sources.iter().any(|source| source.weight.is_some())
    }

    /// How many records of each task of a source are used at most. In a mixture a cap is for the rates alone.
    pub(crate) fn limit(&self, source: &SourceConfig) -> Option<usize> {
        let cap = source.cap.filter(|_| !self.is_mixture());
        source.limit.into_iter().chain(cap).min()
    }
}
