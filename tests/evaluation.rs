//! `albacore eval` as a user runs it: a tiny model on suites of our own.

mod support;

use std::fs;

use serde_json::Value;
use support::Place;

/// A place with GSM8K's files and MMLU's of one subject, all made up.
fn place() -> Place {
    let place = Place::new();
    for folder in ["data/gsm8k", "data/mmlu/test", "data/mmlu/dev"] {
        fs::create_dir_all(place.path(folder)).expect("a folder");
    }
    let line =
        |number: usize| format!("{{\"question\": \"{number}?\", \"answer\": \"#### {number}\"}}\n");
    place.write("data/gsm8k/test.jsonl", &(0..6).map(line).collect::<String>());
    place.write("data/gsm8k/train.jsonl", &(0..8).map(line).collect::<String>());
    place.write("data/mmlu/test/anatomy_test.csv", "Who?,a,b,c,d,A\nWhy?,a,b,c,d,B\n");
    place.write("data/mmlu/dev/anatomy_dev.csv", "How?,a,b,c,d,C\n");
    place
}

/// A blank is a token of its own here, so that ` A` and ` B` begin alike: GSM8K is what can be asked.
const EVAL: [&str; 7] = ["eval", "model", "--suite", "gsm8k", "--data", "data", "--quiet"];

fn results(place: &Place) -> Value {
    serde_json::from_str(&place.read("runs/eval/results.json")).expect("JSON")
}

#[test]
fn every_answer_is_kept_and_exemplars_that_do_not_fit_are_counted() {
    let place = place();
    let run = place.run(&[&EVAL[..], &["--set", "evaluation.max_new_tokens=8"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    // 8 exemplars of 31 bytes and a question do not fit 120.
    assert!(
        run.stdout.contains("6  prompts that were too long for all of their exemplars"),
        "{}",
        run.stdout
    );
    let answers = place.read("runs/eval/answers.jsonl");
    let lines: Vec<Value> =
        answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 6);
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(
            (line["suite"].as_str(), line["id"].as_str()),
            (Some("gsm8k"), Some(&*number.to_string()))
        );
        let prompt = line["prompt"].as_str().expect("a text");
        assert!(
            prompt.ends_with(&format!("Question: {number}?\nAnswer:")) && prompt.len() <= 120,
            "{prompt}"
        );
        assert!(line["answer"].is_string() && line["scores"]["accuracy"].is_number(), "{line}");
        assert!(line["dropped_exemplars"].as_u64() > Some(0), "{line}");
    }
    let row = &results(&place)["rows"][0];
    assert_eq!((row["n"].as_u64(), row["metric"].as_str()), (Some(6), Some("accuracy")));
}

#[test]
fn a_run_that_was_killed_asks_only_what_has_no_answer_and_comes_to_the_same_table() {
    let place = place();
    let eval =
        [&EVAL[..], &["--set", "evaluation.max_new_tokens=8", "--set", "evaluation.samples=3"]]
            .concat();
    assert_eq!(place.run(&eval).code, 0);
    let (table, answers) =
        (place.read("runs/eval/results.json"), place.read("runs/eval/answers.jsonl"));
    let journal = place.read("runs/eval/requests.jsonl");
    assert_eq!(journal.lines().count(), 18);
    // What a kill leaves: some answers, the last of them cut short, and no table.
    let kept: String = journal.lines().take(7).map(|line| format!("{line}\n")).collect();
    place.write("runs/eval/requests.jsonl", &format!("{kept}{{\"key\": \"gsm"));
    for name in ["results.json", "answers.jsonl"] {
        fs::remove_file(place.path(&format!("runs/eval/{name}"))).expect("it was there");
    }
    assert_eq!(place.run(&eval).code, 0);
    assert_eq!(place.read("runs/eval/results.json"), table);
    assert_eq!(place.read("runs/eval/answers.jsonl"), answers);
    assert!(place.read("runs/eval/requests.jsonl").starts_with(&kept));
    // And one that was done asks nothing.
    let journal = place.read("runs/eval/requests.jsonl");
    assert_eq!(place.run(&eval).code, 0);
    assert_eq!(place.read("runs/eval/requests.jsonl"), journal);
}

#[test]
fn models_are_compared_on_the_same_questions_and_the_page_shows_them() {
    let place = place();
    // The same weights under another name: nothing differs.
    std::os::unix::fs::symlink(place.path("model"), place.path("twin")).expect("a link");
    let eval =
        ["eval", "model", "twin", "--suite", "gsm8k", "--data", "data", "--limit", "3", "--json"];
    let run = place.run(&[&eval[..], &["--set", "evaluation.max_new_tokens=4"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let difference = &told["results"]["differences"][0];
    let named = (
        difference["first"].as_str(),
        difference["second"].as_str(),
        difference["points"].as_f64(),
    );
    assert_eq!(named, (Some("model"), Some("twin"), Some(0.0)));
    assert_eq!(told["answers"], 6);
    assert_eq!(place.run(&["report", "runs/eval", "--quiet"]).code, 0);
    let page = place.read("runs/eval/report.html");
    assert!(page.contains("fewer exemplars"));
    // Three questions make nothing clear.
    for text in
        ["Evaluation eval", "gsm8k", "twin", "too few questions", "Some answers", "the first 3"]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_task_is_asked_under_several_wordings_and_the_table_tells_how_the_scores_spread() {
    let place = Place::new();
    fs::create_dir_all(place.path("data/super_ni")).expect("a folder");
    let task = r#"{"Categories": ["Title Generation"], "Definition": ["Say it"], "Positive Examples": [],
        "Instances": [{"id": "t-0", "input": "A", "output": ["a"]}, {"id": "t-1", "input": "B", "output": ["b"]}]}"#;
    place.write("data/super_ni/task1_say.json", task);
    place.write(
        "words.jsonl",
        "{\"task\": \"task1_say\", \"definitions\": [\"Tell it\", \"Name\"]}\n",
    );
    let eval = ["eval", "model", "--suite", "super_ni", "--data", "data", "--quiet"];
    let set =
        ["--set", "evaluation.max_new_tokens=4", "--set", "evaluation.paraphrases=words.jsonl"];
    let run = place.run(&[&eval[..], &set].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines = place.read("runs/eval/answers.jsonl");
    let asked: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<_> = asked.iter().map(|line| line["id"].as_str().expect("a text")).collect();
    let wanted = ["t-0", "t-0 wording 2", "t-0 wording 3", "t-1", "t-1 wording 2", "t-1 wording 3"];
    assert_eq!(ids, wanted);
    assert!(asked[2]["prompt"].as_str().expect("a text").starts_with("Definition: Name.\n\n"));
    for name in ["mean", "spread", "worst", "best", "steady"] {
        assert!(run.stdout.contains(&format!("wordings_{name}")), "{name}: {}", run.stdout);
    }
    let run = place.run(&[&eval[..], &["--set", "evaluation.paraphrases=word.jsonl"]].concat());
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("`evaluation.paraphrases` is `word.jsonl`"), "{}", run.stderr);
}

#[test]
fn predictions_made_elsewhere_are_scored_and_their_ids_must_fit() {
    let place = place();
    let line = |number: usize, answer: usize| {
        format!("{{\"id\": {number}, \"prediction\": \"so it is\\n#### {answer}\"}}\n")
    };
    let lines: String = (0..6).map(|number| line(number, number / 2 * 2)).collect();
    place.write("mine.jsonl", &lines);
    let score = [
        "eval",
        "score",
        "--task",
        "gsm8k",
        "--data",
        "data",
        "--predictions",
        "mine.jsonl",
        "--json",
    ];
    let run = place.run(&score);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&told["task"], &told["n"]), (&"gsm8k".into(), &6.into()));
    assert_eq!(
        (&told["metrics"]["accuracy"], &told["metrics"]["exact_match"]),
        (&50.0.into(), &50.0.into())
    );
    place.write("mine.jsonl", &(line(0, 0) + &line(0, 0) + &line(9, 9)));
    let run = place.run(&score[..8]);
    insta::assert_snapshot!(format!("{}\n{}", run.code, run.stderr));
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_touched() {
    let place = place();
    let refused = |arguments: &[&str]| {
        let run = place.run(arguments);
        format!("{}\n{}", run.code, run.stderr)
    };
    let told = [
        refused(&["eval", "model", "--suite", "gsm9k", "--data", "data"]),
        refused(&["eval", "model", "--suite", "bbh", "--data", "data"]),
        refused(&["eval", "model", "--suite", "mmlu/anatomie", "--data", "data"]),
        refused(&["eval", "nothing", "--suite", "gsm8k", "--data", "data"]),
        refused(&["eval", "--suite", "gsm8k", "--data", "data"]),
        refused(&["eval", "model", "model", "--suite", "gsm8k", "--data", "data"]),
        refused(&[
            "eval",
            "model",
            "--suite",
            "gsm8k",
            "--data",
            "data",
            "--set",
            "evaluation.samples=0",
        ]),
    ];
    assert!(!place.path("runs").exists());
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn a_model_that_cannot_choose_is_refused_before_anything_is_asked() {
    let place = place();
    // Together with a suite that it can be asked, which stands first.
    let run = place.run(&["eval", "model", "--suite", "gsm8k,mmlu", "--data", "data", "--quiet"]);
    // Nor does a server tell log-probabilities of answers.
    let config = "[server]\nendpoint = \"http://127.0.0.1:9/v1\"\nmodel = \"far\"\n";
    place.write("eval.toml", config);
    let eval = ["eval", "--suite", "gsm8k,mmlu", "--data", "data", "--config", "eval.toml"];
    let server = place.run(&eval);
    // And a chat needs a template.
    fs::remove_file(place.path("model/tokenizer_config.json")).expect("it was there");
    let chat = place.run(&[&EVAL[..], &["--set", "evaluation.chat=true"]].concat());
    assert!(!place.path("runs").exists());
    let told = [run, server, chat].map(|run| format!("{}\n{}", run.code, run.stderr));
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn other_questions_are_refused_in_the_folder_of_these() {
    let place = place();
    let eval = [&EVAL[..], &["--set", "evaluation.max_new_tokens=4"]].concat();
    assert_eq!(place.run(&[&eval[..], &["--limit", "3"]].concat()).code, 0);
    let table = place.read("runs/eval/results.json");
    let told = results(&place);
    let terms = &told["terms"];
    assert_eq!((&terms["limit"], &terms["data"]), (&3.into(), &"data".into()));
    assert_eq!(terms["suites"][0]["shots"], 8);
    assert_eq!(told["models"][0], "model");
    let refused = place.run(&eval);
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains(
            "`runs/eval` holds an evaluation on other terms: `--limit` is `none`, was `3`"
        ),
        "{}",
        refused.stderr
    );
    // The same questions with other words are others too.
    place.replace("data/gsm8k/test.jsonl", "1?", "one?");
    let refused = place.run(&[&eval[..], &["--limit", "3"]].concat());
    assert!(
        refused.stderr.contains("the digest of the questions of `gsm8k`"),
        "{}",
        refused.stderr
    );
    assert_eq!(place.read("runs/eval/results.json"), table, "the table of before is untouched");
    assert_eq!(place.run(&[&eval[..], &["--set", "run.name=\"other\""]].concat()).code, 0);
}

#[test]
fn a_run_that_has_not_ended_has_no_table_and_says_so() {
    let place = place();
    let eval = [&EVAL[..], &["--set", "evaluation.max_new_tokens=4"]].concat();
    assert_eq!(place.run(&eval).code, 0);
    // The same questions of a model that answers none: of a server that is not there.
    let config = "[server]\nendpoint = \"http://127.0.0.1:9/v1\"\nmodel = \"far\"\nretries = 0\nbackoff_s = 0.01\ngive_up_after = 2\n";
    place.write("eval.toml", config);
    let server = ["eval", "--suite", "gsm8k", "--data", "data", "--config", "eval.toml"];
    let server = [
        &server[..],
        &["--set", "run.name=\"eval\"", "--set", "evaluation.max_new_tokens=4", "--quiet"],
    ]
    .concat();
    let alone = place.run(&[&server[..], &["--set", "run.name=\"alone\""]].concat());
    assert_eq!(alone.code, 1);
    let report = place.run(&["report", "runs/alone", "--quiet"]);
    assert_eq!(report.code, 2);
    assert!(
        report.stderr.contains("the evaluation in `runs/alone` is not complete"),
        "{}",
        report.stderr
    );
    // It is refused where a model has answered already, whose numbers would be lost.
    let table = place.read("runs/eval/results.json");
    let lost = place.run(&server);
    assert_eq!(lost.code, 2);
    assert!(
        lost.stderr.contains("`runs/eval` has the numbers of `model`, which this command"),
        "{}",
        lost.stderr
    );
    assert_eq!(place.read("runs/eval/results.json"), table);
    // Beside a model that has answered, the table is written without it.
    let both = place.run(&[&server[..1], &["model"], &server[1..]].concat());
    assert_eq!(both.code, 1);
    assert!(
        both.stderr.contains("1 of 2 models have not been asked all: `far`"),
        "{}",
        both.stderr
    );
    assert!(both.stdout.contains("n=6"), "{}", both.stdout);
    assert!(results(&place)["unfinished"]["far"].is_string());
    assert_eq!(place.run(&["report", "runs/eval", "--quiet"]).code, 0);
    assert!(place.read("runs/eval/report.html").contains("Not finished: far"));
}

#[test]
fn a_table_stays_until_another_replaces_it_and_the_page_says_so() {
    let place = place();
    let eval = [&EVAL[..], &["--set", "evaluation.max_new_tokens=4"]].concat();
    assert_eq!(place.run(&eval).code, 0);
    let files = ["runs/eval/results.json", "runs/eval/answers.jsonl"];
    let before = files.map(|file| place.read(file));
    // Weights that are damaged are found when the model is asked.
    place.write("model/model.safetensors", "none");
    assert_eq!(place.run(&eval).code, 1);
    assert_eq!(files.map(|file| place.read(file)), before);
    assert_eq!(place.run(&["report", "runs/eval", "--quiet"]).code, 0);
    assert!(place.read("runs/eval/report.html").contains("has not ended"));
}

#[test]
fn several_tasks_of_a_suite_and_exemplars_by_suite() {
    let place = place();
    fs::create_dir_all(place.path("data/bbh/bbh")).expect("a folder");
    for task in ["first", "second", "third"] {
        let file = r#"{"examples": [{"input": "a", "target": "b"}]}"#;
        place.write(&format!("data/bbh/bbh/{task}.json"), file);
    }
    let suites = "bbh/third,gsm8k,bbh/first";
    let run = place.run(&[
        "eval",
        "model",
        "--suite",
        suites,
        "--data",
        "data",
        "--quiet",
        "--set",
        "evaluation.max_new_tokens=4",
        "--set",
        "evaluation.shots.bbh=0",
        "--set",
        "evaluation.shots.gsm8k=1",
    ]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let suites = &results(&place)["terms"]["suites"];
    let told = |place: usize| {
        let suite = &suites[place];
        (suite["name"].as_str(), suite["questions"].as_u64(), suite["shots"].as_u64())
    };
    assert_eq!(told(0), (Some("bbh/third,bbh/first"), Some(2), Some(0)));
    assert_eq!(told(1), (Some("gsm8k"), Some(6), Some(1)));
}

#[test]
fn a_prefix_stands_before_every_prompt_and_gives_way_where_nothing_else_can() {
    let place = place();
    place.write(
        "prefix.json",
        "{\"demo\": [\"Input: 1\\nOutput: one\", \"Input: 2\\nOutput: two, which is more than one\"]}",
    );
    let prefix = ["--set", "evaluation.prefix=prefix.json", "--set", "evaluation.shots=0"];
    let prompts = |more: &[&str]| -> Vec<String> {
        let run = place.run(&[&EVAL[..], &prefix, more].concat());
        assert_eq!(run.code, 0, "{}", run.stderr);
        let folder = if more.contains(&"run.name=fewer") { "fewer" } else { "eval" };
        let answers = place.read(&format!("runs/{folder}/answers.jsonl"));
        let lines = answers.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.map(|line: Value| line["prompt"].as_str().expect("a text").to_owned()).collect()
    };
    let all = prompts(&["--set", "evaluation.max_new_tokens=8"]);
    assert_eq!(
        all[3],
        "Input: 1\nOutput: one\n\nInput: 2\nOutput: two, which is more than one\n\nQuestion: 3?\nAnswer:"
    );
    // Of the 128 tokens that the model reads, this leaves room for one demonstration.
    let fewer = prompts(&["--set", "evaluation.max_new_tokens=70", "--set", "run.name=fewer"]);
    assert_eq!(fewer[3], "Input: 1\nOutput: one\n\nQuestion: 3?\nAnswer:");
    let run = place.run(&[&EVAL[..], &["--set", "evaluation.prefix=nowhere"]].concat());
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("`evaluation.prefix` is `nowhere`, which does not exist"));
}

#[test]
fn the_quickstart_of_the_readme_runs() {
    let place = Place::new();
    let data = |name: &str| format!("{}/../../data/{name}", env!("CARGO_MANIFEST_DIR"));
    let (model, questions) = (data("quickstart/base"), data("quickstart-eval"));
    let eval = ["eval", &model, "--suite", "super_ni,mmlu", "--data", &questions, "--quiet"];
    let run = place.run(&eval);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let suites = &results(&place)["terms"]["suites"];
    let told =
        |place: usize| (suites[place]["questions"].as_u64(), suites[place]["shots"].as_u64());
    assert_eq!([told(0), told(1)], [(Some(20), Some(2)), (Some(12), Some(5))]);
}
