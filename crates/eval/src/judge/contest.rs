//! Who is compared with whom, and what came of it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::contestants::shortened;
use super::{AnswerOf, Contestant, Judgement, Pair, Totals, VicunaQuestion, totals};
use crate::{Error, Result};

/// Two models, and the questions that both have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// One model.
    pub first: String,
    /// The other.
    pub second: String,
    /// What is judged.
    pub pairs: Vec<Pair>,
    /// Questions that the first, or the second, has not answered: they are not judged.
    pub unanswered: [usize; 2],
}

/// What a judge made of a contest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contested {
    /// Who judged.
    pub judge: String,
    /// One model.
    pub first: String,
    /// The other.
    pub second: String,
    /// Of all pairs.
    pub all: Totals,
    /// Of each category.
    pub categories: BTreeMap<String, Totals>,
    /// Questions that the first, or the second, has not answered.
    pub unanswered: [usize; 2],
}

/// Every two of the contestants on the same questions: those of `questions`, or those that the first has answered, as
/// anyone's answers tell them. Of each category the first `limit` are taken.
///
/// # Errors
/// If there are fewer than two, two have one name, what was asked is not known, a question has no answer of
/// someone, or two were asked different questions under one id.
pub fn contests(
    contestants: &[Contestant],
    questions: Option<&[VicunaQuestion]>,
    limit: Option<usize>,
) -> Result<Vec<Contest>> {
    if contestants.len() < 2 {
        return Err(Error::Judging {
            message: "there are answers of one model, wanted at least two to compare".into(),
            hint: "name a second file of answers".into(),
        });
    }
    for (number, contestant) in contestants.iter().enumerate() {
        if contestants[..number].iter().any(|other| other.name == contestant.name) {
            return Err(Error::Judging {
                message: format!("two files hold answers of `{}`", contestant.name),
                hint: "name files of different models".into(),
            });
        }
    }
    let answers: Vec<_> = contestants.iter().map(by_id).collect();
    let asked = match questions {
        Some(questions) => questions.iter().map(Asked::of_file).collect(),
        None => Asked::of_answers(contestants, &answers)?,
    };
    let asked = first_of_each(asked, limit);
    for (contestant, answers) in contestants.iter().zip(&answers) {
        let missing = asked.iter().filter(|asked| !answers.contains_key(asked.id.as_str()));
        let missing: Vec<_> = missing.map(|asked| asked.id.as_str()).collect();
        if let Some(first) = missing.first() {
            let more = match missing.len() {
                1 => String::new(),
                count => format!(" and {} more", count - 1),
            };
            return Err(Error::Judging {
                message: format!(
                    "`{}` has no answer to question `{}`{more}",
                    contestant.name,
                    shortened(first)
                ),
                hint: "judge answers to the same questions; `--questions` names those that count"
                    .into(),
            });
        }
    }
    asked.iter().try_for_each(|asked| same_question(&asked.id, contestants, &answers))?;
    let places =
        (0..contestants.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    let contest = |(first, second): (usize, usize)| {
        let mut contest = Contest {
            first: contestants[first].name.clone(),
            second: contestants[second].name.clone(),
            pairs: Vec::new(),
            unanswered: [0; 2],
        };
        for asked in &asked {
            let both = [first, second].map(|of| answers[of][asked.id.as_str()].text.clone());
            for (count, text) in contest.unanswered.iter_mut().zip(&both) {
                *count += usize::from(text.is_none());
            }
            let [Some(one), Some(other)] = both else { continue };
            contest.pairs.push(asked.pair([one, other]));
        }
        contest
    };
    Ok(places.map(contest).collect())
}

/// A question, wherever it is written.
struct Asked {
    id: String,
    category: String,
    question: String,
    reference: Option<String>,
}

impl Asked {
    fn of_file(VicunaQuestion { id, category, text, reference }: &VicunaQuestion) -> Self {
        let (category, question) = (category.clone(), text.clone());
        Self { id: id.to_string(), category, question, reference: reference.clone() }
    }

    /// The questions of the first; what each says, anyone's answer may tell.
    fn of_answers(contestants: &[Contestant], answers: &[ById<'_>]) -> Result<Vec<Self>> {
        let first = &contestants[0];
        let asked = |AnswerOf { id, category, .. }: &AnswerOf| {
            let mut all = answers.iter().filter_map(|answers| answers.get(id.as_str()));
            let told = all.clone().find_map(|answer| answer.question.clone());
            let question = told.ok_or_else(|| Error::Judging {
                message: format!("the answers of `{}` do not tell what was asked", first.name),
                hint: "`--questions` names the file of the questions".into(),
            })?;
            let reference = all.find_map(|answer| answer.reference.clone());
            Ok(Self { id: id.clone(), category: category.clone(), question, reference })
        };
        first.answers.iter().map(asked).collect()
    }

    fn pair(&self, answers: [String; 2]) -> Pair {
        let Self { id, category, question, reference } = self;
        let (id, category) = (id.clone(), category.clone());
        Pair { id, category, question: question.clone(), reference: reference.clone(), answers }
    }
}

fn first_of_each(mut asked: Vec<Asked>, limit: Option<usize>) -> Vec<Asked> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    asked.retain(|asked| {
        let count = counts.entry(asked.category.clone()).or_default();
        *count += 1;
        limit.is_none_or(|limit| *count <= limit)
    });
    asked
}

/// A contestant's answers.
type ById<'c> = HashMap<&'c str, &'c AnswerOf>;

fn by_id(contestant: &Contestant) -> ById<'_> {
    contestant.answers.iter().map(|answer| (answer.id.as_str(), answer)).collect()
}

/// What all who tell it were asked under an id is one question.
fn same_question(id: &str, contestants: &[Contestant], answers: &[ById<'_>]) -> Result<()> {
    let told = contestants.iter().zip(answers);
    let mut told = told.filter_map(|(of, answers)| Some((of, answers[id].question.as_deref()?)));
    let Some((first, question)) = told.next() else { return Ok(()) };
    match told.find(|(_, other)| other.trim() != question.trim()) {
        None => Ok(()),
        Some((other, _)) => Err(Error::Judging {
            message: format!(
                "question `{}` of `{}` is not the one of `{}`",
                shortened(id),
                other.name,
                first.name
            ),
            hint: "judge answers to the same questions, asked from the same files".into(),
        }),
    }
}

/// The totals of a contest, as this judge sees it.
pub fn contest(judge: &str, contest: &Contest, judgements: &[Judgement]) -> Contested {
    let (all, categories) = totals(judgements);
    let Contest { first, second, unanswered, .. } = contest.clone();
    Contested { judge: judge.to_owned(), first, second, all, categories, unanswered }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contestant(name: &str, answers: &[(&str, Option<&str>)]) -> Contestant {
        let answer = |(id, text): &(&str, Option<&str>)| AnswerOf {
            id: (*id).into(),
            category: "c".into(),
            question: Some(format!("{id}?")),
            reference: None,
            text: text.map(str::to_owned),
        };
        Contestant { name: name.into(), answers: answers.iter().map(answer).collect() }
    }

    #[test]
    fn every_two_meet_on_the_questions_that_both_have_answered() {
        let three = [
            contestant("a", &[("1", Some("x")), ("2", Some("y"))]),
            contestant("b", &[("2", None), ("1", Some("z"))]),
            contestant("c", &[("1", Some("u")), ("2", Some("v"))]),
        ];
        let found = contests(&three, None, None).unwrap();
        let names: Vec<_> = found.iter().map(|one| (&*one.first, &*one.second)).collect();
        assert_eq!(names, [("a", "b"), ("a", "c"), ("b", "c")]);
        assert_eq!((found[0].pairs.len(), found[0].unanswered), (1, [0, 1]));
        assert_eq!((found[1].pairs.len(), found[2].unanswered), (2, [1, 0]));
        assert_eq!(found[0].pairs[0].question, "1?");
        assert_eq!(contests(&three, None, Some(1)).unwrap()[1].pairs.len(), 1);
        let question = VicunaQuestion {
            id: 2,
            category: "math".into(),
            text: "What?".into(),
            reference: Some("4".into()),
        };
        let found = contests(&three, Some(&[question]), None).unwrap();
        let pair = &found[1].pairs[0];
        assert_eq!((&*pair.question, pair.reference.as_deref()), ("What?", Some("4")));
    }

    #[test]
    fn contestants_that_cannot_meet_are_refused() {
        let told =
            |contestants: &[Contestant]| contests(contestants, None, None).unwrap_err().to_string();
        let one = contestant("a", &[("1", Some("x")), ("2", Some("x"))]);
        assert_eq!(
            told(std::slice::from_ref(&one)),
            "there are answers of one model, wanted at least two to compare"
        );
        assert_eq!(told(&[one.clone(), one.clone()]), "two files hold answers of `a`");
        let other = contestant("b", &[("3", Some("x"))]);
        assert_eq!(told(&[one.clone(), other]), "`b` has no answer to question `1` and 1 more");
        let mut silent = one.clone();
        silent.answers[0].question = None;
        assert_eq!(
            told(&[silent, contestant("b", &[])]),
            "the answers of `a` do not tell what was asked"
        );
        let mut other = contestant("b", &[("1", Some("x")), ("2", Some("x"))]);
        other.answers[1].question = Some("Another?".into());
        assert_eq!(told(&[one, other]), "question `2` of `b` is not the one of `a`");
    }

    #[test]
    fn what_was_asked_is_known_if_anyone_tells_it() {
        let mut silent = contestant("a", &[("1", None), ("2", Some("y"))]);
        silent.answers.iter_mut().for_each(|answer| answer.question = None);
        let mut other = contestant("b", &[("1", Some("z")), ("2", Some("u"))]);
        other.answers[1].reference = Some("v".into());
        let found = contests(&[silent, other], None, None).unwrap();
        let Pair { id, question, reference, .. } = &found[0].pairs[0];
        assert_eq!((&**id, &**question, reference.as_deref()), ("2", "2?", Some("v")));
        assert_eq!((found[0].pairs.len(), found[0].unanswered), (1, [1, 0]));
    }
}
