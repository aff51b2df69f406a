//! What went wrong with one attempt, and what is to be done about it.

use std::time::Duration;

use serde_json::Value;
use ureq::http::StatusCode;

use super::config::HttpConfig;

/// Why an attempt brought no answer.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What happened, in words.
    pub(super) message: String,
    /// What to do about it, if it stays.
    pub(super) hint: Option<String>,
    pub(super) remedy: Remedy,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(super) enum Remedy {
    /// It may pass: ask again after a while.
    Retry(Cause),
    /// Prompt and answer do not fit the model: ask for a shorter answer.
    Shorten,
    /// Under these settings it would fare the same again.
    GiveUp,
    /// It was answered without a word, and would be again.
    Silent,
    /// It was refused, and would be again; others may be too.
    Refuse,
    /// So would every other request.
    Stop,
}

/// What asks for a retry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cause {
    /// Nobody listens there.
    Unreachable,
    /// It was asked and said nothing whole; it may have worked, and may charge for it.
    NoReply,
    /// It refused.
    Refused {
        /// Whether all requests are to wait, because it is us who ask too much.
        everyone: bool,
        /// How long, if it said so.
        after: Option<Duration>,
    },
}

impl Cause {
    /// Whether it is us who ask too much.
    pub(super) fn is_throttling(self) -> bool {
        matches!(self, Self::Refused { everyone: true, .. })
    }
}

impl Trouble {
    fn new(message: String, remedy: Remedy, hint: Option<String>) -> Self {
        Self { message, hint, remedy }
    }

    /// No reply came: what the connection says.
    pub(super) fn connection(error: &ureq::Error, config: &HttpConfig) -> Self {
        let address = config.address();
        if is_unreachable(error) {
            let message = format!("`{address}` cannot be reached: {error}");
            let hint = "start the server, or correct `endpoint`".to_owned();
            return Self::new(message, Remedy::Retry(Cause::Unreachable), Some(hint));
        }
        if is_insecure(error, config) {
            let message = format!("no secure connection to `{address}`: {error}");
            let hint = "check the server's certificate, or use `http://` inside your own network";
            return Self::new(message, Remedy::Stop, Some(hint.into()));
        }
        let retry = Remedy::Retry(Cause::NoReply);
        match error {
            ureq::Error::Timeout(_) => {
                let message = format!("`{address}` gave no whole answer in {} s", config.timeout_s);
                let hint = "raise `timeout_s`, or lower `concurrency` or `max_tokens`".to_owned();
                Self::new(message, retry, Some(hint))
            }
            ureq::Error::BodyExceedsLimit(_) => {
                let most = config.max_reply_mib;
                let message = format!("`{address}` answered with more than {most} MiB");
                let hint = "raise `max_reply_mib` if such an answer is wanted".to_owned();
                Self::new(message, Remedy::GiveUp, Some(hint))
            }
            ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl | ureq::Error::Http(_) => {
                Self::new(format!("cannot ask `{address}`: {error}"), Remedy::Stop, None)
            }
            _ => {
                let message = format!("`{address}` broke off: {error}");
                let hint = "look at the server's own log; check whether `endpoint` needs `http://` \
                            or `https://`";
                Self::new(message, retry, Some(hint.into()))
            }
        }
    }

    /// A reply with a status of failure.
    pub(super) fn status(
        status: StatusCode,
        body: &str,
        after: Option<Duration>,
        config: &HttpConfig,
    ) -> Self {
        let said = Said::read(body);
        let quote = if said.text.is_empty() { String::new() } else { format!(": {}", said.text) };
        let message = format!("`{}` answered {status}{quote}", config.address());
        let (remedy, hint) = remedy(status.as_u16(), &said, after, config);
        Self::new(message, remedy, hint)
    }

    /// A reply with the status of success that says it failed.
    pub(super) fn error_in_answer(body: &str, config: &HttpConfig) -> Self {
        let said = Said::read(body);
        // Its code is a status where it has one; else it is taken for a server's own failure.
        let status = said.code.parse().ok().filter(|code| (400..600).contains(code)).unwrap_or(500);
        let message = format!("`{}` answered with an error: {}", config.address(), said.text);
        let (remedy, hint) = remedy(status, &said, None, config);
        Self::new(message, remedy, hint)
    }

    /// A reply with the status of success that cannot be read.
    pub(super) fn unreadable(what: &str, config: &HttpConfig) -> Self {
        let message = format!("`{}` sent {}", config.address(), quoted(what));
        let hint = "`endpoint` must speak the OpenAI API, by `api = \"completions\"` or `\"chat\"`";
        Self::new(message, Remedy::Retry(Cause::NoReply), Some(hint.into()))
    }

    /// An answer without text.
    pub(super) fn silent(what: &str, config: &HttpConfig) -> Self {
        Self::new(format!("`{}` sent {}", config.address(), quoted(what)), Remedy::Silent, None)
    }
}

/// Whether nobody was spoken to.
fn is_unreachable(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    const NOBODY: [std::io::ErrorKind; 5] =
        [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
    match error {
        // A name without an address has no kind of its own in the standard library, only words.
        ureq::Error::Io(error) => {
            NOBODY.contains(&error.kind())
                || error.to_string().starts_with("failed to lookup address")
        }
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_) => true,
        _ => false,
    }
}

/// Whether TLS refused: a wrong certificate stays wrong.
fn is_insecure(error: &ureq::Error, config: &HttpConfig) -> bool {
    match error {
        // So do errors of rustls come out of a stream.
        ureq::Error::Io(error) => {
            error.kind() == std::io::ErrorKind::InvalidData && config.endpoint.starts_with("https")
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => true,
        _ => false,
    }
}

fn remedy(
    status: u16,
    said: &Said,
    after: Option<Duration>,
    config: &HttpConfig,
) -> (Remedy, Option<String>) {
    let model = || {
        format!(
            "`model` is `{}`; the server lists its own at `{}/models`",
            config.model, config.endpoint
        )
    };
    let key = || match &config.api_key_env {
        Some(name) => format!("check the key in the environment variable `{name}`"),
        None => "the server wants a key: name its environment variable in `api_key_env`".into(),
    };
    match status {
        // Some servers answer 500 where a prompt is too long.
        400 | 413 | 422 | 500 if said.is_too_long() => (
            Remedy::Shorten,
            Some("shorten the prompt, or serve the model with a longer context".into()),
        ),
        402 => (Remedy::Stop, Some("the account has no credit left".into())),
        429 if said.is_out_of_credit() => {
            (Remedy::Stop, Some("the account's quota is used up: waiting does not help".into()))
        }
        408 | 409 | 425 | 429 | 500.. => {
            let everyone = status == 429 || after.is_some();
            let hint = (status == 429).then(|| {
                "lower `concurrency`, or set `requests_per_minute` and `tokens_per_minute` to the \
                 account's limits"
                    .to_owned()
            });
            (Remedy::Retry(Cause::Refused { everyone, after }), hint)
        }
        400 | 404 if said.has_no_such_model() => (Remedy::Stop, Some(model())),
        401 | 403 => (Remedy::Stop, Some(key())),
        300..=399 | 404 | 405 | 410 => (
            Remedy::Stop,
            Some(format!("check `endpoint`, which usually ends in `/v1`; {}", model())),
        ),
        _ => (Remedy::Refuse, None),
    }
}

/// What the body of a failure says.
struct Said {
    /// Its first characters.
    text: String,
    /// All of it, in lower case.
    words: String,
    /// The error's code or type.
    code: String,
}

/// Most characters of a server's words that are repeated.
const QUOTED: usize = 300;

/// The first of a server's words, without any character that a terminal would obey.
fn quoted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(QUOTED).collect()
}

impl Said {
    /// Reads `{"error": {message, type, code}}` in either server's form, `{"error": "…"}`,
    /// `{"message": …}`, `{"detail": …}`, or whatever else there is.
    fn read(whole: &str) -> Self {
        let value: Value = serde_json::from_str(whole).unwrap_or_default();
        let error = value.get("error").filter(|error| !error.is_null()).unwrap_or(&value);
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let field = |name: &str| error.get(name).filter(|value| !value.is_null()).map(text);
        let message = field("message").or_else(|| field("detail"));
        let message = message.or_else(|| error.as_str().map(str::to_owned));
        let message = message.unwrap_or_else(|| whole.trim().to_owned());
        let code = field("code").or_else(|| field("type")).unwrap_or_default();
        Self { text: quoted(&message), words: whole.to_lowercase(), code }
    }

    fn holds(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.words.contains(phrase))
    }

    /// OpenAI and vLLM, llama-cpp-python, llama.cpp, and the words that Self-Instruct's code waits for.
    fn is_too_long(&self) -> bool {
        self.holds(&[
            "context length",
            "context_length_exceeded",
            "context window",
            "context size",
            "exceed_context_size",
            "reduce your prompt",
            "reduce the length",
        ])
    }

    fn has_no_such_model(&self) -> bool {
        self.holds(&["model"])
            && self.holds(&["not found", "not_found", "does not exist", "no such"])
    }

    fn is_out_of_credit(&self) -> bool {
        self.holds(&["insufficient_quota", "billing"])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(status: u16, body: &str) -> Trouble {
        let config = HttpConfig::new("http://h/v1", "tiny");
        Trouble::status(StatusCode::from_u16(status).unwrap(), body, None, &config)
    }

    #[test]
    fn each_status_has_its_remedy() {
        for status in [408, 409, 425, 500, 502, 503, 529] {
            let retry = Remedy::Retry(Cause::Refused { everyone: false, after: None });
            assert_eq!(trouble(status, "").remedy, retry, "{status}");
        }
        let pause = Remedy::Retry(Cause::Refused { everyone: true, after: None });
        assert_eq!(trouble(429, "").remedy, pause);
        for status in [301, 307, 401, 402, 403, 404, 405] {
            let trouble = trouble(status, "");
            assert_eq!(trouble.remedy, Remedy::Stop, "{status}");
            assert!(trouble.hint.is_some(), "{status}");
        }
        assert_eq!(trouble(400, "").remedy, Remedy::Refuse);
        assert_eq!(trouble(422, "").remedy, Remedy::Refuse);
    }

    #[test]
    fn a_connection_that_fails_says_who_is_to_blame() {
        use std::io::{Error, ErrorKind};
        let remedy = |endpoint, error| {
            let config = HttpConfig::new(endpoint, "tiny");
            Trouble::connection(&ureq::Error::Io(error), &config).remedy
        };
        let refused = Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(remedy("http://h", refused), Remedy::Retry(Cause::Unreachable));
        let unknown = Error::other("failed to lookup address information: Name not known");
        assert_eq!(remedy("http://h", unknown), Remedy::Retry(Cause::Unreachable));
        let certificate = || Error::new(ErrorKind::InvalidData, "invalid peer certificate");
        assert_eq!(remedy("https://h", certificate()), Remedy::Stop);
        assert_eq!(remedy("http://h", certificate()), Remedy::Retry(Cause::NoReply));
        let reset = Error::from(ErrorKind::ConnectionReset);
        assert_eq!(remedy("https://h", reset), Remedy::Retry(Cause::NoReply));
    }

    #[test]
    fn a_prompt_that_does_not_fit_is_told_by_every_server_in_its_own_words() {
        for said in [
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens, however you requested 5000 tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
            r#"{"error":{"code":400,"message":"the request exceeds the available context size, try increasing it","type":"exceed_context_size_error"}}"#,
            r#"{"error":{"message":"Requested tokens (9) exceed context window of 8","type":"x"}}"#,
            r#"{"object":"error","message":"Please reduce your prompt; or completion length."}"#,
        ] {
            assert_eq!(trouble(400, said).remedy, Remedy::Shorten, "{said}");
        }
    }

    #[test]
    fn no_such_model_and_no_credit_stop_the_run() {
        let none = trouble(
            404,
            r#"{"error":{"message":"The model `tiny` does not exist","code":"model_not_found"}}"#,
        );
        assert_eq!(none.remedy, Remedy::Stop);
        insta::assert_snapshot!(none.message, @"`http://h/v1/completions` answered 404 Not Found: The model `tiny` does not exist");
        insta::assert_snapshot!(none.hint.unwrap(), @"`model` is `tiny`; the server lists its own at `http://h/v1/models`");
        let quota = trouble(
            429,
            r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#,
        );
        assert_eq!(quota.remedy, Remedy::Stop);
    }

    #[test]
    fn what_a_server_says_is_quoted_short_and_harmless() {
        let said = |body: &str| Said::read(body).text;
        assert_eq!(said(r#"{"error":{"message":"bad","code":null}}"#), "bad");
        assert_eq!(said(r#"{"error":"worse"}"#), "worse");
        assert_eq!(
            said(r#"{"detail":[{"loc":["body"],"msg":"wrong"}]}"#),
            r#"[{"loc":["body"],"msg":"wrong"}]"#
        );
        assert_eq!(said(" <html>\u{1b}[2Jno\n</html> "), "<html> [2Jno </html>");
        assert_eq!(said(&"x".repeat(1000)).len(), QUOTED);
    }
}
