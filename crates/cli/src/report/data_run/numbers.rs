//! The numbers of a data run.

use std::collections::BTreeMap;

use albacore_data::bootstrap::{Funnel, RunFolder, Stage};
use albacore_data::{Statistics, verb_and_object};
use serde::Serialize;

use super::settings::Settings;
use crate::report::Cell;

/// What a run comes to, in numbers. What is not known yet is `None`.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// What became of everything.
    #[serde(flatten)]
    pub funnel: Funnel,
    /// What the requests of each stage took.
    pub requests: BTreeMap<Stage, Statistics>,
    /// The same in all.
    pub total: Statistics,
    /// Mean words of an instruction, of an input that is not empty, and of an output.
    pub mean_words: [Option<f64>; 3],
    /// The mean ROUGE-L of an instruction with the most similar one before it.
    pub mean_highest_similarity: Option<f64>,
    /// Instructions whose verb is recognised.
    pub with_verb: u64,
    /// How often each verb occurs with each object.
    #[serde(skip)]
    pub verbs: BTreeMap<String, BTreeMap<String, u64>>,
    /// Whether it was asked which tasks are classification.
    pub has_classification: bool,
    /// Whether stage 4 has seen all instructions.
    pub has_records: bool,
}

impl Numbers {
    /// Counts.
    pub fn of(folder: &RunFolder, settings: &Settings) -> Self {
        let mut requests = folder.requests.clone();
        let mut total = Statistics::default();
        for statistics in requests.values_mut() {
            statistics.cost = settings.cost(statistics.prompt_tokens, statistics.completion_tokens);
            total.join(statistics);
        }
        let records = folder.records.as_deref().unwrap_or_default();
        let mean_words = [
            mean(folder.accepted.iter().map(|line| words(&line.instruction) as f64)),
            mean(
                records
                    .iter()
                    .filter(|record| !record.input.is_empty())
                    .map(|record| words(&record.input) as f64),
            ),
            mean(records.iter().map(|record| words(&record.output) as f64)),
        ];
        let mut verbs = BTreeMap::<String, BTreeMap<String, u64>>::new();
        let mut with_verb = 0;
        for (verb, object) in
            folder.accepted.iter().filter_map(|line| verb_and_object(&line.instruction))
        {
            with_verb += 1;
            *verbs.entry(verb).or_default().entry(object.unwrap_or_default()).or_default() += 1;
        }
        let funnel = folder.funnel();
        let has_records = folder.funnel.as_ref() == Some(&funnel);
        let has_classification = folder.classified.is_some();
        let mean_highest_similarity = mean(
            folder
                .accepted
                .iter()
                .filter_map(|line| super::similarity::highest(line).map(|(_, score)| score)),
        );
        Self {
            funnel,
            requests,
            total,
            mean_words,
            mean_highest_similarity,
            with_verb,
            verbs,
            has_classification,
            has_records,
        }
    }

    /// All of them with their names, in the same order for every run.
    pub fn named(&self) -> Vec<(&'static str, Cell)> {
        let Self { funnel, total, .. } = self;
        let records =
            |number: usize| if self.has_records { Cell::Count(number as u64) } else { Cell::None };
        // Without a journal nothing is known of requests.
        let took = |number: u64| if total.answers > 0 { Cell::Count(number) } else { Cell::None };
        let share = match self.has_classification {
            true => Cell::share(funnel.classification, funnel.accepted),
            false => Cell::None,
        };
        let number = |value: Option<f64>, digits| {
            value.map_or(Cell::None, |value| Cell::Number(value, digits))
        };
        let [instruction, input, output] = self.mean_words;
        let pairs = self.verbs.values().flatten().filter(|(object, _)| !object.is_empty()).count();
        vec![
            ("instructions written", Cell::Count(funnel.written)),
            ("instructions accepted", Cell::Count(funnel.accepted)),
            ("accepted share", Cell::share(funnel.accepted, funnel.written)),
            ("classification share", share),
            ("tasks", records(funnel.tasks)),
            ("instances", records(funnel.instances)),
            ("instances without input", records(funnel.without_input)),
            ("records to train on", records(funnel.train)),
            ("records held out", records(funnel.held_out)),
            ("words of an instruction, mean", number(instruction, 1)),
            ("words of an input, mean", number(input, 1)),
            ("words of an output, mean", number(output, 1)),
            ("highest ROUGE-L, mean", number(self.mean_highest_similarity, 3)),
            ("different verbs", Cell::Count(self.verbs.len() as u64)),
            ("different verbs with their objects", Cell::Count(pairs as u64)),
            ("requests", took(total.answers)),
            ("requests asked again", took(total.retries)),
            (
                "requests refused",
                if total.refused > 0 { Cell::Count(total.refused) } else { Cell::None },
            ),
            ("tokens of prompts", took(total.prompt_tokens)),
            ("tokens of answers", took(total.completion_tokens)),
            (
                "seconds of waiting for answers",
                number((total.answers > 0).then_some(total.seconds), 1),
            ),
            ("cost", number(total.cost, if total.cost < Some(1.0) { 4 } else { 2 })),
        ]
    }
}

/// Words, as the rules on length count them.
pub fn words(text: &str) -> u64 {
    text.split_whitespace().count() as u64
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}
