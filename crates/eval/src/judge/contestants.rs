//! Answers that are to be judged, whoever wrote them down.
//!
//! | file | fields |
//! | --- | --- |
//! | `answers.jsonl` of `albacore eval` | `model, suite, task, id, question, answer, references`, several models in one file |
//! | of the Vicuna questions | `question_id, text`, `model_id` |
//! | of FastChat | `question_id, choices: [{turns}]`, `model_id`: the first turn is taken |
//! | outputs of AlpacaEval, a JSON array | `instruction, output, dataset, generator`: the instruction is the id |
//! | predictions | `id, prediction` |

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::folder::{json, json_lines, read};
use crate::{Error, Result};

/// Whose answers are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contestant {
    /// Its name.
    pub name: String,
    /// Its answers, in the order of the file.
    pub answers: Vec<AnswerOf>,
}

/// One of them, with what the file tells of its question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerOf {
    /// The question's; the instruction itself where it has no other.
    pub id: String,
    /// What it is counted under, where that is known.
    pub category: String,
    /// What was asked, where that is known.
    pub question: Option<String>,
    /// A right answer, where one is known.
    pub reference: Option<String>,
    /// The answer; `None` where the model gave none.
    pub text: Option<String>,
}

/// A line of any of these files.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Line {
    model: Option<String>,
    suite: Option<String>,
    task: String,
    id: Option<Value>,
    question: Option<String>,
    answer: Option<String>,
    extracted: Option<String>,
    references: Vec<String>,
    unanswered: Option<String>,
    question_id: Option<Value>,
    text: Option<String>,
    choices: Vec<Choice>,
    model_id: Option<String>,
    instruction: Option<String>,
    output: Option<String>,
    dataset: String,
    generator: Option<String>,
    prediction: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Choice {
    turns: Vec<String>,
}

impl Line {
    /// The answer, and whose it is where the line says so.
    fn answer(self) -> Option<(Option<String>, AnswerOf)> {
        let id = |id: &Value| match id {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
        if let Some(suite) = self.suite {
            // Vicuna's questions have numbers of their own; elsewhere tasks may share ids.
            let id = id(self.id.as_ref()?)?;
            let id = if suite == "vicuna" { id } else { format!("{suite}/{}/{id}", self.task) };
            let text = self.answer.or(self.extracted);
            if text.is_none() && self.unanswered.is_none() {
                return None;
            }
            let reference = self.references.into_iter().next();
            let answer =
                AnswerOf { id, category: self.task, question: self.question, reference, text };
            return Some((self.model, answer));
        }
        if let Some(of) = &self.question_id {
            let turn = || self.choices.into_iter().next()?.turns.into_iter().next();
            let text = Some(self.text.or_else(turn)?);
            return Some((self.model_id, AnswerOf { id: id(of)?, text, ..AnswerOf::default() }));
        }
        if let (Some(question), Some(output)) = (self.instruction, self.output) {
            let answer = AnswerOf {
                // Files hold these in any order, and not always all of them.
                id: question.clone(),
                category: self.dataset,
                question: Some(question),
                reference: None,
                text: Some(output),
            };
            return Some((self.generator, answer));
        }
        let text = Some(self.prediction?);
        Some((None, AnswerOf { id: id(self.id.as_ref()?)?, text, ..AnswerOf::default() }))
    }
}

/// Reads the answers in a file, or in the folder of an evaluation: those of one model, or of several. `suite`
/// leaves out the answers to other suites.
///
/// # Errors
/// If the file cannot be read, a line is no answer, or a question is answered twice.
pub fn read_contestants(path: &Path, suite: Option<&str>) -> Result<Vec<Contestant>> {
    let file = if path.is_dir() { path.join("answers.jsonl") } else { path.to_owned() };
    let path = file.as_path();
    let lines: Vec<Line> =
        if read(path)?.trim_start().starts_with('[') { json(path)? } else { json_lines(path)? };
    let mut found: Vec<Contestant> = Vec::new();
    for (number, line) in lines.into_iter().enumerate() {
        if suite.is_some_and(|suite| line.suite.as_deref().is_some_and(|of| of != suite)) {
            continue;
        }
        let (name, answer) = line.answer().ok_or_else(|| {
            let wanted = "wanted a line of an evaluation's `answers.jsonl`, {question_id, text}, {instruction, output} \
                          or {id, prediction}";
            Error::malformed(path.display(), format!("record {} is no answer, {wanted}", number + 1))
        })?;
        let name = name.unwrap_or_else(|| path.display().to_string());
        match found.iter_mut().find(|of| of.name == name) {
            Some(contestant) => contestant.answers.push(answer),
            None => found.push(Contestant { name, answers: vec![answer] }),
        }
    }
    for contestant in &found {
        let mut seen = std::collections::HashSet::new();
        let twice = contestant.answers.iter().find(|answer| !seen.insert(&answer.id));
        if let Some(AnswerOf { id, .. }) = twice {
            let message =
                format!("`{}` answers question `{}` twice", contestant.name, shortened(id));
            return Err(Error::malformed(path.display(), message));
        }
    }
    if found.is_empty() {
        let of = suite.map(|suite| format!(" to `{suite}`")).unwrap_or_default();
        return Err(Error::malformed(path.display(), format!("there are no answers{of}")));
    }
    Ok(found)
}

/// A question's id as an error tells it: it may be a whole instruction.
pub(super) fn shortened(id: &str) -> String {
    let line = id.lines().next().unwrap_or_default();
    let short: String = line.chars().take(60).collect();
    if short.len() < id.len() { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str, suite: Option<&str>) -> Result<Vec<Contestant>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read_contestants(file.path(), suite)
    }

    #[test]
    fn every_kind_of_file_is_read() {
        let run = r#"{"model": "a", "suite": "vicuna", "task": "math", "id": "7", "question": "1 + 1?", "prompt": "0 + 1 = 1\n1 + 1?", "answer": "2", "references": []}
{"model": "b", "suite": "vicuna", "task": "math", "id": "7", "question": "1 + 1?", "references": [], "prompt": "1 + 1?", "unanswered": "it is down"}
{"model": "b", "suite": "mmlu", "task": "anatomy", "id": "0", "question": "?", "answer": " A", "references": ["A"]}
"#;
        let found = read(run, None).unwrap();
        assert_eq!([&*found[0].name, &*found[1].name], ["a", "b"]);
        let one = &found[0].answers[0];
        assert_eq!(
            (&*one.id, &*one.category, one.question.as_deref()),
            ("7", "math", Some("1 + 1?"))
        );
        let missing = &found[1].answers[0];
        assert_eq!((missing.question.as_deref(), &missing.text), (Some("1 + 1?"), &None));
        assert_eq!(found[1].answers[1].id, "mmlu/anatomy/0");
        assert_eq!(read(run, Some("vicuna")).unwrap()[1].answers.len(), 1);
        let published =
            read("{\"question_id\": 3, \"text\": \"So.\", \"model_id\": \"m\"}\n", None);
        let newer = read(
            "{\"question_id\": 3, \"choices\": [{\"turns\": [\"So.\", \"x\"]}], \"model_id\": \"m\"}\n",
            None,
        );
        assert_eq!(published.unwrap(), newer.unwrap());
        let outputs =
            r#"[{"instruction": "Go", "output": "Gone", "dataset": "d", "generator": "g"}]"#;
        let outputs = read(outputs, None).unwrap();
        let of = &outputs[0].answers[0];
        assert_eq!((&*outputs[0].name, &*of.id, &*of.category), ("g", "Go", "d"));
        let plain = read("{\"id\": 5, \"prediction\": \"x\"}\n", None).unwrap();
        assert_eq!(
            (&*plain[0].answers[0].id, plain[0].answers[0].text.as_deref()),
            ("5", Some("x"))
        );
    }

    #[test]
    fn what_is_no_answer_is_named() {
        let told = |text: &str, suite: Option<&str>| read(text, suite).unwrap_err().to_string();
        let line = "{\"question_id\": 3, \"text\": \"So.\"}\n";
        assert!(told(&line.repeat(2), None).ends_with("answers question `3` twice"));
        let long = format!(
            "[{0}, {0}]",
            format_args!("{{\"instruction\": \"{}\", \"output\": \"\"}}", "é".repeat(99))
        );
        assert!(told(&long, None).ends_with(&format!("question `{}…` twice", "é".repeat(60))));
        assert!(told("{\"id\": 3}\n", None).contains("record 1 is no answer, wanted"));
        let other = "{\"model\": \"a\", \"suite\": \"mmlu\", \"task\": \"x\", \"id\": \"0\", \"answer\": \"A\"}\n";
        assert!(told(other, Some("vicuna")).ends_with("there are no answers to `vicuna`"));
    }
}
