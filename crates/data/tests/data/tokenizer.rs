//! The tokenizer and its files.

use albacore_data::{TextStream, Tokenizer};
use proptest::prelude::*;
use serde_json::json;

use crate::tiny::{BOS, EOS, TURN_ENDS, Tiny, write};

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
    let before = hash();
    assert_eq!(before, hash());
    write(folder.path(), "generation_config.json", &json!({"eos_token_id": 4}));
    assert_ne!(before, hash());
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
