//! A journal whose process is killed, or whose disk is full.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use albacore_data::{Entry, HttpConfig, HttpModel, Journal, journaled};

use crate::http::request;
use crate::journal::{completion, digest};
use crate::mock_server::{Act, MockServer};

/// Set for the process that fills its disk: where its journal lies.
const FULL: &str = "ALBACORE_TEST_FULL_DISK";

/// The part of the test below that runs in a process whose files may have 32 blocks.
fn fill(path: &str) {
    let mut journal = Journal::open(path).unwrap();
    let mut number = 0;
    let error = loop {
        let key = number.to_string();
        match journal.append(&key, &digest(1), &completion("some text")) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(number > 10);
    assert!(error.to_string().starts_with(&format!("cannot write `{path}`: ")), "{error}");
    assert!(error.hint().unwrap().contains("make room on the disk"));
    // Nothing of what did not fit is there, all else is, and the journal goes on being one.
    assert!(fs::read(path).unwrap().ends_with(b"\n"));
    assert!(journal.append("again", &digest(1), &completion("some text")).is_err());
    assert_eq!(journal.entries().filter(|entry| entry.is_ok()).count(), number);
    File::create(format!("{path}.count"))
        .unwrap()
        .write_all(number.to_string().as_bytes())
        .unwrap();
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_and_loses_nothing() {
    if let Ok(path) = std::env::var(FULL) {
        return fill(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    // A limit on the size of files stands for the disk: the write is cut short just so.
    let name = "journal_crashes::a_full_disk_is_an_error_and_loses_nothing";
    let run = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FULL, &path)
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let number: usize =
        fs::read_to_string(format!("{}.count", path.display())).unwrap().parse().unwrap();
    let mut journal = Journal::open(&path).unwrap();
    assert_eq!(journal.len(), number);
    journal.append("again", &digest(1), &completion("some text")).unwrap();
}

/// Set for the process that is killed: where its journal lies, and its server.
const KILLED: &str = "ALBACORE_TEST_KILLED";

/// The part of the test below that runs in the process that is killed.
fn run_until_killed(path: &str, endpoint: &str) {
    let config = HttpConfig { concurrency: 4, ..HttpConfig::new(endpoint, "tiny") };
    let mut journal = Journal::open(path).unwrap();
    let mut requests = (0..600).map(|n: u32| (n.to_string(), request(n.to_string())));
    journaled(&HttpModel::new(config).unwrap(), &mut journal, &mut requests, &mut |key, reply| {
        assert_eq!(reply.unwrap().text, key);
        ControlFlow::Continue(())
    })
    .unwrap();
}

#[test]
fn killed_at_any_moment_a_run_asks_only_what_was_not_recorded() {
    if let Ok(place) = std::env::var(KILLED) {
        let (path, endpoint) = place.split_once('|').unwrap();
        return run_until_killed(path, endpoint);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.jsonl");
    let server = MockServer::start(|asked| {
        let answer = Act::text(asked.body["prompt"].as_str().unwrap());
        Act::After(Duration::from_millis(1), Box::new(answer))
    });
    let mut kills = 0;
    loop {
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        let lines = recorded.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let known: BTreeSet<String> =
            lines.map(|line| serde_json::from_str::<Entry>(line).unwrap().key).collect();
        let asked_before = server.asked().len();
        let mut run = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "journal_crashes::killed_at_any_moment_a_run_asks_only_what_was_not_recorded",
            ])
            .env(KILLED, format!("{}|{}", path.display(), server.endpoint()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Not a time but a point of the run: slow machines are killed in the middle of it as well.
        while run.try_wait().unwrap().is_none()
            && server.asked().len() < asked_before + 40 + 3 * kills
        {
            thread::sleep(Duration::from_micros(300));
        }
        let finished = run.try_wait().unwrap();
        // SIGKILL on Unix.
        run.kill().unwrap();
        run.wait().unwrap();
        for asked in &server.asked()[asked_before..] {
            let key = asked.body["prompt"].as_str().unwrap();
            assert!(!known.contains(key), "`{key}` is recorded and asked again");
        }
        match finished {
            Some(status) if status.success() => break,
            Some(status) => panic!("{status}"),
            None => kills += 1,
        }
    }
    assert!(kills >= 5, "{kills}");
    assert_eq!(Journal::open(&path).unwrap().len(), 600);
}
