//! A file of records of which one field is text: read whole, its records left as they are.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;

use crate::format::kind;
use crate::read::{Pieces, object};
use crate::{BadRecord, Defect, Error, Origin, Result};

/// Records with a text each, as the bytes that stand in the file.
#[derive(Debug)]
pub struct TextFile {
    file: Arc<Path>,
    bytes: Vec<u8>,
    is_array: bool,
    records: Vec<(u32, Range<usize>)>,
    texts: Vec<String>,
}

impl TextFile {
    /// Reads a JSON array or JSON lines; every record must have text in `field`.
    ///
    /// # Errors
    /// If the file cannot be read, is empty or is malformed as a whole. Records without the text are
    /// returned beside the others.
    pub fn read(path: &Path, field: &str) -> Result<(Self, Vec<BadRecord>)> {
        let bytes = std::fs::read(path).map_err(|error| Error::read(path, error))?;
        let Pieces { is_array, pieces } = Pieces::of(path, &bytes)?;
        let file: Arc<Path> = path.into();
        let texts: Vec<_> = pieces.par_iter().map(|(_, piece)| text(piece, field)).collect();
        let mut good = Vec::with_capacity(texts.len());
        let (mut records, mut bad) = (Vec::with_capacity(texts.len()), Vec::new());
        for ((line, piece), text) in pieces.into_iter().zip(texts) {
            match text {
                Ok(text) => {
                    let start = piece.as_ptr() as usize - bytes.as_ptr() as usize;
                    records.push((line, start..start + piece.len()));
                    good.push(text);
                }
                Err(defect) => {
                    bad.push(BadRecord {
                        origin: Origin { file: file.clone(), line },
                        id: None,
                        defect,
                    });
                }
            }
        }
        Ok((Self { file, bytes, is_array, records, texts: good }, bad))
    }

    /// Whether the records are the items of one array, and not lines.
    pub fn is_array(&self) -> bool {
        self.is_array
    }

    /// The texts, in file order.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// The bytes of a record.
    pub fn bytes(&self, record: usize) -> &[u8] {
        &self.bytes[self.records[record].1.clone()]
    }

    /// Where a record stands.
    pub fn origin(&self, record: usize) -> Origin {
        Origin { file: self.file.clone(), line: self.records[record].0 }
    }
}

fn text(piece: &[u8], field: &str) -> Result<String, Defect> {
    let mut object = object(piece)?;
    match object.get_mut(field).map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(Defect::Type { what: format!("`{field}`"), found: kind(&other), wanted: "text" })
        }
        None => Err(Defect::MissingField {
            what: "the record".into(),
            field: field.into(),
            found: object.keys().cloned().collect(),
        }),
    }
}
