//! Answers on disk: what a run knows after it was killed.

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use albacore_data::{
    Completion, CompletionRequest, Decoding, Effort, FinishReason, HttpConfig, HttpModel, Journal,
    LanguageModel, NoCompletion, OnReply, Outcome, Prompt, Reply, Result, Statistics, Usage,
    journaled,
};
use proptest::prelude::*;

use crate::http::{quick, request};
use crate::mock_server::{Act, MockServer};

/// A model that answers with the prompt, fails at prompts that say so, and counts what it is asked.
struct Echo {
    asked: RefCell<Vec<String>>,
    identity: &'static str,
}

impl Echo {
    fn new(identity: &'static str) -> Self {
        Self { asked: RefCell::default(), identity }
    }
}

impl LanguageModel for Echo {
    fn name(&self) -> &str {
        self.identity
    }

    fn cost(&self, usage: &Usage) -> Option<f64> {
        Some(usage.completion_tokens as f64)
    }

    /// Two at a time, the second answered first.
    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        let mut requests = requests.enumerate().fuse();
        loop {
            let pair: Vec<_> = requests.by_ref().take(2).collect();
            if pair.is_empty() {
                return;
            }
            for (number, request) in pair.into_iter().rev() {
                let Prompt::Text(prompt) = request.prompt else { panic!("only text is asked") };
                self.asked.borrow_mut().push(prompt.clone());
                let reply = match prompt.contains("fail") {
                    true => Err(NoCompletion {
                        message: prompt,
                        hint: None,
                        fatal: false,
                        refused: false,
                    }),
                    false => Ok(completion(&prompt)),
                };
                if on_reply(number, reply).is_break() {
                    return;
                }
            }
        }
    }
}

pub(crate) fn completion(text: &str) -> Completion {
    Completion {
        text: text.to_owned(),
        finish_reason: FinishReason::Stop,
        logprobs: None,
        usage: Usage { prompt_tokens: 5, completion_tokens: 2 },
        effort: Effort { attempts: 3, seconds: 0.5, usage_is_estimated: true },
    }
}

pub(crate) fn digest(byte: u8) -> [u8; 32] {
    [byte; 32]
}

/// Asks for these prompts, each under its own text as key; what came, in order.
fn run(model: &Echo, path: &Path, prompts: &[&str]) -> Result<(Vec<(String, Reply)>, Statistics)> {
    let mut replies = Vec::new();
    let mut journal = Journal::open(path)?;
    let mut requests = prompts.iter().map(|prompt| ((*prompt).to_owned(), request(*prompt)));
    let statistics = journaled(model, &mut journal, &mut requests, &mut |key, reply| {
        replies.push((key.to_owned(), reply));
        ControlFlow::Continue(())
    })?;
    Ok((replies, statistics))
}

fn keys(replies: &[(String, Reply)]) -> Vec<&str> {
    replies.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn what_was_answered_is_never_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let model = Echo::new("echo");
    let (replies, statistics) = run(&model, &path, &["a", "b", "fail c", "d"]).unwrap();
    assert_eq!(keys(&replies), ["b", "a", "d", "fail c"]);
    assert_eq!((statistics.answers, statistics.failures, statistics.retries), (3, 1, 6));
    let (replies, statistics) = run(&model, &path, &["e", "a", "b", "fail c", "d"]).unwrap();
    assert_eq!(replies.len(), 5);
    // Only what had no answer: a failure was never one.
    assert_eq!(model.asked.borrow()[4..], ["fail c", "e"]);
    let again = &replies.iter().find(|(key, _)| key == "a").unwrap().1;
    assert_eq!(again.as_ref().unwrap(), &completion("a"), "all of the answer is recorded");
    assert_eq!((statistics.answers, statistics.estimated), (4, 4));
    assert_eq!((statistics.prompt_tokens, statistics.completion_tokens), (20, 8));
    assert_eq!((statistics.seconds, statistics.cost), (2.0, Some(8.0)));
    let mut journal = Journal::open(&path).unwrap();
    let entries: Vec<_> = journal.entries().map(|entry| entry.unwrap().key).collect();
    assert_eq!(entries, ["b", "a", "d", "e"], "in the order in which they came");
}

#[test]
fn another_question_under_a_known_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    run(&Echo::new("echo"), &path, &["a"]).unwrap();
    let asked = |model: &Echo, request: CompletionRequest| {
        let mut journal = Journal::open(&path).unwrap();
        let mut requests = [("a".to_owned(), request)].into_iter();
        let mut on_reply = |_: &str, _: Reply| ControlFlow::Continue(());
        journaled(model, &mut journal, &mut requests, &mut on_reply).map(|_| ())
    };
    let same = request("a");
    asked(&Echo::new("echo"), same.clone()).unwrap();
    let warmer = Decoding { temperature: 0.5, ..same.decoding.clone() };
    let warmer = CompletionRequest { decoding: warmer, ..same.clone() };
    for (model, changed) in [
        ("echo", request("b")),
        ("echo", warmer),
        ("echo", CompletionRequest { seed: 1, ..same.clone() }),
        ("other", same),
    ] {
        let model = Echo::new(model);
        let error = asked(&model, changed).unwrap_err();
        assert!(error.to_string().contains("`a` was asked something else"), "{error}");
        assert!(error.hint().unwrap().contains("have changed"));
        assert!(model.asked.borrow().is_empty());
    }
}

#[test]
fn a_key_that_is_used_twice_is_asked_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let model = Echo::new("echo");
    let error = run(&model, &path, &["a", "a"]).unwrap_err().to_string();
    assert!(error.ends_with("`a` is asked while it is being asked"), "{error}");
    assert_eq!(model.asked.borrow()[..], ["a"]);
    assert_eq!(Journal::open(&path).unwrap().len(), 1, "what was asked is recorded");
    let mut journal = Journal::open(&path).unwrap();
    let error = journal.append("a", &digest(1), &completion("x")).unwrap_err().to_string();
    assert!(
        error.ends_with(":2: `a` has an answer in line 1, and is to be recorded again"),
        "{error}"
    );
}

#[test]
fn a_break_ends_a_run_and_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let model = Echo::new("echo");
    for (told, asked) in [(1, 1), (2, 2), (3, 3)] {
        let mut journal = Journal::open(&path).unwrap();
        let mut requests = (0..100).map(|n: u32| (n.to_string(), request(n.to_string())));
        let mut heard = 0;
        journaled(&model, &mut journal, &mut requests, &mut |_, reply| {
            reply.unwrap();
            heard += 1;
            if heard == told { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!((heard, journal.len()), (told, asked));
    }
}

#[test]
fn a_line_without_its_end_is_cut_and_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    run(&Echo::new("echo"), &path, &["a", "b", "c", "d"]).unwrap();
    let whole = fs::read(&path).unwrap();
    let ends: Vec<_> = (1..=whole.len()).filter(|end| whole[end - 1] == b'\n').collect();
    // Killed after every byte that there is.
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let lines = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(Journal::open(&path).unwrap().len(), lines);
        assert_eq!(fs::read(&path).unwrap(), whole[..lines.checked_sub(1).map_or(0, |l| ends[l])]);
    }
    fs::write(&path, &whole[..ends[1] + 10]).unwrap();
    let model = Echo::new("echo");
    run(&model, &path, &["a", "b", "c", "d"]).unwrap();
    assert_eq!(model.asked.borrow()[..], ["d", "c"]);
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_journal_that_something_else_wrote_into_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    run(&Echo::new("echo"), &path, &["a", "b"]).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let first = whole.lines().next().unwrap();
    for (added, expected) in [
        ("hello\n".to_owned(), "is no entry: expected value"),
        ("\n".to_owned(), "is no entry: EOF"),
        ("{\"key\": \"c\"}\n".to_owned(), "is no entry: missing field `digest`"),
        ("{\"key\": \"c\", \"digest\": \"00\"}\n".to_owned(), "has the digest `00`"),
        (
            format!("{{\"key\": \"c\", \"digest\": \"{}\"}}\n", "0".repeat(64)),
            "is no entry: wanted `completion` or `refusal`",
        ),
        (format!("{first}\n"), "`b` has an answer in line 1, and stands here again"),
        (
            first.replace("\"b\"", "\"c\"").replace("\"digest\":\"", "\"digest\":\"x") + "\n",
            "has the digest `x",
        ),
    ] {
        fs::write(&path, format!("{whole}{added}{first}")).unwrap();
        let error = Journal::open(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("journal.jsonl:3: {expected}")), "{error}");
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{whole}{added}{first}"),
            "untouched"
        );
    }
}

#[test]
fn two_runs_do_not_share_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let _first = Journal::open(&path).unwrap();
    let error = Journal::open(&path).unwrap_err();
    assert!(error.to_string().contains("is in use by another process"), "{error}");
}

#[test]
fn hostile_answers_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let texts = [
        "\n{\"key\":\"b\",\"digest\":\"\",\"completion\":{}}\n",
        "\r\n\u{0}\u{7f}\u{85}\u{2028}\u{2029}\u{feff}",
        "{{ prompt }} {% endfor %} <|im_end|> \\n \\u0000 \"",
        "",
    ];
    let mut journal = Journal::open(&path).unwrap();
    for text in texts {
        journal.append(text, &digest(7), &completion(text)).unwrap();
    }
    let long = "\u{1}é\n".repeat(1 << 20);
    journal.append("long", &digest(7), &completion(&long)).unwrap();
    drop(journal);
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.len(), 5);
    for text in texts {
        assert_eq!(journal.get(text, &digest(7)).unwrap(), Some(completion(text)));
    }
    assert_eq!(journal.get("long", &digest(7)).unwrap().unwrap().text, long);
    assert_eq!(journal.get("none", &digest(7)).unwrap(), None);
}

proptest! {
    #[test]
    fn whatever_is_recorded_is_read_again(answers in prop::collection::btree_map(".*", ".*", 0..20)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        for (key, text) in &answers {
            journal.append(key, &digest(1), &completion(text)).unwrap();
            prop_assert_eq!(journal.get(key, &digest(1)).unwrap(), Some(completion(text)));
        }
        drop(journal);
        let read: Vec<_> = Journal::open(&path).unwrap().entries().map(|entry| entry.unwrap()).collect();
        let read: Vec<_> = read.into_iter().map(|entry| match entry.outcome {
            Outcome::Completion(answer) => (entry.key, answer.text),
            Outcome::Refusal(why) => panic!("{why}"),
        }).collect();
        prop_assert_eq!(read, answers.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn through_http_no_request_is_answered_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let server = MockServer::start(|asked| match asked.number % 7 {
        3 => Act::error(500, "now and then"),
        5 => Act::HangUp,
        _ => Act::text(asked.body["prompt"].as_str().unwrap()),
    });
    // Ten runs, each broken off after 30 replies, and one that goes to the end.
    for run in 0..11 {
        let model = HttpModel::new(HttpConfig { retries: 20, ..quick(&server) }).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        let known = journal.len();
        let mut requests = (0..250).map(|n: u32| (n.to_string(), request(n.to_string())));
        let mut new = 0;
        let statistics = journaled(&model, &mut journal, &mut requests, &mut |key, reply| {
            assert_eq!(reply.unwrap().text, key);
            new += 1;
            if run < 10 && new == known + 30 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert!(statistics.unwrap().answers as usize <= 250);
    }
    let mut journal = Journal::open(&path).unwrap();
    let mut keys: Vec<u32> = journal.entries().map(|e| e.unwrap().key.parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..250).collect::<Vec<_>>());
}
