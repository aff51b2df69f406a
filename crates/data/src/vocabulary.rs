//! The tokenizer that a GGUF file carries, as the files of a Hugging Face folder.
//!
//! A GGUF names its tokens, their kinds, and either merges (byte-level BPE, like GPT-2) or scores
//! (SentencePiece BPE, like LLaMA 2). How text is cut before the merges is only named by a word,
//! [`Vocabulary::pre`]; what the words mean is written here.

mod cut;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{Error, Result};
use cut::Pre;

/// What a GGUF file says about its tokenizer; the keys are given with `tokenizer.ggml.` left out.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// The GGUF file, named in errors.
    pub path: PathBuf,
    /// `model`: `gpt2` or `llama`.
    pub model: String,
    /// `pre`: how text is cut into words, for `gpt2`.
    pub pre: Option<String>,
    /// `tokens`: the text of each id.
    pub tokens: Vec<String>,
    /// `scores`: for `llama`, the higher the earlier a token is formed.
    pub scores: Vec<f32>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub kinds: Vec<f32>,
    /// `merges`: for `gpt2`, pairs divided by a space.
    pub merges: Vec<String>,
    /// `bos_token_id`: begins a text.
    pub bos: Option<u32>,
    /// `eos_token_id`: ends a text.
    pub eos: Option<u32>,
    /// `unknown_token_id`: stands for what has no token.
    pub unknown: Option<u32>,
    /// `padding_token_id`.
    pub padding: Option<u32>,
    /// `add_bos_token`: whether every text begins with `bos`.
    pub add_bos: Option<bool>,
    /// `add_eos_token`: whether every text ends with `eos`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`: for `llama`, whether a space is put before a text.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`: the Jinja template.
    pub chat_template: Option<String>,
    /// `llama.context_length`: the longest text in tokens.
    pub max_tokens: Option<usize>,
}

/// Kinds of tokens, as numbered in the file.
const NORMAL: f32 = 1.0;
const UNKNOWN: f32 = 2.0;
const CONTROL: f32 = 3.0;
const USER_DEFINED: f32 = 4.0;

/// Longest token in bytes that is cut up for merges: a hostile file must not take forever.
const LONGEST: usize = 1024;

impl Vocabulary {
    /// Writes `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, if there is
    /// one, `chat_template.jinja`.
    ///
    /// # Errors
    /// If the vocabulary contradicts itself or is of a kind that is not known, or writing fails.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let tokenizer = self.tokenizer_json()?;
        let special = self.special_tokens();
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": self.max_tokens,
            "clean_up_tokenization_spaces": false,
        });
        let object = config.as_object_mut().expect("written as an object");
        object.retain(|_, value| !value.is_null());
        object.extend(special.clone());
        if let Some(template) = &self.chat_template {
            // Newer programs read the file, older ones the key.
            object.insert("chat_template".into(), json!(template));
            write(&folder.join("chat_template.jinja"), template.as_bytes())?;
        }
        for (name, value) in [
            ("tokenizer.json", &tokenizer),
            ("tokenizer_config.json", &config),
            ("special_tokens_map.json", &Value::Object(special)),
        ] {
            let mut text = serde_json::to_vec_pretty(value).expect("a JSON value is printable");
            text.push(b'\n');
            write(&folder.join(name), &text)?;
        }
        Ok(())
    }

    /// The `tokenizer.json`, proved to load.
    ///
    /// # Errors
    /// If the vocabulary contradicts itself or is of a kind that is not known.
    pub fn tokenizer_json(&self) -> Result<Value> {
        let ids = self.check()?;
        let json = match self.model.as_str() {
            "gpt2" => self.byte_level(&ids)?,
            "llama" => self.sentencepiece(&ids),
            other => {
                return Err(
                    self.wrong(format!("its tokenizer is `{other}`, wanted `gpt2` or `llama`"))
                );
            }
        };
        let text = json.to_string();
        tokenizers::Tokenizer::from_bytes(text.as_bytes())
            .map_err(|error| self.wrong(format!("its tokenizer cannot be used: {error}")))?;
        Ok(json)
    }

    /// The id of each token, if the lists fit one another.
    fn check(&self) -> Result<HashMap<&str, u32>> {
        let count = self.tokens.len();
        for (name, len) in [("scores", self.scores.len()), ("token_type", self.kinds.len())] {
            if len != 0 && len != count {
                let problem =
                    format!("its `tokenizer.ggml.{name}` has {len} entries, wanted {count}");
                return Err(self.wrong(problem));
            }
        }
        let mut ids = HashMap::with_capacity(count);
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(other) = ids.insert(token.as_str(), id as u32) {
                return Err(self.wrong(format!("its tokens {other} and {id} are both `{token}`")));
            }
        }
        let special = [self.bos(), self.eos(), self.unknown(), self.padding];
        if let Some(id) = special.into_iter().flatten().find(|id| *id as usize >= count) {
            return Err(
                self.wrong(format!("it names token {id} as special and has {count} tokens"))
            );
        }
        Ok(ids)
    }

    fn byte_level(&self, ids: &HashMap<&str, u32>) -> Result<Value> {
        let name = self.pre.as_deref().unwrap_or("default");
        let pre = Pre::named(name).ok_or_else(|| {
            self.wrong(format!("how it cuts text into words, `{name}`, is not known"))
        })?;
        if self.merges.is_empty() {
            return Err(self.wrong("it has no `tokenizer.ggml.merges`".into()));
        }
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        });
        Ok(json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens(),
            "normalizer": pre.normalizer,
            "pre_tokenizer": pre.pre_tokenizer(),
            "post_processor": self.post_processor(pre.add_bos),
            "decoder": byte_level,
            "model": bpe(ids, &self.merges, &[("ignore_merges", json!(pre.whole_words))]),
        }))
    }

    fn sentencepiece(&self, ids: &HashMap<&str, u32>) -> Value {
        let space_first = self.add_space_prefix.unwrap_or(true);
        let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
        let mut normalizers = vec![replace(" ", "▁")];
        let mut decoders =
            vec![replace("▁", " "), json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
        if space_first {
            normalizers.insert(0, json!({ "type": "Prepend", "prepend": "▁" }));
            decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        let unknown = self.unknown().map(|id| self.text(id));
        let options = [
            ("unk_token", json!(unknown)),
            ("fuse_unk", json!(true)),
            ("byte_fallback", json!(true)),
        ];
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": self.added_tokens(),
            "normalizer": { "type": "Sequence", "normalizers": normalizers },
            "pre_tokenizer": null,
            "post_processor": self.post_processor(true),
            "decoder": { "type": "Sequence", "decoders": decoders },
            "model": bpe(ids, &self.merges_by_score(ids), &options),
        })
    }

    /// The merges that SentencePiece's scores imply: every way to form a token of two others, best
    /// score first, then by the ids of the whole, of the left and of the right part. From LLaMA 2's
    /// scores this gives the 61,249 merges of its `tokenizer.json` in their order.
    fn merges_by_score(&self, ids: &HashMap<&str, u32>) -> Vec<String> {
        let formed = |id: usize| {
            matches!(self.kind(id), NORMAL | USER_DEFINED) && self.tokens[id].len() <= LONGEST
        };
        let mut merges = Vec::new();
        for (id, token) in self.tokens.iter().enumerate().filter(|(id, _)| formed(*id)) {
            // Adding 0 makes -0 equal to 0: the first piece of a trained vocabulary has it.
            let score = self.scores.get(id).copied().unwrap_or(0.0) + 0.0;
            let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
            let known = cuts.filter_map(|(left, right)| {
                let pair = (*ids.get(left)?, *ids.get(right)?);
                let whole = formed(pair.0 as usize) && formed(pair.1 as usize);
                (whole && !token.contains(' ')).then_some((pair, left, right))
            });
            let mut known: Vec<_> = known.collect();
            known.sort_by_key(|(pair, ..)| *pair);
            merges.extend(known.into_iter().map(|(_, left, right)| (score, left, right)));
        }
        merges.sort_by(|a, b| b.0.total_cmp(&a.0));
        merges.into_iter().map(|(_, left, right)| format!("{left} {right}")).collect()
    }

    // SentencePiece vocabularies that do not say have LLaMA's special tokens.

    fn unknown(&self) -> Option<u32> {
        self.unknown.or((self.model == "llama").then_some(0))
    }

    fn bos(&self) -> Option<u32> {
        self.bos.or((self.model == "llama").then_some(1))
    }

    fn eos(&self) -> Option<u32> {
        self.eos.or((self.model == "llama").then_some(2))
    }

    fn kind(&self, id: usize) -> f32 {
        self.kinds.get(id).copied().unwrap_or(NORMAL)
    }

    /// Tokens that are found in a text before anything else is done to it.
    fn added_tokens(&self) -> Vec<Value> {
        let added = self.tokens.iter().enumerate().filter_map(|(id, content)| {
            let special = match self.kind(id) {
                CONTROL | UNKNOWN => true,
                USER_DEFINED => false,
                _ => return None,
            };
            Some(json!({
                "id": id,
                "content": content,
                "single_word": false,
                "lstrip": false,
                "rstrip": false,
                "normalized": false,
                "special": special,
            }))
        });
        added.collect()
    }

    /// What puts the first and last token around a text.
    fn post_processor(&self, usually_bos: bool) -> Value {
        let bos = self.bos().filter(|_| self.add_bos.unwrap_or(usually_bos));
        let eos = self.eos().filter(|_| self.add_eos.unwrap_or(false));
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let special = |id: u32, part: u32| json!({ "SpecialToken": { "id": self.text(id), "type_id": part } });
        let around = |name: &str, part: u32| {
            let text = json!({ "Sequence": { "id": name, "type_id": part } });
            let first = bos.map(|id| special(id, part)).into_iter();
            first.chain([text]).chain(eos.map(|id| special(id, part))).collect::<Vec<_>>()
        };
        let pair = [around("A", 0), around("B", 1)].concat();
        let tokens = bos.into_iter().chain(eos).map(|id| {
            let text = self.text(id);
            (text.to_owned(), json!({ "id": text, "ids": [id], "tokens": [text] }))
        });
        json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": pair,
            "special_tokens": tokens.collect::<Map<_, _>>(),
        })
    }

    fn special_tokens(&self) -> Map<String, Value> {
        let named = [
            ("bos_token", self.bos()),
            ("eos_token", self.eos()),
            ("unk_token", self.unknown()),
            ("pad_token", self.padding),
        ];
        named
            .into_iter()
            .filter_map(|(name, id)| Some((name.into(), json!(self.text(id?)))))
            .collect()
    }

    fn text(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    fn wrong(&self, message: String) -> Error {
        Error::Tokenizer { path: self.path.clone(), message }
    }
}

/// The `model` of a `tokenizer.json`.
fn bpe(ids: &HashMap<&str, u32>, merges: &[String], options: &[(&str, Value)]) -> Value {
    let mut vocabulary: Vec<_> = ids.iter().collect();
    vocabulary.sort_by_key(|(_, id)| **id);
    let vocabulary: Map<_, _> =
        vocabulary.into_iter().map(|(token, id)| (token.to_string(), json!(id))).collect();
    let mut model = json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
    });
    for (name, value) in options {
        model[*name] = value.clone();
    }
    model["vocab"] = Value::Object(vocabulary);
    model["merges"] = json!(merges);
    model
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|error| Error::Tokenizer {
        path: path.into(),
        message: format!("cannot be written: {error}"),
    })
}

#[cfg(test)]
mod tests;
