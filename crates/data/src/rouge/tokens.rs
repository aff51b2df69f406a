//! Words of a text, as `rouge-score` cuts them; and as it should have for other scripts.

use super::porter::stem;
use crate::script::is_unspaced;

/// How a text is cut into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tokenization {
    /// Lower case, runs of `a-z` and `0-9`: what `rouge-score` does. Text of any other script
    /// is no word at all.
    #[default]
    Ascii,
    /// The same with Porter's stems of words longer than three: `use_stemmer=True`.
    Stemmed,
    /// Lower case, runs of letters and digits of all scripts; in scripts that are written without
    /// blanks (Han, Kana, Thai, Lao, Khmer, Burmese), every character is a word.
    Unicode,
}

/// The words of a text.
///
/// ```
/// use albacore_data::{Tokenization, tokens};
/// assert_eq!(tokens("Don't STOP—running!", Tokenization::Ascii), ["don", "t", "stop", "running"]);
/// assert_eq!(tokens("Don't STOP—running!", Tokenization::Stemmed), ["don", "t", "stop", "run"]);
/// assert_eq!(tokens("Größe 東京", Tokenization::Unicode), ["größe", "東", "京"]);
/// ```
pub fn tokens(text: &str, tokenization: Tokenization) -> Vec<String> {
    let mut tokens = Vec::new();
    for_each_token(text, tokenization, |token| tokens.push(token.to_owned()));
    tokens
}

/// Calls `take` with each word of a text, in order, without a string for each.
pub fn for_each_token(text: &str, tokenization: Tokenization, mut take: impl FnMut(&str)) {
    match tokenization {
        Tokenization::Ascii => ascii(text, take),
        Tokenization::Unicode => unicode(text, take),
        Tokenization::Stemmed => ascii(text, |word| match word.len() {
            0..=3 => take(word),
            _ => Some(stem(word)).filter(|stem| !stem.is_empty()).iter().for_each(|s| take(s)),
        }),
    }
}

/// Whether a text has no words, so that it has nothing in common with any other.
pub fn is_wordless(text: &str, tokenization: Tokenization) -> bool {
    let mut wordless = true;
    for_each_token(text, tokenization, |_| wordless = false);
    wordless
}

fn ascii(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            take(word);
            word.clear();
        }
    };
    for c in text.chars() {
        match c {
            'a'..='z' | '0'..='9' => word.push(c),
            'A'..='Z' => word.push(c.to_ascii_lowercase()),
            // Only these two others have an ASCII letter in their lower case: the Kelvin sign, and
            // the dotted I, whose dot is a character of its own (a test goes through all others).
            '\u{212A}' => word.push('k'),
            '\u{130}' => {
                word.push('i');
                end(&mut word);
            }
            _ => end(&mut word),
        }
    }
    end(&mut word);
}

fn unicode(text: &str, mut take: impl FnMut(&str)) {
    for run in text.to_lowercase().split(|c: char| !c.is_alphanumeric()) {
        let mut rest = run;
        while let Some(first) = rest.chars().next() {
            let end = match is_unspaced(first) {
                true => first.len_utf8(),
                false => rest.find(is_unspaced).unwrap_or(rest.len()),
            };
            take(&rest[..end]);
            rest = &rest[end..];
        }
    }
}

/// What Python's `str.split()`, `str.strip()` and `\s` take for blank: Unicode's white space and
/// the four separators of ASCII.
pub fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_is_unicode_wide() {
        // What the lower case of every character leaves of it, by the standard library's tables.
        for c in '\0'..=char::MAX {
            let lower: String = c.to_lowercase().collect();
            let expected = lower.split(|c: char| !matches!(c, 'a'..='z' | '0'..='9'));
            let expected: Vec<_> = expected.filter(|word| !word.is_empty()).collect();
            assert_eq!(tokens(&c.to_string(), Tokenization::Ascii), expected, "{c:?}");
        }
        assert_eq!(tokens("5 \u{212A}elvin", Tokenization::Ascii), ["5", "kelvin"]);
        assert_eq!(tokens("\u{130}stanbul", Tokenization::Ascii), ["i", "stanbul"]);
    }

    #[test]
    fn other_scripts_are_words_only_if_asked_for() {
        assert!(is_wordless("Привет, мир", Tokenization::Ascii));
        assert!(!is_wordless("Привет, мир", Tokenization::Unicode));
        assert_eq!(tokens("Привет, МИР", Tokenization::Unicode), ["привет", "мир"]);
        assert_eq!(tokens("GPT4は速い", Tokenization::Unicode), ["gpt4", "は", "速", "い"]);
        assert_eq!(tokens("caf\u{e9}s", Tokenization::Ascii), ["caf", "s"]);
    }

    #[test]
    fn short_words_are_not_stemmed() {
        assert_eq!(tokens("was uses ties", Tokenization::Stemmed), ["was", "use", "tie"]);
    }
}
