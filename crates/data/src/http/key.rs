//! The key of a server: read from the environment, sent, and shown to nobody.

use std::fmt;

use ureq::http::HeaderValue;

use crate::Error;

/// A key that does not print.
#[derive(Clone)]
pub(super) struct Key {
    text: String,
    /// The `Authorization` header.
    pub(super) header: HeaderValue,
}

/// Shorter keys are words like `EMPTY` that servers without keys are given: nothing to hide.
const SHORTEST_KEY: usize = 8;

/// An answer may hold a longer word of that kind for reasons of its own.
const SHORTEST_KEY_IN_AN_ANSWER: usize = 16;

impl Key {
    /// The key in an environment variable.
    pub(super) fn read(name: &str) -> Result<Self, Error> {
        let error = |message: String| Error::Endpoint {
            message,
            hint: Some(format!("put the server's key there: `export {name}=…`")),
        };
        let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
            return Err(error(format!("the environment variable `{name}` is not set")));
        };
        let refuse = || error(format!("the environment variable `{name}` holds no key"));
        Self::new(text.to_str().ok_or_else(refuse)?).ok_or_else(refuse)
    }

    fn new(text: &str) -> Option<Self> {
        // Files end in a newline, and `$(cat FILE)` is not the only way to fill a variable.
        let text = text.trim();
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let mut header = HeaderValue::try_from(format!("Bearer {text}")).ok().filter(|_| plain)?;
        header.set_sensitive(true);
        Some(Self { text: text.to_owned(), header })
    }

    /// A message without the key, should a server have repeated it.
    pub(super) fn hidden_in_message(&self, message: &str) -> String {
        if self.text.len() < SHORTEST_KEY {
            return message.to_owned();
        }
        message.replace(&self.text, "[key]")
    }

    /// The text of an answer without the key.
    pub(super) fn hidden_in_answer(&self, text: String) -> String {
        let long = self.text.len() >= SHORTEST_KEY_IN_AN_ANSWER;
        if long && text.contains(&self.text) { self.hidden_in_message(&text) } else { text }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sent_and_never_shown() {
        let key = Key::new("sk-0123456789abcdef\n").unwrap();
        assert_eq!(key.header.to_str().unwrap(), "Bearer sk-0123456789abcdef");
        assert!(!format!("{key:?} {:?}", key.header).contains("0123"));
        assert_eq!(key.hidden_in_message("bad sk-0123456789abcdef!"), "bad [key]!");
        assert_eq!(key.hidden_in_answer("sk-0123456789abcdef".into()), "[key]");
    }

    #[test]
    fn a_word_that_is_no_secret_stays_in_answers() {
        let key = Key::new("EMPTY").unwrap();
        assert_eq!(key.hidden_in_answer("The set is EMPTY.".into()), "The set is EMPTY.");
        assert_eq!(key.hidden_in_message("EMPTY prompt"), "EMPTY prompt");
        let key = Key::new("password").unwrap();
        assert_eq!(key.hidden_in_message("wrong: password"), "wrong: [key]");
        assert_eq!(key.hidden_in_answer("a password".into()), "a password");
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        assert!(Key::new("two words").is_none() && Key::new(" \n").is_none());
        assert!(Key::new("clé").is_none() && Key::new("a\r\nHost: b").is_none());
        let error = Key::read("ALBACORE_TEST_NO_SUCH_VARIABLE").unwrap_err();
        insta::assert_snapshot!(error, @"the environment variable `ALBACORE_TEST_NO_SUCH_VARIABLE` is not set");
    }
}
