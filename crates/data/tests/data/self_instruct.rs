//! The published pipeline's own run, replayed: `ALBACORE_SELF_INSTRUCT_RUN` names a folder with its
//! `machine_generated_instances.jsonl`, `is_clf_or_not_davinci_template_1.jsonl` and
//! `all_generated_instances.jsonl`.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;

use albacore_data::FinishReason;
use albacore_data::bootstrap::{parse_classification, parse_generation};
use serde_json::Value;

fn run() -> Option<PathBuf> {
    let folder = std::env::var_os("ALBACORE_SELF_INSTRUCT_RUN").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: ALBACORE_SELF_INSTRUCT_RUN is not set");
    }
    folder
}

fn lines(folder: &std::path::Path, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn stage_4_gives_the_instances_of_the_published_run() {
    let Some(folder) = run() else { return };
    let kinds = lines(&folder, "is_clf_or_not_davinci_template_1.jsonl").into_iter();
    let kinds: HashMap<String, bool> = kinds
        .map(|line| {
            let answer = text(&line["is_classification"]);
            (text(&line["instruction"]), ["Yes", "yes", "YES"].contains(&answer.trim()))
        })
        .collect();
    let mut found = BTreeSet::new();
    for line in lines(&folder, "machine_generated_instances.jsonl") {
        let instruction = text(&line["instruction"]);
        let choice = &line["instance_metadata"]["response"]["choices"][0];
        // A request that failed has no response.
        let reason = serde_json::from_value(choice["finish_reason"].clone());
        let reason = reason.unwrap_or(FinishReason::Other("none".into()));
        let parse = if kinds[&instruction] { parse_classification } else { parse_generation };
        for instance in parse(&text(&line["raw_instances"]), &reason).instances {
            found.insert((instruction.trim().to_owned(), instance.input, instance.output));
        }
    }
    let wanted = lines(&folder, "all_generated_instances.jsonl").into_iter();
    let wanted: BTreeSet<_> = wanted
        .map(|line| (text(&line["instruction"]), text(&line["input"]), text(&line["output"])))
        .collect();
    let missing = wanted.difference(&found).count();
    let more = found.difference(&wanted).count();
    println!("stage 4: {} instances, {missing} missing, {more} more", found.len());
    assert_eq!((found.len(), missing, more), (226, 0, 0));
}
