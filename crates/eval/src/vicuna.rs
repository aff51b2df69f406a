//! The Vicuna questions as a suite: 80 open questions in 9 categories, whose answers are judged.
//!
//! - Layout: `question.jsonl` (see [`read_questions`](crate::read_questions)). A category is a task, so that
//!   `vicuna/math` is one of them.
//! - Asked: the question, and nothing else.
//! - Score: `answered`, whether there is any text. What it is worth is for a judge to say, who compares the
//!   answers of two models: [`judge`](crate::judge()).

use std::path::Path;

use albacore_data::Decoding;

use crate::folder::Home;
use crate::{Example, Question, Result, Scores, SuiteOptions, Task, read_questions};

const HOME: Home = Home {
    suite: "vicuna",
    places: &["vicuna", "vicuna-qa", "vicuna-qa/blog_eval", "vicuna_bench", ""],
    origin: "https://github.com/lm-sys/vicuna-blog-eval, folder `eval/table` (Apache-2.0)",
};

const FILES: [&str; 2] = ["question.jsonl", "fastchat_vicuna_bench_question.jsonl"];

/// The suite.
#[derive(Debug)]
pub struct Vicuna {
    examples: Vec<Example>,
}

impl Vicuna {
    /// Reads it.
    ///
    /// # Errors
    /// If the file is missing or malformed, or there is no such category.
    pub fn open(data: &Path, options: &SuiteOptions) -> Result<Self> {
        let folder = HOME.find(data, FILES[0], |name| FILES.contains(&name))?;
        let file = FILES.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let mut questions = read_questions(&file.expect("it was found"))?;
        // Those of a category stand together, in the order in which the file has them first.
        let mut categories: Vec<String> = Vec::new();
        for question in &questions {
            if !categories.contains(&question.category) {
                categories.push(question.category.clone());
            }
        }
        questions.sort_by_key(|of| categories.iter().position(|name| *name == of.category));
        let chosen = options.chosen("vicuna", &folder, categories)?;
        questions.retain(|question| chosen.contains(&question.category));
        let examples = questions.into_iter().map(|question| Example {
            id: question.id.to_string(),
            task: question.category,
            category: String::new(),
            question: Question::plain(question.text.as_str()),
            texts: vec![question.text],
            references: question.reference.into_iter().collect(),
        });
        Ok(Self { examples: examples.collect() })
    }
}

impl Task for Vicuna {
    fn name(&self) -> &'static str {
        "vicuna"
    }

    fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// As published: up to 1,024 tokens. The most probable ones, so that a run can be repeated.
    fn decoding(&self) -> Decoding {
        Decoding { max_tokens: 1024, ..Decoding::default() }
    }

    fn score(&self, _: usize, extracted: &str) -> Scores {
        Scores::from([("answered", f64::from(!extracted.is_empty()))])
    }

    fn headline(&self, _: &str) -> &'static str {
        "answered"
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_category_is_a_task_and_its_questions_stand_together() {
        let data = tempfile::tempdir().unwrap();
        let line = |id: usize, category: &str| {
            format!(
                "{{\"question_id\": {id}, \"text\": \"{id}?\", \"category\": \"{category}\"}}\n"
            )
        };
        let lines = [line(1, "math"), line(2, "coding"), line(3, "math")].concat();
        fs::write(data.path().join("question.jsonl"), lines).unwrap();
        let suite = Vicuna::open(data.path(), &SuiteOptions::default()).unwrap();
        let ids: Vec<_> = suite.examples().iter().map(|example| &*example.id).collect();
        assert_eq!(ids, ["1", "3", "2"]);
        assert_eq!(suite.examples()[0].question.text(0), "1?");
        let one = SuiteOptions { tasks: vec!["coding".into()], ..SuiteOptions::default() };
        assert_eq!(Vicuna::open(data.path(), &one).unwrap().examples().len(), 1);
        let none = SuiteOptions { tasks: vec!["poetry".into()], ..SuiteOptions::default() };
        let error = Vicuna::open(data.path(), &none).unwrap_err().to_string();
        assert!(error.starts_with("`vicuna` has no task `poetry` in"), "{error}");
        assert_eq!([suite.score(0, "")["answered"], suite.score(0, "So.")["answered"]], [0.0, 1.0]);
    }
}
