//! `albacore tuna`: the whole recipe on the quickstart's model, as a user runs it.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Place, Run};

fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

const SFT: &str = r#"[model]
path = "BASE"
[data]
max_tokens = 128
tokens_per_batch = 1024
template = "none"
[[data.sources]]
path = "records.jsonl"
[optim]
learning_rate = 2e-3
[train]
steps = 30
"#;

const SAMPLE: &str = r#"[model]
path = "BASE"
[data]
template = "none"
[[data.sources]]
path = "records.jsonl"
cap = 80
[sample]
responses = 3
max_tokens = 16
rounds = 2
"#;

const RANK: &str = r#"[rank]
kind = "reference"
candidates = "candidates.jsonl"
original = "candidate"
"#;

const TUNE: &str = r#"[model]
path = "BASE"
[data]
max_tokens = 128
tokens_per_batch = 1024
template = "none"
held_out = 16
[[data.sources]]
path = "ranked.jsonl"
format = "tuna"
[objective]
kind = "tuna"
[optim]
learning_rate = 3e-4
[train]
groups_per_step = 8
epochs = 3
"#;

const STAGES: [&str; 5] = [
    "[recipe]\n",
    "[[stages]]\nname = \"1-sft\"\ncommand = \"train\"\nconfig = \"sft.toml\"\n",
    "[[stages]]\nname = \"2-sample\"\ncommand = \"sample\"\nconfig = \"sample.toml\"\n\
     set = { \"model.path\" = \"{model}\" }\n",
    "[[stages]]\nname = \"2-rank\"\ncommand = \"rank\"\nconfig = \"rank.toml\"\n\
     set = { \"rank.candidates\" = \"{2-sample}/candidates.jsonl\" }\n",
    "[[stages]]\nname = \"2-tune\"\ncommand = \"train\"\nconfig = \"tune.toml\"\n\
     set = { \"model.path\" = \"{model}\", \"data.sources\" = [{ path = \"{2-rank}/ranked.jsonl\", format = \"tuna\" }] }\n",
];

fn place() -> Place {
    let place = Place::new();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/quickstart/base");
    let base = base.to_str().expect("a path");
    for (name, text) in
        [("sft.toml", SFT), ("sample.toml", SAMPLE), ("rank.toml", RANK), ("tune.toml", TUNE)]
    {
        place.write(name, &text.replace("BASE", base));
    }
    let records = include_str!("../data/quickstart/instructions.jsonl").lines().take(600);
    place.write("records.jsonl", &records.map(|line| format!("{line}\n")).collect::<String>());
    place.write("all.toml", &STAGES.concat());
    place
}

/// What a stage has measured under a name: before and after.
fn measured(summary: &Value, stage: &str, name: &str) -> (f64, f64) {
    let stages = summary["stages"].as_array().expect("stages");
    let found = stages.iter().find(|found| found["name"] == stage).expect("the stage");
    let number = |when: &str| found[when][name].as_f64().expect(name);
    (number("before"), number("after"))
}

#[test]
fn the_whole_recipe_ranks_better_than_before_and_is_the_same_stopped_at_every_arrow() {
    let place = place();
    let whole = place.run(&["tuna", "all.toml", "--json", "--quiet", "--set", "run.name=whole"]);
    assert_eq!(whole.code, 0, "{}", told(&whole));
    let last = whole.stdout.lines().last().unwrap();
    let summary: Value = serde_json::from_str(last).unwrap();
    let (before, after) = measured(&summary, "2-tune", "held_out_ranking_accuracy");
    assert!(after > before, "{summary}");
    let (before, after) = measured(&summary, "2-tune", "held_out_loss_ranking");
    assert!(after < before, "{summary}");

    // As if it had been stopped after each stage: only the later ones are run.
    for stages in 2..=STAGES.len() {
        place.write("part.toml", &STAGES[..stages].concat());
        let run = place.run(&["tuna", "part.toml", "--json", "--set", "run.name=parts"]);
        assert_eq!(run.code, 0, "{}", told(&run));
        assert_eq!(run.stderr.matches("── stage").count(), 1, "{}", run.stderr);
    }
    let newest = |run: &str, stage: &str| {
        let folder = place.path(&format!("runs/{run}/{stage}/checkpoints"));
        let mut steps: Vec<_> =
            fs::read_dir(folder).unwrap().map(|step| step.unwrap().path()).collect();
        steps.sort();
        fs::read(steps.last().unwrap().join("model.safetensors")).unwrap()
    };
    for stage in ["1-sft", "2-tune"] {
        assert!(newest("whole", stage) == newest("parts", stage), "{stage}");
    }
    let ranked = |run: &str| place.read(&format!("runs/{run}/2-rank/ranked.jsonl"));
    assert!(ranked("whole").replace("runs/whole", "runs/parts") == ranked("parts"));

    let again = place.run(&["tuna", "all.toml", "--json", "--set", "run.name=whole"]);
    assert_eq!(again.stderr, "");
    assert_eq!(again.stdout.lines().last().unwrap(), last);
    place.replace("sft.toml", "2e-3", "1e-3");
    let refused = place.run(&["tuna", "all.toml", "--set", "run.name=whole"]);
    insta::assert_snapshot!(told(&refused));
}

#[test]
fn a_recipe_is_checked_to_its_end_before_its_first_stage() {
    let place = place();
    let dry = place.run(&["tuna", "all.toml", "--dry-run"]);
    let mut all = told(&dry);
    place.write(
        "tune.toml",
        &TUNE.replace("BASE", "nowhere").replace("groups_per_step", "group_per_step"),
    );
    all += &told(&place.run(&["tuna", "all.toml"]));
    place.replace("all.toml", "{2-sample}", "{2-smaple}");
    place.replace("all.toml", "\"rank\"", "\"sort\"");
    all += &told(&place.run(&["tuna", "all.toml"]));
    assert!(!place.path("runs").exists());
    insta::assert_snapshot!(all);
}
