//! What MODEL stands for: a Hugging Face folder, a run folder or a hub id.

use std::path::{Path, PathBuf};

use albacore_trainer::{Scrutiny, newest};

use crate::failure::{OrRefuse, Refusal, Result};
use crate::hub;
use crate::program::program;
use crate::terminal::Terminal;

/// The folder of weights, configuration and tokenizer that `model` stands for.
///
/// # Errors
/// Refused if there is none.
pub fn resolve(model: &str, terminal: &Terminal) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.join("config.json").is_file() {
        return Ok(path.to_owned());
    }
    if path.join("checkpoints").is_dir() {
        return newest_checkpoint(path, terminal);
    }
    if !path.exists() && is_hub_id(model) {
        return hub::folder(model, terminal);
    }
    Err(unknown(model)).or_refuse()
}

/// The newest complete checkpoint of a run; those that are not complete are named.
fn newest_checkpoint(run: &Path, terminal: &Terminal) -> Result<PathBuf> {
    let found = newest(run, Scrutiny::Sizes).or_refuse()?;
    for skipped in &found.skipped {
        terminal.warn(&format!(
            "passed over `{}`: it {}",
            skipped.folder.display(),
            skipped.reason
        ));
    }
    let none = || {
        let message = format!("run `{}` has no complete checkpoint", run.display());
        Refusal::new(message, format!("train it first: `{} train CONFIG`", program()))
    };
    Ok(found.checkpoint.ok_or_else(none).or_refuse()?.folder)
}

fn unknown(model: &str) -> Refusal {
    let path = Path::new(model);
    let message = match path.metadata() {
        Ok(found) if found.is_dir() => {
            format!(
                "folder `{model}` has neither `config.json` nor `checkpoints`, wanted a model or a run"
            )
        }
        Ok(_) => format!("`{model}` is a file, wanted a folder with a model or a run"),
        Err(_) => format!("there is no folder `{model}`"),
    };
    let hint = if path.extension().is_some_and(|extension| extension == "gguf") {
        format!("turn the GGUF into a folder first: `{} import {model} OUT`", program())
    } else {
        "name a Hugging Face folder (`config.json`, `*.safetensors`, `tokenizer.json`) or a run \
         folder, or a hub id `org/name`"
            .into()
    };
    Refusal::new(message, hint)
}

/// Whether `model` is the name of a model on the hub, `org/name[@revision]`, and no path.
pub fn is_hub_id(model: &str) -> bool {
    let plain = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(fits)
    };
    let (id, revision) = model.split_once('@').unwrap_or((model, "main"));
    let named = id.split_once('/').is_some_and(|(organisation, name)| {
        // `models/smollm2` is a path if there is a folder `models`.
        plain(organisation) && plain(name) && !Path::new(organisation).is_dir()
    });
    named && plain(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_id_is_told_from_a_path() {
        for id in ["meta-llama/Llama-3.2-1B", "org/name@refs-pr-1", "a/b@1.0"] {
            assert!(is_hub_id(id), "{id}");
        }
        for path in ["model", "./a/b", "/a/b", "a/b/c", "../a", "src/model", "a/b c", "org/name@"] {
            assert!(!is_hub_id(path), "{path}");
        }
    }
}
