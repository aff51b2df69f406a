//! The small files beside the weights: with them a folder is a Hugging Face model.

use std::fs;
use std::path::Path;

use albacore_data::{Patterns, Template, TemplateChoice, Tokenizer};
use albacore_model::{Dtype, ModelConfig};
use albacore_trainer::SmallFiles;
use anyhow::Context;
use serde_json::{Map, Value, json};

/// Files that go with a model and that training does not change.
const CARRIED: [&str; 10] = [
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    CHAT_TEMPLATE,
    GENERATION,
];
const CONFIG: &str = "config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
const GENERATION: &str = "generation_config.json";

/// Whether a file is one of those that stand beside the weights.
pub fn is_companion(file: &str) -> bool {
    file == CONFIG || CARRIED.contains(&file)
}

/// The files of the model in `folder`, for weights stored as `dtype`.
///
/// # Errors
/// If one of them cannot be read.
pub fn of_model(folder: &Path, shape: &ModelConfig, dtype: Dtype) -> anyhow::Result<SmallFiles> {
    let mut files = vec![(CONFIG.to_owned(), json_bytes(&shape.to_json(dtype).into()))];
    for name in CARRIED {
        let path = folder.join(name);
        if path.is_file() {
            let read = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()));
            files.push((name.to_owned(), read?));
        }
    }
    if !files.iter().any(|(name, _)| name == GENERATION) {
        files.push((GENERATION.to_owned(), json_bytes(&generation(shape))));
    }
    Ok(files)
}

/// As [`of_model`], with the template that the model is trained with: whoever serves the folder then
/// asks the model as it was taught.
///
/// # Errors
/// If a file cannot be read.
pub fn of_training(
    folder: &Path,
    shape: &ModelConfig,
    tokenizer: &Tokenizer,
    choice: &TemplateChoice,
) -> anyhow::Result<SmallFiles> {
    let mut files = of_model(folder, shape, Dtype::F32)?;
    let Template::Patterns(patterns, _) = Template::load(choice, tokenizer, None)? else {
        return Ok(files);
    };
    files.retain(|(name, _)| name != CHAT_TEMPLATE);
    for (name, bytes) in &mut files {
        // The template of the base would be found here.
        if name == "tokenizer_config.json"
            && let Ok(mut config) = serde_json::from_slice::<Map<String, Value>>(bytes)
            && config.shift_remove("chat_template").is_some()
        {
            *bytes = json_bytes(&config.into());
        }
    }
    let begins = !tokenizer.before().is_empty();
    files.push((CHAT_TEMPLATE.to_owned(), chat_template(&patterns, begins).into_bytes()));
    Ok(files)
}

/// A chat template that wraps an instruction in `patterns`.
fn chat_template(patterns: &Patterns, begins_with_bos: bool) -> String {
    let around = |pattern: &str, name: &str, value: &str| {
        let (before, after) = pattern.split_once(name).unwrap_or((pattern, ""));
        format!("{{{{ {} + {value} + {} }}}}", json!(before), json!(after))
    };
    let user = around(&patterns.prompt, "{instruction}", "message['content']");
    let answer = around(&patterns.response, "{output}", "message['content']");
    let bos = if begins_with_bos { "{{ bos_token }}" } else { "" };
    format!(
        "{bos}{{% for message in messages %}}\
         {{% if message['role'] == 'user' %}}{user}\
         {{% elif message['role'] == 'assistant' %}}{answer}{{{{ eos_token }}}}\
         {{% else %}}{{{{ raise_exception('this model knows user and assistant only') }}}}{{% endif %}}\
         {{% endfor %}}"
    )
}

/// What `generate` of transformers must know.
fn generation(shape: &ModelConfig) -> Value {
    let mut object = Map::new();
    if let Some(bos) = shape.bos_token_id() {
        object.insert("bos_token_id".into(), bos.into());
    }
    match shape.eos_token_ids() {
        [] => None,
        [id] => object.insert("eos_token_id".into(), (*id).into()),
        ids => object.insert("eos_token_id".into(), json!(ids)),
    };
    // What a decoder begins with, where an encoder reads the prompt.
    if let Some(start) = shape.decoder_start_token_id() {
        object.insert("decoder_start_token_id".into(), start.into());
        object.insert("pad_token_id".into(), start.into());
    }
    object.into()
}

fn json_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a value is JSON");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use albacore_data::{ChatTemplate, Message};

    use super::*;

    #[test]
    fn the_alpaca_prompt_comes_out_of_the_chat_template_that_is_saved() {
        let special = [("bos_token", "<s>"), ("eos_token", "</s>")];
        let special = special.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        let source = chat_template(&Patterns::alpaca(), true);
        let template = ChatTemplate::new(&source, &special, None).unwrap();
        let ask = |messages: &[Message], open| template.render(messages, None, open).unwrap().text;
        let prompt = Patterns::alpaca().prompt.replace("{instruction}", "Say \"{output}\"\nÿ");
        let user = Message::new("user", "Say \"{output}\"\nÿ");
        assert_eq!(ask(std::slice::from_ref(&user), true), format!("<s>{prompt}"));
        let answer = Message::new("assistant", "No.");
        assert_eq!(ask(&[user, answer], false), format!("<s>{prompt}No.</s>"));
    }
}
