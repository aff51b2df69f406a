//! Our unigram tokenizer against SentencePiece's. `scripts/golden_spiece.py` made the lines:
//!
//! ```python
//! processor = sentencepiece.SentencePieceProcessor(model_file="spiece.model")
//! ids = processor.encode(text)
//! ```

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::Tokenizer;

#[derive(Deserialize)]
struct Line {
    text: String,
    ids: Vec<u32>,
}

fn golden() -> (Vec<u8>, Vec<Line>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/spiece");
    let lines = std::fs::read(folder.join("lines.json")).unwrap();
    let model = std::fs::read(folder.join("spiece.model")).unwrap();
    (model, serde_json::from_slice(&lines).unwrap())
}

#[test]
fn ids_are_those_of_sentencepiece() {
    let (model, lines) = golden();
    let (pieces, _) = SentencePiece::read(&model, &Value::Null).unwrap();
    assert!(lines.len() > 300);
    for Line { text, ids } in lines {
        assert_eq!(pieces.encode(&text), ids, "{text:?}");
    }
}

#[test]
fn a_folder_with_this_file_alone_encodes_and_decodes() {
    let (model, _) = golden();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spiece.model"), &model).unwrap();
    let config = json!({ "model_type": "t5", "eos_token_id": 1 });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let ids = tokenizer.encode_prompt("the cat sat on a mat").unwrap();
    assert_eq!(ids.last(), Some(&1));
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "the cat sat on a mat");
    // 120 pieces, and behind them the sentinels, the last first.
    assert_eq!(tokenizer.vocabulary(), 220);
    let spelled =
        tokenizer.encode("<extra_id_0> <extra_id_99><extra_id_100><extra_id_07>").unwrap();
    assert_eq!((spelled[0], spelled[1]), (219, 120));
    assert!(spelled[2..].iter().all(|id| *id < 120), "{spelled:?}");
    assert_eq!(tokenizer.token(219), "<extra_id_0>");
}

#[test]
fn a_damaged_file_is_refused() {
    let (model, _) = golden();
    let read = |bytes: &[u8]| SentencePiece::read(bytes, &Value::Null).map(|_| ());
    assert!(read(&model[..model.len() / 2]).is_err());
    assert_eq!(read(b""), Err("it has no piece for what is unknown".to_owned()));
    // Any byte may be wrong: the text that comes out is, but nothing else breaks.
    for place in (0..model.len()).step_by(97) {
        let mut damaged = model.clone();
        damaged[place] ^= 0x55;
        if let Ok((pieces, _)) = SentencePiece::read(&damaged, &Value::Null) {
            pieces.encode("the ﬁrst café … ‴ 日本");
        }
    }
}
