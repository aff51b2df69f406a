//! A reply, made ready for LMentry's scorers.

use std::sync::LazyLock;

use albacore_data::is_python_space;
use regex::Regex;

/// A reply in lower case, with single blanks.
///
/// The scorers' patterns are ASCII, and so is the text that they are matched with: of any other
/// character they only ask what kind it is. Python and the `regex` crate differ in which characters
/// are part of a word, so each is replaced by one of its kind in Python's sense. `_` is free to
/// stand for the letters, since the scorers replace it by a blank.
pub(super) struct Reply {
    /// With the characters of other scripts.
    text: String,
    /// Without them.
    ascii: String,
}

impl Reply {
    /// Normalises a raw reply. `cut` is for models that do not stop: what follows the first line,
    /// and then the first full stop, is left out.
    pub(super) fn new(raw: &str, cut: bool) -> Self {
        let mut text = normalized(raw).replace('_', " ");
        if cut {
            text = text.split(['\n', '.']).next().unwrap_or_default().to_owned();
        }
        Self { ascii: ascii(&text), text }
    }

    /// What patterns are matched with.
    pub(super) fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Whether there is any letter or digit.
    pub(super) fn has_words(&self) -> bool {
        self.ascii.contains(is_word)
    }

    /// The words of nothing but `a` to `z`: those beside a digit or another letter are none.
    pub(super) fn words(&self) -> Vec<&str> {
        self.runs_of(&LETTERS)
    }

    /// The words of nothing but `a` to `z` and digits.
    pub(super) fn words_and_numbers(&self) -> Vec<&str> {
        self.runs_of(&LETTERS_AND_DIGITS)
    }

    fn runs_of(&self, whole: &Regex) -> Vec<&str> {
        let runs = WORD.find_iter(&self.text).map(|run| run.as_str());
        runs.filter(|run| whole.is_match(run)).collect()
    }
}

/// Python's `\w`: the `regex` crate's own takes in combining marks and leaves out `²`.
static WORD: LazyLock<Regex> = LazyLock::new(|| regex(r"[\p{L}\p{N}_]+"));
static LETTERS: LazyLock<Regex> = LazyLock::new(|| regex("^[a-z]+$"));
static LETTERS_AND_DIGITS: LazyLock<Regex> = LazyLock::new(|| regex(r"^[a-z\p{Nd}]+$"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a pattern of our own compiles")
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Without white space around it, in lower case, runs of blanks as one.
pub(super) fn normalized(text: &str) -> String {
    let lower = text.trim_matches(is_python_space).to_lowercase();
    lower.split(' ').enumerate().fold(String::new(), |mut joined, (place, part)| {
        if place > 0 && !joined.ends_with(' ') {
            joined.push(' ');
        }
        joined.push_str(part);
        joined
    })
}

/// Every character of other scripts replaced by an ASCII one of its kind.
pub(super) fn ascii(text: &str) -> String {
    let mut buffer = [0; 4];
    let mut kind = |c: char| match c {
        '\u{1C}'..='\u{1F}' => '\u{0B}',
        c if c.is_ascii() => c,
        c if is_python_space(c) => '\u{0B}',
        c if WORD.is_match(c.encode_utf8(&mut buffer)) => '_',
        _ => '\u{1A}',
    };
    text.chars().map(&mut kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_lower_case_with_single_blanks_and_no_underscores() {
        let reply = Reply::new("  The  Word_is   CAT.\nNext ", false);
        assert_eq!(reply.ascii(), "the word is cat.\nnext");
        assert_eq!(Reply::new("Cat. Dog\nBird", true).ascii(), "cat");
        assert_eq!(Reply::new("Cat\nDog.", true).ascii(), "cat");
    }

    #[test]
    fn a_word_beside_a_letter_of_another_script_is_none() {
        let reply = Reply::new("cat é2 dog's caf\u{e9} x\u{b2} 42 7up e\u{301}", false);
        assert_eq!(reply.words(), ["cat", "dog", "s", "e"]);
        assert_eq!(reply.words_and_numbers(), ["cat", "dog", "s", "42", "7up", "e"]);
        assert_eq!(reply.ascii(), "cat _2 dog's caf_ x_ 42 7up e\u{1a}");
        assert!(Reply::new("日本", false).has_words());
        assert!(!Reply::new("?! …", false).has_words());
    }
}
