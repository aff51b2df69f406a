//! Mixtures of templated tasks, from the config to the weights: what is shown, what is refused, and that
//! stopping changes nothing.

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, Run};

const CONFIG: &str = r#"[run]
name = "tiny"
[model]
path = "model"
[data]
max_tokens = 128
tokens_per_batch = 256
template = "none"
[data.groups.questions]
weight = 3
cap = 20
[[data.sources]]
path = "nli.jsonl"
format = "task"
family = "nli"
options = ["yes", "no"]
group = "questions"
[[data.sources]]
path = "sums_train.tsv"
format = "cot"
group = "questions"
[[data.sources]]
path = "data.jsonl"
weight = 1
[optim]
learning_rate = 1e-2
[schedule]
kind = "constant"
[train]
steps = 4
[checkpoint]
every = 2
"#;

/// A model, and three tasks of 30, 10 and 20 examples.
fn place() -> Place {
    let place = Place::new();
    let nli = |n: usize| {
        format!(
            "{{\"premise\": \"{n} is big\", \"hypothesis\": \"{n} is small\", \"answer\": {}}}\n",
            n % 2
        )
    };
    place.write("nli.jsonl", &(0..30).map(nli).collect::<String>());
    let sum = |n: usize| format!("{n}+1?\t{}\tOne more.\n", n + 1);
    place.write("sums_train.tsv", &(0..10).map(sum).collect::<String>());
    place.write("config.toml", CONFIG);
    place
}

fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

#[test]
fn the_table_has_every_task_and_what_the_run_sees_of_it() {
    let place = place();
    let long = "3 is a b c d e f g h i j k l m n";
    place.replace("nli.jsonl", "3 is small", long);
    place.write("test.jsonl", &format!("{{\"text\": \"Well: {}!\"}}\n", long.to_uppercase()));
    let shown = place.run(&["mixture", "config.toml", "--check", "--contamination", "test.jsonl"]);
    insta::assert_snapshot!(told(&shown));
    let run = place.run(&["mixture", "config.toml", "--json", "--quiet"]);
    let line: Value = serde_json::from_str(&run.stdout).expect("one line of JSON");
    // 20 capped against 10, and three parts against one.
    let rates: Vec<_> =
        line["tasks"].as_array().expect("a list").iter().map(|task| &task["rate"]).collect();
    assert_eq!(rates, [0.5, 0.25, 0.25]);
    let run = place.run(&[
        "mixture",
        "config.toml",
        "--set",
        "data.sources=[{path=\"data.jsonl\"}]",
        "--set",
        "data.groups={}",
    ]);
    assert_eq!(run.code, 2, "{}", told(&run));
    assert!(run.stderr.contains("are no mixture"), "{}", run.stderr);
}

#[test]
fn a_check_counts_what_the_config_leaves_out_and_is_no_error() {
    let place = place();
    place.replace(
        "nli.jsonl",
        "\"answer\": 1}\n{\"premise\": \"2 ",
        "\"answer\": 7}\n{\"premise\": \"2 ",
    );
    let check = ["mixture", "config.toml", "--check", "--set", "data.bad_records=drop"];
    let run = place.run(&check);
    assert_eq!(run.code, 0, "{}", told(&run));
    let shown = "59 of 60 records give an example in their first pass\nleft out 1 of 60 records: ";
    assert!(run.stdout.contains(shown), "{}", told(&run));
    assert!(run.stdout.contains("of these by task: `nli` 1 of 30"), "{}", told(&run));
    assert!(!run.stderr.contains("hint"), "{}", run.stderr);
}

#[test]
fn preview_shows_the_first_examples_that_come() {
    let place = place();
    let shown = place.run(&["preview", "config.toml", "-n", "4"]);
    insta::assert_snapshot!(told(&shown));
}

#[test]
fn what_is_prepared_is_a_sample() {
    let place = place();
    insta::assert_snapshot!(told(&place.run(&["prepare", "config.toml"])));
}

/// The weights of the newest checkpoint of a run.
fn weights(place: &Place, run: &str, step: u64) -> Vec<u8> {
    let path = place.path(&format!("runs/{run}/checkpoints/step-{step:06}/model.safetensors"));
    fs::read(path).expect("a checkpoint")
}

#[test]
fn a_run_that_is_stopped_in_the_middle_of_the_mixture_goes_on_to_the_same_bytes() {
    let place = place();
    let train = |options: &[&str]| {
        let run = place.train(options);
        assert_eq!(run.code, 0, "{}", told(&run));
    };
    train(&["--set", "run.name=whole", "--set", "train.steps=9"]);
    train(&["--set", "run.name=parts", "--set", "train.steps=3"]);
    train(&["--set", "run.name=parts", "--set", "train.steps=9"]);
    assert_eq!(weights(&place, "parts", 9), weights(&place, "whole", 9));
    assert_ne!(weights(&place, "whole", 8), weights(&place, "whole", 9));
    let losses = |run: &str| {
        let lines = place.read(&format!("runs/{run}/metrics.jsonl"));
        let loss = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["loss"].clone();
        lines.lines().map(loss).collect::<Vec<_>>()
    };
    assert_eq!(losses("parts"), losses("whole"));
    let changed = place.train(&[
        "--set",
        "run.name=parts",
        "--set",
        "train.steps=12",
        "--set",
        "data.groups.questions.weight=2",
    ]);
    assert_eq!(changed.code, 2, "{}", told(&changed));
}

#[test]
fn a_mixture_with_held_out_examples_trains_and_measures_them() {
    let place = place();
    let run = place.train(&["--set", "data.held_out=8", "--set", "train.steps=2"]);
    assert_eq!(run.code, 0, "{}", told(&run));
    let lines = place.read("runs/tiny/metrics.jsonl");
    assert!(lines.lines().last().expect("a line").contains("held_out_loss"), "{lines}");
}

/// What is said of a changed config, without a trace left behind.
fn refused(change: impl FnOnce(&Place)) -> String {
    let place = place();
    change(&place);
    let run = place.train(&[]);
    assert_eq!(run.code, 2, "{}", told(&run));
    assert!(!place.path("runs").exists(), "a refusal touches nothing");
    told(&run)
}

#[test]
fn a_mixture_without_steps_unknown_groups_and_keys_that_do_not_fit_all_at_once() {
    insta::assert_snapshot!(refused(|place| {
        place.replace("config.toml", "steps = 4", "");
        place.replace("config.toml", "cap = 20", "cap = 0\ntemperature = 0\ngroup = \"questions\"");
        place.replace(
            "config.toml",
            "group = \"questions\"\n[[data.sources]]\npath = \"data",
            "group = \"question\"\n[[data.sources]]\npath = \"data",
        );
        place.replace(
            "config.toml",
            "weight = 1\n",
            "weight = -1\nfamily = \"nli\"\nshots = \"many\"\n",
        );
    }));
}

#[test]
fn a_template_with_an_unknown_field_and_a_record_whose_answer_is_no_option() {
    insta::assert_snapshot!(refused(|place| {
        place.write("mine.toml", "about = \"one\"\nfields = [\"premise\", \"answer\"]\n[[templates]]\ninput = \"{premises}\"\ntarget = \"{answer}\"\n");
        place.replace("config.toml", "family = \"nli\"", "family = \"mine.toml\"");
    }));
    insta::assert_snapshot!(refused(|place| {
        place.replace(
            "nli.jsonl",
            "\"3 is small\", \"answer\": 1",
            "\"3 is small\", \"answer\": \"perhaps\"",
        );
        place.replace("nli.jsonl", "\"hypothesis\": \"5 is small\", ", "");
    }));
}

#[test]
fn weights_that_add_up_to_zero_and_a_task_with_nothing_in_it() {
    insta::assert_snapshot!(refused(|place| {
        place.replace("config.toml", "weight = 3", "weight = 0");
        place.replace("config.toml", "weight = 1", "weight = 0");
    }));
    insta::assert_snapshot!(refused(|place| place.write("sums_train.tsv", "\n")));
}

#[test]
fn an_objective_with_a_reference_is_refused() {
    insta::assert_snapshot!(refused(|place| {
        place.write(
            "config.toml",
            &format!(
                "{}[objective]\nkind = \"dpo\"\n",
                place
                    .read("config.toml")
                    .replace("path = \"data.jsonl\"", "path = \"pairs.jsonl\"")
            ),
        );
        let pair =
            |n: usize| format!("{{\"prompt\": \"{n}\", \"chosen\": \"a\", \"rejected\": \"b\"}}\n");
        place.write("pairs.jsonl", &(0..20).map(pair).collect::<String>());
    }));
}

/// Records that fit the templates of the first pass, and not all those of the second.
fn long_in_the_second_pass() -> Place {
    let place = place();
    let long = "x".repeat(90);
    let question = |n: usize| match n {
        n if LATE.contains(&n) => format!("{{\"question\": \"{long}\", \"answer\": \"{n}\"}}\n"),
        _ => format!("{{\"question\": \"{n}?\", \"answer\": \"{n}\"}}\n"),
    };
    place.write("late.jsonl", &(0..600).map(question).collect::<String>());
    let template =
        |input: &str| format!("[[templates]]\ninput = \"{input}\"\ntarget = \"{{answer}}\"\n");
    let many_words = "Read this with care, and then say what comes to mind: {question}";
    let templates = [template("{question}"), template(many_words)].concat();
    let head = "about = \"two\"\nfields = [\"question\", \"answer\"]\n";
    place.write("two.toml", &format!("{head}{templates}"));
    place
}

/// Records whose turns are all even in the first pass over 600 with seed 0, so that each stands in the short
/// template; in the second some are odd.
const LATE: [usize; 4] = [0, 3, 5, 6];

#[test]
fn a_run_that_meets_a_record_too_long_only_later_is_saved_before_it_ends() {
    let place = long_in_the_second_pass();
    let options = [
        "--set",
        "data.sources=[{path=\"late.jsonl\", format=\"task\", family=\"two.toml\", weight=1}]",
        "--set",
        "data.groups={}",
        "--set",
        "checkpoint.every=1000",
        "--set",
        "data.tokens_per_batch=1024",
        "--set",
        "train.steps=60",
    ];
    let strict = [&options[..], &["--set", "data.too_long=error"]].concat();
    let dry = place.train(&[&strict[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 0, "{}", told(&dry));
    let run = place.train(&strict);
    assert_eq!(run.code, 1, "{}", told(&run));
    assert!(run.stderr.contains("longer than `data.max_tokens` = 128"), "{}", run.stderr);
    let logged = place.read("runs/tiny/metrics.jsonl").lines().count() as u64;
    assert!(logged > 10, "{logged}");
    assert!(!weights(&place, "tiny", logged).is_empty());
    let dropped = [&options[..], &["--accept-changes"]].concat();
    let run = place.train(&dropped);
    assert_eq!(run.code, 0, "{}", told(&run));
    assert!(run.stderr.contains(&format!("step {logged} of 60")), "{}", run.stderr);
}

#[test]
fn a_run_whose_template_has_changed_is_not_gone_on_with() {
    let place = long_in_the_second_pass();
    place.replace("config.toml", "family = \"nli\"", "family = \"mine.toml\"");
    let family = "about = \"one\"\nfields = [\"premise\", \"hypothesis\", \"answer\"]\n[[templates]]\n\
                  input = \"{premise}\"\ntarget = \"{answer}\"\n";
    place.write("mine.toml", family);
    assert_eq!(place.train(&[]).code, 0);
    place.write("mine.toml", &format!("# Nothing new.\n{family}"));
    assert_eq!(place.train(&["--set", "train.steps=6"]).code, 0);
    place.replace("mine.toml", "{premise}", "{premise} So?");
    let changed = place.train(&["--set", "train.steps=8"]);
    assert_eq!(changed.code, 2, "{}", told(&changed));
    assert!(changed.stderr.contains("data"), "{}", changed.stderr);
}

#[test]
fn the_families_of_templates_are_listed_with_their_fields() {
    let place = place();
    let shown = place.run(&["config", "--families"]);
    assert_eq!(shown.code, 0, "{}", told(&shown));
    assert!(shown.stdout.contains("nli: "), "{}", shown.stdout);
    assert!(shown.stdout.contains("  premise, hypothesis, answer\n"), "{}", shown.stdout);
    let both = place.run(&["config", "config.toml", "--families"]);
    assert_eq!(both.code, 2, "{}", told(&both));
}
