//! What a run's texts follow from, written down when it begins: one that goes on with something else
//! would be of two minds.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{Error, Origin, Result, lines};

/// The file.
const NAME: &str = "settings.json";

/// Looks whether a folder is new, or holds a run with these settings. Touches nothing.
///
/// # Errors
/// If its run has other settings, which are named.
pub(crate) fn check(folder: &Path, now: &Map<String, Value>) -> Result<()> {
    let path = folder.join(NAME);
    let before: Map<String, Value> = match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::Line {
            origin: Origin::new(&path, 1),
            message: error.to_string(),
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::read(&path, error)),
    };
    let names = now.keys().chain(before.keys().filter(|name| !now.contains_key(*name)));
    let differ = names.filter(|name| now.get(*name) != before.get(*name));
    let shown = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
    let changed = differ.map(|name| {
        format!("`{name}` was {}, is {}", shown(before.get(name)), shown(now.get(name)))
    });
    match changed.collect::<Vec<_>>() {
        none if none.is_empty() => Ok(()),
        changed => Err(Error::Settings { folder: folder.to_owned(), changed }),
    }
}

/// Writes the settings down, if the run is new.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn keep(folder: &Path, settings: &Map<String, Value>) -> Result<()> {
    if folder.join(NAME).exists() { Ok(()) } else { write(folder, settings) }
}

/// Writes the settings down, whatever was there.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write(folder: &Path, settings: &Map<String, Value>) -> Result<()> {
    lines::replace(&folder.join(NAME), std::iter::once(settings))
}

/// Stands for a value that is too long to be written down.
pub(crate) fn digest(value: &(impl Serialize + ?Sized)) -> String {
    let text = serde_json::to_vec(value).expect("it is JSON");
    Sha256::digest(text)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
