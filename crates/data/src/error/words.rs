//! Parts of messages: lists that are not too long, and names that are nearly right.

use std::path::{Path, PathBuf};

use crate::bootstrap::SeedProblem;
use crate::{BadRecord, Error, Origin};

/// The file beside `path` whose name is most like it, if one is like it at all.
pub(super) fn nearest_file(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let files = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let likeness = |other: &String| strsim::jaro_winkler(&name, other);
    let best = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)).then(b.cmp(a)))?;
    (likeness(&best) > 0.8).then(|| path.with_file_name(best))
}

pub(super) fn list(shown: &[BadRecord], all: usize) -> String {
    let lines = shown.iter().map(|bad| format!("\n  {bad}"));
    lines.chain(rest(shown.len(), all)).collect()
}

pub(super) fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| format!("\n  {text}")).collect()
}

/// Of how many so many were tried, if that is not all.
pub(super) fn of_more(all: usize, tried: usize) -> String {
    if all > tried { format!(" tried (of {all})") } else { String::new() }
}

pub(super) fn each(problems: &[SeedProblem]) -> String {
    /// More are not read by anyone.
    const SHOWN: usize = 10;
    let shown = problems.iter().take(SHOWN);
    let lines = shown.map(|SeedProblem { origin, message }| format!("\n  {origin}: {message}"));
    lines.chain(rest(SHOWN.min(problems.len()), problems.len())).collect()
}

pub(super) fn list_lengths(shown: &[(Origin, usize)], all: usize) -> String {
    let lines = shown.iter().map(|(origin, tokens)| format!("\n  {origin}: {tokens} tokens"));
    lines.chain(rest(shown.len(), all)).collect()
}

pub(super) fn rest(shown: usize, all: usize) -> Option<String> {
    (all > shown).then(|| format!("\n  and {} more", all - shown))
}

pub(super) fn limit(longest: &Option<(usize, usize)>) -> String {
    let Some((longest, most)) = longest else { return String::new() };
    format!("; the longest has {longest} tokens, `data.max_tokens` is {most}")
}

pub(super) fn other_tokenizer(found: &Option<String>) -> String {
    let Some(found) = found else { return String::new() };
    format!(", only `{found}`, which is not supported")
}

pub(super) fn several(errors: &[Error]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("\n")
}
