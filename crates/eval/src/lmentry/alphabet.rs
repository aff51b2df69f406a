//! `first_alphabetically`: which of two words comes first.

use serde::Deserialize;

use super::Rule;
use super::pattern::{Mark, Sentences, is_answer, literal, shared, the_word};
use super::reply::Reply;

/// Two words, the first of which in the alphabet is asked for.
#[derive(Deserialize)]
pub(super) struct FirstAlphabetically {
    word1: String,
    word2: String,
    answer: String,
    distractor: String,
}

impl Rule for FirstAlphabetically {
    fn mark(&self, reply: &Reply) -> Mark {
        if matches!(*reply.words(), [word] if word != self.answer) {
            return Mark::WRONG;
        }
        let word = |word: &str| the_word(&literal(word));
        let (answer, other) = (word(&self.answer), word(&self.distractor));
        if is_answer(reply, &answer) || is_answer(reply, &format!("{answer} does")) {
            return Mark::RIGHT;
        }
        let mut bases = vec![
            format!("{answer} (comes|is) first"),
            format!("{other} (comes|is) second"),
            format!("{other} (comes|is) after"),
            format!("{answer} (comes|is) before {other}"),
            format!("{other} (comes|is) after {answer}"),
        ];
        bases.extend(shared(&answer));
        let in_order = ["In an alphabetical order", "In alphabetical order"];
        let prefixes = [
            "Alphabetically, ".to_owned(),
            format!("{}, ", in_order[0]),
            format!("{}, ", in_order[1]),
            format!("Of the words {} and {}, ", word(&self.word1), word(&self.word2)),
        ];
        let suffixes = ["alphabetically", in_order[0], in_order[1], "in the dictionary"];
        let suffixes = suffixes.map(|suffix| format!(" {suffix}"));
        Sentences::new(bases).behind(prefixes).before(suffixes).mark(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_other_word_is_wrong() {
        // Which of "silver" and "beach" comes first?
        let [word1, word2] = ["silver", "beach"].map(str::to_owned);
        let (answer, distractor) = (word2.clone(), word1.clone());
        let rule = FirstAlphabetically { word1, word2, answer, distractor };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("\"Beach\" does."), Mark::RIGHT);
        assert_eq!(mark("In alphabetical order, beach comes before silver"), Mark::RIGHT);
        assert_eq!(mark("silver is second in the dictionary."), Mark::RIGHT);
        assert_eq!(mark("beach is first, I believe"), Mark { right: true, certain: false });
        assert_eq!(mark("silver"), Mark::WRONG);
        assert_eq!(mark("silver is first"), Mark::UNKNOWN);
    }
}
