//! Encoded records on disk, so that a restart does not tokenise again.
//!
//! A cache file is named by a hash of everything that decides its content, and ends with a hash of
//! that content. One that is missing, cut short or changed is no error: the records are encoded
//! again.
//!
//! ```text
//!  magic | header length: u64 | header: JSON | ids: u32 each | marks: u8 each | SHA-256 of all before
//! ```
//! A mark is the token's reason, and 128 more if it is learned. Numbers are little-endian.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::encode::REVISION;
use crate::{Encoded, Origin, Reason, Report, Response};

const MAGIC: &[u8; 16] = b"albacore ids 2\n\n";
const LEARNED: u8 = 128;

/// An example and how often an epoch has it.
pub(crate) type Example = (Arc<Encoded>, usize);

/// Where one set of encoded records lies, or would.
pub(crate) struct CacheFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    report: Report,
    files: Vec<Arc<Path>>,
    examples: Vec<Entry>,
}

/// What is known of an example besides its tokens; of each response its start and the bits of its score.
#[derive(Serialize, Deserialize)]
struct Entry(usize, u32, usize, usize, bool, Vec<(usize, u32)>);

impl CacheFile {
    /// The file in `folder` for what `key` has hashed, made by this revision of the encoder.
    pub(crate) fn new(folder: &Path, key: Sha256) -> Self {
        let key = &hex(&key.finalize())[..32];
        Self { path: folder.join(format!("encoded-{REVISION}-{key}.bin")) }
    }

    /// What was stored, if it is whole.
    pub(crate) fn load(&self) -> Option<(Vec<Example>, Report)> {
        let bytes = std::fs::read(&self.path).ok()?;
        let (content, hash) = bytes.split_last_chunk::<32>()?;
        if Sha256::digest(content).as_slice() != hash {
            return None;
        }
        let (length, rest) = content.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let (header, tokens) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let (mut ids, mut marks) = tokens.split_at_checked(tokens.len() / 5 * 4)?;
        let examples = header.examples.iter().map(
            |Entry(file, line, tokens, repeat, eos_added, responses)| {
                let origin = Origin { file: header.files.get(*file)?.clone(), line: *line };
                let mut example = Encoded::empty(origin);
                example.eos_added = *eos_added;
                example.responses.extend(
                    responses
                        .iter()
                        .map(|&(start, score)| Response { start, score: f32::from_bits(score) }),
                );
                let (here, rest) = ids.split_at_checked(tokens * 4)?;
                ids = rest;
                let (numbers, _) = here.as_chunks::<4>();
                example.ids.extend(numbers.iter().map(|id| u32::from_le_bytes(*id)));
                let (here, rest) = marks.split_at_checked(*tokens)?;
                marks = rest;
                for mark in here {
                    example.learned.push(mark & LEARNED != 0);
                    example.reasons.push(*Reason::ALL.get(usize::from(mark & !LEARNED))?);
                }
                Some((Arc::new(example), *repeat))
            },
        );
        Some((examples.collect::<Option<_>>()?, header.report))
    }

    /// Stores examples: written beside, then renamed, so that no half of it is ever seen.
    pub(crate) fn store(&self, examples: &[Example], report: &Report) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let part = self.path.with_extension(format!("{}.part", std::process::id()));
        let written = std::fs::File::create(&part)
            .and_then(|file| write(file, examples, report))
            .and_then(|()| std::fs::rename(&part, &self.path));
        if written.is_err() {
            // The message is the one of the write; that the rest cannot be removed adds nothing.
            let _ = std::fs::remove_file(&part);
        }
        written
    }
}

fn write(file: impl Write, examples: &[Example], report: &Report) -> std::io::Result<()> {
    let mut files: Vec<Arc<Path>> = Vec::new();
    let entries = examples.iter().map(|(example, repeat)| {
        let Origin { file, line } = &example.origin;
        let known = files.iter().rposition(|known| known == file);
        let file = known.unwrap_or_else(|| {
            files.push(file.clone());
            files.len() - 1
        });
        let responses = example.responses.iter();
        let responses = responses.map(|response| (response.start, response.score.to_bits()));
        Entry(file, *line, example.len(), *repeat, example.eos_added, responses.collect())
    });
    let examples_header = entries.collect();
    let header = Header { report: report.clone(), files, examples: examples_header };
    let header = serde_json::to_vec(&header)?;

    let mut out = Hashing { file: BufWriter::new(file), hash: Sha256::new() };
    out.write(MAGIC)?;
    out.write(&(header.len() as u64).to_le_bytes())?;
    out.write(&header)?;
    for (example, _) in examples {
        let bytes: Vec<u8> = example.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        out.write(&bytes)?;
    }
    for (example, _) in examples {
        let marks = example.reasons.iter().zip(&example.learned);
        let marks =
            marks.map(|(reason, learned)| *reason as u8 | if *learned { LEARNED } else { 0 });
        out.write(&marks.collect::<Vec<u8>>())?;
    }
    let hash = out.hash.finalize();
    out.file.write_all(&hash)?;
    out.file.flush()
}

/// A buffered file that knows the hash of what was written.
struct Hashing<W: Write> {
    file: BufWriter<W>,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }
}

/// Hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is written to.
    struct Counting<'a>(&'a mut usize);

    impl Write for Counting<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            *self.0 += 1;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn many_short_examples_are_written_in_few_pieces() {
        let mut example = Encoded::empty(Origin::new("a.jsonl", 1));
        (0..8).for_each(|id| example.push(id, true, Reason::Answer));
        let examples = vec![(Arc::new(example), 1); 1000];
        let mut writes = 0;
        write(Counting(&mut writes), &examples, &Report::default()).unwrap();
        // 8 * 5 bytes and an entry of some 16 in the header each: less than 64 KiB in pieces of 8
        assert!(writes < 16, "{writes}");
    }
}
