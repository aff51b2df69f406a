//! `albacore bootstrap` and `albacore seeds`, run as a user runs them.

mod support;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{Place, Run};

fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

/// Lines of JSON.
fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect()
}

fn seed(number: usize, instruction: &str, input: &str, output: &str) -> Value {
    json!({
        "id": format!("seed_{number}"), "name": format!("name {number}"), "instruction": instruction,
        "instances": [{ "input": input, "output": output }],
        "is_classification": number.is_multiple_of(6),
    })
}

/// Templates short enough for a tiny model.
fn write_prompts(place: &Place) {
    fs::create_dir(place.path("prompts")).expect("a folder");
    let list = "{% for task in tasks %}{{ loop.index }}. {{ task }}\n{% endfor %}{{ tasks | length + 1 }}.";
    let question = "Task: {{ instruction }}\nIs it classification?";
    place.write("prompts/instructions.jinja", list);
    place.write("prompts/is_classification.jinja", question);
    place.write("prompts/input_first.jinja", "Task: {{ instruction }}\n\n");
    place.write("prompts/output_first.jinja", "Task: {{ instruction }}\n\n");
}

const CONFIG: &str = r#"[model]
path = "model"
[bootstrap]
seeds = "seeds.jsonl"
prompts = "prompts"
instructions = 30
tasks_per_prompt = 3
held_out = 0.1
instruction_decoding = { max_tokens = 60, temperature = 1.0, stop = ["\n6"] }
instance_decoding = { max_tokens = 60, stop = ["\n\n"] }
"#;

/// A tiny model of random weights, two seeds, prompts and a config.
fn place() -> Place {
    let place = Place::new();
    write_prompts(&place);
    let seeds = [
        seed(0, "Name the colour of snow.", "", "White."),
        seed(1, "Add the numbers.", "1 2", "3"),
    ];
    place.write("seeds.jsonl", &lines(seeds));
    place.write("data.toml", CONFIG);
    place
}

/// The quickstart's records, and what a model reads that is to write such itself.
fn write_lessons(place: &Place) -> usize {
    let text = include_str!("../data/quickstart/instructions.jsonl");
    let records = text.lines().map(|line| serde_json::from_str(line).expect("a record"));
    let records: Vec<Value> = records
        .filter(|record: &Value| {
            record["instruction"].as_str().expect("text").split(' ').count() > 3
        })
        .collect();
    let of = |index: usize, field: &str| {
        records[index * 37 % records.len()][field].as_str().expect("text")
    };
    let lessons = (0..1000).flat_map(|number| {
        let task = |offset| of(5 * number + offset, "instruction");
        let list = (0..3).map(|offset| format!("{}. {}\n", offset + 1, task(offset)));
        let more = format!(" {}\n5. {}\n", task(3), task(4));
        let input = match of(5 * number, "input") {
            "" => String::new(),
            input => format!("Example 1\n{input}\n"),
        };
        let instance = format!("{input}Output: {}", of(5 * number, "output"));
        [
            json!({ "prompt": list.collect::<String>() + "4.", "completion": more }),
            json!({ "prompt": format!("Task: {}\n", task(0)), "completion": instance }),
        ]
    });
    place.write("lessons.jsonl", &lines(lessons));
    let seeds = (0..30).map(|number| {
        let [instruction, input, output] =
            ["instruction", "input", "output"].map(|field| of(number, field));
        seed(number, instruction, input, output)
    });
    place.write("seeds.jsonl", &lines(seeds));
    30
}

#[test]
fn the_quickstart_s_model_learns_the_form_and_writes_data_that_a_training_run_reads() {
    let place = Place::new();
    write_prompts(&place);
    let seeds = write_lessons(&place);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/quickstart/base");
    let lessons = format!(
        "[model]\npath = {base:?}\n[data]\nmax_tokens = 256\ntokens_per_batch = 1024\ntemplate = \"none\"\n\
         [[data.sources]]\npath = \"lessons.jsonl\"\n[optim]\nlearning_rate = 3e-3\n[schedule]\nkind = \"linear\"\n\
         [train]\nsteps = 60\n"
    );
    place.write("lessons.toml", &lessons);
    let run = place.run(&["train", "lessons.toml"]);
    assert_eq!(run.code, 0, "{}", told(&run));

    place.write("data.toml", &CONFIG.replace("\"model\"", "\"runs/lessons\""));
    let run = place.run(&["bootstrap", "data.toml", "--json"]);
    assert_eq!(run.code, 0, "{}", told(&run));
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    let number = |key: &str| summary["funnel"][key].as_u64().unwrap();
    assert!(number("accepted") >= 30 && number("instances") >= 10, "{summary}");
    assert!(number("train") >= 10 && number("held_out") >= 1, "{summary}");
    let file = |name: &str| place.read(&format!("runs/data/{name}"));
    assert_eq!(file("train.jsonl").lines().count() as u64, number("train"));
    let records = file("records.jsonl");
    assert!(records.lines().all(|line| line.starts_with("{\"instruction\":")), "{records}");
    assert!(seeds == 30 && !records.contains("seed_"));

    // Again: nothing is asked, and nothing changes.
    let names =
        ["requests.jsonl", "instructions.jsonl", "records.jsonl", "train.jsonl", "held_out.jsonl"];
    let before = names.map(file);
    let again = place.run(&["bootstrap", "data.toml", "--json"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(again["funnel"], summary["funnel"]);
    assert!(names.map(file) == before);
    // One stage alone, laid out otherwise.
    let run = place.run(&["bootstrap", "records", "data.toml", "--set", "bootstrap.held_out=0"]);
    assert_eq!(run.code, 0, "{}", told(&run));
    assert_eq!(file("held_out.jsonl"), "");

    for name in ["records.jsonl", "train.jsonl"] {
        let config = lessons.replace("lessons.jsonl", &format!("runs/data/{name}"));
        place.write("tune.toml", &config.replace("\"none\"", "\"alpaca\""));
        let run = place.run(&[
            "train",
            "tune.toml",
            "--set",
            "train.steps=2",
            "--set",
            &format!("run.name={name}"),
        ]);
        assert_eq!(run.code, 0, "{}", told(&run));
    }
}

#[test]
fn a_dry_run_shows_a_prompt_of_each_stage_and_leaves_nothing_behind() {
    let place = place();
    let run = place.run(&["bootstrap", "data.toml", "--dry-run"]);
    insta::assert_snapshot!(told(&run));
    let run = place.run(&["bootstrap", "classification", "data.toml", "--dry-run", "--json"]);
    let shown: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(shown["stages"].as_array().unwrap().len(), 1);
    assert_eq!(shown["stages"][0]["requests"], 30);
    assert!(!place.path("runs").exists());
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_is_touched() {
    let place = place();
    place.write("others.jsonl", &lines([seed(1, "Add the numbers.", "1 2", "3")]));
    let mut all = String::new();
    let mut refused = |what: &str, arguments: &[&str]| {
        let run = place.run(&[&["bootstrap"], arguments].concat());
        all += &format!("# {what}\n{}\n", told(&run));
        assert_eq!(run.code, 2, "{what}");
        assert!(!place.path("runs/data").exists(), "{what}");
    };
    place.write(
        "broken.jsonl",
        "{\"id\": \"a\", \"name\": \"n\", \"instruction\": \"Do.\"}\nnot json\n",
    );
    refused("malformed seeds", &["data.toml", "--set", "bootstrap.seeds=broken.jsonl"]);
    refused("no such seeds", &["data.toml", "--set", "bootstrap.seeds=seed.jsonl"]);
    refused("no writer", &["data.toml", "--set", "model.path="]);
    let server = ["--set", "server.endpoint=127.0.0.1:1", "--set", "server.model=m"];
    refused("two writers, one of them no address", &[&["data.toml"], &server[..]].concat());
    refused("an unknown rule", &["data.toml", "--set", "bootstrap.rules=[\"word=3\"]"]);
    refused("a stage whose input is missing", &["instances", "data.toml"]);
    refused(
        "prompts that the model cannot read",
        &["data.toml", "--set", "bootstrap.tasks_per_prompt=9", "--set", "bootstrap.method=alpaca"],
    );
    refused(
        "no seed of the kind that is wanted",
        &[
            "data.toml",
            "--set",
            "bootstrap.classification_only=true",
            "--set",
            "bootstrap.seeds=others.jsonl",
        ],
    );
    fs::write(place.path("prompts/instances.jinja"), "").unwrap();
    refused("a prompt that no stage asks for", &["data.toml"]);
    insta::assert_snapshot!(all);
}

#[test]
fn a_server_that_cannot_be_reached_ends_the_run_and_loses_nothing() {
    let place = place();
    let config = CONFIG.replace(
        "[model]\npath = \"model\"",
        "[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\nbackoff_s = 0.0\nconcurrency = 1",
    );
    place.write("data.toml", &config);
    let run = place.run(&["bootstrap", "data.toml", "--quiet"]);
    insta::assert_snapshot!(told(&run));
    assert_eq!(place.read("runs/data/requests.jsonl"), "");
}

#[test]
fn a_run_with_other_settings_and_a_training_run_are_not_gone_on_with() {
    let place = place();
    place.write(
        "data.toml",
        &CONFIG.replace(
            "[model]\npath = \"model\"",
            "[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\nbackoff_s = 0.0",
        ),
    );
    assert_eq!(place.run(&["bootstrap", "data.toml", "--quiet"]).code, 1);
    // Where nothing was answered, other settings are as good.
    place.write("runs/data/requests.jsonl", "{}\n");
    let before = place.read("runs/data/config.toml");
    let run =
        place.run(&["bootstrap", "data.toml", "--set", "bootstrap.novelty=0.5", "--seed", "3"]);
    assert_eq!(run.code, 2);
    assert_eq!(place.read("runs/data/config.toml"), before);
    let trained = place.train(&["--set", "train.steps=1", "--set", "run.name=trained"]);
    assert_eq!(trained.code, 0, "{}", told(&trained));
    let other = place.run(&["bootstrap", "data.toml", "--set", "run.name=trained"]);
    assert_eq!(other.code, 2);
    insta::assert_snapshot!(format!("{}{}", told(&run), told(&other)));
}

#[test]
fn seeds_are_looked_over() {
    let place = place();
    let seeds = [
        seed(0, "Name the capital of France.", "", "Paris."),
        seed(1, "Draw the flag of France and Spain.", "", "No."),
        seed(2, "Name the capital of France!", "", "Paris."),
        seed(3, "把这句话翻译成英文。", "你好", "Hello."),
    ];
    place.write("mine.jsonl", &lines(seeds));
    let run = place.run(&["seeds", "check", "mine.jsonl"]);
    assert_eq!(run.code, 1);
    let loose = place.run(&["seeds", "check", "mine.jsonl", "--rouge-l", "1", "--unicode"]);
    assert_eq!(loose.code, 0);
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/seeds/seed_tasks.jsonl");
    let ours = place.run(&["seeds", "check", ours.to_str().unwrap()]);
    insta::assert_snapshot!([run, loose, ours].map(|run| told(&run)).join("\n"));
}

#[test]
fn the_last_stage_needs_no_weights_and_no_key() {
    let place = place();
    fs::create_dir_all(place.path("runs/data")).unwrap();
    for name in ["instructions.jsonl", "instances.jsonl"] {
        place.write(&format!("runs/data/{name}"), "");
    }
    let config = CONFIG.replace("path = \"model\"", "path = \"hollow\"");
    fs::create_dir(place.path("hollow")).unwrap();
    place.write("hollow/config.json", "{}");
    place.write("data.toml", &config);
    let run = place.run(&["bootstrap", "records", "data.toml"]);
    assert_eq!(run.code, 0, "{}", told(&run));
    // Nothing was brought, so there is nothing to train on.
    assert!(
        run.stdout.contains("look at them") && !run.stdout.contains("train on them"),
        "{}",
        told(&run)
    );
    let server = "[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\n\
                  api_key_env = \"ALBACORE_TEST_NO_SUCH_KEY\"";
    place.write("data.toml", &CONFIG.replace("[model]\npath = \"model\"", server));
    fs::remove_file(place.path("runs/data/settings.json")).unwrap();
    let run = place.run(&["bootstrap", "records", "data.toml"]);
    assert_eq!(run.code, 0, "{}", told(&run));
    let run = place.run(&["bootstrap", "data.toml"]);
    assert!(run.code == 2 && run.stderr.contains("ALBACORE_TEST_NO_SUCH_KEY"), "{}", told(&run));
}

#[test]
fn alpaca_s_way_tells_of_the_stages_that_it_has() {
    let place = place();
    let server = "[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"";
    place.write("data.toml", &CONFIG.replace("[model]\npath = \"model\"", server));
    // A run whose first stage is complete: nothing is asked.
    let accepted = json!({
        "instruction": "Name it.", "input": "", "output": "It.", "most_similar": {},
        "avg_similarity_score": 0.1, "request_idx": 0, "request": "instructions/0/0",
    });
    let rejected = json!({
        "instruction": "", "rule": "empty", "request_idx": 1, "request": "instructions/1/0",
    });
    fs::create_dir_all(place.path("runs/data")).unwrap();
    place.write("runs/data/instructions.jsonl", &lines([accepted]));
    place.write("runs/data/rejected.jsonl", &lines([rejected]));
    let alpaca = ["data.toml", "--set", "bootstrap.method=alpaca"];
    let run = place.run(&[&["bootstrap", "classification"], &alpaca[..]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    assert!(run.stderr.contains("has no stage `classification`"), "{}", told(&run));
    assert!(!run.stderr.contains("is complete"), "{}", told(&run));
    let one = ["--set", "bootstrap.instructions=1"];
    let run = place.run(&[&["bootstrap"], &alpaca[..], &one[..]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    for (stage, is_told) in
        [("instructions", true), ("classification", false), ("instances", false), ("records", true)]
    {
        let line = format!("stage `{stage}` is complete");
        assert_eq!(run.stderr.contains(&line), is_told, "{}", told(&run));
    }
}

#[test]
fn a_config_of_another_command_is_named_as_one() {
    let place = place();
    let run = place.run(&["config", "data.toml"]);
    assert_eq!(run.code, 2);
    let hint = "config --for bootstrap data.toml` reads it as one";
    assert!(run.stderr.contains(hint), "{}", told(&run));
    let run = place.run(&["config", "--for", "bootstrap", "data.toml"]);
    assert_eq!(run.code, 0, "{}", told(&run));
}
