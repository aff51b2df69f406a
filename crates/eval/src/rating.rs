//! Answers rated from A to D by a judge, as the study of Self-Instruct has people rate them.
//!
//! ```text
//!  AnswerOf ─prompt─► judge ─parse─► Rating ─► Ratings: how many of each; A and B are acceptable
//! ```
//! A request that failed and a reply without a rating are counted, and are no rating.

use std::collections::{BTreeMap, HashMap};

use albacore_data::{Journal, Statistics};
use serde::{Deserialize, Serialize};

use crate::consult::{Asked, Exchange, Heard, Judge, NoOpinion, consult};
use crate::{AnswerOf, Contestant, Result};

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rating {
    /// Correct and satisfying.
    A,
    /// Acceptable, with minor errors.
    B,
    /// Understands the task, but has significant errors.
    C,
    /// Irrelevant or invalid.
    D,
}

impl Rating {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// The rating that a judge's reply gives: the letter that follows the last `Rating`, else the last one that
    /// stands by itself.
    ///
    /// ```
    /// use albacore_eval::Rating;
    /// assert_eq!(Rating::parse("A good start, but: Rating: C."), Some(Rating::C));
    /// assert_eq!(Rating::parse("Rating: B. A good answer."), Some(Rating::B));
    /// assert_eq!(Rating::parse("Bad"), None);
    /// ```
    pub fn parse(reply: &str) -> Option<Self> {
        let is_it = |word: &str| Self::ALL.into_iter().find(|rating| word == rating.letter());
        let words = |text: &'_ str| text.split(|c: char| !c.is_alphanumeric()).map(is_it).collect();
        let behind = reply.rfind("Rating").map(|at| &reply[at..]);
        let behind: Vec<Option<Self>> = behind.map(words).unwrap_or_default();
        let all: Vec<Option<Self>> = words(reply);
        behind.into_iter().flatten().next().or_else(|| all.into_iter().flatten().next_back())
    }

    /// As judges write it.
    pub fn letter(self) -> &'static str {
        ["A", "B", "C", "D"][self as usize]
    }
}

/// What a judge says of one answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rated {
    /// The question's.
    pub id: String,
    /// The rating, or why there is none.
    pub rating: std::result::Result<Rating, NoOpinion>,
    /// What was said.
    pub exchange: Exchange,
}

/// What a judge's ratings of a model come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ratings {
    /// Who judged.
    pub judge: String,
    /// Whose answers.
    pub model: String,
    /// Answers by their rating.
    pub counts: BTreeMap<Rating, usize>,
    /// Answers for which the judge gave no reply.
    pub failed: usize,
    /// Answers with a reply that holds no rating.
    pub unclear: usize,
    /// Questions that the model has not answered.
    pub unanswered: usize,
}

impl Ratings {
    /// Answers that have a rating.
    pub fn rated(&self) -> usize {
        self.counts.values().sum()
    }

    /// The percentage of these that are acceptable, A or B.
    pub fn acceptable(&self) -> Option<f64> {
        let good = self.count(Rating::A) + self.count(Rating::B);
        (self.rated() > 0).then(|| 100.0 * good as f64 / self.rated() as f64)
    }

    /// Answers with this rating.
    pub fn count(&self, rating: Rating) -> usize {
        self.counts.get(&rating).copied().unwrap_or(0)
    }
}

/// Has a judge rate every answer that there is; what `journal` knows is not asked again. `None` if it was stopped
/// before the end.
///
/// # Errors
/// If the journal cannot be used, or the judge can answer nothing more.
pub fn rate(
    judge: &Judge<'_>,
    journal: &mut Journal,
    contestant: &Contestant,
    statistics: &mut Statistics,
) -> Result<Option<Vec<Rated>>> {
    let there =
        contestant.answers.iter().filter_map(|answer| Some((answer, answer.text.as_deref()?)));
    let there: Vec<_> = there.collect();
    let asked = there.iter().map(|(answer, text)| Asked {
        key: format!("{}/{}", contestant.name, answer.id),
        system: SYSTEM,
        user: prompt(answer, text),
    });
    let read = |_, reply: &str| Rating::parse(reply);
    let heard = consult(judge, journal, asked.collect(), statistics, read)?;
    Ok(heard.map(|heard| {
        let rated = |((answer, _), Heard { exchange, found }): (&(&AnswerOf, _), _)| Rated {
            id: answer.id.clone(),
            rating: found,
            exchange,
        };
        there.iter().zip(heard).map(rated).collect()
    }))
}

/// What a judge's ratings of a model come to.
pub fn ratings(judge: &str, contestant: &Contestant, rated: &[Rated]) -> Ratings {
    let unanswered = contestant.answers.len() - rated.len();
    let (judge, model) = (judge.to_owned(), contestant.name.clone());
    let mut ratings = Ratings { judge, model, unanswered, ..Ratings::default() };
    for Rated { rating, .. } in rated {
        match rating {
            Ok(rating) => *ratings.counts.entry(*rating).or_default() += 1,
            Err(NoOpinion::Failed(_)) => ratings.failed += 1,
            Err(NoOpinion::Unclear) => ratings.unclear += 1,
        }
    }
    ratings
}

/// The ratings of two judges of the answers that have both, which are known by their questions' ids.
pub fn both_ratings(one: &[Rated], other: &[Rated]) -> Vec<(Rating, Rating)> {
    let others =
        other.iter().filter_map(|rated| Some((rated.id.as_str(), *rated.rating.as_ref().ok()?)));
    let others: HashMap<_, _> = others.collect();
    let both = one
        .iter()
        .filter_map(|rated| Some((*rated.rating.as_ref().ok()?, *others.get(rated.id.as_str())?)));
    both.collect()
}

const SYSTEM: &str =
    "You grade how well an assistant carries out instructions. You are strict and fair.";

fn prompt(answer: &AnswerOf, text: &str) -> String {
    let question = answer.question.as_deref().unwrap_or_default();
    let reference = answer
        .reference
        .as_ref()
        .map_or(String::new(), |reference| format!("[One acceptable answer]\n{reference}\n\n"));
    format!(
        "[Instruction]\n{question}\n\n{reference}[The assistant's answer]\n{text}\n\n\
         Grade the assistant's answer with one letter.\n\
         A: it is correct and satisfying.\n\
         B: it is acceptable, with minor errors or imperfections.\n\
         C: it takes up the instruction, but has significant errors.\n\
         D: it is irrelevant or invalid.\n\
         Give a short reason first, and the letter on a last line of its own, as in `Rating: B`."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_letter_by_itself_is_the_rating() {
        assert_eq!(Rating::parse("Rating: A"), Some(Rating::A));
        assert_eq!(Rating::parse("It could be A.\n**D**\n"), Some(Rating::D));
        assert_eq!(Rating::parse("a b c d"), None);
        assert!(Rating::A < Rating::D);
    }

    #[test]
    fn what_has_no_rating_is_counted_and_is_no_part_of_the_share() {
        let rated =
            |id: &str, rating| Rated { id: id.into(), rating, exchange: Exchange::default() };
        let one = [
            rated("1", Ok(Rating::A)),
            rated("2", Ok(Rating::B)),
            rated("3", Ok(Rating::D)),
            rated("4", Err(NoOpinion::Unclear)),
            rated("5", Err(NoOpinion::Failed("it is down".into()))),
        ];
        let answers = (0..6).map(|id| AnswerOf { id: id.to_string(), ..AnswerOf::default() });
        let contestant = Contestant { name: "m".into(), answers: answers.collect() };
        let found = ratings("j", &contestant, &one);
        assert_eq!((found.rated(), found.failed, found.unclear, found.unanswered), (3, 1, 1, 1));
        assert_eq!(found.acceptable(), Some(100.0 * 2.0 / 3.0));
        let other =
            [rated("3", Ok(Rating::C)), rated("1", Ok(Rating::A)), rated("4", Ok(Rating::A))];
        assert_eq!(both_ratings(&one, &other), [(Rating::A, Rating::A), (Rating::D, Rating::C)]);
    }

    #[test]
    fn a_judge_sees_the_instruction_and_an_answer_that_is_known_to_be_good() {
        let answer = AnswerOf {
            question: Some("Greet.".into()),
            reference: Some("Hello".into()),
            ..AnswerOf::default()
        };
        let text = prompt(&answer, "Hi");
        assert!(text.starts_with(
            "[Instruction]\nGreet.\n\n[One acceptable answer]\nHello\n\n[The assistant's answer]\nHi\n\n"
        ));
        assert!(
            !prompt(&AnswerOf { reference: None, ..answer }, "Hi").contains("acceptable answer")
        );
    }
}
