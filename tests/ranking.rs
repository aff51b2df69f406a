//! Data that rank several answers, as a user meets them: looked at, counted, trained on, refused.

mod support;

use serde_json::{Value, json};
use support::Place;

/// Twelve records of three answers each, the best of which repeats the number.
fn ranked() -> Place {
    let place = Place::new();
    let record = |number: usize| {
        json!({
            "id": format!("n{number}"), "instruction": format!("Say {number}:"),
            "output": [format!("{number}"), "what", "no"], "score": [1.0, 0.5, -2],
        })
    };
    let lines: String = (0..12).map(|number| format!("{}\n", record(number))).collect();
    place.write("data.jsonl", &lines);
    place.replace("config.toml", "steps = 4", "steps = 4\ngroups_per_step = 4");
    place.replace("config.toml", "[optim]", "[objective]\nkind = \"tuna\"\n[optim]");
    place
}

#[test]
fn ranked_answers_are_shown_behind_their_prompt_and_counted() {
    let place = ranked();
    let shown = place.run(&["preview", "config.toml", "-n", "1"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    for line in [
        "data.jsonl:1: 16 tokens, 10 learned",
        "  read     prompt            S│a│y│ │0│:",
        " response 1 of 3, score 1",
        "  learned  answer            0",
        " response 3 of 3, score -2",
        "  learned  answer            n│o",
    ] {
        assert!(shown.stdout.contains(line), "`{line}` in {}", shown.stdout);
    }
    let shown = place.run(&["preview", "config.toml", "-n", "1", "--json"]);
    let line: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(line["responses"][1], json!({ "start": 8, "score": 0.5 }));
    let counted = place.run(&["prepare", "config.toml"]);
    assert!(counted.stdout.contains("responses"), "{}", counted.stdout);
    assert!(counted.stdout.contains("36  that share their prompt, an epoch"), "{}", counted.stdout);
}

#[test]
fn a_ranking_run_writes_its_terms_and_goes_on_where_it_stopped() {
    let place = ranked();
    let options = ["--set", "data.held_out=2", "--set", "objective.kind=\"dpo\""];
    let run = place.train(&options);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let metrics = place.read("runs/tiny/metrics.jsonl");
    let lines: Vec<Value> =
        metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 4);
    for key in ["loss", "ranking_accuracy", "kl", "margin"] {
        assert!(lines.iter().all(|line| line[key].is_number()), "{key} in {metrics}");
        assert!(lines[3][format!("held_out_{key}")].is_number(), "held_out_{key} in {metrics}");
    }
    assert!((lines[0]["loss"].as_f64().unwrap_or(0.0) - 2f64.ln()).abs() < 1e-6, "{metrics}");
    assert!(run.stdout.contains("ranking accuracy"), "{}", run.stdout);
    assert!(place.path("runs/tiny/checkpoints/step-000004/reference.bin").is_file());
    let weights = |place: &Place| {
        std::fs::read(place.path("runs/tiny/checkpoints/step-000004/model.safetensors")).ok()
    };
    let whole = weights(&place);
    // The newest checkpoint is lost: the run goes on from step 2, with the reference that it holds.
    std::fs::remove_dir_all(place.path("runs/tiny/checkpoints/step-000004")).expect("it is there");
    std::fs::remove_file(place.path("runs/tiny/reference.bin")).expect("it is there");
    let again = place.train(&options);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("step 2 of 4"), "{}", again.stderr);
    assert!(weights(&place) == whole, "the weights differ");
}

#[test]
fn data_and_objective_that_do_not_fit_are_refused_before_anything_is_made() {
    let place = ranked();
    let sft = place.train(&["--set", "objective.kind=\"sft\""]);
    assert_eq!(sft.code, 2);
    assert!(sft.stderr.contains("data.jsonl:1 has 3 answers to its prompt"), "{}", sft.stderr);
    assert!(sft.stderr.contains("hint: rank them with `kind = \"tuna\"`"), "{}", sft.stderr);
    place.write("data.jsonl", "{\"instruction\": \"Say 1\", \"output\": \"1\"}\n");
    let plain = place.train(&[]);
    assert_eq!(plain.code, 2);
    assert!(plain.stderr.contains("`objective.kind` ranks several answers"), "{}", plain.stderr);
    assert!(!place.path("runs").exists());
}

#[test]
fn ranked_records_that_cannot_be_used_are_named_with_line_and_id() {
    let place = ranked();
    let lines = [
        json!({ "id": "a", "instruction": "Q", "output": ["x"], "score": [1] }),
        json!({ "id": "b", "instruction": "Q", "output": ["x", ""], "score": [1, 2] }),
        json!({ "id": "c", "instruction": "Q", "output": ["x", "y"], "score": [1, null] }),
        json!({ "id": "d", "instruction": "Q", "output": ["x", "y"], "score": [1, 1] }),
    ];
    place.write("data.jsonl", &lines.map(|line| format!("{line}\n")).concat());
    let run = place.train(&[]);
    assert_eq!(run.code, 2);
    for message in [
        "data.jsonl:1 (id `a`): the number of candidates in `output` is 1, wanted 2 or more",
        "data.jsonl:2 (id `b`): the answer is empty: `output[1]` is `\"\"`, wanted text",
        "data.jsonl:3 (id `c`): `score[1]` is null, wanted a finite number",
        "`data.bad_records = \"drop\"`",
    ] {
        assert!(run.stderr.contains(message), "`{message}` in {}", run.stderr);
    }
    let run = place.train(&["--set", "data.bad_records=\"drop\"", "--set", "train.steps=1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("all responses have the same score in 1 of 4 records"),
        "{}",
        run.stderr
    );
}
