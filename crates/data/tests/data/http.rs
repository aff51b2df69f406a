//! The HTTP language model against a server that misbehaves.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use albacore_data::{
    Api, CompletionRequest, Decoding, FinishReason, HttpConfig, HttpModel, LanguageModel, Message,
    NoCompletion, Prompt, Reply,
};
use serde_json::json;

use crate::mock_server::{Act, Asked, MockServer, answer};

/// Settings that fail fast.
pub(crate) fn quick(server: &MockServer) -> HttpConfig {
    HttpConfig {
        concurrency: 4,
        timeout_s: 20.0,
        backoff_s: 0.005,
        longest_backoff_s: 0.05,
        ..HttpConfig::new(server.endpoint(), "tiny")
    }
}

pub(crate) fn request(prompt: impl Into<String>) -> CompletionRequest {
    CompletionRequest {
        prompt: Prompt::Text(prompt.into()),
        decoding: Decoding { max_tokens: 100, ..Decoding::default() },
        seed: 0,
        logprobs: false,
    }
}

/// The replies to so many requests, by number.
pub(crate) fn ask_all(model: &HttpModel, count: usize) -> BTreeMap<usize, Reply> {
    let mut replies = BTreeMap::new();
    let mut requests = (0..count).map(|number| request(format!("prompt {number}")));
    model.complete(&mut requests, &mut |number, reply| {
        assert!(replies.insert(number, reply).is_none(), "{number} is answered twice");
        ControlFlow::Continue(())
    });
    replies
}

fn ask(config: HttpConfig) -> Reply {
    ask_all(&HttpModel::new(config).unwrap(), 1).remove(&0).unwrap()
}

fn failure(config: HttpConfig) -> NoCompletion {
    ask(config).unwrap_err()
}

/// The prompt's own words, as an answer.
fn echo(asked: &Asked) -> Act {
    let prompt = asked.body["prompt"].as_str();
    let prompt = prompt.or_else(|| asked.body["messages"][0]["content"].as_str());
    Act::text(&format!("re: {}", prompt.unwrap()))
}

/// A server that answers one request, and from then on fails the first attempts of each prompt, in
/// turn in each of these ways. (Before the first answer, fewer retries are worth it.)
fn fails_first(ways: Vec<Act>) -> MockServer {
    let seen = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    MockServer::start(move |asked| {
        let mut seen = seen.lock().unwrap();
        let attempt = seen.entry(asked.body["prompt"].to_string()).or_default();
        if asked.number == 0 {
            return echo(asked);
        }
        *attempt += 1;
        ways.get(*attempt - 1).cloned().unwrap_or_else(|| echo(asked))
    })
}

#[test]
fn every_request_is_answered_once_over_few_connections() {
    let server = MockServer::start(echo);
    let model = HttpModel::new(quick(&server)).unwrap();
    let replies = ask_all(&model, 200);
    assert_eq!(replies.len(), 200);
    for (number, reply) in replies {
        let answer = reply.unwrap();
        assert_eq!(answer.text, format!("re: prompt {number}"));
        assert_eq!((answer.effort.attempts, answer.usage.prompt_tokens), (1, 10));
    }
    assert_eq!(server.asked().len(), 200);
    assert!(server.connections() <= 4, "{} connections", server.connections());
    let statistics = model.statistics();
    assert_eq!((statistics.answers, statistics.retries, statistics.failures), (200, 0, 0));
    assert_eq!((statistics.prompt_tokens, statistics.completion_tokens), (2000, 600));
}

#[test]
fn each_api_is_asked_at_its_address() {
    let server = MockServer::start(echo);
    let paths = || server.asked().into_iter().map(|asked| asked.path).collect::<Vec<_>>();
    let slash = format!("{}/", server.endpoint());
    ask(HttpConfig { endpoint: slash, ..quick(&server) }).unwrap();
    let answer = ask(HttpConfig { api: Api::Chat, ..quick(&server) }).unwrap();
    assert_eq!(answer.text, "re: prompt 0");
    assert_eq!(paths(), ["/v1/completions", "/v1/chat/completions"]);
}

#[test]
fn what_may_pass_is_asked_again() {
    let whole = answer("never whole").to_string();
    let ways = vec![
        Act::HangUp,
        Act::error(500, "crashed"),
        Act::Cut(whole.clone().into()),
        Act::body("{\"choices\": [{\"text\": \"half"),
        Act::Babble("what?\r\n\r\n"),
        Act::error(408, "late"),
        Act::error(409, "busy"),
        Act::error(425, "early"),
        Act::Reply(503, vec![], b"<html>loading</html>".to_vec()),
        Act::body("{\"error\": {\"message\": \"overloaded\", \"code\": 529}}"),
    ];
    let attempts = ways.len() as u32 + 1;
    let server = fails_first(ways);
    let model = HttpModel::new(HttpConfig { retries: 12, ..quick(&server) }).unwrap();
    ask_all(&model, 1).remove(&0).unwrap().unwrap();
    for reply in ask_all(&model, 6).into_values() {
        let answer = reply.unwrap();
        assert!(answer.text.starts_with("re: prompt"));
        assert_eq!(answer.effort.attempts, attempts);
    }
    assert_eq!(model.statistics().retries, 60);
}

#[test]
fn a_stalled_request_is_given_up_and_asked_again() {
    let server = fails_first(vec![Act::Stall]);
    let model = HttpModel::new(HttpConfig { timeout_s: 0.3, ..quick(&server) }).unwrap();
    ask_all(&model, 1).remove(&0).unwrap().unwrap();
    let start = Instant::now();
    let answer = ask_all(&model, 1).remove(&0).unwrap().unwrap();
    assert_eq!(answer.effort.attempts, 2);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn an_answer_in_drips_is_read_whole_or_given_up_in_time() {
    let slow = Act::Drip(answer("drop by drop").to_string().into(), 40, Duration::from_millis(2));
    let server = MockServer::start(move |_| slow.clone());
    assert_eq!(ask(quick(&server)).unwrap().text, "drop by drop");
    let endless = Act::Drip(vec![b' '; 10_000], 1, Duration::from_millis(20));
    let server = MockServer::start(move |_| endless.clone());
    let start = Instant::now();
    let failure = failure(HttpConfig { timeout_s: 0.3, retries: 1, ..quick(&server) });
    assert!(failure.message.contains("gave no whole answer in 0.3 s"), "{failure}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_is_not_there_stops_the_run_in_seconds() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = HttpConfig::new(format!("http://127.0.0.1:{port}/v1"), "tiny");
    let config = HttpConfig { backoff_s: 0.01, ..config };
    let failure = failure(config);
    assert!(failure.fatal);
    let message = failure.message.replace(&port.to_string(), "PORT");
    let (begin, end) = message.split_once(" in ").unwrap();
    assert_eq!(begin, "no answer after 4 attempts");
    assert!(end.contains("`http://127.0.0.1:PORT/v1/completions` cannot be reached"), "{message}");
    assert_eq!(failure.hint.unwrap(), "start the server, or correct `endpoint`");
}

#[test]
fn a_server_that_speaks_something_else_is_found_out_soon() {
    let server = MockServer::start(|_| Act::body("<html>Welcome</html>"));
    let failure = failure(HttpConfig { concurrency: 1, ..quick(&server) });
    assert_eq!(server.asked().len(), 4);
    assert!(failure.message.contains("sent no answer in JSON: expected value"), "{failure}");
    assert!(failure.hint.unwrap().contains("must speak the OpenAI API"));
}

#[test]
fn a_failure_that_stays_is_told_with_the_servers_words() {
    let server = MockServer::start(|_| Act::error(500, "out of \u{1b}[31mmemory"));
    let failure = failure(HttpConfig { retries: 2, ..quick(&server) });
    assert!(!failure.fatal && !failure.refused);
    assert!(failure.message.starts_with("no answer after 3 attempts"), "{failure}");
    assert!(
        failure.message.ends_with("500 Internal Server Error: out of  [31mmemory"),
        "{failure}"
    );
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn a_run_stops_when_nothing_is_answered_any_more() {
    let server = MockServer::start(|_| Act::error(500, "broken"));
    let config = HttpConfig { retries: 0, give_up_after: 5, ..quick(&server) };
    let replies = ask_all(&HttpModel::new(config).unwrap(), 1000);
    assert_eq!(replies.len(), 5);
    let fatal = replies.into_values().filter_map(Result::err).find(|failure| failure.fatal);
    assert!(fatal.unwrap().message.starts_with("5 requests in a row have no answer"));
}

#[test]
fn an_answer_in_between_lets_a_run_go_on() {
    let server = MockServer::start(|asked| match asked.number % 3 {
        2 => echo(asked),
        _ => Act::error(500, "two of three"),
    });
    let config = HttpConfig { retries: 0, give_up_after: 3, concurrency: 1, ..quick(&server) };
    let replies = ask_all(&HttpModel::new(config).unwrap(), 30);
    assert_eq!(replies.values().filter(|reply| reply.is_ok()).count(), 10);
    assert_eq!(replies.len(), 30);
}

#[test]
fn one_bad_prompt_does_not_stop_the_run() {
    let server = MockServer::start(|asked| match asked.body["prompt"].as_str() {
        Some("prompt 7") => Act::error(400, "bad words"),
        _ => echo(asked),
    });
    let replies = ask_all(&HttpModel::new(quick(&server)).unwrap(), 20);
    let failed: Vec<_> = replies.iter().filter(|(_, reply)| reply.is_err()).collect();
    let [(7, Err(failure))] = failed[..] else { panic!("{failed:?}") };
    assert!(failure.refused && !failure.fatal, "{failure:?}");
    assert!(failure.message.contains("400 Bad Request: bad words"));
    assert_eq!(server.asked().len(), 20, "a refusal is not asked again");
}

#[test]
fn an_answer_without_text_is_a_refusal_and_too_large_a_one_is_not() {
    let call = r#"{"choices": [{"message": {"content": null}, "finish_reason": "tool_calls"}]}"#;
    let server = MockServer::start(move |_| Act::body(call));
    assert!(failure(quick(&server)).refused);
    let server = MockServer::start(|_| Act::text(&"x".repeat(2 << 20)));
    assert!(!failure(HttpConfig { max_reply_mib: 1, ..quick(&server) }).refused);
}

#[test]
fn a_wrong_key_model_or_address_stops_the_run_at_once() {
    for (status, said, hinted) in [
        (401, "Incorrect API key", "`api_key_env`"),
        (403, "forbidden", "`api_key_env`"),
        (404, "The model `tiny` does not exist", "`model` is `tiny`"),
        (400, "model 'tiny' not found", "`model` is `tiny`"),
        (404, "Not Found", "`endpoint`"),
        (307, "elsewhere", "`endpoint`"),
        (402, "pay", "credit"),
    ] {
        let server = MockServer::start(move |_| Act::error(status, said));
        let replies = ask_all(&HttpModel::new(quick(&server)).unwrap(), 100);
        assert_eq!(replies.len(), 1, "{status}");
        let failure = replies.into_values().next().unwrap().unwrap_err();
        assert!(failure.fatal && failure.message.contains(said), "{failure:?}");
        assert!(failure.hint.unwrap().contains(hinted), "{status}");
    }
}

#[test]
fn a_key_goes_to_no_other_address() {
    let elsewhere = MockServer::start(echo);
    let place = format!("{}/completions", elsewhere.endpoint());
    let server = MockServer::start(move |_| Act::error(307, "").with("Location", place.clone()));
    assert!(failure(quick(&server)).fatal);
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn a_request_that_does_not_fit_is_asked_for_less() {
    let fits = |most: u64| {
        MockServer::start(move |asked| match asked.body["max_tokens"].as_u64().unwrap() {
            wanted if wanted > most => Act::error(400, "maximum context length is 2048 tokens"),
            _ => echo(asked),
        })
    };
    let server = fits(64);
    assert_eq!(ask(quick(&server)).unwrap().effort.attempts, 3);
    let wanted = |server: &MockServer| {
        server.asked().iter().map(|asked| asked.body["max_tokens"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(wanted(&server), [json!(100), json!(80), json!(64)]);
    let server = fits(10);
    let failure = failure(quick(&server));
    assert!(!failure.fatal && failure.hint.unwrap().contains("shorten the prompt"));
    assert_eq!(wanted(&server), [json!(100), json!(80), json!(64), json!(51)]);
}

#[test]
fn more_stop_texts_than_the_server_takes_are_cut_by_us() {
    let server = MockServer::start(|_| Act::text("one\ntwo 5. three"));
    let mut wanted = request("prompt");
    wanted.decoding.stop = ["a)", "b)", "c)", "d)", "5.", "\n\n"].map(str::to_owned).into();
    let mut text = None;
    HttpModel::new(quick(&server)).unwrap().complete(&mut [wanted].into_iter(), &mut |_, reply| {
        text = Some(reply.unwrap());
        ControlFlow::Continue(())
    });
    let answer = text.unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason), ("one\ntwo ", FinishReason::Stop));
    assert_eq!(server.asked()[0].body["stop"], json!(["a)", "b)", "c)", "d)"]));
}

#[test]
fn a_conversation_needs_the_chat_api() {
    let server = MockServer::start(echo);
    let talk = CompletionRequest {
        prompt: Prompt::Messages(vec![Message::new("user", "hi")]),
        ..request("")
    };
    let ask = |api| {
        let mut replies = Vec::new();
        let model = HttpModel::new(HttpConfig { api, ..quick(&server) }).unwrap();
        model.complete(&mut [talk.clone()].into_iter(), &mut |_, reply| {
            replies.push(reply);
            ControlFlow::Continue(())
        });
        replies.remove(0)
    };
    assert!(ask(Api::Completions).unwrap_err().fatal);
    assert!(server.asked().is_empty());
    assert_eq!(ask(Api::Chat).unwrap().text, "re: hi");
}

#[test]
fn an_answer_larger_than_allowed_is_refused_in_words() {
    let server = MockServer::start(|_| Act::text(&"x".repeat(2 << 20)));
    let failure = failure(HttpConfig { max_reply_mib: 1, ..quick(&server) });
    assert!(failure.message.ends_with("answered with more than 1 MiB"), "{failure}");
    assert_eq!(server.asked().len(), 1);
    // The mock says it twice, for both APIs.
    let answer = ask(HttpConfig { max_reply_mib: 5, ..quick(&server) }).unwrap();
    assert_eq!(answer.text.len(), 2 << 20);
}

#[test]
fn cost_is_told_where_prices_are_known() {
    let server = MockServer::start(echo);
    let model = HttpModel::new(HttpConfig {
        price_per_million_prompt_tokens: Some(2.0),
        price_per_million_completion_tokens: Some(10.0),
        ..quick(&server)
    });
    let model = model.unwrap();
    ask_all(&model, 100);
    // 1000 tokens at 2 and 300 at 10 a million
    let cost = model.statistics().cost.unwrap();
    assert!((cost - 0.005).abs() < 1e-12, "{cost}");
    let free = HttpModel::new(quick(&server)).unwrap();
    ask_all(&free, 1);
    assert_eq!(free.statistics().cost, None);
}

#[test]
fn the_key_is_sent_and_stands_in_no_message() {
    // SAFETY: the standard library guards the environment against its own readers, and nothing here
    // reads it past the library; no other test uses this variable.
    unsafe { std::env::set_var("ALBACORE_TEST_HTTP_KEY", "sk-test-0123456789") };
    let server = MockServer::start(|asked| {
        let key = asked.authorization.clone().unwrap_or_default();
        match asked.number {
            0 => Act::text(&key),
            1 => Act::error(401, &format!("bad key: {key}")),
            // Where a message is cut, in the middle of the key.
            2 => Act::error(401, &format!("{}{key}", "x".repeat(285))),
            _ => Act::body(json!({ "choices": key }).to_string()),
        }
    });
    let key = Some("ALBACORE_TEST_HTTP_KEY".to_owned());
    let config = HttpConfig { api_key_env: key, retries: 0, ..quick(&server) };
    let model = HttpModel::new(config).unwrap();
    let replies: Vec<_> = (0..4).map(|_| ask_all(&model, 1).remove(&0).unwrap()).collect();
    assert_eq!(replies[0].as_ref().unwrap().text, "Bearer [key]");
    let failures: Vec<_> = replies[1..].iter().map(|reply| reply.as_ref().unwrap_err()).collect();
    assert!(failures[0].message.ends_with("bad key: Bearer [key]"), "{failures:?}");
    assert!(failures[0].hint.as_ref().unwrap().contains("ALBACORE_TEST_HTTP_KEY"));
    assert!(failures[1].message.ends_with("xBearer [key]"), "{failures:?}");
    assert!(failures[2].message.contains("string \"Bearer [key]\""), "{failures:?}");
    let shown = format!("{model:?} {replies:?} {:?}", model.statistics());
    assert!(!shown.contains("sk-test"), "{shown}");
    assert_eq!(server.asked()[0].authorization.as_deref(), Some("Bearer sk-test-0123456789"));
}

#[test]
fn settings_that_cannot_be_used_are_named_before_anything_is_asked() {
    let error = HttpModel::new(HttpConfig::default()).unwrap_err().to_string();
    assert!(error.contains("http.endpoint") && error.contains("http.model"), "{error}");
    let config = HttpConfig {
        api_key_env: Some("ALBACORE_TEST_NOT_SET".into()),
        ..HttpConfig::new("http://h/v1", "m")
    };
    let error = HttpModel::new(config).unwrap_err();
    assert_eq!(error.to_string(), "the environment variable `ALBACORE_TEST_NOT_SET` is not set");
    assert!(error.hint().unwrap().contains("export ALBACORE_TEST_NOT_SET=…"));
}
