//! How byte-level tokenizers cut text into words before they merge bytes.

use serde_json::{Value, json};

/// How text is cut into words before byte-level merges.
enum Cut {
    /// By GPT-2's pattern.
    Gpt2,
    /// Each digit alone, the rest by GPT-2's pattern.
    DigitsThenGpt2,
    /// By these patterns, one after another.
    Patterns(&'static [&'static str]),
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// What the word under `tokenizer.ggml.pre` means.
pub(super) struct Pre {
    cut: Cut,
    /// A word that is a token as a whole is not merged from pieces.
    pub(super) whole_words: bool,
    /// Whether every text begins with a BOS where the file does not say.
    pub(super) add_bos: bool,
    /// What is done to the text first; null for nothing.
    pub(super) normalizer: Value,
}

impl Pre {
    /// The words are those of llama.cpp (`src/llama-vocab.cpp`); what they mean is what the
    /// `tokenizer.json` of the models that they are named after says.
    pub(super) fn named(name: &str) -> Option<Self> {
        let cut = match name {
            "gpt-2" | "phi-2" | "olmo" | "mpt" | "jais" | "gigachat" | "roberta-bpe" => Cut::Gpt2,
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" => Cut::DigitsThenGpt2,
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "dbrx" | "smaug-bpe" => {
                Cut::Patterns(&[LLAMA3])
            }
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "megrez" => Cut::Patterns(&[QWEN2]),
            "tekken" => Cut::Patterns(&[TEKKEN]),
            "deepseek-coder" => Cut::Patterns(&[
                r"[\r\n]",
                r"\s?\p{L}+",
                r"\s?\p{P}+",
                "[一-龥ࠀ-一가-\u{d7ff}]+",
                r"\p{N}",
            ]),
            "default" => Cut::Patterns(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9]{3}"]),
            _ => return None,
        };
        let llama3 = matches!(name, "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "tekken");
        let normalizer = if name == "qwen2" { json!({ "type": "NFC" }) } else { Value::Null };
        Some(Self { cut, whole_words: llama3, add_bos: llama3, normalizer })
    }

    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub(super) fn pre_tokenizer(&self) -> Value {
        let byte_level = |use_regex: bool| {
            json!({
                "type": "ByteLevel",
                "add_prefix_space": false,
                "trim_offsets": true,
                "use_regex": use_regex,
            })
        };
        let steps = match self.cut {
            Cut::Gpt2 => return byte_level(true),
            Cut::DigitsThenGpt2 => {
                vec![json!({ "type": "Digits", "individual_digits": true }), byte_level(true)]
            }
            Cut::Patterns(patterns) => {
                let splits = patterns.iter().map(|pattern| {
                    json!({
                        "type": "Split",
                        "pattern": { "Regex": pattern },
                        "behavior": "Isolated",
                        "invert": false,
                    })
                });
                splits.chain([byte_level(false)]).collect()
            }
        };
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}
