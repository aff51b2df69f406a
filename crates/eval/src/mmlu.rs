//! MMLU: 57 subjects in 4 groups, four answers to choose from.
//!
//! - Layout: `test/SUBJECT_test.csv`, rows of question, four answers and the right letter; exemplars in
//!   `dev/SUBJECT_dev.csv` alike. Where there is no `dev`, in the tasks of Super-NaturalInstructions made of
//!   it (`sni_form/task…_SUBJECT.json`), else in `mmlu-cot.json`.
//! - Direct (`mmlu`): a line that names the subject, behind a double blank; five exemplars with `A. ` to `D. `
//!   and `Answer: X`; of A to D the most probable next token is the answer. At most 2,048 tokens: exemplars
//!   are dropped from the end.
//! - Reasoned (`mmlu_cot`): the prompts of `mmlu-cot.json`, of which three subjects have four exemplars; the
//!   answer is extracted as Flan does.
//! - Score: the letter. The suite's number is the mean of all questions, as the benchmark's own script has it.

mod exemplars;
mod subjects;

use std::path::Path;

use albacore_data::Decoding;

use crate::chain_of_thought::reasoned_answer;
use crate::folder::{Home, stems};
use crate::{Example, Question, Result, Scores, SuiteOptions, Task};

use exemplars::{Source, read_questions};
use subjects::group;

const HOME: Home = Home {
    suite: "mmlu",
    places: &["mmlu/test", "test", "data/test", "mmlu/data/test", ""],
    origin: "https://github.com/hendrycks/test (MIT)",
};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// The suite.
#[derive(Debug)]
pub struct Mmlu {
    examples: Vec<Example>,
    reasons: bool,
}

/// A question with its four answers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    question: String,
    answers: [String; 4],
    right: String,
}

impl Choice {
    /// As the benchmark's script asks it, up to where the letter comes.
    fn direct(&self) -> String {
        let answers = LETTERS.iter().zip(&self.answers);
        let lines = answers.map(|(letter, answer)| format!("\n{letter}. {answer}"));
        format!("{}{}\nAnswer:", self.question, lines.collect::<String>())
    }

    /// As the prompts that reason ask it.
    fn reasoned(&self) -> String {
        let answers = LETTERS.iter().zip(&self.answers);
        let answers: Vec<_> =
            answers.map(|(letter, answer)| format!("({letter}) {answer}")).collect();
        format!("Q: {}\n{}\nA: Let's think step by step.", self.question, answers.join(" "))
    }
}

impl Mmlu {
    /// Reads it.
    ///
    /// # Errors
    /// If files are missing or malformed.
    pub fn open(data: &Path, options: &SuiteOptions, reasons: bool) -> Result<Self> {
        let is_test = |name: &str| name.ends_with("_test.csv");
        let folder = HOME.find(data, "SUBJECT_test.csv", is_test)?;
        let subjects = options.chosen("mmlu", &folder, stems(&folder, "_test.csv"))?;
        let shots = options.shots.unwrap_or(5);
        let beside = folder.join("..");
        let source = match shots {
            0 => None,
            _ => Some(Source::find(&beside, reasons)?.ok_or_else(|| {
                let wanted = if reasons { "mmlu-cot.json" } else { "dev/SUBJECT_dev.csv" };
                HOME.missing(data, &beside, wanted)
            })?),
        };
        let mut examples = Vec::new();
        for subject in subjects {
            let path = folder.join(format!("{subject}_test.csv"));
            let mut head = Question { head: header(&subject, reasons), ..Question::default() };
            if let Some(source) = &source {
                let own = source.head(&subject).filter(|_| reasons);
                head.head = own.unwrap_or(head.head);
                head.shots = source.exemplars(&subject, shots, reasons)?.into();
            }
            if !reasons {
                head.options = LETTERS.iter().map(|letter| format!(" {letter}")).collect();
            }
            for (index, choice) in read_questions(&path)?.into_iter().enumerate() {
                let mut question = head.clone();
                question.tail = if reasons { choice.reasoned() } else { choice.direct() };
                examples.push(Example {
                    id: format!("{subject}/{index}"),
                    task: subject.clone(),
                    category: group(&subject).into(),
                    question,
                    texts: std::iter::once(choice.question).chain(choice.answers).collect(),
                    references: vec![choice.right],
                });
            }
        }
        Ok(Self { examples, reasons })
    }
}

/// The first lines of every prompt. The benchmark's script puts a blank before every word of the subject, and
/// one more before all of them; the prompts that reason do not.
fn header(subject: &str, reasons: bool) -> String {
    let blank = if reasons { "" } else { " " };
    let subject = subject.replace('_', " ");
    format!(
        "The following are multiple choice questions (with answers) about {blank}{subject}.\n\n"
    )
}

impl Task for Mmlu {
    fn name(&self) -> &'static str {
        if self.reasons { "mmlu_cot" } else { "mmlu" }
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        let max_tokens = if self.reasons { 384 } else { 16 };
        Decoding { max_tokens, stop: vec!["\n\n".into(), "Q:".into()], ..Decoding::default() }
    }

    fn extract(&self, _: usize, answer: &str) -> String {
        if self.reasons {
            return reasoned_answer(answer);
        }
        // A prediction made elsewhere may say a little more than the letter.
        let answer = answer.trim().trim_start_matches('(');
        let mut characters = answer.chars();
        match (characters.next(), characters.next()) {
            (Some(letter), next) if next.is_none_or(|next| !next.is_alphanumeric()) => {
                letter.to_string()
            }
            _ => answer.to_owned(),
        }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let right = extracted == self.examples[example].references[0];
        Scores::from([("accuracy", f64::from(right))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "accuracy"
    }

    fn most_prompt_tokens(&self) -> Option<usize> {
        Some(2048)
    }

    fn reasons(&self) -> bool {
        self.reasons
    }
}

#[cfg(test)]
mod tests;
