//! From a source of the config to its tasks.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::mixture::Weight;
use crate::task::family::Family;
use crate::task::files::expand;
use crate::task::reader::{Opened, Reader, objects};
use crate::task::shards::Shard;
use crate::task::{Form, Task, Templates};
use crate::{Error, Format, Problem, Random, Result, SourceConfig};

/// Opens all tasks of a source: reads where its records lie, and not one of them more.
///
/// # Errors
/// All files that cannot be read or are not what their format says; templates that cannot be used; a
/// task without a record, or a source of which every task is excluded.
pub(crate) fn open(
    source: &SourceConfig,
    index: usize,
    seed: u64,
    max_tokens: usize,
) -> Result<Vec<Task>> {
    let family = match source.format.and_then(Format::family) {
        Some(usual) => {
            let name = source.family.as_deref().unwrap_or(usual);
            let family = Family::load(name)?;
            check(source, index, &family)?;
            Some(family)
        }
        None => None,
    };
    check_excluded(source, index)?;
    let found = files(source)?;
    let tasks = if source.is_task_each() {
        found
            .into_iter()
            .map(|(file, opened)| (stem(&file), opened.reader, vec![opened.shard]))
            .collect()
    } else {
        let reader = found.first().map(|(_, opened)| opened.reader.clone());
        let shards = found.into_iter().map(|(_, opened)| opened.shard).collect();
        vec![(stem(&source.path), reader.unwrap_or(Reader::Objects), shards)]
    };
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|(stem, reader, shards): (String, Reader, Vec<Shard>)| {
            let name = match (&source.name, source.is_task_each()) {
                (Some(name), false) => name.clone(),
                (Some(name), true) => format!("{name}/{stem}"),
                (None, _) => stem,
            };
            task(source, index, seed, max_tokens, family.clone(), name, reader, shards)
        })
        .collect::<Result<_>>()?;
    if tasks.is_empty() {
        let (path, files) = (source.path.clone(), expand(&source.path)?.len());
        return Err(Error::NoTask { path, files });
    }
    let empty = tasks.iter().filter(|task| task.len == 0);
    Error::all(empty.map(|task| no_examples(source, task)).collect())?;
    Ok(tasks)
}

/// The files of a source that are not excluded, opened.
fn files(source: &SourceConfig) -> Result<Vec<(PathBuf, Opened)>> {
    let mut files = expand(&source.path)?;
    files.retain(|file| !source.is_task_each() || !excludes(source, &stem(file)));
    let opened: Vec<_> = files.par_iter().map(|file| one(source, file)).collect();
    let (mut errors, mut found) = (Vec::new(), Vec::new());
    for (file, opened) in files.into_iter().zip(opened) {
        match opened {
            Ok(Some(opened)) => found.push((file, opened)),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    Ok(found)
}

/// A file of a source; `None` if its categories exclude it.
fn one(source: &SourceConfig, file: &Path) -> Result<Option<Opened>> {
    let opened = match source.format {
        Some(format) if format.family().is_some() => Opened::new(file, format)?,
        _ => Opened { reader: Reader::Objects, shard: objects(file)?, categories: Vec::new() },
    };
    let excluded =
        opened.categories.iter().any(|category| source.exclude_categories.contains(category));
    Ok((!excluded).then_some(opened))
}

/// A task that is held out by its whole name must be there: one that is misspelt would be trained on.
fn check_excluded(source: &SourceConfig, index: usize) -> Result<()> {
    let names: Vec<_> = expand(&source.path)?.iter().map(|file| stem(file)).collect();
    let is_name = |pattern: &&String| !pattern.contains(['*', '?', '[']);
    let unknown = source.exclude.iter().filter(is_name).find(|name| !names.contains(name));
    unknown.map_or(Ok(()), |name| {
        let likeness = |known: &&String| strsim::jaro_winkler(name, known);
        let nearest = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        Err(Error::Config(Problem {
            key: format!("data.sources[{index}].exclude"),
            message: format!("names `{name}`, wanted the name of one of its {} tasks", names.len()),
            hint: nearest.map(|nearest| format!("the nearest is `{nearest}`")),
        }))
    })
}

fn excludes(source: &SourceConfig, name: &str) -> bool {
    let fits = |pattern: &String| {
        glob::Pattern::new(pattern).map_or(pattern == name, |pattern| pattern.matches(name))
    };
    source.exclude.iter().any(fits)
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn check(source: &SourceConfig, index: usize, family: &Family) -> Result<()> {
    if source.inverted && family.inversions.is_empty() {
        return Err(Error::Template {
            place: format!("`data.sources[{index}].inverted`"),
            message: format!(
                "the family `{}` ({}) has no `[[inversions]]`",
                family.name, family.place
            ),
        });
    }
    Ok(())
}

#[expect(clippy::too_many_arguments, reason = "called once, of what has just been read")]
fn task(
    source: &SourceConfig,
    index: usize,
    seed: u64,
    max_tokens: usize,
    family: Option<std::sync::Arc<Family>>,
    name: String,
    reader: Reader,
    shards: Vec<Shard>,
) -> Result<Task> {
    let mut starts = vec![0];
    for shard in &shards {
        starts.push(starts[starts.len() - 1] + shard.len());
    }
    let all = starts[shards.len()];
    let cap = source.cap.filter(|_| source.weight != Some(Weight::Proportional));
    let limit = source.limit.into_iter().chain(cap).min();
    let form = match family {
        Some(family) => Form::Templates(Box::new(Templates {
            mix: {
                let list = if source.inverted { &family.inversions } else { &family.templates };
                let mix: Vec<_> = (0..list.len()).filter(|index| list[*index].mix).collect();
                if mix.is_empty() { (0..list.len()).collect() } else { mix }
            },
            family,
            reader,
            fields: source.fields.clone(),
            options: source.options.clone(),
            inverted: source.inverted,
            option_style: source.option_style,
            shots: source.shots,
            // 1920 of 2048, as the Flan collection has it.
            shot_tokens: source.shot_tokens.unwrap_or(max_tokens - max_tokens / 16),
        })),
        None => {
            let fields = source.fields.clone();
            let format = match source.format {
                Some(format) => format,
                None => detected(source, &shards)?,
            };
            Form::Plain { format, fields, original: source.original }
        }
    };
    let key = Random::new(seed, &format!("task {name}"), index as u64).next();
    let len = limit.map_or(all, |limit| limit.min(all));
    Ok(Task { name, source: index, shards, starts, len, held_out: 0, form, key })
}

/// The format of the first record.
fn detected(source: &SourceConfig, shards: &[Shard]) -> Result<Format> {
    let Some(shard) = shards.iter().find(|shard| shard.len() > 0) else {
        return Ok(Format::Prompt);
    };
    let (origin, raw) = shard.get(0)?;
    let Ok(object) = raw.object() else {
        return Err(Error::UnknownFormat { origin, found: Vec::new() });
    };
    let names = crate::format::Names(&source.fields);
    Format::detect(&object, names)
        .ok_or_else(|| Error::UnknownFormat { origin, found: object.keys().cloned().collect() })
}

fn no_examples(source: &SourceConfig, task: &Task) -> Error {
    Error::EmptyTask { name: task.name.clone(), path: source.path.clone() }
}
