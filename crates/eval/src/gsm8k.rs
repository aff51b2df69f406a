//! GSM8K: 1,319 grade school problems, reasoned out, eight exemplars.
//!
//! - Layout: `test.jsonl` and `train.jsonl`, lines `{question, answer}`; an answer ends with `#### 18`.
//! - Prompt: the first eight problems of `train.jsonl`, `Question: …\nAnswer: …`, blank lines between.
//! - What counts: the number behind the last `#### `, or the last `A: ` where that does not occur, its commas
//!   cut; else the last number of the text. It must be equal to the answer's to the letter.
//!
//! These rules agree with what is stored as right and wrong beside 4 x 1,319 published solutions.

use std::path::Path;
use std::sync::Arc;

use albacore_data::Decoding;
use serde::Deserialize;

use crate::chain_of_thought::{last_number, number_behind};
use crate::folder::{Home, json_lines};
use crate::{Error, Example, Question, Result, Scores, SuiteOptions, Task};

const HOME: Home = Home {
    suite: "gsm8k",
    places: &["gsm8k", "grade_school_math/data", "grade-school-math/grade_school_math/data", ""],
    origin: "https://github.com/openai/grade-school-math (MIT)",
};

/// The suite.
#[derive(Debug)]
pub struct Gsm8k {
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Problem {
    question: String,
    answer: String,
}

impl Gsm8k {
    /// Reads it.
    ///
    /// # Errors
    /// If files are missing or malformed.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let folder = HOME.find(data, "test.jsonl", |name| name == "test.jsonl")?;
        options.chosen("gsm8k", &folder, vec!["gsm8k".into()])?;
        let shots = match options.shots.unwrap_or(8) {
            0 => Arc::default(),
            _ if !folder.join("train.jsonl").is_file() => {
                return Err(HOME.missing(data, &folder, "train.jsonl"));
            }
            shots => {
                let problems: Vec<Problem> = json_lines(&folder.join("train.jsonl"))?;
                let shot = |problem: &Problem| {
                    format!("Question: {}\nAnswer: {}\n\n", problem.question, problem.answer)
                };
                problems.iter().take(shots).map(shot).collect::<Arc<[_]>>()
            }
        };
        let path = folder.join("test.jsonl");
        let problems: Vec<Problem> = json_lines(&path)?;
        let examples = problems.into_iter().enumerate().map(|(index, problem)| {
            let Some(number) = number_behind(&problem.answer, "#### ") else {
                let place = format!("{}:{}", path.display(), index + 1);
                return Err(Error::malformed(
                    place,
                    "the answer has no `#### ` with a number behind it",
                ));
            };
            Ok(Example {
                id: index.to_string(),
                task: "gsm8k".into(),
                question: Question {
                    shots: shots.clone(),
                    tail: format!("Question: {}\nAnswer:", problem.question),
                    ..Question::default()
                },
                texts: vec![problem.question, problem.answer],
                references: vec![number],
                ..Example::default()
            })
        });
        Ok(Self { examples: examples.collect::<Result<_>>()? })
    }
}

impl Task for Gsm8k {
    fn name(&self) -> &'static str {
        "gsm8k"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        let stop = vec!["\n\n".into(), "Question:".into()];
        Decoding { max_tokens: 320, stop, ..Decoding::default() }
    }

    fn extract(&self, _: usize, answer: &str) -> String {
        // `A: ` begins a line; inside one it is text.
        let lines = format!("\n{answer}");
        let marker = ["#### ", "\nA: "].into_iter().find(|marker| lines.contains(marker));
        match marker {
            Some(marker) => number_behind(&lines, marker),
            None => last_number(answer),
        }
        .unwrap_or_default()
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let right = extracted == self.examples[example].references[0];
        Scores::from([("accuracy", f64::from(right))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "accuracy"
    }

    fn reasons(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(shots: usize) -> Gsm8k {
        let folder = tempfile::tempdir().unwrap();
        let line = |number: usize| {
            format!(
                "{{\"question\": \"{number} and 1,000?\", \"answer\": \"So.\\n#### 1,00{number}\"}}\n"
            )
        };
        fs::write(folder.path().join("test.jsonl"), line(3) + &line(4)).unwrap();
        fs::write(folder.path().join("train.jsonl"), line(1) + &line(2)).unwrap();
        let options = SuiteOptions { shots: Some(shots), ..SuiteOptions::default() };
        Gsm8k::open(folder.path(), &options).unwrap()
    }

    #[test]
    fn exemplars_are_the_first_of_the_training_problems() {
        let text = open(1).examples()[1].question.text(9);
        let wanted =
            "Question: 1 and 1,000?\nAnswer: So.\n#### 1,001\n\nQuestion: 4 and 1,000?\nAnswer:";
        assert_eq!(text, wanted);
        assert_eq!(open(0).examples()[0].question.text(0), "Question: 3 and 1,000?\nAnswer:");
    }

    #[test]
    fn the_number_behind_the_marker_counts() {
        let suite = open(0);
        let right = |answer| suite.score(0, &suite.extract(0, answer))["accuracy"] == 1.0;
        assert!(right("Of group A: 3 go. The answer is 1003.") && right("So:\nA: 1003"));
        assert!(right("1 + 2\n#### 1003") && right("A: 1,003") && right("It makes 1,003."));
        assert!(
            !right("#### 1003.") && !right("1003\n#### 1004") && !right("") && !right("A: none")
        );
    }
}
