//! A request as the servers read it.

use serde_json::{Map, Value, json};

use super::config::{Api, HttpConfig};
use crate::{CompletionRequest, NoCompletion, Prompt};

/// Most stop texts that the OpenAI API takes; servers refuse more. The rest is cut off by us.
const MOST_STOPS: usize = 4;

/// The body of a request.
///
/// # Errors
/// A conversation cannot go on as a text: that is a mistake of the settings.
pub(super) fn body(
    config: &HttpConfig,
    request: &CompletionRequest,
) -> Result<Map<String, Value>, NoCompletion> {
    let decoding = &request.decoding;
    if !decoding.options.is_empty() {
        return Err(NoCompletion {
            message: "a server tells no log-probabilities of answers to choose from".into(),
            hint: Some("take a model here, or questions that are answered by text".into()),
            fatal: true,
            refused: false,
        });
    }
    let mut body = Map::new();
    let mut put = |key: &str, value: Value| body.insert(key.to_owned(), value);
    put("model", config.model.clone().into());
    match (config.api, &request.prompt) {
        (Api::Completions, Prompt::Text(text)) => put("prompt", text.clone().into()),
        (Api::Chat, Prompt::Text(text)) => {
            put("messages", json!([{ "role": "user", "content": text }]))
        }
        (Api::Chat, Prompt::Messages(messages)) => put("messages", json!(messages)),
        (Api::Completions, Prompt::Messages(_)) => {
            return Err(NoCompletion {
                message: "`api = \"completions\"` continues text, found a conversation".into(),
                hint: Some("set `api = \"chat\"`".into()),
                fatal: true,
                refused: false,
            });
        }
    };
    put("max_tokens", decoding.max_tokens.into());
    put("temperature", decoding.temperature.into());
    // Sent even where they change nothing: servers have defaults of their own, such as top_p 0.95.
    put("top_p", decoding.top_p.into());
    put("presence_penalty", decoding.presence_penalty.into());
    put("frequency_penalty", decoding.frequency_penalty.into());
    // Half of the bits that a C integer holds without its sign: llama.cpp takes no more.
    put("seed", ((request.seed ^ (request.seed >> 32)) & 0x7FFF_FFFF).into());
    let stops: Vec<_> = stops(&decoding.stop).take(MOST_STOPS).collect();
    if !stops.is_empty() {
        put("stop", json!(stops));
    }
    if request.logprobs {
        match config.api {
            Api::Completions => put("logprobs", 1.into()),
            Api::Chat => {
                put("logprobs", true.into());
                // llama-cpp-python sends none without it.
                put("top_logprobs", 1.into())
            }
        };
    }
    body.extend(config.extra.clone());
    body.retain(|key, _| !config.omit.contains(key));
    Ok(body)
}

/// The texts that end a completion. An empty one would end each before it began: it means none.
pub(super) fn stops(stops: &[String]) -> impl Iterator<Item = &String> {
    stops.iter().filter(|stop| !stop.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Decoding, Message};

    fn request(prompt: Prompt) -> CompletionRequest {
        let stop = ["a", "", "b", "c", "d", "e"].map(str::to_owned).into();
        let decoding = Decoding { max_tokens: 9, temperature: 0.5, stop, ..Decoding::default() };
        CompletionRequest { prompt, decoding, seed: u64::MAX - 1, logprobs: true }
    }

    fn config(api: Api) -> HttpConfig {
        HttpConfig { api, ..HttpConfig::new("http://h/v1", "m") }
    }

    fn text(value: &Map<String, Value>) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn a_text_goes_on_over_completions() {
        let body = body(&config(Api::Completions), &request(Prompt::Text("Go".into()))).unwrap();
        insta::assert_snapshot!(text(&body), @r#"{"model":"m","prompt":"Go","max_tokens":9,"temperature":0.5,"top_p":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,"seed":1,"stop":["a","b","c","d"],"logprobs":1}"#);
    }

    #[test]
    fn over_chat_a_text_is_one_message_and_a_conversation_stays_one() {
        let config = HttpConfig { omit: vec!["seed".into(), "stop".into()], ..config(Api::Chat) };
        let body_of = |prompt| text(&body(&config, &request(prompt)).unwrap());
        insta::assert_snapshot!(body_of(Prompt::Text("Go".into())), @r#"{"model":"m","messages":[{"role":"user","content":"Go"}],"max_tokens":9,"temperature":0.5,"top_p":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,"logprobs":true,"top_logprobs":1}"#);
        let talk = vec![Message::new("system", "Be."), Message::new("user", "Go")];
        insta::assert_snapshot!(body_of(Prompt::Messages(talk)), @r#"{"model":"m","messages":[{"role":"system","content":"Be."},{"role":"user","content":"Go"}],"max_tokens":9,"temperature":0.5,"top_p":1.0,"presence_penalty":0.0,"frequency_penalty":0.0,"logprobs":true,"top_logprobs":1}"#);
    }

    #[test]
    fn a_conversation_over_completions_is_refused() {
        let refused = body(&config(Api::Completions), &request(Prompt::Messages(vec![])));
        let refused = refused.unwrap_err();
        assert!(refused.fatal && refused.hint.unwrap().contains("chat"));
    }

    #[test]
    fn extra_fields_are_added_or_take_the_place_of_ours() {
        let mut config = config(Api::Completions);
        config.extra.insert("top_k".into(), 40.into());
        config.extra.insert("temperature".into(), 1.into());
        let body = body(&config, &request(Prompt::Text("Go".into()))).unwrap();
        assert_eq!((&body["top_k"], &body["temperature"]), (&json!(40), &json!(1)));
    }
}
