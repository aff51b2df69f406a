//! The HTTP language model keeps to the limits of its server, and stops when told.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use albacore_data::{HttpConfig, HttpModel, LanguageModel};

use crate::http::{quick, request};
use crate::mock_server::{Act, MockServer};

/// Asks so many; how many were answered, and how long it took.
fn ask(model: &HttpModel, count: usize) -> (usize, Duration) {
    let (start, mut answered) = (Instant::now(), 0);
    model.complete(&mut (0..count).map(|_| request("prompt")), &mut |_, reply| {
        answered += usize::from(reply.is_ok());
        ControlFlow::Continue(())
    });
    (answered, start.elapsed())
}

#[test]
fn requests_keep_their_distance() {
    let server = MockServer::start(|_| Act::text("yes"));
    let config = HttpConfig { requests_per_minute: Some(3000), ..quick(&server) };
    let (answered, took) = ask(&HttpModel::new(config).unwrap(), 26);
    assert_eq!(answered, 26);
    assert!(took >= Duration::from_millis(500), "25 gaps of 20 ms in {took:?}");
}

#[test]
fn tokens_are_paced_by_what_answers_really_take() {
    let server = MockServer::start(|_| Act::text("yes"));
    // 2 tokens of prompt and 100 of answer are foretold, 13 are used: 78,000 a minute are 100 such
    // answers a second.
    let config = HttpConfig { tokens_per_minute: Some(78_000), concurrency: 1, ..quick(&server) };
    let (answered, took) = ask(&HttpModel::new(config).unwrap(), 51);
    assert_eq!(answered, 51);
    assert!(took >= Duration::from_millis(500), "50 gaps of 10 ms in {took:?}");
    // If none were given back, it would take 51 gaps of 78 ms.
    assert!(took < Duration::from_millis(3900), "{took:?}");
}

/// When requests came to a server that tells the first of 40 to wait, in seconds after that one.
fn comings(after: String) -> Vec<f64> {
    let server = MockServer::start(move |asked| match asked.number {
        0 => Act::error(429, "slow down").with("Retry-After", after.clone()),
        _ => Act::After(Duration::from_millis(100), Box::new(Act::text("yes"))),
    });
    assert_eq!(ask(&HttpModel::new(quick(&server)).unwrap(), 40).0, 40);
    let asked = server.asked();
    assert_eq!(asked.len(), 41);
    asked.iter().map(|one| one.at.duration_since(asked[0].at).as_secs_f64()).collect()
}

#[test]
fn a_server_that_has_too_much_is_left_alone_by_all_workers() {
    // Undisturbed, four workers would come all the time for a second. What is under way when the
    // first is refused comes in the first half of its wait.
    let comings_in_the_wait = comings("1".into()).into_iter().filter(|at| (0.5..0.99).contains(at));
    assert_eq!(comings_in_the_wait.count(), 0);
}

#[test]
fn a_wait_until_a_date_is_waited() {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&soon);
    // Dates are whole seconds: of three, at least two are left, less the time until it was asked.
    let comings_in_the_wait =
        comings(date.unwrap()).into_iter().filter(|at| (0.5..1.8).contains(at));
    assert_eq!(comings_in_the_wait.count(), 0);
}

#[test]
fn a_storm_of_429_loses_and_doubles_nothing() {
    // Nine of ten are refused, without a word of how long.
    let count = AtomicUsize::new(0);
    let server = MockServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) % 10 {
        9 => Act::text("yes"),
        _ => Act::error(429, "slow down"),
    });
    let config = HttpConfig { retries: 1000, longest_backoff_s: 0.01, ..quick(&server) };
    let model = HttpModel::new(config).unwrap();
    assert_eq!(ask(&model, 40).0, 40);
    let statistics = model.statistics();
    assert_eq!((statistics.answers, statistics.failures), (40, 0));
    assert_eq!(statistics.retries as usize, server.asked().len() - 40);
    assert!(statistics.last_trouble.unwrap().contains("429 Too Many Requests: slow down"));
}

#[test]
fn a_server_that_is_asked_too_much_uses_up_no_retries() {
    // Seven of ten are refused, with a word of how long: many a request more often than it is retried.
    let count = AtomicUsize::new(0);
    let server = MockServer::start(move |_| {
        match albacore_data::Random::new(7, "storm", count.fetch_add(1, Ordering::SeqCst) as u64)
            .below(10)
        {
            0..7 => Act::error(429, "slow down").with("Retry-After", "0.01"),
            _ => Act::text("yes"),
        }
    });
    let model = HttpModel::new(HttpConfig { retries: 1, ..quick(&server) }).unwrap();
    assert_eq!(ask(&model, 100).0, 100);
    let statistics = model.statistics();
    assert_eq!((statistics.answers, statistics.failures), (100, 0));
    assert_eq!(statistics.retries as usize, server.asked().len() - 100);
    assert!(statistics.retries > 150, "{statistics:?}");
}

#[test]
fn a_server_that_is_always_asked_too_much_is_given_up_in_time() {
    let server = MockServer::start(|_| Act::error(429, "slow down").with("Retry-After", "0.01"));
    let config = HttpConfig { retries: 1, longest_wait_s: 0.5, ..quick(&server) };
    let model = HttpModel::new(config).unwrap();
    let (answered, took) = ask(&model, 3);
    assert!(answered == 0 && took >= Duration::from_millis(500), "{took:?}");
    assert_eq!(model.statistics().failures, 3);
    assert!(server.asked().len() > 6, "more often than by `retries` alone");
}

#[test]
fn a_wait_of_hours_stops_the_run() {
    let server = MockServer::start(|_| Act::error(429, "tomorrow").with("Retry-After", "86400"));
    let mut failures = Vec::new();
    let model = HttpModel::new(quick(&server)).unwrap();
    model.complete(&mut (0..100).map(|_| request("prompt")), &mut |_, reply| {
        failures.push(reply.unwrap_err());
        ControlFlow::Continue(())
    });
    let [failure] = &failures[..] else { panic!("{failures:?}") };
    assert!(failure.fatal);
    let expected = "the server wants a wait of 86400 s, more than `longest_wait_s` = 600";
    assert!(failure.message.starts_with(expected), "{failure}");
}

#[test]
fn a_break_returns_at_once_whatever_waits() {
    // The first is answered; the others wait for retries of a minute, or for an answer that never comes.
    let server = MockServer::start(|asked| match asked.number {
        0 => Act::After(Duration::from_millis(200), Box::new(Act::text("yes"))),
        1 | 2 => Act::error(503, "later").with("Retry-After", "60"),
        _ => Act::Stall,
    });
    let model = HttpModel::new(quick(&server)).unwrap();
    let (start, mut replies) = (Instant::now(), 0);
    model.complete(&mut std::iter::repeat_with(|| request("prompt")), &mut |_, _| {
        replies += 1;
        ControlFlow::Break(())
    });
    assert_eq!(replies, 1);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let asked = server.asked().len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.asked().len(), asked, "nothing more is asked");
}

#[test]
fn requests_are_taken_as_there_is_room() {
    let server = MockServer::start(|_| Act::text("yes"));
    let model = HttpModel::new(quick(&server)).unwrap();
    let (taken, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut requests = (0..500).map(|_| {
        let ahead = taken.fetch_add(1, Ordering::SeqCst) - answered.load(Ordering::SeqCst);
        assert!(ahead < 8, "{ahead} in hand, with four workers");
        request("prompt")
    });
    model.complete(&mut requests, &mut |_, _| {
        answered.fetch_add(1, Ordering::SeqCst);
        ControlFlow::Continue(())
    });
    assert_eq!(answered.into_inner(), 500);
}

#[test]
fn a_stop_gives_up_a_server_that_says_nothing() {
    let stalls = MockServer::start(|_| Act::Stall);
    let storms = MockServer::start(|_| Act::error(429, "slow down").with("Retry-After", "60"));
    for server in [stalls, storms] {
        let stop = Arc::new(AtomicBool::new(false));
        let config = HttpConfig { timeout_s: 60.0, ..quick(&server) };
        let model = HttpModel::new(config).unwrap().stop_when(Arc::clone(&stop));
        let stopper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        let (answered, took) = ask(&model, 3);
        stopper.join().unwrap();
        // Both would keep it waiting for 60 s.
        assert!(answered == 0 && took < Duration::from_secs(30), "{answered} in {took:?}");
    }
}
