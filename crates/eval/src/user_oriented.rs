//! The 252 user-oriented tasks of Self-Instruct: ROUGE-L, and ratings from A to D by a judge.
//!
//! - Layout: `user_oriented_instructions.jsonl`, a line `{id, motivation_app, instruction, instances: [{input,
//!   output}]}`. The category is the application that a task was thought of for.
//! - Asked, as published: the instruction; below a blank line `Input: ` and the input, where there is one;
//!   `Output:` on a line of its own.
//! - Score: the F of ROUGE-L over stems; the published study has people rate the answers instead, by
//!   four letters. A judge is asked for one of these letters.
//!
//! The authors ask that these tasks never be trained on.

use std::path::Path;

use albacore_data::{Decoding, Journal, LanguageModel, NoCompletion};
use serde::Deserialize;

use crate::consult::{consult, question};
use crate::folder::{Home, json_lines};
use crate::{Error, Example, Question, Result, Scores, Task, text_scores};

const HOME: Home = Home {
    suite: "user_oriented",
    places: &["user_oriented", "self-instruct", "self-instruct/human_eval", "human_eval", ""],
    origin: "https://github.com/yizhongw/self-instruct, folder `human_eval` (Apache-2.0; not for training)",
};

const FILE: &str = "user_oriented_instructions.jsonl";

/// The suite.
#[derive(Debug)]
pub struct UserOriented {
    examples: Vec<Example>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    motivation_app: String,
    instruction: String,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    input: String,
    output: String,
}

impl UserOriented {
    /// Reads it.
    ///
    /// # Errors
    /// If the file is missing or malformed, or a task has no instance.
    pub fn open(data: &Path) -> Result<Self> {
        let folder = HOME.find(data, FILE, |name| name == FILE)?;
        let path = folder.join(FILE);
        let mut examples = Vec::new();
        for Line { id, motivation_app, instruction, instances } in json_lines(&path)? {
            let Some(Instance { input, output }) = instances.into_iter().next() else {
                let message = format!("`{id}` has no instance, wanted one with input and output");
                return Err(Error::malformed(path.display(), message));
            };
            let (instruction, input) = (instruction.trim(), input.trim());
            examples.push(Example {
                id,
                task: "user_oriented".to_owned(),
                category: motivation_app,
                question: Question::plain(asked(instruction, input)),
                references: vec![output],
            });
        }
        Ok(Self { examples })
    }
}

fn asked(instruction: &str, input: &str) -> String {
    match input {
        "" => format!("{instruction}\nOutput:"),
        input => format!("{instruction}\n\nInput: {input}\nOutput:"),
    }
}

impl Task for UserOriented {
    fn name(&self) -> &'static str {
        "user_oriented"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// As published: the most probable tokens, up to 1,024 of them.
    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 1024, ..Decoding::default() }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        text_scores(extracted, &self.examples[example].references)
    }

    fn headline(&self, _: &str) -> &'static str {
        "rouge_l"
    }
}

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    fn letter(self) -> &'static str {
        ["A", "B", "C", "D"][self as usize]
    }
}

/// What a judge says of one answer: a rating, a reply that holds none, or no reply at all.
pub type Rated = std::result::Result<Option<Rating>, NoCompletion>;

/// Has a judge rate one answer to each example; what `journal` knows is not asked again.
///
/// # Errors
/// If the journal cannot be used, or has other answers rated.
pub fn rate(
    judge: &dyn LanguageModel,
    journal: &mut Journal,
    answered: &[(&Example, &str)],
) -> Result<Vec<Rated>> {
    let request = |(example, answer): &(&Example, &str)| {
        (example.id.clone(), question(SYSTEM, rating_prompt(example, answer)))
    };
    let replies = consult(judge, journal, answered.iter().map(request).collect())?;
    Ok(replies.into_iter().map(|reply| Ok(Rating::parse(&reply?.text))).collect())
}

const SYSTEM: &str =
    "You grade how well an assistant carries out instructions. You are strict and fair.";

fn rating_prompt(example: &Example, answer: &str) -> String {
    let question = example.question.text(0);
    let reference = example.references.first().map_or("", String::as_str);
    format!(
        "[Instruction]\n{question}\n\n[One acceptable answer]\n{reference}\n\n[The assistant's \
         answer]\n{answer}\n\n\
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
    use std::fs;

    use super::*;

    const LINES: &str = r#"{"id": "u0", "motivation_app": "Mail", "instruction": "Answer politely.", "instances": [{"input": "Come at 5?", "output": "Gladly."}]}
{"id": "u1", "motivation_app": "Mail", "instruction": "Write a haiku ", "instances": [{"input": "", "output": "Old pond"}]}
"#;

    #[test]
    fn the_input_stands_below_the_instruction_where_there_is_one() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(FILE), LINES).unwrap();
        let suite = UserOriented::open(data.path()).unwrap();
        let prompts = suite.examples().iter().map(|example| example.question.text(0));
        let prompts: Vec<_> = prompts.collect();
        assert_eq!(
            prompts,
            ["Answer politely.\n\nInput: Come at 5?\nOutput:", "Write a haiku\nOutput:"]
        );
        assert_eq!(suite.score(1, "the old pond")["rouge_l"], 0.8);
        fs::write(
            data.path().join(FILE),
            LINES.replace("[{\"input\": \"\", \"output\": \"Old pond\"}]", "[]"),
        )
        .unwrap();
        let error = UserOriented::open(data.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("`u1` has no instance, wanted one with input and output"),
            "{error}"
        );
    }

    #[test]
    fn the_last_letter_by_itself_is_the_rating() {
        assert_eq!(Rating::parse("Rating: A"), Some(Rating::A));
        assert_eq!(Rating::parse("It could be A.\n**D**\n"), Some(Rating::D));
        assert_eq!(Rating::parse("a b c d"), None);
        assert!(Rating::A < Rating::D);
    }
}
