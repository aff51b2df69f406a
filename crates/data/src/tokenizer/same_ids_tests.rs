//! What is known of words changes no mixture, and no id of a real text.

use serde_json::{Value, json};
use tokenizers::Tokenizer as Inner;

use super::words::Words;
use super::words_tests::{PARTS, bytes, of_bytes, sequence};
use crate::{
    DataConfig, Format, Mixture, MixtureSource, MixtureStream, Preparation, Random, Shots,
    SourceConfig, TemplateChoice, Weight,
};

#[test]
fn a_mixture_is_the_same_bytes_as_without_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (tasks, model) = (folder.path().join("tasks"), folder.path().join("model"));
    [&tasks, &model].iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut random = Random::new(0, "records", 0);
    for task in 0..3 {
        let mut lines = String::new();
        for _ in 0..40 {
            let mut text = || {
                let parts = (0..random.below(30)).map(|_| PARTS[random.below(PARTS.len())]);
                parts.map(|part| format!("{part} ")).collect::<String>() + "end"
            };
            let record = json!({"premise": text(), "hypothesis": text(), "answer": task % 2});
            lines += &format!("{record}\n");
        }
        std::fs::write(tasks.join(format!("{task}.jsonl")), lines).unwrap();
    }
    let digits = json!({"type": "Digits", "individual_digits": true});
    let inner = of_bytes(Value::Null, sequence(&[digits, bytes(false, true)]));
    inner.save(model.join("tokenizer.json"), false).unwrap();
    let says = json!({"eos_token": "<e>"});
    std::fs::write(model.join("tokenizer_config.json"), says.to_string()).unwrap();
    let config = DataConfig {
        sources: vec![SourceConfig {
            format: Some(Format::Task),
            family: Some("nli".into()),
            options: ["yes", "no"].map(String::from).to_vec(),
            weight: Some(Weight::Proportional),
            task_each: Some(true),
            shots: Shots::Both,
            ..SourceConfig::new(tasks)
        }],
        template: TemplateChoice::None,
        // Some rows of exemplars are trimmed, and some examples are too long.
        max_tokens: 700,
        ..DataConfig::default()
    };
    let mixture = Mixture::open(&config, 0).unwrap();
    let batches = |tokenizer: &crate::Tokenizer| {
        let (seed, cache, progress) = (0, None, None);
        let preparation = Preparation { config: &config, tokenizer, seed, cache, progress };
        let encoder = preparation.encoder().unwrap();
        let source = MixtureSource { mixture: &mixture, preparation, encoder: &encoder };
        let mut stream = MixtureStream::new(source);
        let batches: Vec<_> = (0..60).map(|_| stream.batch(usize::MAX).unwrap()).collect();
        (batches, stream.tally().clone())
    };
    let mut tokenizer = crate::Tokenizer::load(&model).unwrap();
    let fast = batches(&tokenizer);
    assert!(tokenizer.words.take().is_some());
    assert_eq!(fast, batches(&tokenizer));
    assert!(!fast.1.dropped.is_empty() && fast.1.kept > 100, "{:?}", fast.1);
}

/// Real texts: 33,443 questions, answers and chains of thought, in which a few hundred are not plain ASCII.
#[test]
#[ignore = "needs reference data and tokenizers: ALBACORE_EVAL_DATA=FOLDER cargo test --release -p albacore-data -- --ignored"]
fn real_tokenizers_give_the_same_ids_for_real_texts() {
    let folder = std::env::var("ALBACORE_EVAL_DATA").expect("ALBACORE_EVAL_DATA is a folder");
    let folder = std::path::PathBuf::from(folder);
    let files = |under: &str, ending: &str| {
        let files = std::fs::read_dir(folder.join(under)).unwrap().map(|file| file.unwrap().path());
        files.filter(|file| file.to_string_lossy().ends_with(ending)).collect::<Vec<_>>()
    };
    let texts = files("flan/cot_data", ".tsv");
    let texts: String = texts.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let texts = texts.replace("\\n", "\n");
    let mut models = files("tokenizers", ".json");
    models.extend(
        std::env::var("ALBACORE_SMOLLM2").map(|folder| format!("{folder}/tokenizer.json").into()),
    );
    assert!(models.len() >= 2 && texts.len() > 1_000_000);
    for model in models {
        let tokenizer = Inner::from_bytes(std::fs::read(&model).unwrap()).unwrap();
        let words = Words::of(&tokenizer).unwrap_or_else(|| panic!("{}", model.display()));
        // Lines, and several lines as one text.
        let lines: Vec<_> = texts.lines().collect();
        for text in lines
            .chunks(3)
            .map(|lines| lines.join("\n"))
            .chain(lines.iter().map(|line| (*line).to_owned()))
        {
            let whole = tokenizer.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(
                words.encode(&tokenizer, &text).unwrap(),
                whole.get_ids(),
                "{}: {text}",
                model.display()
            );
        }
    }
}
