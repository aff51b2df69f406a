//! Requests that are refused for good: recorded as such, not asked again, and never taken for an answer.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use albacore_data::bootstrap::{BootstrapConfig, Ended, Funnel, Method, RunFolder, Stage};
use albacore_data::sample::{self, Asked, SampleConfig};
use albacore_data::{
    CompletionRequest, Error, HttpConfig, HttpModel, Journal, LanguageModel, NoCompletion, OnReply,
    Origin, Outcome, Prompt, Reply, Statistics, journaled,
};

use crate::bootstrap::{Rote, config, run, run_stage, run_stage_of};
use crate::http::{ask_all, quick, request};
use crate::journal::completion;
use crate::mock_server::{Act, MockServer};

/// Answers a prompt as its first word says.
struct Told;

impl LanguageModel for Told {
    fn name(&self) -> &str {
        "told"
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        for (number, request) in requests.enumerate() {
            let Prompt::Text(prompt) = request.prompt else { panic!("only text is asked") };
            let none = |fatal, refused| {
                Err(NoCompletion { message: prompt.clone(), hint: None, fatal, refused })
            };
            let reply = match prompt.split(' ').next().unwrap() {
                "answer" => Ok(completion(&prompt)),
                "refuse" => none(false, true),
                "sleep" => none(false, false),
                _ => none(true, false),
            };
            let fatal = reply.as_ref().is_err_and(|none| none.fatal);
            if on_reply(number, reply).is_break() || fatal {
                return;
            }
        }
    }
}

/// Asks these, each under itself as key.
fn ask(path: &Path, prompts: &[&str]) -> (Vec<(String, Reply)>, Statistics) {
    let mut journal = Journal::open(path).unwrap();
    let mut requests = prompts.iter().map(|prompt| (prompt.to_string(), request(*prompt)));
    let mut replies = Vec::new();
    let statistics = journaled(&Told, &mut journal, &mut requests, &mut |key, reply| {
        replies.push((key.to_owned(), reply));
        ControlFlow::Continue(())
    });
    (replies, statistics.unwrap())
}

/// Which of the replies are refusals for good.
fn refused(replies: &[(String, Reply)]) -> Vec<&str> {
    let is_refused = |reply: &Reply| reply.as_ref().is_err_and(|none| none.refused);
    replies.iter().filter(|(_, reply)| is_refused(reply)).map(|(key, _)| key.as_str()).collect()
}

#[test]
fn a_refusal_is_recorded_as_one_and_never_as_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let prompts = ["refuse 1", "answer 1", "sleep 1", "refuse 2"];
    let (replies, statistics) = ask(&path, &prompts);
    assert_eq!(replies.len(), 4);
    assert_eq!(refused(&replies), ["refuse 1", "refuse 2"]);
    assert_eq!((statistics.answers, statistics.refused, statistics.failures), (1, 2, 1));
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!((journal.len(), journal.refusals()), (1, 2));
    let outcomes: Vec<_> = journal.entries().map(|entry| entry.unwrap().outcome).collect();
    let refusal = |why: &str| Outcome::Refusal(why.to_owned());
    let wanted =
        [Outcome::Completion(completion("answer 1")), refusal("refuse 1"), refusal("refuse 2")];
    assert_eq!(outcomes, wanted);
    drop(journal);
    // Again: it is told from the journal, and only what slept is asked.
    let before = fs::read(&path).unwrap();
    let (replies, statistics) = ask(&path, &prompts);
    assert_eq!(refused(&replies), ["refuse 1", "refuse 2"]);
    assert_eq!((statistics.answers, statistics.refused, statistics.failures), (1, 2, 1));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn where_nothing_is_answered_nothing_is_refused_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let (replies, statistics) = ask(&path, &["refuse 1", "refuse 2"]);
    assert_eq!((replies.len(), refused(&replies).len(), statistics.failures), (2, 0, 2));
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    // Nor are the last ones before the model breaks.
    let (replies, _) = ask(&path, &["refuse 1", "answer 1", "refuse 2", "break"]);
    assert_eq!((replies.len(), refused(&replies)), (4, vec!["refuse 1"]));
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
}

fn funnel(folder: &Path) -> Funnel {
    serde_json::from_slice(&fs::read(folder.join("funnel.json")).unwrap()).unwrap()
}

#[test]
fn a_run_goes_on_without_what_is_refused_and_counts_it() {
    let folder = tempfile::tempdir().unwrap();
    let rote = Rote { refuses: Some(9), ..Rote::default() };
    assert!(run(folder.path(), &config(), &rote, None).unwrap());
    let found = funnel(folder.path());
    let [first, second, third] = Stage::ALL[..3] else { panic!("there are four") };
    assert!(found.refused[&first] > 0 && found.refused[&second] > 0, "{found:?}");
    assert!(found.refused[&third] > 0, "{found:?}");
    let skipped = found.refused[&second] + found.refused[&third];
    assert!(found.tasks as u64 <= found.accepted - skipped, "{found:?}");
    assert!(found.train > 0 && found.accepted >= 40, "{found:?}");
    let count = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        text.lines().filter(|line| line.contains(r#""refused":true"#)).count() as u64
    };
    assert_eq!(count("classification.jsonl"), found.refused[&second]);
    assert_eq!(count("instances.jsonl"), skipped);
    let read = RunFolder::read(folder.path()).unwrap().unwrap();
    assert_eq!(read.funnel(), found);
    assert_eq!(read.requests[&first].refused, found.refused[&first]);
    // Again: nothing is asked, and nothing changes; each stage tells how many were refused.
    let again = Rote::default();
    let ended = run_stage(folder.path(), &config(), &again, None, first).unwrap();
    let Ended::Complete { statistics, .. } = ended else { panic!("nothing stops it") };
    assert_eq!(statistics.refused, found.refused[&first]);
    assert!(run(folder.path(), &config(), &again, None).unwrap());
    assert_eq!((again.asked.get(), funnel(folder.path())), (0, found));
}

#[test]
fn a_run_with_refusals_that_was_stopped_anywhere_ends_as_one_that_was_not() {
    let whole = tempfile::tempdir().unwrap();
    let refusing = || Rote { refuses: Some(9), ..Rote::default() };
    assert!(run(whole.path(), &config(), &refusing(), None).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let parts = (0..2000)
        .position(|part| run(folder.path(), &config(), &refusing(), Some(7 + part % 5)).unwrap());
    assert!(parts.unwrap() > 5);
    for name in ["instructions.jsonl", "instances.jsonl", "train.jsonl", "funnel.json"] {
        let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
        assert!(read(folder.path()) == read(whole.path()), "{name}");
    }
}

#[test]
fn alpaca_s_way_goes_on_without_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = BootstrapConfig { method: Method::Alpaca, ..config() };
    let rote = Rote { refuses: Some(5), ..Rote::default() };
    assert!(run(folder.path(), &config, &rote, None).unwrap());
    assert!(funnel(folder.path()).refused[&Stage::Instructions] > 0);
}

#[test]
fn a_server_s_policy_on_contents_holds_up_no_run() {
    let server = MockServer::start(|asked| match asked.number % 6 {
        1 => Act::error(400, "bad words"),
        2 => Act::body(r#"{"choices": [{"message": {"content": null}}]}"#),
        _ => Act::text(" Draw the map of a town that you know well\n10. List the stars of winter"),
    });
    let model = HttpModel::new(quick(&server)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = BootstrapConfig { patience: 3, ..config() };
    let stage = |stage| -> Result<Ended, Error> {
        run_stage_of(folder.path(), &config, &model, &|| false, stage)
    };
    for each in Stage::ALL {
        assert_ne!(stage(each).unwrap(), Ended::Stopped);
    }
    assert!(funnel(folder.path()).refused[&Stage::Instructions] > 0);
    let asked = server.asked().len();
    for each in Stage::ALL {
        stage(each).unwrap();
    }
    assert_eq!(server.asked().len(), asked, "a refusal is not asked again");
}

#[test]
fn a_server_that_refuses_everything_refuses_nothing_for_itself() {
    let server = MockServer::start(|_| Act::error(400, "unsupported parameter"));
    let config = HttpConfig { give_up_after: 3, concurrency: 1, ..quick(&server) };
    let replies = ask_all(&HttpModel::new(config).unwrap(), 10);
    let last = replies.into_values().last().unwrap().unwrap_err();
    assert!(last.fatal && !last.refused && last.hint.unwrap().contains("`give_up_after`"));
}

#[test]
fn sampling_goes_on_without_what_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |number: u32, prompt: &str| Asked {
        id: prompt.into(),
        prompt: prompt.into(),
        original: None,
        origin: Origin::new("prompts.jsonl", number),
    };
    let prompts = [asked(1, "refuse me"), asked(2, "answer me")];
    let config = SampleConfig { responses: 2, rounds: 1, ..SampleConfig::default() };
    let sampled = sample::Run {
        folder: folder.path(),
        config: &config,
        seed: 1,
        prompts: &prompts,
        model: &Told,
        stop: &|| false,
        progress: &|_| {},
    };
    for _ in 0..2 {
        let sample::Ended::Complete(sampled, _) = sampled.run().unwrap() else { panic!("whole") };
        assert_eq!((sampled.requests, sampled.refused), (2, 2));
        assert_eq!((sampled.responses, sampled.incomplete, sampled.prompts), (2, 1, 2));
    }
}
