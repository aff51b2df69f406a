//! Prompts as long as a model can read: exemplars that do not fit are left out from the end.

use std::cell::Cell;

use crate::{Question, Ruler};

/// Tokens that a text may have more or fewer than its parts, each by itself.
const SEAM: usize = 16;

/// A prompt that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fitted {
    pub(crate) text: String,
    /// Exemplars that did not fit.
    pub(crate) dropped: usize,
    /// Whether it was too long even without them.
    pub(crate) is_cut: bool,
}

/// Fits one question after the other; those that begin alike should stand together.
pub(crate) struct Fitter<'a> {
    ruler: &'a dyn Ruler,
    /// Tokens that the suite's rule allows.
    rule: Option<usize>,
    /// Tokens that the model allows.
    room: Option<usize>,
    /// The last prefix that was measured, and its tokens.
    prefix: Cell<Option<(&'a str, usize)>>,
    /// The last question whose beginning was measured, and the tokens of that.
    beginning: Cell<Option<(&'a Question, usize)>>,
}

impl<'a> Fitter<'a> {
    /// `answer` tokens are kept free for an answer, but never more than half of what the model can read:
    /// what the answer may not need is no reason to leave all exemplars out.
    pub(crate) fn new(ruler: &'a dyn Ruler, rule: Option<usize>, answer: usize) -> Self {
        let room = ruler.context().map(|context| context - answer.min(context / 2));
        Self { ruler, rule, room, prefix: Cell::new(None), beginning: Cell::new(None) }
    }

    /// The prompt of a question with as many exemplars as fit.
    pub(crate) fn fit(&self, question: &'a Question) -> Fitted {
        let all = question.shots.len();
        let rule = self.rule.map(|rule| rule + self.prefix(question));
        let most = self.room.into_iter().chain(rule).min();
        if self.surely_fits(question, most) {
            return Fitted { text: question.text(all), dropped: 0, is_cut: false };
        }
        let tokens = |shots| self.ruler.tokens(&question.text(shots));
        let fits = |shots| most.is_none_or(|most| tokens(shots) <= most);
        // The more exemplars, the longer: so many more than none fit, or not even none.
        let (mut fewest, mut end) = if fits(all) { (all + 1, all + 1) } else { (0, all) };
        while fewest < end {
            let middle = fewest.midpoint(end);
            if fits(middle) { fewest = middle + 1 } else { end = middle }
        }
        if let Some(shots) = fewest.checked_sub(1) {
            return Fitted { text: question.text(shots), dropped: all - shots, is_cut: false };
        }
        let text = question.text(0);
        // The rule says how the prompt ends; a context that is too short is told by the model.
        let cut = rule.filter(|&rule| self.ruler.tokens(&text) > rule);
        let cut = cut.and_then(|rule| self.ruler.cut(&text, rule));
        Fitted { is_cut: cut.is_some(), text: cut.unwrap_or(text), dropped: all }
    }

    /// The tokens of a question's prefix: the suite's rule knows of none, so they come on top of it.
    fn prefix(&self, question: &'a Question) -> usize {
        let prefix = &*question.prefix;
        if prefix.is_empty() {
            return 0;
        }
        let known = self.prefix.get().filter(|(other, _)| *other == prefix);
        // What a chat template or a first token adds is no part of it.
        let measure = || self.ruler.tokens(prefix).saturating_sub(self.ruler.tokens(""));
        let tokens = known.map_or_else(measure, |(_, tokens)| tokens);
        self.prefix.set(Some((prefix, tokens)));
        tokens
    }

    /// Whether all of it fits by what its parts come to. What questions share is measured once, so that only
    /// the question itself is; the whole is measured where it is close.
    fn surely_fits(&self, question: &'a Question, most: Option<usize>) -> bool {
        let Some(most) = most else { return true };
        let Question { prefix, head, shots, .. } = question;
        let known = self.beginning.get().filter(|(other, _)| {
            (&other.prefix, &other.head, &other.shots) == (prefix, head, shots)
        });
        let beginning = known.map_or_else(
            || self.ruler.tokens(&format!("{prefix}{head}{}", shots.concat())),
            |(_, tokens)| tokens,
        );
        self.beginning.set(Some((question, beginning)));
        beginning + self.ruler.tokens(&question.tail) + SEAM <= most
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A word is a token; remembers how many words it was asked about.
    struct Words {
        context: Option<usize>,
        measured: RefCell<Vec<usize>>,
    }

    impl Ruler for Words {
        fn tokens(&self, prompt: &str) -> usize {
            let words = prompt.split_whitespace().count();
            self.measured.borrow_mut().push(words);
            words
        }

        fn context(&self) -> Option<usize> {
            self.context
        }

        fn cut(&self, prompt: &str, tokens: usize) -> Option<String> {
            Some(prompt.split(' ').take(tokens).collect::<Vec<_>>().join(" "))
        }
    }

    fn words(context: Option<usize>) -> Words {
        Words { context, measured: RefCell::new(Vec::new()) }
    }

    fn question(tail: &str) -> Question {
        let shots = (0..5).map(|_| "one two three ".to_owned()).collect();
        Question { head: "Count. ".into(), shots, tail: tail.into(), ..Question::default() }
    }

    #[test]
    fn as_many_exemplars_as_fit_beside_the_answer() {
        let question = question("and now");
        let dropped = |context, answer| {
            let ruler = words(Some(context));
            Fitter::new(&ruler, None, answer).fit(&question).dropped
        };
        // 1 + 15 + 2 words.
        assert_eq!([18, 17, 15, 14, 6, 5].map(|context| dropped(context, 0)), [0, 1, 1, 2, 4, 5]);
        assert_eq!([dropped(20, 2), dropped(20, 3)], [0, 1]);
        // An answer longer than all that the model reads takes half of it.
        assert_eq!([dropped(36, 100), dropped(35, 1000)], [0, 0]);
        assert_eq!(dropped(34, 100), 1);
    }

    #[test]
    fn a_prefix_takes_no_token_of_the_suites_rule() {
        let bare = question("and now");
        let long = Question { prefix: "say ".repeat(40).into(), ..bare.clone() };
        let fit = |question: &Question, rule, context| {
            let ruler = words(context);
            Fitter::new(&ruler, Some(rule), 0).fit(question)
        };
        // 1 + 15 + 2 words, and of one exemplar 3: what is left out is the same with a prefix and without.
        for (rule, dropped) in [(18, 0), (17, 1), (6, 4), (3, 5)] {
            for question in [&bare, &long] {
                let fitted = fit(question, rule, None);
                assert_eq!((fitted.dropped, fitted.is_cut), (dropped, false), "{rule}");
                assert!(fitted.text.ends_with("and now"), "{}", fitted.text);
            }
        }
        // A question that is longer than the rule is cut where it would be.
        let cut = fit(&long, 2, None);
        assert!(cut.is_cut && cut.text.ends_with(" say Count. and"), "{}", cut.text);
        assert_eq!(fit(&bare, 2, None).text, "Count. and");
        // The model reads the prefix too.
        assert_eq!(fit(&long, 18, Some(50)).dropped, 3);
    }

    #[test]
    fn what_questions_share_is_measured_once() {
        let ruler = words(Some(200));
        let fitter = Fitter::new(&ruler, None, 10);
        let questions = ["and now", "and then", "at last"].map(question);
        questions.iter().for_each(|question| assert_eq!(fitter.fit(question).dropped, 0));
        assert_eq!(*ruler.measured.borrow(), [16, 2, 2, 2]);
    }
}
