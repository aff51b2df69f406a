//! What is asked: the suites of the command line, opened, and the terms of it all.

use albacore_eval::{
    Prefixed, Question, SuiteOptions, SuiteTerms, Task, Terms, first_of_each_task, open_suite,
    read_prefix,
};

use crate::args::EvalModels;
use crate::config::Evaluation;
use crate::failure::{OrRefuse, Refusal, Result};

/// A suite, and which of its examples are asked.
pub(super) struct Suite {
    /// As the command names it: several of its tasks stand with commas between them.
    name: String,
    pub(super) task: Box<dyn Task>,
    pub(super) examples: Vec<usize>,
}

impl Suite {
    /// One of its questions that has answers to choose from, if it asks such.
    pub(super) fn choice(&self) -> Option<&Question> {
        let mut questions =
            self.examples.iter().map(|&number| &self.task.examples()[number].question);
        questions.find(|question| !question.options.is_empty())
    }
}

/// Opens the suites, all of them or none.
pub(super) fn open(options: &EvalModels, config: &Evaluation) -> Result<Vec<Suite>> {
    let prefix = config.evaluation.prefix.as_deref().map(read_prefix).transpose().or_refuse()?;
    let open = |(suite, tasks): (&str, Vec<String>)| {
        let shots = config.evaluation.shots.as_ref().and_then(|shots| shots.of(suite));
        let name = match tasks.is_empty() {
            true => suite.to_owned(),
            false => {
                let names = tasks.iter().map(|task| format!("{suite}/{task}"));
                names.collect::<Vec<_>>().join(",")
            }
        };
        let paraphrases = config.evaluation.paraphrases.clone();
        let wanted = SuiteOptions { shots, tasks, paraphrases, whole: false };
        let task = open_suite(suite, &options.data, &wanted).or_refuse()?;
        let task = match &prefix {
            Some(prefix) => Box::new(Prefixed::new(task, prefix)),
            None => task,
        };
        let examples = first_of_each_task(&*task, options.limit.map(|limit| limit as usize));
        Ok(Suite { name, task, examples })
    };
    named(&options.suites)?.into_iter().map(open).collect()
}

/// The suites with those of their tasks that are named; none where the whole suite is.
fn named(names: &[String]) -> Result<Vec<(&str, Vec<String>)>> {
    let mut suites: Vec<(&str, Vec<String>)> = Vec::new();
    for name in names {
        let (suite, task) = match name.split_once('/') {
            Some((suite, task)) => (suite, Some(task.to_owned())),
            None => (name.as_str(), None),
        };
        match (suites.iter_mut().find(|(known, _)| *known == suite), task) {
            (None, task) => suites.push((suite, task.into_iter().collect())),
            (Some((_, tasks)), Some(task)) if !tasks.is_empty() && !tasks.contains(&task) => {
                tasks.push(task);
            }
            _ => {
                let message = format!("`{name}` is asked twice in `--suite`");
                let hint = "name each suite once, or each of its tasks once";
                return Err(Refusal::new(message, hint)).or_refuse();
            }
        }
    }
    Ok(suites)
}

/// What is asked, and how.
pub(super) fn terms(options: &EvalModels, config: &Evaluation, suites: &[Suite]) -> Terms {
    let suites =
        suites.iter().map(|suite| SuiteTerms::new(&suite.name, &*suite.task, &suite.examples));
    let data = options.data.display().to_string();
    Terms::new(&config.evaluation, config.run.seed, data, options.limit, suites.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_of_one_suite_are_asked_together_and_nothing_twice() {
        let of = |text: &str| {
            let names: Vec<_> = text.split(',').map(str::to_owned).collect();
            named(&names).map(|suites| format!("{suites:?}")).map_err(|failure| failure.words())
        };
        let both = r#"[("mmlu", ["a", "b"]), ("bbh", [])]"#;
        assert_eq!(of("mmlu/a,bbh,mmlu/b"), Ok(both.to_owned()));
        for twice in ["mmlu/a,mmlu/a", "mmlu/b,mmlu", "mmlu,mmlu/b", "bbh,bbh"] {
            assert!(of(twice).unwrap_err().ends_with("is asked twice in `--suite`"), "{twice}");
        }
    }
}
