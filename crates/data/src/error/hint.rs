//! What to do about each error.

use super::Error;
use crate::{BadRecord, Defect};

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoFile { path, nearest: Some(nearest) } => {
                let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
                format!("the name nearest to `{name}` there is `{}`", nearest.display())
            }
            Self::UnknownFormat { .. } => {
                "known formats: `alpaca` (instruction, input, output), `prompt` (prompt, \
                 completion), `messages` (messages), `sharegpt` (conversations), `tokens` \
                 (input_ids, labels), `text` (text), `tuna` (instruction, output, score), `preference` \
                 (prompt, chosen, rejected); other field names are told with `fields`, such as `fields = { prompt = \"question\", completion = \"answer\" }`"
                    .into()
            }
            Self::BadRecords { bad, records, shown } => {
                let cure = "correct them, or leave them out: `data.bad_records = \"drop\"`";
                match shown.iter().find_map(|bad| bad.defect.hint()) {
                    _ if bad == records && of_learn(shown) => LEARN.into(),
                    Some(hint) => format!("{hint}; else {cure}"),
                    None => cure.into(),
                }
            }
            Self::NothingLeft { longest, truncates, cure, .. } => {
                let longer = longest.map(|(longest, _)| {
                    let cut = if *truncates { "" } else { ", or `data.too_long = \"truncate\"`" };
                    format!("set `data.max_tokens = {longest}` or more{cut}")
                });
                return longer.or_else(|| cure.clone());
            }
            Self::TooLong { longest, .. } => format!(
                "set `data.max_tokens = {longest}` or more, or `data.too_long` to `\"drop\"` or \
                 `\"truncate\"`"
            ),
            Self::NoTokenizer { found: Some(_), .. } => {
                "albacore reads `tokenizer.json`; write one with transformers: \
                 `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`"
                    .into()
            }
            Self::NoTokenizer { .. } => "name a folder that holds a model and its tokenizer; from \
                                         a GGUF, `albacore import` makes one"
                .into(),
            Self::NoEos { .. } => "set `eos_token` in `tokenizer_config.json`, or `eos_token_id` \
                                   in `generation_config.json`"
                .into(),
            Self::Vocabulary { .. } => {
                "use the tokenizer files that were published with these weights".into()
            }
            Self::NoChatTemplate { .. } => {
                "set `data.template` to `\"alpaca\"`, `\"none\"` or a file, or add a \
                 `chat_template.jinja` to the model folder"
                    .into()
            }
            Self::ChatTemplate { .. } => {
                "correct it, or set `data.template` to `\"alpaca\"`, `\"none\"` or a file".into()
            }
            Self::NoFamily { name, known } => {
                let likeness = |known: &&str| strsim::jaro_winkler(name, known);
                let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
                format!("the nearest is `{best}`")
            }
            Self::EmptyTask { .. } => "give it records, or take it out: of several files, with \
                                       `exclude` of its source"
                .into(),
            Self::NothingOfTask { shortest, cure, .. } => {
                let out = "take the task out (of several files, with `exclude` of its source)";
                match (shortest, cure) {
                    (Some(shortest), _) => format!(
                        "set `data.max_tokens` to {shortest} or more, the tokens of the shortest, or {out}"
                    ),
                    (None, Some(cure)) => format!("{cure}; or {out}"),
                    (None, None) => out.to_owned(),
                }
            }
            Self::NoText { .. } => {
                "unpack it, or write it as JSON lines, Parquet or plain text".into()
            }
            Self::NoTask { .. } => "see `exclude` and `exclude_categories` of its source".into(),
            Self::Config(problem) => return problem.hint.clone(),
            Self::Dry { .. } => {
                "raise `data.max_tokens`, or leave the tasks out whose examples do not fit".into()
            }
            Self::Write { .. } => {
                "make room on the disk, or name a folder that can be written; the \
                                   same command then goes on where it was"
                    .into()
            }
            Self::Line { .. } => "something else has written into the file: restore it, or begin \
                                  a run in a folder of its own"
                .into(),
            Self::StageBefore { stage, .. } | Self::StageBehind { stage, .. } => {
                format!(
                    "run it first: `albacore bootstrap {stage} CONFIG`, or all stages: `albacore bootstrap CONFIG`"
                )
            }
            Self::Settings { .. } => "change them back to go on with it, or give the new run \
                                      another `run.name`"
                .into(),
            Self::Unanswered { first, .. } => {
                let again = "the same command asks for these alone";
                first.hint.as_ref().map_or(again.into(), |hint| format!("{hint}; then {again}"))
            }
            Self::NothingRanked { reasons, .. } => {
                let cure = |(reason, cure): &(&str, &'static str)| {
                    let is = |found: &String| found.contains(&format!(": {reason} ("));
                    reasons.iter().any(is).then_some(*cure)
                };
                return CURES.iter().find_map(cure).map(str::to_owned);
            }
            Self::Seeds { .. } => {
                "`albacore seeds check FILE` shows all that is wrong with it".into()
            }
            Self::PromptName { .. } => "rename the file, or take it out of the folder".into(),
            Self::Prompt { .. } => "`data/prompts` in the source holds the prompts that it \
                                    replaces, with what each is given"
                .into(),
            Self::Endpoint { hint, .. } => return hint.clone(),
            Self::Journal { hint, .. } => hint.clone(),
            Self::JournalWrite { .. } => "make room on the disk, and run the same command again: \
                                          it goes on after the last answer that was recorded"
                .into(),
            Self::Defect(defect) => return defect.hint(),
            Self::Several(errors) => {
                let mut hints: Vec<_> = errors.iter().filter_map(Self::hint).collect();
                hints.dedup();
                return (!hints.is_empty()).then(|| hints.join("\nhint: "));
            }
            _ => return None,
        };
        Some(hint)
    }
}

/// What to do where nothing of any record is learned.
const LEARN: &str = "`data.learn` says what is learned: `\"answers\"`, `\"last\"`, `\"all\"` or \
                     `\"role:NAME\"`, the name of a role in the records";

/// Whether it is `data.learn` that all of them fail by.
fn of_learn(shown: &[BadRecord]) -> bool {
    shown.iter().all(|bad| matches!(bad.defect, Defect::NothingLearned { .. }))
}

/// What helps where none of the records is left, by the first of those that cannot be used.
pub(crate) fn cure(shown: &[BadRecord]) -> Option<String> {
    match shown {
        [] => None,
        _ if of_learn(shown) => Some(LEARN.into()),
        _ => shown.iter().find_map(|bad| bad.defect.hint()),
    }
}

/// What to do where nothing could be ranked, by the reason.
const CURES: [(&str, &str); 4] = [
    (
        "no log-probability",
        "`rank.teacher = \"model\"` lets a model read the answers; `albacore sample` records them where the model \
         tells them",
    ),
    (
        "no original answer",
        "candidates have it as `original`: `albacore sample` takes it from the records",
    ),
    ("no score", "`rank.scores` names a file of scores"),
    (
        "the judge's reply cannot be read",
        "`unranked.jsonl` has the replies: take a stronger judge, or templates of your own (`rank.prompts`)",
    ),
];
