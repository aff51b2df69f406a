//! What a benchmark is: questions, what of an answer counts, and what that is worth.
//!
//! ```text
//!  Example ─Question::text(shots)─► prompt ─model─► raw answer ─extract─► answer ─score─► Scores
//!                └ options: the most probable one is the raw answer, nothing is generated
//! ```
//!
//! A suite is one [`Task`] in a file of its own that reads like its rule. It knows no model, and it
//! is asked about its examples by their number.

use std::collections::BTreeMap;
use std::sync::Arc;

use albacore_data::Decoding;

/// Scores of one answer by the name of the metric, each from 0 to 1: `exact_match`, `rouge_l`.
pub type Scores = BTreeMap<&'static str, f64>;

/// One question of a suite, and what is known of it before it is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    /// As files of predictions name it, unique in its task: the index there, from 0, unless the
    /// benchmark has ids of its own.
    pub id: String,
    /// The task of the suite that it belongs to: a file of BBH, a subject of MMLU.
    pub task: String,
    /// What its task is counted under, the first of its groups; empty where a suite has none.
    pub category: String,
    /// What is asked.
    pub question: Question,
    /// What the benchmark's record says of it, field by field, without the words that a prompt puts around
    /// them: the question, its input, its options. By these it is found in training data.
    pub texts: Vec<String>,
    /// The answers that are right; none where a rule knows them (LMentry).
    pub references: Vec<String>,
}

/// A prompt whose exemplars may be left out from the end until it fits a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What stands before all of it, whatever the suite; never left out, and no part of what the suite's rule
    /// measures.
    pub prefix: Arc<str>,
    /// What comes before the exemplars; never left out.
    pub head: String,
    /// The exemplars, each with all that separates it from what follows; those of a task stand in memory once.
    pub shots: Arc<[String]>,
    /// The question itself, up to where the answer begins.
    pub tail: String,
    /// Answers to compare by their log-probability; where there are none, text is generated.
    pub options: Vec<String>,
}

impl Question {
    /// A question without exemplars, to be answered by text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { tail: text.into(), ..Self::default() }
    }

    /// The prompt with the first `shots` of its exemplars.
    pub fn text(&self, shots: usize) -> String {
        let shots = self.shots[..shots.min(self.shots.len())].concat();
        format!("{}{}{shots}{}", self.prefix, self.head, self.tail)
    }

    /// What a person would call the question: nothing that is there to show how answers look.
    pub fn bare(&self) -> String {
        format!("{}{}", self.head, self.tail)
    }

    /// The options as they follow the prompt: without the blank before them behind a chat template, which ends
    /// where the answer begins.
    pub fn options_behind(&self, chat: bool) -> Vec<String> {
        let option = |option: &String| match chat {
            true => option.trim_start().to_owned(),
            false => option.clone(),
        };
        self.options.iter().map(option).collect()
    }
}

/// What a number of the whole suite is the mean of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mean {
    /// Every example counts the same.
    OfExamples,
    /// Every task counts the same, however many examples it has.
    OfTasks,
}

/// A suite. Several answers are scored at a time.
pub trait Task: Sync {
    /// Its name on the command line, in tables and in files: `super_ni`.
    fn name(&self) -> &'static str;

    /// All of its examples, in order; those of one task stand together.
    fn examples(&self) -> &[Example];

    /// How an answer is drawn: its greatest length and what ends it.
    fn decoding(&self) -> Decoding;

    /// What of a raw answer counts. Default: all of it but the white space around it.
    fn extract(&self, _example: usize, answer: &str) -> String {
        answer.trim().to_owned()
    }

    /// What an extracted answer to an example is worth, in every metric of the suite.
    fn score(&self, example: usize, extracted: &str) -> Scores;

    /// What it is worth where the model does not stop by itself, but writes on until it is cut off.
    /// Default: the same.
    fn score_unstopped(&self, example: usize, extracted: &str) -> Scores {
        self.score(example, extracted)
    }

    /// Whether an example counts in the suite's own number. Default: all do.
    fn counts(&self, _example: usize) -> bool {
        true
    }

    /// Whether an example is the one before it in other words. It is asked wherever that one is, and counts in
    /// [`summary`](Self::summary) alone: as a question of its own it would make intervals narrower than they are.
    /// Default: none is.
    fn repeats(&self, _example: usize) -> bool {
        false
    }

    /// The metric that stands for a category, and for the suite where the category is empty.
    fn headline(&self, category: &str) -> &'static str;

    /// What the suite's own number is the mean of. Default: its examples.
    fn mean(&self) -> Mean {
        Mean::OfExamples
    }

    /// The most tokens that a prompt may have beside its prefix, whatever the model can read; one that is
    /// longer without any exemplar is cut at its end. Default: no rule.
    fn most_prompt_tokens(&self) -> Option<usize> {
        None
    }

    /// Whether answers are reasoned out, so that several may be drawn and the majority counts.
    fn reasons(&self) -> bool {
        false
    }

    /// Numbers of the suite that are no means of its examples' scores, by name, as they are to be
    /// shown (LMentry's robustness). `scored` are the examples that have an answer, by number.
    fn summary(&self, _scored: &BTreeMap<usize, Scores>) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
}

/// The examples to ask if only so many of each task are wanted, the first; all without a limit. Those that repeat
/// an example are asked with it.
pub fn first_of_each_task(task: &dyn Task, limit: Option<usize>) -> Vec<usize> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut counts = BTreeMap::new();
    let wanted = task.examples().iter().enumerate().filter(|(number, example)| {
        let count = counts.entry(example.task.as_str()).or_insert(0);
        *count += usize::from(!task.repeats(*number));
        *count <= limit
    });
    wanted.map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exemplars_are_left_out_from_the_end() {
        let shots = ["1. ".to_owned(), "2. ".to_owned()].into();
        let question =
            Question { head: "Count. ".into(), shots, tail: "3:".into(), ..Question::default() };
        let text = |shots| question.text(shots);
        assert_eq!([text(2), text(1), text(0)], ["Count. 1. 2. 3:", "Count. 1. 3:", "Count. 3:"]);
        assert_eq!(text(9), text(2));
        assert_eq!(Question::plain("Go").text(5), "Go");
        assert_eq!(question.bare(), "Count. 3:");
    }
}
