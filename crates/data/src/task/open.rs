//! From a source of the config to its tasks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::task::family::Family;
use crate::task::files::expand;
use crate::task::reader::{Opened, Reader, objects};
use crate::task::shards::Shard;
use crate::task::{Form, Task, Templates};
use crate::{DataConfig, Error, Format, Problem, Random, Result, SourceConfig};

/// What a rule took out of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// The number of the source in the config, from 0.
    pub source: usize,
    /// The source's path.
    pub path: PathBuf,
    /// Its key, `exclude` or `exclude_categories`.
    pub key: String,
    /// The pattern or the category.
    pub rule: String,
    /// How many files it took out that none before it did.
    pub files: usize,
}

/// Opens all tasks of a source, and says what its rules took out: reads where its records lie, and not one of them more.
///
/// # Errors
/// All files that cannot be read or are not what their format says; templates that cannot be used; a
/// task without a record, or a source of which every task is excluded.
pub(crate) fn open(
    config: &DataConfig,
    index: usize,
    seed: u64,
) -> Result<(Vec<Task>, Vec<Excluded>)> {
    let source = &config.sources[index];
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
    let Files { opened: found, excluded } = files(source, index)?;
    let tasks = if source.is_task_each() {
        found
            .into_iter()
            .map(|(file, opened)| (source.name_of(&file), opened.reader, vec![opened.shard]))
            .collect()
    } else {
        let reader = found.first().map(|(_, opened)| opened.reader.clone());
        let shards = found.into_iter().map(|(_, opened)| opened.shard).collect();
        vec![(source.name_of(&source.path), reader.unwrap_or(Reader::Objects), shards)]
    };
    let tasks: Vec<_> = tasks
        .into_iter()
        .map(|(name, reader, shards): (String, Reader, Vec<Shard>)| {
            let templates =
                family.clone().map(|family| templates(source, config.max_tokens, family, reader));
            let key = Random::new(seed, &format!("task {name}"), index as u64).next();
            let mut task = task(source, name, shards, templates)?;
            task.limit(config.limit(source));
            Ok(Task { source: index, key, apart_key: key, ..task })
        })
        .collect::<Result<_>>()?;
    if tasks.is_empty() {
        let (path, files) = (source.path.clone(), expand(&source.path)?.len());
        return Err(Error::NoTask { path, files });
    }
    let empty = tasks.iter().filter(|task| task.len == 0);
    Error::all(empty.map(|task| no_examples(source, task)).collect())?;
    Ok((tasks, excluded))
}

/// The files of a source.
struct Files {
    /// Those that are not excluded.
    opened: Vec<(PathBuf, Opened)>,
    /// What the rules took out.
    excluded: Vec<Excluded>,
}

/// Opens the files of a source that are not excluded.
fn files(source: &SourceConfig, index: usize) -> Result<Files> {
    let mut files = expand(&source.path)?;
    let mut by_name = vec![0; source.exclude.len()];
    files.retain(|file| {
        let rule = excluded_by(source, &stem(file)).filter(|_| source.is_task_each());
        rule.is_none_or(|rule| {
            by_name[rule] += 1;
            false
        })
    });
    let opened: Vec<_> = files.par_iter().map(|file| one(source, file)).collect();
    let mut by_category = vec![0; source.exclude_categories.len()];
    let (mut errors, mut found) = (Vec::new(), Vec::new());
    for (file, opened) in files.into_iter().zip(opened) {
        match opened {
            Ok((_, Some(rule))) => by_category[rule] += 1,
            Ok((opened, None)) => found.push((file, opened)),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors)?;
    let by_name = source.exclude.iter().zip(by_name).map(|(rule, files)| ("exclude", rule, files));
    let by_category = source.exclude_categories.iter().zip(by_category);
    let by_category = by_category.map(|(rule, files)| ("exclude_categories", rule, files));
    let excluded = by_name.chain(by_category).map(|(key, rule, files)| Excluded {
        source: index,
        path: source.path.clone(),
        key: key.to_owned(),
        rule: rule.clone(),
        files,
    });
    Ok(Files { opened: found, excluded: excluded.collect() })
}

/// A file of a source, and the rule that excludes it by its categories.
fn one(source: &SourceConfig, file: &Path) -> Result<(Opened, Option<usize>)> {
    let opened = match source.format {
        Some(format) if format.family().is_some() => Opened::new(file, format)?,
        _ => Opened { reader: Reader::Objects, shard: objects(file)?, categories: Vec::new() },
    };
    let is_its = |rule: &String| opened.categories.contains(rule);
    let rule = source.exclude_categories.iter().position(is_its);
    Ok((opened, rule))
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

/// The first rule that excludes a task by its name.
fn excluded_by(source: &SourceConfig, name: &str) -> Option<usize> {
    let fits = |pattern: &String| {
        glob::Pattern::new(pattern).map_or(pattern == name, |pattern| pattern.matches(name))
    };
    source.exclude.iter().position(fits)
}

/// The name of a file without its ending.
pub(super) fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl SourceConfig {
    /// What the task of a file is called; of several files as one task, of the path.
    pub(crate) fn name_of(&self, file: &Path) -> String {
        match (&self.name, self.is_task_each()) {
            (Some(name), false) => name.clone(),
            (Some(name), true) => format!("{name}/{}", stem(file)),
            (None, _) => stem(file),
        }
    }
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

/// What a source says of its templates.
fn templates(
    source: &SourceConfig,
    max_tokens: usize,
    family: Arc<Family>,
    reader: Reader,
) -> Templates {
    let list = if source.inverted { &family.inversions } else { &family.templates };
    let mix: Vec<_> = (0..list.len()).filter(|index| list[*index].mix).collect();
    Templates {
        mix: if mix.is_empty() { (0..list.len()).collect() } else { mix },
        family,
        reader,
        fields: source.fields.clone(),
        options: source.options.clone(),
        inverted: source.inverted,
        option_style: source.option_style,
        shots: source.shots,
        // 1920 of 2048, as the Flan collection has it.
        shot_tokens: source.shot_tokens.unwrap_or(max_tokens - max_tokens / 16),
    }
}

/// A task of all records of some files.
fn task(
    source: &SourceConfig,
    name: String,
    shards: Vec<Shard>,
    templates: Option<Templates>,
) -> Result<Task> {
    let mut starts = vec![0];
    for shard in &shards {
        starts.push(starts[starts.len() - 1] + shard.len());
    }
    let len = starts[shards.len()];
    let form = match templates {
        Some(templates) => Form::Templates(Box::new(templates)),
        None => {
            let fields = source.fields.clone();
            let format = match source.format {
                Some(format) => format,
                None => detected(source, &shards)?,
            };
            Form::Plain { format, fields, original: source.original }
        }
    };
    let (source, held_out, withheld, key, apart_key) = Default::default();
    Ok(Task { name, source, shards, starts, len, held_out, withheld, form, key, apart_key })
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
