//! `sentence_containing`, `sentence_not_containing`, `starts_with_word`, `ends_with_word`: a
//! sentence is to be written.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, has_word, is_answer, is_found, literal, shared, the_sentence, the_word,
};
use super::reply::{Reply, ascii};

/// What is no ASCII letter or digit (`_` stands for letters of other scripts).
const GAP: &str = "[^a-z0-9]";
/// A word is `a`, `i`, or two characters or more.
const VALID_WORD: &str = r"(a|i|\w\w+)";

/// A sentence with a word in it is asked for.
#[derive(Deserialize)]
pub(super) struct SentenceContaining {
    word: String,
}

impl Rule for SentenceContaining {
    fn mark(&self, reply: &Reply) -> Mark {
        let word = literal(&self.word.to_lowercase());
        let sentence = the_sentence(&format!(r"((.*\b{word}\b.+)|(.+\b{word}\b.*))"));
        if is_found(&sentence, reply.ascii()) { Mark::RIGHT } else { Mark::WRONG }
    }
}

/// A sentence without a word is asked for.
#[derive(Deserialize)]
pub(super) struct SentenceNotContaining {
    word: String,
}

impl Rule for SentenceNotContaining {
    fn mark(&self, reply: &Reply) -> Mark {
        let word = self.word.to_lowercase();
        match reply.words().len() {
            _ if has_word(reply, &word) => Mark::WRONG,
            0 => Mark::WRONG,
            // One word may be a sentence, or not.
            1 => Mark::UNKNOWN,
            // As a part of another word (`cats` for `cat`) it may count, or not.
            _ => Mark { right: true, certain: !reply.ascii().contains(&ascii(&word)) },
        }
    }
}

/// A sentence that starts with a word is asked for.
#[derive(Deserialize)]
pub(super) struct StartsWithWord {
    word: String,
}

impl Rule for StartsWithWord {
    fn mark(&self, reply: &Reply) -> Mark {
        let word = self.word.to_lowercase();
        let sentence = |word: &str| format!("{GAP}*{word}{GAP}+{VALID_WORD}.*");
        mark(reply, &word, sentence, |word, bases| Sentences {
            bases,
            prefixes: vec![
                "The sentence( is)?".into(),
                format!("(a|one) sentence that starts with {word}( is)?"),
                format!("(a|one) sentence starting with {word}( is)?"),
                format!("(a|one) sentence whose first word is {word}( is)?"),
            ],
            suffixes: vec![
                format!("starts with {word}"),
                format!("is a sentence that starts with {word}"),
                format!("is a sentence starting with {word}"),
                format!("is a sentence whose first word is {word}"),
            ],
        })
    }
}

/// A sentence that ends with a word is asked for.
#[derive(Deserialize)]
pub(super) struct EndsWithWord {
    word: String,
}

impl Rule for EndsWithWord {
    fn mark(&self, reply: &Reply) -> Mark {
        let word = self.word.to_lowercase();
        let sentence = |word: &str| format!(".*{VALID_WORD}{GAP}+{word}{GAP}*");
        mark(reply, &word, sentence, |word, bases| Sentences {
            bases,
            prefixes: vec![
                "The sentence( is)?".into(),
                format!("(a|one) sentence that ends with {word} ( is)?"),
                format!("(a|one) sentence ending with {word}( is)?"),
                format!("(a|one) sentence whose (last|final) word is {word}( is)?"),
            ],
            suffixes: vec!["$".into()],
        })
    }
}

/// Wrong without the word, right as a sentence of one more word at least, else as `around` has it.
fn mark(
    reply: &Reply,
    word: &str,
    sentence: impl Fn(&str) -> String,
    around: impl Fn(&str, Vec<String>) -> Sentences,
) -> Mark {
    if !has_word(reply, word) {
        return Mark::WRONG;
    }
    let word = the_word(&literal(word));
    let sentence = sentence(&word);
    if is_answer(reply, &sentence) {
        return Mark::RIGHT;
    }
    let mut bases = vec![sentence.clone()];
    bases.extend(shared(&sentence));
    around(&word, bases).mark(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_alone_is_no_sentence() {
        let rule = SentenceContaining { word: "Cat".into() };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("The cat sleeps."), Mark::RIGHT);
        assert_eq!(mark("cat"), Mark::WRONG);
        assert_eq!(mark("Cats sleep."), Mark::WRONG);
    }

    #[test]
    fn a_part_of_another_word_leaves_a_doubt() {
        let rule = SentenceNotContaining { word: "cat".into() };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Dogs bark."), Mark::RIGHT);
        assert_eq!(mark("My cats sleep."), Mark { right: true, certain: false });
        assert_eq!(mark("Dogs"), Mark::UNKNOWN);
        assert_eq!(mark("A cat sleeps."), Mark::WRONG);
        assert_eq!(mark("..."), Mark::WRONG);
    }

    #[test]
    fn a_sentence_starts_or_ends_with_the_word_and_has_another() {
        let starts = StartsWithWord { word: "birds".into() };
        let ends = EndsWithWord { word: "birds".into() };
        let start = |text| starts.mark(&Reply::new(text, false));
        let end = |text| ends.mark(&Reply::new(text, false));
        assert_eq!(start("\"Birds\" sing at dawn."), Mark::RIGHT);
        assert_eq!(start("birds"), Mark::UNKNOWN);
        assert_eq!(start("Many birds sing."), Mark::UNKNOWN);
        assert_eq!(start("They sing."), Mark::WRONG);
        assert_eq!(end("I like the birds."), Mark::RIGHT);
        assert_eq!(end("A sentence ending with birds is: I feed birds"), Mark::RIGHT);
        assert_eq!(end("Birds sing"), Mark::UNKNOWN);
    }
}
