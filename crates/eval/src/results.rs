//! What models come to on suites: means with intervals, and differences of two models on the same
//! questions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::interval::{Bootstrap, Estimate};
use crate::{Mean, Scores, Task};

/// What a number is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The whole suite.
    Suite,
    /// One of its categories.
    Category(String),
    /// One of its tasks.
    Task(String),
}

/// A mean in percent with its interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The model.
    pub model: String,
    /// The suite.
    pub suite: String,
    /// The part of it.
    pub part: Part,
    /// What is measured.
    pub metric: String,
    /// Whether this metric stands for the part.
    pub is_headline: bool,
    /// Examples that were scored.
    pub n: usize,
    /// Examples that have no answer, and count nowhere.
    pub unanswered: usize,
    /// The mean in percent.
    pub percent: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How much better the second of two models is, on the questions that both have answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The suite.
    pub suite: String,
    /// The part of it.
    pub part: Part,
    /// What is measured.
    pub metric: String,
    /// One model.
    pub first: String,
    /// The other.
    pub second: String,
    /// Questions that both have answered.
    pub n: usize,
    /// The second's percent less the first's.
    pub points: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Difference {
    /// Whether the interval holds no 0.
    pub fn is_clear(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// A number of a suite that is no mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model.
    pub model: String,
    /// The suite.
    pub suite: String,
    /// What it says.
    pub metric: String,
    /// The number.
    pub value: f64,
}

/// All that is shown of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Start of the random numbers.
    pub seed: u64,
    /// Times that the examples were drawn anew for the intervals.
    pub resamples: usize,
    /// Share that an interval holds.
    pub confidence: f64,
    /// Means.
    pub rows: Vec<Row>,
    /// Other numbers.
    pub summaries: Vec<Summary>,
    /// Differences between models.
    pub differences: Vec<Difference>,
}

/// What one model scored on a suite.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'s> {
    /// The model.
    pub model: &'s str,
    /// Its scores by number of the example.
    pub scores: &'s BTreeMap<usize, Scores>,
    /// Examples that it has not answered.
    pub unanswered: &'s BTreeSet<usize>,
}

impl Results {
    /// Nothing yet.
    pub fn new(bootstrap: &Bootstrap) -> Self {
        let Bootstrap { resamples, confidence, seed } = *bootstrap;
        Self { seed, resamples, confidence, ..Self::default() }
    }

    fn bootstrap(&self) -> Bootstrap {
        let Self { resamples, confidence, seed, .. } = *self;
        Bootstrap { resamples, confidence, seed }
    }

    /// Adds a suite that these models were asked.
    pub fn add(&mut self, task: &dyn Task, models: &[Scored<'_>]) {
        for scored in models {
            for part in parts(task, scored) {
                self.add_rows(task, scored, &part);
            }
            let named = task.summary(scored.scores).into_iter();
            self.summaries.extend(named.map(|(metric, value)| Summary {
                model: scored.model.to_owned(),
                suite: task.name().to_owned(),
                metric,
                value,
            }));
        }
        for (place, second) in models.iter().enumerate() {
            for first in &models[..place] {
                for part in parts(task, second) {
                    self.add_difference(task, first, second, &part);
                }
            }
        }
    }

    fn add_rows(&mut self, task: &dyn Task, scored: &Scored<'_>, part: &Part) {
        let headline = headline(task, part);
        let numbers = scored.scores.keys().filter(|&&number| is_in(task, part, number));
        let n = numbers.count();
        let unanswered = scored.unanswered.iter().filter(|&&number| is_in(task, part, number));
        let unanswered = unanswered.count();
        for metric in metrics(scored.scores) {
            let of = |number| scored.scores.get(&number)?.get(metric).copied();
            let name = format!("{} {part:?} {metric}", task.name());
            let groups = groups(task, part, scored.scores.keys().copied(), of);
            let Estimate { value, low, high } = self.bootstrap().estimate(&name, &groups);
            self.rows.push(Row {
                model: scored.model.to_owned(),
                suite: task.name().to_owned(),
                part: part.clone(),
                metric: metric.to_owned(),
                is_headline: metric == headline,
                n,
                unanswered,
                percent: 100.0 * value,
                low: 100.0 * low,
                high: 100.0 * high,
            });
        }
    }

    fn add_difference(
        &mut self,
        task: &dyn Task,
        first: &Scored<'_>,
        second: &Scored<'_>,
        part: &Part,
    ) {
        let metric = headline(task, part);
        let of = |number| {
            let score = |scored: &Scored<'_>| scored.scores.get(&number)?.get(metric).copied();
            Some(score(second)? - score(first)?)
        };
        let groups = groups(task, part, second.scores.keys().copied(), of);
        let n = groups.iter().map(Vec::len).sum();
        if n == 0 {
            return;
        }
        let name = format!("{} {part:?} {metric} difference", task.name());
        let Estimate { value, low, high } = self.bootstrap().estimate(&name, &groups);
        self.differences.push(Difference {
            suite: task.name().to_owned(),
            part: part.clone(),
            metric: metric.to_owned(),
            first: first.model.to_owned(),
            second: second.model.to_owned(),
            n,
            points: 100.0 * value,
            low: 100.0 * low,
            high: 100.0 * high,
        });
    }
}

/// The suite, its categories where it has some, and its tasks where it has several.
fn parts(task: &dyn Task, scored: &Scored<'_>) -> Vec<Part> {
    let numbers: BTreeSet<_> = scored.scores.keys().chain(scored.unanswered).collect();
    let examples = numbers.into_iter().map(|&number| &task.examples()[number]);
    let (mut categories, mut tasks) = (BTreeSet::new(), BTreeSet::new());
    for example in examples {
        if !example.category.is_empty() {
            categories.insert(example.category.clone());
        }
        tasks.insert(example.task.clone());
    }
    if tasks.len() < 2 {
        tasks.clear();
    }
    let categories = categories.into_iter().map(Part::Category);
    std::iter::once(Part::Suite)
        .chain(categories)
        .chain(tasks.into_iter().map(Part::Task))
        .collect()
}

fn is_in(task: &dyn Task, part: &Part, number: usize) -> bool {
    let example = &task.examples()[number];
    match part {
        Part::Suite => true,
        Part::Category(name) => example.category == *name,
        Part::Task(name) => example.task == *name,
    }
}

fn headline(task: &dyn Task, part: &Part) -> &'static str {
    match part {
        Part::Suite => task.headline(""),
        Part::Category(name) => task.headline(name),
        Part::Task(name) => {
            let example = task.examples().iter().find(|example| example.task == *name);
            task.headline(example.map_or("", |example| &example.category))
        }
    }
}

fn metrics(scores: &BTreeMap<usize, Scores>) -> BTreeSet<&'static str> {
    scores.values().flat_map(|scores| scores.keys().copied()).collect()
}

/// The values of a part, in as many groups as count the same.
fn groups(
    task: &dyn Task,
    part: &Part,
    numbers: impl Iterator<Item = usize>,
    of: impl Fn(usize) -> Option<f64>,
) -> Vec<Vec<f64>> {
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for number in numbers.filter(|&number| is_in(task, part, number)) {
        let group = match task.mean() {
            Mean::OfExamples => "",
            Mean::OfTasks => &task.examples()[number].task,
        };
        groups.entry(group).or_default().extend(of(number));
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny::Adding;

    const FEW: Bootstrap = Bootstrap { resamples: 200, confidence: 0.95, seed: 0 };

    fn scores(rights: &[(usize, bool)]) -> BTreeMap<usize, Scores> {
        let score = |right| Scores::from([("accuracy", f64::from(right))]);
        rights.iter().map(|&(number, right)| (number, score(right))).collect()
    }

    fn results(
        task: &Adding,
        models: &[(&str, BTreeMap<usize, Scores>, BTreeSet<usize>)],
    ) -> Results {
        let mut results = Results::new(&FEW);
        let scored: Vec<_> = models
            .iter()
            .map(|(model, scores, unanswered)| Scored { model, scores, unanswered })
            .collect();
        results.add(task, &scored);
        results
    }

    #[test]
    fn the_unanswered_are_counted_and_are_not_wrong() {
        let task = Adding::new(4);
        let found = results(&task, &[("a", scores(&[(0, true), (1, false)]), [2, 3].into())]);
        let row = &found.rows[0];
        assert_eq!((row.n, row.unanswered, row.percent), (2, 2, 50.0));
        assert!(row.is_headline && row.part == Part::Suite && found.rows.len() == 1);
    }

    #[test]
    fn tasks_count_the_same_where_the_suite_says_so() {
        let mut task = Adding::of_tasks(&["easy", "hard"], 3);
        let rights = scores(&[(0, true), (1, true), (2, true), (3, false)]);
        let percent =
            |task: &Adding| results(task, &[("a", rights.clone(), [].into())]).rows[0].percent;
        assert_eq!(percent(&task), 75.0);
        task.mean = Mean::OfTasks;
        assert_eq!(percent(&task), 50.0);
        let found = results(&task, &[("a", rights.clone(), [].into())]);
        let tasks: Vec<_> =
            found.rows[1..].iter().map(|row| (row.part.clone(), row.percent)).collect();
        assert_eq!(tasks, [(Part::Task("easy".into()), 100.0), (Part::Task("hard".into()), 0.0)]);
    }

    #[test]
    fn two_models_are_compared_on_what_both_have_answered() {
        let task = Adding::new(40);
        let first = (0..40).map(|number| (number, number < 10)).collect::<Vec<_>>();
        let second = (5..40).map(|number| (number, number < 30)).collect::<Vec<_>>();
        let found = results(
            &task,
            &[("a", scores(&first), [].into()), ("b", scores(&second), (0..5).collect())],
        );
        let [difference] = &found.differences[..] else { panic!("{:?}", found.differences) };
        assert_eq!((difference.n, difference.first.as_str()), (35, "a"));
        // Of the 35, 5 and 25 are right.
        assert!((difference.points - 100.0 * 20.0 / 35.0).abs() < 1e-9);
        assert!(difference.is_clear() && difference.low < difference.points);
    }
}
