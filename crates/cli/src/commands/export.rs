//! `albacore export`: a run becomes a folder that transformers and vLLM load.

use std::fs;

use albacore_model::{Model, Staging, save};
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
    let model = Model::load(&folder, &Device::Cpu).or_refuse()?;
    let files = companions::of_model(&folder, &model.config(), options.dtype).or_refuse()?;

    let out = Staging::new(&options.out).or_refuse()?;
    for (name, bytes) in &files {
        let path = out.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let entries = save::entries(model.parameters(), options.dtype)?;
    let numbers: usize = entries.iter().map(|entry| entry.shape.iter().product::<usize>()).sum();
    let bytes = save::write_weights(out.path(), entries, save::SHARD_BYTES)?;
    out.finish()?;

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
