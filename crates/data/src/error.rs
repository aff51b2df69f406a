//! What can go wrong between a file and its ids.

mod hint;
mod words;

use std::path::{Path, PathBuf};

use crate::bootstrap::SeedProblem;
use crate::defect::in_backticks;
use crate::{BadRecord, Defect, NoCompletion, Origin, Problem};

pub(crate) use hint::cure;
use words::{
    each, limit, lines, list, list_lengths, nearest_file, of_more, other_tokenizer, rest, several,
};

/// Result of a call into this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Errors of the data, the tokenizer and the templates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that is named does not exist.
    #[error("there is no file `{}`", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// The file beside it with the most similar name.
        nearest: Option<PathBuf>,
    },
    /// A file that should hold records, and holds something else.
    #[error("`{}` {found}, wanted records: a JSON array, or one JSON object a line", path.display())]
    NoRecords {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
    /// A file that is to be compared with, and is no text.
    #[error("`{}` is neither text nor JSON nor Parquet", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
    },
    /// A file that is malformed as a whole.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// The first record fits no known format.
    #[error("{origin}: cannot tell the format of a record with the fields {}", in_backticks(found))]
    UnknownFormat {
        /// The first record.
        origin: Origin,
        /// Its fields.
        found: Vec<String>,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A line of a run's own file is not what the run writes.
    #[error("{origin}: {message}")]
    Line {
        /// Where.
        origin: Origin,
        /// What is wrong.
        message: String,
    },
    /// A stage needs what one before it writes.
    #[error("there is no `{}`: the stage `{stage}` has not been run", path.display())]
    StageBefore {
        /// The file that it writes.
        path: PathBuf,
        /// The stage.
        stage: &'static str,
    },
    /// A stage before has not seen all that there is now.
    #[error("`{}` has {found} of {wanted} instructions: the stage `{stage}` has not been run since there are more", path.display())]
    StageBehind {
        /// The file that it writes.
        path: PathBuf,
        /// The stage.
        stage: &'static str,
        /// Instructions in the file.
        found: usize,
        /// Instructions that there are.
        wanted: usize,
    },
    /// A run is to go on with other settings than it began with.
    #[error("`{}` holds a run with other settings{}", folder.display(), lines(changed))]
    Settings {
        /// Its folder.
        folder: PathBuf,
        /// What has changed: found and wanted.
        changed: Vec<String>,
    },
    /// Requests have no answer.
    #[error("requests without an answer: {failures}; the first: {first}")]
    Unanswered {
        /// How many.
        failures: u64,
        /// Why the first has none.
        first: NoCompletion,
    },
    /// Seed tasks that cannot be used.
    #[error("the seed tasks cannot be used{}", each(problems))]
    Seeds {
        /// What is wrong, line by line.
        problems: Vec<SeedProblem>,
    },
    /// A folder of prompts has a template that no stage asks for.
    #[error("`{}` is no prompt, wanted one of {}", path.display(), in_backticks(names))]
    PromptName {
        /// The file.
        path: PathBuf,
        /// The prompts that there are.
        names: Vec<&'static str>,
    },
    /// A template of a prompt is malformed, or cannot be filled in.
    #[error("`{}`: {message}", path.display())]
    Prompt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Records that cannot be used.
    #[error("{bad} of {records} records cannot be used{}", list(shown, *bad))]
    BadRecords {
        /// How many.
        bad: usize,
        /// Of how many.
        records: usize,
        /// The first ones.
        shown: Vec<BadRecord>,
    },
    /// Sets of candidates, prompts or scores that cannot be used.
    #[error("{bad} of {records} records cannot be used{}{}", lines(shown), rest(shown.len(), *bad).unwrap_or_default())]
    Candidates {
        /// How many.
        bad: usize,
        /// Of how many.
        records: usize,
        /// The first ones, each with its place and what is wrong.
        shown: Vec<String>,
    },
    /// No set could be ranked.
    #[error("none of {sets} sets could be ranked{}", lines(reasons))]
    NothingRanked {
        /// How many there are.
        sets: usize,
        /// Why not, with how many, and the first ids.
        reasons: Vec<String>,
    },
    /// Records longer than allowed, with `too_long = "error"`.
    #[error(
        "{long} of {records} records are longer than `data.max_tokens` = {max_tokens}{}",
        list_lengths(shown, *long)
    )]
    TooLong {
        /// How many.
        long: usize,
        /// Of how many.
        records: usize,
        /// The limit.
        max_tokens: usize,
        /// The longest.
        longest: usize,
        /// The first ones, and how many tokens they have.
        shown: Vec<(Origin, usize)>,
    },
    /// No record is left to train on.
    #[error("no record is left to train on: {found}{}", limit(longest))]
    NothingLeft {
        /// What became of them.
        found: String,
        /// If some were too long: tokens of the longest, and the most that were allowed.
        longest: Option<(usize, usize)>,
        /// Whether those that were too long have been truncated.
        truncates: bool,
        /// What helps against the defects of those that cannot be used.
        cure: Option<String>,
    },
    /// More records are to be held out than there are.
    #[error("{wanted} of {found} records are to be held out, which leaves nothing to train on")]
    HeldOut {
        /// How many were to be held out.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// A model folder without `tokenizer.json`.
    #[error("`{}` has no `tokenizer.json`{}", folder.display(), other_tokenizer(found))]
    NoTokenizer {
        /// The folder.
        folder: PathBuf,
        /// A tokenizer of another kind that lies there.
        found: Option<String>,
    },
    /// A tokenizer file that does not say what it should.
    #[error("`{}`: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What was found and wanted.
        message: String,
    },
    /// Nothing says which token ends a text.
    #[error("`{}` names no end-of-sequence token", folder.display())]
    NoEos {
        /// The model folder.
        folder: PathBuf,
    },
    /// The tokenizer belongs to another model.
    #[error(
        "the tokenizer in `{}` has {tokens} tokens (highest id {highest}), the model's vocabulary \
         has {rows} rows: {why}",
        folder.display()
    )]
    Vocabulary {
        /// The folder of the tokenizer.
        folder: PathBuf,
        /// How many tokens it knows.
        tokens: usize,
        /// Its highest id.
        highest: u32,
        /// Rows of the model's embedding.
        rows: usize,
        /// What does not fit.
        why: &'static str,
    },
    /// `template = "chat"` without a chat template.
    #[error("`{}` has no chat template", folder.display())]
    NoChatTemplate {
        /// The model folder.
        folder: PathBuf,
    },
    /// The chat template of a model that cannot be used.
    #[error("`{}`: {message}", file.display())]
    ChatTemplate {
        /// The file that it stands in.
        file: PathBuf,
        /// What was found and wanted.
        message: String,
    },
    /// A template that cannot be used, chat or custom.
    #[error("{place}: {message}")]
    Template {
        /// The file, and the line if it is known.
        place: String,
        /// What was found and wanted.
        message: String,
    },
    /// A family of templates that there is not.
    #[error(
        "there is no family of templates `{name}`, wanted {} or a TOML file",
        in_backticks(known)
    )]
    NoFamily {
        /// What was asked for.
        name: String,
        /// The families that there are.
        known: Vec<&'static str>,
    },
    /// A task that has no examples.
    #[error("the task `{name}` of `{}` has no examples left", path.display())]
    EmptyTask {
        /// The task.
        name: String,
        /// The source's path.
        path: PathBuf,
    },
    /// A task of which no example can be used.
    #[error(
        "the task `{name}` has no example left: none of {tried}{} can be used, {found}",
        of_more(*examples, *tried)
    )]
    NothingOfTask {
        /// The task.
        name: String,
        /// How many were tried.
        tried: usize,
        /// Of how many.
        examples: usize,
        /// What became of them.
        found: String,
        /// If some were too long: tokens of the shortest of these.
        shortest: Option<usize>,
        /// What helps against the defects of those that cannot be used.
        cure: Option<String>,
    },
    /// A source that has no tasks.
    #[error("none of the {files} tasks of `{}` is left: all are excluded", path.display())]
    NoTask {
        /// The source's path.
        path: PathBuf,
        /// How many files it has.
        files: usize,
    },
    /// A value of the config that cannot be used with these files.
    #[error("`{}` {}", .0.key, .0.message)]
    Config(Problem),
    /// A mixture from which nothing comes.
    #[error("the last {tried} examples drawn from the mixture are all left out: {found}")]
    Dry {
        /// How many were drawn.
        tried: usize,
        /// What became of them.
        found: String,
    },
    /// The settings of a server that writes text cannot be used.
    #[error("{message}")]
    Endpoint {
        /// What was found and wanted.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A journal that holds something else than it should.
    #[error("{place}: {message}")]
    Journal {
        /// The file, and the line if it is known.
        place: String,
        /// What was found and wanted.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A journal that cannot be written. What it held before is whole.
    #[error("cannot write `{}`: {source}", path.display())]
    JournalWrite {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A text or conversation given by hand cannot be encoded.
    #[error(transparent)]
    Defect(#[from] Defect),
    /// Several errors, all of them found in one go.
    #[error("{}", several(.0))]
    Several(Vec<Error>),
}

impl Error {
    /// Of records that cannot be used: none is `Ok`; the first ones are shown.
    pub(crate) fn records(mut problems: Vec<String>, records: usize) -> Result<()> {
        /// More are not read by anyone.
        const SHOWN: usize = 10;
        let bad = problems.len();
        problems.truncate(SHOWN);
        if bad == 0 { Ok(()) } else { Err(Self::Candidates { bad, records, shown: problems }) }
    }

    /// Joins errors: none is `Ok`, one is itself.
    pub(crate) fn all(mut errors: Vec<Self>) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// A file that cannot be read: if it does not exist, the nearest name beside it.
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        if source.kind() != std::io::ErrorKind::NotFound {
            return Self::Read { path: path.into(), source };
        }
        Self::NoFile { path: path.into(), nearest: nearest_file(path) }
    }
}
