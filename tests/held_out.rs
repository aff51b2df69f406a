//! `albacore eval held-out`: a finished model measures what its training measured.

mod support;

use serde_json::{Value, json};
use support::Place;

/// What `eval held-out` tells of each model.
fn measured(place: &Place, arguments: &[&str]) -> Vec<Value> {
    let run = place.run(&[&["eval", "held-out"], arguments, &["--json"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    told["models"].as_array().expect("a list").clone()
}

/// The values of this name in a run's metrics.
fn metrics(place: &Place, name: &str) -> Vec<Value> {
    let lines = place.read("runs/tiny/metrics.jsonl");
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| line.get(name).cloned()).collect()
}

const HELD_OUT: &str = "[[data.sources]]\npath = \"held.jsonl\"\nheld_out = true\n[optim]";

#[test]
fn the_loss_of_a_finished_model_is_the_one_that_training_measured() {
    let place = Place::new();
    let record = |number: usize| {
        let output = format!("{number} it is");
        json!({ "instruction": format!("Tell {number}"), "input": "", "output": output })
    };
    place.write("held.jsonl", &(0..7).map(|n| format!("{}\n", record(n))).collect::<String>());
    place.replace("config.toml", "[optim]", HELD_OUT);
    assert_eq!(place.train(&[]).code, 0);
    let found = measured(&place, &["model", "runs/tiny", "--input", "held.jsonl"]);
    let [before, after] = &found[..] else { panic!("two models") };
    // To the bit.
    assert_eq!(Some(&after["loss"]), metrics(&place, "held_out_loss").last());
    assert_ne!(before["loss"], after["loss"]);
    // 7 letters and the end of each.
    assert_eq!((&after["n"], after["tokens"].as_u64()), (&json!(7), Some(7 * 8)));
    let loss = after["loss"].as_f64().expect("a number");
    assert_eq!(after["perplexity"], json!(loss.exp()));
    assert!(after.get("ranking").is_none());
    // A table for people, and what is too long is told.
    let long = json!({ "instruction": "x".repeat(200), "input": "", "output": "y" });
    place.write("more.jsonl", &format!("{long}\n{}\n", record(1)));
    let run = place.run(&["eval", "held-out", "model", "--input", "more.jsonl"]);
    let last = run.stdout.lines().last().expect("a line");
    let cells: Vec<_> = last.split_whitespace().collect();
    assert_eq!(cells[..4], ["model", "1", "1", "8"], "{}", run.stdout);
}

#[test]
fn answers_are_ranked_as_training_ranks_them() {
    let place = Place::new();
    let record = |number: usize| {
        let instruction = format!("Say {number}:");
        json!({ "id": number, "instruction": instruction, "output": ["a", "bb", "ccc"], "score": [number % 3, 1, 0.5] })
    };
    let lines = |range: std::ops::Range<usize>| {
        range.map(|number| format!("{}\n", record(number))).collect::<String>()
    };
    place.write("data.jsonl", &lines(0..8));
    place.write("held.jsonl", &lines(8..14));
    place.replace("config.toml", "[optim]", HELD_OUT);
    let run = place.train(&["--set", "objective.kind=tuna", "--set", "data.template=none"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let found = measured(&place, &["runs/tiny", "--input", "held.jsonl", "--template", "none"]);
    let ranking = &found[0]["ranking"];
    for name in ["ranking_accuracy", "ranking_accuracy_adjacent", "ranking_accuracy_top1", "margin"]
    {
        let (here, there) = (
            ranking[name].as_f64(),
            metrics(&place, &format!("held_out_{name}")).pop().expect("it"),
        );
        let (here, there) = (here.expect("a number"), there.as_f64().expect("a number"));
        // Other neighbours in the batch: the last bits of f32 may differ.
        assert!((here - there).abs() < 1e-5, "{name}: {here} {there}");
    }
}

#[test]
fn a_model_that_cannot_be_measured_takes_nothing_from_the_others() {
    let place = Place::new();
    std::fs::create_dir(place.path("bad")).expect("a folder");
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(place.path("model").join(name), place.path("bad").join(name)).expect("it");
    }
    place.write("bad/model.safetensors", "nothing of the sort");
    let run = place.run(&["eval", "held-out", "bad", "model", "--input", "data.jsonl", "--json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("1 of 2 models have not been measured: `bad`: "), "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&told["models"][0]["model"], &told["models"][1]), (&json!("model"), &Value::Null));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let place = Place::new();
    place.write("bare.jsonl", "{\"instruction\": \"x\"}\n");
    let long = json!({ "instruction": "x".repeat(200), "input": "", "output": "y" });
    place.write("long.jsonl", &format!("{long}\n"));
    let mut all = String::new();
    for arguments in [
        ["modle", "--input", "data.jsonl"],
        ["model", "--input", "nothing.jsonl"],
        ["model", "--input", "bare.jsonl"],
        ["model", "--input", "long.jsonl"],
    ] {
        let run = place.run(&[&["eval", "held-out"], &arguments[..]].concat());
        assert_eq!(run.code, 2, "{}", run.stderr);
        all += &format!("{}\n", run.stderr);
    }
    insta::assert_snapshot!(all);
}
