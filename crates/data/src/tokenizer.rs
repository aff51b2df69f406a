//! The tokenizer of a model folder, and what its files say about special tokens.

mod cuts;
#[cfg(test)]
mod same_ids_tests;
pub(crate) mod seen;
mod settings;
mod words;
#[cfg(test)]
mod words_tests;

use std::collections::BTreeMap;
use std::io::ErrorKind::{NotADirectory, NotFound};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokenizers::PostProcessorWrapper;

use crate::sentencepiece::SentencePiece;
use crate::{Defect, Error, Result, TextStream, byte_tokenizer};
use settings::{CHAT_TEMPLATE, CONFIG, Settings, ids_of, if_there, read_json};
use words::Words;

/// SentencePiece's own file, which T5 folders hold.
const PIECES: &str = "spiece.model";

/// The ids of a text and the bytes that each stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The ids.
    pub ids: Vec<u32>,
    /// The bytes of the text; the tokens of a character that is spread over several all have its
    /// bytes.
    pub bytes: Vec<Range<usize>>,
}

/// Text to ids and back.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// What turns text into ids, where the folder has SentencePiece's file alone.
    pieces: Option<SentencePiece>,
    /// What encodes word by word, where texts may be cut so.
    words: Option<Words>,
    folder: PathBuf,
    hash: [u8; 32],
    highest: u32,
    bos: Option<u32>,
    eos: u32,
    eos_ids: Vec<u32>,
    before: Vec<u32>,
    has_encoder: bool,
    special: BTreeMap<String, String>,
    chat_templates: Vec<(String, String)>,
}

impl Tokenizer {
    /// Loads the tokenizer of a Hugging Face folder: `tokenizer.json` (or T5's
    /// `spiece.model`; ByT5 needs none), and, as far as they are
    /// there, `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json`,
    /// `config.json` and `chat_template.jinja`.
    ///
    /// # Errors
    /// If there is no `tokenizer.json`, a file cannot be read or is malformed, or nothing names the
    /// token that ends a text.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        let (bytes, pieces) = match std::fs::read(&path) {
            Ok(bytes) => (bytes, None),
            // The second: `folder` is a file, such as a GGUF.
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => made(folder)?,
            Err(source) => return Err(Error::Read { path, source }),
        };
        let wrong = |message: String| Error::Tokenizer { path: path.clone(), message };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|error| wrong(format!("is no tokenizer: {error}")))?;
        // What the file says about batches would cut and pad our texts behind our back.
        inner.with_padding(None);
        inner.with_truncation(None).expect("no truncation is a valid truncation");
        keep_spaces_in_offsets(&mut inner);

        let files = Settings::read(folder)?;
        let id_of = |name: &str| inner.token_to_id(files.special.get(name)?);
        let id_in = |file: &Value, name: &str| file.get(name).map(ids_of).unwrap_or_default();
        let mut eos_ids: Vec<u32> = id_of("eos_token").into_iter().collect();
        for file in [&files.generation, &files.model] {
            let new = id_in(file, "eos_token_id").into_iter();
            eos_ids.extend(new.filter(|id| !eos_ids.contains(id)).collect::<Vec<_>>());
        }
        let Some(&eos) = eos_ids.first() else {
            return Err(Error::NoEos { folder: folder.into() });
        };
        let bos = id_of("bos_token").or(id_in(&files.model, "bos_token_id").first().copied());
        let before = match files.tokenizer.get("add_bos_token").and_then(Value::as_bool) {
            Some(true) => bos.into_iter().collect(),
            Some(false) => Vec::new(),
            None => put_before_a_text(&inner).map_err(|error| wrong(error.to_string()))?,
        };
        let highest = inner.get_vocab(true).into_values().max();
        let highest = highest.ok_or_else(|| wrong("has no token".into()))?;
        let mut special = files.special;
        for (name, id) in [("bos_token", bos), ("eos_token", Some(eos))] {
            if let Some(text) = id.and_then(|id| inner.id_to_token(id)) {
                special.entry(name.into()).or_insert(text);
            }
        }
        let hash = files.hash.chain_update(&bytes).finalize().into();
        let has_encoder = is_encoder_decoder(&files.model);
        let words = if pieces.is_none() { Words::of(&inner) } else { None };
        let (folder, chat_templates) = (folder.to_owned(), files.chat_templates);
        Ok(Self {
            inner,
            pieces,
            words,
            folder,
            hash,
            highest,
            bos,
            eos,
            eos_ids,
            before,
            has_encoder,
            special,
            chat_templates,
        })
    }

    /// Checks that this tokenizer belongs to a model whose vocabulary has `rows` rows.
    ///
    /// Models round their vocabulary up, by a few percent at most; so a tokenizer that leaves more
    /// than a tenth of the rows without a token is another model's.
    ///
    /// # Errors
    /// If an id is out of range, or more than a tenth of the rows have no token.
    pub fn check_model(&self, rows: usize) -> Result<()> {
        let tokens = self.inner.get_vocab_size(true);
        let why = if self.vocabulary() > rows {
            "ids that the model does not have"
        } else if tokens < rows - rows / 10 {
            "too many rows that no token uses"
        } else {
            return Ok(());
        };
        let (folder, highest) = (self.folder.clone(), self.highest);
        Err(Error::Vocabulary { folder, tokens, highest, rows, why })
    }

    /// Ids lie below this.
    pub fn vocabulary(&self) -> usize {
        self.highest as usize + 1
    }

    /// The folder it was loaded from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// SHA-256 of all files that decide how it works.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The token that begins a text, if the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that is put after an answer.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// All tokens that end an answer: [`Self::eos`], and those that the generation settings name.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// What the tokenizer puts before a text: its BOS, or nothing.
    pub fn before(&self) -> &[u32] {
        &self.before
    }

    /// Whether the model reads a prompt with an encoder, apart from the answer.
    pub fn has_encoder(&self) -> bool {
        self.has_encoder
    }

    /// The text of special tokens by their Hugging Face names, such as `bos_token`.
    pub fn special_tokens(&self) -> &BTreeMap<String, String> {
        &self.special
    }

    /// The model's chat templates and their names; the unnamed one is `default`.
    pub fn chat_templates(&self) -> &[(String, String)] {
        &self.chat_templates
    }

    /// The file that a chat template stands in.
    pub(crate) fn chat_template_file(&self, name: &str) -> PathBuf {
        let own = self.folder.join(CHAT_TEMPLATE);
        if name == "default" && own.exists() { own } else { self.folder.join(CONFIG) }
    }

    /// Whether an id is a control token, such as `<|im_end|>`.
    pub fn is_special(&self, id: u32) -> bool {
        self.eos_ids.contains(&id)
            || self
                .inner
                .get_added_vocabulary()
                .get_added_tokens_decoder()
                .get(&id)
                .is_some_and(|token| token.special)
    }

    /// The ids of a text, nothing added. Special tokens that the text spells become their ids.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Defect> {
        if let Some(pieces) = &self.pieces {
            return Ok(pieces.encode(text));
        }
        if let Some(words) = &self.words {
            return words.encode(&self.inner, text).map_err(defect);
        }
        let encoding = self.inner.encode_fast(text, false).map_err(defect)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The ids of a text that begins a sequence: BOS first where the tokenizer adds it, and once
    /// even if the text spells it.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode_start(&self, text: &str) -> Result<Vec<u32>, Defect> {
        let ids = self.encode(text)?;
        if ids.starts_with(&self.before) {
            return Ok(ids);
        }
        Ok([self.before.as_slice(), &ids].concat())
    }

    /// The ids of a text that is answered: as of one that begins a sequence, and behind it EOS where an
    /// encoder reads it, once even if the text spells it.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, Defect> {
        let mut ids = self.encode_start(text)?;
        if self.has_encoder && ids.last() != Some(&self.eos) {
            ids.push(self.eos);
        }
        Ok(ids)
    }

    /// The ids of a text and the bytes that each stands for.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text.
    pub fn encode_with_bytes(&self, text: &str) -> Result<Tokens, Defect> {
        let encoding = self.inner.encode(text, false).map_err(defect)?;
        let bytes = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(Tokens { ids: encoding.get_ids().to_vec(), bytes: bytes.collect() })
    }

    /// The text of some ids.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Defect> {
        self.inner.decode(ids, skip_special).map_err(defect)
    }

    /// The entry of the vocabulary for an id, as the tokenizer spells it; empty if there is none.
    pub fn token(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// The id of an entry of the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Turns ids into text one by one, whole characters at a time.
    pub fn stream(&self, skip_special: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Whether `config.json` is that of an encoder and a decoder.
fn is_encoder_decoder(model: &Value) -> bool {
    let says = model.get("is_encoder_decoder").and_then(Value::as_bool);
    let kind = model.get("model_type").and_then(Value::as_str);
    says.unwrap_or(matches!(kind, Some("t5" | "mt5")))
}

/// What the post-processor puts before a text.
fn put_before_a_text(tokenizer: &tokenizers::Tokenizer) -> tokenizers::Result<Vec<u32>> {
    let plain = tokenizer.encode_fast("a", false)?.get_ids().to_vec();
    let dressed = tokenizer.encode_fast("a", true)?.get_ids().to_vec();
    let start = (0..dressed.len()).find(|start| dressed[*start..].starts_with(&plain));
    Ok(dressed[..start.unwrap_or(0)].to_vec())
}

/// Lets a token's offsets cover the space that belongs to it. Byte-level tokenizers cut it off, and
/// then one cannot see that ` answer` begins before the space.
fn keep_spaces_in_offsets(tokenizer: &mut tokenizers::Tokenizer) {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(object) => {
                if let Some(trim) = object.get_mut("trim_offsets") {
                    *trim = json!(false);
                }
                object.values_mut().for_each(walk);
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    let Some(processor) = tokenizer.get_post_processor() else { return };
    let Ok(mut value) = serde_json::to_value(processor) else { return };
    walk(&mut value);
    if let Ok(processor) = serde_json::from_value::<PostProcessorWrapper>(value) {
        tokenizer.with_post_processor(Some(processor));
    }
}

/// A `tokenizer.json` made of what a folder holds instead of it, and what encodes in its place.
fn made(folder: &Path) -> Result<(Vec<u8>, Option<SentencePiece>)> {
    let config = read_json(folder, CONFIG, &mut Sha256::new()).unwrap_or_default();
    if byte_tokenizer::is_meant(&config) {
        return Ok((byte_tokenizer::tokenizer(&config), None));
    }
    let path = folder.join(PIECES);
    let bytes = if_there(&path, std::fs::read(&path)).ok().flatten();
    let Some(bytes) = bytes else { return Err(no_tokenizer(folder)) };
    match SentencePiece::read(&bytes, &config) {
        Ok((pieces, json)) => Ok((json, Some(pieces))),
        Err(problem) => {
            let message = format!("is no tokenizer that can be used: {problem}");
            Err(Error::Tokenizer { path, message })
        }
    }
}

fn no_tokenizer(folder: &Path) -> Error {
    let others = ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"];
    let found = others.iter().find(|name| folder.join(name).exists());
    Error::NoTokenizer { folder: folder.into(), found: found.map(|name| name.to_string()) }
}

fn defect(error: tokenizers::Error) -> Defect {
    Defect::Tokenizer(error.to_string())
}
