//! Makes everything that the quickstarts ship except the weights: the instruction set, the
//! tokenizers and shapes of the two base models (a LLaMA and a T5), and the text that they are trained on.
//!
//! ```text
//! words/*.txt ─► topics ─┬─► corpus (runs/quickstart-base/corpus.jsonl) ─► tokenizers ─► albacore train
//!                        └─► instructions (data/quickstart/instructions.jsonl)
//! ```
//!
//! All text is ours and comes from a seeded generator: run it twice and no byte changes.
//! `scripts/quickstart_base.sh` and `scripts/quickstart_t5.sh` run this, train one of them, and export it.

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
    write_shape(&base, &tokenizer)?;

    let t5 = shipped.with_file_name("quickstart-t5");
    fs::create_dir_all(&t5)?;
    let told = pages[..TOKENIZER_PAGES].iter().cloned();
    let asked = records.iter().map(instructions::Record::text);
    let tokenizer = tokenizer::train_t5(told.chain(asked), VOCABULARY, &t5)?;
    let path = t5.join("tokenizer.json");
    println!("{}: {} tokens", path.display(), tokenizer.get_vocab_size(true));
    write_t5_shape(&t5, &tokenizer)
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
    write_json(base, config, generation)
}

/// The same of the T5: v1.1's layers and v1.0's head, which is the embedding's.
fn write_t5_shape(
    folder: &Path,
    tokenizer: &tokenizers::Tokenizer,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let id = |token| tokenizer.token_to_id(token).expect("a special token has an id");
    let (pad, end) = (id(tokenizer::PAD), id(tokenizer::T5_END));
    let config = json!({
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        "is_encoder_decoder": true,
        "vocab_size": tokenizer.get_vocab_size(true),
        "d_model": 160,
        "d_kv": 40,
        "num_heads": 4,
        "d_ff": 384,
        "feed_forward_proj": "gated-gelu",
        "num_layers": 3,
        "num_decoder_layers": 3,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-6,
        "dropout_rate": 0.0,
        "initializer_factor": 1.0,
        "tie_word_embeddings": true,
        "pad_token_id": pad,
        "eos_token_id": end,
        "decoder_start_token_id": pad,
        "torch_dtype": "bfloat16",
    });
    let generation =
        json!({ "pad_token_id": pad, "eos_token_id": end, "decoder_start_token_id": pad });
    write_json(folder, config, generation)
}

fn write_json(
    folder: &Path,
    config: serde_json::Value,
    generation: serde_json::Value,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    for (name, value) in [("config.json", config), ("generation_config.json", generation)] {
        fs::write(folder.join(name), serde_json::to_string_pretty(&value)? + "\n")?;
    }
    Ok(())
}
