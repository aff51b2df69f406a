//! Records as Parquet: the same rows as the JSON lines, one column of text for each field.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::{AlpacaRecord, PromptRecord};
use crate::lines;
use crate::{Error, Result};

/// Rows that are compressed together, and that a reader needs in memory at once.
const ROWS_PER_GROUP: usize = 50_000;

/// A record of text fields alone.
pub trait Row {
    /// Their names, as in JSON.
    const COLUMNS: &'static [&'static str];

    /// The text of field number `column`.
    fn text(&self, column: usize) -> &str;
}

impl Row for AlpacaRecord {
    const COLUMNS: &'static [&'static str] = &["instruction", "input", "output"];

    fn text(&self, column: usize) -> &str {
        [&self.instruction, &self.input, &self.output][column]
    }
}

impl Row for PromptRecord {
    const COLUMNS: &'static [&'static str] = &["prompt", "completion"];

    fn text(&self, column: usize) -> &str {
        [&self.prompt, &self.completion][column]
    }
}

/// Writes records as a Parquet file, compressed by Snappy, which every reader knows. What was there
/// stays until all of it is written.
///
/// # Errors
/// If the file cannot be written.
pub fn write_parquet<R: Row>(path: &Path, rows: &[R]) -> Result<()> {
    let partial = lines::partial(path);
    let written = write(&partial, rows).map_err(|error| match error {
        ParquetError::External(source) => std::io::Error::other(source),
        error => std::io::Error::other(error.to_string()),
    });
    let written = written.and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| Error::Write { path: path.into(), source })
}

fn write<R: Row>(path: &Path, rows: &[R]) -> Result<(), ParquetError> {
    let columns = R::COLUMNS.iter().map(|name| format!("REQUIRED BYTE_ARRAY {name} (STRING);"));
    let schema = format!("message record {{ {} }}", columns.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(File::create(path)?, schema, Arc::new(properties))?;
    for rows in rows.chunks(ROWS_PER_GROUP) {
        let mut group = file.next_row_group()?;
        let mut column = 0;
        while let Some(mut writer) = group.next_column()? {
            let texts = rows.iter().map(|row| ByteArray::from(row.text(column)));
            let texts = texts.collect::<Vec<_>>();
            writer.typed::<ByteArrayType>().write_batch(&texts, None, None)?;
            writer.close()?;
            column += 1;
        }
        group.close()?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    fn read(path: &Path) -> Vec<PromptRecord> {
        let file = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
        let rows = file.get_row_iter(None).unwrap().map(|row| {
            let row = row.unwrap();
            let [prompt, completion] = [0, 1].map(|at| row.get_string(at).unwrap().clone());
            PromptRecord { prompt, completion }
        });
        rows.collect()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.parquet");
        let record = |number: usize| PromptRecord {
            prompt: ["", "\0\n", "a\u{202E}é \"x\"", "the same"][number % 4].into(),
            completion: format!("{number}"),
        };
        for count in [0, 1, ROWS_PER_GROUP + 3] {
            let rows = (0..count).map(record).collect::<Vec<_>>();
            write_parquet(&path, &rows).unwrap();
            assert!(read(&path) == rows, "{count} rows");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing").join("train.parquet");
        let error = write_parquet::<PromptRecord>(&path, &[]).unwrap_err().to_string();
        assert!(error.starts_with("cannot write `") && error.contains("train.parquet"), "{error}");
    }
}
