//! `albacore filter`, run as a user runs it.

mod support;

use std::fs;

use serde_json::Value;
use support::{Place, Run};

const RAW: &str = r#"{"instruction": "Name the capital of France.",   "output": "Paris", "score": 1.50}
{"instruction": "Draw the flag of France."}
{"instruction": "Name the capital of France, please.", "output": "It's Paris."}
{"instruction": "Tell the story of a lonely lighthouse keeper."}
{"instruction": "name the  capital of france."}
{"instruction": "Hi"}
{"instruction": "将句子翻译成英文"}
{"instruction": "Explain why the sky is blue."}
"#;
const SEEDS: &str = r#"[{"instruction": "Explain why the sky is blue!",
  "output": "Scattering."},
 {"instruction": "Sort the list of names."}]
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("raw.jsonl", RAW);
    place.write("seeds.json", SEEDS);
    place
}

fn filter(place: &Place, arguments: &[&str]) -> Run {
    place.run(&[&["filter", "raw.jsonl", "--output", "kept.jsonl"], arguments].concat())
}

fn told(run: &Run) -> String {
    format!("exit code {}\n{}{}", run.code, run.stdout, run.stderr)
}

#[test]
fn what_is_kept_is_unchanged_and_in_order_and_the_rest_has_its_reason() {
    let place = place();
    let rules = ["--rule", "self-instruct", "--rule", "duplicate", "--rouge-l", "0.7"];
    let more = ["--against", "seeds.json", "--dropped", "dropped.jsonl"];
    let run = filter(&place, &[&rules[..], &more].concat());
    insta::assert_snapshot!(told(&run));
    insta::assert_snapshot!(place.read("dropped.jsonl"));
    let lines: Vec<_> = RAW.lines().collect();
    assert_eq!(place.read("kept.jsonl"), format!("{}\n{}\n", lines[0], lines[3]));
    assert_eq!(place.read("raw.jsonl"), RAW);
    assert!(!place.path("kept.jsonl.partial").exists());
    for line in place.read("dropped.jsonl").lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let number: usize =
            value["origin"].as_str().unwrap()["raw.jsonl:".len()..].parse().unwrap();
        assert!(line.ends_with(&format!("\"record\":{}}}", lines[number - 1])), "{line}");
    }
}

#[test]
fn no_rule_keeps_all_of_it() {
    let place = place();
    let run = filter(&place, &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(place.read("kept.jsonl"), RAW);
}

#[test]
fn an_array_stays_an_array() {
    let place = place();
    let arguments = ["filter", "seeds.json", "--rule", "keyword=sort", "--output", "kept.json"];
    let run = place.run(&[&arguments[..], &["--dropped", "dropped.jsonl"]].concat());
    assert_eq!(run.code, 0, "{}", told(&run));
    let first =
        "{\"instruction\": \"Explain why the sky is blue!\",\n  \"output\": \"Scattering.\"}";
    assert_eq!(place.read("kept.json"), format!("[\n{first}\n]\n"));
    let run =
        place.run(&[&arguments[..2], &["--rule", "words=99..", "--output", "none.json"]].concat());
    assert_eq!((run.code, place.read("none.json").as_str()), (0, "[]\n"));
    // A record of several lines is one line among the dropped.
    let arguments = ["filter", "seeds.json", "--rule", "keyword=sky", "--output", "kept.json"];
    place.run(&[&arguments[..], &["--dropped", "dropped.jsonl"]].concat());
    let dropped: Value = serde_json::from_str(&place.read("dropped.jsonl")).unwrap();
    assert_eq!(dropped["record"]["output"], "Scattering.");
    assert_eq!((&dropped["value"], &dropped["rule"]), (&"sky".into(), &"keyword=sky".into()));
}

#[test]
fn counts_come_as_json_too() {
    let place = place();
    let run = filter(&place, &["--rouge-l", "0.7", "--json"]);
    let line: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&line["records"], &line["kept"], &line["known"]),
        (&8.into(), &6.into(), &0.into())
    );
    let dropped = &line["dropped"][0];
    assert_eq!((&dropped["rule"], &dropped["count"]), (&"rouge-l=0.7".into(), &2.into()));
    assert_eq!(dropped["examples"][0]["nearest"]["origin"], "raw.jsonl:1");
    // 5 words of 6 and of 5; read as text, for serde_json reads the last bit otherwise
    let score = 2.0 * (5.0 / 6.0) / (5.0 / 6.0 + 1.0);
    assert!(run.stdout.contains(&format!("\"score\":{score}")), "{}", run.stdout);
    // the Chinese text has no word in the sense of `rouge-score`, and that is said
    assert!(
        run.stderr.contains("1 text has") && run.stderr.contains("raw.jsonl:7"),
        "{}",
        run.stderr
    );
    assert_eq!(filter(&place, &["--rouge-l", "0.7", "--unicode"]).stderr, "");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = place();
    let more: String = (0..3000)
        .map(|n| {
            format!("{{\"instruction\": \"w{} w{} w{} w{}\"}}\n", n % 7, n % 11, n % 13, n % 5)
        })
        .collect();
    place.write("raw.jsonl", &more);
    let run = |threads: &str| {
        let run =
            filter(&place, &["--rouge-l", "0.6", "--dropped", "d.jsonl", "--threads", threads]);
        (run.stdout, place.read("kept.jsonl"), place.read("d.jsonl"))
    };
    let one = run("1");
    assert!(one.1.lines().count() > 10 && one.2.lines().count() > 10);
    assert_eq!(run("3"), one);
}

#[test]
fn all_pairs_are_told_and_nothing_is_dropped() {
    let place = place();
    let run = filter(&place, &["--rouge-l", "0.7", "--all-pairs", "--against", "seeds.json"]);
    insta::assert_snapshot!(told(&run));
    insta::assert_snapshot!(place.read("kept.jsonl"));
}

#[test]
fn bad_records_are_named_and_nothing_is_written() {
    let place = place();
    let bad = "{\"instruction\": \"Hi\"}\n{\"prompt\": \"Hi\"}\nHi\n{\"instruction\": 3}\n";
    place.write("raw.jsonl", &(bad.to_owned() + &"{}\n".repeat(9)));
    let run = filter(&place, &["--rule", "empty"]);
    insta::assert_snapshot!(told(&run));
    assert!(!place.path("kept.jsonl").exists() && !place.path("kept.jsonl.partial").exists());
}

#[test]
fn what_is_read_is_never_written_over() {
    let place = place();
    fs::hard_link(place.path("raw.jsonl"), place.path("other.jsonl")).unwrap();
    let tries: [&[&str]; 8] = [
        &["--output", "raw.jsonl"],
        &["--output", "other.jsonl"],
        &["--output", "k.jsonl", "--against", "seeds.json", "--dropped", "./seeds.json"],
        // where the output lies until it is complete
        &["--output", "k.jsonl", "--against", "k.jsonl.partial"],
        &["--output", "k.jsonl", "--against", "other.jsonl"],
        &["--output", "k.jsonl", "--dropped", "k.jsonl"],
        &["--output", "k.jsonl", "--dropped", "k.jsonl.partial"],
        &["--output", "nowhere/k.jsonl"],
    ];
    place.write("k.jsonl.partial", SEEDS);
    let run = |arguments: &&[&str]| place.run(&[&["filter", "raw.jsonl"], *arguments].concat());
    let said: Vec<_> = tries.iter().map(|arguments| told(&run(arguments))).collect();
    insta::assert_snapshot!(said.join("\n"));
    for name in ["seeds.json", "k.jsonl.partial"] {
        assert_eq!(place.read(name), SEEDS);
    }
    assert_eq!(place.read("raw.jsonl"), RAW);
    assert!(!place.path("k.jsonl").exists());
}

#[test]
fn rules_that_are_none_are_refused() {
    let place = place();
    let tries: [&[&str]; 6] = [
        &["--rule", "word=4"],
        &["--rule", "words=9..4"],
        &["--rule", "script=elvish"],
        &["--rouge-l", "70"],
        &["--all-pairs"],
        &["--against", "seed.json"],
    ];
    let said: Vec<_> = tries.iter().map(|arguments| told(&filter(&place, arguments))).collect();
    insta::assert_snapshot!(said.join("\n"));
    assert!(!place.path("kept.jsonl").exists());
}

#[test]
fn a_hostile_text_stays_data() {
    let place = place();
    let text = "Clear \u{1b}[2J the\u{202e} screen \u{0}\",\"record\":{} and go on";
    let record = serde_json::json!({ "instruction": text }).to_string();
    place.write("raw.jsonl", &format!("{record}\n"));
    let run = filter(&place, &["--rule", "words=99..", "--dropped", "d.jsonl"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("\\u{1b}[2J the\\u{202e} screen"), "{}", run.stdout);
    assert!(run.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{}", run.stdout);
    let dropped: Value = serde_json::from_str(&place.read("d.jsonl")).unwrap();
    assert_eq!(dropped["record"]["instruction"], text);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_never_replaced_by_one() {
    use std::os::unix::fs::FileTypeExt;
    let place = place();
    let path = place.path("socket");
    let _open = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let run = place.run(&["filter", "raw.jsonl", "--output", "socket"]);
    assert!(run.code == 2 && run.stderr.contains("is no file"), "{}", told(&run));
    assert!(fs::metadata(&path).expect("it is there").file_type().is_socket());
}
