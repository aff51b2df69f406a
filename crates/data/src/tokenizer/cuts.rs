//! Where a text may be cut so that the ids of its parts, one behind the other, are those of the whole.
//!
//! Cuts lie only in and around a run of spaces and line breaks between two characters of plain ASCII, and only
//! for tokenizers of which it is known that no token reaches over them, whatever else the text holds:
//!
//! | what splits a text | where such a run is cut |
//! | --- | --- |
//! | the expression of GPT-2 | before the run, before its last, and behind it if that is a line break |
//! | that of LLaMA 3 or Qwen2, after GPT-4's | before it, unless it begins with a line break behind punctuation; behind its last line break |
//! | words that begin with `▁` | before it, if all of it becomes spaces |
//! | nothing, but no piece has `▁` behind another character | before a run of spaces |
//!
//! The two neighbours matter: a combining mark behind a space, or a digit that is split off before, moves them.

use serde_json::Value;
use tokenizers::{ModelWrapper, NormalizedString, Normalizer};

/// The expressions of LLaMA 3 and of Qwen2: they differ in how many digits stay together.
pub(super) const GPT4: [&str; 2] = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
];
/// Normalisers that change each character, or each with the marks behind it, for itself, and leave plain ASCII
/// between spaces what it is, or at least as long.
const LOCAL: [&str; 5] = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"];
/// Stands for a space.
const SPACE: &str = "▁";

/// How a tokenizer's texts may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cuts {
    /// The expression of GPT-2; `digits` are split off before, and end a run of spaces as the text's end does. If it
    /// `prefixes` what begins without a space, parts begin with one.
    Gpt2 { digits: bool, prefixes: bool },
    /// The expression of GPT-4.
    Gpt4,
    /// Each word begins with `▁`; line breaks may become spaces.
    Words { breaks: bool, first_alone: bool },
    /// `▁` begins pieces; the space before a part is left out where the tokenizer puts one before each text.
    Pieces { prepends: bool, first_alone: bool },
}

impl Cuts {
    /// How this tokenizer's texts may be cut, if that is known.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        if matches!(tokenizer.get_model(), ModelWrapper::BPE(model) if model.dropout.is_some()) {
            return None;
        }
        let normalizers =
            steps(serde_json::to_value(tokenizer.get_normalizer()).ok()?, "normalizers");
        let splitters =
            steps(serde_json::to_value(tokenizer.get_pre_tokenizer()).ok()?, "pretokenizers");
        let kinds: Vec<_> = splitters.iter().map(kind).collect();
        let is_local = normalizers.iter().all(|step| LOCAL.contains(&kind(step)));
        let gpt2 = |splitter: &Value, digits| {
            let prefixes = splitter["add_prefix_space"] == true;
            (is_local && splitter["use_regex"] == true).then_some(Self::Gpt2 { digits, prefixes })
        };
        match (kinds.as_slice(), splitters.as_slice()) {
            (["ByteLevel"] | ["ByteLevel", "Digits"], [first, ..]) => gpt2(first, false),
            (["Digits", "ByteLevel"], [_, second]) => gpt2(second, true),
            (["Split", "ByteLevel"], [split, bytes]) if is_local => {
                let pattern = split["pattern"]["Regex"].as_str();
                let isolates = split["behavior"] == "Isolated" && split["invert"] == false;
                let bare = bytes["add_prefix_space"] == false && bytes["use_regex"] == false;
                (pattern.is_some_and(|known| GPT4.contains(&known)) && isolates && bare)
                    .then_some(Self::Gpt4)
            }
            (["Metaspace"], [spaces]) if spaces["replacement"] == SPACE => {
                let first_alone = spaces["prepend_scheme"] == "first";
                match spaces["split"] == true {
                    true => words(tokenizer, &normalizers, first_alone),
                    false if normalizers.is_empty() => pieces(tokenizer, false, first_alone),
                    false => None,
                }
            }
            ([], []) => {
                let prepends = |step: &Value| kind(step) == "Prepend" && step["prepend"] == SPACE;
                let replaces = |step: &Value| {
                    kind(step) == "Replace"
                        && step["pattern"]["String"] == " "
                        && step["content"] == SPACE
                };
                match normalizers.as_slice() {
                    [first, second] if prepends(first) && replaces(second) => {
                        pieces(tokenizer, true, false)
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether a text with added tokens is another matter: what stands behind one is not what begins a text.
    pub(super) fn first_alone(self) -> bool {
        match self {
            Self::Words { first_alone, .. } | Self::Pieces { first_alone, .. } => first_alone,
            Self::Gpt2 { .. } | Self::Gpt4 => false,
        }
    }

    /// What is put through the tokenizer for a part that does not begin its text.
    pub(super) fn inner_part(self, part: &str) -> &str {
        match self {
            Self::Pieces { prepends: true, .. } => part.strip_prefix(' ').unwrap_or(part),
            _ => part,
        }
    }

    /// Where the part that begins at `start` ends.
    pub(super) fn end(self, text: &[u8], start: usize) -> usize {
        let mut at = start;
        while let Some(found) = text[at..].iter().position(is_blank) {
            let mut run = at + found;
            while run > 0 && is_blank(&text[run - 1]) {
                run -= 1;
            }
            at += found;
            at += text[at..].iter().position(|byte| !is_blank(byte)).unwrap_or(text.len() - at);
            let (Some(&before), Some(&behind)) = (text[..run].last(), text.get(at)) else {
                continue;
            };
            if before.is_ascii_graphic() && behind.is_ascii_graphic() {
                let cuts = self.in_run(before, &text[run..at], behind);
                if let Some(cut) =
                    cuts.into_iter().flatten().map(|cut| run + cut).find(|cut| *cut > start)
                {
                    return cut;
                }
            }
        }
        text.len()
    }

    /// The cuts in a run of spaces and line breaks, in order.
    fn in_run(self, before: u8, run: &[u8], behind: u8) -> [Option<usize>; 3] {
        let (len, last) = (run.len(), run[run.len() - 1]);
        match self {
            Self::Gpt2 { digits, prefixes } => {
                let cuts = match digits && behind.is_ascii_digit() {
                    // The digit begins a part of its own, and what stands before it ends one.
                    true => [Some(0), None, Some(len)],
                    false => [Some(0), Some(len - 1), (last == b'\n').then_some(len)],
                };
                cuts.map(|cut| cut.filter(|cut| !prefixes || run.get(*cut) == Some(&b' ')))
            }
            Self::Gpt4 => {
                let first = run[0] == b' ' || before.is_ascii_alphanumeric();
                let behind_breaks = run.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                [first.then_some(0), None, behind_breaks]
            }
            Self::Words { breaks: true, .. } => [Some(0), None, None],
            Self::Words { .. } | Self::Pieces { .. } => {
                [run.iter().all(|byte| *byte == b' ').then_some(0), None, None]
            }
        }
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\n')
}

/// The steps of a normaliser or splitter.
fn steps(value: Value, key: &str) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Object(mut object) if object.contains_key(key) => match object[key].take() {
            Value::Array(list) => list,
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or_default()
}

/// For words that begin with `▁`, if what comes before they are split leaves them as they are.
fn words(
    tokenizer: &tokenizers::Tokenizer,
    normalizers: &[Value],
    first_alone: bool,
) -> Option<Cuts> {
    let joins_spaces = |step: &Value| {
        kind(step) == "Replace" && step["pattern"]["Regex"] == " {2,}" && step["content"] == SPACE
    };
    let keeps_words = |(place, step): (usize, &Value)| match kind(step) {
        "Precompiled" => place == 0,
        "Strip" => step["strip_left"] == false,
        known => joins_spaces(step) || LOCAL.contains(&known),
    };
    if !normalizers.iter().enumerate().all(keeps_words) {
        return None;
    }
    let normal = |text: &str| {
        let mut text = NormalizedString::from(text);
        tokenizer.get_normalizer().map(|steps| steps.normalize(&mut text)).transpose().ok()?;
        Some(text.get().to_owned())
    };
    let spaced = normal("a a").filter(|found| found == "a a")?;
    // The rules that are compiled look at each character with its marks, and a line break has none.
    let compiled = normalizers.first().is_some_and(|step| kind(step) == "Precompiled");
    let breaks = compiled && normal("a\na").as_ref() == Some(&spaced);
    Some(Cuts::Words { breaks, first_alone })
}

/// For pieces that are merged over the whole text, if none is of what stands on both sides of a space.
fn pieces(tokenizer: &tokenizers::Tokenizer, prepends: bool, first_alone: bool) -> Option<Cuts> {
    let ModelWrapper::BPE(_) = tokenizer.get_model() else { return None };
    let vocabulary = tokenizer.get_vocab(false);
    let reaches_over = |piece: &String| piece.trim_start_matches(SPACE).contains(SPACE);
    (vocabulary.contains_key(SPACE) && !vocabulary.keys().any(reaches_over))
        .then_some(Cuts::Pieces { prepends, first_alone })
}
