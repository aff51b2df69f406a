//! Texts that share a run of 13 words: what a model is tested on, found in what it was trained on.
//!
//! Words are runs of letters and digits, in lower case. Every text of a record counts by itself; one of
//! fewer than 13 words overlaps with nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

use crate::task::expand;
use crate::{Error, Origin, Result};

/// Words of a run.
pub const RUN_WORDS: usize = 13;
/// Lines that are looked through together.
const TOGETHER: usize = 4096;

/// Questions by their runs of words, to be found in records.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Those that have a run, by its hash.
    runs: HashMap<u64, Vec<u32>>,
    /// Those with a text that is long enough to be found.
    long: HashSet<u32>,
}

/// Questions that were found in records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlapping {
    /// Records that were looked through.
    pub records: usize,
    /// By the number of the question, the first record that has a run of it.
    pub first: BTreeMap<u32, Origin>,
}

impl Questions {
    /// Adds a text of the question of this number.
    pub fn add(&mut self, question: u32, text: &str) {
        for_each_run(text, &mut |run| {
            let questions = self.runs.entry(run).or_default();
            // Those of one question come one after the other.
            if questions.last() != Some(&question) {
                questions.push(question);
            }
            self.long.insert(question);
            false
        });
    }

    /// Whether no text of a question is long enough to be found.
    pub fn is_too_short(&self, question: u32) -> bool {
        !self.long.contains(&question)
    }

    /// Which of them share a run with a record of these files: JSON arrays, JSON lines, or whatever has
    /// lines. Patterns and folders stand for several.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn find_in(&self, paths: &[PathBuf]) -> Result<Overlapping> {
        let mut found = Overlapping::default();
        for path in paths {
            for file in expand(path)? {
                self.find_in_file(&file, &mut found)?;
            }
        }
        Ok(found)
    }

    fn find_in_file(&self, path: &Path, found: &mut Overlapping) -> Result<()> {
        if path.extension().is_some_and(|ending| ending == "json") {
            let bytes = std::fs::read(path).map_err(|error| Error::read(path, error))?;
            if let Ok(Value::Array(records)) = serde_json::from_slice(&bytes) {
                let look = |record: &Value, take: &mut dyn FnMut(&str) -> bool| {
                    strings(record, take);
                };
                self.look_through(path, 0, &records, look, found);
                return Ok(());
            }
        }
        if !is_text(path) {
            let message = "it is packed, wanted JSON, JSON lines or text";
            return Err(Error::read(path, io::Error::new(ErrorKind::InvalidInput, message)));
        }
        let file = File::open(path).map_err(|error| Error::read(path, error))?;
        let mut lines = BufReader::new(file).split(b'\n');
        let mut before = 0;
        loop {
            let some = lines.by_ref().take(TOGETHER).collect::<io::Result<Vec<_>>>();
            let some = some.map_err(|error| Error::read(path, error))?;
            if some.is_empty() {
                return Ok(());
            }
            let look = |line: &Vec<u8>, take: &mut dyn FnMut(&str) -> bool| {
                texts(line, take);
            };
            self.look_through(path, before, &some, look, found);
            before += some.len();
        }
    }

    /// Looks through records that stand behind `before` others of a file.
    fn look_through<R: Sync>(
        &self,
        path: &Path,
        before: usize,
        records: &[R],
        look: impl Fn(&R, &mut dyn FnMut(&str) -> bool) + Sync,
        found: &mut Overlapping,
    ) {
        found.records += records.len();
        let hits: Mutex<BTreeMap<u32, usize>> = Mutex::default();
        records.par_iter().enumerate().for_each(|(place, record)| {
            let mut of_record = Vec::new();
            look(record, &mut |text| {
                for_each_run(text, &mut |run| {
                    of_record.extend(self.runs.get(&run).into_iter().flatten());
                    false
                })
            });
            if !of_record.is_empty() {
                let mut hits = hits.lock().unwrap_or_else(PoisonError::into_inner);
                for question in of_record {
                    let first = hits.entry(question).or_insert(place);
                    *first = place.min(*first);
                }
            }
        });
        for (question, place) in hits.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let origin = || Origin::new(path, (before + place + 1) as u32);
            found.first.entry(question).or_insert_with(origin);
        }
    }
}

/// Whether the texts of a file stand in it as they are.
fn is_text(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    !["parquet", "gz", "zst", "zip", "arrow"].contains(&ending.as_str())
}

/// Asks about every text of a line, until one is found: those of its JSON, or the line itself.
pub(crate) fn texts(line: &[u8], ask: &mut dyn FnMut(&str) -> bool) -> bool {
    match serde_json::from_slice::<Value>(line) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => strings(&value, ask),
        _ => ask(&String::from_utf8_lossy(line)),
    }
}

/// Asks about every string of a value, until one is found.
pub(crate) fn strings(value: &Value, ask: &mut dyn FnMut(&str) -> bool) -> bool {
    match value {
        Value::String(text) => ask(text),
        Value::Array(list) => list.iter().any(|item| strings(item, ask)),
        Value::Object(object) => object.values().any(|item| strings(item, ask)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Tells the hash of every run of words of a text, until one is taken.
pub(crate) fn for_each_run(text: &str, take: &mut dyn FnMut(u64) -> bool) -> bool {
    let mut words: VecDeque<u64> = VecDeque::with_capacity(RUN_WORDS);
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if words.len() == RUN_WORDS {
            words.pop_front();
        }
        words.push_back(
            word.chars().flat_map(char::to_lowercase).fold(0, |hash, c| mix(hash, c.into())),
        );
        let run = || words.iter().fold(1, |hash, word| mix(hash, *word));
        if words.len() == RUN_WORDS && take(run()) {
            return true;
        }
    }
    false
}

/// Two numbers as one, thoroughly mixed.
fn mix(hash: u64, next: u64) -> u64 {
    let z = (hash ^ next).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    z ^ (z >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(range: std::ops::Range<usize>) -> String {
        range.map(|number| format!("w{number} ")).collect()
    }

    #[test]
    fn questions_are_found_in_the_first_record_that_has_a_run_of_them() {
        let mut questions = Questions::default();
        questions.add(0, &words(0..20));
        questions.add(1, &words(100..113));
        questions.add(2, &words(200..212));
        questions.add(2, "its answer is short too");
        let folder = tempfile::tempdir().unwrap();
        let lines = [
            serde_json::json!({"instruction": "nothing of it", "output": words(200..212)}),
            serde_json::json!({"output": format!("Before. {}", words(4..17).to_uppercase())}),
            serde_json::json!({"messages": [{"content": words(0..20)}]}),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let [jsonl, json] = ["a.jsonl", "b.json"].map(|name| folder.path().join(name));
        std::fs::write(&jsonl, text).unwrap();
        std::fs::write(&json, serde_json::json!(["", {"a": words(100..113)}]).to_string()).unwrap();
        let found = questions.find_in(&[jsonl.clone(), json.clone()]).unwrap();
        assert_eq!(found.records, 5);
        let wanted = [(0, Origin::new(&jsonl, 2)), (1, Origin::new(&json, 2))];
        assert_eq!(found.first, wanted.into());
        assert_eq!(
            [0, 1, 2].map(|question| questions.is_too_short(question)),
            [false, false, true]
        );
    }
}
