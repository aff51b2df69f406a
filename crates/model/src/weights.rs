//! Reading weights: a folder of safetensors files, mapped into memory, into f32 parameters.
//!
//! [`Weights::parameter`] only notes what is wanted. [`Weights::finish`] then names everything that
//! does not fit at once, or converts all of it straight into the parameters, so that no weight is
//! ever held twice.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use albacore_kernels::{Parameter, storage};
use candle_core::{DType, Device, Tensor};
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::Dtype as Stored;
use safetensors::tensor::TensorInfo;

use crate::{Error, Result};
use file::{File, weight_files};

/// Tensors that old exporters stored although they follow from the configuration.
const HARMLESS: [&str; 2] = ["rotary_emb.inv_freq", "attn.masked_bias"];

/// Numbers converted by one task: 256 KiB of f32.
const CHUNK: usize = 64 * 1024;

/// The tensors of a folder, and what was asked of them.
#[derive(Debug)]
pub struct Weights {
    folder: PathBuf,
    files: Vec<File>,
    tensors: BTreeMap<String, Entry>,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    info: TensorInfo,
}

/// A tensor that a model asked for, and where it goes.
#[derive(Debug)]
struct Wanted {
    name: String,
    shape: Vec<usize>,
    /// The parameter's tensor and the row at which this part begins.
    target: (Tensor, usize),
}

/// A tensor that is not what the configuration describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The model needs a tensor that is not there.
    Missing {
        /// Its name.
        name: String,
        /// The shape that was wanted.
        wanted: Vec<usize>,
    },
    /// The shape is not the one that the configuration implies.
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// The shape that was wanted.
        wanted: Vec<usize>,
    },
    /// The numbers are stored in a type that is not read.
    Type {
        /// The tensor.
        name: String,
        /// Its type in the file.
        found: String,
    },
    /// The model has no place for a tensor.
    Unexpected {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misfit::Missing { name, wanted } => {
                write!(f, "tensor `{name}` is missing, wanted shape {wanted:?}")
            }
            Misfit::Shape { name, found, wanted } => {
                write!(f, "tensor `{name}` has shape {found:?}, wanted {wanted:?}")
            }
            Misfit::Type { name, found } => {
                write!(f, "tensor `{name}` is stored as `{found}`, wanted `F32`, `F16` or `BF16`")
            }
            Misfit::Unexpected { name, found } => {
                write!(f, "tensor `{name}` of shape {found:?} has no place in the model")
            }
        }
    }
}

impl Misfit {
    /// What a set of misfits has in common, as advice.
    pub(crate) fn hint(misfits: &[Misfit]) -> Option<String> {
        let head = "lm_head.weight";
        let hint = match misfits {
            [Misfit::Missing { name, .. }] if name == head => {
                "if this model uses its embedding as output matrix, set `\"tie_word_embeddings\": true`"
            }
            _ if misfits.iter().all(|misfit| matches!(misfit, Misfit::Missing { .. })) => {
                "part of the weights is probably missing: copy or download them again"
            }
            _ if misfits.iter().any(|misfit| matches!(misfit, Misfit::Type { .. })) => {
                "use the model's unquantised weights"
            }
            _ => "the configuration and the weights probably come from different models",
        };
        Some(hint.into())
    }
}

impl Weights {
    /// Maps the weights of a Hugging Face folder: `model.safetensors`, the shards that
    /// `model.safetensors.index.json` names, or else all `model*.safetensors`.
    ///
    /// # Errors
    /// If there are none, or a file is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut weights = Self {
            folder: folder.into(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
            wanted: Vec::new(),
        };
        for path in weight_files(folder)? {
            weights.add_file(&path)?;
        }
        Ok(weights)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let (file, metadata) = File::map(path)?;
        for (name, info) in metadata.tensors() {
            let entry = Entry { file: self.files.len(), info: info.clone() };
            if let Some(other) = self.tensors.insert(name.clone(), entry) {
                let other = self.files[other.file].path.display();
                return Err(Error::damaged(path, format!("tensor `{name}` is in `{other}` too")));
            }
        }
        self.files.push(file);
        Ok(())
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.info.shape.as_slice())
    }

    /// A parameter whose rows are the tensors `parts` (name, rows), each `columns` wide, or vectors
    /// where `columns` is `None`.
    ///
    /// Its numbers are zeros until [`Self::finish`].
    ///
    /// # Errors
    /// If memory cannot be allocated. Tensors that do not fit are reported by [`Self::finish`].
    pub fn parameter(
        &mut self,
        parts: &[(String, usize)],
        columns: Option<usize>,
        device: &Device,
    ) -> Result<Parameter> {
        let rows = parts.iter().map(|(_, rows)| rows).sum::<usize>();
        let shape =
            |rows, columns: Option<usize>| std::iter::once(rows).chain(columns).collect::<Vec<_>>();
        let fits = parts.iter().all(|(name, rows)| {
            let stored = self.tensors.get(name).map(|entry| &entry.info);
            stored.is_some_and(|info| info.shape == shape(*rows, columns) && is_read(info.dtype))
        });
        // Sizes that no file confirms are not allocated: the configuration may be nonsense.
        let held = if fits { shape(rows, columns) } else { vec![rows, 0] };
        let value = Tensor::zeros(held, DType::F32, device)?;
        let mut first = 0;
        for (name, rows) in parts {
            let target = (value.clone(), first);
            first += rows;
            self.wanted.push(Wanted { name: name.clone(), shape: shape(*rows, columns), target });
        }
        Ok(Parameter::new(value, parts.iter().cloned()))
    }

    /// Fills every parameter that was asked for and unmaps the files.
    ///
    /// # Errors
    /// If any tensor is missing, misshapen, of a type that is not read or has no place: all of them
    /// are named. Nothing is filled then.
    pub fn finish(self) -> Result<()> {
        let misfits = self.misfits();
        if !misfits.is_empty() {
            return Err(Error::Misfits { from: self.folder, misfits });
        }
        for wanted in &self.wanted {
            self.fill(wanted)?;
        }
        Ok(())
    }

    fn misfits(&self) -> Vec<Misfit> {
        let mut unused: BTreeMap<&str, &Entry> =
            self.tensors.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        let mut misfits = Vec::new();
        for Wanted { name, shape, .. } in &self.wanted {
            let (name, wanted) = (name.clone(), shape.clone());
            match unused.remove(name.as_str()) {
                None => misfits.push(Misfit::Missing { name, wanted }),
                Some(entry) if entry.info.shape != wanted => {
                    misfits.push(Misfit::Shape { name, found: entry.info.shape.clone(), wanted });
                }
                Some(entry) if !is_read(entry.info.dtype) => {
                    misfits.push(Misfit::Type { name, found: format!("{:?}", entry.info.dtype) });
                }
                Some(_) => {}
            }
        }
        unused.retain(|name, _| !HARMLESS.iter().any(|harmless| name.ends_with(harmless)));
        misfits.extend(unused.into_iter().map(|(name, entry)| Misfit::Unexpected {
            name: name.into(),
            found: entry.info.shape.clone(),
        }));
        misfits
    }

    fn fill(&self, wanted: &Wanted) -> Result<()> {
        let (parameter, row) = &wanted.target;
        let (rows, device) = (wanted.shape[0], parameter.device());
        if device.is_cpu() {
            let part = parameter.narrow(0, *row, rows)?;
            return Ok(storage::write(&part, |out| {
                self.convert(&wanted.name, out);
                Ok(())
            })?);
        }
        let mut numbers = vec![0.0; wanted.shape.iter().product()];
        self.convert(&wanted.name, &mut numbers);
        Ok(storage::overwrite(&parameter.narrow(0, *row, rows)?, numbers)?)
    }

    /// Converts a tensor that is known to fit, in parallel.
    fn convert(&self, name: &str, out: &mut [f32]) {
        let entry = &self.tensors[name];
        let bytes = self.files[entry.file].bytes(&entry.info);
        let size = bytes.len() / out.len().max(1);
        let chunks = out.par_chunks_mut(CHUNK).zip(bytes.par_chunks((CHUNK * size).max(1)));
        chunks.for_each(|(out, bytes)| widen(entry.info.dtype, bytes, out));
    }

    /// Takes the tensor `copy` for `name` where that is not stored, and out of account where it is: some
    /// writers store a tensor that is used in several places under all of its names, some under one.
    pub fn call(&mut self, name: &str, copy: &str) {
        if let Some(entry) = self.tensors.remove(copy) {
            self.tensors.entry(name.to_owned()).or_insert(entry);
        }
    }

    /// Leaves a stored tensor out of account: the output matrix of a model that uses its embedding.
    pub fn forget(&mut self, name: &str) {
        self.tensors.remove(name);
    }
}

fn is_read(dtype: Stored) -> bool {
    matches!(dtype, Stored::F32 | Stored::F16 | Stored::BF16)
}

/// Converts little-endian numbers to f32.
fn widen(dtype: Stored, bytes: &[u8], out: &mut [f32]) {
    let pairs = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match dtype {
        Stored::F32 => {
            for (out, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
        }
        Stored::BF16 => {
            // A bfloat16 is the upper half of an f32.
            out.iter_mut()
                .zip(pairs)
                .for_each(|(out, bits)| *out = f32::from_bits(u32::from(bits) << 16));
        }
        Stored::F16 => {
            let halves = pairs.map(half::f16::from_bits).collect::<Vec<_>>();
            halves.convert_to_f32_slice(out);
        }
        _ => unreachable!("other types were refused"),
    }
}

#[cfg(test)]
mod tests;
