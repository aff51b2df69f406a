//! `bigger_number`, `smaller_number`: which of two numbers it is.

use serde::Deserialize;

use super::Rule;
use super::pattern::{Mark, Sentences, exchanged, is_answer, shared, the_number};
use super::reply::Reply;

const BIGGER: &str = "(bigger|larger)";
const SMALLER: &str = "smaller";

/// Two numbers, one of which is asked for.
#[derive(Deserialize)]
struct Numbers {
    n1: u32,
    n2: u32,
    answer: u32,
    distractor: u32,
}

/// The bigger one is asked for.
#[derive(Deserialize)]
pub(super) struct BiggerNumber(Numbers);

/// The smaller one is asked for.
#[derive(Deserialize)]
pub(super) struct SmallerNumber(Numbers);

impl Rule for BiggerNumber {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, BIGGER, SMALLER)
    }
}

impl Rule for SmallerNumber {
    fn mark(&self, reply: &Reply) -> Mark {
        self.0.mark(reply, SMALLER, BIGGER)
    }
}

impl Numbers {
    /// `asked` is what the answer is, `inverse` what the other number is.
    fn mark(&self, reply: &Reply, asked: &str, inverse: &str) -> Mark {
        let words = reply.words_and_numbers();
        let same = words.iter().all(|word| *word == words[0]);
        if !words.is_empty() && same && words[0] != self.answer.to_string() {
            return Mark::WRONG;
        }
        let (answer, other) = (the_number(self.answer), the_number(self.distractor));
        if is_answer(reply, &answer) {
            return Mark::RIGHT;
        }
        let mut bases = vec![
            format!("{answer} is {asked}"),
            format!("{answer} is {asked} than {other}"),
            format!("{answer} is the {asked} number"),
            format!("The {asked} number is {answer}"),
        ];
        let mirror = |base: &String| exchanged(base, &answer, &other).replace(asked, inverse);
        bases.extend(bases.iter().map(mirror).collect::<Vec<_>>());
        bases.extend(shared(&answer));
        let of_both = ["Of", "From", "Between"]
            .map(|start| format!("{start} the numbers {} and {}, ", self.n1, self.n2));
        Sentences::new(bases).behind(of_both).mark(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT_WITHIN: Mark = Mark { right: true, certain: false };

    #[test]
    fn bigger_also_says_it_the_other_way_round() {
        // Which is bigger, 21 or 130?
        let rule = BiggerNumber(Numbers { n1: 21, n2: 130, answer: 130, distractor: 21 });
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("130"), Mark::RIGHT);
        assert_eq!(mark("one hundred and thirty"), Mark::RIGHT);
        assert_eq!(mark("Of the numbers 21 and 130, 130 is larger."), Mark::RIGHT);
        assert_eq!(mark("Twenty-one is smaller than 130"), Mark::RIGHT);
        assert_eq!(mark("Hm, 130 is bigger I think"), RIGHT_WITHIN);
        assert_eq!(mark("21"), Mark::WRONG);
        assert_eq!(mark("130 is smaller than 21"), Mark::UNKNOWN);
    }

    #[test]
    fn smaller_is_its_mirror() {
        let rule = SmallerNumber(Numbers { n1: 21, n2: 130, answer: 21, distractor: 130 });
        let mark = |text| rule.mark(&Reply::new(text, false));
        assert_eq!(mark("130 is larger than 21"), Mark::RIGHT);
        assert_eq!(mark("The smaller number is 21."), Mark::RIGHT);
        assert_eq!(mark("130"), Mark::WRONG);
    }
}
