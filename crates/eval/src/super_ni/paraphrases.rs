//! Super-NaturalInstructions with several wordings of each definition: the task's own first, then those of a file.
//!
//! - Layout: a line `{task, definitions: […]}`.
//! - Every instance is asked under each wording, in this order. A limit is one of instances.
//! - Told, in percent, of the metric that stands for each task, as means of the tasks with several wordings: the mean,
//!   the standard deviation, the worst and the best of the wordings, and the share of instances that score the same
//!   under all of them. Instances that lack an answer under some wording count nowhere.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::folder::json_lines;
use crate::paraphrase::{ParaphraseRobustness, paraphrase_robustness};
use crate::{Error, Example, Result, Scores};

/// More definitions, by the task's name.
pub(super) type Paraphrases = BTreeMap<String, Vec<String>>;

/// Reads them.
pub(super) fn read(path: &Path) -> Result<Paraphrases> {
    #[derive(Deserialize)]
    struct Line {
        task: String,
        definitions: Vec<String>,
    }
    let mut found = Paraphrases::new();
    for Line { task, definitions } in json_lines(path)? {
        let problem = if definitions.is_empty() {
            "has no definitions, wanted at least one"
        } else if found.insert(task.clone(), definitions).is_some() {
            "stands there twice"
        } else {
            continue;
        };
        return Err(Error::malformed(path.display(), format!("`{task}` {problem}")));
    }
    Ok(found)
}

/// The id of an instance under a wording, from 0.
pub(super) fn id(instance: &str, wording: usize) -> String {
    match wording {
        0 => instance.to_owned(),
        more => format!("{instance} wording {}", more + 1),
    }
}

/// The numbers of the page's head. `wordings` tells each example's, and `headline` the metric of a category.
pub(super) fn robustness(
    examples: &[Example],
    wordings: &[usize],
    scored: &BTreeMap<usize, Scores>,
    headline: impl Fn(&str) -> &'static str,
) -> BTreeMap<String, f64> {
    let starts = (0..examples.len()).filter(|&number| wordings[number] == 0);
    let mut tasks: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
    for start in starts {
        let Example { task, category, .. } = &examples[start];
        let count = 1 + wordings[start + 1..].iter().take_while(|&&wording| wording > 0).count();
        let metric = headline(category);
        let scores = (start..start + count).map(|number| Some(scored.get(&number)?[metric]));
        let Some(scores) = scores.collect::<Option<Vec<f64>>>() else { continue };
        let by_wording = tasks.entry(task).or_insert_with(|| vec![Vec::new(); count]);
        by_wording.iter_mut().zip(scores).for_each(|(of, score)| of.push(score));
    }
    let found: Vec<_> =
        tasks.values().filter_map(|by_wording| paraphrase_robustness(by_wording)).collect();
    if found.is_empty() {
        return BTreeMap::new();
    }
    let mean = |of: fn(&ParaphraseRobustness) -> f64| {
        100.0 * found.iter().map(of).sum::<f64>() / found.len() as f64
    };
    [
        ("wordings_mean", mean(|of| of.mean)),
        ("wordings_spread", mean(|of| of.deviation)),
        ("wordings_worst", mean(|of| of.worst)),
        ("wordings_best", mean(|of| of.best)),
        ("wordings_steady", mean(|of| of.steady)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wordings_are_compared_on_instances_that_all_of_them_answer() {
        let example = |task: &str| Example { task: task.into(), ..Example::default() };
        // Two instances under three wordings, one more whose last wording has no answer, a task of one wording.
        let examples: Vec<_> = (0..9).map(|_| example("a")).chain([example("b")]).collect();
        let wordings = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0];
        let scores = [1.0, 1.0, 0.0, 0.5, 0.5, 0.5, 1.0, 1.0];
        let scored =
            scores.iter().enumerate().map(|(n, &score)| (n, Scores::from([("rouge_l", score)])));
        let mut scored: BTreeMap<_, _> = scored.collect();
        scored.insert(9, Scores::from([("rouge_l", 1.0)]));
        let found = robustness(&examples, &wordings, &scored, |_| "rouge_l");
        // Means 0.75, 0.75, 0.25: deviations 1/6, 1/6, -1/3 of 7/12.
        assert!((found["wordings_mean"] - 100.0 * 7.0 / 12.0).abs() < 1e-9, "{found:?}");
        assert!(
            (found["wordings_spread"] - 100.0 * (1.0_f64 / 12.0).sqrt()).abs() < 1e-9,
            "{found:?}"
        );
        assert_eq!([found["wordings_worst"], found["wordings_best"]], [25.0, 75.0]);
        assert_eq!(found["wordings_steady"], 50.0);
        assert!(robustness(&examples[9..], &[0], &BTreeMap::new(), |_| "rouge_l").is_empty());
    }

    #[test]
    fn lines_that_are_none_are_named() {
        let told = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            read(file.path()).unwrap_err().to_string()
        };
        let line = "{\"task\": \"task1\", \"definitions\": [\"Go.\"]}\n";
        assert!(told(&line.repeat(2)).ends_with("`task1` stands there twice"));
        assert!(
            told("{\"task\": \"task1\", \"definitions\": []}\n").contains("has no definitions")
        );
    }
}
