//! How little the accuracy depends on what should not matter, and the LMentry score.

use std::collections::BTreeMap;

use super::tally::rounded;
use super::{TASKS, Tally};

/// Tasks with two options, either of which may be the answer.
const ORDER: [&str; 7] = [
    "more_letters",
    "less_letters",
    "first_alphabetically",
    "rhyming_word",
    "homophones",
    "bigger_number",
    "smaller_number",
];

/// Tasks with files of one kind of arguments each, from easy to hard.
const CONTENT: [(&str, &[&str]); 6] = [
    (
        "first_alphabetically",
        &[
            "far_first_letter",
            "different_first_letter",
            "consecutive_first_letter",
            "same_first_letter",
        ],
    ),
    ("all_words_from_category", &["0_distractors", "1_distractors", "2_distractors"]),
    ("any_words_from_category", &["5_distractors", "4_distractors", "3_distractors"]),
    ("rhyming_word", &["orthographically_similar", "orthographically_different"]),
    ("more_letters", &["length_diff_3plus", "length_diff_1"]),
    ("less_letters", &["length_diff_3plus", "length_diff_1"]),
];

/// Tasks that differ in one thing.
const ADJACENT: [(&str, &str); 17] = [
    // what is asked for
    ("bigger_number", "smaller_number"),
    ("more_letters", "less_letters"),
    ("word_after", "word_before"),
    ("most_associated_word", "least_associated_word"),
    ("any_words_from_category", "all_words_from_category"),
    // a `not`
    ("sentence_containing", "sentence_not_containing"),
    ("word_containing", "word_not_containing"),
    // words or letters
    ("starts_with_word", "starts_with_letter"),
    ("ends_with_word", "ends_with_letter"),
    ("sentence_containing", "word_containing"),
    ("sentence_not_containing", "word_not_containing"),
    ("first_word", "first_letter"),
    ("last_word", "last_letter"),
    // the first or the last
    ("starts_with_word", "ends_with_word"),
    ("starts_with_letter", "ends_with_letter"),
    ("first_word", "last_word"),
    ("first_letter", "last_letter"),
];

/// LMentry's numbers for one model, each in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LmentryScore {
    /// Mean accuracy of the 25 tasks.
    pub accuracy: f64,
    /// Robustness to which option is the answer.
    pub argument_order: f64,
    /// Robustness to how hard the arguments are.
    pub argument_content: f64,
    /// Robustness to how the question is put.
    pub template: f64,
    /// Robustness between tasks that are nearly the same.
    pub adjacent_tasks: f64,
    /// Mean of the four, to one decimal.
    pub robustness: f64,
    /// Accuracy times robustness.
    pub score: f64,
}

/// LMentry's numbers from all 41 files, or the names of those that are missing.
///
/// # Errors
/// If files are missing.
pub fn lmentry_score(tallies: &BTreeMap<String, Tally>) -> Result<LmentryScore, Vec<String>> {
    let names = TASKS.iter().map(|task| (*task).to_owned());
    let parts = CONTENT.iter().flat_map(|(task, parts)| parts.iter().map(move |p| part(task, p)));
    let missing: Vec<_> = names.chain(parts).filter(|name| !tallies.contains_key(name)).collect();
    if !missing.is_empty() {
        return Err(missing);
    }
    let accuracy = |file: &str| tallies[file].accuracy();
    let mean_accuracy = mean(TASKS.iter().map(|task| accuracy(task)));
    let argument_order = mean(ORDER.iter().map(|task| robust(tallies[*task].order_accuracies())));
    let argument_content = mean(
        CONTENT
            .iter()
            .map(|(task, parts)| robust(parts.iter().map(|name| accuracy(&part(task, name))))),
    );
    let template = mean(TASKS.iter().map(|task| robust(tallies[*task].template_accuracies())));
    let pair = |(one, other): &(&str, &str)| robust([accuracy(one), accuracy(other)]);
    let adjacent_tasks = mean(ADJACENT.iter().map(pair));
    let robustness = mean([argument_order, argument_content, template, adjacent_tasks]);
    let robustness = rounded(robustness, 1);
    let score = mean_accuracy * (robustness / 100.0);
    Ok(LmentryScore {
        accuracy: mean_accuracy,
        argument_order,
        argument_content,
        template,
        adjacent_tasks,
        robustness,
        score,
    })
}

fn part(task: &str, part: &str) -> String {
    format!("{task}_{part}")
}

/// 100 less the greatest difference.
fn robust(accuracies: impl IntoIterator<Item = f64>) -> f64 {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for accuracy in accuracies {
        (least, most) = (least.min(accuracy), most.max(accuracy));
    }
    100.0 - (most - least)
}

fn mean(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let (count, sum) = numbers.into_iter().fold((0, 0.0), |(n, sum), number| (n + 1, sum + number));
    sum / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lmentry::{LmentryFile, Mark};

    /// Ten examples of each of three templates, so many of them right.
    fn tally(right: [usize; 3]) -> Tally {
        let file = LmentryFile {
            name: String::new(),
            templates: 3,
            examples_per_template: 10,
            examples: Vec::new(),
        };
        let mut tally = Tally::new(&file);
        for (template, right) in right.into_iter().enumerate() {
            for example in 0..10 {
                let mark = if example < right { Mark::RIGHT } else { Mark::WRONG };
                tally.add(template, Some(example % 2), mark);
            }
        }
        tally
    }

    fn all_files() -> BTreeMap<String, Tally> {
        let parts =
            CONTENT.iter().flat_map(|(task, parts)| parts.iter().map(move |p| part(task, p)));
        let names = TASKS.iter().map(|task| (*task).to_owned()).chain(parts);
        names.map(|name| (name, tally([5, 5, 5]))).collect()
    }

    #[test]
    fn all_else_equal_one_task_moves_each_kind_by_its_share() {
        let mut files = all_files();
        let score = lmentry_score(&files).unwrap();
        assert_eq!((score.accuracy, score.template, score.adjacent_tasks), (50.0, 100.0, 100.0));
        // Of five right ones three are at even places: 9 of 15 against 6 of 15.
        assert_eq!((score.argument_order, score.robustness), (80.0, 95.0));
        assert_eq!(score.score, 47.5);
        // 4, 5 and 9 right of 10: an accuracy of 60, templates apart by 50; two neighbours, apart by 10
        files.insert("first_word".into(), tally([4, 5, 9]));
        files.insert("more_letters_length_diff_1".into(), tally([8, 8, 8]));
        let score = lmentry_score(&files).unwrap();
        assert!((score.accuracy - 50.4).abs() < 1e-9);
        assert!((score.template - (100.0 - 50.0 / 25.0)).abs() < 1e-9);
        assert!((score.adjacent_tasks - (100.0 - 20.0 / 17.0)).abs() < 1e-9);
        assert!((score.argument_content - (100.0 - 30.0 / 6.0)).abs() < 1e-9);
        // (80 + 95 + 98 + 98.82) / 4 = 92.96
        assert_eq!(score.robustness, 93.0);
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut files = all_files();
        files.remove("rhyming_word_orthographically_similar");
        assert_eq!(lmentry_score(&files).unwrap_err(), ["rhyming_word_orthographically_similar"]);
        assert_eq!(files.len(), 40);
    }
}
