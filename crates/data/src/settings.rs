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
    let mut changed = Vec::new();
    compare_tables("", &before, now, &mut changed);
    match changed {
        none if none.is_empty() => Ok(()),
        changed => Err(Error::Settings { folder: folder.to_owned(), changed }),
    }
}

/// Names each value of two tables that is not the same, by its whole key.
fn compare_tables(
    under: &str,
    before: &Map<String, Value>,
    now: &Map<String, Value>,
    changed: &mut Vec<String>,
) {
    for name in now.keys().chain(before.keys().filter(|name| !now.contains_key(*name))) {
        compare(&format!("{under}{name}"), before.get(name), now.get(name), changed);
    }
}

/// Goes into tables and lists of tables: of a long value only that is shown which differs.
fn compare(key: &str, before: Option<&Value>, now: Option<&Value>, changed: &mut Vec<String>) {
    let are_tables = |list: &[Value]| list.iter().all(Value::is_object);
    match (before, now) {
        (Some(Value::Object(before)), Some(Value::Object(now))) => {
            compare_tables(&format!("{key}."), before, now, changed);
        }
        (Some(Value::Array(before)), Some(Value::Array(now)))
            if before.len() == now.len() && are_tables(before) && are_tables(now) =>
        {
            for (index, (before, now)) in before.iter().zip(now).enumerate() {
                compare(&format!("{key}[{index}]"), Some(before), Some(now), changed);
            }
        }
        (before, now) if before != now => {
            let shown = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
            changed.push(format!("`{key}` was {}, is {}", shown(before), shown(now)));
        }
        _ => {}
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_long_value_only_that_is_named_which_differs() {
        let table = |value: Value| value.as_object().unwrap().clone();
        let before = table(json!({
            "seed": 1, "decoding": [{ "max_tokens": 5, "stop": ["a", "b"] }, { "max_tokens": 7 }],
            "rules": ["x"], "gone": true,
        }));
        let now = table(json!({
            "seed": 1, "decoding": [{ "max_tokens": 5, "stop": ["a"] }, { "max_tokens": 8 }],
            "rules": ["y"], "new": { "deep": 1 },
        }));
        let mut changed = Vec::new();
        compare_tables("", &before, &now, &mut changed);
        let wanted = [
            r#"`decoding[0].stop` was ["a","b"], is ["a"]"#,
            "`decoding[1].max_tokens` was 7, is 8",
            r#"`new` was nothing, is {"deep":1}"#,
            r#"`rules` was ["x"], is ["y"]"#,
            "`gone` was true, is nothing",
        ];
        changed.sort();
        let mut wanted = wanted.map(str::to_owned);
        wanted.sort();
        assert_eq!(changed, wanted);
        changed.clear();
        compare_tables("", &now, &now, &mut changed);
        assert_eq!(changed, [""; 0]);
    }
}
