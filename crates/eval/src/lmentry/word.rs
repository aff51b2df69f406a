//! `starts_with_letter`, `ends_with_letter`, `word_containing`, `word_not_containing`: a word is to
//! be written.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, is_answer, is_answer_once, is_found, literal, shared, the_letter, the_word,
};
use super::reply::{Reply, ascii, normalized};

const POSSIBLE: &str = "(a|one) possible( such)? (word|answer)";

/// Whether a letter is a word of its own.
fn is_a_word(letter: &str) -> bool {
    ["a", "i"].contains(&letter)
}

/// Of a reply that is such a word, or says so in a sentence of these forms or one that all tasks share.
fn marked(reply: &Reply, word: &str, mut bases: Vec<String>) -> Mark {
    if is_answer(reply, word) {
        return Mark::RIGHT;
    }
    bases.extend(shared(word));
    Sentences::new(bases).mark(reply)
}

/// A word with a certain first letter is asked for.
#[derive(Deserialize)]
pub(super) struct StartsWithLetter {
    letter: String,
}

impl Rule for StartsWithLetter {
    fn mark(&self, reply: &Reply) -> Mark {
        if !reply.words().iter().any(|word| word.starts_with(&self.letter)) {
            return Mark::WRONG;
        }
        let letter = literal(&self.letter);
        let rest = if is_a_word(&self.letter) { r"\w*" } else { r"\w+" };
        let word = the_word(&format!("{letter}-?{rest}"));
        let letter = the_letter(&letter);
        let bases = vec![
            format!("{POSSIBLE} is {word}"),
            format!("{word} is {POSSIBLE}"),
            format!("{word} (starts|begins) with {letter}"),
            format!("{word} is (a|one) word that (starts|begins) with {letter}"),
            format!("{word} is (a|one) word (starting|beginning) with {letter}"),
            format!("A word starting with {letter} is {word}"),
            format!("{word} is (a|one) word whose first letter is {letter}"),
            format!("{letter} is for {word}"),
            format!("How about {word}"),
            format!("May I suggest {word}"),
        ];
        marked(reply, &word, bases)
    }
}

/// A word with a certain last letter is asked for.
#[derive(Deserialize)]
pub(super) struct EndsWithLetter {
    letter: String,
}

impl Rule for EndsWithLetter {
    fn mark(&self, reply: &Reply) -> Mark {
        if !reply.words().iter().any(|word| word.ends_with(&self.letter)) {
            return Mark::WRONG;
        }
        let letter = literal(&self.letter);
        let rest = if is_a_word(&self.letter) { r"\w*" } else { r"\w+" };
        let word = the_word(&format!("{rest}{letter}"));
        let letter = the_letter(&letter);
        let bases = vec![
            format!("{POSSIBLE} is {word}"),
            format!("{word} is {POSSIBLE}"),
            format!("{word} ends with {letter}"),
            format!("{word} is (a|one) word that ends with {letter}"),
            format!("{word} is (a|one) word ending with {letter}"),
            format!("A word ending with {letter} is {word}"),
            // One pattern for want of a comma in the published scorer; so neither half counts.
            format!("{word} is (a|one) word whose last letter is {letter}How about {word}"),
            format!("May I suggest {word}"),
        ];
        marked(reply, &word, bases)
    }
}

/// A word with a certain letter is asked for.
#[derive(Deserialize)]
pub(super) struct WordContaining {
    letter: String,
}

impl Rule for WordContaining {
    fn mark(&self, reply: &Reply) -> Mark {
        let letter = literal(&self.letter);
        let word = match is_a_word(&self.letter) {
            true => format!(r"\w*{letter}\w*"),
            // The last of them is for `e-mail` and `x-ray`.
            false => format!(r"((\w+{letter}\w*)|(\w*{letter}\w+)|({letter}-\w+))"),
        };
        let word = the_word(&word);
        let letter = the_letter(&letter);
        let bases = vec![format!("{word} (is a word (that|which) )?(contains|uses|has) {letter}")];
        marked(reply, &word, bases)
    }
}

/// A word without a certain letter is asked for.
#[derive(Deserialize)]
pub(super) struct WordNotContaining {
    letter: String,
    input: String,
}

impl Rule for WordNotContaining {
    fn mark(&self, reply: &Reply) -> Mark {
        let is_one_word = !is_found(r"\W", reply.ascii());
        let has_letter = reply.ascii().contains(&ascii(&self.letter));
        if self.is_repeated(reply) || is_one_word && has_letter {
            return Mark::WRONG;
        }
        let others = ('a'..='z').filter(|c| !self.letter.contains(*c)).collect::<String>();
        let single = ["a", "i"].iter().filter(|word| **word != self.letter);
        let single = single.map(|word| format!("|({word})")).collect::<String>();
        let word = the_word(&format!(r"((\b[{others}]{{2,}}\b){single})"));
        // Not every word of a sentence: nearly all sentences would do.
        if is_answer_once(reply, &word) {
            return Mark::RIGHT;
        }
        let letter = the_letter(&literal(&self.letter));
        Sentences::new(vec![
            format!(
                "{word} (is a word (that|which) )?((does not)|(doesn't)) (contain|use|have) {letter}"
            ),
            format!(
                "A word (that|which) ((does not)|(doesn't)) (contain|use|have) {letter} is {word}"
            ),
            format!("A word not (containing|using|having) {letter} is {word}"),
            format!("{word} is a word without {letter}"),
        ])
        .mark(reply)
    }
}

impl WordNotContaining {
    /// Whether the reply is the question, of whatever letter.
    fn is_repeated(&self, reply: &Reply) -> bool {
        let letter = literal(&self.letter);
        let question = literal(&normalized(&self.input));
        let question = question.replace(&format!("\"{letter}\""), r#""\w""#);
        is_found(&format!("^(?:{question}$)"), reply.ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_starts_with_its_letter_and_goes_on() {
        let rule = StartsWithLetter { letter: "x".into() };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("X-ray"), Mark::RIGHT);
        assert_eq!(mark("xylophone, xenon"), Mark::RIGHT);
        assert_eq!(mark("X is for xylophone."), Mark::RIGHT);
        assert_eq!(mark("x"), Mark::UNKNOWN);
        assert_eq!(mark("box"), Mark::WRONG);
        let rule = StartsWithLetter { letter: "a".into() };
        assert_eq!(rule.mark(&Reply::new("a", false)), Mark::RIGHT);
    }

    #[test]
    fn two_patterns_for_the_last_letter_are_fused() {
        let rule = EndsWithLetter { letter: "t".into() };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Cat"), Mark::RIGHT);
        assert_eq!(mark("May I suggest \"cat\"."), Mark::RIGHT);
        assert_eq!(mark("How about cat"), Mark::UNKNOWN);
        assert_eq!(mark("tree"), Mark::WRONG);
    }

    #[test]
    fn a_word_contains_its_letter_and_another() {
        let rule = WordContaining { letter: "e".into() };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("tree"), Mark::RIGHT);
        assert_eq!(mark("\"Tree\" is a word that contains \"e\"."), Mark::RIGHT);
        assert_eq!(mark("e-mail"), Mark::RIGHT);
        assert_eq!(mark("cat"), Mark::UNKNOWN);
    }

    #[test]
    fn a_repeated_question_is_no_word() {
        let input = "Write a word without using the letter \"c\":\n".to_owned();
        let rule = WordNotContaining { letter: "c".into(), input };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Dog."), Mark::RIGHT);
        assert_eq!(mark("The word \"dog\" does not contain the letter \"c\"."), Mark::RIGHT);
        assert_eq!(mark("Write a word without using the letter \"k\":"), Mark::WRONG);
        assert_eq!(mark("cat"), Mark::WRONG);
        assert_eq!(mark("dog bird"), Mark::UNKNOWN);
    }
}
