//! The 252 user-oriented tasks of Self-Instruct, by ROUGE-L.
//!
//! - Layout: `user_oriented_instructions.jsonl`, a line `{id, motivation_app, instruction, instances: [{input,
//!   output}]}`. The category is the application that a task was thought of for.
//! - Asked, as published: the instruction; below a blank line `Input: ` and the input, where there is one;
//!   `Output:` on a line of its own.
//! - Score: the F of ROUGE-L over stems; the published study has people rate the answers instead, by
//!   four letters: [`rate`](crate::rate) asks a judge for them.
//!
//! The authors ask that these tasks never be trained on.

use std::path::Path;

use albacore_data::Decoding;
use serde::Deserialize;

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
                texts: vec![instruction.to_owned(), input.to_owned()],
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
}
