//! LMentry's scorers against the published ones.

use std::collections::BTreeMap;

use albacore_eval::lmentry::{LmentryFile, Tally};
use serde::Deserialize;
use serde_json::Value;

use crate::{data, lines};

#[derive(Deserialize)]
struct Reply {
    task: String,
    id: String,
    prediction: String,
    score: u8,
    certainty: u8,
}

#[test]
fn every_synthetic_reply_scores_as_the_published_scorers_have_it() {
    let Some(data) = data() else { return };
    let replies = lines(&data.join("derived/lmentry_synthetic_predictions.jsonl.gz"));
    let replies = replies.map(|line| serde_json::from_str::<Reply>(&line).unwrap());
    let mut by_task: BTreeMap<String, Vec<Reply>> = BTreeMap::new();
    for reply in replies {
        by_task.entry(reply.task.clone()).or_default().push(reply);
    }
    let expected = std::fs::read_to_string(data.join("derived/lmentry_synthetic_per_task.json"));
    let expected: Value = serde_json::from_str(&expected.unwrap()).unwrap();
    let (mut equal, mut different) = (0, Vec::new());
    for (task, replies) in &by_task {
        let file = LmentryFile::read(&data.join(format!("lmentry/data/{task}.json"))).unwrap();
        let mut tally = Tally::new(&file);
        for reply in replies {
            let example = file.examples.iter().find(|example| example.id == reply.id).unwrap();
            let mark = example.mark(&reply.prediction, false);
            tally.add(example.template, example.answer_index, mark);
            if (mark.right, mark.certain) == (reply.score == 1, reply.certainty == 1) {
                equal += 1;
            } else {
                different.push(format!("{task}/{}: {:?}: {mark:?}", reply.id, reply.prediction));
            }
        }
        let expected = &expected["per_task"][task];
        assert_eq!(tally.accuracy(), expected["task"]["accuracy"].as_f64().unwrap(), "{task}");
        assert_eq!(tally.certainty(), expected["task"]["certainty"].as_f64().unwrap(), "{task}");
        for (number, accuracy) in tally.template_accuracies().into_iter().enumerate() {
            let expected = &expected[format!("template{number}")]["accuracy"];
            assert_eq!(accuracy, expected.as_f64().unwrap(), "{task}, template {number}");
        }
    }
    eprintln!("{equal} of {} replies to {} tasks", equal + different.len(), by_task.len());
    assert!(
        different.is_empty(),
        "{} differ, such as {:#?}",
        different.len(),
        &different[..9.min(different.len())]
    );
    assert!(equal > 30_000);
}
