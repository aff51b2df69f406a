//! LMentry's scorers against the published ones, on questions and replies of our own.
//! `scripts/golden_lmentry.py` made the golden.

use std::collections::BTreeMap;

use albacore_eval::lmentry::{LmentryFile, Mark, TASKS, Tally, lmentry_score};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Golden {
    questions: Vec<Question>,
    robust: Robust,
}

#[derive(Deserialize)]
struct Question {
    task: String,
    input: String,
    metadata: Value,
    /// The reply, whether what follows its first sentence is cut off, score, certainty.
    replies: Vec<(String, bool, u8, u8)>,
}

#[derive(Deserialize)]
struct Robust {
    /// For each file, right replies of 1000 to each template, and of 500 for each place of the answer.
    files: BTreeMap<String, ([usize; 3], [usize; 2])>,
    kinds: BTreeMap<String, f64>,
    robustness: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/lmentry.json")).expect("it is JSON")
}

#[test]
fn replies_to_all_25_tasks_score_as_the_published_scorers_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut equal, mut different) = (0, Vec::new());
    let questions = golden().questions;
    for Question { task, input, mut metadata, replies } in questions {
        metadata["template_id"] = json!(0);
        let file = json!({
            "settings": {"num_examples_per_template": 1, "input_templates": [""]},
            "examples": {"1": {"input": input, "metadata": metadata}},
        });
        let path = folder.path().join(format!("{task}.json"));
        std::fs::write(&path, file.to_string()).unwrap();
        let file = LmentryFile::read(&path).unwrap();
        for (reply, cut, right, certain) in &replies {
            let found = file.examples[0].mark(reply, *cut);
            let wanted = Mark { right: *right == 1, certain: *certain == 1 };
            if found == wanted {
                equal += 1;
            } else {
                different.push(format!("{task}: {reply:?}: {found:?}, wanted {wanted:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{} differ: {different:#?}", different.len());
    assert!(equal > 2000);
}

#[test]
fn robustness_is_the_published_one() {
    let Robust { files, kinds, robustness } = golden().robust;
    let tally = |right: &[usize; 3], order: &[usize; 2]| {
        let file = LmentryFile {
            name: String::new(),
            templates: 3,
            examples_per_template: 1000,
            examples: Vec::new(),
        };
        let mut tally = Tally::new(&file);
        for (template, right) in right.iter().enumerate() {
            for example in 0..1000 {
                let mark = if example < *right { Mark::RIGHT } else { Mark::WRONG };
                tally.add(template, None, mark);
            }
        }
        tally.by_answer_index = order.map(|right| (right, 500));
        tally
    };
    let tallies = files.iter().map(|(name, (right, order))| (name.clone(), tally(right, order)));
    let score = lmentry_score(&tallies.collect()).unwrap();
    let found = [
        ("argument_order", score.argument_order),
        ("argument_content", score.argument_content),
        ("template", score.template),
        ("adjacent_tasks", score.adjacent_tasks),
    ];
    for (kind, found) in found {
        // Sums of up to 25 numbers in another order.
        assert!((found - kinds[kind]).abs() < 1e-9, "{kind}: {found}, wanted {}", kinds[kind]);
    }
    assert_eq!(score.robustness, robustness);
    assert_eq!(files.len(), 41);
    assert!(TASKS.iter().all(|task| files.contains_key(*task)));
}
