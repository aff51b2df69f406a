//! The records of any file that has texts, some at a time: one reader for training files and for tests.
//!
//! ```text
//!  Parquet, by its first bytes too ─► rows
//!  JSON, however it is laid out    ─► items of an array, or values one behind the other
//!  everything else                 ─► lines that are not blank
//! ```
//! What is packed is refused: nothing would be found in it.

use std::fs::File;
use std::io::{BufRead, BufReader, Result as IoResult};
use std::path::Path;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use super::{strings, texts};
use crate::task::{Raw, is_parquet, objects};
use crate::{Error, Result};

/// Records that are handed over together.
const TOGETHER: usize = 4096;
/// How files of gzip, bzip2, zstd, xz and zip begin.
const PACKED: [&[u8]; 5] = [b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"PK\x03\x04"];
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// What is told some records, each with its number.
pub(crate) type Take<'t> = &'t mut dyn FnMut(&[(u32, Record)]);

/// A record as it was read.
pub(crate) enum Record {
    Value(Value),
    Line(Vec<u8>),
}

impl Record {
    /// Asks about every text of it, until one is found.
    pub(crate) fn texts(&self, ask: &mut dyn FnMut(&str) -> bool) -> bool {
        match self {
            Self::Value(value) => strings(value, ask),
            Self::Line(line) => texts(line, ask),
        }
    }
}

/// Hands over the records of a file, each with its line, its row or its place among the values, from 1.
///
/// # Errors
/// If it cannot be read, or is no text.
pub(crate) fn records(path: &Path, take: Take<'_>) -> Result<()> {
    if is_parquet(path)? {
        return rows(path, take);
    }
    let Some(values) = values(path)? else { return lines(path, take) };
    let mut values = (1..).zip(values.into_iter().map(Record::Value));
    loop {
        let some: Vec<_> = values.by_ref().take(TOGETHER).collect();
        if some.is_empty() {
            return Ok(());
        }
        take(&some);
    }
}

fn rows(path: &Path, take: Take<'_>) -> Result<()> {
    let rows = objects(path)?;
    for start in (0..rows.len()).step_by(TOGETHER) {
        let some = start..rows.len().min(start + TOGETHER);
        let some = some.map(|row| {
            let (origin, raw) = rows.get(row)?;
            let record = match raw {
                Raw::Object(object) => Record::Value(Value::Object(object)),
                Raw::Bytes(bytes) => Record::Line(bytes),
            };
            Ok((origin.line, record))
        });
        take(&some.collect::<Result<Vec<_>>>()?);
    }
    Ok(())
}

/// The values of a file that is JSON as a whole. JSON lines are none: they are never all held at once.
fn values(path: &Path) -> Result<Option<Vec<Value>>> {
    let read = |error| Error::read(path, error);
    let mut file = BufReader::new(File::open(path).map_err(read)?);
    let mut first = Vec::new();
    while file.read_until(b'\n', &mut first).map_err(read)? > 0 && is_blank(&first) {
        first.clear();
    }
    let first = first.strip_prefix(MARK).unwrap_or(&first).trim_ascii();
    let is_json = matches!(first.first(), Some(b'{' | b'[' | b'"'));
    // An array in a line may be all of the file, any other value is one of many.
    let is_line = !first.starts_with(b"[") && serde_json::from_slice::<IgnoredAny>(first).is_ok();
    if !is_json || is_line {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(read)?;
    let bytes = bytes.strip_prefix(MARK).unwrap_or(&bytes);
    let values = Deserializer::from_slice(bytes).into_iter().collect::<Result<Vec<Value>, _>>();
    Ok(values.ok().map(|mut values| match values.as_mut_slice() {
        [Value::Array(items)] => std::mem::take(items),
        _ => values,
    }))
}

fn lines(path: &Path, take: Take<'_>) -> Result<()> {
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    let mut lines = (1..).zip(BufReader::new(file).split(b'\n'));
    loop {
        let some = lines.by_ref().take(TOGETHER).map(|(number, line)| Ok((number, line?)));
        let mut some = some.collect::<IoResult<Vec<_>>>().map_err(|e| Error::read(path, e))?;
        if some.is_empty() {
            return Ok(());
        }
        if let Some((1, first)) = some.first_mut()
            && first.starts_with(MARK)
        {
            first.drain(..MARK.len());
        }
        let packs = |first: &[u8]| PACKED.iter().any(|packed| first.starts_with(packed));
        // No text has this byte, and most of what is packed does.
        if some.iter().any(|(number, line)| line.contains(&0) || *number == 1 && packs(line)) {
            return Err(Error::NoText { path: path.into() });
        }
        some.retain(|(_, line)| !is_blank(line));
        let some = some.into_iter().map(|(number, line)| (number, Record::Line(line)));
        take(&some.collect::<Vec<_>>());
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}
