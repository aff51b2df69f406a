//! Word by word, and all at once: the same ids, for each kind of tokenizer, whatever the text.

use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer as Inner;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::cuts::Cuts;
use super::words::Words;

/// What texts are made of here: all that decides where a splitter splits.
pub(super) const PARTS: [&str; 40] = [
    "a",
    "the",
    "The",
    "x",
    "5",
    "12",
    "345",
    ".",
    ",",
    "!?",
    "'s",
    "'S",
    "'ll",
    "'",
    "é",
    "e\u{301}",
    "\u{301}",
    "日本",
    "▁",
    "▁▁",
    " ",
    "  ",
    "   ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\u{a0}",
    "\u{200d}",
    "ﬁ",
    "\u{2028}",
    "\u{3000}",
    "ſ",
    "'ſ",
    "²",
    "<e>",
    "<two words>",
    "<",
    "ab",
    "a b",
];

fn token(id: u32, content: &str) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    })
}

fn tokenizer(normalizer: Value, splitter: Value, model: Value, added: Vec<Value>) -> Inner {
    let all = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": splitter, "post_processor": null, "decoder": null, "model": model,
    });
    Inner::from_bytes(serde_json::to_vec(&all).unwrap()).unwrap()
}

/// Pieces that are merged, over all that splitters should keep apart too.
fn merges(
    alphabet: impl IntoIterator<Item = String>,
    merges: &[(&str, &str)],
    rest: Value,
) -> Value {
    let mut pieces: Vec<String> = alphabet.into_iter().collect();
    pieces.sort();
    for (first, second) in merges {
        pieces.push(format!("{first}{second}"));
    }
    let vocabulary: serde_json::Map<_, _> =
        pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), json!(id))).collect();
    let merges: Vec<_> = merges.iter().map(|(first, second)| format!("{first} {second}")).collect();
    let mut model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
        "merges": merges,
    });
    model.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    model
}

pub(super) fn of_bytes(normalizer: Value, splitter: Value) -> Inner {
    // `Ġ` is a space, `Ċ` a line break.
    let merged = [
        ("t", "h"),
        ("th", "e"),
        ("Ġ", "the"),
        ("Ċ", "Ċ"),
        ("ĊĊ", "Ċ"),
        ("Ġ", "Ġ"),
        (".", "Ċ"),
        ("Ġ", "Ċ"),
        ("Ċ", "Ġ"),
        ("a", "Ġ"),
        ("a", "b"),
        ("Ġ", "a"),
        ("1", "2"),
        ("Ġ", "5"),
        ("'", "s"),
        (".", "ĊĊ"),
        ("ĠĠ", "Ġ"),
        ("3", "4"),
    ];
    let alphabet = ByteLevel::alphabet().into_iter().map(String::from);
    let added = vec![token(300, "<e>"), token(301, "<two words>")];
    tokenizer(normalizer, splitter, merges(alphabet, &merged, json!({})), added)
}

fn of_words(splitter: Value, compiled: bool) -> Inner {
    let vocabulary = json!([
        ["<unk>", 0.0],
        ["▁", -2.0],
        ["a", -3.0],
        ["▁the", -1.5],
        ["▁a", -2.5],
        ["b", -3.5],
        ["the", -4.0],
        [".", -3.0],
        ["e", -5.0],
        ["\u{301}", -7.0],
        ["é", -4.5],
        ["5", -4.0],
        ["▁5", -6.0],
        ["fi", -5.0],
        ["s", -4.0],
        ["'", -4.0],
    ]);
    let rest = [
        json!({"type": "Strip", "strip_left": false, "strip_right": true}),
        json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}),
    ];
    let first = json!({"type": "Precompiled", "precompiled_charsmap": in_base64(&rules())});
    let normalizers: Vec<_> = compiled.then_some(first).into_iter().chain(rest).collect();
    let model =
        json!({"type": "Unigram", "unk_id": 0, "vocab": vocabulary, "byte_fallback": false});
    let added = vec![token(20, "<e>"), token(21, "<two words>")];
    tokenizer(json!({"type": "Sequence", "normalizers": normalizers}), splitter, model, added)
}

fn of_pieces(normalizer: Value, splitter: Value, merged: &[(&str, &str)]) -> Inner {
    let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
    let letters = "▁abthex5123,.'s<>".chars().map(String::from);
    let fallback = json!({"byte_fallback": true, "fuse_unk": true, "unk_token": "<0x00>"});
    let model = merges(bytes.chain(letters), merged, fallback);
    tokenizer(normalizer, splitter, model, vec![token(400, "<e>"), token(401, "<two words>")])
}

/// Compiled rules: line breaks and wide spaces become spaces, and a ligature its letters. A double array as Darts
/// writes it, with 256 places for the children of each node.
fn rules() -> Vec<u8> {
    const RULES: [(&str, u32); 3] = [("\n", 0), ("\u{3000}", 0), ("ﬁ", 2)];
    let mut units = vec![0u32; 256];
    units[0] = 256 << 10;
    for (key, value) in RULES {
        let mut base = 256;
        for (place, &byte) in key.as_bytes().iter().enumerate() {
            let (at, next) = (base + usize::from(byte), units.len().max(512));
            base = next;
            units.resize(next + 256, 0);
            let ends = place + 1 == key.len();
            units[at] = ((at ^ next) as u32) << 10 | u32::from(ends) << 8 | u32::from(byte);
            if ends {
                units[next] = 1 << 31 | value;
            }
        }
    }
    let units: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let size = (units.len() as u32).to_le_bytes();
    [size.as_slice(), &units, b" \0fi\0"].concat()
}

const MERGED: [(&str, &str); 8] = [
    ("t", "h"),
    ("th", "e"),
    ("▁", "the"),
    ("▁", "▁"),
    ("▁▁", "▁"),
    ("▁", "a"),
    ("a", "b"),
    ("1", "2"),
];

fn in_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(*three.get(at).unwrap_or(&0)));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn spaces(scheme: &str, split: bool) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split})
}

pub(super) fn bytes(prefix: bool, regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex})
}

pub(super) fn sequence(steps: &[Value]) -> Value {
    json!({"type": "Sequence", "pretokenizers": steps})
}

fn expression(pattern: &str) -> Value {
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    sequence(&[split, bytes(false, false)])
}

/// A tokenizer of each kind, and how its texts are cut.
fn kinds() -> Vec<(Cuts, Inner)> {
    let digits = json!({"type": "Digits", "individual_digits": true});
    let none = || Value::Null;
    let prepend = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    ]});
    let words = |breaks, first_alone| Cuts::Words { breaks, first_alone };
    let pieces = |prepends, first_alone| Cuts::Pieces { prepends, first_alone };
    let gpt2 = |digits, prefixes| Cuts::Gpt2 { digits, prefixes };
    vec![
        (gpt2(false, false), of_bytes(none(), bytes(false, true))),
        (gpt2(true, false), of_bytes(none(), sequence(&[digits.clone(), bytes(false, true)]))),
        (gpt2(true, true), of_bytes(none(), sequence(&[digits.clone(), bytes(true, true)]))),
        (gpt2(false, true), of_bytes(none(), sequence(&[bytes(true, true), digits]))),
        (Cuts::Gpt4, of_bytes(none(), expression(super::cuts::GPT4[0]))),
        (Cuts::Gpt4, of_bytes(json!({"type": "NFC"}), expression(super::cuts::GPT4[1]))),
        (words(true, false), of_words(spaces("always", true), true)),
        (words(false, false), of_words(spaces("always", true), false)),
        (words(true, true), of_words(spaces("first", true), true)),
        (words(true, false), of_words(spaces("never", true), true)),
        (pieces(true, false), of_pieces(prepend, none(), &MERGED)),
        (pieces(false, true), of_pieces(none(), spaces("first", false), &MERGED)),
        (pieces(false, false), of_pieces(none(), spaces("always", false), &MERGED)),
    ]
}

#[test]
fn how_a_tokenizer_may_be_cut_is_seen_by_its_parts() {
    for (cuts, tokenizer) in kinds() {
        assert_eq!(Cuts::of(&tokenizer), Some(cuts));
    }
    // A piece that reaches over a space, an unknown expression, a normaliser that nobody has looked at.
    let reaching = of_pieces(Value::Null, spaces("always", false), &[("a", "▁"), ("a▁", "a")]);
    let unknown = of_bytes(Value::Null, expression(r"\w+"));
    let stripped = of_bytes(
        json!({"type": "Strip", "strip_left": true, "strip_right": true}),
        bytes(false, true),
    );
    for tokenizer in [reaching, unknown, stripped] {
        assert_eq!(Cuts::of(&tokenizer), None);
    }
}

#[test]
fn a_part_is_a_word_with_what_stands_before_it() {
    let parts = |cuts: Cuts, text: &str| {
        let (mut parts, mut start) = (Vec::new(), 0);
        while start < text.len() {
            let end = cuts.end(text.as_bytes(), start);
            parts.push(text[start..end].to_owned());
            start = end;
        }
        parts
    };
    let text = "It is.\n\nA 5  x\té y\n";
    let gpt2 = |digits, prefixes| Cuts::Gpt2 { digits, prefixes };
    assert_eq!(
        parts(gpt2(false, false), text),
        ["It", " is.", "\n", "\n", "A", " 5", " ", " x\té y\n"]
    );
    assert_eq!(parts(gpt2(true, false), "a\n\n5"), ["a", "\n\n", "5"]);
    assert_eq!(parts(gpt2(true, true), "a \nb 5"), ["a", " \nb", " 5"]);
    assert_eq!(parts(Cuts::Gpt4, text), ["It", " is.\n\n", "A", " 5", "  x\té y\n"]);
    assert_eq!(parts(Cuts::Gpt4, "a\nb"), ["a", "\n", "b"]);
    let words = parts(Cuts::Words { breaks: true, first_alone: false }, text);
    assert_eq!(words, ["It", " is.", "\n\nA", " 5", "  x\té y\n"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]
    #[test]
    fn word_by_word_gives_the_ids_of_the_whole_text(
        parts in prop::collection::vec((0..PARTS.len(), prop::bool::weighted(0.3)), 0..24)
    ) {
        thread_local! {
            static KINDS: Vec<(Cuts, Words, Inner)> = kinds().into_iter().map(|(cuts, tokenizer)| {
                (cuts, Words::of(&tokenizer).unwrap(), tokenizer)
            }).collect();
        }
        let mut text = String::new();
        for (part, spaced) in parts {
            text += PARTS[part];
            text += if spaced { " " } else { "" };
        }
        KINDS.with(|kinds| {
            for (cuts, words, tokenizer) in kinds {
                let whole = tokenizer.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
                // Twice: what is not known yet, and what is.
                for _ in 0..2 {
                    prop_assert_eq!(&words.encode(tokenizer, &text).unwrap(), &whole, "{:?} {:?}", cuts, text);
                }
            }
            Ok(())
        })?;
    }
}
