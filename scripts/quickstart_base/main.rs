//! Makes everything that the quickstart ships except the weights: the instruction set, the
//! tokenizer and the shape of the base model, and the text that the base model is trained on.
//!
//! ```text
//! words/*.txt ─► topics ─┬─► corpus (runs/quickstart-base/corpus.jsonl) ─► tokenizer ─► albacore train
//!                        └─► instructions (data/quickstart/instructions.jsonl)
//! ```
//!
//! All text is ours and comes from a seeded generator: run it twice and no byte changes.
//! `scripts/quickstart_base.sh` runs this, trains the base model, and exports it.

#![expect(unreachable_pub, reason = "a binary has no outside: `pub` is for its other modules")]

mod corpus;
mod instructions;
mod random;
mod tokenizer;
mod topic;
mod topics;
mod words;

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::json;

use random::Random;
use words::Words;

const PAGES: usize = 100_000;
const VOCABULARY: usize = 3072;
/// A few thousand pages are plenty to count pairs of letters in; all instructions are read too, so
/// that their words are whole.
const TOKENIZER_PAGES: usize = PAGES / 20;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (shipped, scratch) = match arguments.as_slice() {
        [] => ("data/quickstart", "runs/quickstart-base"),
        [shipped, scratch] => (shipped.as_str(), scratch.as_str()),
        _ => return Err("usage: quickstart-base [SHIPPED SCRATCH]".into()),
    };
    let (shipped, scratch) = (Path::new(shipped), Path::new(scratch));
    let base = shipped.join("base");
    fs::create_dir_all(&base)?;
    fs::create_dir_all(scratch)?;

    let words = Words::read();
    let topics = topics::all(&words);

    let records = instructions::records(&topics, &mut Random::new(1));
    let path = shipped.join("instructions.jsonl");
    write_lines(&path, records.iter().map(serde_json::to_string))?;
    println!("{}: {} records", path.display(), records.len());

    let mut random = Random::new(2);
    let pages: Vec<String> = (0..PAGES).map(|_| corpus::page(&topics, &mut random)).collect();
    let path = scratch.join("corpus.jsonl");
    write_lines(&path, pages.iter().map(|page| serde_json::to_string(&json!({ "text": page }))))?;
    let bytes: usize = pages.iter().map(String::len).sum();
    println!("{}: {} pages, {bytes} bytes", path.display(), pages.len());

    let told = pages[..TOKENIZER_PAGES].iter().cloned();
    let asked = records.iter().map(instructions::Record::text);
    let tokenizer = tokenizer::train(told.chain(asked), VOCABULARY, &base)?;
    println!(
        "{}: {} tokens",
        base.join("tokenizer.json").display(),
        tokenizer.get_vocab_size(true)
    );
    write_shape(&base, &tokenizer)
}

fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = serde_json::Result<String>>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut file = BufWriter::new(File::create(path)?);
    for line in lines {
        writeln!(file, "{}", line?)?;
    }
    Ok(file.flush()?)
}

/// The `config.json` and `generation_config.json` of the base model.
fn write_shape(
    base: &Path,
    tokenizer: &tokenizers::Tokenizer,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let id = |token| tokenizer.token_to_id(token).expect("a special token has an id");
    let (begin, end) = (id(tokenizer::BEGIN), id(tokenizer::END));
    let config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(true),
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "initializer_range": 0.06,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": begin,
        "eos_token_id": end,
        "torch_dtype": "bfloat16",
    });
    let generation = json!({ "bos_token_id": begin, "eos_token_id": end });
    for (name, value) in [("config.json", config), ("generation_config.json", generation)] {
        fs::write(base.join(name), serde_json::to_string_pretty(&value)? + "\n")?;
    }
    Ok(())
}
