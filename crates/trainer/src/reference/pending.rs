//! The file while it is made: it grows batch by batch, so that a pass that was stopped goes on.
//!
//! It has the name of the whole one with another ending, and lacks its last part, the hash. What is in a batch
//! decides the last bits of what is found: so a batch of which a kill has cut off a part is computed again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A file that is being made.
pub(super) struct Pending {
    whole: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// How many numbers were found in it, and how many batches in front have together.
    known: usize,
    passed: usize,
    head: usize,
}

impl Pending {
    /// Goes on with the file beside `whole` if it begins with `head`, else begins it.
    pub(super) fn open(whole: &Path, head: Vec<u8>) -> io::Result<Self> {
        let path = whole.with_extension("partial");
        let found = fs::read(&path).ok().filter(|found| found.starts_with(&head));
        let file =
            OpenOptions::new().create(true).write(true).truncate(found.is_none()).open(&path)?;
        let begins = found.is_none();
        let length = head.len();
        let bytes = found.unwrap_or(head);
        let known = (bytes.len() - length) / 4;
        let whole = whole.to_owned();
        let mut pending = Self { whole, file, bytes, known, passed: known, head: length };
        if begins {
            pending.file.write_all(&pending.bytes)?;
        }
        pending.cut()?;
        pending.passed = 0;
        Ok(pending)
    }

    /// The file that it will be.
    pub(super) fn path(&self) -> PathBuf {
        self.whole.clone()
    }

    /// Whether the next batch, of so many numbers, is there already.
    pub(super) fn has(&mut self, count: usize) -> io::Result<bool> {
        if self.passed + count <= self.known {
            self.passed += count;
            return Ok(true);
        }
        if self.known > self.passed {
            self.cut()?;
        }
        self.known = 0;
        Ok(false)
    }

    /// Cuts off what stands behind the batches that were passed.
    fn cut(&mut self) -> io::Result<()> {
        self.bytes.truncate(self.head + 4 * self.passed);
        self.file.set_len(self.bytes.len() as u64)?;
        self.file.seek(SeekFrom::End(0)).map(drop)
    }

    /// Writes down the numbers of the next batch.
    pub(super) fn push(&mut self, numbers: &[f32]) -> io::Result<()> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.bytes.extend(bytes);
        self.passed += numbers.len();
        Ok(())
    }

    /// Seals the file and gives it its name: no half of it ever has that.
    pub(super) fn seal(mut self) -> io::Result<Vec<u8>> {
        self.cut()?;
        let hash = Sha256::digest(&self.bytes);
        self.file.write_all(&hash)?;
        self.file.sync_all()?;
        fs::rename(self.whole.with_extension("partial"), &self.whole)?;
        self.bytes.extend(hash);
        Ok(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCHES: [&[f32]; 3] = [&[-1.0, -2.0], &[-3.0], &[-4.0, -5.0, -6.0]];

    /// Goes through the batches; how many of them had to be computed.
    fn pass(pending: &mut Pending, batches: &[&[f32]]) -> usize {
        let computed = batches.iter().filter(|batch| {
            let missing = !pending.has(batch.len()).unwrap();
            if missing {
                pending.push(batch).unwrap();
            }
            missing
        });
        computed.count()
    }

    #[test]
    fn a_file_cut_off_anywhere_ends_as_one_that_never_was() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, partial) = (folder.path().join("r.bin"), folder.path().join("r.partial"));
        let head = b"head\n".to_vec();
        let mut pending = Pending::open(&whole, head.clone()).unwrap();
        assert_eq!(pass(&mut pending, &BATCHES), 3);
        let wanted = pending.seal().unwrap();
        assert_eq!(fs::read(&whole).unwrap(), wanted);
        for end in 0..wanted.len() {
            fs::write(&partial, &wanted[..end]).unwrap();
            let mut pending = Pending::open(&whole, head.clone()).unwrap();
            let there = [2, 3, 6].iter().filter(|numbers| head.len() + 4 * **numbers <= end);
            assert_eq!(pass(&mut pending, &BATCHES), 3 - there.count(), "{end}");
            assert_eq!(pending.seal().unwrap(), wanted, "{end}");
            assert_eq!(fs::read(&whole).unwrap(), wanted, "{end}");
        }
        // Of other data or weights.
        fs::write(&partial, &wanted).unwrap();
        let mut pending = Pending::open(&whole, b"other\n".to_vec()).unwrap();
        assert_eq!(pass(&mut pending, &BATCHES), 3);
    }
}
