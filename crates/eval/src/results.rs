//! What models come to on suites: means with intervals, and differences of two models on the same
//! questions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::interval::{Bootstrap, Estimate, FEWEST_FOR_CLEAR};
use crate::{Mean, Scores, Task, Terms};

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
    /// Tasks that it is the mean of, where tasks count the same: those with an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<usize>,
    /// The mean in percent; none of no answer.
    pub percent: Option<f64>,
    /// The lower end of its interval; none of one answer.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

impl Row {
    /// `30.0 [10.0, 50.0]`; what is not known is a dash.
    pub fn told(&self) -> String {
        match (self.percent, self.low.zip(self.high)) {
            (Some(percent), Some((low, high))) => format!("{percent:.1} [{low:.1}, {high:.1}]"),
            (Some(percent), None) => format!("{percent:.1} [–]"),
            (None, _) => "–".to_owned(),
        }
    }
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
    /// Whether the interval holds no 0, and is of enough questions to be relied on.
    pub fn is_clear(&self) -> bool {
        self.n >= FEWEST_FOR_CLEAR && (self.low > 0.0 || self.high < 0.0)
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

/// What became of the prompts of a suite with one model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompts {
    /// The model.
    pub model: String,
    /// The suite.
    pub suite: String,
    /// Questions with an answer.
    pub answered: usize,
    /// Questions without one.
    pub unanswered: usize,
    /// Prompts that were too long for all of their exemplars.
    pub dropped: usize,
    /// Prompts that were cut, too long even without exemplars.
    pub cut: usize,
    /// Whether the model was taken for one that does not stop by itself.
    pub unstopped: bool,
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
    /// What was asked, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// Models that were asked, in order.
    #[serde(default)]
    pub models: Vec<String>,
    /// Those of them that have not been asked everything, and why: their rows are missing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unfinished: BTreeMap<String, String>,
    /// What became of the prompts of each model and suite.
    #[serde(default)]
    pub prompts: Vec<Prompts>,
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

    /// Adds a suite that these models were asked. One that has answered nothing has its rows too.
    pub fn add(&mut self, task: &dyn Task, models: &[Scored<'_>]) {
        let parts = parts(task, models);
        let metrics: BTreeSet<_> =
            models.iter().flat_map(|scored| metrics(scored.scores)).collect();
        for scored in models {
            for part in &parts {
                self.add_rows(task, scored, part, &metrics);
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
                for part in &parts {
                    self.add_difference(task, first, second, part);
                }
            }
        }
    }

    fn add_rows(
        &mut self,
        task: &dyn Task,
        scored: &Scored<'_>,
        part: &Part,
        metrics: &BTreeSet<&'static str>,
    ) {
        let headline = headline(task, part);
        let is_in = |number: &&usize| is_in(task, part, **number);
        let n = scored.scores.keys().filter(is_in).count();
        let unanswered = scored.unanswered.iter().filter(is_in).count();
        // Where nobody has answered anything, the headline has a row none the less.
        let headlines = metrics.is_empty().then_some(headline);
        for metric in metrics.iter().copied().chain(headlines) {
            let of = |number| scored.scores.get(&number)?.get(metric).copied();
            let name = format!("{} {part:?} {metric}", task.name());
            let groups = groups(task, part, scored.scores.keys().copied(), of);
            let tasks = (task.mean() == Mean::OfTasks && !matches!(part, Part::Task(_)))
                .then(|| groups.iter().filter(|group| !group.is_empty()).count());
            let found = self.bootstrap().estimate(&name, &groups);
            let interval = found.filter(|_| n > 1);
            self.rows.push(Row {
                model: scored.model.to_owned(),
                suite: task.name().to_owned(),
                part: part.clone(),
                metric: metric.to_owned(),
                is_headline: metric == headline,
                n,
                unanswered,
                tasks,
                percent: found.map(|found| 100.0 * found.value),
                low: interval.map(|found| 100.0 * found.low),
                high: interval.map(|found| 100.0 * found.high),
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
        let name = format!("{} {part:?} {metric} difference", task.name());
        let found = self.bootstrap().estimate(&name, &groups);
        let Some(Estimate { value, low, high }) = found else { return };
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
fn parts(task: &dyn Task, models: &[Scored<'_>]) -> Vec<Part> {
    let numbers = models.iter().flat_map(|scored| scored.scores.keys().chain(scored.unanswered));
    let numbers: BTreeSet<_> = numbers.collect();
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
    if task.repeats(number) {
        return false;
    }
    match part {
        Part::Suite => task.counts(number),
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
mod tests;
