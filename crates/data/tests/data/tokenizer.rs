//! The tokenizer and its files.

use std::collections::HashSet;

use albacore_data::{Error, TextStream, Tokenizer};
use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use crate::tiny::{BOS, EOS, TURN_ENDS, Tiny, write};

/// All files that may lie beside `tokenizer.json`.
const SIDE_FILES: [&str; 5] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
    "chat_template.jinja",
];

fn load(tiny: &Tiny<'_>) -> Tokenizer {
    Tokenizer::load(tiny.write().path()).unwrap()
}

fn streamed(mut stream: TextStream<'_>, ids: &[u32]) -> Vec<String> {
    let mut pieces: Vec<_> = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

#[test]
fn special_tokens_come_from_all_files() {
    let folder = Tiny::default().write();
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": [TURN_ENDS, EOS]}));
    write(folder.path(), "config.json", &json!({"eos_token_id": 3, "bos_token_id": 2}));
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(BOS), EOS));
    assert_eq!(tokenizer.eos_ids(), [EOS, TURN_ENDS, 3]);
    assert_eq!(tokenizer.vocabulary(), 261);
    assert_eq!(tokenizer.special_tokens()["eos_token"], "</s>");
    assert!(tokenizer.is_special(TURN_ENDS) && !tokenizer.is_special(100));
}

#[test]
fn the_config_may_say_whether_bos_is_added() {
    let folder = Tiny::default().write();
    assert_eq!(Tokenizer::load(folder.path()).unwrap().before(), [BOS]);
    write(
        folder.path(),
        "tokenizer_config.json",
        &json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": false}),
    );
    assert_eq!(Tokenizer::load(folder.path()).unwrap().before(), [] as [u32; 0]);
}

#[test]
fn the_template_file_wins_over_the_config() {
    let folder = Tiny { chat_template: Some("old"), ..Tiny::default() }.write();
    let templates = || Tokenizer::load(folder.path()).unwrap().chat_templates().to_vec();
    assert_eq!(templates(), [("default".into(), "old".into())]);
    std::fs::write(folder.path().join("chat_template.jinja"), "new").unwrap();
    assert_eq!(templates(), [("default".into(), "new".into())]);
    let named =
        json!([{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]);
    write(
        folder.path(),
        "tokenizer_config.json",
        &json!({"eos_token": "</s>", "chat_template": named}),
    );
    let expected = [("default".into(), "new".into()), ("tool_use".into(), "b".into())];
    assert_eq!(templates(), expected);
}

#[test]
fn a_change_of_any_file_changes_the_hash() {
    let folder = Tiny::default().write();
    let hash = || Tokenizer::load(folder.path()).unwrap().hash();
    let mut seen = HashSet::from([hash()]);
    assert!(!seen.insert(hash()));
    Tiny { merges: &[("a", "b")], ..Tiny::default() }.write_into(folder.path());
    assert!(seen.insert(hash()), "tokenizer.json");
    // The same text in every file: where it stands matters too.
    let text = json!({"eos_token": "</s>", "eos_token_id": 4});
    for name in SIDE_FILES {
        write(folder.path(), name, &text);
        assert!(seen.insert(hash()), "{name}");
        std::fs::remove_file(folder.path().join(name)).unwrap();
        if name == "tokenizer_config.json" {
            write(folder.path(), name, &json!({"eos_token": "</s>"}));
        }
    }
}

#[test]
fn a_file_that_is_there_and_cannot_be_read_is_an_error() {
    let refused = |folder: &TempDir, name: &str| match Tokenizer::load(folder.path()) {
        Err(Error::Read { path, .. }) => assert_eq!(path, folder.path().join(name)),
        other => panic!("{name}: {other:?}"),
    };
    for name in SIDE_FILES.into_iter().chain(["tokenizer.json"]) {
        let folder = Tiny::default().write();
        let path = folder.path().join(name);
        if path.exists() {
            std::fs::remove_file(&path).unwrap();
        }
        // A folder instead of the file: unlike a missing permission, it stops root as well.
        std::fs::create_dir(path).unwrap();
        refused(&folder, name);
    }
    let folder = Tiny::default().write();
    std::fs::write(folder.path().join("chat_template.jinja"), b"caf\xE9").unwrap();
    refused(&folder, "chat_template.jinja");
}

#[test]
fn a_character_comes_out_with_its_last_token() {
    let tokenizer = load(&Tiny::default());
    let ids = tokenizer.encode("a🐟b").unwrap();
    assert_eq!(ids.len(), 6);
    assert_eq!(streamed(tokenizer.stream(true), &ids), ["a", "", "", "", "🐟", "b", ""]);
    // cut short inside the character
    assert_eq!(streamed(tokenizer.stream(true), &ids[..3]), ["a", "", "", "\u{FFFD}"]);
    let special = [ids[0], TURN_ENDS, ids[0]];
    assert_eq!(streamed(tokenizer.stream(true), &special), ["a", "", "a", ""]);
    assert_eq!(streamed(tokenizer.stream(false), &special), ["a", "<|im_end|>", "a", ""]);
}

proptest! {
    #[test]
    fn text_survives_ids_and_streaming(text in "[^\u{FFFD}]{0,40}") {
        // U+FFFD in a text looks like half a character, which a stream waits for.
        let tokenizer = load(&Tiny { merges: &[("Ã", "¤"), ("a", "b")], ..Tiny::default() });
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids, false).unwrap(), text.clone());
        prop_assert_eq!(streamed(tokenizer.stream(false), &ids).concat(), text);
    }

    #[test]
    fn streams_never_fail_on_any_ids(ids in prop::collection::vec(0u32..300, 0..40)) {
        let tokenizer = load(&Tiny::default());
        let text = streamed(tokenizer.stream(true), &ids).concat();
        prop_assert!(text.len() <= 3 * ids.len());
    }
}
