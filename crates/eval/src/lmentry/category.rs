//! `all_words_from_category`, `any_words_from_category`: yes or no.

use serde::Deserialize;

use super::Rule;
use super::pattern::{Mark, Sentences, is_answer, is_whole, literal, shared};
use super::reply::Reply;

/// Whether all words are of a category.
#[derive(Deserialize)]
pub(super) struct AllWordsFromCategory {
    category: String,
    num_distractors: usize,
}

/// Whether any word is.
#[derive(Deserialize)]
pub(super) struct AnyWordsFromCategory {
    num_words: usize,
    num_distractors: usize,
}

impl Rule for AllWordsFromCategory {
    fn mark(&self, reply: &Reply) -> Mark {
        mark(reply, self.num_distractors == 0, |answer| {
            let category = literal(&self.category);
            let category = match category.as_str() {
                "items of clothing" => format!("({category}|clothes|clothing)"),
                "furniture" => format!("({category}|pieces of furniture)"),
                "fruit" => format!("({category}|fruits)"),
                _ => category,
            };
            let all = "(all of these words|all of those words|all of the words|they all)";
            let are = "(represent|are types of|refer to types of)";
            vec![
                format!("{answer}, the list contains only {category}"),
                format!("{answer}, {all}( (listed|in the list))? {are} {category}"),
            ]
        })
    }
}

impl Rule for AnyWordsFromCategory {
    fn mark(&self, reply: &Reply) -> Mark {
        mark(reply, self.num_words > self.num_distractors, |_| Vec::new())
    }
}

/// The opposite alone is wrong; a reply that begins with the answer is right.
fn mark(reply: &Reply, is_yes: bool, said: impl Fn(&str) -> Vec<String>) -> Mark {
    let (answer, opposite) = if is_yes { ("yes", "no") } else { ("no", "yes") };
    if is_whole(opposite, reply.ascii()) {
        return Mark::WRONG;
    }
    if is_answer(reply, answer) {
        return Mark::RIGHT;
    }
    let mut bases = said(answer);
    bases.push(format!(r"^{answer}\b"));
    bases.extend(shared(answer));
    Sentences::new(bases).mark(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_begins_with_the_answer_is_right_but_not_certain() {
        let rule = AllWordsFromCategory { category: "fruit".into(), num_distractors: 0 };
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("Yes."), Mark::RIGHT);
        assert_eq!(mark("Yes, all of the words listed are types of fruits."), Mark::RIGHT);
        assert_eq!(mark("Yes, they are"), Mark { right: true, certain: false });
        assert_eq!(mark("no"), Mark::WRONG);
        assert_eq!(mark("Not yes"), Mark::UNKNOWN);
    }

    #[test]
    fn any_word_is_enough() {
        let rule = AnyWordsFromCategory { num_words: 5, num_distractors: 5 };
        assert_eq!(rule.mark(&Reply::new("No", false)), Mark::RIGHT);
        let rule = AnyWordsFromCategory { num_words: 5, num_distractors: 4 };
        assert_eq!(rule.mark(&Reply::new("The answer is yes.", false)), Mark::RIGHT);
    }
}
