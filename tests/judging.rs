//! `albacore eval judge`, `eval rate` and `eval score` of what is judged already, run as a user runs them.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Place, Run};

/// A judge on loopback that finds the longer answer better, and the first of two that are as long; it rates an answer by
/// its length. It is a model to be judged as well. Riddles make it speak in riddles, and it refuses what is said to be forbidden.
struct Scripted {
    address: String,
    /// Questions that have come.
    asked: Arc<AtomicUsize>,
    /// From this question on it says nothing more.
    mute_from: Arc<AtomicUsize>,
}

impl Scripted {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let (asked, mute_from) = (Arc::default(), Arc::new(AtomicUsize::new(usize::MAX)));
        let judge = Self { address, asked, mute_from };
        let (asked, mute_from) = (judge.asked.clone(), judge.mute_from.clone());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                match asked.fetch_add(1, Ordering::SeqCst) + 1 >= mute_from.load(Ordering::SeqCst) {
                    true => held.push(stream),
                    false => answer(stream),
                }
            }
        });
        judge
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A config that has it judge.
    fn config(&self, more: &str) -> String {
        format!(
            "[server]\nendpoint = \"{}\"\nmodel = \"scripted\"\napi = \"chat\"\nconcurrency = 1\nbackoff_s = 0.0\n{more}",
            self.address
        )
    }
}

fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let asked = body["messages"].as_array().expect("a talk").last().expect("a question");
    let asked = asked["content"].as_str().expect("a text");
    let (status, reply) = match say(asked) {
        Some(text) => (
            "200 OK",
            json!({ "choices": [{ "message": { "content": text }, "finish_reason": "stop" }],
                    "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }),
        ),
        None => ("400 Bad Request", json!({ "error": { "message": "not this" } })),
    };
    let reply = reply.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(reply.as_bytes()));
}

fn say(asked: &str) -> Option<&'static str> {
    let between = |start: &str, end: &str| {
        asked.split_once(start).map(|(_, rest)| rest.split_once(end).expect("an end").0.len())
    };
    if asked.contains("forbidden") {
        return None;
    }
    if asked.contains("riddle") {
        return Some("Who knows?");
    }
    if let Some(length) = between("[The assistant's answer]\n", "\n\nGrade") {
        return Some(if length > 4 { "It is long. Rating: A" } else { "Too short.\nRating: C" });
    }
    let length = |number: usize| {
        between(&format!("[Answer {number} begins]\n"), &format!("\n[Answer {number} ends]"))
    };
    Some(if length(1) >= length(2) { "8 7\nBecause." } else { "6 9.5\nBecause." })
}

/// Answers of three models as `albacore eval` leaves them: one knows no end, one is short, one missed a question.
fn place() -> Place {
    let place = Place::new();
    let questions = [
        ("1", "writing", "Describe rain."),
        ("2", "writing", "Describe snow."),
        ("3", "math", "What is 2 + 2?"),
        ("4", "math", "A riddle?"),
        ("5", "coding", "Something forbidden?"),
    ];
    let answers = [
        ("long", ["Water that falls.", "White water.", "It is four.", "Yes.", "No."]),
        ("short", ["Wet.", "White, cold.", "4", "No.", "No."]),
    ];
    let mut lines = String::new();
    let line = |model: &str, (id, task, question): (&str, &str, &str)| {
        json!({ "model": model, "suite": "vicuna", "task": task, "id": id, "question": question, "references": [],
                "prompt": format!("Is it so? Yes.\n\n{question}") })
    };
    for (model, texts) in answers {
        for (question, text) in questions.into_iter().zip(texts) {
            let mut line = line(model, question);
            line["answer"] = json!(text);
            lines += &format!("{line}\n");
        }
    }
    for question in questions {
        let mut line = line("third", question);
        match question.0 {
            "1" => line["unanswered"] = json!("it is down"),
            _ => line["answer"] = json!("So it is."),
        }
        lines += &format!("{line}\n");
    }
    fs::create_dir_all(place.path("runs/eval")).expect("a folder");
    place.write("runs/eval/answers.jsonl", &lines);
    place
}

fn told(run: &Run) -> String {
    // Times are never the same.
    let lines = run.stdout.lines().filter(|line| !line.contains(" requests, "));
    let told = lines.collect::<Vec<_>>().join("\n");
    let told = format!("exit code {}\n{told}\n{}", run.code, run.stderr);
    // Nor are ports.
    let mut parts = told.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.fold(first, |told, part| told + "127.0.0.1:PORT" + part)
}

const JUDGE: [&str; 6] = ["eval", "judge", "runs/eval", "--config", "judge.toml", "--quiet"];

#[test]
fn every_two_models_are_compared_and_what_the_judge_cannot_say_is_counted() {
    let (place, judge) = (place(), Scripted::start());
    place.write("judge.toml", &judge.config(""));
    let run = place.run(&JUDGE);
    assert_eq!(run.code, 0, "{}", told(&run));
    insta::assert_snapshot!(told(&run));
    let lines = place.read("runs/judge/judgements.jsonl");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // 5 pairs of the first two, 4 of the third with each, in both orders.
    assert_eq!(lines.len(), 2 * (5 + 4 + 4));
    let exchanged = &lines[1];
    assert_eq!(
        (&exchanged["order"], &exchanged["verdict"]),
        (&json!("exchanged"), &json!("first"))
    );
    assert_eq!(exchanged["scores"], json!([9.5, 6.0]));
    assert!(exchanged["prompt"].as_str().expect("a text").contains("[Answer 1 begins]\nWet.\n"));
    let shown = |line: &Value| !line["prompt"].as_str().expect("a text").contains("Is it so?");
    assert!(lines.iter().all(shown), "a judge sees the question, not what stood before it");
    // Riddles are asked twice, what is refused once; the rest once.
    assert_eq!(judge.asked(), 26 + 6);
    let riddle = lines.iter().find(|line| line["id"] == "4").expect("it was asked");
    assert_eq!(riddle["replies"], json!(["Who knows?", "Who knows?"]));
    let refused = lines.iter().find(|line| line["id"] == "5").expect("it was asked");
    assert!(refused["no_verdict"].as_str().expect("a text").contains("not this"), "{refused}");

    let page = place.run(&["report", "runs/judge", "--quiet"]);
    assert_eq!(page.code, 0, "{}", told(&page));
    let page = place.read("runs/judge/report.html");
    for text in
        ["Judgement judge", "long (first) and short (second)", "Judged by scripted", "Because."]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn a_run_that_was_killed_asks_only_what_has_no_reply_and_comes_to_the_same_table() {
    let (place, judge) = (place(), Scripted::start());
    place.write("judge.toml", &judge.config("[judge]\nattempts = 1\n"));
    assert_eq!(place.run(&JUDGE).code, 0);
    let files = |name: &str| {
        ["judged.json", "judgements.jsonl"].map(|file| place.read(&format!("runs/{name}/{file}")))
    };
    let whole = judge.asked();
    // The eleventh question is never answered, and the run is killed as it waits.
    judge.mute_from.store(whole + 11, Ordering::SeqCst);
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("albacore"))
        .current_dir(place.path(""))
        .args(JUDGE)
        .args(["--set", "run.name=killed"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    while judge.asked() < whole + 11 {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!place.path("runs/killed/judged.json").exists());
    judge.mute_from.store(usize::MAX, Ordering::SeqCst);
    let again = place.run(&[&JUDGE[..], &["--set", "run.name=killed"]].concat());
    assert_eq!(again.code, 0, "{}", told(&again));
    assert_eq!(files("killed"), files("judge"));
    assert_eq!(judge.asked() - whole, 1 + whole, "the muted question is asked again, and no other");
    // Once it is done, nothing but what was refused may be asked again.
    let before = judge.asked();
    assert_eq!(place.run(&JUDGE).code, 0);
    assert_eq!(judge.asked(), before);
}

#[test]
fn answers_are_rated_and_a_judge_that_cannot_read_them_is_told() {
    let (place, judge) = (place(), Scripted::start());
    place.write("judge.toml", &judge.config("[run]\nname = \"rated\"\n"));
    // The tiny model reads 128 tokens, which no question to a judge fits.
    let rate = ["eval", "rate", "runs/eval", "--config", "judge.toml", "--judge", "model"];
    let run = place.run(&[&rate[..], &["--suite", "vicuna", "--quiet"]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    insta::assert_snapshot!(told(&run));
    let rated: Value = serde_json::from_str(&place.read("runs/rated/rated.json")).expect("JSON");
    assert_eq!(rated["ratings"][3]["counts"], json!({ "A": 3 }));
    assert_eq!(place.run(&["report", "runs/rated", "--quiet"]).code, 0);
    let page = place.read("runs/rated/report.html");
    for text in ["Judgement rated", "Answers by their rating", "It is long. Rating: A"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_questions_of_vicuna_are_asked_and_the_answers_judged() {
    let (place, judge) = (Place::new(), Scripted::start());
    place.write("judge.toml", &judge.config("[judge]\norders = \"one\"\n"));
    fs::create_dir_all(place.path("data/vicuna")).expect("a folder");
    let line =
        |id: usize| json!({ "question_id": id, "text": format!("{id}?"), "category": "generic" });
    let lines: String = (1..4).map(|id| format!("{}\n", line(id))).collect();
    place.write("data/vicuna/question.jsonl", &lines);
    // The same weights under another name: they answer alike.
    std::os::unix::fs::symlink(place.path("model"), place.path("twin")).expect("a link");
    let eval = ["eval", "model", "twin", "--suite", "vicuna", "--data", "data", "--quiet"];
    let run = place.run(&[&eval[..], &["--set", "evaluation.max_new_tokens=4"]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    let run = place.run(&[&JUDGE[..], &["--limit", "2", "--json"]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    let told: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let contest = &told["judged"]["contests"][0];
    assert_eq!([&contest["first"], &contest["second"]], [&json!("model"), &json!("twin")]);
    // In one order only, the judge's favourite place decides.
    assert_eq!(contest["all"]["first"], 2, "{contest}");
    assert_eq!(contest["all"]["scores"], json!([16.0, 14.0]));
}

#[test]
fn a_question_that_was_not_answered_is_set_aside_whoever_missed_it() {
    let (place, server) = (Place::new(), Scripted::start());
    // A run is called as its config is.
    for name in ["server.toml", "judge.toml", "rate.toml"] {
        place.write(name, &server.config(""));
    }
    fs::create_dir_all(place.path("data/vicuna")).expect("a folder");
    let question = |id: usize, text: &str, more: Value| {
        format!(
            "{}\n",
            json!({ "question_id": id, "turns": [text], "category": "math", "reference": more })
        )
    };
    let questions = [
        question(1, "A forbidden one?", json!(["None"])),
        question(2, "2 + 2?", json!(["4"])),
        question(3, "Why?", json!([])),
    ];
    place.write("data/vicuna/question.jsonl", &questions.concat());
    place.write("prefix.txt", "Is it so? Yes.");
    // The server is asked last, and has no answer to the first question.
    let eval = ["eval", "model", "--config", "server.toml", "--suite", "vicuna", "--data", "data"];
    let set = ["--set", "evaluation.prefix=prefix.txt", "--set", "evaluation.max_new_tokens=4"];
    let run = place.run(&[&eval[..], &set, &["--set", "run.name=eval", "--quiet"]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    let text = place.read("runs/eval/answers.jsonl");
    let mut lines: Vec<&str> = text.lines().collect();
    let missed: Value = serde_json::from_str(lines[3]).expect("JSON");
    assert!(missed["unanswered"].is_string(), "{missed}");
    assert_eq!(
        [&missed["question"], &missed["prompt"], &missed["references"]],
        [
            &json!("A forbidden one?"),
            &json!("Is it so? Yes.\n\nA forbidden one?"),
            &json!(["None"])
        ]
    );
    // Nor does the first of the models need to have answered everything.
    lines.rotate_left(3);
    place.write("other.jsonl", &(lines.join("\n") + "\n"));
    for (answers, unanswered) in [("runs/eval", [0, 1]), ("other.jsonl", [1, 0])] {
        let run = place.run(&["eval", "judge", answers, "--config", "judge.toml", "--json"]);
        assert_eq!(run.code, 0, "{}", told(&run));
        let found: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let contest = &found["judged"]["contests"][0];
        assert_eq!(contest["unanswered"], json!(unanswered), "{contest}");
        assert!(!place.read("runs/judge/judgements.jsonl").contains("Is it so?"));
        let run = place.run(&["eval", "rate", answers, "--config", "rate.toml", "--json"]);
        assert_eq!(run.code, 0, "{}", told(&run));
    }
    let rated: Value = serde_json::from_str(&place.read("runs/rate/rated.json")).expect("JSON");
    assert_eq!(rated["ratings"][0]["unanswered"], 1, "{rated}");
}

#[test]
fn answers_of_alpaca_eval_meet_by_their_instructions() {
    let (place, judge) = (Place::new(), Scripted::start());
    place.write("judge.toml", &judge.config(""));
    let outputs = |name: &str, answers: [(&str, &str); 2]| {
        let of = |(instruction, output)| json!({ "instruction": instruction, "output": output, "generator": name });
        place.write(&format!("{name}.json"), &json!(answers.map(of)).to_string());
    };
    outputs("one", [("Count.", "1, 2, 3, 4"), ("Greet.", "Hi")]);
    outputs("two", [("Greet.", "Hello"), ("Count.", "1")]);
    let compare = ["eval", "judge", "one.json", "two.json", "--config", "judge.toml", "--quiet"];
    let run = place.run(&compare);
    assert_eq!(run.code, 0, "{}", told(&run));
    let lines = place.read("runs/judge/judgements.jsonl");
    let line: Value = serde_json::from_str(lines.lines().next().expect("one")).expect("JSON");
    let prompt = line["prompt"].as_str().expect("a text");
    for text in ["Count.", "[Answer 1 begins]\n1, 2, 3, 4\n", "[Answer 2 begins]\n1\n"] {
        assert!(prompt.contains(text), "{prompt}");
    }
    outputs("two", [("Greet.", "Hello"), ("Part.", "Bye")]);
    let run = place.run(&compare);
    assert_eq!(run.code, 2, "{}", told(&run));
    assert!(run.stderr.contains("`two` has no answer to question `Count.`"), "{}", run.stderr);
}

#[test]
fn a_judge_that_cannot_be_reached_ends_the_run_without_a_table() {
    let place = place();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let judge = Scripted::start();
    let config = judge.config("").replace(&judge.address, &format!("http://127.0.0.1:{port}/v1"));
    place.write("judge.toml", &config);
    let run = place.run(&JUDGE);
    assert_eq!(run.code, 1, "{}", told(&run));
    assert!(run.stderr.contains("error: `scripted` answers no more"), "{}", run.stderr);
    assert!(!place.path("runs/judge/judged.json").exists());
    let page = place.run(&["report", "runs/judge", "--quiet"]);
    assert_eq!(page.code, 2, "{}", told(&page));
    assert!(page.stderr.contains("the judging in `runs/judge` is not complete"), "{}", page.stderr);
}

#[test]
fn a_judge_that_fails_takes_nothing_from_the_others() {
    let (place, judge) = (place(), Scripted::start());
    place.write("judge.toml", &judge.config(""));
    place.write("rate.toml", &judge.config(""));
    fs::create_dir(place.path("bad")).expect("a folder");
    for name in ["config.json", "tokenizer.json"] {
        fs::copy(place.path("model").join(name), place.path("bad").join(name)).expect("a copy");
    }
    place.write("bad/model.safetensors", "nothing of the sort");
    for (command, file, kept) in
        [("judge", "judged.json", "contests"), ("rate", "rated.json", "ratings")]
    {
        let config = format!("{command}.toml");
        let run = ["eval", command, "runs/eval", "--config", &config, "--judge", "bad"];
        let run = place.run(&[&run[..], &["--quiet"]].concat());
        assert_eq!(run.code, 1, "{}", told(&run));
        let failed = "1 of 2 judges have not been asked all: `bad`: ";
        assert!(run.stderr.contains(failed), "{}", run.stderr);
        let folder = format!("runs/{command}");
        let found: Value =
            serde_json::from_str(&place.read(&format!("{folder}/{file}"))).expect("JSON");
        assert!(found["asked"]["unfinished"]["bad"].is_string(), "{found}");
        let rows = found[kept].as_array().expect("a list");
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row["judge"] == "scripted") && !run.stdout.is_empty());
        assert_eq!(place.run(&["report", &folder, "--quiet"]).code, 0);
        let page = place.read(&format!("{folder}/report.html"));
        assert!(page.contains("Not finished: bad"));
    }
}

#[test]
fn what_was_judged_elsewhere_is_summed_as_published() {
    let place = Place::new();
    let annotation = |dataset: &str, preference: Value| json!({ "instruction": "Go", "output_1": "a", "output_2": "b", "dataset": dataset, "preference": preference });
    let annotations = [
        annotation("koala", json!(2)),
        annotation("koala", json!(1)),
        annotation("oasst", json!(1.5)),
        annotation("oasst", json!(null)),
        annotation("oasst", json!(2)),
    ];
    place.write("annotations.json", &json!(annotations).to_string());
    let review = |id: usize, text: &str, score: [f64; 2]| {
        format!("{}\n", json!({ "question_id": id, "text": text, "score": score }))
    };
    let reviews = [
        review(1, "7 9\nThe second.", [7.0, 9.0]),
        review(2, "It is 4. The first is right.", [9.0, 2.0]),
        review(3, "8 8\nAlike.", [8.0, 8.0]),
    ];
    place.write("reviews.jsonl", &reviews.concat());
    let question = |id: usize, category: &str| {
        format!("{}\n", json!({ "question_id": id, "text": "?", "category": category }))
    };
    let questions = [question(1, "generic"), question(2, "math"), question(3, "generic")];
    place.write("question.jsonl", &questions.concat());
    let score = |task: &str, file: &str, more: &[&str]| {
        let run = ["eval", "score", "--task", task, "--predictions", file];
        told(&place.run(&[&run[..], more].concat()))
    };
    let all = [
        score("alpaca_eval", "annotations.json", &[]),
        score("alpaca_eval", "annotations.json", &["--json"]),
        score("vicuna", "reviews.jsonl", &["--data", "."]),
        score("vicuna", "reviews.jsonl", &["--json"]),
        score("gsm8k", "reviews.jsonl", &[]),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_cannot_be_judged_is_refused_before_anything_is_touched() {
    let place = place();
    let mut all = String::new();
    let mut refused = |what: &str, arguments: &[&str]| {
        let run = place.run(arguments);
        all += &format!("# {what}\n{}\n", told(&run));
        assert_eq!(run.code, 2, "{what}: {}", told(&run));
        assert!(!place.path("runs/judge").exists() && !place.path("runs/rate").exists(), "{what}");
    };
    let judge = ["eval", "judge", "runs/eval"];
    refused("no judge", &judge);
    refused("no such judge", &[&judge[..], &["--judge", "modle"]].concat());
    refused("a judge twice", &[&judge[..], &["--judge", "model", "--judge", "model"]].concat());
    refused(
        "a bad value",
        &[&judge[..], &["--judge", "model", "--set", "judge.attempts=0"]].concat(),
    );
    refused(
        "an unknown form",
        &[&judge[..], &["--judge", "model", "--set", "judge.form=stars"]].concat(),
    );
    refused("no such suite", &[&judge[..], &["--judge", "model", "--suite", "mmlu"]].concat());
    refused("no such answers", &["eval", "judge", "mine.jsonl", "--judge", "model"]);
    place.write("one.jsonl", "{\"question_id\": 1, \"text\": \"a\", \"model_id\": \"one\"}\n");
    place.write("two.jsonl", "{\"question_id\": 2, \"text\": \"b\", \"model_id\": \"two\"}\n");
    place.write("none.jsonl", "{\"question_id\": 2}\n");
    place.write(
        "question.jsonl",
        "{\"question_id\": 1, \"text\": \"?\", \"category\": \"generic\"}\n",
    );
    refused("one model", &["eval", "judge", "one.jsonl", "--judge", "model"]);
    refused("unknown questions", &["eval", "judge", "one.jsonl", "two.jsonl", "--judge", "model"]);
    let pair = ["eval", "judge", "one.jsonl", "two.jsonl", "--questions", "question.jsonl"];
    refused("no answer", &[&pair[..], &["--judge", "model"]].concat());
    refused("a line that is none", &["eval", "judge", "none.jsonl", "--judge", "model"]);
    refused("no question to rate by", &["eval", "rate", "one.jsonl", "--judge", "model"]);
    insta::assert_snapshot!(all);
}
