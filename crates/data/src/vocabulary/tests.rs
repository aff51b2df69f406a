//! The tokenizers that are made of a GGUF's tokens: how they cut, merge and give back text.

use serde::Deserialize;

use super::*;

/// Loads what would be written as `tokenizer.json`.
fn tokenizer(vocabulary: &Vocabulary) -> tokenizers::Tokenizer {
    let json = vocabulary.tokenizer_json().unwrap();
    tokenizers::Tokenizer::from_bytes(json.to_string()).unwrap()
}

fn texts(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<String> {
    tokenizer.encode(text, true).unwrap().get_tokens().to_vec()
}

/// The letters `a` to `z`, the digits, a space (`Ġ`), some merges and two control tokens.
fn small(pre: &str) -> Vocabulary {
    let mut tokens: Vec<String> = ["<s>", "</s>"].map(String::from).to_vec();
    tokens.extend(('a'..='z').chain('0'..='9').chain(['Ġ', '\'']).map(String::from));
    let mut merges = Vec::new();
    for merge in ["1 2", "12 3", "123 4", "t h", "th e", "Ġ the", "' t", "Ġ 1"] {
        merges.push(merge.to_owned());
        tokens.push(merge.replace(' ', ""));
    }
    tokens.push("xyz".into()); // no merge leads there
    let mut kinds = vec![NORMAL; tokens.len()];
    kinds[..2].fill(CONTROL);
    let (model, pre) = ("gpt2".to_owned(), Some(pre.to_owned()));
    let (bos, eos) = (Some(0), Some(1));
    Vocabulary { model, pre, tokens, kinds, merges, bos, eos, ..Vocabulary::default() }
}

#[test]
fn a_sentencepiece_vocabulary_gives_the_ids_of_sentencepiece() {
    // scripts/golden_gguf.py: `pieces.encode(text)` of the text between control tokens
    #[derive(Deserialize)]
    struct Golden {
        tokens: Vec<String>,
        scores: Vec<f32>,
        kinds: Vec<f32>,
        texts: Vec<Text>,
    }
    #[derive(Deserialize)]
    struct Text {
        text: String,
        ids: Vec<u32>,
    }
    let golden = include_str!("../../tests/golden/sentencepiece.json");
    let golden: Golden = serde_json::from_str(golden).unwrap();
    let (tokens, scores, kinds) = (golden.tokens, golden.scores, golden.kinds);
    let model = "llama".to_owned();
    let vocabulary = Vocabulary { model, tokens, scores, kinds, ..Vocabulary::default() };
    let tokenizer = tokenizer(&vocabulary);
    for Text { text, ids } in golden.texts {
        let encoded = tokenizer.encode(text.as_str(), false).unwrap();
        assert_eq!(encoded.get_ids(), ids, "{text:?}");
        if !text.contains("<s>") {
            // After a control token, too, a space is put first; only the one of the text is taken off.
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text.replace('▁', " "), "{text:?}");
        }
        let with_bos = tokenizer.encode(text.as_str(), true).unwrap();
        assert_eq!(with_bos.get_ids(), [&[1], ids.as_slice()].concat(), "LLaMA begins with BOS");
    }
}

#[test]
fn the_pre_tokenizer_decides_which_digits_may_merge() {
    assert_eq!(texts(&tokenizer(&small("smollm")), "1234"), ["1", "2", "3", "4"]);
    assert_eq!(texts(&tokenizer(&small("gpt-2")), "1234"), ["1234"]);
    assert_eq!(texts(&tokenizer(&small("llama-bpe")), "1234"), ["<s>", "123", "4"]);
    assert_eq!(texts(&tokenizer(&small("qwen2")), "123"), ["1", "2", "3"]);
    assert_eq!(texts(&tokenizer(&small("default")), "1234"), ["123", "4"]);
}

#[test]
fn spaces_belong_to_the_word_that_follows() {
    for pre in ["smollm", "gpt-2", "default", "deepseek-coder"] {
        let tokenizer = tokenizer(&small(pre));
        assert_eq!(texts(&tokenizer, "the the"), ["the", "Ġthe"], "{pre}");
        let ids = tokenizer.encode("the  the", true).unwrap();
        assert_eq!(tokenizer.decode(ids.get_ids(), true).unwrap(), "the  the", "{pre}");
    }
}

#[test]
fn only_llama_3_takes_a_whole_word_that_no_merge_forms() {
    assert_eq!(texts(&tokenizer(&small("llama-bpe")), "xyz"), ["<s>", "xyz"]);
    assert_eq!(texts(&tokenizer(&small("smollm")), "xyz"), ["x", "y", "z"]);
}

#[test]
fn control_tokens_are_found_in_a_text() {
    let tokenizer = tokenizer(&small("smollm"));
    assert_eq!(texts(&tokenizer, "the</s>the"), ["the", "</s>", "the"]);
}

#[test]
fn the_file_decides_about_bos_and_eos() {
    let with = Vocabulary { add_bos: Some(true), add_eos: Some(true), ..small("smollm") };
    assert_eq!(texts(&tokenizer(&with), "the"), ["<s>", "the", "</s>"]);
    let without = Vocabulary { add_bos: Some(false), ..small("llama-bpe") };
    assert_eq!(texts(&tokenizer(&without), "the"), ["the"]);
}

#[test]
fn the_folder_has_what_transformers_reads() {
    let folder = tempfile::tempdir().unwrap();
    let chat_template = Some("{{ messages }}".to_owned());
    let vocabulary = Vocabulary { chat_template, max_tokens: Some(8192), ..small("smollm") };
    vocabulary.write(folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let json = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    assert_eq!(read("chat_template.jinja"), "{{ messages }}");
    assert_eq!(json("special_tokens_map.json"), json!({ "bos_token": "<s>", "eos_token": "</s>" }));
    let config = json("tokenizer_config.json");
    assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
    assert_eq!(config["model_max_length"], 8192);
    assert_eq!(config["eos_token"], "</s>");
    assert_eq!(config["chat_template"], "{{ messages }}");
    tokenizers::Tokenizer::from_bytes(read("tokenizer.json")).unwrap();
}

#[test]
fn a_vocabulary_that_cannot_be_used_says_why() {
    let message = |change: &dyn Fn(&mut Vocabulary)| {
        let mut vocabulary = Vocabulary { path: "m.gguf".into(), ..small("smollm") };
        change(&mut vocabulary);
        vocabulary.tokenizer_json().unwrap_err().to_string()
    };
    let wrong = message(&|v| v.model = "bert".into());
    assert_eq!(wrong, "`m.gguf`: its tokenizer is `bert`, wanted `gpt2` or `llama`");
    let wrong = message(&|v| v.pre = Some("klingon".into()));
    assert_eq!(wrong, "`m.gguf`: how it cuts text into words, `klingon`, is not known");
    let wrong = message(&|v| v.tokens[5] = "a".into());
    assert_eq!(wrong, "`m.gguf`: its tokens 2 and 5 are both `a`");
    let wrong = message(&|v| v.eos = Some(1000));
    assert!(wrong.contains("token 1000 as special"), "{wrong}");
    let wrong = message(&|v| v.scores = vec![0.0]);
    assert!(wrong.contains("`tokenizer.ggml.scores` has 1 entries"), "{wrong}");
    let wrong = message(&|v| v.merges.push("a unknown".into()));
    assert!(wrong.contains("its tokenizer cannot be used"), "{wrong}");
    let wrong = message(&|v| v.merges.clear());
    assert!(wrong.contains("no `tokenizer.ggml.merges`"), "{wrong}");
}
