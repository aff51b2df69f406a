//! The raw records of a task's files, found by number: an index of places is kept, never the records.
//!
//! ```text
//!  lines   one place for every 16th line: a byte a record
//!  pieces  items of a JSON array, rows of a CSV: their bytes and lines, 16 bytes a record
//!  rows    Parquet: the first row of each row group; some groups that were read are held
//! ```

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use memchr::memchr;
use parquet::file::reader::{FileReader, SerializedFileReader};
use sha2::{Digest, Sha256};

use crate::format::Object;
use crate::read::object;
use crate::task::rows::Rows;
use crate::{Defect, Error, Origin, Result};

/// Lines between two places of the index. A record is found by reading at most so many.
const STRIDE: usize = 16;

/// One file, and where its records lie.
#[derive(Debug)]
pub(crate) struct Shard {
    path: Arc<Path>,
    places: Places,
    len: usize,
    /// SHA-256 of the file; of Parquet, of its size and metadata.
    hash: [u8; 32],
}

#[derive(Debug)]
enum Places {
    /// Offset and line number of every [`STRIDE`]-th record; records are the lines that are not blank.
    Lines {
        size: u64,
        marks: Vec<(u64, u32)>,
    },
    /// Of each record its offset, its length and its line.
    Pieces {
        pieces: Vec<(u64, u32, u32)>,
    },
    Rows(Rows),
}

/// A record as it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Raw {
    /// The bytes of a line, of an item or of a row.
    Bytes(Vec<u8>),
    /// A row that is already taken apart.
    Object(Object),
}

impl Raw {
    /// The object that the record is.
    pub(crate) fn object(self) -> Result<Object, Defect> {
        match self {
            Self::Object(object) => Ok(object),
            Self::Bytes(bytes) => object(&bytes),
        }
    }
}

impl Shard {
    /// The lines of a file that are not blank.
    pub(crate) fn of_lines(path: &Path) -> Result<Self> {
        let wrong = |error| Error::read(path, error);
        let file = File::open(path).map_err(wrong)?;
        let mut hash = Sha256::new();
        let (mut marks, mut len, mut line, mut offset) = (Vec::new(), 0, 0u32, 0u64);
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        // Whether the line so far is blank, and where it began.
        let (mut blank, mut began) = (true, 0u64);
        loop {
            let bytes = reader.fill_buf().map_err(wrong)?;
            if bytes.is_empty() {
                break;
            }
            let size = bytes.len();
            hash.update(bytes);
            let mut rest = bytes;
            while !rest.is_empty() {
                let end = memchr(b'\n', rest);
                let here = &rest[..end.unwrap_or(rest.len())];
                blank = blank && is_blank(here, offset);
                offset += here.len() as u64 + u64::from(end.is_some());
                rest = &rest[here.len() + usize::from(end.is_some())..];
                if end.is_some() {
                    line += 1;
                    push(&mut marks, &mut len, blank, began, line);
                    (blank, began) = (true, offset);
                }
            }
            reader.consume(size);
        }
        push(&mut marks, &mut len, blank, began, line + 1);
        let places = Places::Lines { size: offset, marks };
        Ok(Self { path: path.into(), places, len, hash: hash.finalize().into() })
    }

    /// Pieces of a file whose bytes have been looked at.
    pub(crate) fn of_pieces(
        path: &Path,
        bytes: &[u8],
        pieces: Vec<(u64, u32, u32)>,
    ) -> Result<Self> {
        let (len, hash) = (pieces.len(), Sha256::digest(bytes).into());
        Ok(Self { path: path.into(), places: Places::Pieces { pieces }, len, hash })
    }

    /// The rows of a Parquet file.
    pub(crate) fn of_parquet(path: &Path) -> Result<Self> {
        let open = || File::open(path).map_err(|error| Error::read(path, error));
        let size = open()?.metadata().map_err(|error| Error::read(path, error))?.len();
        let wrong = |error| unreadable(path, error);
        let file = SerializedFileReader::new(open()?).map_err(wrong)?;
        let mut hash = Sha256::new_with_prefix(size.to_le_bytes());
        let (mut starts, mut len, mut largest) = (Vec::new(), 0, 0);
        for group in file.metadata().row_groups() {
            starts.push(len);
            len += group.num_rows() as usize;
            largest = largest.max(group.total_byte_size() as u64);
            hash.update(format!("{group:?}"));
        }
        let hash = hash.finalize().into();
        Ok(Self { path: path.into(), places: Places::Rows(Rows::new(starts, largest)), len, hash })
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Whether records are read in groups, and not each alone.
    pub(crate) fn is_by_groups(&self) -> bool {
        matches!(self.places, Places::Rows(_))
    }

    /// Bytes of the largest group that is read at once, as its file says; 0 if each record is read alone.
    pub(crate) fn largest_group(&self) -> u64 {
        match &self.places {
            Places::Rows(rows) => rows.largest,
            _ => 0,
        }
    }

    /// The first record of each group that is read at once; the whole shard is one if each is read alone.
    pub(crate) fn groups(&self) -> impl Iterator<Item = usize> {
        let starts: &[usize] = match &self.places {
            Places::Rows(rows) => &rows.starts,
            _ => &[0],
        };
        starts.iter().copied()
    }

    /// The record of this number, and where it stands: its line, or of Parquet its row, from 1.
    pub(crate) fn get(&self, number: usize) -> Result<(Origin, Raw)> {
        let read = |source| Error::Read { path: self.path.to_path_buf(), source };
        let (line, raw) = match &self.places {
            Places::Lines { size, marks } => {
                let (offset, line) = marks[number / STRIDE];
                let end = marks.get(number / STRIDE + 1).map_or(*size, |mark| mark.0);
                let bytes = bytes_at(&self.path, offset, (end - offset) as usize).map_err(read)?;
                let found = nth_record(&bytes, offset, number % STRIDE);
                let (at, bytes) = found.ok_or_else(|| {
                    read(std::io::Error::other("it has changed while it was read"))
                })?;
                (line + at, Raw::Bytes(without_mark(bytes, line + at).to_vec()))
            }
            Places::Pieces { pieces } => {
                let (offset, length, line) = pieces[number];
                (line, Raw::Bytes(bytes_at(&self.path, offset, length as usize).map_err(read)?))
            }
            Places::Rows(rows) => {
                let row = rows.get(&self.path, number);
                let row = row.map_err(|error| unreadable(&self.path, error))?;
                let object = row
                    .and_then(|row| object(&row).ok())
                    .ok_or_else(|| read(std::io::Error::other("it has fewer rows than it says")))?;
                (number as u32 + 1, Raw::Object(object))
            }
        };
        Ok((Origin { file: self.path.clone(), line }, raw))
    }
}

/// The record of this number in some lines, and the number of its line; they begin at an offset of the file.
fn nth_record(lines: &[u8], offset: u64, number: usize) -> Option<(u32, &[u8])> {
    let (mut start, mut left) = (0, number);
    for at in 0.. {
        let rest = lines.get(start..)?;
        let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
        if !is_blank(line, offset + start as u64) {
            if left == 0 {
                return Some((at, line));
            }
            left -= 1;
        }
        start += line.len() + 1;
    }
    None
}

fn push(marks: &mut Vec<(u64, u32)>, len: &mut usize, blank: bool, began: u64, line: u32) {
    if !blank {
        if len.is_multiple_of(STRIDE) {
            marks.push((began, line));
        }
        *len += 1;
    }
}

/// A line without anything in it, a byte order mark at the start of the file apart.
fn is_blank(line: &[u8], offset: u64) -> bool {
    let line = if offset == 0 { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
    line.trim_ascii().is_empty()
}

fn without_mark(bytes: &[u8], line: u32) -> &[u8] {
    if line == 1 { bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes) } else { bytes }
}

/// The file that was read last stays open, one for each thread: thousands of tasks would be more open files
/// than a process may have, and an example's exemplars mostly stand in one file.
fn bytes_at(path: &Arc<Path>, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static LAST: RefCell<Option<(Arc<Path>, File)>> = const { RefCell::new(None) };
    }
    let mut bytes = vec![0; length];
    LAST.with_borrow_mut(|last| {
        if !last.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, path)) {
            *last = Some((path.clone(), File::open(path)?));
        }
        let (_, file) = last.as_ref().expect("it was opened");
        file.read_exact_at(&mut bytes, offset)
    })?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: parquet::errors::ParquetError) -> Error {
    Error::Read { path: path.into(), source: std::io::Error::other(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(shard: &Shard, number: usize) -> (u32, String) {
        match shard.get(number).unwrap() {
            (origin, Raw::Bytes(bytes)) => (origin.line, String::from_utf8(bytes).unwrap()),
            (_, Raw::Object(_)) => panic!("lines are bytes"),
        }
    }

    #[test]
    fn every_line_is_found_by_its_number_and_blank_ones_have_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut wanted = Vec::new();
        let mut all = String::from("\u{FEFF}\n");
        for number in 0..100u32 {
            if number % 7 == 3 {
                all += " \t\r\n";
            }
            all += &format!("line {number} {}", "x".repeat(number as usize));
            wanted.push((
                all.matches('\n').count() as u32 + 1,
                format!("line {number} {}", "x".repeat(number as usize)),
            ));
            if number < 99 {
                all += "\n";
            }
        }
        std::fs::write(&path, &all).unwrap();
        let shard = Shard::of_lines(&path).unwrap();
        assert_eq!(shard.len(), 100);
        for number in [99, 0, 31, 32, 33, 63, 64, 50] {
            assert_eq!(text(&shard, number), wanted[number]);
        }
    }

    #[test]
    fn a_mark_at_the_start_of_the_file_is_no_part_of_its_first_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "\u{FEFF}one\ntwo").unwrap();
        let shard = Shard::of_lines(&path).unwrap();
        assert_eq!((text(&shard, 0), text(&shard, 1)), ((1, "one".into()), (2, "two".into())));
    }
}
