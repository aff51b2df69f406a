//! Models of the hub, `org/name[@revision]`: downloaded once, and found again without a network.
//!
//! The cache is the one that huggingface_hub keeps, so a model that it has downloaded is used as it
//! is, and the other way round:
//!
//! ```text
//! HF_HOME/hub/models--org--name/  refs/main                 the commit that the name stands for
//!                                 snapshots/COMMIT/…        its files
//! HF_HOME/hub/.locks/models--org--name/COMMIT.lock          held while they are downloaded
//! ```

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde::Deserialize;
use ureq::http::StatusCode;

use crate::companions::is_companion;
use crate::download::{Downloads, set};
use crate::failure::{OrRefuse, Refusal, Result};
use crate::terminal::Terminal;

/// The folder of a model of the hub, downloaded if it is not in the cache.
///
/// # Errors
/// Refused if there is no such model or it may not be read; fails if the hub cannot be reached.
pub fn folder(model: &str, terminal: &Terminal) -> Result<PathBuf> {
    if let Some(snapshot) = downloaded(model)? {
        return Ok(snapshot);
    }
    let (id, revision) = parts(model);
    let name = cache_name(id);
    let repository = cache()?.join(&name);
    let hub = Hub::new();
    let info = hub.info(id, revision)?;
    let snapshot = repository.join("snapshots").join(&info.sha);
    fs::create_dir_all(&snapshot)?;
    let _lock = lock(&cache()?.join(".locks").join(name), &info.sha, id, terminal)?;
    for file in info.siblings.iter().map(|sibling| sibling.rfilename.as_str()) {
        if is_wanted(file) && !snapshot.join(file).exists() {
            hub.download(id, &info.sha, file, &snapshot, terminal)?;
        }
    }
    let reference = repository.join("refs").join(revision);
    fs::create_dir_all(repository.join("refs"))?;
    fs::write(&reference, &info.sha)?;
    Ok(snapshot)
}

/// Whether a model is in the cache.
pub fn is_downloaded(model: &str) -> bool {
    matches!(downloaded(model), Ok(Some(_)))
}

/// The folder of a model in the cache, if all of it is there.
fn downloaded(model: &str) -> Result<Option<PathBuf>> {
    let (id, revision) = parts(model);
    let repository = cache()?.join(cache_name(id));
    let commit = fs::read_to_string(repository.join("refs").join(revision));
    let commit = commit.unwrap_or_else(|_| revision.to_owned());
    let snapshot = repository.join("snapshots").join(commit.trim());
    Ok(is_whole(&snapshot).then_some(snapshot))
}

/// The name and the revision.
fn parts(model: &str) -> (&str, &str) {
    model.split_once('@').unwrap_or((model, "main"))
}

fn cache_name(id: &str) -> String {
    format!("models--{}", id.replace('/', "--"))
}

/// Holds a snapshot until the file is closed: two processes never write to the same one. Waits for
/// another that holds it.
fn lock(folder: &Path, commit: &str, id: &str, terminal: &Terminal) -> Result<File> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{commit}.lock"));
    let file = File::options().write(true).create(true).truncate(false).open(&path)?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            terminal.note(&format!("waiting for another process that downloads {id}"));
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    locked.with_context(|| format!("cannot lock `{}`", path.display()))?;
    Ok(file)
}

/// Where huggingface_hub keeps what it has downloaded.
fn cache() -> Result<PathBuf> {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || path("HOME").map(|home| home.join(".cache"));
    let huggingface = || {
        let cache = || path("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("huggingface"));
        path("HF_HOME").or_else(cache)
    };
    let found = path("HF_HUB_CACHE").or_else(|| huggingface().map(|home| home.join("hub")));
    let hint = "set HF_HOME to a folder";
    found
        .ok_or_else(|| Refusal::new("there is no folder to keep downloaded models in", hint))
        .or_refuse()
}

/// Files that albacore reads, or carries along when it saves.
fn is_wanted(file: &str) -> bool {
    let weights = file.starts_with("model") && file.ends_with(".safetensors");
    weights || file == INDEX || is_companion(file)
}

const INDEX: &str = "model.safetensors.index.json";

/// Whether a snapshot has all that is wanted of it.
fn is_whole(snapshot: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let has = |file: &str| snapshot.join(file).is_file();
    let all_shards = || {
        let text = fs::read(snapshot.join(INDEX)).ok()?;
        let index: Index = serde_json::from_slice(&text).ok()?;
        Some(index.weight_map.values().all(|file| has(file)))
    };
    let weights = has("model.safetensors") || all_shards().unwrap_or(false);
    weights && has("config.json") && has("tokenizer.json")
}

/// What the hub says about a revision.
#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

struct Hub {
    downloads: Downloads,
    endpoint: String,
}

impl Hub {
    fn new() -> Self {
        let hint = "run the same command again to go on; or download the model elsewhere and name its folder";
        Self {
            downloads: Downloads::new(set("HF_TOKEN"), hint),
            endpoint: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into()),
        }
    }

    /// What stands behind a name. That there is nothing is found here, before anything is written.
    fn info(&self, id: &str, revision: &str) -> Result<Info> {
        let refuse = |why: String, hint: &str| {
            let message = format!("there is no folder `{id}`, and as the name of a model {why}");
            Err(Refusal::new(message, hint)).or_refuse()
        };
        if env::var("HF_HUB_OFFLINE").is_ok_and(|value| value == "1") {
            let hint = "name a folder, or unset HF_HUB_OFFLINE";
            return refuse("it is not among those downloaded".into(), hint);
        }
        let address = format!("{}/api/models/{id}/revision/{revision}", self.endpoint);
        let mut response = match self.downloads.get(&address, 0) {
            Ok(response) => response,
            Err(error) => {
                let hint = "name a folder; a model can be downloaded elsewhere and copied here";
                return refuse(format!("it cannot be looked up on the hub: {error}"), hint);
            }
        };
        if response.status() != StatusCode::OK {
            let answer = response.status();
            return refuse(
                format!("the hub does not show it at revision `{revision}`: {answer}"),
                "check the name; for a gated or private model, accept its licence on the hub and \
                 set HF_TOKEN",
            );
        }
        let text = response.body_mut().read_to_string()?;
        let info: Info = serde_json::from_str(&text)
            .with_context(|| format!("`{address}` answers something else than a model"))?;
        // These become names of files.
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain(&info.sha) || info.sha.is_empty() {
            return Err(anyhow!("`{address}` names the commit `{}`", info.sha).into());
        }
        Ok(info)
    }

    /// Downloads a file into a snapshot.
    fn download(
        &self,
        id: &str,
        commit: &str,
        file: &str,
        snapshot: &Path,
        terminal: &Terminal,
    ) -> Result<()> {
        let address = format!("{}/{id}/resolve/{commit}/{file}", self.endpoint);
        let what = format!("{file} of {id}");
        self.downloads.file(&address, &snapshot.join(file), &what, terminal, |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repository_only_what_is_read_is_wanted() {
        for file in [
            "config.json",
            "model.safetensors",
            "model-00001-of-00002.safetensors",
            INDEX,
            "tokenizer.json",
        ] {
            assert!(is_wanted(file), "{file}");
        }
        for file in [
            "pytorch_model.bin",
            "original/model.safetensors",
            "../config.json",
            "README.md",
            "consolidated.safetensors",
        ] {
            assert!(!is_wanted(file), "{file}");
        }
    }
}
