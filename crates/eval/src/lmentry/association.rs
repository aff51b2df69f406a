//! `most_associated_word`, `least_associated_word`: which word goes with a category, or does not.

use serde::Deserialize;

use super::Rule;
use super::pattern::{
    Mark, Sentences, exchanged, has_word, is_answer, literal, shared, the_word, the_words,
};
use super::reply::Reply;

/// Words, one of which is asked for.
#[derive(Deserialize)]
struct Options {
    category: String,
    answer: String,
    distractors: Vec<String>,
    answer_index: usize,
}

/// The word that goes with the category is asked for.
#[derive(Deserialize)]
pub(super) struct MostAssociatedWord(Options);

/// The word that does not is asked for.
#[derive(Deserialize)]
pub(super) struct LeastAssociatedWord(Options);

impl Rule for MostAssociatedWord {
    fn mark(&self, reply: &Reply) -> Mark {
        // Only here the category may stand before the answer: `animals - chicken`.
        self.0.mark(reply, "most", |reply, answer, category| {
            is_answer(reply, answer) || is_answer(reply, &format!("{category} - {answer}"))
        })
    }
}

impl Rule for LeastAssociatedWord {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, "least", |reply, answer, _| is_answer(reply, answer))
    }
}

impl Options {
    fn mark(&self, reply: &Reply, how: &str, is_right: fn(&Reply, &str, &str) -> bool) -> Mark {
        if !has_word(reply, &self.answer) {
            return Mark::WRONG;
        }
        let answer = the_word(&literal(&self.answer));
        let category = the_word(&literal(&self.category));
        if is_right(reply, &answer, &category) {
            return Mark::RIGHT;
        }
        let words = self.of_the_words();
        let related = format!("{how}( commonly)? (associated|related) (to|with)");
        let mut bases = vec![
            format!("The word {related} {category} is {answer}"),
            format!("The word {related} {category} {words} is {answer}"),
            format!("{category} (is|are) {related} {answer}"),
            format!("{answer} (is|are) the {related} {category}"),
            format!("{answer} (is|are) the word {related} {category}"),
            format!("The word that relates to {category} the {how} is {answer}"),
            format!("{answer} relates to {category} the {how}"),
        ];
        let mirror = |base: &String| exchanged(base, &answer, &category);
        bases.extend(bases.iter().map(mirror).collect::<Vec<_>>());
        bases.extend(shared(&answer));
        Sentences::new(bases)
            .behind([format!("{words}[^a-z0-9]*")])
            .before([format!("[^a-z0-9]*{words}")])
            .mark(reply)
    }

    /// `of the words` and the words in the question's order, or `from the given options`.
    fn of_the_words(&self) -> String {
        let mut words: Vec<_> = self.distractors.iter().map(|word| literal(word)).collect();
        words.insert(self.answer_index.min(words.len()), literal(&self.answer));
        let words = the_words(&words);
        let (options, given) = ("(words|options)", "(above|given|listed|following)");
        format!("(of|from) ({words}|the {options} {given}|the {given} {options})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_question_may_stand_around_the_answer() {
        // Of "truck", "hen" and "van", which is most associated with "animals"?
        let options = || Options {
            category: "animals".into(),
            answer: "hen".into(),
            distractors: vec!["truck".into(), "van".into()],
            answer_index: 1,
        };
        let rule = MostAssociatedWord(options());
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("animals - hen"), Mark::RIGHT);
        assert_eq!(mark("Of the words truck, hen, and van, hen is the answer."), Mark::RIGHT);
        assert_eq!(mark("The word most related to animals is hen"), Mark::RIGHT);
        assert_eq!(mark("van"), Mark::WRONG);
        assert_eq!(mark("a hen, perhaps"), Mark::UNKNOWN);
        let least = LeastAssociatedWord(options());
        assert_eq!(least.mark(&Reply::new("animals - hen", false)), Mark::UNKNOWN);
    }
}
