//! `first_word`, `last_word`, `first_letter`, `last_letter`: what stands at an end.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, has_word, is_answer, literal, shared, the_letter, the_sentence, the_word,
};
use super::reply::Reply;

/// A sentence and the word at an end of it.
#[derive(Deserialize)]
struct WordOf {
    sentence: String,
    answer: String,
}

/// The first word of a sentence is asked for.
#[derive(Deserialize)]
pub(super) struct FirstWord(WordOf);

/// The last word is asked for.
#[derive(Deserialize)]
pub(super) struct LastWord(WordOf);

impl Rule for FirstWord {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, "first", "begins")
    }
}

impl Rule for LastWord {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, "last", "ends")
    }
}

impl WordOf {
    fn mark(&self, reply: &Reply, place: &str, begins: &str) -> Mark {
        let (answer, sentence) = (self.answer.to_lowercase(), self.sentence.to_lowercase());
        if !has_word(reply, &answer) {
            return Mark::WRONG;
        }
        let answer = the_word(&literal(&answer));
        if is_answer(reply, &answer) {
            return Mark::RIGHT;
        }
        let sentence = the_sentence(&literal(&sentence));
        let mut bases = vec![
            format!("The {place} word is {answer}"),
            format!("The {place} word (of|in) {sentence} is {answer}"),
            format!("{answer} is the {place} word"),
            format!("{sentence} {begins} with {answer}"),
            // The published scorer has `First` for the last word too; and in lower case `\W` is `\w`.
            format!(r"First word\W+{answer}"),
        ];
        bases.extend(shared(&answer));
        Sentences::new(bases)
            .behind([format!("In {sentence} ")])
            .before([format!(" (of|in) {sentence}")])
            .mark(reply)
    }
}

/// A word and the letter at an end of it.
#[derive(Deserialize)]
struct LetterOf {
    word: String,
    answer: String,
}

/// The first letter of a word is asked for.
#[derive(Deserialize)]
pub(super) struct FirstLetter(LetterOf);

/// The last letter is asked for.
#[derive(Deserialize)]
pub(super) struct LastLetter(LetterOf);

impl Rule for FirstLetter {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, "first", "starting", "(starts|begins)")
    }
}

impl Rule for LastLetter {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, "last", "final", "ends")
    }
}

impl LetterOf {
    fn mark(&self, reply: &Reply, place: &str, starting: &str, starts: &str) -> Mark {
        if !has_word(reply, &self.answer) {
            return Mark::WRONG;
        }
        let answer = the_letter(&literal(&self.answer));
        if is_answer(reply, &answer) {
            return Mark::RIGHT;
        }
        let word = the_word(&literal(&self.word));
        let mut bases = vec![
            format!("The {place} letter is {answer}"),
            format!("The {place} letter (of|in) {word} is {answer}"),
            format!("{answer} is the {place} letter (of|in) {word}"),
            format!("{word} {starts} with {answer}"),
            format!("The letter that {word} {starts} with is {answer}"),
            format!("{answer} is the {starting} letter (of|in) {word}"),
            format!("{word}: {answer}"),
            format!("{place} letter: {answer}"),
        ];
        bases.extend(shared(&answer));
        Sentences::new(bases).mark(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_at_an_end_is_told_with_or_without_its_sentence() {
        let sentence = || WordOf { sentence: "Birds sing at dawn".into(), answer: "dawn".into() };
        let rule = LastWord(sentence());
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Dawn."), Mark::RIGHT);
        assert_eq!(mark("The last word of the sentence is \"dawn\"."), Mark::RIGHT);
        assert_eq!(mark("\"Birds sing at dawn\" ends with dawn"), Mark::RIGHT);
        assert_eq!(mark("birds"), Mark::WRONG);
        assert_eq!(mark("Birds sing at dawn"), Mark::UNKNOWN);
        // `First word\W+` in lower case wants letters between.
        assert_eq!(mark("first word: dawn"), Mark::UNKNOWN);
        assert_eq!(mark("first wordsdawn"), Mark::WRONG);
    }

    #[test]
    fn a_letter_is_looked_for_as_a_word_of_its_own() {
        let rule = FirstLetter(LetterOf { word: "beach".into(), answer: "b".into() });
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("\"B\""), Mark::RIGHT);
        assert_eq!(mark("The word \"beach\" begins with the letter \"b\"."), Mark::RIGHT);
        assert_eq!(mark("beach: b"), Mark::RIGHT);
        assert_eq!(mark("beach"), Mark::WRONG);
        assert_eq!(mark("b as in beach"), Mark::UNKNOWN);
    }
}
