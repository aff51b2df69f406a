//! Files to records.

use std::collections::BTreeMap;

use albacore_data::{Body, Format, Message, Records, SourceConfig, read};
use serde_json::json;

/// The records of a file with this text.
pub(crate) fn records(text: &str) -> Records {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("records.jsonl");
    std::fs::write(&path, text).unwrap();
    read(&SourceConfig::new(path)).unwrap()
}

fn body(text: &str) -> Body {
    let mut records = records(text);
    assert!(records.bad.is_empty(), "{:?}", records.bad);
    records.good.remove(0).body
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn the_format_is_told_from_the_fields() {
    assert_eq!(
        body(r#"{"id": 7, "instruction": "Add.", "input": "1 2", "output": "3"}"#),
        Body::Alpaca { instruction: text("Add."), input: text("1 2"), output: text("3") }
    );
    assert_eq!(
        body(r#"{"instruction": "Go.", "input": null, "output": "Gone."}"#),
        Body::Alpaca { instruction: text("Go."), input: text(""), output: text("Gone.") }
    );
    assert_eq!(
        body(r#"{"prompt": "a", "completion": " b"}"#),
        Body::Prompt { prompt: text("a"), completion: text(" b") }
    );
    assert_eq!(body(r#"{"text": "all"}"#), Body::Text { text: text("all") });
    assert_eq!(
        body(r#"{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}"#),
        Body::Tokens { ids: vec![5, 6, 7], learned: vec![false, true, true] }
    );
    let turns = vec![
        Message::new("system", "s"),
        Message::new("user", "u"),
        Message::new("assistant", "a"),
    ];
    let shared = r#"{"conversations": [{"from": "system", "value": "s"},
        {"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}"#;
    let expected = Body::Messages { messages: turns, tools: None };
    assert_eq!(body(&shared.replace('\n', "")), expected);
    let messages = r#"{"messages": [{"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "u"}]},
        {"role": "assistant", "content": "a"}]}"#;
    assert_eq!(body(&messages.replace('\n', "")), expected);
}

#[test]
fn further_fields_of_a_message_and_tools_are_kept_for_the_template() {
    let line = json!({"messages": [
        {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}, "b"]},
    ], "tools": [{"name": "f"}]});
    let Body::Messages { messages, tools } = body(&line.to_string()) else { panic!() };
    assert_eq!((messages[0].content.as_str(), messages[1].content.as_str()), ("", "ab"));
    assert_eq!(messages[0].extra["tool_calls"], json!([{"id": "1"}]));
    assert_eq!(messages[1].extra["tool_call_id"], "1");
    assert_eq!(tools, Some(json!([{"name": "f"}])));
}

#[test]
fn an_array_and_lines_say_the_same_each_record_with_its_line() {
    let lines = "\u{FEFF}{\"text\": \"a\"}\r\n\r\n   \n{\"text\": \"b\"}\n{\"text\": \"c\"}";
    let array = "\n[ {\"text\": \"a\"},\n\n {\n\"text\": \"b\"}, {\"text\": \"c\"}\n]\n";
    let seen = |records: Records| -> Vec<(Body, u32)> {
        assert!(records.bad.is_empty(), "{:?}", records.bad);
        records.good.into_iter().map(|record| (record.body, record.origin.line)).collect()
    };
    let (lines, array) = (seen(records(lines)), seen(records(array)));
    assert_eq!(lines.iter().map(|(_, line)| *line).collect::<Vec<_>>(), [1, 4, 5]);
    assert_eq!(array.iter().map(|(_, line)| *line).collect::<Vec<_>>(), [2, 4, 5]);
    assert!(lines.iter().zip(&array).all(|(one, other)| one.0 == other.0));
}

#[test]
fn fields_may_have_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.jsonl");
    let line = json!({"chat": [{"who": "user", "what": "q"}, {"who": "assistant", "what": "a"}]});
    std::fs::write(&path, line.to_string()).unwrap();
    let names = [("messages", "chat"), ("role", "who"), ("content", "what")];
    let fields: BTreeMap<_, _> = names.map(|(ours, its)| (ours.into(), its.into())).into();
    let source = SourceConfig { fields, ..SourceConfig::new(path) };
    for format in [None, Some(Format::Messages)] {
        let source = SourceConfig { format, ..source.clone() };
        let messages = vec![Message::new("user", "q"), Message::new("assistant", "a")];
        let expected = Body::Messages { messages, tools: None };
        assert_eq!(read(&source).unwrap().good[0].body, expected);
    }
}

#[test]
fn all_bad_records_of_a_file_are_found_and_the_good_ones_kept() {
    let records = records(
        "{\"text\": \"good\"}\n{\"text\": 3}\n{\"txt\": \"typo\"}\nnonsense\n{\"text\": \" \"}\n",
    );
    assert_eq!(records.good.len(), 1);
    assert_eq!(records.bad.iter().map(|bad| bad.origin.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
}
