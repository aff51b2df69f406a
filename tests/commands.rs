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
    let commands = [
        "train", "preview", "prepare", "import", "export", "score", "complete", "eval", "filter",
        "report", "config",
    ];
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
fn prepare_names_the_records_that_are_held_out() {
    let place = Place::new();
    let run = place.run(&["prepare", "config.toml", "--set", "data.held_out=2", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let held_out = line["held_out"].as_array().unwrap();
    assert_eq!(held_out.len(), 2);
    for origin in held_out {
        assert!(origin.as_str().unwrap().contains("data.jsonl:"), "{origin}");
    }
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
fn a_dry_run_says_that_a_run_has_finished_and_leaves_it_as_it_is() {
    let (place, _) = finished("constant");
    let before = listing(&place.path("runs"));
    let run = place.train(&["--dry-run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("runs/tiny, has finished already: 4 steps"), "{}", run.stdout);
    assert_eq!(listing(&place.path("runs")), before);
    let run = place.train(&["--dry-run", "--set", "train.steps=6", "--json"]);
    let told = &lines(&run.stdout)[0];
    assert_eq!((&told["finished"], &told["step"]), (&false.into(), &4.into()));
}

/// Names and times of all files below a folder, but for the lock.
fn listing(folder: &std::path::Path) -> Vec<(String, std::time::SystemTime)> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        let changed = path.metadata().and_then(|file| file.modified()).expect("its time");
        if path.is_dir() {
            found.extend(listing(&path));
        } else if !path.ends_with(".lock") {
            found.push((path.display().to_string(), changed));
        }
    }
    found.sort();
    found
}

#[test]
fn the_quickstarts_are_understood_from_the_root() {
    let place = Place::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let dir = format!("run.dir={}", place.path("runs").display());
    for (config, held_out) in
        [("configs/quickstart.toml", 400), ("configs/quickstart-t5.toml", 300)]
    {
        let arguments = ["train", config, "--dry-run", "--set", &dir];
        let output = place.command(&arguments).current_dir(root).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let counted = format!(" {held_out}  examples");
        let is_told = |line: &str| line.starts_with("held out") && line.contains(&counted);
        assert!(stdout.lines().any(is_told), "{stdout}");
        assert!(!place.path("runs").exists());
    }
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
}

/// A finished run and what it says when it is started again.
fn finished(schedule: &str) -> (Place, String) {
    let place = Place::new();
    place.replace("config.toml", "[train]", &format!("[schedule]\nkind = \"{schedule}\"\n[train]"));
    assert_eq!(place.train(&["--quiet"]).code, 0);
    let again = place.train(&[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    (place, again.stdout)
}

#[test]
fn what_a_finished_run_tells_to_type_works() {
    for schedule in ["constant", "cosine"] {
        let (place, told) = finished(schedule);
        let next = told.split("next\n").nth(1).expect("what to type next");
        let typed: Vec<_> = next.lines().filter(|line| line.starts_with("  albacore ")).collect();
        assert_eq!(typed.len(), 2, "{told}");
        for command in typed {
            let words: Vec<_> = command.split_whitespace().skip(1).collect();
            let run = place.run(&words);
            assert_eq!(run.code, 0, "{command}: {}", run.stderr);
        }

        let more = next.lines().filter(|line| line.starts_with("  --"));
        let more: Vec<_> =
            more.map(|line| line.trim().split("   ").next().expect("options")).collect();
        assert_eq!(more.len(), 4, "{told}");
        assert_eq!(more[0].contains("--accept-changes"), schedule == "cosine", "{told}");
        for options in more {
            let (place, _) = finished(schedule);
            let run = place.train(&options.split(' ').collect::<Vec<_>>());
            assert_eq!(run.code, 0, "{options}: {}", run.stderr);
            assert!(run.stdout.contains("finished step"), "{options}: {}", run.stdout);
        }
    }
}

#[test]
fn what_to_type_is_spelled_as_the_program_was_started() {
    let (place, _) = finished("constant");
    let binary = assert_cmd::cargo::cargo_bin!("albacore");
    let told = |path: &std::path::Path| {
        let mut command = place.command(&["train", "config.toml", "--quiet"]);
        let output = command.env("PATH", path).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let elsewhere = told(&place.path("model"));
    let wanted = format!("  {} complete runs/tiny", binary.display());
    assert!(elsewhere.contains(&wanted), "{elsewhere}");
    let found = told(binary.parent().expect("a folder"));
    assert!(found.contains("\n  albacore complete runs/tiny"), "{found}");
}

#[test]
fn a_finished_run_keeps_its_config() {
    let (place, _) = finished("constant");
    let config = place.read("runs/tiny/config.toml");
    let run = place.train(&["--set", "checkpoint.every=1"]);
    assert!(run.stdout.contains("had finished already"), "{}", run.stdout);
    assert_eq!(place.read("runs/tiny/config.toml"), config);
    assert_eq!(place.train(&["--set", "train.steps=5"]).code, 0);
    assert!(place.read("runs/tiny/config.toml").contains("steps = 5"));
    assert!(!place.path("runs/tiny/config.toml.partial").exists());
}

#[test]
fn a_warm_up_as_long_as_the_run_is_warned_of() {
    let place = Place::new();
    let warmup = |steps: &str| {
        let run = place.train(&["--dry-run", "--set", &format!("schedule.warmup_steps={steps}")]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stderr
    };
    let wanted = "warning: `schedule.warmup_steps` is 4, and the run has 4 steps";
    assert!(warmup("4").contains(wanted), "{}", warmup("4"));
    assert_eq!(warmup("3"), "");
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
fn with_json_what_is_wrong_is_json_too() {
    let place = Place::new();
    let wrong = place.train(&["--json", "--set", "train.step=1", "--set", "optim.epsilon=0"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
    let told = lines(&wrong.stderr);
    assert_eq!(told.len(), 2);
    let error = told[0]["error"].as_str().expect("what is wrong");
    assert_eq!(error, "--set train.step=1: unknown key `train.step`");
    assert_eq!(told[0]["hint"], "the nearest known key is `train.steps`");
    assert!(told[1]["hint"].is_null());

    let typed = place.run(&["train", "--json", "--stepz"]);
    assert_eq!(typed.code, 2);
    let told = lines(&typed.stderr);
    assert!(told[0]["error"].as_str().is_some_and(|text| text.contains("--stepz")), "{told:?}");
}

#[test]
fn the_config_is_printed_as_json_too() {
    let place = Place::new();
    let printed = |arguments: &[&str]| lines(&place.run(arguments).stdout)[0].clone();
    assert_eq!(printed(&["config", "--json"])["optim"]["learning_rate"], 2e-5);
    assert_eq!(printed(&["config", "config.toml", "--json"])["optim"]["learning_rate"], 1e-2);
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
