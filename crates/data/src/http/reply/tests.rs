//! What is read from the replies of servers, and from broken ones.

use serde_json::json;

use super::*;
use crate::Decoding;

fn request(stop: &[&str]) -> CompletionRequest {
    let stop = stop.iter().map(|stop| (*stop).to_owned()).collect();
    let decoding = Decoding { max_tokens: 4, stop, ..Decoding::default() };
    CompletionRequest {
        prompt: Prompt::Text("Name a city.".into()),
        decoding,
        seed: 0,
        logprobs: true,
    }
}

fn read(body: Value) -> Completion {
    parse(body.to_string().as_bytes(), &request(&[]), 4).unwrap()
}

fn tokens(completion: &Completion) -> Vec<(&str, f64)> {
    let tokens = completion.logprobs.as_ref().unwrap().iter();
    tokens.map(|token| (token.token.as_str(), token.logprob)).collect()
}

#[test]
fn all_forms_of_an_answer_read_the_same() {
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 });
    let content = json!({ "content": [
        { "id": 7, "token": " Par", "bytes": [32, 80], "logprob": -0.5, "top_logprobs": [] },
        { "token": "is", "bytes": null, "logprob": -0.25, "top_logprobs": [] },
    ]});
    let legacy = json!({ "tokens": [" Par", "is"], "token_logprobs": [-0.5, -0.25],
        "text_offset": [0, 4], "top_logprobs": [{ " Par": -0.5 }, null] });
    let message = json!({ "role": "assistant", "content": " Paris", "tool_calls": null });
    let parts = json!({ "role": "assistant", "content": [{ "type": "text", "text": " Paris" }] });
    let choices = [
        json!({ "index": 0, "text": " Paris", "logprobs": content, "finish_reason": "stop" }),
        json!({ "index": 0, "text": " Paris", "logprobs": legacy, "finish_reason": "stop" }),
        json!({ "index": 0, "message": message, "logprobs": content, "finish_reason": "stop" }),
        json!({ "index": 0, "message": parts, "logprobs": content, "finish_reason": "stop" }),
    ];
    for choice in choices {
        let answer = read(json!({ "id": "x", "choices": [choice], "usage": usage, "error": null }));
        assert_eq!(answer.text, " Paris");
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        assert_eq!(tokens(&answer), [(" Par", -0.5), ("is", -0.25)]);
        assert_eq!(answer.usage, Usage { prompt_tokens: 5, completion_tokens: 2 });
        assert!(!answer.effort.usage_is_estimated);
    }
}

#[test]
fn log_probabilities_with_a_gap_are_none() {
    for logprobs in [
        json!(null),
        json!({ "content": null }),
        json!({ "tokens": ["a", "b"], "token_logprobs": [null, -1.0] }),
        json!({ "tokens": ["a", "b"], "token_logprobs": [-1.0] }),
        json!({ "tokens": ["a"], "token_logprobs": [-1.0, -2.0] }),
    ] {
        let answer = read(json!({ "choices": [{ "text": "ab", "logprobs": logprobs }] }));
        assert_eq!(answer.logprobs, None, "{logprobs}");
    }
}

#[test]
fn usage_that_is_not_told_is_estimated_and_marked() {
    let answer = read(json!({ "choices": [{ "text": "12345678", "finish_reason": "stop" }] }));
    assert_eq!(answer.usage, Usage { prompt_tokens: 3, completion_tokens: 2 });
    assert!(answer.effort.usage_is_estimated);
    let half = json!({ "prompt_tokens": 9, "total_tokens": 11 });
    let answer = read(json!({ "choices": [{ "text": "12345678" }], "usage": half }));
    assert_eq!(answer.usage, Usage { prompt_tokens: 9, completion_tokens: 2 });
    assert!(answer.effort.usage_is_estimated);
}

#[test]
fn why_an_answer_ended_is_told_even_by_servers_that_do_not_say() {
    let reason = |reason: Value, completion_tokens| {
        let usage = json!({ "prompt_tokens": 1, "completion_tokens": completion_tokens });
        let choice = json!({ "text": "a", "finish_reason": reason });
        read(json!({ "choices": [choice], "usage": usage })).finish_reason
    };
    assert_eq!(reason(json!("stop"), 4), FinishReason::Stop);
    assert_eq!(reason(json!("eos_token"), 4), FinishReason::Stop);
    assert_eq!(reason(json!("length"), 4), FinishReason::Length);
    assert_eq!(reason(json!(null), 4), FinishReason::Length);
    assert_eq!(reason(json!(null), 3), FinishReason::Other("unknown".into()));
    assert_eq!(reason(json!("content_filter"), 3), FinishReason::Other("content_filter".into()));
}

#[test]
fn the_first_stop_text_ends_an_answer_whichever_it_is() {
    let tokens_of = json!({ "tokens": ["one ", "two", " thr", "ee"],
        "token_logprobs": [-1.0, -2.0, -3.0, -4.0] });
    let choice =
        json!({ "text": "one two three", "finish_reason": "length", "logprobs": tokens_of });
    let body = json!({ "choices": [choice] }).to_string();
    let read = |stop: &[&str]| parse(body.as_bytes(), &request(stop), 4).unwrap();
    let answer = read(&["", "six", "hree", " two", "two"]);
    assert_eq!((answer.text.as_str(), &answer.finish_reason), ("one", &FinishReason::Stop));
    assert_eq!(tokens(&answer), [("one ", -1.0)]);
    let answer = read(&["five"]);
    assert_eq!(
        (answer.text.as_str(), &answer.finish_reason),
        ("one two three", &FinishReason::Length)
    );
    assert_eq!(tokens(&answer).len(), 4);
}

#[test]
fn a_hostile_text_is_data() {
    let text =
        "\u{0}\u{1b}[2J\n{\"choices\": []}\n\ndata: [DONE]\r\n{{ x }} {% raw %} <|im_end|>\u{2028}";
    let answer = read(json!({ "choices": [{ "text": text, "finish_reason": "stop" }] }));
    assert_eq!(answer.text, text);
    let long = "x".repeat(3 << 20);
    assert_eq!(read(json!({ "choices": [{ "text": long }] })).text, long);
}

#[test]
fn bytes_that_are_no_text_do_not_cost_the_answer() {
    let answer = parse(b"{\"choices\": [{\"text\": \"a\xe2\x82\"}]}", &request(&[]), 4).unwrap();
    assert_eq!(answer.text, "a\u{FFFD}");
}

#[test]
fn what_is_no_answer_says_why() {
    let reason = |body: &str| parse(body.as_bytes(), &request(&[]), 4).unwrap_err();
    let broken = |body| matches!(reason(body), NoAnswer::Broken(_));
    let deep = "[".repeat(9999);
    assert!(broken("") && broken("<html>") && broken("{\"choices\": [{\"text\": \"a"));
    assert!(broken("[]") && broken("{}") && broken("{\"choices\": []}") && broken(&deep));
    assert!(broken("{\"choices\": [{\"text\": 5}]}") && broken("{\"choices\": 5}"));
    assert_eq!(reason("{\"error\": {\"message\": \"no\"}}"), NoAnswer::Error);
    let silent =
        "{\"choices\": [{\"message\": {\"content\": null}, \"finish_reason\": \"tool_calls\"}]}";
    assert_eq!(reason(silent), NoAnswer::Silent("no text (finish_reason `tool_calls`)".into()));
}
