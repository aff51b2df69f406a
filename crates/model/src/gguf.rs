//! GGUF, the file format of llama.cpp: metadata, a table of tensors, and their numbers, often
//! quantised.
//!
//! The header is read by code of our own, which believes no length before it has compared it with
//! the size of the file; the numbers of quantised blocks are restored by Candle.
//!
//! Layout, all little-endian: `GGUF`, version, tensor count, key count; keys and values; for each
//! tensor its name, dimensions (innermost first), type and offset; padding; the numbers.

mod cursor;
mod metadata;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::{Error, Result};
use cursor::{Cursor, Problem};
pub use metadata::Metadata;

/// Numbers restored by one task; a multiple of every block size.
const CHUNK: usize = 64 * 1024;

/// A GGUF file, mapped into memory.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mmap,
    metadata: Metadata,
    tensors: BTreeMap<String, GgufTensor>,
}

/// A tensor in a GGUF file.
#[derive(Clone, Debug)]
pub struct GgufTensor {
    /// Its shape, outermost first: rows, columns.
    pub shape: Vec<usize>,
    kind: GgmlDType,
    /// Where its bytes lie in the file.
    bytes: std::ops::Range<usize>,
}

impl GgufTensor {
    /// How its numbers are stored, by the name that llama.cpp uses.
    pub fn stored_as(&self) -> &'static str {
        let known = KINDS.iter().find(|(_, kind, _)| *kind == Some(self.kind));
        known.map_or("unknown", |(_, _, name)| name)
    }
}

/// Storage types by number, as what Candle knows them (or not at all), and by name.
const KINDS: [(u32, Option<GgmlDType>, &str); 30] = [
    (0, Some(GgmlDType::F32), "F32"),
    (1, Some(GgmlDType::F16), "F16"),
    (2, Some(GgmlDType::Q4_0), "Q4_0"),
    (3, Some(GgmlDType::Q4_1), "Q4_1"),
    (6, Some(GgmlDType::Q5_0), "Q5_0"),
    (7, Some(GgmlDType::Q5_1), "Q5_1"),
    (8, Some(GgmlDType::Q8_0), "Q8_0"),
    (10, Some(GgmlDType::Q2K), "Q2_K"),
    (11, Some(GgmlDType::Q3K), "Q3_K"),
    (12, Some(GgmlDType::Q4K), "Q4_K"),
    (13, Some(GgmlDType::Q5K), "Q5_K"),
    (14, Some(GgmlDType::Q6K), "Q6_K"),
    (30, Some(GgmlDType::BF16), "BF16"),
    (9, None, "Q8_1"),
    (15, None, "Q8_K"),
    (16, None, "IQ2_XXS"),
    (17, None, "IQ2_XS"),
    (18, None, "IQ3_XXS"),
    (19, None, "IQ1_S"),
    (20, None, "IQ4_NL"),
    (21, None, "IQ3_S"),
    (22, None, "IQ2_S"),
    (23, None, "IQ4_XS"),
    (24, None, "I8"),
    (26, None, "I32"),
    (28, None, "F64"),
    (29, None, "IQ1_M"),
    (34, None, "TQ1_0"),
    (35, None, "TQ2_0"),
    (39, None, "MXFP4"),
];

impl Gguf {
    /// Maps a GGUF file and reads its header.
    ///
    /// # Errors
    /// If it is not a GGUF of version 2 or 3, is truncated or contradicts itself, or stores a tensor
    /// in a type that cannot be restored.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        // SAFETY: the mapping is read-only. Changing the file meanwhile is undefined, as for every
        // program that maps its input.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("read", path))?;
        let mut cursor = Cursor::new(&map);
        check_format(path, &mut cursor)?;
        let (metadata, tensors) = read_header(path, &mut cursor, map.len())
            .map_err(|problem| Error::damaged(path, problem))?;
        let tensors = tensors
            .into_iter()
            .map(|(name, raw)| Ok((name.clone(), raw.known(path, &name)?)))
            .collect::<Result<_>>()?;
        Ok(Self { path: path.into(), map, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its keys and values.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its tensors, by name.
    pub fn tensors(&self) -> &BTreeMap<String, GgufTensor> {
        &self.tensors
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// If there is no such tensor, or Candle fails.
    pub fn dequantize(&self, name: &str) -> Result<Vec<f32>> {
        let tensor =
            self.tensors.get(name).ok_or_else(|| self.problem(format!("no tensor `{name}`")))?;
        let (kind, bytes) = (tensor.kind, &self.map[tensor.bytes.clone()]);
        let mut numbers = vec![0.0; tensor.shape.iter().product()];
        let chunks = numbers.par_chunks_mut(CHUNK);
        let chunk_bytes = CHUNK / kind.block_size() * kind.type_size();
        chunks.zip(bytes.par_chunks(chunk_bytes)).try_for_each(|(numbers, bytes)| {
            match kind.from_data(Cow::Borrowed(bytes)).dequantize(numbers.len())? {
                CpuStorage::F32(restored) => numbers.copy_from_slice(&restored),
                _ => unreachable!("Candle restores to f32"),
            }
            Ok::<_, Error>(())
        })?;
        Ok(numbers)
    }

    /// It holds another model than those that can be imported.
    pub(crate) fn problem(&self, problem: String) -> Error {
        let remedy = "dense models of llama.cpp's architecture `llama` are imported, Mistral's and \
                      SmolLM2's among them";
        Error::Import { path: self.path.clone(), problem, remedy }
    }
}

/// A row of the tensor table that lies inside the file, of whatever type.
struct Raw {
    shape: Vec<usize>,
    kind: u32,
    /// Where its numbers begin, and where the file ends.
    start: usize,
    end: usize,
}

impl Raw {
    /// Checks the type, then the size that follows from it.
    fn known(self, path: &Path, name: &str) -> Result<GgufTensor> {
        let Raw { shape, kind, start, end } = self;
        let found = KINDS.iter().find(|(number, ..)| *number == kind);
        let Some(&(_, Some(kind), _)) = found else {
            let found = found.map_or(format!("type {kind}"), |(_, _, name)| (*name).to_owned());
            let known = KINDS.iter().filter(|(_, kind, _)| kind.is_some());
            let known = known.map(|(_, _, name)| *name).collect::<Vec<_>>().join(", ");
            let problem = format!("tensor `{name}` is stored as `{found}`, wanted one of {known}");
            let remedy = "convert it first, to F16 or Q8_0: `llama-quantize --allow-requantize \
                          MODEL.gguf OUT.gguf Q8_0`";
            return Err(Error::Import { path: path.into(), problem, remedy });
        };
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(kind.block_size()) {
            let problem = format!(
                "tensor `{name}` has rows of {columns}, wanted a multiple of {} for {kind:?}",
                kind.block_size()
            );
            return Err(Error::damaged(path, problem));
        }
        let elements = shape.iter().product::<usize>(); // checked by `read_tensor`
        let size = (elements / kind.block_size()).saturating_mul(kind.type_size());
        if size > end - start {
            let problem = format!(
                "tensor `{name}` needs {size} bytes at byte {start}, the file ends at {end}"
            );
            return Err(Error::damaged(path, problem));
        }
        Ok(GgufTensor { shape, kind, bytes: start..start + size })
    }
}

/// Refuses a file that is no GGUF, or one of a kind that is not read.
fn check_format(path: &Path, cursor: &mut Cursor<'_>) -> Result<()> {
    let damaged = |problem| Error::damaged(path, problem);
    let refused = |problem: &str, remedy| {
        Err(Error::Import { path: path.into(), problem: problem.into(), remedy })
    };
    let magic = cursor.take(4).map_err(damaged)?;
    if magic != b"GGUF" {
        return refused(
            &format!("it begins with `{}`, wanted `GGUF`", magic.escape_ascii()),
            "only GGUF files are imported; a Hugging Face folder is used as it is",
        );
    }
    match cursor.u32().map_err(damaged)? {
        2 | 3 => Ok(()),
        version if matches!(version.swap_bytes(), 1..=3) => refused(
            "it is big-endian, wanted little-endian",
            "turn its bytes around first: `pip install gguf`, then `gguf-convert-endian MODEL.gguf \
             little`",
        ),
        version => refused(
            &format!("it has version {version}, wanted 2 or 3"),
            match version {
                0 | 1 => "convert the original model again, with a llama.cpp of today",
                _ => "it is damaged, or newer than this program: look for a newer one",
            },
        ),
    }
}

/// Reads what follows the version in a file of `len` bytes.
fn read_header(
    path: &Path,
    cursor: &mut Cursor<'_>,
    len: usize,
) -> Result<(Metadata, BTreeMap<String, Raw>), Problem> {
    let (tensor_count, key_count) = (cursor.u64()?, cursor.u64()?);
    let metadata = Metadata::read(path, cursor, key_count)?;
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let (name, raw) = read_tensor(cursor)?;
        if tensors.insert(name.clone(), raw).is_some() {
            return Err(format!("tensor `{name}` stands there twice"));
        }
    }
    let key = "general.alignment";
    let alignment = match metadata.count(key) {
        Ok(None) => 32,
        Ok(Some(alignment)) if alignment >= 8 && alignment.is_power_of_two() => alignment,
        _ => {
            let found = metadata.describe(key).unwrap_or_default();
            return Err(format!("`{key}` is `{found}`, wanted a power of two from 8 on"));
        }
    };
    let data = cursor.position().next_multiple_of(alignment);
    for (name, raw) in &mut tensors {
        if !raw.start.is_multiple_of(alignment) {
            return Err(format!(
                "tensor `{name}` lies at {}, wanted a multiple of {alignment}",
                raw.start
            ));
        }
        raw.end = len;
        raw.start = data.saturating_add(raw.start);
        if raw.start > raw.end {
            return Err(format!(
                "tensor `{name}` begins at byte {}, the file has {}",
                raw.start, raw.end
            ));
        }
    }
    Ok((metadata, tensors))
}

fn read_tensor(cursor: &mut Cursor<'_>) -> Result<(String, Raw), Problem> {
    let name = cursor.text()?;
    let dimensions = cursor.u32()?;
    if !(1..=4).contains(&dimensions) {
        return Err(format!("tensor `{name}` has {dimensions} dimensions, wanted 1 to 4"));
    }
    let mut shape = (0..dimensions)
        .map(|_| Ok(usize::try_from(cursor.u64()?).unwrap_or(usize::MAX)))
        .collect::<Result<Vec<_>, Problem>>()?;
    shape.reverse(); // the file names the innermost first
    let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size));
    if elements.is_none_or(|elements| elements == 0) {
        return Err(format!("tensor `{name}` has shape {shape:?}, wanted sizes of a tensor"));
    }
    let kind = cursor.u32()?;
    let start = usize::try_from(cursor.u64()?).unwrap_or(usize::MAX);
    Ok((name, Raw { shape, kind, start, end: 0 }))
}
