//! ByT5's tokenizer, which no file holds: a token for each byte (Xue et al., 2022, "ByT5", section 3).

use serde_json::{Value, json};

/// Ids before those of the bytes: `<pad>`, `</s>` and `<unk>`.
const BEFORE: [&str; 3] = ["<pad>", "</s>", "<unk>"];
/// The first id behind the bytes.
const FIRST: u64 = 259;
/// Sentinel tokens behind the bytes, unless the configuration says how many.
const EXTRA: u64 = 125;

/// Whether `tokenizer_config.json` asks for it.
pub(crate) fn is_meant(config: &Value) -> bool {
    config.get("tokenizer_class").and_then(Value::as_str) == Some("ByT5Tokenizer")
}

/// The `tokenizer.json` that does the same.
pub(crate) fn tokenizer(config: &Value) -> Vec<u8> {
    let mut vocabulary = serde_json::Map::new();
    let mut added = Vec::new();
    let mut add = |id: u64, token: String, strip: bool| {
        added.push(json!({
            "id": id, "content": token, "single_word": false, "lstrip": strip, "rstrip": strip,
            "normalized": false, "special": true,
        }));
        (token, json!(id))
    };
    let ends = BEFORE.iter().enumerate().map(|(id, token)| add(id as u64, (*token).into(), true));
    vocabulary.extend(ends.collect::<Vec<_>>());
    let sentinels = sentinels(config).into_iter().map(|(id, token)| add(id, token, false));
    vocabulary.extend(sentinels.collect::<Vec<_>>());
    vocabulary.extend((0..=255u8).zip(alphabet()).map(|(byte, spelled)| {
        (spelled.to_string(), json!(u64::from(byte) + BEFORE.len() as u64))
    }));
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": [],
        },
    });
    serde_json::to_vec(&tokenizer).expect("a value is JSON")
}

/// The tokens behind the bytes: those that the configuration lists, or as many as it says.
fn sentinels(config: &Value) -> Vec<(u64, String)> {
    let Some(Value::Object(listed)) = config.get("added_tokens_decoder") else {
        let extra = config.get("extra_ids").and_then(Value::as_u64).unwrap_or(EXTRA).min(1 << 16);
        return (0..extra).map(|n| (FIRST + n, format!("<extra_id_{n}>"))).collect();
    };
    let of = |(id, token): (&String, &Value)| {
        let id = id.parse().ok().filter(|id| (FIRST..1 << 16).contains(id))?;
        Some((id, token.get("content")?.as_str()?.to_owned()))
    };
    let mut tokens: Vec<_> = listed.iter().filter_map(of).collect();
    tokens.sort();
    tokens
}

/// How byte-level tokenizers spell each byte: printable ones as they are, the others by characters
/// from 256 on.
fn alphabet() -> impl Iterator<Item = char> {
    let mut next = 256;
    (0..=255u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as char,
        _ => {
            next += 1;
            char::from_u32(next - 1).expect("a character of the Latin alphabets")
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::Tokenizer;

    #[test]
    fn a_byte_is_a_token_and_marks_keep_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let config =
            r#"{"tokenizer_class": "ByT5Tokenizer", "eos_token": "</s>", "extra_ids": 125}"#;
        write("tokenizer_config.json", config);
        write("config.json", r#"{"model_type": "t5", "is_encoder_decoder": true}"#);
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        assert_eq!(tokenizer.encode("say: pp").unwrap(), [118, 100, 124, 61, 35, 115, 115]);
        assert_eq!(tokenizer.encode_prompt("é\n").unwrap(), [0xc3 + 3, 0xa9 + 3, 13, 1]);
        assert_eq!(tokenizer.encode("a<extra_id_1>b").unwrap(), [100, 260, 101]);
        assert_eq!((tokenizer.eos(), tokenizer.vocabulary()), (1, 384));
        let listed = r#"{"tokenizer_class": "ByT5Tokenizer", "eos_token": "</s>", "extra_ids": 0,
            "added_tokens_decoder": {"1": {"content": "</s>"}, "259": {"content": "<x>"}}}"#;
        write("tokenizer_config.json", listed);
        let other = Tokenizer::load(folder.path()).unwrap();
        assert_eq!((other.encode("<x>").unwrap(), other.vocabulary()), (vec![259], 260));
        let all: String = (1..0x250u32).filter_map(char::from_u32).collect();
        let ids = tokenizer.encode(&all).unwrap();
        assert_eq!(ids.iter().map(|id| (id - 3) as u8).collect::<Vec<_>>(), all.as_bytes());
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), all);
    }
}
