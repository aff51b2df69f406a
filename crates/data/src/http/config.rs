//! The settings of a server that writes text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use ureq::http::Uri;

use crate::{Problem, Usage};

/// A server that speaks the OpenAI API (vLLM, llama.cpp, a cloud), and how it is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The base address, such as `http://127.0.0.1:8012/v1`; `/completions` or `/chat/completions`
    /// is added to it. No default.
    pub endpoint: String,
    /// The model's name, as the server knows it. No default.
    pub model: String,
    /// Whether text goes on (`"completions"`) or a message is answered (`"chat"`); default
    /// `"completions"`. Over `"chat"`, a text prompt becomes one message of the user.
    pub api: Api,
    /// The NAME of the environment variable that holds the key; default none is sent. The key itself
    /// is never read from a config, and never written anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// How many requests run at a time; default 16. Raising it is faster until the server is busy.
    pub concurrency: usize,
    /// Most requests begun a minute, evenly spaced; default no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens a minute, of prompts and answers; default no limit. A request counts as its prompt
    /// and `max_tokens` until its answer tells what it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// Seconds until a request without a whole answer is given up and asked again; default 300. Too
    /// low a value throws away answers that would have come.
    pub timeout_s: f64,
    /// Seconds until a connection must stand; default 10.
    pub connect_timeout_s: f64,
    /// How often a request is asked again after a failure that may pass (a broken connection, a
    /// timeout, 408, 409, 425, 5xx, an answer that cannot be read); default 8. Until the first
    /// answer, a server that cannot be reached or read is asked again 3 times at most. Where it says that
    /// it is asked too much (429, `Retry-After`) it is asked on, see `longest_wait_s`.
    pub retries: u32,
    /// Seconds of which the wait before the first retry is a random part; doubled with each
    /// retry; default 0.5.
    pub backoff_s: f64,
    /// Most seconds of which the wait before a retry is a random part; default 60.
    pub longest_backoff_s: f64,
    /// Most seconds that the server may tell us to wait (`Retry-After`); default 600. If it says
    /// more, the run stops. For as long it may also say again and again that it is asked too much
    /// without answering anything: after that, `retries` counts as for other failures. Raising it
    /// outlasts longer limits.
    pub longest_wait_s: f64,
    /// How many requests in a row may fail, each with all its retries, before the run stops;
    /// default 10. Raising it asks a broken server for longer.
    pub give_up_after: u32,
    /// The largest answer that is read, in MiB; default 16. It bounds the memory that a server can
    /// make us use: this times `concurrency`.
    pub max_reply_mib: u64,
    /// Price of a million tokens of prompts, in any currency; default unknown, and then cost is not
    /// told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_million_prompt_tokens: Option<f64>,
    /// Price of a million tokens of answers, in the same currency; default unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_per_million_completion_tokens: Option<f64>,
    /// Fields added to every request's body, or put in place of ours: `extra = { top_k = 40 }`.
    /// Default none.
    pub extra: Map<String, Value>,
    /// Fields of ours that are left out, for servers that refuse them: `omit = ["seed"]`. Default none.
    pub omit: Vec<String>,
    /// Start of the random numbers that spread the retries; default 0. It changes no answer.
    pub backoff_seed: u64,
    /// Where a key must not stand. Read so that it can be refused without being shown.
    #[serde(skip_serializing)]
    pub api_key: NoKey,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            model: String::new(),
            api: Api::Completions,
            api_key_env: None,
            concurrency: 16,
            requests_per_minute: None,
            tokens_per_minute: None,
            timeout_s: 300.0,
            connect_timeout_s: 10.0,
            retries: 8,
            backoff_s: 0.5,
            longest_backoff_s: 60.0,
            longest_wait_s: 600.0,
            give_up_after: 10,
            max_reply_mib: 16,
            price_per_million_prompt_tokens: None,
            price_per_million_completion_tokens: None,
            extra: Map::new(),
            omit: Vec::new(),
            backoff_seed: 0,
            api_key: NoKey(false),
        }
    }
}

/// Which of the two ways to ask a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `/completions`: a text goes on.
    Completions,
    /// `/chat/completions`: a conversation is answered.
    Chat,
}

impl Api {
    /// What is added to the base address.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Chat => "chat/completions",
        }
    }
}

/// A field that may not be set; its value is dropped unseen. `default()` is one that is not set.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct NoKey(bool);

impl<'de> Deserialize<'de> for NoKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl fmt::Debug for NoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "set" } else { "not set" })
    }
}

/// Fields of the body that decide what is asked and how the answer reads: not for `extra`.
const OURS: [&str; 9] =
    ["model", "prompt", "messages", "stream", "n", "best_of", "echo", "max_tokens", "stop"];

/// The longest time that a setting may name: 30 days, well inside what clocks can add.
const LONGEST_S: f64 = 30.0 * 86_400.0;

impl HttpConfig {
    /// The settings for a model of a server; the rest as by default.
    pub fn new(endpoint: impl Into<String>, model: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), model: model.into(), ..Self::default() }
    }

    /// All problems that can be seen without asking the server. `table` is what the config calls
    /// these settings.
    pub fn validate(&self, table: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut unless = |fits: bool, key: &str, message: String, hint: Option<&str>| {
            if !fits {
                let (key, hint) = (format!("{table}.{key}"), hint.map(str::to_owned));
                problems.push(Problem { key, message, hint });
            }
        };
        if let Some((message, hint)) = endpoint_problem(&self.endpoint) {
            unless(false, "endpoint", message, Some(hint));
        }
        unless(
            !self.model.is_empty(),
            "model",
            "is empty, wanted the model's name on the server".into(),
            Some("the server lists its models at `ENDPOINT/models`"),
        );
        let named = "export the key (`export TEACHER_KEY=…`) and name the variable: \
                     `api_key_env = \"TEACHER_KEY\"`";
        let name = self.api_key_env.as_deref().unwrap_or("NAME");
        // What does not look like a name may be the key itself: it is not shown.
        unless(
            is_variable(name),
            "api_key_env",
            "is not the name of an environment variable (not shown: it may be a key)".into(),
            Some(named),
        );
        let message = "holds a key, and a config is no place for one".to_owned();
        unless(!self.api_key.0, "api_key", message, Some(named));
        let at_least_1 = |found: u64| format!("is {found}, wanted 1 or more");
        for (key, found) in [
            ("concurrency", self.concurrency as u64),
            ("requests_per_minute", self.requests_per_minute.map_or(1, u64::from)),
            ("tokens_per_minute", self.tokens_per_minute.map_or(1, u64::from)),
            ("give_up_after", u64::from(self.give_up_after)),
            ("max_reply_mib", self.max_reply_mib),
        ] {
            unless(found >= 1, key, at_least_1(found), None);
        }
        unless(
            self.concurrency <= 1024,
            "concurrency",
            format!("is {}, wanted 1024 or less: each request has a thread", self.concurrency),
            None,
        );
        for (key, found, least) in [
            ("timeout_s", self.timeout_s, 0.001),
            ("connect_timeout_s", self.connect_timeout_s, 0.001),
            ("backoff_s", self.backoff_s, 0.0),
            ("longest_backoff_s", self.longest_backoff_s, 0.0),
            ("longest_wait_s", self.longest_wait_s, 0.0),
        ] {
            let message = format!("is {found:?}, wanted seconds from {least} to {LONGEST_S}");
            unless((least..=LONGEST_S).contains(&found), key, message, None);
        }
        for (key, price) in [
            ("price_per_million_prompt_tokens", self.price_per_million_prompt_tokens),
            ("price_per_million_completion_tokens", self.price_per_million_completion_tokens),
        ] {
            let price = price.unwrap_or(0.0);
            let message = format!("is {price:?}, wanted a price, 0 or more");
            unless(price.is_finite() && price >= 0.0, key, message, None);
        }
        for key in self.extra.keys() {
            let plain = key.to_lowercase().replace(['-', '_'], "");
            let message = format!("holds `{key}`, which {}", "may be a key");
            unless(!["apikey", "authorization"].contains(&&*plain), "extra", message, Some(named));
            let message = format!("holds `{key}`, which is set from the request");
            unless(!OURS.contains(&key.as_str()), "extra", message, None);
        }
        for key in self.omit.iter().filter(|key| ["model", "prompt", "messages"].contains(&&***key))
        {
            let message = format!("names `{key}`, without which nothing is asked");
            unless(false, "omit", message, None);
        }
        problems
    }

    /// What tokens cost, where a price is known; what has no price is free.
    pub fn cost(&self, usage: &Usage) -> Option<f64> {
        let prices =
            [self.price_per_million_prompt_tokens, self.price_per_million_completion_tokens];
        let tokens = [usage.prompt_tokens, usage.completion_tokens];
        let known = prices.iter().any(Option::is_some);
        let cost = |(price, tokens): (Option<f64>, u64)| price.unwrap_or(0.0) * tokens as f64 / 1e6;
        known.then(|| prices.into_iter().zip(tokens).map(cost).sum())
    }

    /// What an answer follows from, beside its request.
    pub fn identity(&self) -> String {
        // Not the address: the same model may move to another machine in the middle of a run.
        let Self { model, api, extra, omit, .. } = self;
        let extra: BTreeMap<_, _> = extra.iter().collect();
        json!([model, api, extra, omit]).to_string()
    }

    /// The address that requests go to.
    pub(super) fn address(&self) -> String {
        format!("{}/{}", self.endpoint.trim_end_matches('/'), self.api.path())
    }
}

/// What is wrong with a base address, and what to do. The address is quoted only where it cannot
/// hold a key.
fn endpoint_problem(endpoint: &str) -> Option<(String, &'static str)> {
    const LIKE: &str = "write it like `http://127.0.0.1:8012/v1`";
    if endpoint.is_empty() {
        return Some(("is empty, wanted the server's base address".into(), LIKE));
    }
    if endpoint.contains(['@', '?', '#']) {
        let message = "holds `@`, `?` or `#`: a key or query has no place in it (not shown)".into();
        return Some((message, "name the variable that holds the key in `api_key_env`"));
    }
    let Ok(uri) = endpoint.parse::<Uri>() else {
        return Some((format!("is `{endpoint}`, which is no address"), LIKE));
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Some((format!("is `{endpoint}`, wanted `http://…` or `https://…`"), LIKE));
    }
    let message = format!("is `{endpoint}`, which names one service of the server");
    let whole = endpoint.trim_end_matches('/').ends_with("/completions");
    whole.then_some((message, "name the base address, which usually ends in `/v1`"))
}

fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // Names are short and rarely have lower case and digits in one; keys are long and do.
    let like_a_key = name.len() > 64 || name.starts_with("sk-") || name.starts_with("hf_");
    name.starts_with(|first: char| !first.is_ascii_digit())
        && name.bytes().all(plain)
        && !like_a_key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &HttpConfig) -> Vec<String> {
        config.validate("teacher").into_iter().map(|problem| problem.key).collect()
    }

    #[test]
    fn all_problems_are_named_at_once() {
        assert_eq!(keys(&HttpConfig::new("http://127.0.0.1:8012/v1", "tiny")), [""; 0]);
        let config: HttpConfig = toml::from_str(
            "endpoint = 'ftp://host'\nmodel = ''\nconcurrency = 0\nrequests_per_minute = 0\n\
             timeout_s = nan\nretries = 0\nbackoff_s = -1\nmax_reply_mib = 0\n\
             price_per_million_prompt_tokens = -2\nomit = ['prompt']\n\
             [extra]\nstream = true\nApi-Key = 'x'\ntop_k = 3",
        )
        .unwrap();
        let expected = [
            "endpoint",
            "model",
            "concurrency",
            "requests_per_minute",
            "max_reply_mib",
            "timeout_s",
            "backoff_s",
            "price_per_million_prompt_tokens",
            "extra",
            "extra",
            "omit",
        ];
        assert_eq!(keys(&config), expected.map(|key| format!("teacher.{key}")));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let error = toml::from_str::<HttpConfig>("concurency = 3").unwrap_err().to_string();
        assert!(error.contains("concurency") && error.contains("concurrency"), "{error}");
    }

    #[test]
    fn a_key_in_the_config_is_refused_without_being_shown() {
        for text in [
            "endpoint = 'http://h/v1'\nmodel = 'm'\napi_key = 'sk-secret1234'",
            "endpoint = 'http://h/v1'\nmodel = 'm'\napi_key_env = 'sk-secret1234'",
            "endpoint = 'http://me:sk-secret1234@h/v1'\nmodel = 'm'",
            "endpoint = 'http://h/v1?key=sk-secret1234'\nmodel = 'm'",
        ] {
            let config: HttpConfig = toml::from_str(text).unwrap();
            let [problem] = &config.validate("teacher")[..] else { panic!("{text}") };
            assert!(!problem.to_string().contains("secret"), "{problem}");
            assert!(problem.to_string().contains("api_key_env"), "{problem}");
        }
        let config: HttpConfig = toml::from_str("api_key = 'sk-secret1234'").unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        assert!(!toml::to_string(&config).unwrap().contains("api_key"));
    }

    #[test]
    fn effective_settings_read_back_as_they_were() {
        let mut config = HttpConfig::new("https://host/v1", "m");
        config.extra.insert("top_k".into(), 40.into());
        config.tokens_per_minute = Some(1000);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<HttpConfig>(&text).unwrap(), config);
    }
}
