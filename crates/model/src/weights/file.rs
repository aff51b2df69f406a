//! Safetensors files on disk: which of them make up a model, and what their headers say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;

use crate::{Error, Result};

/// Longest header that is believed, the limit of the format.
const LONGEST_HEADER: u64 = 100_000_000;

/// A safetensors file, mapped into memory.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    map: Mmap,
    /// Where the numbers begin.
    start: usize,
}

impl File {
    /// Maps a file and checks its header against its size. Returns the tensors as well.
    pub(super) fn map(path: &Path) -> Result<(Self, Metadata)> {
        let damaged = |problem: String| Error::damaged(path, problem);
        let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        // SAFETY: the mapping is read-only and lives as long as loading takes. Changing the file
        // meanwhile is undefined, as for every program that maps its input.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("read", path))?;
        let size = map.len();
        let Some((length, rest)) = map.split_first_chunk::<8>() else {
            return Err(damaged(format!("it has {size} bytes, wanted a safetensors header")));
        };
        let length = u64::from_le_bytes(*length);
        if length > (rest.len() as u64).min(LONGEST_HEADER) {
            let problem = format!("its header says it is {length} bytes long, the file has {size}");
            return Err(damaged(problem));
        }
        let (header, numbers) = rest.split_at(length as usize);
        let metadata: Metadata = serde_json::from_slice(header)
            .map_err(|error| damaged(format!("its header is not valid: {error}")))?;
        let (held, wanted) = (numbers.len(), metadata.data_len());
        if held != wanted {
            let problem = format!("it holds {held} bytes of tensors, its header says {wanted}");
            return Err(damaged(problem));
        }
        let start = size - held;
        Ok((Self { path: path.into(), map, start }, metadata))
    }

    /// The stored numbers of a tensor of this file.
    pub(super) fn bytes(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.map[self.start + start..self.start + end]
    }
}

/// The files that hold a folder's weights.
pub(super) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if index.exists() {
        return shards(folder, &index);
    }
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for name in names {
        let other = [".bin", ".pt", ".pth", ".gguf", ".safetensors", ".h5", ".msgpack"];
        if name.starts_with("model") && name.ends_with(".safetensors") {
            files.push(folder.join(name));
        } else if other.iter().any(|extension| name.ends_with(extension)) {
            others.push(name);
        }
    }
    files.sort();
    others.sort();
    match files.is_empty() {
        true => Err(Error::NoWeights { folder: folder.into(), found: others }),
        false => Ok(files),
    }
}

/// The files that an index names, once each.
fn shards(folder: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = std::fs::read(index).map_err(Error::io("read", index))?;
    let parsed: Index = serde_json::from_slice(&text)
        .map_err(|source| Error::Json { path: index.into(), source })?;
    let mut names: Vec<String> = parsed.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        let problem = format!("it names `{name}`, wanted a file in the same folder");
        return Err(Error::damaged(index, problem));
    }
    let absent: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| !folder.join(name).exists()).collect();
    if !absent.is_empty() {
        let absent = absent.join("`, `");
        return Err(Error::damaged(index, format!("it names `{absent}`, which is not there")));
    }
    Ok(names.iter().map(|name| folder.join(name)).collect())
}
