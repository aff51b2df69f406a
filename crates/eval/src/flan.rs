//! The Flan normalised average (Chung et al., 2022): one number of six measurements.
//!
//! MMLU and BBH answered directly and reasoned out, TyDi QA answered directly, MGSM reasoned out. A task's
//! score is set so that guessing is 0 and all right is 100, and may be below 0; a measurement is the mean of
//! its tasks, each counting the same; the average that of the six. BBH's three sizes of logical deduction
//! and of shuffled objects are one task each: 23 tasks of 27 files.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Example, Scores, Task};

/// The measurements, and the files of each.
const SUITES: [(&str, usize); 6] =
    [("mmlu", 57), ("mmlu_cot", 57), ("bbh", 27), ("bbh_cot", 27), ("tydiqa", 8), ("mgsm", 10)];
/// What tells the sizes of one task apart.
const SIZES: [&str; 3] = ["_three_objects", "_five_objects", "_seven_objects"];

/// A suite and what a model scored on it, by number of the example.
pub type Measurement<'m> = (&'m dyn Task, &'m BTreeMap<usize, Scores>);

/// The average in points; `None` unless all six are there with all their tasks, each with an answer.
pub fn flan_average(measurements: &[Measurement<'_>]) -> Option<f64> {
    let normalised = SUITES.iter().map(|(name, files)| {
        let (task, scores) = measurements.iter().find(|(task, _)| task.name() == *name)?;
        normalised(*task, scores, *files)
    });
    let normalised = normalised.collect::<Option<Vec<_>>>()?;
    Some(normalised.iter().sum::<f64>() / normalised.len() as f64)
}

/// The mean of a suite's tasks, guessing being 0, in points.
fn normalised(suite: &dyn Task, scores: &BTreeMap<usize, Scores>, files: usize) -> Option<f64> {
    let metric = suite.headline("");
    let all: BTreeSet<&str> =
        suite.examples().iter().map(|example| example.task.as_str()).collect();
    let mut found: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (number, scores) in scores {
        let example = &suite.examples()[*number];
        let chance = chance(suite.name(), example);
        found.entry(&example.task).or_default().push((*scores.get(metric)?, chance));
    }
    if all.len() != files || found.len() != files {
        return None;
    }
    // The files of each task.
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (file, values) in found {
        let mean =
            |of: fn(&(f64, f64)) -> f64| values.iter().map(of).sum::<f64>() / values.len() as f64;
        let (score, chance) = (mean(|(score, _)| *score), mean(|(_, chance)| *chance));
        let task = SIZES.iter().find_map(|size| file.strip_suffix(size)).unwrap_or(file);
        tasks.entry(task).or_default().push((score - chance) / (1.0 - chance));
    }
    let means = tasks.values().map(|files| files.iter().sum::<f64>() / files.len() as f64);
    Some(100.0 * means.sum::<f64>() / tasks.len() as f64)
}

/// How often a guess is right.
fn chance(suite: &str, example: &Example) -> f64 {
    match suite {
        "mmlu" | "mmlu_cot" => 0.25,
        "bbh" | "bbh_cot" => match options(&example.question.tail) {
            // Questions of yes or no do not always list the two.
            0 => match example.references.first().map(|text| text.to_lowercase()).as_deref() {
                Some("yes" | "no" | "true" | "false") => 0.5,
                _ => 0.0,
            },
            // One listed option is a slip of the file.
            options => 1.0 / options.max(2) as f64,
        },
        _ => 0.0,
    }
}

/// The lines behind the last `Options:` of a question that each are one.
fn options(question: &str) -> usize {
    let Some((_, listed)) = question.rsplit_once("Options:") else { return 0 };
    let is_option = |line: &&str| {
        let line = line.trim_start();
        let is_letter = |line: &str| line.starts_with(|letter: char| letter.is_ascii_uppercase());
        line.starts_with("- ")
            || line
                .strip_prefix('(')
                .is_some_and(|rest| is_letter(rest) && rest[1..].starts_with(')'))
    };
    listed.lines().filter(is_option).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Adding;
    use crate::{Mean, Question};
    use albacore_data::Decoding;

    /// A suite under another name.
    struct Named(&'static str, Adding);

    impl Task for Named {
        fn name(&self) -> &'static str {
            self.0
        }
        fn examples(&self) -> &[Example] {
            &self.1.examples
        }
        fn decoding(&self) -> Decoding {
            self.1.decoding()
        }
        fn score(&self, example: usize, extracted: &str) -> Scores {
            self.1.score(example, extracted)
        }
        fn headline(&self, category: &str) -> &'static str {
            self.1.headline(category)
        }
        fn mean(&self) -> Mean {
            self.1.mean
        }
    }

    fn scores(suite: &Named, right: impl Fn(usize) -> bool) -> BTreeMap<usize, Scores> {
        let score = |number| Scores::from([("accuracy", f64::from(right(number)))]);
        (0..suite.1.examples.len()).map(|number| (number, score(number))).collect()
    }

    #[test]
    fn guessing_is_nothing_all_right_is_a_hundred_and_six_count_the_same() {
        let suite = |name, files: usize| {
            let names: Vec<_> = (0..files).map(|file| format!("task {file}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            let mut suite = Named(name, Adding::of_tasks(&names, 4));
            for example in &mut suite.1.examples {
                let tail = "Which?\nOptions:\n(A) one\n(B) two\n(C) three\n(D) four".to_owned();
                example.question = Question { tail, ..Question::default() };
            }
            suite
        };
        let suites = SUITES.map(|(name, files)| suite(name, files));
        let average = |right: &dyn Fn(&str, usize) -> bool| {
            let all: Vec<_> = suites.iter().map(|s| scores(s, |n| right(s.0, n))).collect();
            let measured: Vec<Measurement<'_>> =
                suites.iter().zip(&all).map(|(s, scores)| (s as &dyn Task, scores)).collect();
            assert_eq!(flan_average(&measured[1..]), None, "one is missing");
            flan_average(&measured).unwrap()
        };
        assert!((average(&|_, _| true) - 100.0).abs() < 1e-9);
        // One of four is chance in MMLU and BBH, and a quarter right where nothing can be guessed.
        assert!((average(&|_, n| n % 4 == 0) - 2.0 * 25.0 / 6.0).abs() < 1e-9);
        // All wrong is below chance: -1/3 in four of six.
        assert!((average(&|_, _| false) + 4.0 * 100.0 / 3.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn what_a_guess_is_worth_follows_from_the_options() {
        let of = |tail: &str, reference: &str| {
            let question = Question::plain(tail);
            let references = vec![reference.to_owned()];
            chance("bbh", &Example { question, references, ..Example::default() })
        };
        assert_eq!(of("True and False is", "False"), 0.5);
        assert_eq!(of("Is it?\nOptions:\n- Yes\n- No", "No"), 0.5);
        assert_eq!(of("- no\nOptions:\n(A) a\n(B) b\n(C) c", "(B)"), 1.0 / 3.0);
        assert_eq!(of("How many?", "8"), 0.0);
    }
}
