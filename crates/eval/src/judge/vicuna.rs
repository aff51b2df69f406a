//! The Vicuna questions: 80 in 9 categories, with answers and published reviews.
//!
//! - Layout: `question.jsonl`, a line `{question_id, text, category}` or, in FastChat's form, `{question_id, category,
//!   turns}`; answers, a line `{question_id, text}`; reviews, a line `{question_id, text, score: [a, b]}`.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::Pair;
use crate::folder::json_lines;
use crate::{Error, Result};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VicunaQuestion {
    /// Its number.
    pub id: u64,
    /// `generic`, `coding`, `math`, ….
    pub category: String,
    /// What is asked.
    pub text: String,
}

/// A published review of two answers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Review {
    /// The question's number.
    pub question_id: u64,
    /// What the judge said.
    pub text: String,
    /// The scores that were read from it.
    pub score: [f64; 2],
}

#[derive(Deserialize)]
struct QuestionLine {
    question_id: u64,
    category: String,
    text: Option<String>,
    #[serde(default)]
    turns: Vec<String>,
}

/// Reads the questions.
///
/// # Errors
/// If the file cannot be read, or a question has no text.
pub fn read_questions(path: &Path) -> Result<Vec<VicunaQuestion>> {
    let lines: Vec<QuestionLine> = json_lines(path)?;
    let question = |QuestionLine { question_id: id, category, text, turns }| {
        let text = text.or_else(|| turns.into_iter().next()).ok_or_else(|| {
            let message = format!("question {id} has neither `text` nor `turns`");
            Error::malformed(path.display(), message)
        })?;
        Ok(VicunaQuestion { id, category, text })
    };
    lines.into_iter().map(question).collect()
}

/// Reads published reviews.
///
/// # Errors
/// If the file cannot be read or is malformed.
pub fn read_reviews(path: &Path) -> Result<Vec<Review>> {
    json_lines(path)
}

/// Reads answers by the number of their question.
///
/// # Errors
/// If the file cannot be read, is malformed, or answers a question twice.
pub fn read_answers(path: &Path) -> Result<HashMap<u64, String>> {
    #[derive(Deserialize)]
    struct Line {
        question_id: u64,
        text: String,
    }
    let lines: Vec<Line> = json_lines::<Line>(path)?;
    let mut answers = HashMap::with_capacity(lines.len());
    for Line { question_id, text } in lines {
        if answers.insert(question_id, text).is_some() {
            let message = format!("question {question_id} is answered twice");
            return Err(Error::malformed(path.display(), message));
        }
    }
    Ok(answers)
}

/// The questions with the answers of two models.
///
/// # Errors
/// If one of them has not answered a question; `names` are how they are called then.
pub fn pairs(
    questions: &[VicunaQuestion],
    answers: [&HashMap<u64, String>; 2],
    names: [&str; 2],
) -> Result<Vec<Pair>> {
    let pair = |question: &VicunaQuestion| {
        let answer = |model: usize| {
            answers[model].get(&question.id).cloned().ok_or_else(|| {
                Error::malformed(names[model], format!("question {} has no answer", question.id))
            })
        };
        Ok(Pair {
            id: question.id.to_string(),
            category: question.category.clone(),
            question: question.text.clone(),
            reference: None,
            answers: [answer(0)?, answer(1)?],
        })
    };
    questions.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn both_forms_of_a_question_are_read() {
        let lines = r#"{"question_id": 3, "text": "Why?", "category": "generic"}
{"question_id": 4, "category": "math", "turns": ["2 + 2?", "And 3?"]}"#;
        let questions = read_questions(file(lines).path()).unwrap();
        assert_eq!([&*questions[0].text, &*questions[1].text], ["Why?", "2 + 2?"]);
        let [one, two] =
            [[(3, "So.".to_owned()), (4, "4".to_owned())].into(), [(3, "Yes".to_owned())].into()];
        let error =
            pairs(&questions, [&one, &two], ["a.jsonl", "b.jsonl"]).unwrap_err().to_string();
        assert_eq!(error, "b.jsonl: question 4 has no answer");
        let pairs = pairs(&questions[..1], [&one, &two], ["a", "b"]).unwrap();
        assert_eq!(
            (&*pairs[0].id, &pairs[0].answers),
            ("3", &["So.".to_owned(), "Yes".to_owned()])
        );
    }

    #[test]
    fn an_answer_that_stands_twice_is_refused() {
        let line = r#"{"question_id": 3, "text": "So."}"#;
        let error =
            read_answers(file(&format!("{line}\n{line}\n")).path()).unwrap_err().to_string();
        assert!(error.ends_with("question 3 is answered twice"), "{error}");
    }
}
