//! `albacore import`: a GGUF file becomes a Hugging Face folder.

use std::path::Path;

use albacore_data::Vocabulary;
use albacore_model::{Gguf, Metadata, import};
use serde_json::json;

use crate::args::Import;
use crate::failure::{OrRefuse, Outcome, Result};
use crate::program::program;
use crate::progress::{count, size};
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the file cannot be imported or the folder is not empty. Whatever goes wrong, the folder
/// is complete or does not exist.
pub fn run(options: &Import, terminal: &Terminal) -> Result {
    let gguf = Gguf::open(&options.gguf).or_refuse()?;
    let vocabulary = vocabulary(gguf.metadata(), &options.gguf).or_refuse()?;
    let write = |folder: &Path| vocabulary.write(folder).map_err(anyhow::Error::from);
    let done = import(&gguf, &options.out, options.dtype, write).or_refuse()?;
    if terminal.json {
        let line = json!({
            "out": options.out, "parameters": done.parameters, "tensors": done.tensors,
            "dtype": done.dtype.to_string(), "bytes": done.bytes, "stored_as": done.stored_as,
        });
        terminal.print(&line.to_string())?;
        return Ok(Outcome::Done);
    }
    let stored = done.stored_as.iter().map(|(kind, tensors)| format!("{tensors} {kind}"));
    terminal.print(&format!(
        "imported `{}` to `{}`: {} parameters in {} tensors ({}), as {}, {}",
        options.gguf.display(),
        options.out.display(),
        count(done.parameters),
        done.tensors,
        stored.collect::<Vec<_>>().join(", "),
        done.dtype,
        size(done.bytes),
    ))?;
    terminal.note(&format!(
        "next: {} complete {} --prompt \"What is the capital of France?\"",
        program(),
        options.out.display()
    ));
    Ok(Outcome::Done)
}

/// What the file says about its tokenizer.
fn vocabulary(metadata: &Metadata, path: &Path) -> albacore_model::Result<Vocabulary> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let text = |key: &str| metadata.text(key).map(|text| text.map(str::to_owned));
    Ok(Vocabulary {
        path: path.to_owned(),
        model: text(&key("model"))?.unwrap_or_default(),
        pre: text(&key("pre"))?,
        tokens: metadata.texts(&key("tokens"))?.unwrap_or_default(),
        scores: metadata.numbers(&key("scores"))?.unwrap_or_default(),
        kinds: metadata.numbers(&key("token_type"))?.unwrap_or_default(),
        merges: metadata.texts(&key("merges"))?.unwrap_or_default(),
        bos: metadata.id(&key("bos_token_id"))?,
        eos: metadata.id(&key("eos_token_id"))?,
        unknown: metadata.id(&key("unknown_token_id"))?,
        padding: metadata.id(&key("padding_token_id"))?,
        add_bos: metadata.flag(&key("add_bos_token"))?,
        add_eos: metadata.flag(&key("add_eos_token"))?,
        add_space_prefix: metadata.flag(&key("add_space_prefix"))?,
        chat_template: text("tokenizer.chat_template")?,
        max_tokens: metadata.count("llama.context_length")?,
    })
}
