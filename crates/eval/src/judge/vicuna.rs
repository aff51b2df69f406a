//! The Vicuna questions, 80 in 9 categories, and published reviews of answers to them.
//!
//! - Layout: `question.jsonl`, a line `{question_id, text, category}` or, in FastChat's form, `{question_id, category,
//!   turns}` with answers in `reference` for some; reviews, a line `{question_id, text, score: [a, b]}`.

use std::collections::HashSet;
use std::path::Path;

use serde::Deserialize;

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
    /// The right answer, where there is one.
    pub reference: Option<String>,
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
    #[serde(default)]
    reference: Vec<String>,
}

/// Reads the questions.
///
/// # Errors
/// If the file cannot be read, a question has no text, or stands there twice.
pub fn read_questions(path: &Path) -> Result<Vec<VicunaQuestion>> {
    let lines: Vec<QuestionLine> = json_lines(path)?;
    let mut seen = HashSet::new();
    let question = |QuestionLine { question_id: id, category, text, turns, reference }| {
        if !seen.insert(id) {
            let message = format!("question {id} stands there twice");
            return Err(Error::malformed(path.display(), message));
        }
        let text = text.or_else(|| turns.into_iter().next()).ok_or_else(|| {
            let message = format!("question {id} has neither `text` nor `turns`");
            Error::malformed(path.display(), message)
        })?;
        Ok(VicunaQuestion { id, category, text, reference: reference.into_iter().next() })
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
        assert_eq!([questions[0].id, questions[1].id], [3, 4]);
        let twice = read_questions(file(&format!("{lines}\n{lines}")).path()).unwrap_err();
        assert!(twice.to_string().ends_with("question 3 stands there twice"), "{twice}");
        let bare = file("{\"question_id\": 5, \"category\": \"math\"}\n");
        let bare = read_questions(bare.path()).unwrap_err().to_string();
        assert!(bare.ends_with("question 5 has neither `text` nor `turns`"), "{bare}");
    }
}
