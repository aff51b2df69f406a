//! `albacore report`, on runs that a model writes by rote and on folders that hold something else.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;

use albacore_data::bootstrap::{
    BootstrapConfig, Ended, Instance, Prompts, Recipe, Run, SeedTask, Stage,
};
use albacore_data::{
    Completion, CompletionRequest, Effort, FinishReason, HeldOut, LanguageModel, OnReply, Prompt,
    Random, Usage,
};
use serde_json::Value;
use support::Place;

/// Answers each kind of prompt in its form. What it says follows from the request alone.
struct Rote;

const VERBS: [&str; 4] = ["Describe", "Compare", "List", "Translate"];
const THINGS: [&str; 6] = ["rivers", "planets", "poems", "bridges", "numbers", "songs"];

impl LanguageModel for Rote {
    fn name(&self) -> &str {
        "rote"
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        for (number, request) in requests.enumerate() {
            let completion = Completion {
                text: answer(&request),
                finish_reason: FinishReason::Stop,
                logprobs: None,
                usage: Usage { prompt_tokens: 100, completion_tokens: 20 },
                effort: Effort { seconds: 0.5, ..Effort::default() },
            };
            if on_reply(number, Ok(completion)).is_break() {
                return;
            }
        }
    }
}

fn answer(request: &CompletionRequest) -> String {
    let Prompt::Text(prompt) = &request.prompt else { panic!("text is asked for") };
    let mut random = Random::new(request.seed, "rote", 0);
    let mut task = || {
        let (verb, thing) = (VERBS[random.below(4)], THINGS[random.below(6)]);
        format!("{verb} {} famous {thing} near {}.", random.below(90), THINGS[random.below(6)])
    };
    if prompt.ends_with("Is it classification?") {
        return if prompt.len().is_multiple_of(3) { " Yes" } else { " No" }.into();
    }
    if prompt.ends_with('.') {
        return format!(" {}\n10. {}\n11. Draw it.\n12. {}", task(), task(), task());
    }
    let number = random.below(1000);
    format!(
        "Class label: A{number}\nText: {number}\nExample 1\nWord: {number}\nOutput: {}",
        number + 1
    )
}

const CONFIG: &str = "[run]\nseed = 5\n[bootstrap]\ninstructions = 12\n[teacher]\n\
    endpoint = 'http://127.0.0.1:1/v1'\nmodel = 'tutor'\n\
    price_per_million_prompt_tokens = 100\nprice_per_million_completion_tokens = 200\n";

/// A run in this folder, up to a stage.
fn data_run(folder: &Path, last: Stage) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.toml"), CONFIG).unwrap();
    let seed = |number: usize| SeedTask {
        id: format!("seed_{number}"),
        name: "n".into(),
        instruction: format!("Seed task {} about {} and more", number * 7919, THINGS[number % 6]),
        instances: vec![Instance { input: String::new(), output: "x".into() }],
        is_classification: false,
    };
    let seeds = (0..9).map(seed).collect::<Vec<_>>();
    let config = BootstrapConfig {
        instructions: 12,
        prompts_per_round: 2,
        held_out: HeldOut::Count(2),
        ..BootstrapConfig::default()
    };
    let run = Run {
        folder,
        recipe: Recipe {
            config: &config,
            seed: 5,
            seeds: &seeds,
            prompts: &Prompts::load(None).unwrap(),
        },
        model: &Rote,
        stop: &|| false,
        progress: &|_| {},
    };
    for stage in Stage::ALL.into_iter().filter(|stage| *stage <= last) {
        assert_ne!(run.stage(stage).unwrap(), Ended::Stopped);
    }
}

/// What a page says: its text, a line for each element that has some.
fn words(html: &str) -> String {
    let body = html.split("</style>").last().unwrap().split("<script>").next().unwrap();
    let pieces = body.split('<').filter_map(|piece| piece.split_once('>'));
    let texts = pieces.map(|(_, text)| text.trim()).filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join("\n")
}

/// The day of a card, which is today's, in words that stay.
fn undated(card: &str) -> String {
    let line = |line: &str| {
        if line.starts_with("- Date: 20") { "- Date: DAY\n".into() } else { format!("{line}\n") }
    };
    card.lines().map(line).collect()
}

#[test]
fn a_page_and_a_card_tell_what_a_run_has_come_to() {
    let place = Place::new();
    data_run(&place.path("runs/data"), Stage::Records);
    let run = place.run(&["report", "runs/data"]);
    let told = "page     runs/data/report.html\ncard     runs/data/README.md\n";
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, told, ""));
    let page = place.read("runs/data/report.html");
    insta::assert_snapshot!(words(&page));
    insta::assert_snapshot!(undated(&place.read("runs/data/README.md")));
    place.run(&["report", "runs/data"]);
    assert_eq!(place.read("runs/data/report.html"), page, "the same run gives the same page");
    place.run(&["report", "runs/data", "--seed", "1"]);
    assert_ne!(place.read("runs/data/report.html"), page, "another seed draws other samples");
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let place = Place::new();
    data_run(&place.path("data"), Stage::Records);
    assert_eq!(place.run(&["report", "data"]).code, 0);
    let page = place.read("data/report.html");
    for address in ["http://", "https://", "src=", "url(", "@import", "<link"] {
        assert!(!page.contains(address), "{address}");
    }
    assert!(page.contains("default-src 'none'"));
}

#[test]
fn a_run_under_way_is_shown_as_far_as_it_is() {
    let place = Place::new();
    data_run(&place.path("data"), Stage::Instructions);
    let run = place.run(&["report", "data", "--parquet"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "page     data/report.html\n"));
    assert!(run.stderr.contains("when its stage `records` has been run"), "{}", run.stderr);
    let page = words(&place.read("data/report.html"));
    assert!(page.contains("Not complete: `classification`, `instances`, `records`."), "{page}");
    assert!(!page.contains("Samples to rate"), "{page}");
    place.replace("data/config.toml", "instructions = 12", "instructions = 1200");
    assert_eq!(place.run(&["report", "data", "--quiet"]).code, 0);
    let page = words(&place.read("data/report.html"));
    assert!(
        page.contains("Not complete: `instructions` (12 of 1,200), `classification`"),
        "{page}"
    );
    assert!(!place.path("data/README.md").exists() && !place.path("data/records.parquet").exists());
}

#[test]
fn numbers_come_as_json_and_records_as_parquet() {
    let place = Place::new();
    data_run(&place.path("data"), Stage::Records);
    let run = place.run(&["report", "data", "--output", "page.html", "--parquet", "--json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["page"], "page.html");
    let numbers = &told["runs"][0]["numbers"];
    let funnel: Value = serde_json::from_str(&place.read("data/funnel.json")).unwrap();
    assert_eq!(numbers["written"], funnel["written"]);
    assert_eq!(numbers["train"], funnel["train"]);
    let total = &numbers["total"];
    let (asked, cost) = (total["answers"].as_u64().unwrap(), total["cost"].as_f64().unwrap());
    // 100 tokens at 100 a million, 20 at 200
    assert!(asked > 0 && (cost - asked as f64 * 0.014).abs() < 1e-9, "{total}");
    for name in ["records", "train", "held_out"] {
        let bytes = fs::read(place.path(&format!("data/{name}.parquet"))).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name}");
    }
    assert!(place.read("data/README.md").contains("path: train.parquet"));
    // Once they are there, they are kept up to date.
    fs::write(place.path("data/train.parquet"), "old").unwrap();
    assert_eq!(place.run(&["report", "data"]).code, 0);
    assert!(fs::read(place.path("data/train.parquet")).unwrap().starts_with(b"PAR1"));
}

#[test]
fn a_card_that_was_changed_by_hand_stays() {
    let place = Place::new();
    data_run(&place.path("data"), Stage::Records);
    place.write("data/README.md", "# My own words\n");
    let run = place.run(&["report", "data"]);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("`data/README.md` has been changed by hand"), "{}", run.stderr);
    assert_eq!(place.read("data/README.md"), "# My own words\n");
}

#[test]
fn several_runs_stand_side_by_side() {
    let place = Place::new();
    data_run(&place.path("one/data"), Stage::Records);
    data_run(&place.path("two/data"), Stage::Instructions);
    let run = place.run(&["report", "one/data", "two/data"]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("a page of 2 runs has no place of its own"), "{}", run.stderr);
    let run = place.run(&["report", "one/data", "two/data", "--output", "both.html", "--quiet"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let page = words(&place.read("both.html"));
    assert!(page.contains("Side by side\n"), "{page}");
    // Both folders have one name: they are told apart by their paths.
    assert!(page.contains("one/data\n") && page.contains("two/data\n"), "{page}");
    assert!(page.contains("records to train on\n"), "{page}");
}

#[test]
fn hostile_text_stays_text() {
    let place = Place::new();
    let folder = place.path("\"><img src=x onerror=alert(1)>");
    data_run(&folder, Stage::Records);
    let evil = "</textarea></script><script>alert(1)</script>{{ 7*7 }}{% raw %}<!-- \u{0}\u{1b}[2J\u{202e}\"'";
    let huge = format!("{evil}{}", "long ".repeat(600_000));
    let line = |value: Value| format!("{value}\n");
    let instruction = format!("Write {evil} stories");
    let accepted = serde_json::json!({
        "instruction": instruction, "most_similar": { evil: 0.7 }, "avg_similarity_score": 0.5,
        "request_idx": 99, "request": "instructions/99/0",
    });
    let rejected = serde_json::json!({
        "instruction": huge, "rule": evil, "most_similar": evil, "score": 0.9, "request_idx": 99,
        "request": "instructions/99/0",
    });
    let record = serde_json::json!({ "instruction": instruction, "input": evil, "output": huge });
    fs::write(folder.join("instructions.jsonl"), line(accepted)).unwrap();
    fs::write(folder.join("rejected.jsonl"), line(rejected)).unwrap();
    fs::write(folder.join("records.jsonl"), line(record)).unwrap();
    fs::write(folder.join("config.toml"), format!("[model]\npath = {}", Value::from("<b>|`x`\n")))
        .unwrap();
    fs::write(
        folder.join("funnel.json"),
        r#"{"written":2,"rejected":{"<i>":1},"accepted":1,"classification":0,"unused_instances":{},"tasks":1,"instances":1,"without_input":0,"repeated":0,"train":0,"held_out":0}
"#,
    )
    .unwrap();
    let run = place.run(&["report", folder.to_str().unwrap(), "--output", "page.html", "--quiet"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let page = place.read("page.html");
    assert_eq!(page.matches("<script").count(), 1, "only our own");
    for markup in ["<img", "<b>", "<i>", "<!--", "</textarea"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}{% raw %}"));
    assert!(!page.contains(['\0', '\u{1b}', '\u{202e}']));
    assert!(page.contains("more characters</span>"));
    assert!(page.len() < 200_000, "{} bytes", page.len());
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.contains("`<b>\\| x  `") && card.contains("\\<b\\>"), "{card}");
    assert!(card.len() < 10_000, "{} bytes", card.len());
}

#[test]
fn folders_that_are_no_data_runs_are_refused() {
    let place = Place::new();
    fs::create_dir_all(place.path("trained/checkpoints")).unwrap();
    data_run(&place.path("broken"), Stage::Instructions);
    let lines = place.read("broken/instructions.jsonl");
    place.write("broken/instructions.jsonl", &format!("{lines}{{\"instruction\": 3}}\n"));
    data_run(&place.path("data"), Stage::Instructions);
    let runs = [
        vec!["report", "nowhere"],
        vec!["report", "model"],
        vec!["report", "trained"],
        vec!["report", "broken"],
        vec!["report", "data", "--output", "data/instructions.jsonl"],
    ];
    let told = runs.map(|arguments| {
        let run = place.run(&arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}");
        run.stderr
    });
    insta::assert_snapshot!(told.join("\n"));
    assert!(
        !place.path("model/report.html").exists() && !place.path("broken/report.html").exists()
    );
}
