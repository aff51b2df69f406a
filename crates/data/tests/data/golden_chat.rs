//! Chat templates give the text that transformers gives: `scripts/golden_chat.py` made the goldens.

use std::collections::BTreeMap;

use albacore_data::{ChatTemplate, Message};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Golden {
    special: BTreeMap<String, String>,
    conversations: BTreeMap<String, Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Map<String, Value>>,
    tools: Option<Value>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    conversation: String,
    add_generation_prompt: bool,
    text: Option<String>,
    #[serde(default)]
    answers: Vec<(usize, usize)>,
    error: Option<String>,
}

fn message(mut fields: Map<String, Value>) -> Message {
    let mut text = |name: &str| fields.shift_remove(name).unwrap().as_str().unwrap().to_owned();
    let (role, content) = (text("role"), text("content"));
    Message { role, content, extra: fields }
}

#[test]
fn renderings_equal_those_of_transformers() {
    let golden: Golden =
        serde_json::from_str(include_str!("../golden/conversations.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/chat.json")).unwrap();
    let day = jiff::civil::date(2024, 7, 26).at(0, 0, 0, 0);
    let mut refused = 0;
    for case in &cases {
        let path = format!("{}/tests/golden/chat/{}", env!("CARGO_MANIFEST_DIR"), case.template);
        let source = std::fs::read_to_string(path).unwrap();
        let template = ChatTemplate::new(&source, &golden.special, Some(day)).unwrap();
        let conversation = &golden.conversations[&case.conversation];
        let messages: Vec<_> = conversation.messages.iter().cloned().map(message).collect();
        let tools = conversation.tools.as_ref();
        let found = template.render(&messages, tools, case.add_generation_prompt);
        let name = format!("{} / {}", case.template, case.conversation);
        match (found, &case.text, &case.error) {
            (Ok(found), Some(text), _) => {
                assert_eq!(&found.text, text, "{name}");
                let spans: Vec<_> =
                    found.answers.iter().map(|span| (span.start, span.end)).collect();
                assert_eq!(spans, case.answers, "{name}");
            }
            (Err(found), _, Some(error)) => {
                assert!(found.to_string().contains(error), "{name}: {found}");
                refused += 1;
            }
            (found, ..) => panic!("{name}: found {found:?}"),
        }
    }
    assert_eq!((cases.len(), refused), (108, 6));
}
