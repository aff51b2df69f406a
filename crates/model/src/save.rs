//! Writing safetensors: tensor by tensor, so that a file is never held in memory.
//!
//! ```text
//!  entries ─plan_shards─► Shard ─write_safetensors─► any `Write` (a file, a hash on the way)
//!                           └────shard_index───────► model.safetensors.index.json
//! ```

use std::cmp::Reverse;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use albacore_kernels::{Parameter, StateBuffer, StateNumbers, storage};
use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use crate::{Dtype, Error, Result};

/// Bytes of weights in one file unless told otherwise: 5 GB, so that no download is endless.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Numbers converted at a time: 256 KiB of f32 stay in the cache.
const CHUNK: usize = 64 * 1024;

/// A tensor to be written.
pub struct Entry<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type that its numbers are rounded to, to nearest, ties to even. Codes are written as they
    /// are.
    pub dtype: Dtype,
    numbers: Numbers<'a>,
}

/// Where the numbers of an [`Entry`] come from.
enum Numbers<'a> {
    Kept(Kept),
    Computed(Box<dyn Fn() -> Result<Vec<f32>> + Send + Sync + 'a>),
}

/// Numbers that a model or its optimizer keeps.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A contiguous tensor of f32 or bf16 numbers.
    Tensor(Tensor),
    /// A buffer of the optimizer's state.
    State(StateBuffer),
}

impl From<Tensor> for Kept {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl From<StateBuffer> for Kept {
    fn from(buffer: StateBuffer) -> Self {
        Self::State(buffer)
    }
}

impl<'a> Entry<'a> {
    /// Numbers that are kept, read when they are written.
    pub fn tensor(name: impl Into<String>, kept: impl Into<Kept>, dtype: Dtype) -> Self {
        let kept = kept.into();
        let shape = match &kept {
            Kept::Tensor(tensor) => tensor.dims().to_vec(),
            Kept::State(buffer) => buffer.dims().to_vec(),
        };
        Self { name: name.into(), shape, dtype, numbers: Numbers::Kept(kept) }
    }

    /// Numbers that are computed when they are written; as many as the shape says.
    pub fn computed(
        name: impl Into<String>,
        shape: Vec<usize>,
        dtype: Dtype,
        numbers: impl Fn() -> Result<Vec<f32>> + Send + Sync + 'a,
    ) -> Self {
        Self { name: name.into(), shape, dtype, numbers: Numbers::Computed(Box::new(numbers)) }
    }

    /// Bytes that it takes in the file.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64 * self.stored().1 as u64
    }

    /// The name of its type in the file, and the bytes of a number.
    fn stored(&self) -> (&'static str, usize) {
        match &self.numbers {
            Numbers::Kept(Kept::State(buffer)) if buffer.is_codes() => ("U8", 1),
            _ => (self.dtype.safetensors_name(), self.dtype.size()),
        }
    }

    /// Lets `f` see the numbers.
    fn read(&self, f: impl FnOnce(StateNumbers<'_>) -> Result<()>) -> Result<()> {
        match &self.numbers {
            Numbers::Kept(Kept::Tensor(tensor)) => {
                // Candle copies all that a view is a view of: on a GPU that is cut out first.
                let tensor = match tensor.device() {
                    Device::Cpu => tensor.clone(),
                    _ => tensor.force_contiguous()?.to_device(&Device::Cpu)?,
                };
                // Weights that are bf16 alone are exact in f32.
                f(StateNumbers::F32(&storage::read(&tensor.to_dtype(DType::F32)?)?))
            }
            Numbers::Kept(Kept::State(buffer)) => buffer.read(f)?,
            Numbers::Computed(compute) => f(StateNumbers::F32(&compute()?)),
        }
    }
}

/// Every checkpoint tensor of the parameters, to be written as `dtype`.
///
/// # Errors
/// Never for the parameters of a model.
pub fn entries<'p>(
    parameters: impl IntoIterator<Item = &'p Parameter>,
    dtype: Dtype,
) -> Result<Vec<Entry<'static>>> {
    let parts = parameters.into_iter().flat_map(|parameter| {
        parameter
            .parts()
            .iter()
            .map(move |part| Ok(Entry::tensor(&part.name, parameter.part_value(part)?, dtype)))
    });
    parts.collect()
}

/// Writes a safetensors file; `path` is only named in errors. Returns its bytes.
///
/// The caller flushes and syncs.
///
/// # Errors
/// If writing fails (a full disk, say) or a tensor cannot be read.
pub fn write_safetensors(out: &mut impl Write, path: &Path, entries: &[Entry<'_>]) -> Result<u64> {
    // The widest type first: then every tensor lies aligned to its numbers.
    let mut entries: Vec<&Entry<'_>> = entries.iter().collect();
    entries.sort_by_key(|entry| Reverse(entry.stored().1));
    let (header, mut total) = header(&entries);
    total += 8 + header.len() as u64;
    let failed = |source| Error::Io { action: "write", path: path.into(), source };
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(&header).map_err(failed)?;
    let mut bytes = Vec::with_capacity(CHUNK * 4);
    for entry in entries {
        entry.read(|numbers| {
            let wanted = entry.shape.iter().product::<usize>();
            let check =
                |len| assert_eq!(len, wanted, "`{}` has as many numbers as its shape", entry.name);
            let numbers = match numbers {
                StateNumbers::Codes(codes) => {
                    check(codes.len());
                    return out.write_all(codes).map_err(failed);
                }
                StateNumbers::F32(numbers) => numbers,
            };
            check(numbers.len());
            for chunk in numbers.chunks(CHUNK) {
                bytes.clear();
                narrow(chunk, entry.dtype, &mut bytes);
                out.write_all(&bytes).map_err(failed)?;
            }
            Ok(())
        })?;
    }
    Ok(total)
}

/// The JSON at the head of the file, padded to 8 bytes, and the bytes of the tensors.
fn header(entries: &[&Entry<'_>]) -> (Vec<u8>, u64) {
    let mut json = Map::new();
    // transformers refuses files that do not say so.
    json.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut start = 0;
    for entry in entries {
        let end = start + entry.bytes();
        json.insert(
            entry.name.clone(),
            json!({
                "dtype": entry.stored().0,
                "shape": entry.shape,
                "data_offsets": [start, end],
            }),
        );
        start = end;
    }
    let mut header = Value::Object(json).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    (header, start)
}

/// Appends numbers in their stored form.
fn narrow(numbers: &[f32], dtype: Dtype, bytes: &mut Vec<u8>) {
    match dtype {
        Dtype::F32 => bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
        Dtype::Bf16 => {
            bytes.extend(numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes()));
        }
        Dtype::F16 => {
            bytes.extend(numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes()));
        }
    }
}

/// One file of a model's weights.
pub struct Shard<'a> {
    /// `model.safetensors`, or `model-00001-of-00003.safetensors`.
    pub file_name: String,
    /// What it holds.
    pub entries: Vec<Entry<'a>>,
}

/// Shares entries out, in order, to files of at most `limit` bytes (a tensor is never split).
pub fn plan_shards(entries: Vec<Entry<'_>>, limit: u64) -> Vec<Shard<'_>> {
    let mut files: Vec<(u64, Vec<Entry<'_>>)> = vec![(0, Vec::new())];
    for entry in entries {
        let bytes = entry.bytes();
        match files.last_mut() {
            Some((held, file)) if file.is_empty() || *held + bytes <= limit => {
                *held += bytes;
                file.push(entry);
            }
            _ => files.push((bytes, vec![entry])),
        }
    }
    let count = files.len();
    let named = files.into_iter().enumerate().map(|(index, (_, entries))| {
        let file_name = match count {
            1 => "model.safetensors".into(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        Shard { file_name, entries }
    });
    named.collect()
}

/// The `model.safetensors.index.json` of several files; `None` for one, which needs none.
pub fn shard_index(shards: &[Shard<'_>]) -> Option<Value> {
    if shards.len() < 2 {
        return None;
    }
    let entries = || shards.iter().flat_map(|shard| shard.entries.iter().map(move |e| (shard, e)));
    let map: std::collections::BTreeMap<&str, &str> =
        entries().map(|(shard, entry)| (entry.name.as_str(), shard.file_name.as_str())).collect();
    let total = entries().map(|(_, entry)| entry.bytes()).sum::<u64>();
    Some(json!({ "metadata": { "total_size": total }, "weight_map": map }))
}

/// Writes a model's weights into a folder, synced, with an index if they need several files.
/// Returns the bytes of the weights' files.
///
/// # Errors
/// If writing fails or a tensor cannot be read.
pub fn write_weights(folder: &Path, entries: Vec<Entry<'_>>, limit: u64) -> Result<u64> {
    let shards = plan_shards(entries, limit);
    let mut total = 0;
    for shard in &shards {
        let path = folder.join(&shard.file_name);
        let mut out = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
        total += write_safetensors(&mut out, &path, &shard.entries)?;
        let file =
            out.into_inner().map_err(|error| Error::io("write", &path)(error.into_error()))?;
        file.sync_all().map_err(Error::io("write", &path))?;
    }
    if let Some(index) = shard_index(&shards) {
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(total)
}

/// Writes a JSON file as transformers does: indented, with a newline at the end, synced.
///
/// # Errors
/// If writing fails.
pub fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.into(), source })?;
    text.push(b'\n');
    let mut file = File::create(path).map_err(Error::io("create", path))?;
    file.write_all(&text).map_err(Error::io("write", path))?;
    file.sync_all().map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests;
