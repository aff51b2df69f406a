//! `albacore export`: a run becomes a folder that transformers and vLLM load.

use std::fs;
use std::path::{Path, PathBuf};

use albacore_model::{Error as ModelError, Llama, save};
use anyhow::Context;
use candle_core::Device;
use serde_json::json;

use crate::args::Export;
use crate::companions;
use crate::failure::{OrRefuse, Outcome, Result};
use crate::model_folder;
use crate::progress::{count, size};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if there is nothing to export or the folder is not empty; fails if it cannot be written.
/// The folder is complete or does not exist.
pub fn run(options: &Export, terminal: &Terminal) -> Result {
    let folder = model_folder::resolve(&options.run, terminal)?;
    let out = Beside::new(&options.out).or_refuse()?;
    let model = Llama::load(&folder, &Device::Cpu).or_refuse()?;
    let files = companions::of_model(&folder, model.config(), options.dtype).or_refuse()?;

    out.create()?;
    for (name, bytes) in &files {
        let path = out.partial.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let entries = save::entries(model.parameters(), options.dtype)?;
    let numbers: usize = entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum();
    let bytes = save::write_weights(&out.partial, entries, save::SHARD_BYTES)?;
    out.publish()?;

    if terminal.json {
        let line = json!({
            "from": folder, "out": options.out, "parameters": numbers,
            "dtype": options.dtype.to_string(), "bytes": bytes,
        });
        terminal.print(&line.to_string())?;
    } else {
        terminal.print(&format!(
            "exported `{}` to `{}`: {} parameters as {}, {}",
            folder.display(),
            options.out.display(),
            count(numbers),
            options.dtype,
            size(bytes)
        ))?;
    }
    Ok(Outcome::Done)
}

/// A folder that is written beside its place and renamed when it is complete.
struct Beside {
    out: PathBuf,
    partial: PathBuf,
}

impl Beside {
    /// Checks that the place is free.
    fn new(out: &Path) -> Result<Self, ModelError> {
        let taken = || ModelError::Exists { path: out.to_owned() };
        let is_empty =
            |folder: &Path| fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        if out.exists() && !is_empty(out) {
            return Err(taken());
        }
        let name = out.file_name().ok_or_else(taken)?.to_string_lossy().into_owned();
        let partial = out.with_file_name(format!("{name}.{}.partial", std::process::id()));
        Ok(Self { out: out.to_owned(), partial })
    }

    fn create(&self) -> anyhow::Result<()> {
        let cannot = || format!("cannot make folder `{}`", self.partial.display());
        fs::create_dir_all(&self.partial).with_context(cannot)
    }

    fn publish(self) -> anyhow::Result<()> {
        let cannot = || format!("cannot name `{}`", self.out.display());
        fs::rename(&self.partial, &self.out).with_context(cannot)
    }
}

impl Drop for Beside {
    /// What is not complete is of no use. After a rename there is nothing to remove.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.partial);
    }
}
