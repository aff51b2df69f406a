//! BIG-Bench Hard: 23 tasks in 27 files, three exemplars, exact match.
//!
//! - Layout: `bbh/NAME.json` with `examples: [{input, target}]`, and `cot-prompts/NAME.txt`: below a line of
//!   dashes the instruction, then exemplars `Q: …\nA: Let's think step by step.\n… the answer is X.`
//! - Direct (`bbh`): the same exemplars without their reasoning; the whole answer counts.
//! - Reasoned (`bbh_cot`): what follows the last `answer is ` counts, without one full stop at its end.
//! - Score: the target, to the letter. The suite's number is the mean of its tasks.
//!
//! These rules give the accuracies that are stored beside the outputs of Codex, on all tasks.

use std::path::Path;
use std::sync::Arc;

use albacore_data::Decoding;
use serde::Deserialize;

use crate::folder::{Home, json, read, stems};
use crate::{Example, Mean, Question, Result, Scores, SuiteOptions, Task};

const HOME: Home = Home {
    suite: "bbh",
    places: &["bbh/bbh", "bbh", "BIG-Bench-Hard/bbh", ""],
    origin: "https://github.com/suzgunmirac/BIG-Bench-Hard (MIT)",
};

const REASONS: &str = " Let's think step by step.";

/// The suite.
#[derive(Debug)]
pub struct Bbh {
    examples: Vec<Example>,
    reasons: bool,
}

#[derive(Deserialize)]
struct File {
    examples: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    input: String,
    target: String,
}

impl Bbh {
    /// Reads it.
    ///
    /// # Errors
    /// If files are missing or malformed.
    pub fn open(data: &Path, options: &SuiteOptions, reasons: bool) -> Result<Self> {
        // The folder itself may be any: it is ours by its name or by what lies beside it.
        let is_ours = data.ends_with("bbh") || data.join("../cot-prompts").is_dir();
        let places = if is_ours { HOME.places } else { &HOME.places[..HOME.places.len() - 1] };
        let home = Home { places, ..HOME };
        let folder =
            home.find(data, "NAME.json", |name| name.strip_suffix(".json").is_some_and(is_task))?;
        let mut names = stems(&folder, ".json");
        names.retain(|name| is_task(name));
        let prompts = folder.join("../cot-prompts");
        let mut examples = Vec::new();
        for task in options.chosen("bbh", &folder, names)? {
            let file: File = json(&folder.join(format!("{task}.json")))?;
            let prompt = prompts.join(format!("{task}.txt"));
            let (head, shots) = match options.shots {
                // Predictions that are only scored need no prompt.
                Some(0) if !prompt.is_file() => (String::new(), Arc::default()),
                _ if !prompt.is_file() => {
                    return Err(HOME.missing(data, &prompts, &format!("{task}.txt")));
                }
                shots => exemplars(&read(&prompt)?, shots.unwrap_or(3), reasons),
            };
            for (index, Line { input, target }) in file.examples.into_iter().enumerate() {
                let tail = format!("Q: {input}\nA:{}", if reasons { REASONS } else { "" });
                let (head, shots) = (head.clone(), shots.clone());
                examples.push(Example {
                    id: index.to_string(),
                    task: task.clone(),
                    question: Question { head, shots, tail, ..Question::default() },
                    texts: vec![input],
                    references: vec![target],
                    ..Example::default()
                });
            }
        }
        Ok(Self { examples, reasons })
    }
}

/// Whether a file of this name is a task's: some copies of the folder have an index too.
fn is_task(name: &str) -> bool {
    !name.ends_with("index")
}

/// The instruction of a file of exemplars, and the first of them.
fn exemplars(file: &str, shots: usize, reasons: bool) -> (String, Arc<[String]>) {
    let text = file.split_once("-----\n").map_or(file, |(_, text)| text).trim_matches('\n');
    let mut parts = text.split("\n\nQ: ");
    let head = format!("{}\n\n", parts.next().unwrap_or_default());
    let direct = |shot: &str| match shot.split_once(REASONS) {
        Some((question, reasoning)) => format!("{question} {}", said(reasoning)),
        None => shot.to_owned(),
    };
    let shots = parts
        .take(shots)
        .map(|shot| format!("Q: {}\n\n", if reasons { shot.to_owned() } else { direct(shot) }));
    (head, shots.collect())
}

/// What a reasoned answer says: what follows the last `answer is `, or all of it.
fn said(answer: &str) -> &str {
    match answer.rsplit_once("answer is ") {
        Some((_, last)) => last.trim().strip_suffix('.').unwrap_or(last.trim()),
        None => answer.trim(),
    }
}

impl Task for Bbh {
    fn name(&self) -> &'static str {
        if self.reasons { "bbh_cot" } else { "bbh" }
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        let max_tokens = if self.reasons { 512 } else { 128 };
        Decoding { max_tokens, stop: vec!["\n\n".into(), "Q:".into()], ..Decoding::default() }
    }

    fn extract(&self, _: usize, answer: &str) -> String {
        if self.reasons { said(answer).to_owned() } else { answer.trim().to_owned() }
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        let target = self.examples[example].references[0].trim();
        Scores::from([("exact_match", f64::from(extracted == target))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "exact_match"
    }

    fn mean(&self) -> Mean {
        Mean::OfTasks
    }

    fn reasons(&self) -> bool {
        self.reasons
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PROMPT: &str = "Do not train on this.\n-----\nAdd the numbers.\n\nQ: 1 + 1\nA: Let's think step by \
        step.\nOne and one.\n\nThat is all. So the answer is 2.\n\nQ: 2 + 2\nA: Let's think step by step.\nSo the \
        answer is 4.";

    fn open(options: &SuiteOptions, reasons: bool) -> Result<Bbh> {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bbh", "cot-prompts"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let file = r#"{"examples": [{"input": "3 + 3", "target": "6"}, {"input": "4 + 4", "target": "(H)"}]}"#;
        for task in ["adding", "more_adding"] {
            fs::write(folder.path().join(format!("bbh/{task}.json")), file).unwrap();
            fs::write(folder.path().join(format!("cot-prompts/{task}.txt")), PROMPT).unwrap();
        }
        Bbh::open(folder.path(), options, reasons)
    }

    #[test]
    fn exemplars_keep_their_reasoning_or_lose_it() {
        let text = |reasons| {
            let bbh = open(&SuiteOptions::default(), reasons).unwrap();
            bbh.examples()[0].question.text(9)
        };
        let direct = "Add the numbers.\n\nQ: 1 + 1\nA: 2\n\nQ: 2 + 2\nA: 4\n\nQ: 3 + 3\nA:";
        assert_eq!(text(false), direct);
        assert!(
            text(true)
                .starts_with("Add the numbers.\n\nQ: 1 + 1\nA: Let's think step by step.\nOne")
        );
        assert!(text(true).ends_with("is 4.\n\nQ: 3 + 3\nA: Let's think step by step."));
    }

    #[test]
    fn an_answer_is_right_to_the_letter() {
        let bbh = open(&SuiteOptions::default(), true).unwrap();
        let right = |example, answer| {
            bbh.score(example, &bbh.extract(example, answer))["exact_match"] == 1.0
        };
        assert!(right(0, " 6 ") && right(0, "Well, the answer is 6."));
        assert!(!right(0, "6.") && !right(0, "six") && !right(0, "the answer is 6.."));
        assert!(right(1, "answer is (A). No, the answer is (H).") && !right(1, "(h)"));
        // Asked for the answer at once, nothing else counts.
        let direct = open(&SuiteOptions::default(), false).unwrap();
        let right = |answer| direct.score(0, &direct.extract(0, answer))["exact_match"] == 1.0;
        assert!(right(" 6\n") && !right("Let me think. The answer is 6."));
    }

    #[test]
    fn one_task_can_be_chosen_and_an_unknown_one_is_refused() {
        let only =
            |task: &str| SuiteOptions { tasks: vec![task.into()], ..SuiteOptions::default() };
        let bbh = open(&only("more_adding"), false).unwrap();
        assert!(bbh.examples().len() == 2 && bbh.examples()[0].task == "more_adding");
        let error = open(&only("adding_more"), false).unwrap_err().to_string();
        assert!(error.contains("`bbh` has no task `adding_more`"), "{error}");
    }

    #[test]
    fn a_folder_of_other_files_is_not_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("package.json"), "{}").unwrap();
        let options = SuiteOptions { shots: Some(0), ..SuiteOptions::default() };
        let error = Bbh::open(folder.path(), &options, false).unwrap_err();
        assert!(matches!(error, crate::Error::NoData { .. }), "{error}");
        // Its own folder is, and an index is no task of it.
        let own = folder.path().join("bbh");
        fs::create_dir(&own).unwrap();
        for name in ["adding", "index"] {
            let file = r#"{"examples": [{"input": "3 + 3", "target": "6"}]}"#;
            fs::write(own.join(format!("{name}.json")), file).unwrap();
        }
        for data in [folder.path(), &own] {
            assert_eq!(Bbh::open(data, &options, false).unwrap().examples().len(), 1);
        }
    }
}
