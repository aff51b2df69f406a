//! Files that are held out as a whole: nothing of them is trained on, whatever path leads to them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::defect::in_backticks;
use crate::task::open::stem;
use crate::{DataConfig, Error, Problem, Result};

/// Refuses files that one source holds out and another trains on. `files` are those that are read, each with
/// the index of its source.
///
/// # Errors
/// All sources that train on such files.
pub(crate) fn keep_apart<'f>(
    config: &DataConfig,
    files: impl Iterator<Item = (usize, &'f Path)>,
) -> Result<()> {
    if !config.sources.iter().any(|source| source.held_out) {
        return Ok(());
    }
    // `x`, `./x` and a link to it are one file. What is not there is told by whoever reads it.
    let whole = |file: &Path| file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let (held_out, trained): (Vec<_>, Vec<_>) =
        files.partition(|(source, _)| config.sources[*source].held_out);
    let held_out: HashMap<_, usize> =
        held_out.into_iter().map(|(source, file)| (whole(file), source)).collect();
    let mut sources: BTreeMap<usize, Shared<'_>> = BTreeMap::new();
    for (source, file) in trained {
        let shared = sources.entry(source).or_default();
        shared.all += 1;
        if let Some(by) = held_out.get(&whole(file)) {
            shared.by = *by;
            shared.files.push(file);
        }
    }
    let leaks = sources.into_iter().filter(|(_, shared)| !shared.files.is_empty());
    let problem = |(source, shared): (usize, Shared<'_>)| {
        let can_exclude = config.sources[source].is_task_each();
        Error::Config(shared.problem(source, can_exclude))
    };
    Error::all(leaks.map(problem).collect())
}

/// What a source trains on although it is held out.
#[derive(Default)]
struct Shared<'f> {
    files: Vec<&'f Path>,
    /// How many files the source has.
    all: usize,
    /// A source that holds them out.
    by: usize,
}

impl Shared<'_> {
    fn problem(&self, source: usize, can_exclude: bool) -> Problem {
        let more = match self.files.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more of its files"),
        };
        let hint = if can_exclude && self.files.len() < self.all {
            let names: Vec<_> = self.files.iter().map(|file| format!("{:?}", stem(file))).collect();
            let names = names.join(", ");
            format!("leave it out of training: `data.sources[{source}].exclude = [{names}]`")
        } else {
            "take the file out of one of them".into()
        };
        Problem {
            key: format!("data.sources[{}].held_out", self.by),
            message: format!(
                "is set, and `data.sources[{source}]` trains on {}{more}",
                in_backticks(&[self.files[0].to_string_lossy()])
            ),
            hint: Some(hint),
        }
    }
}
