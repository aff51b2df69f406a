//! What stands beside `tokenizer.json`: special tokens, chat templates, what the model's files say.

use std::collections::BTreeMap;
use std::io::ErrorKind::NotFound;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// What transformers' tokenizer classes read; the older place for chat templates.
pub(super) const CONFIG: &str = "tokenizer_config.json";
/// The chat template, where it has a file of its own.
pub(super) const CHAT_TEMPLATE: &str = "chat_template.jinja";
/// Names of the special tokens that chat templates see.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// What the files beside `tokenizer.json` say.
pub(super) struct Settings {
    pub(super) tokenizer: Value,
    pub(super) generation: Value,
    pub(super) model: Value,
    pub(super) special: BTreeMap<String, String>,
    pub(super) chat_templates: Vec<(String, String)>,
    pub(super) hash: Sha256,
}

impl Settings {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut hash = Sha256::new();
        let mut json = |name: &str| read_json(folder, name, &mut hash);
        let tokenizer = json(CONFIG)?;
        let map = json("special_tokens_map.json")?;
        let (generation, model) = (json("generation_config.json")?, json("config.json")?);
        let special = SPECIAL.iter().filter_map(|name| {
            let token = [&tokenizer, &map].into_iter().find_map(|file| text_of(file.get(*name)?));
            Some((name.to_string(), token?))
        });
        let special = special.collect();
        let mut chat_templates = named_templates(tokenizer.get("chat_template"));
        // A file of its own is the newer way, and wins.
        let path = folder.join(CHAT_TEMPLATE);
        if let Some(text) = if_there(&path, std::fs::read_to_string(&path))? {
            hash.update(CHAT_TEMPLATE);
            hash.update(Sha256::digest(&text));
            chat_templates.retain(|(name, _)| name != "default");
            chat_templates.insert(0, ("default".into(), text));
        }
        Ok(Self { tokenizer, generation, model, special, chat_templates, hash })
    }
}

/// A JSON file that may be missing; null then.
pub(super) fn read_json(folder: &Path, name: &str, hash: &mut Sha256) -> Result<Value> {
    let path = folder.join(name);
    let Some(bytes) = if_there(&path, std::fs::read(&path))? else { return Ok(Value::Null) };
    hash.update(name);
    hash.update(Sha256::digest(&bytes));
    serde_json::from_slice(&bytes).map_err(|error| Error::Syntax {
        path,
        line: error.line(),
        column: error.column(),
        message: "malformed JSON".into(),
    })
}

/// What was read of a file that may be missing. One that is there and cannot be read is an error:
/// without it the model would be another.
pub(super) fn if_there<T>(path: &Path, read: std::io::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

/// One template, or a list of `{name, template}`.
fn named_templates(field: Option<&Value>) -> Vec<(String, String)> {
    match field {
        Some(Value::String(text)) => vec![("default".into(), text.clone())],
        Some(Value::Array(list)) => {
            let text = |item: &Value, name: &str| item.get(name)?.as_str().map(str::to_owned);
            list.iter()
                .filter_map(|item| Some((text(item, "name")?, text(item, "template")?)))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// A token is written as text, or as an object with its `content`.
fn text_of(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_owned)
}

/// One id or a list of them.
pub(super) fn ids_of(field: &Value) -> Vec<u32> {
    let list = field.as_array().map_or(std::slice::from_ref(field), Vec::as_slice);
    list.iter().filter_map(|id| id.as_u64()?.try_into().ok()).collect()
}
