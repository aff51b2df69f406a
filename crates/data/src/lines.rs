//! Files of JSON lines that a killed run leaves behind whole.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, Origin, Result};

/// Reads the lines of a file. One that a kill has cut short ends it: it has no line feed.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::read(path, error)),
    };
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let lines = (1u32..).zip(bytes[..whole].split(|&byte| byte == b'\n'));
    let lines = lines.filter(|(_, line)| !line.is_empty()).map(|(number, line)| {
        serde_json::from_slice(line).map_err(|error| Error::Line {
            origin: Origin::new(path, number),
            message: error.to_string(),
        })
    });
    lines.collect()
}

/// Replaces a file by these lines, all at once: what was there stays until all of it is written.
pub(crate) fn replace<T: Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> Result<()> {
    let partial = partial(path);
    let written = File::create(&partial).and_then(|file| {
        let mut file = BufWriter::new(file);
        for line in lines {
            serde_json::to_writer(&mut file, &line)?;
            file.write_all(b"\n")?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&partial, path)
    });
    written.map_err(|source| Error::Write { path: path.into(), source })
}

pub(crate) fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}

/// A file to which lines are appended, many at a time.
pub(crate) struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens the file and cuts off all lines but the first `kept`.
    pub(crate) fn after(path: &Path, kept: usize) -> Result<Self> {
        let open = || {
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            let bytes = fs::read(path)?;
            let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let end = match kept {
                0 => 0,
                kept => ends.nth(kept - 1).map_or(bytes.len(), |(end, _)| end + 1),
            };
            file.set_len(end as u64)?;
            file.seek(SeekFrom::End(0))?;
            Ok(file)
        };
        let file = open().map_err(|source| Error::Write { path: path.into(), source })?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends lines by one call, and waits until they are on the disk.
    pub(crate) fn append<T: Serialize>(&mut self, lines: &[T]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line).expect("a line is JSON");
            bytes.push(b'\n');
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_no_line_and_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        assert!(read::<u32>(&path).unwrap().is_empty());
        fs::write(&path, "1\n2\n3\n4").unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), [1, 2, 3]);
        Appended::after(&path, 2).unwrap().append(&[7, 8]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n7\n8\n");
        Appended::after(&path, 0).unwrap().append::<u32>(&[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_malformed_line_is_named_and_a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        replace(&path, ["a", "b"].iter()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"a\"\n\"b\"\n");
        let error = read::<u32>(&path).unwrap_err().to_string();
        assert!(error.contains("lines.jsonl:1: "), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        let mut random = crate::Random::new(1, "numbers", 0);
        // Such as log-probabilities: without serde_json's `float_roundtrip` some are read a bit off.
        let numbers = (0..10_000).map(|_| -((random.next() >> 11) as f64) / 3e14);
        let numbers: Vec<f64> = numbers.collect();
        replace(&path, numbers.iter()).unwrap();
        let again: Vec<f64> = read(&path).unwrap();
        let bits = |numbers: &[f64]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&again) == bits(&numbers));
    }
}
