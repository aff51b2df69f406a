//! Row groups of Parquet files, read when one of their rows is wanted. All files together hold so many bytes
//! of them; what was used longest ago goes first.
//!
//! ```text
//!  file, group ─► cell ─► blocks of rows as JSON, compressed, and where each row ends in its block
//! ```
//! Tasks are drawn from in turn, so of each file a group is wanted at the same time, and a group that does not fit
//! is read anew for a single row: hence the compression, which makes text a fourth or so and takes microseconds.
//! A group that several threads want is read by one of them, and groups beside it by others meanwhile.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

/// Bytes of row groups that are held, compressed, of all files together.
pub(crate) const HELD: usize = 256 << 20;
/// Bytes of rows that are compressed together. More would be smaller and slower to read a row of.
const BLOCK: usize = 8 << 10;

/// A file's rows.
#[derive(Debug)]
pub(super) struct Rows {
    /// Which file it is, among those whose groups are held.
    number: u64,
    held: &'static Held,
    /// The first row of each group.
    pub(super) starts: Vec<usize>,
    /// Bytes of the largest group, as its file says.
    pub(super) largest: u64,
}

/// Groups of all files.
#[derive(Debug)]
pub(super) struct Held {
    most: usize,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    cells: HashMap<(u64, usize), Cell>,
    bytes: usize,
    /// Counts uses, to know the latest.
    uses: u64,
}

#[derive(Debug, Default)]
struct Cell {
    group: Arc<Mutex<Option<Arc<Group>>>>,
    bytes: usize,
    used: u64,
}

/// The rows of a group.
#[derive(Debug, Default)]
struct Group {
    /// Which group it is, among all that were ever read.
    number: u64,
    blocks: Vec<Block>,
    /// Where each row ends in its block.
    ends: Vec<u32>,
}

/// Some rows.
#[derive(Debug)]
struct Block {
    first: usize,
    size: usize,
    compressed: Box<[u8]>,
}

impl Rows {
    /// The rows of a file with these groups.
    pub(super) fn new(starts: Vec<usize>, largest: u64) -> Self {
        static ALL: LazyLock<Held> = LazyLock::new(|| Held::new(HELD));
        Self::held_by(&ALL, starts, largest)
    }

    fn held_by(held: &'static Held, starts: Vec<usize>, largest: u64) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), held, starts, largest }
    }

    /// A row as JSON; `None` if its group has fewer rows than the file says.
    ///
    /// # Errors
    /// If its group cannot be read.
    pub(super) fn get(&self, path: &Path, row: usize) -> Result<Option<Vec<u8>>, ParquetError> {
        let number = self.starts.partition_point(|start| *start <= row) - 1;
        let group = self.held.group((self.number, number), || Group::read(path, number))?;
        Ok(group.row(row - self.starts[number])?)
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        let mut inside = self.held.inside();
        let keys: Vec<_> =
            inside.cells.keys().filter(|key| key.0 == self.number).copied().collect();
        keys.into_iter().for_each(|key| inside.remove(key));
    }
}

impl Held {
    fn new(most: usize) -> Self {
        Self { most, inside: Mutex::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group, read if it is not held.
    fn group(
        &self,
        key: (u64, usize),
        read: impl FnOnce() -> Result<Group, ParquetError>,
    ) -> Result<Arc<Group>, ParquetError> {
        let cell = {
            let mut inside = self.inside();
            inside.uses += 1;
            let used = inside.uses;
            let cell = inside.cells.entry(key).or_default();
            cell.used = used;
            cell.group.clone()
        };
        // Whoever comes first reads it; the others wait here, and for nothing else.
        let mut group = cell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = &*group {
            return Ok(group.clone());
        }
        let found = Arc::new(read()?);
        *group = Some(found.clone());
        let mut inside = self.inside();
        // It may have been forgotten while it was read: then it is held by those who wait for it, and no longer.
        let bytes = found.bytes();
        let counted = inside.cells.get_mut(&key).filter(|known| Arc::ptr_eq(&known.group, &cell));
        if let Some(known) = counted {
            known.bytes = bytes;
            inside.bytes += bytes;
            inside.forget_down_to(self.most, key);
        }
        Ok(found)
    }
}

impl Inside {
    fn remove(&mut self, key: (u64, usize)) {
        self.bytes -= self.cells.remove(&key).map_or(0, |cell| cell.bytes);
    }

    /// Forgets the groups that were used longest ago, but not this one.
    fn forget_down_to(&mut self, most: usize, kept: (u64, usize)) {
        while self.bytes > most {
            let read = self.cells.iter().filter(|(key, cell)| **key != kept && cell.bytes > 0);
            let Some((&oldest, _)) = read.min_by_key(|(_, cell)| cell.used) else { return };
            self.remove(oldest);
        }
    }
}

impl Group {
    fn read(path: &Path, number: usize) -> Result<Self, ParquetError> {
        let file = SerializedFileReader::new(File::open(path)?)?;
        let group = file.get_row_group(number)?;
        Self::of(group.get_row_iter(None)?.map(|row| Ok(row?.to_json_value())))
    }

    fn of(rows: impl Iterator<Item = Result<Value, ParquetError>>) -> Result<Self, ParquetError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        // Level 1: a tenth of the time of the default, and hardly larger.
        let mut compressor = zstd::bulk::Compressor::new(1)?;
        let (mut blocks, mut ends) = (Vec::new(), Vec::new());
        let (mut block, mut first) = (Vec::with_capacity(2 * BLOCK), 0);
        let mut close = |block: &mut Vec<u8>, first| {
            let compressed = compressor.compress(block)?.into();
            blocks.push(Block { first, size: block.len(), compressed });
            block.clear();
            Ok::<_, ParquetError>(())
        };
        for row in rows {
            serde_json::to_writer(&mut block, &row?)
                .map_err(|error| ParquetError::External(error.into()))?;
            ends.push(block.len() as u32);
            if block.len() >= BLOCK {
                close(&mut block, first)?;
                first = ends.len();
            }
        }
        if !block.is_empty() {
            close(&mut block, first)?;
        }
        blocks.shrink_to_fit();
        ends.shrink_to_fit();
        Ok(Self { number: NUMBER.fetch_add(1, Ordering::Relaxed), blocks, ends })
    }

    /// A row as JSON. Each thread has the block that it read last: those who walk through a file want it again.
    fn row(&self, number: usize) -> std::io::Result<Option<Vec<u8>>> {
        thread_local! {
            static LAST: RefCell<((u64, usize), Vec<u8>)> = const { RefCell::new(((0, usize::MAX), Vec::new())) };
        }
        let Some(&end) = self.ends.get(number) else { return Ok(None) };
        let at = self.blocks.partition_point(|block| block.first <= number) - 1;
        let Block { first, size, compressed } = &self.blocks[at];
        let start = if number == *first { 0 } else { self.ends[number - 1] };
        LAST.with_borrow_mut(|(known, rows)| {
            if *known != (self.number, at) {
                *rows = zstd::bulk::decompress(compressed, *size)?;
                *known = (self.number, at);
            }
            Ok(Some(rows[start as usize..end as usize].to_vec()))
        })
    }

    /// What it takes in memory; never 0, which is that of a group which is being read.
    fn bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| block.compressed.len());
        size_of::<Self>()
            + size_of_val(self.blocks.as_slice())
            + size_of_val(self.ends.as_slice())
            + blocks.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Random;

    /// A group of one row that takes about so many bytes: what is random cannot be compressed.
    fn group(bytes: usize) -> Group {
        let mut random = Random::new(0, "group", bytes as u64);
        let text: String = (0..bytes).map(|_| char::from(b' ' + random.below(64) as u8)).collect();
        Group::of([Ok(json!({ "a": text }))].into_iter()).unwrap()
    }

    fn rows(most: usize, count: u64) -> (&'static Held, Vec<Rows>) {
        let held: &'static Held = Box::leak(Box::new(Held::new(most)));
        (held, (0..count).map(|_| Rows::held_by(held, vec![0], 0)).collect())
    }

    #[test]
    fn files_share_the_bytes_and_what_was_used_longest_ago_goes() {
        let most = 7 * group(1000).bytes() / 2;
        let (held, files) = rows(most, 4);
        let mut read = Vec::new();
        for file in [0, 1, 2, 0, 3, 0, 1] {
            let key = (files[file].number, 0);
            let made = held.group(key, || {
                read.push(file);
                Ok(group(1000))
            });
            assert_eq!(made.unwrap().ends.len(), 1);
            assert!(held.inside().bytes <= most);
        }
        // Three have room: 1 went for 3, because 0 had been used after it, and is read again.
        assert_eq!(read, [0, 1, 2, 3, 1]);
        drop(files);
        let inside = held.inside();
        assert_eq!((inside.bytes, inside.cells.len()), (0, 0));
    }

    #[test]
    fn a_group_that_is_larger_than_all_may_be_is_held_alone() {
        let (held, files) = rows(500, 2);
        for (file, bytes) in [(0, 100), (1, 5000)] {
            held.group((files[file].number, 0), || Ok(group(bytes))).unwrap();
        }
        assert_eq!(held.inside().cells.len(), 1);
        let mut again = false;
        held.group((files[1].number, 0), || {
            Ok({
                again = true;
                group(5000)
            })
        })
        .unwrap();
        assert!(!again);
    }

    #[test]
    fn a_group_that_many_threads_want_is_read_once() {
        let (held, files) = rows(1 << 20, 8);
        let read = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (files, read) = (&files, &read);
                scope.spawn(move || {
                    for turn in 0..200 {
                        let file = &files[(turn + thread) % 8];
                        let made = held.group((file.number, 0), || {
                            read.fetch_add(1, Ordering::Relaxed);
                            Ok(group(100))
                        });
                        assert!(made.unwrap().row(0).unwrap().unwrap().len() >= 108);
                    }
                });
            }
        });
        assert_eq!(read.into_inner(), 8);
    }

    #[test]
    fn a_group_that_cannot_be_read_is_tried_again() {
        let (held, files) = rows(1000, 1);
        let key = (files[0].number, 0);
        let failed = held.group(key, || Err(ParquetError::General("broken".into())));
        assert!(failed.is_err());
        assert!(held.group(key, || Ok(group(10))).is_ok());
    }

    #[test]
    fn rows_are_found_by_number_in_any_order_and_take_less_than_their_text() {
        let row = |number: usize| json!({ "n": number, "text": "some words ".repeat(number % 40) });
        let group = Group::of((0..1000).map(|number| Ok(row(number)))).unwrap();
        assert!(group.blocks.len() > 20);
        let text: usize = (0..1000).map(|number| row(number).to_string().len()).sum();
        assert!(group.bytes() < text / 4, "{} of {text}", group.bytes());
        for number in (0..1000).chain([999, 0, 500]) {
            let found = group.row(number).unwrap().unwrap();
            assert_eq!(found, row(number).to_string().as_bytes());
        }
        assert_eq!(group.row(1000).unwrap(), None);
        assert_eq!(Group::of([].into_iter()).unwrap().row(0).unwrap(), None);
    }
}
