//! Texts that share a run of 13 words: what a model is tested on, found in what it was trained on.
//!
//! Words are runs of letters and digits, in lower case. Every text of a record counts by itself; one of
//! fewer than 13 words overlaps with nothing.

mod records;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

pub(crate) use records::{Record, records};

use crate::task::expand;
use crate::{Error, Origin};

/// Words of a run.
pub const RUN_WORDS: usize = 13;

/// Questions by their runs of words, to be found in records.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Those that have a run, by its hash.
    runs: HashMap<u64, Vec<u32>>,
    /// Those with a text that is long enough to be found.
    long: HashSet<u32>,
}

/// Questions that were found in records.
#[derive(Debug, Default)]
pub struct Overlapping {
    /// Records that were looked through.
    pub records: usize,
    /// By the number of the question, the first record that has a run of it.
    pub first: BTreeMap<u32, Origin>,
    /// Files without a run in any text, such as those of token ids: nothing can be found in them.
    pub without: Vec<PathBuf>,
    /// Why files were not looked through, or not to their end.
    pub unread: Vec<Error>,
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

    /// Which of them share a run with a record of these files: Parquet, JSON, JSON lines, or whatever has
    /// lines. Patterns and folders stand for several. A file that cannot be read keeps no other from being
    /// looked through.
    pub fn find_in(&self, paths: &[PathBuf]) -> Overlapping {
        let mut found = Overlapping::default();
        for path in paths {
            match expand(path) {
                Ok(files) => files.iter().for_each(|file| self.find_in_file(file, &mut found)),
                Err(error) => found.unread.push(error),
            }
        }
        found
    }

    fn find_in_file(&self, path: &Path, found: &mut Overlapping) {
        let mut has_run = false;
        let read = records(path, &mut |some| has_run |= self.look_through(path, some, found));
        match read {
            Err(error) => found.unread.push(error),
            Ok(()) if !has_run => found.without.push(path.to_owned()),
            Ok(()) => {}
        }
    }

    /// Looks through some records of a file, and tells whether one of them has a run at all.
    fn look_through(&self, path: &Path, some: &[(u32, Record)], found: &mut Overlapping) -> bool {
        found.records += some.len();
        let (hits, has_run) = (Mutex::<BTreeMap<u32, u32>>::default(), AtomicBool::new(false));
        some.par_iter().for_each(|(line, record)| {
            let (mut of_record, mut is_long) = (Vec::new(), false);
            record.texts(&mut |text| {
                for_each_run(text, &mut |run| {
                    is_long = true;
                    of_record.extend(self.runs.get(&run).into_iter().flatten());
                    false
                })
            });
            if is_long {
                has_run.store(true, Relaxed);
            }
            if !of_record.is_empty() {
                let mut hits = hits.lock().unwrap_or_else(PoisonError::into_inner);
                for question in of_record {
                    let first = hits.entry(question).or_insert(*line);
                    *first = (*first).min(*line);
                }
            }
        });
        for (question, line) in hits.into_inner().unwrap_or_else(PoisonError::into_inner) {
            found.first.entry(question).or_insert_with(|| Origin::new(path, line));
        }
        has_run.into_inner()
    }
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
        let found = questions.find_in(&[jsonl.clone(), json.clone()]);
        assert_eq!(found.records, 5);
        let wanted = [(0, Origin::new(&jsonl, 2)), (1, Origin::new(&json, 2))];
        assert_eq!(found.first, wanted.into());
        assert_eq!(
            [0, 1, 2].map(|question| questions.is_too_short(question)),
            [false, false, true]
        );
    }

    #[test]
    fn a_question_is_found_however_a_file_is_laid_out() {
        let mut questions = Questions::default();
        questions.add(0, &words(0..13));
        let folder = tempfile::tempdir().unwrap();
        let record = |text: &str| serde_json::json!({"instruction": "One\ntwo", "output": text});
        let (other, hit) = (record(&words(50..70)), record(&words(0..13)));
        let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        let files = [
            ("lines.jsonl", format!("\n{other}\n\n{hit}\n"), 4),
            ("marked.jsonl", format!("\u{feff}{hit}\n{other}\n"), 1),
            ("array.txt", serde_json::json!([other, hit]).to_string(), 2),
            ("marked.json", format!("\u{feff}{}", pretty(&serde_json::json!([other, hit]))), 2),
            ("values.json", format!("{}\n{}\n", pretty(&other), pretty(&hit)), 2),
            ("arrays.jsonl", format!("[{other}]\n[{hit}]\n"), 2),
            ("string.json", Value::from(words(0..13)).to_string(), 1),
            ("text", format!("\"Quoted\"\n{}\n", words(0..13)), 2),
        ];
        for (name, text, line) in files {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let found = questions.find_in(std::slice::from_ref(&path));
            assert_eq!(found.first, [(0, Origin::new(&path, line))].into(), "{name}");
            assert!(found.without.is_empty() && found.unread.is_empty(), "{name}: {found:?}");
            assert_eq!(found.records, if matches!(name, "string.json") { 1 } else { 2 }, "{name}");
        }
    }

    #[test]
    fn a_file_without_text_is_named_and_keeps_no_other_from_being_looked_through() {
        let mut questions = Questions::default();
        questions.add(0, &words(0..13));
        let folder = tempfile::tempdir().unwrap();
        let here = |name: &str| folder.path().join(name);
        std::fs::write(here("tokens.jsonl"), "{\"input_ids\": [1, 2, 3]}\n").unwrap();
        std::fs::write(here("a.jsonl.bz2"), b"BZh91AY&SY packed").unwrap();
        std::fs::write(here("ids.bin"), [1, 0, 0, 0, 2, 0, 0, 0]).unwrap();
        std::fs::write(here("last.txt"), words(0..13)).unwrap();
        let names = ["tokens.jsonl", "a.jsonl.bz2", "missing.jsonl", "ids.bin", "last.txt"];
        let found = questions.find_in(&names.map(here));
        assert_eq!(found.first, [(0, Origin::new(here("last.txt"), 1))].into());
        assert_eq!(found.without, [here("tokens.jsonl")]);
        assert!(
            matches!(
                &found.unread[..],
                [Error::NoText { .. }, Error::NoFile { .. }, Error::NoText { .. }]
            ),
            "{found:?}"
        );
    }
}
