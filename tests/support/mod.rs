//! A tiny model with a byte tokenizer, and runs of the binary on it.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use albacore_model::{Dtype, Llama, LlamaConfig, save};
use assert_cmd::Command;
use candle_core::Device;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder of its own, with a model, data and a config in it.
pub struct Place {
    folder: TempDir,
}

/// What a run of the binary gave.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A config that trains the tiny model for four steps.
pub const CONFIG: &str = r#"[run]
name = "tiny"
[model]
path = "model"
[data]
max_tokens = 64
tokens_per_batch = 128
[[data.sources]]
path = "data.jsonl"
[optim]
learning_rate = 1e-2
[train]
steps = 4
[checkpoint]
every = 2
"#;

impl Place {
    /// A model, twenty records and a config.
    pub fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        write_model(&place.path("model"));
        let record = |number: usize| json!({ "instruction": format!("Say {number}"), "input": "", "output": format!("{number}!") });
        place.write(
            "data.jsonl",
            &(0..20).map(|number| format!("{}\n", record(number))).collect::<String>(),
        );
        place.write("config.toml", CONFIG);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("the file is there")
    }

    /// Changes some text of a file, which must be there.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = self.read(name);
        assert!(text.contains(from), "`{from}` in {text}");
        self.write(name, &text.replacen(from, to, 1));
    }

    /// The binary, to be run in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("albacore"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("NO_COLOR");
        command
    }

    /// Runs the binary; this folder's path is shown as `HERE`, and the binary's as `albacore`.
    pub fn run(&self, arguments: &[&str]) -> Run {
        let Output { status, stdout, stderr } = self.command(arguments).output().expect("it runs");
        let here = self.folder.path().canonicalize().expect("the folder is there");
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).expect("text");
            let binary = assert_cmd::cargo::cargo_bin!("albacore").display().to_string();
            text.replace(&here.display().to_string(), "HERE").replace(&binary, "albacore")
        };
        let code = status.code().unwrap_or(-1);
        Run { code, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs `train config.toml` with more arguments.
    pub fn train(&self, arguments: &[&str]) -> Run {
        self.run(&[&["train", "config.toml", "--threads", "1"], arguments].concat())
    }
}

/// A LLaMA with one layer, random weights and a vocabulary of bytes.
fn write_model(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 260,
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "bos_token_id": 256, "eos_token_id": 257,
    });
    let Value::Object(object) = config.clone() else { unreachable!() };
    let shape = LlamaConfig::from_json(object, "here").expect("a LLaMA");
    let model = Llama::random(shape, 0, &Device::Cpu).expect("a model");
    let entries = save::entries(model.parameters(), Dtype::F32).expect("entries");
    save::write_weights(folder, entries, save::SHARD_BYTES).expect("weights");
    save::write_json(&folder.join("config.json"), &config).expect("a file");
    write_tokenizer(folder, &["<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"]);
}

/// A byte-level tokenizer without merges, these tokens after the bytes.
pub fn write_tokenizer(folder: &Path, special: &[&str]) {
    let mut alphabet: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    alphabet
        .extend((0..256 - alphabet.len() as u32).filter_map(|index| char::from_u32(256 + index)));
    let mut vocabulary: serde_json::Map<_, _> =
        alphabet.iter().enumerate().map(|(id, byte)| (byte.to_string(), json!(id))).collect();
    let mut added = Vec::new();
    for (index, token) in special.iter().enumerate() {
        vocabulary.insert((*token).into(), json!(256 + index));
        added.push(json!({
            "id": 256 + index, "content": token, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }));
    }
    let byte_level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    });
    let template = "{{ bos_token }}{% for message in messages %}{{ '<|' + message.role + '|>' + \
                    message.content + eos_token }}{% endfor %}{% if add_generation_prompt %}\
                    {{ '<|assistant|>' }}{% endif %}";
    let config = json!({
        "bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": template,
        "tokenizer_class": "PreTrainedTokenizerFast",
    });
    save::write_json(&folder.join("tokenizer.json"), &tokenizer).expect("a file");
    save::write_json(&folder.join("tokenizer_config.json"), &config).expect("a file");
}
