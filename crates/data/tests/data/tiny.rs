//! A tiny model folder for tests: byte-level, so that every character is a token and ids can be
//! checked by hand.
//!
//! Ids 0 to 4 are the special tokens; byte `b` is id `5 + b`; merges follow.

use std::path::Path;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

pub(crate) const BOS: u32 = 0;
pub(crate) const EOS: u32 = 1;
pub(crate) const TURN_ENDS: u32 = 4;
const SPECIAL: [&str; 5] = ["<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"];

pub(crate) const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + \
    m['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// What the folder is to hold.
pub(crate) struct Tiny<'a> {
    pub(crate) bos: bool,
    pub(crate) eos: &'a str,
    pub(crate) merges: &'a [(&'a str, &'a str)],
    pub(crate) chat_template: Option<&'a str>,
}

impl Default for Tiny<'_> {
    fn default() -> Self {
        Self { bos: true, eos: "</s>", merges: &[], chat_template: Some(CHATML) }
    }
}

impl Tiny<'_> {
    pub(crate) fn write(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        self.write_into(folder.path());
        folder
    }

    pub(crate) fn write_into(&self, folder: &Path) {
        let mut vocabulary = Map::new();
        let mut add = |token: &str| vocabulary.insert(token.into(), json!(vocabulary.len()));
        SPECIAL.iter().for_each(|token| drop(add(token)));
        (0..=255).for_each(|byte| drop(add(&letter(byte).to_string())));
        self.merges.iter().for_each(|(left, right)| drop(add(&format!("{left}{right}"))));
        let added = SPECIAL.iter().enumerate().map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        });
        let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false,
                                "trim_offsets": true, "use_regex": true});
        let with_bos = json!({"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}}});
        let merges: Vec<_> = self.merges.iter().map(|(left, right)| json!([left, right])).collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added.collect::<Vec<_>>(),
            "normalizer": null, "pre_tokenizer": byte_level, "decoder": byte_level,
            "post_processor": if self.bos { with_bos } else { byte_level.clone() },
            "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
        });
        let mut config = json!({"bos_token": "<s>", "eos_token": {"content": self.eos},
                                "pad_token": "</s>"});
        if let Some(template) = self.chat_template {
            config["chat_template"] = template.into();
        }
        write(folder, "tokenizer.json", &tokenizer);
        write(folder, "tokenizer_config.json", &config);
    }
}

pub(crate) fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

/// The letter by which byte-level tokenizers spell a byte: its own if it can be seen, else one from
/// U+0100 on.
fn letter(byte: u8) -> char {
    let seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if seen(&byte) {
        return byte.into();
    }
    let before = (0..byte).filter(|byte| !seen(byte)).count();
    char::from_u32(0x100 + before as u32).unwrap()
}
