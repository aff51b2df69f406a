//! `rhyming_word`, `homophones`: which of two words sounds like a third.

use serde::Deserialize;

use super::Rule;
use super::pattern::{Mark, exchanged, has_word, is_answer, literal, the_word};
use super::reply::Reply;

/// Two words, one of which sounds like the query.
#[derive(Deserialize)]
struct Sounds {
    query: String,
    answer: String,
    distractor: String,
}

/// The word that rhymes is asked for.
#[derive(Deserialize)]
pub(super) struct RhymingWord(Sounds);

/// The word of the same sound is asked for.
#[derive(Deserialize)]
pub(super) struct Homophones(Sounds);

impl Rule for RhymingWord {
    fn mark(&self, reply: &Reply) -> Mark {
        if matches!(*reply.words(), [word] if word != self.0.answer) {
            return Mark::WRONG;
        }
        self.0.mark(reply, rhymes)
    }
}

impl Rule for Homophones {
    fn mark(&self, reply: &Reply) -> Mark {
        if !has_word(reply, &self.0.answer) {
            return Mark::WRONG;
        }
        self.0.mark(reply, sounds)
    }
}

impl Sounds {
    /// Right if the reply is the answer, or a sentence that says so and no more.
    fn mark(&self, reply: &Reply, said: fn(&str, &str, &str) -> Vec<String>) -> Mark {
        let word = |word: &str| the_word(&literal(word));
        let [answer, query, other] = [&self.answer, &self.query, &self.distractor].map(|w| word(w));
        let is_right = is_answer(reply, &answer)
            || said(&answer, &query, &other).iter().any(|said| is_answer(reply, said));
        if is_right { Mark::RIGHT } else { Mark::UNKNOWN }
    }
}

/// The sentences about a rhyme.
fn rhymes(answer: &str, query: &str, other: &str) -> Vec<String> {
    const NOT: &str = "(does not|doesn't)";
    const A: &str = "(a|the)";
    let mut said = vec![
        format!("{query} rhymes with {answer}( and not with {other})?"),
        format!("{query} is {A} rhyme of {answer}( and not of {other})?"),
        format!("{query} and {answer} rhyme"),
        format!("{query} and {answer} are rhymes"),
        format!("{query} and {answer} are words that rhyme"),
        format!("{A} rhyme of {query} is {answer}( and not {other})?"),
        format!("{A} word rhyming with {query} is {answer}"),
        format!("{A} word that rhymes with {query} is {answer}"),
        format!(
            "{query} and {answer}( both)? rhyme( with each other)?, (while|but|and) {other} {NOT} \
             rhyme with either( word)?"
        ),
    ];
    both_ways(&mut said, answer, query);
    said.extend([
        format!(r"{other} {NOT} rhyme with {query}(\s+{answer} (rhymes|does rhyme) with {query})?"),
        format!(r"{query} {NOT} rhyme with {other}(\s+{query} (rhymes|does rhyme) with {answer})?"),
        format!(r"{answer} rhymes with {query}\s+{other} {NOT} rhyme with {query}"),
    ]);
    said
}

/// The sentences about words of the same sound.
fn sounds(answer: &str, query: &str, other: &str) -> Vec<String> {
    const BUT: &str = r"(\.,)? (but|and)";
    const LIKE: &str = "(like|similar to)";
    let mut said = vec![
        format!("{query} sounds {LIKE} {answer}"),
        format!("{query} sounds {LIKE} {answer}{BUT} not {LIKE} {other}"),
        format!("{query} sounds {LIKE} {answer}{BUT} {other} does not"),
        format!("{query} and {answer} sound alike"),
        format!("{query} sounds more {LIKE} {answer}"),
        format!("{query} sounds more {LIKE} {answer} than( like)? {other}( does)?"),
        format!("{query} sounds most {LIKE} {answer}"),
        format!("{query} is a homophone of {answer}"),
        format!("{query} and {answer} are homophones( of each other)?"),
        format!("The homophone of {query} is {answer}"),
    ];
    both_ways(&mut said, answer, query);
    said
}

/// What sounds like a word is sounded like by it.
fn both_ways(said: &mut Vec<String>, answer: &str, query: &str) {
    said.extend(said.iter().map(|said| exchanged(said, answer, query)).collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sounds_of([query, answer, distractor]: [&str; 3]) -> Sounds {
        Sounds { query: query.into(), answer: answer.into(), distractor: distractor.into() }
    }

    #[test]
    fn a_rhyme_is_told_from_either_side() {
        // Which word rhymes with "declare", "beer" or "wear"?
        let rule = RhymingWord(sounds_of(["declare", "wear", "beer"]));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Wear"), Mark::RIGHT);
        assert_eq!(mark("\"Wear\" rhymes with \"declare\" and not with \"beer\"."), Mark::RIGHT);
        assert_eq!(mark("beer doesn't rhyme with declare"), Mark::RIGHT);
        assert_eq!(mark("beer"), Mark::WRONG);
        assert_eq!(mark("I take wear"), Mark::UNKNOWN);
    }

    #[test]
    fn a_reply_without_the_homophone_is_wrong() {
        // Which word sounds like "aisle", "isle" or "classroom"?
        let rule = Homophones(sounds_of(["aisle", "isle", "classroom"]));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(
            mark("\"aisle\" sounds more like \"isle\" than \"classroom\" does"),
            Mark::RIGHT
        );
        assert_eq!(mark("isle and aisle are homophones of each other."), Mark::RIGHT);
        assert_eq!(mark("classroom"), Mark::WRONG);
        assert_eq!(mark("isle or classroom"), Mark::UNKNOWN);
    }
}
