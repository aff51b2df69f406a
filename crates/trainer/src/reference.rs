//! What the frozen reference, the model as it was before the first step, gives each response.
//!
//! It is computed once, in one forward pass over the data, and kept: in the run's folder, for a run that
//! is stopped before its first checkpoint, and in every checkpoint, which holds other weights. Stopped on the
//! way, it goes on at the batch that it had come to.
//!
//! ```text
//!  magic | header: one line of JSON | log-probabilities: f32 each | SHA-256 of all before
//! ```
//! Numbers are little-endian. The header says of which data and which weights they are.

mod pending;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use albacore_data::{Encoded, Packing, Plan};
use albacore_kernels::{Tape, storage};
use albacore_model::Model;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::pending::Pending;
use crate::objective::Groups;
use crate::packed::packed;
use crate::{Error, Result};

/// The name of the file, in a run's folder and in a checkpoint's.
pub(crate) const REFERENCE: &str = "reference.bin";

const MAGIC: &[u8] = b"albacore reference 1\n";

/// Of which data and weights the numbers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Of {
    /// The fingerprint of the data.
    pub(crate) data: String,
    /// The digest of the weights, and what they are computed with.
    pub(crate) weights: String,
    /// How many numbers belong to the examples that are trained on; those held out have the rest.
    pub(crate) train: usize,
}

/// The log-probability of each response, summed over its supervised tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference {
    /// Where the numbers of each example begin, and how many they are. Examples that are repeated share
    /// theirs.
    places: Vec<(usize, usize)>,
    numbers: Vec<f32>,
}

/// Those of the examples that are trained on, and of those held out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct References {
    pub(crate) train: Reference,
    pub(crate) held_out: Reference,
    /// The file.
    pub(crate) bytes: Vec<u8>,
}

/// The examples, each once, and which of these each is.
fn once(examples: &[Arc<Encoded>]) -> (Vec<&Encoded>, Vec<usize>) {
    let (mut unique, mut known) = (Vec::new(), HashMap::new());
    let numbers = examples.iter().map(|example| {
        *known.entry(Arc::as_ptr(example)).or_insert_with(|| {
            unique.push(example.as_ref());
            unique.len() - 1
        })
    });
    let numbers = numbers.collect();
    (unique, numbers)
}

/// How many log-probabilities an example has: one for each response.
fn responses(example: &Encoded) -> usize {
    example.responses.len().max(1)
}

impl Reference {
    /// The numbers of these examples; `None` if they are not as many.
    fn new(examples: &[Arc<Encoded>], numbers: Vec<f32>) -> Option<Self> {
        let (unique, which) = once(examples);
        let mut end = 0;
        let place = |example: &&Encoded| {
            let place = (end, responses(example));
            end += place.1;
            place
        };
        let places: Vec<_> = unique.iter().map(place).collect();
        let places = which.into_iter().map(|number| places[number]).collect();
        (numbers.len() == end).then_some(Self { places, numbers })
    }

    /// The numbers of the responses of these examples, in order.
    pub(crate) fn of(&self, examples: &[usize]) -> Vec<f32> {
        let of_example = |&example: &usize| {
            let (start, count) = self.places[example];
            &self.numbers[start..start + count]
        };
        examples.iter().flat_map(of_example).copied().collect()
    }
}

/// One forward pass over the examples, each once, as far as `pending` does not have them; false if it was
/// stopped. `tell` hears how many of them are done.
fn compute(
    model: &Model,
    examples: &[Arc<Encoded>],
    tokens_per_batch: usize,
    pending: &mut Pending,
    stop: &dyn Fn() -> bool,
    tell: &mut dyn FnMut(usize),
) -> Result<bool> {
    let (unique, _) = once(examples);
    let lengths: Vec<_> = unique.iter().map(|example| example.len()).collect();
    let plan = Plan::new(Packing::alone(0, tokens_per_batch, false), 0, &lengths);
    let path = pending.path();
    let write = Error::file("write", &path);
    for batch in 0..plan.len() {
        let batch = plan.batch(batch, &unique);
        if pending.has(batch.scores.len()).map_err(&write)? {
            tell(batch.examples.len());
            continue;
        }
        if stop() {
            return Ok(false);
        }
        let (target_starts, count) = (batch.target_starts.clone(), batch.examples.len());
        let packed = packed(model, batch)?;
        let logprobs = model.logprobs(&mut Tape::inference(), &packed, None)?;
        let logprobs = storage::to_vec(logprobs.tensor())?;
        let groups = Groups::alone(&target_starts);
        let responses = 0..groups.sequences().len();
        let sums: Vec<_> =
            responses.map(|response| groups.sum(&logprobs, response) as f32).collect();
        pending.push(&sums).map_err(&write)?;
        tell(count);
    }
    Ok(true)
}

impl References {
    /// Computes them, or takes those that the run's folder holds of the same data and weights; `None` if it was
    /// stopped.
    pub(crate) fn find_or_compute(
        run: &Path,
        mut of: Of,
        model: &Model,
        [train, held_out]: [&[Arc<Encoded>]; 2],
        tokens_per_batch: usize,
        stop: &dyn Fn() -> bool,
        tell: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>> {
        let path = run.join(REFERENCE);
        if let Ok(bytes) = fs::read(&path)
            && let Some((found, references)) = Self::read(bytes, [train, held_out])
            && (&found.data, &found.weights) == (&of.data, &of.weights)
        {
            return Ok(Some(references));
        }
        of.train = once(train).0.into_iter().map(responses).sum();
        let write = Error::file("write", &path);
        let mut pending = Pending::open(&path, head(&of)).map_err(&write)?;
        let total = once(train).0.len() + once(held_out).0.len();
        let mut done = 0;
        let mut tell = |count: usize| {
            done += count;
            tell(done, total);
        };
        for side in [train, held_out] {
            if !compute(model, side, tokens_per_batch, &mut pending, stop, &mut tell)? {
                return Ok(None);
            }
        }
        let bytes = pending.seal().map_err(&write)?;
        let (_, references) = Self::read(bytes, [train, held_out]).expect("it was just made");
        Ok(Some(references))
    }

    /// Those of a checkpoint.
    pub(crate) fn of_checkpoint(
        folder: &Path,
        fingerprint: &str,
        examples: [&[Arc<Encoded>]; 2],
    ) -> Result<Self> {
        let path = folder.join(REFERENCE);
        let bytes = fs::read(&path).map_err(Error::file("read", &path))?;
        match Self::read(bytes, examples) {
            Some((of, references)) if of.data == fingerprint => Ok(references),
            Some(_) => Err(Error::Reference { path, what: "of other data" }),
            None => Err(Error::Reference { path, what: "damaged, or of other data" }),
        }
    }

    /// What a file says, if it is whole and has a number for each response.
    fn read(bytes: Vec<u8>, [train, held_out]: [&[Arc<Encoded>]; 2]) -> Option<(Of, Self)> {
        let (content, hash) = bytes.split_last_chunk::<32>()?;
        let content = content.strip_prefix(MAGIC)?;
        if Sha256::digest(&bytes[..bytes.len() - 32]).as_slice() != hash {
            return None;
        }
        let end = content.iter().position(|byte| *byte == b'\n')?;
        let of: Of = serde_json::from_slice(&content[..end]).ok()?;
        let (numbers, _) = content[end + 1..].as_chunks::<4>();
        let numbers: Vec<_> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let (first, rest) = numbers.split_at_checked(of.train)?;
        let train = Reference::new(train, first.to_vec())?;
        let held_out = Reference::new(held_out, rest.to_vec())?;
        Some((of, Self { train, held_out, bytes }))
    }
}

/// What the file begins with.
fn head(of: &Of) -> Vec<u8> {
    let header = serde_json::to_vec(of).expect("a header is JSON");
    [MAGIC, &header, b"\n"].concat()
}

/// A digest of the weights of a model on the CPU, and of what it will compute with.
pub(crate) fn digest(model: &Model, computes: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for parameter in model.parameters() {
        for part in parameter.parts() {
            hash.update(part.name.as_bytes());
            let values = parameter.part_value(part)?;
            let values = storage::read(&values)?;
            for chunk in values.chunks(1 << 16) {
                let bytes: Vec<u8> = chunk.iter().flat_map(|value| value.to_le_bytes()).collect();
                hash.update(bytes);
            }
        }
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{digest} {computes}"))
}

#[cfg(test)]
mod tests {
    use albacore_data::{Origin, Response};

    use super::*;

    /// A prompt of two tokens and responses of two and one; and two tokens alone.
    fn examples() -> Vec<Arc<Encoded>> {
        let response = |start| Response { start, score: 0.0 };
        let example = |ids: &[u32], responses: &[Response]| {
            Arc::new(Encoded {
                ids: ids.to_vec(),
                learned: (0..ids.len()).map(|at| at > 1).collect(),
                reasons: Vec::new(),
                origin: Origin::new("here", 1),
                eos_added: false,
                responses: responses.to_vec(),
            })
        };
        let group = example(&[1, 2, 3, 4, 5], &[response(2), response(4)]);
        vec![group.clone(), example(&[1, 2, 3], &[]), group]
    }

    #[test]
    fn examples_that_are_repeated_share_their_numbers() {
        let reference = Reference::new(&examples(), vec![-1.0, -2.0, -3.0]).unwrap();
        assert_eq!(reference.of(&[2, 1, 0]), [-1.0, -2.0, -3.0, -1.0, -2.0]);
        assert_eq!(Reference::new(&examples(), vec![-1.0; 5]), None);
    }

    #[test]
    fn a_file_comes_back_as_it_was_and_a_changed_one_not_at_all() {
        let all = examples();
        let of = Of { data: "d".into(), weights: "w".into(), train: 3 };
        let folder = tempfile::tempdir().unwrap();
        let mut pending = Pending::open(&folder.path().join(REFERENCE), head(&of)).unwrap();
        pending.push(&[-1.0, -2.0, -3.0, -4.0]).unwrap();
        let bytes = pending.seal().unwrap();
        let both = [&all[..], &all[1..2]];
        let (found, references) = References::read(bytes.clone(), both).unwrap();
        assert_eq!(found, of);
        assert_eq!(references.held_out.of(&[0]), [-4.0]);
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(References::read(bytes, both).is_none(), "byte {at}");
        }
        assert!(References::read(bytes, [&all, &all]).is_none());
    }
}
