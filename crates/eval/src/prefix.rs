//! A fixed prefix before every question, the same for all tasks (TAPP, Ye et al., 2023).
//!
//! ```text
//!  demonstrations, a blank line after each ─► head ─► exemplars ─► question
//! ```
//! Those who published it ask without exemplars, and leave demonstrations out from the end until a prompt
//! fits. So does this where a question has none (`evaluation.shots = 0`); else the exemplars are left out,
//! and the prefix stays. A suite's own rule of length (Super-NI's 1,024 tokens) then measures what stands
//! behind the prefix, so that no prefix takes the place of a question; the model's context measures all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use albacore_data::Decoding;
use serde::Deserialize;

use crate::folder::read;
use crate::{Error, Example, Mean, Result, Scores, Task};

/// A suite with a prefix before each question.
pub struct Prefixed {
    task: Box<dyn Task>,
    examples: Vec<Example>,
}

impl Prefixed {
    /// Puts some demonstrations before every question of a suite.
    pub fn new(task: Box<dyn Task>, demonstrations: &[String]) -> Self {
        let shots: Arc<[_]> = demonstrations.iter().map(|text| format!("{text}\n\n")).collect();
        let whole: Arc<str> = shots.concat().into();
        let examples = task.examples().iter().map(|example| {
            let mut question = example.question.clone();
            if question.shots.is_empty() {
                question.tail = format!("{}{}", question.head, question.tail);
                question.head.clear();
                question.shots = shots.clone();
            } else {
                question.prefix = whole.clone();
            }
            Example { question, ..example.clone() }
        });
        Self { examples: examples.collect(), task }
    }
}

/// The demonstrations of a file: those of `{"demo": ["…"]}`, as TAPP's authors publish them, or its whole
/// text as one.
///
/// # Errors
/// If it cannot be read, or there is nothing in it.
pub fn read_prefix(path: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Published {
        demo: Vec<String>,
    }
    let text = read(path)?;
    let found = match serde_json::from_str::<Published>(&text) {
        Ok(Published { demo }) => demo,
        Err(_) => vec![text.trim_end().to_owned()],
    };
    match found.iter().all(|text| text.trim().is_empty()) {
        true => Err(Error::malformed(path.display(), "the prefix is empty, wanted some text")),
        false => Ok(found),
    }
}

impl Task for Prefixed {
    fn name(&self) -> &'static str {
        self.task.name()
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    fn decoding(&self) -> Decoding {
        self.task.decoding()
    }

    fn extract(&self, example: usize, answer: &str) -> String {
        self.task.extract(example, answer)
    }

    fn score(&self, example: usize, extracted: &str) -> Scores {
        self.task.score(example, extracted)
    }

    fn score_unstopped(&self, example: usize, extracted: &str) -> Scores {
        self.task.score_unstopped(example, extracted)
    }

    fn counts(&self, example: usize) -> bool {
        self.task.counts(example)
    }

    fn repeats(&self, example: usize) -> bool {
        self.task.repeats(example)
    }

    fn headline(&self, category: &str) -> &'static str {
        self.task.headline(category)
    }

    fn mean(&self) -> Mean {
        self.task.mean()
    }

    fn most_prompt_tokens(&self) -> Option<usize> {
        self.task.most_prompt_tokens()
    }

    fn reasons(&self) -> bool {
        self.task.reasons()
    }

    fn summary(&self, scored: &BTreeMap<usize, Scores>) -> BTreeMap<String, f64> {
        self.task.summary(scored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Question;
    use crate::tiny::Adding;

    #[test]
    fn a_prefix_stands_before_all_and_gives_way_from_its_end_where_there_are_no_exemplars() {
        let mut task = Adding::new(1);
        let question = |shots: &[&str]| Question {
            head: "Add. ".into(),
            shots: shots.iter().map(|text| (*text).to_owned()).collect(),
            tail: "1 + 1?".into(),
            ..Question::default()
        };
        let demonstrations = ["One.".to_owned(), "Two.".to_owned()];
        task.examples[0].question = question(&[]);
        let bare = Prefixed::new(Box::new(task.clone()), &demonstrations);
        let text = |task: &Prefixed, shots| task.examples()[0].question.text(shots);
        assert_eq!(text(&bare, 2), "One.\n\nTwo.\n\nAdd. 1 + 1?");
        assert_eq!(text(&bare, 1), "One.\n\nAdd. 1 + 1?");
        assert_eq!(text(&bare, 0), "Add. 1 + 1?");
        task.examples[0].question = question(&["0 + 0 = 0. "]);
        let shown = Prefixed::new(Box::new(task), &demonstrations);
        assert_eq!(text(&shown, 1), "One.\n\nTwo.\n\nAdd. 0 + 0 = 0. 1 + 1?");
        assert_eq!(text(&shown, 0), "One.\n\nTwo.\n\nAdd. 1 + 1?");
        // What is looked for in training data is the same with it and without.
        assert_eq!(
            [&bare, &shown].map(|task| &task.examples()[0].texts[..]),
            [["0 + 0"], ["0 + 0"]]
        );
    }

    #[test]
    fn a_prefix_is_read_as_published_or_as_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prefix");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_prefix(&path)
        };
        assert_eq!(read("{\"demo\": [\"a\", \"b\"]}").unwrap(), ["a", "b"]);
        assert_eq!(read("Be brief.\n").unwrap(), ["Be brief."]);
        assert!(read(" \n").unwrap_err().to_string().contains("is empty"));
    }
}
