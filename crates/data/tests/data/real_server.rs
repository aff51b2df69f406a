//! The HTTP language model against a real server with SmolLM2, or another small LLaMA.
//!
//!     pip install xllamacpp          # or 'llama-cpp-python[server]', whose replies differ
//!     ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored --nocapture

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard};

use albacore_data::{
    Api, Completion, CompletionRequest, Decoding, FinishReason, HttpConfig, HttpModel, Journal,
    LanguageModel, Message, Prompt, Reply, journaled,
};

/// These servers have few slots: one test at a time.
static SERVER: Mutex<()> = Mutex::new(());

fn server(api: Api) -> (MutexGuard<'static, ()>, HttpConfig) {
    let endpoint =
        std::env::var("ALBACORE_TEACHER").expect("ALBACORE_TEACHER is a server's address");
    let config =
        HttpConfig { api, concurrency: 2, backoff_s: 0.1, ..HttpConfig::new(endpoint, "any") };
    (SERVER.lock().unwrap_or_else(|broken| broken.into_inner()), config)
}

fn request(prompt: Prompt, max_tokens: usize, stop: &[&str]) -> CompletionRequest {
    let stop = stop.iter().map(|stop| (*stop).to_owned()).collect();
    let decoding = Decoding { max_tokens, stop, ..Decoding::default() };
    CompletionRequest { prompt, decoding, seed: 1, logprobs: true }
}

fn ask(config: HttpConfig, request: CompletionRequest) -> Reply {
    let (model, mut replies) = (HttpModel::new(config).unwrap(), Vec::new());
    model.complete(&mut [request].into_iter(), &mut |_, reply| {
        replies.push(reply);
        ControlFlow::Continue(())
    });
    println!("{:?}", replies[0]);
    replies.remove(0)
}

/// What every answer holds.
fn check(answer: &Completion, max_tokens: usize) {
    assert!(!answer.effort.usage_is_estimated, "both servers tell");
    assert!(answer.usage.prompt_tokens > 0);
    assert!((1..=max_tokens as u64).contains(&answer.usage.completion_tokens));
    let tokens = answer.logprobs.as_ref().expect("both servers give log-probabilities");
    assert!(!tokens.is_empty());
    assert!(tokens.iter().all(|token| token.logprob.is_finite() && token.logprob <= 0.0));
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn text_goes_on() {
    let (_alone, config) = server(Api::Completions);
    let prompt = Prompt::Text("The capital of France is".into());
    let answer = ask(config.clone(), request(prompt.clone(), 4, &[])).unwrap();
    check(&answer, 4);
    assert!(answer.text.starts_with(" Paris"), "{answer:?}");
    assert_eq!(answer.finish_reason, FinishReason::Length);
    assert_eq!(answer.usage.prompt_tokens, 5);
    let said: String = answer.logprobs.unwrap().iter().map(|token| token.token.as_str()).collect();
    assert_eq!(said, answer.text);
    // Only our own stop texts, the sixth of them among ours.
    let stops = ["1)", "2)", "3)", "4)", "5)", "Paris"];
    let stopped = ask(config, request(prompt, 4, &stops)).unwrap();
    assert_eq!((stopped.text.as_str(), stopped.finish_reason), (" ", FinishReason::Stop));
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn messages_are_answered() {
    let (_alone, config) = server(Api::Chat);
    let question = "What is the capital of France? Answer in one word.";
    let text = ask(config.clone(), request(Prompt::Text(question.into()), 24, &[])).unwrap();
    check(&text, 24);
    let messages = Prompt::Messages(vec![Message::new("user", question)]);
    let message = ask(config, request(messages, 24, &[])).unwrap();
    assert_eq!(text.text, message.text, "a text is one message of the user");
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn a_prompt_longer_than_the_context_is_told_as_such() {
    let (_alone, config) = server(Api::Completions);
    let long = "The quick brown fox jumps over the lazy dog. ".repeat(4000);
    let failure = ask(config, request(Prompt::Text(long), 50, &[])).unwrap_err();
    assert!(!failure.fatal, "{failure:?}");
    assert!(failure.hint.unwrap().contains("shorten the prompt"));
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn a_wrong_address_stops_the_run() {
    let (_alone, mut config) = server(Api::Completions);
    config.endpoint += "/nothing";
    let failure = ask(config, request(Prompt::Text("a".into()), 1, &[])).unwrap_err();
    assert!(failure.fatal && failure.hint.unwrap().contains("`endpoint`"));
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn a_field_that_the_server_refuses_is_told_in_its_words() {
    let (_alone, mut config) = server(Api::Completions);
    config.extra.insert("temperature".into(), "warm".into());
    config.retries = 1;
    let failure = ask(config, request(Prompt::Text("a".into()), 1, &[])).unwrap_err();
    assert!(!failure.fatal && failure.message.contains(" answered "), "{failure:?}");
}

#[test]
#[ignore = "needs a server: ALBACORE_TEACHER=http://127.0.0.1:8012/v1 cargo test --release -p albacore-data real_server -- --ignored"]
fn a_run_through_the_journal_asks_nothing_twice() {
    let (_alone, config) = server(Api::Completions);
    let folder = tempfile::tempdir().unwrap();
    let mut texts = BTreeMap::new();
    for asked in [12, 0] {
        let model = HttpModel::new(config.clone()).unwrap();
        let mut journal = Journal::open(folder.path().join("journal.jsonl")).unwrap();
        let mut requests = (0..12).map(|number| {
            let prompt = Prompt::Text(format!("Task {number}: Write a short poem about"));
            let mut request = request(prompt, 16, &["\n\n"]);
            (request.seed, request.decoding.temperature) = (number, 0.7);
            (number.to_string(), request)
        });
        let statistics = journaled(&model, &mut journal, &mut requests, &mut |key, reply| {
            let text = reply.unwrap().text;
            assert_eq!(texts.entry(key.to_owned()).or_insert(text.clone()), &text);
            ControlFlow::Continue(())
        });
        println!("{:?}\n{:?}", statistics.unwrap(), model.statistics());
        assert_eq!(model.statistics().answers, asked);
    }
    assert_eq!(texts.len(), 12);
}
