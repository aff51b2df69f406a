//! What the errors say.

use std::path::Path;

use albacore_data::{
    Body, DataConfig, Defect, Error, Origin, Patterns, Preparation, Record, SourceConfig, Template,
    TemplateChoice, Tokenizer, read,
};

use crate::tiny::Tiny;

/// An error and its hint, without the name of the temporary folder.
fn shown(error: &Error, folder: &Path) -> String {
    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    format!("{error}{hint}").replace(&format!("{}/", folder.display()), "")
}

fn read_error(name: &str, text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train.jsonl"), text).unwrap();
    let error = read(&SourceConfig::new(folder.path().join(name))).unwrap_err();
    shown(&error, folder.path())
}

#[test]
fn files_without_records() {
    insta::assert_snapshot!(read_error("tain.jsonl", ""), @"
    there is no file `tain.jsonl`
    hint: the name nearest to `tain.jsonl` there is `train.jsonl`
    ");
    insta::assert_snapshot!(read_error("train.jsonl", " \n"), @"`train.jsonl` is empty, wanted records: a JSON array, or one JSON object a line");
    insta::assert_snapshot!(read_error("train.jsonl", "[ ]"), @"`train.jsonl` is an empty array, wanted records: a JSON array, or one JSON object a line");
    insta::assert_snapshot!(read_error("train.jsonl", "[{\"text\": \"a\"},\n{\"text\": }]"), @"train.jsonl:2:10: malformed JSON: expected value");
    insta::assert_snapshot!(read_error("train.jsonl", "{\n\"data\":\n []\n}"), @"`train.jsonl` is one JSON object over several lines, wanted records: a JSON array, or one JSON object a line");
    insta::assert_snapshot!(read_error("train.jsonl", "{\"question\": 1, \"answer\": 2}"), @r#"
    train.jsonl:1: cannot tell the format of a record with the fields `question`, `answer`
    hint: known formats: `alpaca` (instruction, input, output), `prompt` (prompt, completion), `messages` (messages), `sharegpt` (conversations), `tokens` (input_ids, labels), `text` (text), `tuna` (instruction, output, score), `preference` (prompt, chosen, rejected); other field names are told with `fields`, such as `fields = { prompt = "question", completion = "answer" }`
    "#);
}

fn defect(line: &str) -> String {
    let records = crate::records::records(line);
    let defect = &records.bad[0].defect;
    let hint = defect.hint().map(|hint| format!(" | hint: {hint}")).unwrap_or_default();
    format!("{}: {defect}{hint}", defect.name())
}

#[test]
fn records_that_cannot_be_used() {
    let lines = [
        r#"{"instruction": "a", "output": "b" "input": ""}"#,
        r#"["instruction"]"#,
        r#"{"instruction": 7, "output": "b"}"#,
        r#"{"prompt": "a", "completion": ""}"#,
        r#"{"prompt": "a", "completion": "\n "}"#,
        r#"{"input_ids": [1, 2], "labels": [1]}"#,
        r#"{"input_ids": [1, 2], "labels": [-100, 3]}"#,
        r#"{"input_ids": [1, -2], "labels": [-100, -2]}"#,
        r#"{"input_ids": [1, "2"], "labels": [-100, 2]}"#,
        r#"{"messages": {"role": "user"}}"#,
        r#"{"messages": []}"#,
        r#"{"messages": ["hello"]}"#,
        r#"{"messages": [{"from": "human", "value": "hello"}]}"#,
        r#"{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}"#,
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}"#,
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": " "}]}"#,
        r#"{"conversations": [{"from": "alien", "value": "hello"}]}"#,
    ];
    // A first line without defect shows that the others do not stand in its way.
    insta::assert_snapshot!(lines.map(defect).join("\n"), @r#"
    malformed JSON: malformed JSON at column 36: expected `,` or `}`
    wrong type: the record is a string, wanted an object
    wrong type: `instruction` is a number, wanted a string
    empty answer: the answer is empty: `completion` is `""`, wanted text
    empty answer: the answer is empty: `completion` holds only whitespace, wanted text
    labels that do not fit: `labels` has 1 entries, wanted 2, one for each of `input_ids`
    labels that do not fit: label 3 at position 1 (from 0), wanted -100 or the id there, 2
    wrong type: an item of `input_ids` is no id, wanted a small number, 0 or more
    wrong type: an item of `input_ids` is a string, wanted a whole number
    wrong type: `messages` is an object, wanted a list of messages
    empty conversation: the conversation is empty, wanted at least one message
    wrong type: message 1 is a string, wanted an object
    missing field: message 1 has no field `role`, found `from`, `value` | hint: if the file has another name for it, say so under `[[data.sources]]`: `fields = { role = "its_name" }`
    wrong type: a part of message 1 is of another type, wanted a text part
    empty answer: the answer is empty: `messages[1].content` is `""`, wanted text
    empty answer: the answer is empty: `conversations[1].value` holds only whitespace, wanted text
    unknown speaker: message 1 is from `alien`, wanted `human`, `gpt`, `system` or `tool`
    "#);
    let second =
        "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"a\", \"answer\": 1}";
    insta::assert_snapshot!(defect(second), @r#"missing field: the record has no field `output`, found `instruction`, `answer` | hint: if the file has another name for it, say so under `[[data.sources]]`: `fields = { output = "its_name" }`"#);
}

#[test]
fn a_run_names_all_bad_records_of_all_sources() {
    let folder = Tiny::default().write();
    let bad = "{\"text\": \"\"}\n".repeat(12);
    std::fs::write(folder.path().join("a.jsonl"), format!("{{\"text\": \"a\"}}\n{bad}")).unwrap();
    std::fs::write(folder.path().join("b.jsonl"), "{\"text\": \"a\"}\n{").unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let sources = ["a.jsonl", "b.jsonl"].map(|name| SourceConfig::new(folder.path().join(name)));
    let config = DataConfig { sources: sources.into(), ..DataConfig::default() };
    let run = |config: &DataConfig| {
        let (tokenizer, seed, cache, progress) = (&tokenizer, 0, None, None);
        Preparation { config, tokenizer, seed, cache, progress }.run().unwrap_err()
    };
    insta::assert_snapshot!(shown(&run(&config), folder.path()), @r#"
    13 of 15 records cannot be used
      a.jsonl:2: the answer is empty: `text` is `""`, wanted text
      a.jsonl:3: the answer is empty: `text` is `""`, wanted text
      a.jsonl:4: the answer is empty: `text` is `""`, wanted text
      a.jsonl:5: the answer is empty: `text` is `""`, wanted text
      a.jsonl:6: the answer is empty: `text` is `""`, wanted text
      a.jsonl:7: the answer is empty: `text` is `""`, wanted text
      a.jsonl:8: the answer is empty: `text` is `""`, wanted text
      a.jsonl:9: the answer is empty: `text` is `""`, wanted text
      a.jsonl:10: the answer is empty: `text` is `""`, wanted text
      a.jsonl:11: the answer is empty: `text` is `""`, wanted text
      and 3 more
    hint: correct them, or leave them out: `data.bad_records = "drop"`
    "#);
    let sources = ["c.jsonl", "d.jsonl"].map(|name| SourceConfig::new(folder.path().join(name)));
    let config = DataConfig { sources: sources.into(), ..config };
    insta::assert_snapshot!(shown(&run(&config), folder.path()), @"
    there is no file `c.jsonl`
    there is no file `d.jsonl`
    hint: the name nearest to `c.jsonl` there is `a.jsonl`
    hint: the name nearest to `d.jsonl` there is `a.jsonl`
    ");
}

#[test]
fn records_and_templates_that_do_not_fit() {
    let folder = Tiny::default().write();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let encode = |choice: TemplateChoice, learn: albacore_data::Learn, body: Body| {
        let template = Template::load(&choice, &tokenizer, None).unwrap();
        let record = Record::new(body, Origin::new("a.jsonl", 1));
        let encoder = albacore_data::Encoder::new(&tokenizer, template, learn);
        let defect: Defect = encoder.encode(&record).unwrap_err();
        let hint = defect.hint().map(|hint| format!(" | hint: {hint}")).unwrap_or_default();
        format!("{defect}{hint}")
    };
    let user =
        || Body::Messages { messages: vec![albacore_data::Message::new("user", "a")], tools: None };
    let answers = albacore_data::Learn::Answers;
    let alpaca = TemplateChoice::Alpaca;
    insta::assert_snapshot!(encode(alpaca, answers.clone(), user()), @r#"a `messages` record does not fit `template = "alpaca"` | hint: conversations need `data.template = "chat"`"#);
    insta::assert_snapshot!(encode(TemplateChoice::Chat, answers.clone(), user()), @r#"nothing of it would be learned with `learn = "answers"`: it has messages from `user`"#);
    let pair = Body::Prompt { prompt: "a".into(), completion: "b".into() };
    let tool = albacore_data::Learn::Role("tool".into());
    for template in [TemplateChoice::None, TemplateChoice::Chat] {
        let found = encode(template, tool.clone(), pair.clone());
        let wanted = "a record of prompt and answer has the roles `user` and `assistant`";
        assert!(found.contains(wanted), "{found}");
    }
    let ids = Body::Tokens { ids: vec![1, 2], learned: vec![true, false] };
    insta::assert_snapshot!(encode(TemplateChoice::None, answers.clone(), ids), @"nothing of it would be learned: all its labels after the first are -100");
    let ids = Body::Tokens { ids: vec![1, 261], learned: vec![true, true] };
    insta::assert_snapshot!(encode(TemplateChoice::None, answers, ids), @"id 261 at position 1 (from 0) is out of range, wanted 0 to 260");
}

#[test]
fn folders_without_a_usable_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let load = || {
        let error = Tokenizer::load(folder.path()).unwrap_err();
        shown(&error, folder.path()).replace(&folder.path().display().to_string(), "model")
    };
    insta::assert_snapshot!(load(), @"
    `model` has no `tokenizer.json`
    hint: name a folder that holds a model and its tokenizer; from a GGUF, `albacore import` makes one
    ");
    std::fs::write(folder.path().join("tokenizer.model"), "").unwrap();
    insta::assert_snapshot!(load(), @"
    `model` has no `tokenizer.json`, only `tokenizer.model`, which is not supported
    hint: albacore reads `tokenizer.json`; write one with transformers: `AutoTokenizer.from_pretrained(folder).save_pretrained(folder)`
    ");
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    insta::assert_snapshot!(load(), @"`tokenizer.json`: is no tokenizer: Model missing. at line 1 column 2");
    Tiny { eos: "<none>", chat_template: None, ..Tiny::default() }.write_into(folder.path());
    insta::assert_snapshot!(load(), @"
    `model` names no end-of-sequence token
    hint: set `eos_token` in `tokenizer_config.json`, or `eos_token_id` in `generation_config.json`
    ");
    Tiny { chat_template: None, ..Tiny::default() }.write_into(folder.path());
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let show = |error: Error| {
        shown(&error, Path::new("-")).replace(&folder.path().display().to_string(), "model")
    };
    let no_chat = Template::load(&TemplateChoice::Chat, &tokenizer, None).unwrap_err();
    insta::assert_snapshot!(show(no_chat), @r#"
    `model` has no chat template
    hint: set `data.template` to `"alpaca"`, `"none"` or a file, or add a `chat_template.jinja` to the model folder
    "#);
    insta::assert_snapshot!(show(tokenizer.check_model(200).unwrap_err()), @"
    the tokenizer in `model` has 261 tokens (highest id 260), the model's vocabulary has 200 rows: ids that the model does not have
    hint: use the tokenizer files that were published with these weights
    ");
    insta::assert_snapshot!(show(tokenizer.check_model(512).unwrap_err()), @"
    the tokenizer in `model` has 261 tokens (highest id 260), the model's vocabulary has 512 rows: too many rows that no token uses
    hint: use the tokenizer files that were published with these weights
    ");
    assert!(tokenizer.check_model(261).is_ok() && tokenizer.check_model(264).is_ok());
}

#[test]
fn template_files() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let path = folder.path().join("style.toml");
        std::fs::write(&path, text).unwrap();
        match Patterns::load(&path) {
            Ok(patterns) => format!("{patterns:?}"),
            Err(error) => shown(&error, folder.path()),
        }
    };
    insta::assert_snapshot!(load("prompt = \"Q: {instruction}\\nA:\""), @r#"Patterns { prompt: "Q: {instruction}\nA:", prompt_with_input: None, response: "{output}" }"#);
    insta::assert_snapshot!(load("prompt = \"Q: {question}\""), @"style.toml: `prompt` has no `{instruction}`");
    insta::assert_snapshot!(load("prompt = \"{instruction}\"\nanswer = \"\""), @"style.toml:2: unknown field `answer`, expected one of `prompt`, `prompt_with_input`, `response`");
    insta::assert_snapshot!(load("prompt = \"{instruction} {output}\""), @"style.toml: `prompt` has `{output}`, which belongs to `response`");
    insta::assert_snapshot!(load("prompt = "), @"style.toml:1: string values must be quoted, expected literal string");
}

#[test]
fn a_template_that_is_no_file_may_be_a_misspelt_name() {
    let folder = Tiny::default().write();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    let load = |name: &str| {
        let choice: TemplateChoice = name.to_owned().into();
        let error = Template::load(&choice, &tokenizer, None).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    };
    insta::assert_snapshot!(load("chta"), @"`data.template`: there is no file `chta`, wanted `chat`, `alpaca`, `none` or a TOML file");
    std::fs::write(folder.path().join("style.toml"), "").unwrap();
    let misspelt = folder.path().join("sytle.toml");
    insta::assert_snapshot!(load(&misspelt.display().to_string()), @"`data.template`: there is no file `sytle.toml` (the nearest is `style.toml`), wanted `chat`, `alpaca`, `none` or a TOML file");
}

#[test]
fn a_broken_chat_template_is_named_with_its_file() {
    let folder = Tiny { chat_template: Some("{% for m in messages %}"), ..Tiny::default() }.write();
    let load = || {
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let error = Template::load(&TemplateChoice::Chat, &tokenizer, None).unwrap_err();
        shown(&error, folder.path())
    };
    insta::assert_snapshot!(load(), @r#"
    `tokenizer_config.json`: chat template, line 1: unexpected end of input, expected end of block
    hint: correct it, or set `data.template` to `"alpaca"`, `"none"` or a file
    "#);
    std::fs::write(folder.path().join("chat_template.jinja"), "a\n{% for %}").unwrap();
    insta::assert_snapshot!(load(), @r#"
    `chat_template.jinja`: chat template, line 2: unexpected end of block, expected in
    hint: correct it, or set `data.template` to `"alpaca"`, `"none"` or a file
    "#);
}

#[test]
fn config_values() {
    let config: DataConfig = toml::from_str(
        "max_tokens = 1\ntokens_per_batch = 0\nheld_out = 1.5\n\
         [[sources]]\npath = \"a\"\nformat = \"prompt\"\nrepeat = 0\ncap = 0\n\
         fields = { question = \"prompt\" }",
    )
    .unwrap();
    let problems: Vec<_> = config.validate().iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    `data.max_tokens` is 1, wanted 2 or more
    `data.tokens_per_batch` is 0, less than `data.max_tokens`
    hint: an example must fit into a batch: raise it to 1, or lower `data.max_tokens`
    `data.held_out` is 1.5, wanted a count (`100`) or a share below 1 (`0.05`)
    `data.sources[0].repeat` is 0, wanted 1 or more
    `data.sources[0].cap` is 0, wanted 1 or more
    `data.sources[0].fields` names `question`, which the format does not have
    hint: write our name first: `fields = { OURS = "question" }`; known: `prompt`, `completion`
    "#);
    insta::assert_snapshot!(DataConfig::default().validate()[0], @r#"
    `data.sources` is empty, wanted at least one file
    hint: add `[[data.sources]]` with `path = "records.jsonl"`
    "#);
    for text in ["learn = \"answer\"", "held_out = \"a\"", "group = 1", "sources = [{}]"] {
        assert!(toml::from_str::<DataConfig>(text).is_err(), "{text}");
    }
    let default = toml::to_string(&DataConfig::default()).unwrap();
    insta::assert_snapshot!(default, @r#"
    max_tokens = 2048
    too_long = "drop"
    bad_records = "error"
    learn = "answers"
    template = "chat"
    shuffle = true
    held_out = 0
    tokens_per_batch = 4096
    date = "2024-07-26"
    temperature = 1.0
    sources = []
    "#);
    assert_eq!(toml::from_str::<DataConfig>(&default).unwrap(), DataConfig::default());
}
