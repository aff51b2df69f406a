//! Texts that are joined and cut into windows, and the tasks that they come from.

use std::path::Path;

use albacore_data::{BadRecords, DataConfig, Preparation, SourceConfig, Spans, Tokenizer};

#[test]
fn a_task_whose_texts_all_went_into_windows_of_others_is_not_refused_as_empty() {
    let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/quickstart-t5");
    let tokenizer = Tokenizer::load(Path::new(tokenizer)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, lines: &str| std::fs::write(folder.path().join(name), lines).unwrap();
    let long = serde_json::json!({ "text": "The owl sees the old mole." });
    write("a.jsonl", &format!("{long}\n{{\"text\": \"The end.\"}}\n"));
    // Behind the texts before it, this one begins no window.
    write("b.jsonl", "{\"text\": \"An owl.\"}\n{\"wrong\": 1}\n");
    let source = SourceConfig { task_each: Some(true), ..SourceConfig::new(folder.path()) };
    let config = DataConfig {
        bad_records: BadRecords::Drop,
        sources: vec![source],
        ..DataConfig::default()
    };
    let spans = Spans::new(0.2, 2.0, 100, 256, &tokenizer).unwrap();
    let preparation = |config| Preparation {
        config,
        tokenizer: &tokenizer,
        seed: 1,
        cache: None,
        progress: None,
    };
    let dataset = preparation(&config).run_corrupted(&spans).unwrap();
    assert_eq!(dataset.train.len(), 1, "all texts are in one window");
    assert_eq!(dataset.report.dropped[0].count, 1);
}
