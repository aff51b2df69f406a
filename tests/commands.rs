//! Every command, run as a user runs it, on a tiny model.

mod support;

use serde_json::Value;
use support::Place;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

#[test]
fn help_shows_every_command() {
    let run = Place::new().run(&["--help"]);
    assert_eq!(run.code, 0);
    insta::assert_snapshot!(run.stdout);
}

#[test]
fn the_help_of_every_command_ends_with_an_example() {
    let place = Place::new();
    let commands =
        ["train", "preview", "prepare", "import", "export", "score", "complete", "config"];
    let helps = commands.map(|command| place.run(&[command, "--help"]).stdout);
    insta::assert_snapshot!(helps.join("\n--------\n\n"));
}

#[test]
fn the_config_that_is_printed_can_be_trained() {
    let place = Place::new();
    let run = place.run(&["config", "config.toml", "--set", "train.steps=1", "--seed", "3"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    place.write("config.toml", &run.stdout);
    assert_eq!(place.run(&["config", "config.toml"]).stdout, run.stdout);
    assert_eq!(place.train(&["--quiet"]).code, 0);
    assert_eq!(place.read("runs/tiny/config.toml"), run.stdout);
}

#[test]
fn preview_shows_what_is_learned() {
    let place = Place::new();
    let run = place.run(&["preview", "config.toml", "-n", "1"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    insta::assert_snapshot!(run.stdout);
    let run = place.run(&["preview", "config.toml", "-n", "2", "--json"]);
    let examples = lines(&run.stdout);
    assert_eq!(examples.len(), 2);
    let token = &examples[1]["tokens"][0];
    assert_eq!(
        (token["text"].as_str(), token["learned"].as_bool()),
        (Some("<|begin|>"), Some(false))
    );
}

#[test]
fn prepare_counts_what_becomes_of_the_records() {
    let place = Place::new();
    let long = "x".repeat(80);
    let record = format!("{{\"instruction\": \"Say\", \"output\": \"{long}\"}}\n");
    place.write("data.jsonl", &(place.read("data.jsonl") + &record));
    let run = place.run(&["prepare", "config.toml", "--set", "data.held_out=4"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(run.stdout);
}

#[test]
fn a_dry_run_tells_all_and_touches_nothing() {
    let place = Place::new();
    let run = place.train(&["--dry-run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in ["model      model, 6,", "steps      4,", "memory     about", "[optim]"] {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    assert!(!place.path("runs").exists());
}

#[test]
fn a_run_trains_and_says_what_to_type_next() {
    let place = Place::new();
    let held_out = [
        "--set",
        "data.held_out=4",
        "--set",
        "eval.samples=1",
        "--set",
        "eval.metrics=[\"loss\", \"exact_match\"]",
        "--set",
        "eval.max_new_tokens=4",
    ];
    let run = place.train(&held_out);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in
        ["finished step 4 after", "loss", "exact match", "wanted", "albacore complete runs/tiny"]
    {
        assert!(run.stdout.contains(part), "{part} in {}", run.stdout);
    }
    for part in ["optim.learning_rate = 0.01", "training 6,", "step 0: held_out_loss", "saved `"] {
        assert!(run.stderr.contains(part), "{part} in {}", run.stderr);
        assert!(place.read("runs/tiny/log.txt").contains(part), "{part} in the log");
    }
    let metrics = lines(&place.read("runs/tiny/metrics.jsonl"));
    assert_eq!(metrics.len(), 4);
    assert!(metrics[3]["held_out_exact_match"].is_number());

    let again = place.train(&held_out);
    assert_eq!(again.code, 0);
    assert!(again.stdout.contains("had finished already"), "{}", again.stdout);
    let table = |text: &str| {
        text.split("\n\n").find(|part| part.contains("exact match")).map(str::to_owned)
    };
    assert_eq!(table(&again.stdout), table(&run.stdout));
    assert!(again.stdout.contains("--set train.steps=N"), "{}", again.stdout);
}

#[test]
fn quiet_says_nothing_but_results_and_json_is_all_json() {
    let place = Place::new();
    let run = place.train(&["--quiet"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let run = place.train(&["--json", "--resume", "never"]);
    assert_eq!(lines(&run.stdout)[0]["end"], "finished");
    let told = lines(&run.stderr);
    assert_eq!(told.iter().filter(|line| line.get("step").is_some()).count(), 4);
}

#[test]
fn a_run_is_exported_and_the_export_answers_the_same() {
    let place = Place::new();
    assert_eq!(place.train(&["--quiet"]).code, 0);
    let export = place.run(&["export", "runs/tiny", "out/tiny"]);
    assert_eq!(export.code, 0, "{}", export.stderr);
    let answer = |model: &str| {
        let ask = ["complete", model, "--prompt", "Say 3", "--max-new-tokens", "5", "--json"];
        place.run(&ask).stdout
    };
    assert_eq!(answer("out/tiny"), answer("runs/tiny"));
    assert_eq!(lines(&answer("out/tiny"))[0]["prompt"], "Say 3");

    let half = place.run(&["export", "out/tiny", "out/half", "--dtype", "bf16"]);
    assert_eq!(half.code, 0, "{}", half.stderr);
    assert!(place.read("out/half/config.json").contains("bfloat16"));
    let full = place.run(&["export", "out/tiny", "out/half"]);
    assert_eq!(full.code, 2);
    assert!(full.stderr.contains("exists already"), "{}", full.stderr);
}

#[test]
fn a_model_trained_by_the_alpaca_prompt_is_asked_by_it() {
    let place = Place::new();
    assert_eq!(
        place
            .train(&[
                "--quiet",
                "--set",
                "data.template=alpaca",
                "--set",
                "data.max_tokens=300",
                "--set",
                "data.tokens_per_batch=600"
            ])
            .code,
        0
    );
    assert_eq!(place.run(&["export", "runs/tiny", "out", "--json"]).code, 0);
    let ask = |template: &[&str]| {
        let ask = ["complete", "out", "--prompt", "Say 3", "--max-new-tokens", "3"];
        place.run(&[&ask, template].concat()).stdout
    };
    assert!(place.read("out/chat_template.jinja").contains("### Instruction:"));
    assert!(!place.read("out/tokenizer_config.json").contains("chat_template"));
    assert_eq!(ask(&[]), ask(&["--template", "alpaca"]));
}

#[test]
fn prompts_are_answered_together_as_they_are_alone() {
    let place = Place::new();
    let ask = |prompts: &[&str]| {
        let mut arguments =
            vec!["complete", "model", "--max-new-tokens", "6", "--json", "--seed", "5"];
        prompts.iter().for_each(|prompt| arguments.extend(["--prompt", prompt]));
        let run = place.run(&arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        lines(&run.stdout)
    };
    let together = ask(&["Say 1", "Say something longer"]);
    assert_eq!(together[0], ask(&["Say 1"])[0]);
    assert_eq!(together[1], ask(&["Say something longer"])[0]);
}

#[test]
fn a_stop_text_ends_an_answer_before_it() {
    let place = Place::new();
    let ask = |more: &[&str]| {
        let ask = [
            "complete",
            "model",
            "--prompt",
            "a",
            "--template",
            "none",
            "--max-new-tokens",
            "12",
            "--json",
        ];
        lines(&place.run(&[&ask, more].concat()).stdout)[0].clone()
    };
    let whole = ask(&[]);
    let whole = whole["completion"].as_str().expect("text");
    let stop: String = whole.chars().skip(3).take(2).collect();
    let cut = ask(&["--stop", &stop]);
    assert_eq!(cut["completion"].as_str(), whole.split(&stop).next());
    assert_eq!(cut["finish"], "stop");
}

#[test]
fn score_takes_text_messages_and_ids_alike() {
    let place = Place::new();
    let ids = |text: &str| text.bytes().map(|byte| u32::from(byte) - 33).collect::<Vec<_>>();
    let prompt = [vec![256, 258], ids("Hi"), vec![257, 259]].concat();
    let response = [ids("Yes"), vec![257]].concat();
    let input = [
        r#"{"id": 1, "prompt": "Hi", "response": "Yes"}"#.to_owned(),
        r#"{"id": "b", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]}"#.into(),
        serde_json::json!({ "id": 3, "prompt_ids": prompt, "response_ids": response }).to_string(),
    ];
    place.write("in.jsonl", &input.join("\n"));
    let run = place.run(&["score", "model", "--input", "in.jsonl", "--output", "out.jsonl"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let scores = lines(&place.read("out.jsonl"));
    assert_eq!(
        scores.iter().map(|score| &score["id"]).collect::<Vec<_>>(),
        [&input_id(1), &Value::from("b"), &input_id(3)]
    );
    for score in &scores {
        assert_eq!(score["token_logprobs"], scores[0]["token_logprobs"]);
        assert_eq!(score["tokens"], 4);
        let sum: f64 = score["token_logprobs"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(Value::as_f64)
            .sum();
        assert!((sum - score["logprob"].as_f64().expect("a number")).abs() < 1e-6);
    }
    let run = place.run(&[
        "score",
        "model",
        "--input",
        "in.jsonl",
        "--output",
        "short.jsonl",
        "--no-eos",
    ]);
    assert_eq!(run.code, 0);
    let tokens: Vec<_> =
        lines(&place.read("short.jsonl")).iter().map(|score| score["tokens"].clone()).collect();
    assert_eq!(tokens, [3, 3, 4], "given ids are taken as they are");
}

fn input_id(id: u64) -> Value {
    id.into()
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .arg("config")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty());
}
