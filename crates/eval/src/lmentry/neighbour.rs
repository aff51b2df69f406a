//! `word_after`, `word_before`: the word beside another in a sentence.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, has_word, is_answer, literal, mirrored, shared, the_sentence, the_word,
};
use super::reply::{Reply, ascii};

const AFTER: &str = "(immediately |right )?after";
const BEFORE: &str = "(immediately |right )?before";
const FOLLOWS: &str = "(immediately )?follows";

/// A sentence, a word of it, and the word beside that.
#[derive(Deserialize)]
struct Neighbour {
    sentence: String,
    query: String,
    answer: String,
}

/// The word behind the query is asked for.
#[derive(Deserialize)]
pub(super) struct WordAfter(Neighbour);

/// The word before the query is asked for.
#[derive(Deserialize)]
pub(super) struct WordBefore(Neighbour);

impl Rule for WordAfter {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, |answer, query, sentence| {
            let succeeds = "(immediately )?succeeds";
            let mut bases = vec![
                format!("{answer} comes {AFTER} {query}"),
                format!("{answer} is the word that comes {AFTER} {query}"),
                format!("{answer} {succeeds} {query}"),
                format!("{answer} is the word that {succeeds} {query}"),
                format!("{answer} {FOLLOWS} {query}"),
                format!("The word that comes {AFTER} {query} is {answer}"),
                format!("The word that comes {AFTER} {query} in {sentence} is {answer}"),
                format!("The word that {succeeds} {query} is {answer}"),
                format!("The word that {FOLLOWS} {query} is {answer}"),
                format!("{query} is succeeded by {answer}"),
                format!("{query} is followed by {answer}"),
            ];
            // Its published mirror of `succeeds`, `precedes`, is never built.
            bases.extend(mirrored(&bases, answer, query, AFTER, BEFORE));
            bases
        })
    }
}

impl Rule for WordBefore {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, |answer, query, sentence| {
            let precedes = "(immediately )?precedes";
            let mut bases = vec![
                format!("{answer} comes {BEFORE} {query}"),
                format!("{answer} is the word that comes {BEFORE} {query}"),
                format!("{answer} {precedes} {query}"),
                format!("{answer} is the word that {precedes} {query}"),
                format!("{answer} is followed by {query}"),
                format!("The word that comes {BEFORE} {query} is {answer}"),
                format!("The word that comes {BEFORE} {query} in {sentence} is {answer}"),
                format!("The word that {precedes} {query} is {answer}"),
                format!("The word that {FOLLOWS} {answer} is {query}"),
                format!("{answer} is succeeded by {query}"),
                format!("{query} {FOLLOWS} {answer}"),
            ];
            // Here too the other mirror is never built.
            bases.extend(mirrored(&bases, answer, query, BEFORE, AFTER));
            bases
        })
    }
}

impl Neighbour {
    fn mark(&self, reply: &Reply, said: fn(&str, &str, &str) -> Vec<String>) -> Mark {
        let [answer, query, sentence] =
            [&self.answer, &self.query, &self.sentence].map(|text| text.to_lowercase());
        if !has_word(reply, &answer) || bare(reply.ascii()) == ascii(&sentence) {
            return Mark::WRONG;
        }
        let (answer, query) = (the_word(&literal(&answer)), the_word(&literal(&query)));
        if is_answer(reply, &answer) {
            return Mark::RIGHT;
        }
        let sentence = the_sentence(&literal(&sentence));
        let mut bases = said(&answer, &query, &sentence);
        bases.extend(shared(&answer));
        Sentences::new(bases)
            .behind([format!("In {sentence} ")])
            .before([format!(" (of|in) {sentence}")])
            .mark(reply)
    }
}

/// A text without its marks: a reply that is the sentence says nothing.
fn bare(text: &str) -> String {
    text.chars().filter(|&c| c.is_ascii_alphanumeric() || c == '_' || c == ' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbour(answer: &str) -> Neighbour {
        let [sentence, query] = ["We were glad it was over", "were"].map(str::to_owned);
        Neighbour { sentence, query, answer: answer.into() }
    }

    #[test]
    fn after_is_before_the_other_way_round() {
        let rule = WordAfter(neighbour("glad"));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("glad"), Mark::RIGHT);
        assert_eq!(mark("The word that comes right after \"were\" is \"glad\"."), Mark::RIGHT);
        assert_eq!(mark("\"were\" comes before \"glad\" in the sentence"), Mark::RIGHT);
        assert_eq!(mark("We were glad it was over."), Mark::WRONG);
        assert_eq!(mark("it"), Mark::WRONG);
        assert_eq!(mark("were precedes glad"), Mark::UNKNOWN);
    }

    #[test]
    fn before_is_after_the_other_way_round() {
        let rule = WordBefore(neighbour("We"));
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("\"were\" comes immediately after \"we\""), Mark::RIGHT);
        assert_eq!(mark("we is followed by were"), Mark::RIGHT);
        assert_eq!(mark("glad"), Mark::WRONG);
    }
}
