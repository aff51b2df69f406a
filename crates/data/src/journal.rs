//! Answers on disk, so that a run that was killed asks nothing again that was answered.
//!
//! One JSON object a line, in the order in which the answers came:
//!
//! ```text
//! {"key": "instances/17", "digest": "5f3c…", "completion": {text, finish_reason, usage, effort, …}}
//! {"key": "instances/18", "digest": "07a1…", "refusal": "`…/v1/completions` answered 400 …: bad words"}
//! ```
//! The second is no answer: it says that there will never be one, so that it is not asked for again.
//! The key is the caller's; the digest is of the request and the model, so that an answer to another
//! question is never taken for this one's. A line is written whole, by one call, before anyone hears of
//! the answer; a line that a kill or a full disk cut short is cut off when the file is opened again.
//! In memory stand only the places of the lines: 100,000 of them take about 10 MB.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Completion, CompletionRequest, Effort, Error, LanguageModel, Result, Usage};

mod ask_each;
mod journaled;
pub(crate) use ask_each::ask_each;
pub use journaled::journaled;

/// How long an answer may stand in the system's memory alone: what a power cut can lose.
const SYNC_EVERY: Duration = Duration::from_secs(5);

/// A line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What the caller calls the request.
    pub key: String,
    /// SHA-256 of the request and the model.
    pub digest: String,
    /// What came.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a request ended for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer.
    Completion(Completion),
    /// It was refused, and would be again: why, in words.
    Refusal(String),
}

/// The answers of a run. See the module's page of source for the file's format.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines: the next one begins here.
    end: u64,
    /// Lines in file order.
    places: Vec<Place>,
    /// How many of them are refusals.
    refusals: usize,
    /// Where in `places` a key stands, by the first half of its SHA-256: two keys of one half would take
    /// 2^64 keys.
    numbers: HashMap<[u8; 16], u32>,
    synced: Instant,
    is_synced: bool,
    /// Whether part of a line may stand behind `end`.
    has_rest: bool,
}

/// Where a line stands, and what it answers.
#[derive(Clone, Copy, Debug)]
struct Place {
    begin: u64,
    bytes: u32,
    digest: [u8; 32],
}

/// What is read of a line when a journal is opened.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    key: std::borrow::Cow<'a, str>,
    digest: &'a str,
    completion: Option<HeadOfCompletion>,
    refusal: Option<IgnoredAny>,
}

/// Enough of an answer to see that it is one.
#[derive(Deserialize)]
struct HeadOfCompletion {
    #[serde(rename = "usage")]
    _usage: Usage,
    #[serde(rename = "effort")]
    _effort: Effort,
}

impl Journal {
    /// Opens a journal, or begins one. A last line without its end is cut off.
    ///
    /// # Errors
    /// Another process has it open; a line is no entry, or a key has two.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let wrote = |source| Error::JournalWrite { path: path.clone(), source };
        let file =
            File::options().create(true).read(true).append(true).open(&path).map_err(wrote)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Journal {
                    place: path.display().to_string(),
                    message: "is in use by another process".into(),
                    hint: "wait for it or stop it: two runs must not share a folder".into(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(wrote(source)),
        }
        let mut journal = Self {
            path: path.clone(),
            file,
            end: 0,
            places: Vec::new(),
            refusals: 0,
            numbers: HashMap::new(),
            synced: Instant::now(),
            is_synced: true,
            has_rest: false,
        };
        journal.read_all()?;
        journal.cut().map_err(wrote)?;
        Ok(journal)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many answers it holds.
    pub fn len(&self) -> usize {
        self.places.len() - self.refusals
    }

    /// How many requests it holds that were refused for good.
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What this key's request was answered, if it was.
    ///
    /// # Errors
    /// The key was another request's, or another model's; the file cannot be read.
    pub fn get(&mut self, key: &str, digest: &[u8; 32]) -> Result<Option<Completion>> {
        Ok(match self.outcome(key, digest)? {
            Some(Outcome::Completion(answer)) => Some(answer),
            Some(Outcome::Refusal(_)) | None => None,
        })
    }

    /// How this key's request ended, if it did.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn outcome(&mut self, key: &str, digest: &[u8; 32]) -> Result<Option<Outcome>> {
        let Some(number) = self.numbers.get(&short(key)) else { return Ok(None) };
        let place = self.places[*number as usize];
        if place.digest != *digest {
            return Err(Error::Journal {
                place: self.place(*number as usize),
                message: format!(
                    "`{key}` was asked something else: the journal has digest `{}`, this run `{}`",
                    hex(&place.digest[..6]),
                    hex(&digest[..6])
                ),
                hint:
                    "the settings, the prompts, the seed or the model have changed since; change \
                       them back, or begin a run in a folder of its own"
                        .into(),
            });
        }
        self.read(*number as usize).map(|entry| Some(entry.outcome))
    }

    /// All entries in the order in which they came.
    pub fn entries(&mut self) -> impl Iterator<Item = Result<Entry>> {
        (0..self.places.len()).map(|number| self.read(number))
    }

    /// Records an answer. When it returns, the answer survives a kill of the process; a power cut may
    /// take the last 5 seconds, until [`sync`](Self::sync).
    ///
    /// # Errors
    /// The key has an answer; the disk is full. What was recorded before stays whole.
    pub fn append(&mut self, key: &str, digest: &[u8; 32], completion: &Completion) -> Result<()> {
        self.append_line(key, digest, Some(completion), None)
    }

    /// Records that a request was refused for good, and why: it is never asked again.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_refusal(&mut self, key: &str, digest: &[u8; 32], why: &str) -> Result<()> {
        self.append_line(key, digest, None, Some(why))?;
        self.refusals += 1;
        Ok(())
    }

    fn append_line(
        &mut self,
        key: &str,
        digest: &[u8; 32],
        completion: Option<&Completion>,
        refusal: Option<&str>,
    ) -> Result<()> {
        if let Some(number) = self.numbers.get(&short(key)) {
            return Err(self.twice(key, *number as usize, "is to be recorded again"));
        }
        #[derive(Serialize)]
        struct Line<'a> {
            key: &'a str,
            digest: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            completion: Option<&'a Completion>,
            #[serde(skip_serializing_if = "Option::is_none")]
            refusal: Option<&'a str>,
        }
        let line = Line { key, digest: &hex(digest), completion, refusal };
        let mut line = serde_json::to_vec(&line).expect("an entry can be written as JSON");
        line.push(b'\n');
        if let Err(source) = self.write(&line) {
            return Err(Error::JournalWrite { path: self.path.clone(), source });
        }
        self.note(short(key), *digest, line.len());
        self.is_synced = false;
        if self.synced.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&mut self) -> Result<()> {
        if !self.is_synced {
            let wrote = |source| Error::JournalWrite { path: self.path.clone(), source };
            self.file.sync_data().map_err(wrote)?;
        }
        (self.synced, self.is_synced) = (Instant::now(), true);
        Ok(())
    }

    /// One line by one call: the system does not mix it with others, nor show half of it to a reader.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.has_rest {
            self.cut()?;
        }
        self.has_rest = true;
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.has_rest = false,
            // If it cannot be cut off now, it is before the next line, or when the file is opened.
            Err(_) => drop(self.cut()),
        }
        written
    }

    /// Cuts off what follows the last whole line.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.has_rest = false;
        Ok(())
    }

    fn note(&mut self, key: [u8; 16], digest: [u8; 32], bytes: usize) {
        self.numbers.insert(key, self.places.len() as u32);
        self.places.push(Place { begin: self.end, bytes: bytes as u32, digest });
        self.end += bytes as u64;
    }

    fn read_all(&mut self) -> Result<()> {
        let read = |source| Error::Read { path: self.path.clone(), source };
        let mut lines = BufReader::with_capacity(1 << 16, self.file.try_clone().map_err(read)?);
        let mut line = Vec::new();
        loop {
            line.clear();
            let bytes = lines.read_until(b'\n', &mut line);
            let bytes = bytes.map_err(|source| Error::Read { path: self.path.clone(), source })?;
            if line.last() != Some(&b'\n') {
                return Ok(());
            }
            let bad = |message: String| Error::Journal {
                place: self.place(self.places.len()),
                message,
                hint: "something else has written into the journal: restore it, or begin a run in \
                       a folder of its own"
                    .into(),
            };
            let head: Head<'_> = serde_json::from_slice(&line)
                .map_err(|error| bad(format!("is no entry: {error}")))?;
            let digest = unhex(head.digest);
            let digest = digest.ok_or_else(|| bad(format!("has the digest `{}`", head.digest)))?;
            let key = short(&head.key);
            if let Some(number) = self.numbers.get(&key) {
                return Err(self.twice(&head.key, *number as usize, "stands here again"));
            }
            match (head.completion, head.refusal) {
                (Some(_), None) => {}
                (None, Some(_)) => self.refusals += 1,
                _ => return Err(bad("is no entry: wanted `completion` or `refusal`".into())),
            }
            self.note(key, digest, bytes);
        }
    }

    fn read(&mut self, number: usize) -> Result<Entry> {
        let Place { begin, bytes, .. } = self.places[number];
        let mut line = vec![0; bytes as usize];
        // Appending goes to the end wherever the file was read last.
        let seek = self.file.seek(SeekFrom::Start(begin));
        let read = seek.and_then(|_| self.file.read_exact(&mut line));
        read.map_err(|source| Error::Read { path: self.path.clone(), source })?;
        serde_json::from_slice(&line).map_err(|error| Error::Journal {
            place: self.place(number),
            message: format!("is no entry: {error}"),
            hint: "something else has written into the journal while it was in use".into(),
        })
    }

    /// A key that is asked while its first request waits.
    fn asked_twice(&self, key: &str) -> Error {
        Error::Journal {
            place: self.path.display().to_string(),
            message: format!("`{key}` is asked while it is being asked"),
            hint: "each request needs a key of its own".into(),
        }
    }

    fn twice(&self, key: &str, number: usize, what: &str) -> Error {
        Error::Journal {
            place: self.place(self.places.len()),
            message: format!("`{key}` has an answer in line {}, and {what}", number + 1),
            hint: "each request needs a key of its own".into(),
        }
    }

    /// A line, for messages.
    fn place(&self, number: usize) -> String {
        format!("{}:{}", self.path.display(), number + 1)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing is not enough while a child process is being started: until it runs its program, it
        // holds the file as well. What cannot be unlocked is when the process ends.
        let _ = self.file.unlock();
    }
}

/// What a request and a model come to: whatever changes an answer changes this.
pub(crate) fn digest(
    model: &(impl LanguageModel + ?Sized),
    request: &CompletionRequest,
) -> [u8; 32] {
    let asked = serde_json::to_vec(&(model.identity(), request)).expect("a request is JSON");
    Sha256::digest(asked).into()
}

fn short(key: &str) -> [u8; 16] {
    let whole: [u8; 32] = Sha256::digest(key).into();
    *whole.first_chunk().expect("16 of 32 bytes")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>()?;
    bytes.try_into().ok().filter(|_| rest.is_empty())
}
