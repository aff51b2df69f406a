//! `more_letters`, `less_letters`: which of two words is longer, or shorter.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, compile, is_answer, is_whole, literal, mirrored, number, shared, the_word,
};
use super::reply::{Reply, normalized};

const LESS: &str = "(less|fewer)";

/// Two words, one of which is asked for.
#[derive(Deserialize)]
struct Lengths {
    word1: String,
    word2: String,
    answer: String,
    distractor: String,
}

/// The longer one is asked for.
#[derive(Deserialize)]
pub(super) struct MoreLetters(Lengths);

/// The shorter one is asked for.
#[derive(Deserialize)]
pub(super) struct LessLetters(Lengths);

/// The words for one direction.
struct Direction {
    more: &'static str,
    longer: &'static str,
}

const UP: Direction = Direction { more: "more", longer: "longer" };
const DOWN: Direction = Direction { more: LESS, longer: "shorter" };

impl Rule for MoreLetters {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, &UP, &DOWN)
    }
}

impl Rule for LessLetters {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, &DOWN, &UP)
    }
}

/// What may be said of `word` when it is the one with `more` letters, by `by` of them. The two last
/// ways are a wrong reply's only.
fn said(word: &str, than: &str, by: &str, Direction { more, longer }: &Direction) -> Vec<String> {
    vec![
        format!("{word} has {more} letters"),
        format!("{word} has {more} letters than {than}"),
        format!("{word} has {by} {more} letter(s)?"),
        format!("{word} has {by} {more} letter(s)? than {than}"),
        format!("The word that has {more} letters is {word}"),
        format!("{word} is the word that has {more} letters"),
        format!("{word} is {longer}"),
        format!("{word} is {longer} than {than}"),
        format!("{word} is {longer} than {than} by {by} letter(s)?"),
        format!("The {longer} word is {word}"),
        format!("The word that is {longer} is {word}"),
        format!("{word} is the word that is {longer}"),
        format!("{word} is {longer} by {by} letter(s)?"),
        word.to_owned(),
    ]
}

impl Lengths {
    fn mark(&self, reply: &Reply, asked: &Direction, inverse: &Direction) -> Mark {
        let count = |word: &str| word.chars().count() as u32;
        let by = number(count(&self.answer).abs_diff(count(&self.distractor)));
        let word = |word: &str| the_word(&literal(word));
        let (answer, other) = (word(&self.answer), word(&self.distractor));
        let wrong = said(&other, &answer, &by, asked);
        if wrong.iter().any(|wrong| is_whole(&normalized(wrong), reply.ascii())) {
            return Mark::WRONG;
        }
        if counts_wrong(reply, &answer, &other, &by, asked) {
            return Mark::WRONG;
        }
        if is_answer(reply, &answer) {
            return Mark::RIGHT;
        }
        let mut bases = said(&answer, &other, &by, asked);
        bases.truncate(12);
        for (from, to) in [(asked.more, inverse.more), (asked.longer, inverse.longer)] {
            bases.extend(mirrored(&bases, &answer, &other, from, to));
        }
        bases.extend(shared(&answer));
        let (word1, word2) = (word(&self.word1), word(&self.word2));
        let of_both =
            ["Of", "From"].map(|start| format!("{start} the words {word1} and {word2}, "));
        Sentences::new(bases).behind(of_both).mark(reply)
    }
}

/// Whether the reply names the right word but a wrong difference. The patterns are not put into lower
/// case, so `the word` before the answer is not understood here.
fn counts_wrong(
    reply: &Reply,
    answer: &str,
    other: &str,
    by: &str,
    Direction { more, longer }: &Direction,
) -> bool {
    const COUNT: &str =
        r"(?P<count>\d+|one|two|three|four|five|six|seven|eight|nine|ten|zero|a single)";
    let patterns = [
        format!("{answer} has {COUNT} {more} letter(s)?"),
        format!("{answer} has {COUNT} {more} letter(s)? than {other}"),
        format!("{answer} is {longer} by {COUNT} letter(s)?"),
        format!("{answer} is {longer} than {other} by {COUNT} letter(s)?"),
    ];
    let right = compile(&format!("^(?:{by})"), false);
    patterns.iter().any(|pattern| {
        let found = compile(&format!("^(?:{pattern})"), false);
        let found = found.captures(reply.ascii().as_bytes());
        found.is_some_and(|found| !right.is_match(&found["count"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(answer: &str, distractor: &str) -> Lengths {
        let [word1, word2] = ["chat", "no"].map(str::to_owned);
        Lengths { word1, word2, answer: answer.into(), distractor: distractor.into() }
    }

    #[test]
    fn the_difference_must_be_right_where_it_is_told() {
        // Which word has more letters, "chat" or "no"?
        let rule = MoreLetters(lengths("chat", "no"));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("chat"), Mark::RIGHT);
        assert_eq!(mark("\"Chat\" has two more letters than \"no\"."), Mark::RIGHT);
        assert_eq!(mark("\"Chat\" has 3 more letters than \"no\"."), Mark::WRONG);
        assert_eq!(mark("chat is longer than no by a single letter"), Mark::WRONG);
        assert_eq!(mark("The word that is shorter is no"), Mark::RIGHT);
        assert_eq!(mark("no is longer by 2 letters"), Mark::WRONG);
        assert_eq!(mark("no, it is chat"), Mark::UNKNOWN);
    }

    #[test]
    fn fewer_letters_are_the_mirror_of_more() {
        let rule = LessLetters(lengths("no", "chat"));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Of the words \"chat\" and \"no\", \"no\" has fewer letters"), Mark::RIGHT);
        assert_eq!(mark("chat has more letters"), Mark::RIGHT);
        assert_eq!(mark("chat is shorter"), Mark::WRONG);
    }
}
