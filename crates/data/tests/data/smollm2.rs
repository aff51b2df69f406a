//! The real tokenizer and chat template of SmolLM2-135M-Instruct. `ALBACORE_SMOLLM2` names a folder
//! that holds them (`albacore import` makes one from the GGUF); run with `-- --include-ignored`.

use std::path::Path;

use albacore_data::{
    Body, ChatTemplate, Encoder, Learn, Message, Origin, Record, Template, Tokenizer, preview,
};

#[test]
#[ignore = "needs a real tokenizer: ALBACORE_SMOLLM2=FOLDER cargo test --release -p albacore-data -- --ignored"]
fn answers_of_a_real_conversation_are_learned_with_their_end() {
    let folder = std::env::var("ALBACORE_SMOLLM2").expect("ALBACORE_SMOLLM2 names a folder");
    let tokenizer = Tokenizer::load(Path::new(&folder)).unwrap();
    assert!(tokenizer.check_model(49_152).is_ok());
    assert!(tokenizer.before().is_empty());
    let chat = ChatTemplate::of(&tokenizer, None).unwrap();
    let messages = vec![
        Message::new("user", "What is the capital of France? 🐟"),
        Message::new("assistant", "Paris.\n\n It is on the Seine."),
        Message::new("user", "Thanks"),
        Message::new("assistant", "You are welcome."),
    ];
    let text = chat.render(&messages, None, false).unwrap().text;
    let body = Body::Messages { messages: messages.clone(), tools: None };
    let record = Record::new(body, Origin::new("a", 1));
    let encoder = Encoder::new(&tokenizer, Template::Chat(chat.into()), Learn::Answers);
    let example = encoder.encode(&record).unwrap();
    assert_eq!(example.ids, tokenizer.encode(&text).unwrap());
    assert!(!example.eos_added);
    let tokens = preview(&tokenizer, &example).unwrap();
    let learned = tokens.iter().filter(|token| token.learned).map(|token| token.text.as_str());
    let expected = "Paris.\n\n It is on the Seine.<|im_end|>You are welcome.<|im_end|>";
    assert_eq!(learned.collect::<String>(), expected);
    assert!(example.ids.starts_with(&encoder.ask(&messages[..1]).unwrap()));
}
