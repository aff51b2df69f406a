//! Suites that a model is asked while it is trained, and questions that stand in training data.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Place;

/// A run of four steps that asks GSM8K, made up, before, in the middle and after.
fn place() -> Place {
    let place = Place::new();
    fs::create_dir_all(place.path("data/gsm8k")).expect("a folder");
    let line =
        |number: usize| format!("{{\"question\": \"{number}?\", \"answer\": \"#### {number}\"}}\n");
    place.write("data/gsm8k/test.jsonl", &(0..6).map(line).collect::<String>());
    place.write("data/gsm8k/train.jsonl", &(0..8).map(line).collect::<String>());
    let eval = "[eval]\nsuites = [\"gsm8k\"]\ndata = \"data\"\nlimit = 3\nsuites_every = 2\n";
    place.write("config.toml", &(support::CONFIG.to_owned() + eval));
    place
}

fn lines(place: &Place, name: &str) -> Vec<Value> {
    place.read(name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The lines of a run's metrics without what a clock says.
fn metrics(place: &Place, run: &str) -> Vec<Value> {
    let mut lines = lines(place, &format!("{run}/metrics.jsonl"));
    for line in &mut lines {
        let object = line.as_object_mut().expect("an object");
        object.retain(|key, _| !["elapsed_s", "tokens_per_second"].contains(&key.as_str()));
    }
    lines
}

#[test]
fn a_model_in_training_answers_as_its_checkpoint_does() {
    let place = place();
    let run = place.train(&[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("questions each time: 3 of `gsm8k`"), "{}", run.stderr);
    assert!(run.stderr.contains("`test.jsonl` is for testing"), "{}", run.stderr);
    assert!(run.stdout.contains("\ngsm8k accuracy "), "{}", run.stdout);
    let asked: Vec<_> = metrics(&place, "runs/tiny")
        .iter()
        .map(|line| line["suite_gsm8k_accuracy"].as_f64())
        .collect();
    assert!(matches!(asked[..], [None, Some(_), None, Some(_)]), "{asked:?}");

    let eval = ["eval", "runs/tiny", "--suite", "gsm8k", "--data", "data", "--limit", "3"];
    assert_eq!(place.run(&[&eval[..], &["--threads", "1"]].concat()).code, 0);
    let alone = lines(&place, "runs/eval/answers.jsonl");
    let trained = lines(&place, "runs/tiny/evaluation/answers.jsonl");
    assert_eq!((alone.len(), trained.len()), (3, 9));
    let last: Vec<_> = trained.iter().filter(|line| line["model"] == "step 4").collect();
    for (one, other) in alone.iter().zip(last) {
        for key in ["id", "prompt", "answer", "extracted", "scores", "dropped_exemplars"] {
            assert_eq!(one[key], other[key], "{key}");
        }
    }
    let texts: Vec<_> = trained.iter().map(|line| line["answer"].to_string()).collect();
    assert!(texts[..3] != texts[6..], "training has changed nothing that could be told");

    // The folder is that of an evaluation: the base beside the newest.
    let report = place.run(&["report", "runs/tiny/evaluation", "--quiet"]);
    assert_eq!(report.code, 0, "{}", report.stderr);
    let page = place.read("runs/tiny/evaluation/report.html");
    assert!(page.contains("step 0") && page.contains("step 4"));
    let table: Value =
        serde_json::from_str(&place.read("runs/tiny/evaluation/results.json")).expect("JSON");
    let rows = table["rows"].as_array().expect("rows");
    let models: Vec<_> = rows.iter().map(|row| row["model"].as_str().expect("a name")).collect();
    assert_eq!(models, ["step 0", "step 4"]);
}

#[test]
fn a_run_that_goes_on_has_the_same_numbers_and_asks_nothing_twice() {
    let place = place();
    assert_eq!(place.train(&[]).code, 0);
    let files = ["evaluation/answers.jsonl", "evaluation/results.json"];
    let all = |place: &Place| files.map(|name| place.read(&format!("runs/tiny/{name}")));
    let (whole, numbers) = (all(&place), metrics(&place, "runs/tiny"));
    let journal = place.read("runs/tiny/evaluation/requests.jsonl");
    assert_eq!(journal.lines().count(), 9);
    for kept in [9, 7] {
        // What a kill in the last evaluation leaves, or before its checkpoint.
        fs::remove_dir_all(place.path("runs/tiny/checkpoints/step-000004")).expect("it is there");
        let some: String = journal.lines().take(kept).map(|line| format!("{line}\n")).collect();
        place.write("runs/tiny/evaluation/requests.jsonl", &some);
        let run = place.train(&[]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(metrics(&place, "runs/tiny"), numbers);
        assert_eq!(all(&place), whole);
        assert_eq!(lines(&place, "runs/tiny/evaluation/requests.jsonl").len(), 9);
    }
}

#[test]
fn suites_that_cannot_be_asked_are_refused_before_anything_is_touched() {
    let place = place();
    for (set, wanted) in [
        ("eval.data=nowhere", "`eval.data` is `nowhere`, which does not exist"),
        ("eval.suites=[\"bbh\"]", "there is no `NAME.json` of `bbh` in `data`"),
        ("eval.suites=[\"gsm9k\"]", "`eval.suites` has `gsm9k`, wanted one of `super_ni`"),
        ("eval.limit=0", "`eval.limit` is 0, wanted at least 1"),
    ] {
        let run = place.train(&["--set", set]);
        assert_eq!(run.code, 2, "{set}: {}", run.stderr);
        assert!(run.stderr.contains(wanted), "{set}: {}", run.stderr);
        assert!(!place.path("runs").exists(), "{set}");
    }
}

#[test]
fn questions_that_stand_in_training_files_are_counted_and_named() {
    let place = place();
    let long = "If a train leaves at nine and another at ten, when do both of them meet at last";
    let problem = |text: &str| format!("{}\n", json!({ "question": text, "answer": "#### 1" }));
    place.write(
        "data/gsm8k/test.jsonl",
        &(problem(long) + &problem("One?") + &problem(&"no ".repeat(20))),
    );
    let record = |text: String| format!("{}\n", json!({ "instruction": text, "output": "1" }));
    let text = record("Nothing".into()) + &record(format!("Solve this. {}!", long.to_uppercase()));
    place.write("train.jsonl", &text);
    let eval = ["eval", "--suite", "gsm8k", "--data", "data", "--contamination", "train.jsonl"];
    let run = place.run(&eval);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(
        run.stdout,
        "1 of 3 questions share 13 words in a row with one of 2 training records; 1 are too short to tell\n  \
         gsm8k: 1 of 3\n\
         each of them, with a record: runs/contamination/contamination.jsonl\n"
    );
    let found = lines(&place, "runs/contamination/contamination.jsonl");
    let wanted = json!({ "suite": "gsm8k", "task": "gsm8k", "id": "0", "record": "train.jsonl:2" });
    assert_eq!(found, [wanted]);

    let report = place.run(&["report", "runs/contamination", "--quiet"]);
    assert_eq!(report.code, 2);
    assert!(report.stderr.contains("no model was asked in `runs/contamination`"));

    // With a model the page has it too.
    let asked = ["model", "--limit", "1", "--set", "evaluation.max_new_tokens=2"];
    let run = place.run(&[&eval[..], &asked].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("1 of 1 questions share 13 words"), "{}", run.stdout);
    assert_eq!(place.run(&["report", "runs/eval", "--quiet"]).code, 0);
    assert!(place.read("runs/eval/report.html").contains("In the training data"));
    // A run that is asked suites says so of its own training data.
    place.write("data.jsonl", &(place.read("data.jsonl") + &text));
    let run = place.train(&["--set", "train.steps=1", "--set", "eval.limit=1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let warning =
        "warning: 1 of 1 questions share 13 words in a row with one of 22 training records";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    assert!(place.path("runs/tiny/evaluation/contamination.jsonl").exists());
    // And what was not asked for is not shown.
    let run = place.run(&[&eval[..5], &asked].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!place.path("runs/eval/contamination.json").exists());
}
