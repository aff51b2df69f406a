//! `albacore sample` and `albacore rank`, run as a user runs them.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{Place, Run};

fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

/// Lines of JSON.
fn lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect()
}

fn read(place: &Place, name: &str) -> Vec<Value> {
    place
        .read(name)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn done(run: &Run) {
    assert_eq!(run.code, 0, "{}", told(run));
}

const SAMPLE: &str = r#"[model]
path = "model"
[data]
template = "none"
[[data.sources]]
path = "prompts.jsonl"
[sample]
responses = 3
max_tokens = 12
"#;

const RANK: &str = r#"[rank]
candidates = "runs/sample/candidates.jsonl"
"#;

/// A tiny model of random weights, six prompts, and a config for each command.
fn place() -> Place {
    let place = Place::new();
    let prompt = |number: usize| json!({ "id": format!("p{number}"), "instruction": format!("Say {number}"), "output": format!("{number} it is") });
    place.write("prompts.jsonl", &lines((0..6).map(prompt)));
    place.write("sample.toml", SAMPLE);
    place.write("rank.toml", RANK);
    place
}

/// Candidates as `sample` writes them.
fn write_candidates(place: &Place) {
    fs::create_dir_all(place.path("runs/sample")).expect("a folder");
    let set = |id: &str, texts: &[(&str, f64)]| {
        let responses = texts.iter().map(|(text, logprob)| {
            json!({ "text": text, "logprob": logprob, "mean_logprob": logprob / 4.0, "tokens": 4, "source": "m" })
        });
        json!({ "id": id, "prompt": format!("Task {id}"), "original": "red and blue",
                "responses": responses.collect::<Vec<_>>() })
    };
    let sets = [
        set("a", &[("blue", -8.0), ("red", -4.0), ("blue", -8.0)]),
        set("b", &[("red blue", -2.0), ("green", -6.0)]),
        set("c", &[("red", -2.0)]),
    ];
    place.write("runs/sample/candidates.jsonl", &lines(sets));
}

#[test]
fn a_tiny_model_samples_and_its_answers_are_ranked_in_every_way_that_needs_no_judge() {
    let place = place();
    let run = place.run(&["sample", "sample.toml", "--json"]);
    done(&run);
    let summary: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(summary["summary"]["prompts"], 6);
    let sets = read(&place, "runs/sample/candidates.jsonl");
    assert!(
        sets.iter().map(|set| set["id"].as_str().unwrap()).eq(["p0", "p1", "p2", "p3", "p4", "p5"])
    );
    assert_eq!(sets[0]["prompt"], "Say 0");
    let responses = |set: &Value| set["responses"].as_array().unwrap().clone();
    for response in sets.iter().flat_map(responses) {
        let number = |key: &str| response[key].as_f64().unwrap();
        let mean = number("logprob") / number("tokens");
        assert!((number("mean_logprob") - mean).abs() < 1e-12 && mean < 0.0, "{response}");
    }

    // Again: nothing is asked, and nothing changes.
    let names = ["requests.jsonl", "candidates.jsonl", "summary.json"];
    let files = || names.map(|name| place.read(&format!("runs/sample/{name}")));
    let before = files();
    done(&place.run(&["sample", "sample.toml"]));
    assert!(files() == before);
    // A kill cut the journal short: what is missing is asked again, beside others than before, so that the last
    // bits of a log-probability may differ (in 12 tokens of 5 nats each, f32 leaves 1e-5).
    let journal = &before[0];
    let cut = journal.len() * 2 / 3;
    place.write("runs/sample/requests.jsonl", &journal[..cut]);
    fs::remove_file(place.path("runs/sample/candidates.jsonl")).unwrap();
    done(&place.run(&["sample", "sample.toml"]));
    assert!(
        place
            .read("runs/sample/requests.jsonl")
            .starts_with(&journal[..journal[..cut].rfind('\n').unwrap()])
    );
    let texts =
        |set: &Value| responses(set).iter().map(|one| one["text"].clone()).collect::<Vec<_>>();
    for (one, two) in sets.iter().zip(read(&place, "runs/sample/candidates.jsonl")) {
        assert_eq!(
            (texts(one), &one["id"], &one["rouge"]),
            (texts(&two), &two["id"], &two["rouge"])
        );
        for (one, two) in responses(one).iter().zip(responses(&two)) {
            let logprob = |one: &Value| one["logprob"].as_f64().unwrap();
            assert!((logprob(one) - logprob(&two)).abs() < 1e-4, "{one} {two}");
        }
    }

    let rank = |name: &str, sets: &[&str]| {
        let name = format!("run.name={name}");
        let mut arguments = vec!["rank", "rank.toml", "--json", "--set", &name];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let run = place.run(&arguments);
        done(&run);
        serde_json::from_str::<Value>(&run.stdout).unwrap()["summary"].clone()
    };
    let own = rank("own", &[]);
    assert_eq!(
        own["ranked"].as_u64().unwrap() + own["unranked"].as_object().unwrap().len() as u64,
        6
    );
    // The teacher is who wrote the answers: it finds them as probable, but for the end that it reads as well.
    let teacher = ["rank.teacher=model", "model.path=model", "rank.against=runs/own/ranked.jsonl"];
    let read_again = rank("teacher", &teacher);
    assert_eq!(read_again["against"]["apart"], 0);
    let found = place.read("runs/teacher/likelihoods.jsonl");
    fs::write(place.path("runs/teacher/likelihoods.jsonl"), &found[..found.len() / 2]).unwrap();
    let ranked = place.read("runs/teacher/ranked.jsonl");
    assert_eq!(rank("teacher", &teacher), read_again);
    assert!(place.read("runs/teacher/ranked.jsonl") == ranked);
    assert!(place.read("runs/teacher/likelihoods.jsonl") == found);

    let reference = rank("reference", &["rank.kind=reference", "rank.original=candidate"]);
    assert_eq!(reference["ranked"], 6);
    for record in read(&place, "runs/reference/ranked.jsonl") {
        assert_eq!((&record["source"][0], &record["score"][0]), (&json!("original"), &json!(1.0)));
    }
}

#[test]
fn a_teacher_finds_what_score_finds() {
    let place = place();
    write_candidates(&place);
    let config = [
        "--set",
        "rank.teacher=model",
        "--set",
        "model.path=model",
        "--set",
        "rank.original=record",
    ];
    done(&place.run(&[&["rank", "rank.toml"], &config[..]].concat()));
    let pairs = [("b", "red blue"), ("b", "green")];
    let pairs = pairs
        .map(|(id, text)| json!({ "id": id, "prompt": format!("Task {id}"), "response": text }));
    place.write("pairs.jsonl", &lines(pairs));
    let arguments = ["--input", "pairs.jsonl", "--output", "scores.jsonl", "--template", "none"];
    done(&place.run(&[&["score", "model"], &arguments[..]].concat()));
    let means = read(&place, "scores.jsonl")
        .into_iter()
        .map(|line| line["logprob"].as_f64().unwrap() / line["tokens"].as_f64().unwrap());
    let mut means: Vec<_> = means.collect();
    means.sort_by(|a, b| b.total_cmp(a));
    let record = &read(&place, "runs/rank/ranked.jsonl")[1];
    for (score, mean) in record["score"].as_array().unwrap().iter().zip(means) {
        // Other neighbours in the batch: the last bits of f32 differ.
        assert!((score.as_f64().unwrap() - mean).abs() < 1e-5, "{record} {mean}");
    }
    assert_eq!(record["original"], "red and blue");
}

#[test]
fn the_chat_template_is_put_around_a_prompt_once() {
    let place = place();
    place.replace("sample.toml", "\"none\"", "\"chat\"");
    done(&place.run(&["sample", "sample.toml", "--set", "sample.limit=1"]));
    let sets = read(&place, "runs/sample/candidates.jsonl");
    assert_eq!(sets[0]["prompt"], "<|begin|><|user|>Say 0<|end|><|assistant|>");
    // 1 begin, 1 user, 5 letters, 1 end, 1 assistant: no second beginning.
    let asked = read(&place, "runs/sample/requests.jsonl");
    assert_eq!(asked[0]["completion"]["usage"]["prompt_tokens"], 9);
}

#[test]
fn a_ranking_is_told_and_compared() {
    let place = place();
    write_candidates(&place);
    let own = place.run(&["rank", "rank.toml"]);
    done(&own);
    let against = [
        "--set",
        "rank.kind=reference",
        "--set",
        "run.name=other",
        "--against",
        "runs/rank/ranked.jsonl",
    ];
    let other = place.run(&[&["rank", "rank.toml", "--quiet"], &against[..]].concat());
    done(&other);
    let ranked = place.read("runs/rank/ranked.jsonl");
    let unranked = place.read("runs/rank/unranked.jsonl");
    insta::assert_snapshot!(format!("{}\n{}\n{ranked}\n{unranked}", own.stdout, other.stdout));
}

#[test]
fn published_files_and_pairs_are_converted_by_their_own_scores() {
    let place = place();
    let records = [
        json!({ "orig": { "instruction": "Name a colour.", "input": "", "output": "Red." }, "text": ["Red.", "Blue."],
                "avg_token_prob": [-0.5, -0.25], "length": [2, 3], "logprob": [-1.0, -0.75] }),
        json!({ "id": "j", "prompt": "x", "instruct": "Name one.\n\n### Response:", "generation": ["a", "b", "c", "d"],
                "gpt_eval": "…", "rank_str": "[4, 2, 0, 1]", "rank": [4, 2, 0, 1], "response_4": "own" }),
        json!({ "prompt": "Say hello.", "chosen": "Hello.", "rejected": "No." }),
        json!({ "id": 3, "instruction": "Say 1:", "output": ["1", "2", "1"], "score": [0.5, 0.5, 0.1] }),
    ];
    place.write("published.jsonl", &lines(records));
    let config = ["--set", "rank.kind=scores", "--set", "rank.candidates=published.jsonl"];
    done(&place.run(&[&["rank", "rank.toml"], &config[..]].concat()));
    insta::assert_snapshot!(place.read("runs/rank/ranked.jsonl"));
    // What it wrote is read as what it is.
    let again = ["--set", "rank.candidates=runs/rank/ranked.jsonl", "--set", "run.name=again"];
    done(&place.run(&[&["rank", "rank.toml", "--set", "rank.kind=scores"], &again[..]].concat()));
    assert_eq!(place.read("runs/again/ranked.jsonl"), place.read("runs/rank/ranked.jsonl"));
}

#[test]
fn a_dry_run_says_what_will_be_asked_and_leaves_nothing_behind() {
    let place = place();
    let sample = place.run(&["sample", "sample.toml", "--dry-run"]);
    assert!(!place.path("runs").exists());
    write_candidates(&place);
    let server = "\n[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\napi = \"chat\"\n\
                  price_per_million_prompt_tokens = 3.0\nprice_per_million_completion_tokens = 15.0\n";
    place.write("judge.toml", &format!("{RANK}kind = \"contextual\"\n{server}"));
    let judge = place.run(&["rank", "judge.toml", "--dry-run"]);
    let rank = place.run(&["rank", "rank.toml", "--dry-run"]);
    assert!(!place.path("runs/rank").exists() && !place.path("runs/judge").exists());
    insta::assert_snapshot!([sample, judge, rank].map(|run| told(&run)).join("\n"));
}

#[test]
fn a_judge_that_cannot_be_reached_ends_the_run_and_one_that_speaks_in_riddles_is_set_aside() {
    let place = place();
    write_candidates(&place);
    let server = "\n[server]\nendpoint = \"http://127.0.0.1:1/v1\"\nmodel = \"m\"\nbackoff_s = 0.0\nconcurrency = 1\n";
    place.write("judge.toml", &format!("{RANK}kind = \"contextual\"\n{server}"));
    let unreachable = place.run(&["rank", "judge.toml", "--quiet"]);
    assert_eq!(unreachable.code, 1);
    // Random weights say nothing that can be read, and the prompt must fit them.
    fs::create_dir(place.path("prompts")).unwrap();
    place.write("prompts/judge.jinja", "{{ responses | join(' ') }} rank:");
    place.write("prompts/judge_system.jinja", "");
    let local = "\n[model]\npath = \"model\"\n";
    let config =
        format!("{RANK}kind = \"contextual\"\nmax_tokens = 4\nprompts = \"prompts\"\n{local}");
    place.write("local.toml", &config);
    let local = place.run(&["rank", "local.toml", "--quiet"]);
    assert_eq!(local.code, 1);
    // Both replies to each of the two sets are in the journal.
    assert_eq!(read(&place, "runs/local/requests.jsonl").len(), 4);
    let aside = read(&place, "runs/local/unranked.jsonl");
    assert!(aside.len() == 3 && aside[..2].iter().all(|set| set["reply"].is_string()), "{aside:?}");
    insta::assert_snapshot!(format!("{}\n{}", told(&unreachable), told(&local)));
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_is_touched() {
    let place = place();
    write_candidates(&place);
    let mut all = String::new();
    let mut refused = |what: &str, arguments: &[&str]| {
        let run = place.run(arguments);
        all += &format!("# {what}\n{}\n", told(&run));
        assert_eq!(run.code, 2, "{what}: {}", told(&run));
        assert!(!place.path("runs/rank").exists(), "{what}");
    };
    let rank = |sets: &[&'static str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        ["rank", "rank.toml"].into_iter().chain(sets).collect::<Vec<_>>()
    };
    let twice = [json!({ "id": "p", "prompt": "a", "completion": "b" })];
    place.write("twice.jsonl", &lines(twice.iter().chain(&twice).cloned()));
    refused(
        "an id that stands twice",
        &["sample", "sample.toml", "--set", "data.sources=[{path=\"twice.jsonl\"}]"],
    );
    place.write("long.jsonl", &lines([json!({ "prompt": "long ".repeat(40) })]));
    refused(
        "a prompt that is too long",
        &["sample", "sample.toml", "--set", "data.sources=[{path=\"long.jsonl\"}]"],
    );
    refused("two answers are wanted", &["sample", "sample.toml", "--set", "sample.responses=1"]);
    refused("no such candidates", &rank(&["rank.candidates=candidate.jsonl"]));
    refused("a judge is wanted", &rank(&["rank.kind=contextual"]));
    refused("nobody tells about the original", &rank(&["rank.original=candidate"]));
    let bare = json!({ "id": "a", "instruction": "P", "output": ["x", "y"] });
    place.write("bare.jsonl", &lines([bare]));
    refused("no log-probabilities", &rank(&["rank.candidates=bare.jsonl"]));
    refused("no original", &rank(&["rank.candidates=bare.jsonl", "rank.kind=reference"]));
    refused("no scores", &rank(&["rank.candidates=bare.jsonl", "rank.kind=scores"]));
    place.write(
        "scores.jsonl",
        &lines([json!({ "id": "a", "scores": [1, 2] }), json!({ "id": "z", "scores": [1] })]),
    );
    refused("scores that fit no set", &rank(&["rank.kind=scores", "rank.scores=scores.jsonl"]));
    place.write("nan.jsonl", "{\"id\": \"a\", \"instruction\": \"P\", \"output\": [\"x\", \"y\"], \"score\": [1, NaN]}\n");
    refused("a score that is no number", &rank(&["rank.kind=scores", "rank.candidates=nan.jsonl"]));
    let known = json!({ "id": "a", "instruct": "P", "generation": ["x", "y"], "ranks": [0, 3] });
    place.write("ranks.jsonl", &lines([known]));
    refused("a rank of nobody", &rank(&["rank.kind=scores", "rank.candidates=ranks.jsonl"]));
    insta::assert_snapshot!(all);
}
