//! Files of records: a JSON array, or one JSON object a line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::format::{Names, Object, kind};
use crate::{
    BadRecord, Body, Defect, Error, Excluded, Format, Origin, OriginalAnswer, Record, Result,
    SourceConfig,
};

/// The objects of a file, and the lines that are none.
#[derive(Debug)]
pub struct Objects {
    /// What could be read, in file order.
    pub good: Vec<(Origin, Object)>,
    /// What could not.
    pub bad: Vec<BadRecord>,
    /// SHA-256 of the file.
    pub hash: [u8; 32],
}

/// The records of a source, and those that cannot be used.
#[derive(Debug)]
pub struct Records {
    /// What could be read, in file order.
    pub good: Vec<Record>,
    /// What could not.
    pub bad: Vec<BadRecord>,
    /// Records of tasks that leave no room for an exemplar, and the tokens that they would need.
    pub too_long: Vec<(Origin, usize)>,
    /// The files that they stand in.
    pub files: Vec<PathBuf>,
    /// What the rules of the source took out.
    pub excluded: Vec<Excluded>,
    /// SHA-256 of the file.
    pub hash: [u8; 32],
}

/// Reads all records of a source. Its format is that of the first record, unless it is given.
///
/// # Errors
/// If the file cannot be read, holds no records, or begins with one of no known format. What is
/// wrong with single records is returned beside the good ones.
pub fn read(source: &SourceConfig) -> Result<Records> {
    let Objects { good, mut bad, hash } = read_objects(&source.path)?;
    let (names, files) = (Names(&source.fields), vec![source.path.clone()]);
    let format = match (source.format, good.first()) {
        (Some(format), _) => format,
        (None, None) => {
            let (good, too_long, excluded) = Default::default();
            return Ok(Records { good, bad, too_long, files, excluded, hash });
        }
        (None, Some((origin, object))) => Format::detect(object, names).ok_or_else(|| {
            Error::UnknownFormat { origin: origin.clone(), found: object.keys().cloned().collect() }
        })?,
    };
    let records = good
        .into_par_iter()
        .map(|(origin, object)| record(format, names, source.original, object, origin));
    let (good, defective): (Vec<_>, Vec<_>) = records.partition_map(either);
    bad.extend(defective);
    bad.sort_by_key(|bad| bad.origin.line);
    let (too_long, excluded) = Default::default();
    Ok(Records { good, bad, too_long, files, excluded, hash })
}

/// One record of a format.
pub(crate) fn record(
    format: Format,
    names: Names<'_>,
    original: Option<OriginalAnswer>,
    object: Object,
    origin: Origin,
) -> Result<Record, BadRecord> {
    let id = if format.is_ranked() { id(&object, names) } else { None };
    let body = format.parse(object, names).and_then(|body| match body {
        Body::Ranked(ranked) => ranked.with_original(original).map(Body::Ranked),
        body => Ok(body),
    });
    match body {
        Ok(body) => Ok(Record { body, origin, id }),
        Err(defect) => Err(BadRecord { origin, id, defect }),
    }
}

/// What a record calls itself.
fn id(object: &Object, names: Names<'_>) -> Option<String> {
    match object.get(names.of("id"))? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Reads the JSON objects of a file: the items of one array, or the lines that are not blank.
///
/// # Errors
/// If the file cannot be read, is empty, or is one malformed array.
pub fn read_objects(path: &Path) -> Result<Objects> {
    let bytes = std::fs::read(path).map_err(|error| Error::read(path, error))?;
    let hash = Sha256::digest(&bytes).into();
    let Pieces { pieces, .. } = Pieces::of(path, &bytes)?;
    let file: Arc<Path> = path.into();
    let objects = pieces.par_iter().map(|&(line, piece)| {
        let origin = Origin { file: file.clone(), line };
        match object(piece) {
            Ok(object) => Ok((origin, object)),
            Err(defect) => Err(BadRecord { origin, id: None, defect }),
        }
    });
    let (good, bad): (Vec<_>, Vec<_>) = objects.partition_map(either);
    Ok(Objects { good, bad, hash })
}

/// A file cut into its records.
pub(crate) struct Pieces<'a> {
    /// Whether they are the items of one array, and not lines.
    pub is_array: bool,
    /// The lines on which they begin, and their bytes.
    pub pieces: Vec<(u32, &'a [u8])>,
}

impl<'a> Pieces<'a> {
    /// Cuts a file: the items of one array, or the lines that are not blank.
    ///
    /// # Errors
    /// If the file is empty, one malformed array, or one object over several lines.
    pub(crate) fn of(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let none = |found: &str| Error::NoRecords { path: path.into(), found: found.into() };
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        let first = first.ok_or_else(|| none("is empty"))?;
        let is_array = *first == b'[';
        let pieces = if is_array { items(path, text)? } else { lines(text) };
        if pieces.is_empty() {
            return Err(none("is an empty array"));
        }
        let one = !is_array && pieces.len() > 1 && object(pieces[0].1).is_err();
        if one && serde_json::from_slice::<IgnoredAny>(text).is_ok() {
            return Err(none("is one JSON object over several lines"));
        }
        Ok(Self { is_array, pieces })
    }
}

/// The items of an array and the lines on which they begin.
fn items<'a>(path: &Path, text: &'a [u8]) -> Result<Vec<(u32, &'a [u8])>> {
    let items: Vec<&RawValue> = serde_json::from_slice(text).map_err(|error| Error::Syntax {
        path: path.into(),
        line: error.line(),
        column: error.column(),
        message: format!("malformed JSON: {}", message(&error)),
    })?;
    let (mut line, mut seen) = (1, 0);
    let items = items.into_iter().map(|item| {
        let item = item.get().as_bytes();
        let start = item.as_ptr() as usize - text.as_ptr() as usize;
        line += text[seen..start].iter().filter(|byte| **byte == b'\n').count() as u32;
        seen = start;
        (line, item)
    });
    Ok(items.collect())
}

/// The lines that are not blank.
fn lines(text: &[u8]) -> Vec<(u32, &[u8])> {
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).collect()
}

/// The object that a record must be.
pub(crate) fn object(text: &[u8]) -> Result<Object, Defect> {
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(Defect::Type {
            what: "the record".into(),
            found: kind(&other),
            wanted: "an object",
        }),
        Err(error) => {
            let (column, mut message) = (error.column(), message(&error));
            // Python writes them where JSON has nothing of the kind.
            let here = text.get(column.saturating_sub(2)..).unwrap_or_default();
            let name = ["NaN", "Infinity"].into_iter().find(|name| {
                (0..3).any(|skip| {
                    here.get(skip..).is_some_and(|here| here.starts_with(name.as_bytes()))
                })
            });
            if let Some(name) = name {
                message += &format!(": `{name}` is no JSON number");
            }
            Err(Defect::Json { column, message })
        }
    }
}

/// What serde says, without the place: that is told in our own way.
pub(crate) fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or_default().to_owned()
}

fn either<A, B>(result: Result<A, B>) -> rayon::iter::Either<A, B> {
    match result {
        Ok(good) => rayon::iter::Either::Left(good),
        Err(bad) => rayon::iter::Either::Right(bad),
    }
}
