//! LMentry: 25 elementary tasks, scored by patterns (Efrat et al., 2022).
//!
//! ```text
//!  reply ─normalise─► Rule::mark ─► right, certain ─► accuracy of 25 tasks ─┐
//!                                                └─► robustness, of 4 kinds ─┴─► LMentry score
//! ```
//!
//! - Layout: `data/NAME.json` with `settings` and `examples: {id: {input, metadata}}`: 25 tasks, and
//!   16 files more of six of them with one kind of arguments each (`more_letters_length_diff_1`).
//! - Asked: the input as it stands, 50 tokens.
//! - A rule looks at a reply in three steps: what is wrong beyond doubt; the answer alone or repeated;
//!   a sentence that gives the answer, which is certain alone and right, but not certain, within more.
//! - The rules accept and refuse what the published scorers do, slips included.
//!
//! The authors ask that the data be in no training corpus.

mod alphabet;
mod association;
mod category;
mod letters;
mod neighbour;
mod number;
mod numbers;
mod pattern;
mod place;
mod reply;
mod robustness;
mod sentence;
mod sound;
mod suite;
mod tally;
mod word;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use pattern::Mark;
use reply::Reply;
pub use robustness::{LmentryScore, lmentry_score};
pub use suite::Lmentry;
pub use tally::Tally;

use crate::folder::{self, Home, stems};
use crate::{Error, Result};

const HOME: Home = Home {
    suite: "lmentry",
    places: &["lmentry/data", "lmentry", "data", ""],
    origin: "https://github.com/aviaefrat/lmentry, folder `data` (no licence stated; not for training)",
};

/// The tasks whose mean is the accuracy.
pub const TASKS: [&str; 25] = [
    "sentence_containing",
    "sentence_not_containing",
    "word_containing",
    "word_not_containing",
    "most_associated_word",
    "least_associated_word",
    "any_words_from_category",
    "all_words_from_category",
    "first_alphabetically",
    "more_letters",
    "less_letters",
    "bigger_number",
    "smaller_number",
    "rhyming_word",
    "homophones",
    "word_after",
    "word_before",
    "starts_with_word",
    "ends_with_word",
    "starts_with_letter",
    "ends_with_letter",
    "first_word",
    "last_word",
    "first_letter",
    "last_letter",
];

/// What a task takes for a right reply to one of its examples. Its fields are the example's
/// metadata.
trait Rule: Send + Sync {
    fn mark(&self, reply: &Reply) -> Mark;
}

/// One file: a task, or a part of one.
pub struct LmentryFile {
    /// Its name.
    pub name: String,
    /// Ways in which the question is put.
    pub templates: usize,
    /// Examples of each of them.
    pub examples_per_template: usize,
    /// Its examples, in file order.
    pub examples: Vec<LmentryExample>,
}

/// One question.
pub struct LmentryExample {
    /// Its key in the file.
    pub id: String,
    /// What is asked.
    pub input: String,
    /// How the question is put, from 0.
    pub template: usize,
    /// Where there are two options: which of them is the answer, from 0.
    pub answer_index: Option<usize>,
    rule: Box<dyn Rule>,
}

impl LmentryExample {
    /// Scores a reply. `cut` is for models that do not stop: only the first sentence of the first
    /// line counts.
    pub fn mark(&self, reply: &str, cut: bool) -> Mark {
        self.rule.mark(&Reply::new(reply, cut))
    }
}

impl LmentryFile {
    /// Reads `NAME.json`.
    ///
    /// # Errors
    /// If it cannot be read, is of no known task, or has an example that its task cannot score.
    pub fn read(path: &Path) -> Result<Self> {
        let File { settings, examples } = folder::json(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wrong = |message: String| Error::malformed(path.display(), message);
        let task =
            task_of(&name).ok_or_else(|| wrong(format!("`{name}` is no task of LMentry")))?;
        let examples = examples.into_iter().map(|(id, example)| {
            read_example(task, &id, example)
                .map_err(|error| wrong(format!("example `{id}`: {error}")))
        });
        Ok(Self {
            templates: settings.input_templates.len(),
            examples_per_template: settings.num_examples_per_template,
            examples: examples.collect::<Result<_>>()?,
            name,
        })
    }
}

#[derive(Deserialize)]
struct File {
    settings: Settings,
    examples: Map<String, Value>,
}

#[derive(Deserialize)]
struct Settings {
    num_examples_per_template: usize,
    input_templates: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    input: String,
    metadata: Map<String, Value>,
}

#[derive(Deserialize)]
struct Place {
    template_id: usize,
    answer_index: Option<usize>,
}

fn read_example(task: &str, id: &str, example: Value) -> serde_json::Result<LmentryExample> {
    let Line { input, mut metadata } = serde_json::from_value(example)?;
    metadata.insert("input".to_owned(), Value::String(input.clone()));
    let metadata = Value::Object(metadata);
    let Place { template_id, answer_index } = Place::deserialize(&metadata)?;
    let rule = rule(task, metadata)?;
    Ok(LmentryExample { id: id.to_owned(), input, template: template_id, answer_index, rule })
}

/// The task that a file is of: its name, or the longest with which its name begins.
pub fn task_of(file: &str) -> Option<&'static str> {
    let is_part = |task: &str| file.strip_prefix(task).is_some_and(|rest| rest.starts_with('_'));
    let fits = |task: &&&str| ***task == *file || is_part(task);
    TASKS.iter().filter(fits).max_by_key(|task| task.len()).copied()
}

/// The rule of a task for one example.
fn rule(task: &str, metadata: Value) -> serde_json::Result<Box<dyn Rule>> {
    fn boxed<R: Rule + DeserializeOwned + 'static>(
        metadata: Value,
    ) -> serde_json::Result<Box<dyn Rule>> {
        Ok(Box::new(serde_json::from_value::<R>(metadata)?))
    }
    let rule = match task {
        "sentence_containing" => boxed::<sentence::SentenceContaining>,
        "sentence_not_containing" => boxed::<sentence::SentenceNotContaining>,
        "word_containing" => boxed::<word::WordContaining>,
        "word_not_containing" => boxed::<word::WordNotContaining>,
        "most_associated_word" => boxed::<association::MostAssociatedWord>,
        "least_associated_word" => boxed::<association::LeastAssociatedWord>,
        "any_words_from_category" => boxed::<category::AnyWordsFromCategory>,
        "all_words_from_category" => boxed::<category::AllWordsFromCategory>,
        "first_alphabetically" => boxed::<alphabet::FirstAlphabetically>,
        "more_letters" => boxed::<letters::MoreLetters>,
        "less_letters" => boxed::<letters::LessLetters>,
        "bigger_number" => boxed::<numbers::BiggerNumber>,
        "smaller_number" => boxed::<numbers::SmallerNumber>,
        "rhyming_word" => boxed::<sound::RhymingWord>,
        "homophones" => boxed::<sound::Homophones>,
        "word_after" => boxed::<neighbour::WordAfter>,
        "word_before" => boxed::<neighbour::WordBefore>,
        "starts_with_word" => boxed::<sentence::StartsWithWord>,
        "ends_with_word" => boxed::<sentence::EndsWithWord>,
        "starts_with_letter" => boxed::<word::StartsWithLetter>,
        "ends_with_letter" => boxed::<word::EndsWithLetter>,
        "first_word" => boxed::<place::FirstWord>,
        "last_word" => boxed::<place::LastWord>,
        "first_letter" => boxed::<place::FirstLetter>,
        _ => boxed::<place::LastLetter>,
    };
    rule(metadata)
}

/// The folder of LMentry's files inside `data`, and the names of those that are there.
///
/// # Errors
/// If there are none.
pub fn files(data: &Path) -> Result<(PathBuf, Vec<String>)> {
    let is_ours =
        |name: &str| name.strip_suffix(".json").is_some_and(|stem| task_of(stem).is_some());
    let folder = HOME.find(data, "NAME.json", is_ours)?;
    let names = stems(&folder, ".json").into_iter().filter(|stem| task_of(stem).is_some());
    let names = names.collect();
    Ok((folder, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_part_is_of_the_task_that_it_is_named_after() {
        assert_eq!(task_of("more_letters"), Some("more_letters"));
        assert_eq!(task_of("more_letters_length_diff_1"), Some("more_letters"));
        assert_eq!(task_of("first_letter"), Some("first_letter"));
        assert_eq!(task_of("first_letters"), None);
    }
}
