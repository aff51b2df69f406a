//! The regular expressions that LMentry's scorers share.

use regex::bytes::{Regex, RegexBuilder};

use super::number::words;
use super::reply::{Reply, ascii, normalized};

/// What may stand around a word.
const MARKS: &str = r#"["'\.,]*"#;

/// What a reply is worth, and whether the scorer is sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whether the reply is right.
    pub right: bool,
    /// Whether it has a form that the scorer knows.
    pub certain: bool,
}

impl Mark {
    /// Right beyond doubt.
    pub const RIGHT: Self = Self { right: true, certain: true };
    /// Wrong beyond doubt.
    pub const WRONG: Self = Self { right: false, certain: true };
    /// Wrong for want of a sign that it is right.
    pub const UNKNOWN: Self = Self { right: false, certain: false };
}

/// A text of the data as a pattern that matches it alone.
pub(super) fn literal(text: &str) -> String {
    regex::escape(&ascii(text))
}

/// A word, given as a pattern: with or without `the word` and marks around it.
pub(super) fn the_word(word: &str) -> String {
    format!(r"(The word )?{MARKS}\b{word}\b{MARKS}")
}

/// The same of a letter.
pub(super) fn the_letter(letter: &str) -> String {
    format!(r"(The letter )?{MARKS}\b{letter}\b{MARKS}")
}

/// A number in digits or in words, these with hyphens or blanks.
pub(super) fn number(number: u32) -> String {
    let words = words(number);
    format!(r"(\b{number}\b|{words}|{})", words.replace('-', " "))
}

/// The same with or without `the number` and marks around it.
pub(super) fn the_number(value: u32) -> String {
    format!(r"(The number )?{MARKS}\b{}\b{MARKS}", number(value))
}

/// A sentence itself, or `the sentence`.
pub(super) fn the_sentence(sentence: &str) -> String {
    format!(r"((The sentence )?{MARKS}{sentence}{MARKS}|The sentence)")
}

/// Words in a row with anything between them, `and` before the last one.
pub(super) fn the_words(words: &[String]) -> String {
    // Outside a to z and 0 to 9: letters of other scripts are not, `_` stands for them.
    const GAP: &str = "[^a-z0-9]";
    let mut row = format!("(The words )?{GAP}*");
    for (place, word) in words.iter().enumerate() {
        row += &format!("{word}{GAP}+");
        if place + 2 == words.len() {
            row += &format!("(and{GAP}+)?");
        }
    }
    row + GAP + "*"
}

/// What says that something is the answer, whatever was asked.
pub(super) fn shared(answer: &str) -> [String; 4] {
    [
        format!("{answer} is the answer"),
        format!("The answer is {answer}"),
        format!("The correct answer is {answer}"),
        format!("Answer: {answer}"),
    ]
}

/// Exchanges two parts of a pattern for each other.
pub(super) fn exchanged(pattern: &str, one: &str, other: &str) -> String {
    let parts = pattern.split(one).map(|part| part.replace(other, one));
    parts.collect::<Vec<_>>().join(other)
}

/// The patterns of `bases` that hold `from`, with `one` and `other` exchanged and `to` in its place:
/// what is bigger the one way round is smaller the other. `from` counts wherever it stands, in a
/// word of the question too.
pub(super) fn mirrored(
    bases: &[String],
    one: &str,
    other: &str,
    from: &str,
    to: &str,
) -> Vec<String> {
    let held = bases.iter().filter(|base| base.contains(from));
    held.map(|base| exchanged(base, one, other).replace(from, to)).collect()
}

/// Sentences that give the answer: any of `bases` behind any of `prefixes` and before any of
/// `suffixes`.
pub(super) struct Sentences {
    pub(super) prefixes: Vec<String>,
    pub(super) bases: Vec<String>,
    pub(super) suffixes: Vec<String>,
}

impl Sentences {
    /// With nothing before or behind them.
    pub(super) fn new(bases: Vec<String>) -> Self {
        Self { prefixes: vec![String::new()], bases, suffixes: vec![String::new()] }
    }

    /// With more that may stand before them.
    pub(super) fn behind<const N: usize>(mut self, prefixes: [String; N]) -> Self {
        self.prefixes.extend(prefixes);
        self
    }

    /// With more that may stand behind them.
    pub(super) fn before<const N: usize>(mut self, suffixes: [String; N]) -> Self {
        self.suffixes.extend(suffixes);
        self
    }

    /// Right and certain if the reply is such a sentence, right if it holds one.
    pub(super) fn mark(&self, reply: &Reply) -> Mark {
        // The patterns are put into lower case as a whole, `\W` included.
        let any = |parts: &[String]| {
            let parts = parts.iter().map(|part| lowered(part)).collect::<Vec<_>>();
            format!("(?:{})", parts.join("|"))
        };
        let sentence = any(&self.prefixes) + &any(&self.bases) + &any(&self.suffixes);
        // What holds none is none: most wrong replies need one pattern, and to compile it is what takes time.
        if !is_found(&sentence, reply.ascii()) {
            return Mark::UNKNOWN;
        }
        Mark { right: true, certain: is_whole(&sentence, reply.ascii()) }
    }
}

/// A pattern in lower case with single blanks. What stands at its ends may meet another part, so
/// blanks there stay.
fn lowered(pattern: &str) -> String {
    let inner = normalized(pattern);
    let blank = |at_end: bool| if at_end && !inner.is_empty() { " " } else { "" };
    format!("{}{inner}{}", blank(pattern.starts_with(' ')), blank(pattern.ends_with(' ')))
}

/// Whether the reply is the answer and no more, or nothing but the answer several times.
pub(super) fn is_answer(reply: &Reply, answer: &str) -> bool {
    is_answer_once(reply, answer) || reply.has_words() && is_answer_repeated(reply, answer)
}

/// Whether the reply is the answer and no more.
///
/// A reply without a letter or digit is none; what published scorers find of such a reply, certain
/// and wrong, they drop on their way.
pub(super) fn is_answer_once(reply: &Reply, answer: &str) -> bool {
    let pattern = compile(&format!(r"^(?:{answer}\.?$)"), true);
    reply.has_words() && pattern.is_match(reply.ascii().as_bytes())
}

/// Whether every word is the answer. Of a reply in another script no word is looked at, and all of
/// none are.
fn is_answer_repeated(reply: &Reply, answer: &str) -> bool {
    let pattern = compile(&format!("^(?:{answer}$)"), false);
    reply.words_and_numbers().iter().all(|word| pattern.is_match(ascii(word).as_bytes()))
}

/// Whether a pattern matches all of a text, up to a final full stop.
pub(super) fn is_whole(pattern: &str, text: &str) -> bool {
    compile(&format!(r"^(?:{pattern})\.?$"), false).is_match(text.as_bytes())
}

/// Whether a pattern matches anywhere in a text.
pub(super) fn is_found(pattern: &str, text: &str) -> bool {
    compile(pattern, false).is_match(text.as_bytes())
}

/// Whether a word, given as the data has it, stands in a reply by itself.
pub(super) fn has_word(reply: &Reply, word: &str) -> bool {
    is_found(&format!(r"\b{}\b", literal(word)), reply.ascii())
}

/// Compiles a pattern for ASCII text.
pub(super) fn compile(pattern: &str, ignore_case: bool) -> Regex {
    let mut builder = RegexBuilder::new(pattern);
    let compiled = builder.unicode(false).case_insensitive(ignore_case).build();
    compiled.expect("patterns are ours, and texts of the data are escaped in them")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::new(text, false)
    }

    #[test]
    fn an_answer_counts_with_its_article_and_marks_and_repeated() {
        let cat = the_word("cat");
        for text in ["cat", "Cat.", "\"cat\"", "The word \"cat\".", "cat, cat\ncat"] {
            assert!(is_answer(&reply(text), &cat), "{text}");
        }
        for text in ["cats", "a cat", "cat dog", "...", ""] {
            assert!(!is_answer(&reply(text), &cat), "{text}");
        }
        assert!(is_answer(&reply("日本"), &cat), "of no words all are the answer");
    }

    #[test]
    fn a_sentence_is_certain_alone_and_right_within_more() {
        let sentences = Sentences::new(shared("cat").into()).behind(["Well, ".into()]);
        assert_eq!(sentences.mark(&reply("Well,  the answer is cat.")), Mark::RIGHT);
        let within = Mark { right: true, certain: false };
        assert_eq!(sentences.mark(&reply("I say the answer is cat")), within);
        assert_eq!(sentences.mark(&reply("dog")), Mark::UNKNOWN);
    }

    #[test]
    fn numbers_are_read_in_digits_and_words() {
        for text in ["121", "One hundred and twenty-one", "the number one hundred and twenty one."]
        {
            assert!(is_answer_once(&reply(text), &the_number(121)), "{text}");
        }
        assert!(!is_answer_once(&reply("1210"), &the_number(121)));
    }

    #[test]
    fn a_mirrored_pattern_says_the_same_the_other_way_round() {
        let bases = ["A is bigger than B".to_owned(), "A it is".to_owned()];
        assert_eq!(mirrored(&bases, "A", "B", "bigger", "smaller"), ["B is smaller than A"]);
    }
}
