//! `albacore eval score`: predictions that were made elsewhere.

use std::collections::BTreeSet;

use albacore_eval::{Bootstrap, Part, Predictions, Results, Scored, SuiteOptions, open_suite};
use serde_json::{Map, json};

use super::{published, told};
use crate::args::ScorePredictions;
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::terminal::Terminal;

/// Where each answer is right or wrong, these are two names of one number.
const RIGHT: [&str; 2] = ["accuracy", "exact_match"];

pub(super) fn run(options: &ScorePredictions, seed: Option<u64>, terminal: &Terminal) -> Result {
    let ScorePredictions { task: name, data, predictions: path } = options;
    if let Some(ending) = published::run(name, data.as_deref(), path, terminal) {
        return ending;
    }
    let Some(data) = data else {
        let message = format!("`--data` is missing, wanted the folder with the files of `{name}`");
        return Err(Refusal::new(message, "it holds the benchmark as it is published")).or_refuse();
    };
    let predictions = Predictions::read(path).or_refuse()?;
    // No exemplars: nothing is asked.
    let wanted = SuiteOptions { shots: Some(0), ..SuiteOptions::default() };
    let mut task = open_suite(name, data, &wanted).or_refuse()?;
    if predictions.has_others(&*task) {
        // They may be of all instances, where the suite asks the first of each task.
        let whole = open_suite(name, data, &SuiteOptions { whole: true, ..wanted }).or_refuse()?;
        if !predictions.has_others(&*whole) {
            task = whole;
        }
    }
    let scores = predictions.score(&*task, path, name).or_refuse()?;
    let bootstrap = Bootstrap { resamples: 1000, confidence: 0.95, seed: seed.unwrap_or(0) };
    let mut results = Results::new(&bootstrap);
    let model = path.display().to_string();
    let unanswered = BTreeSet::new();
    results.add(&*task, &[Scored { model: &model, scores: &scores, unanswered: &unanswered }]);
    if !terminal.json {
        terminal.print(&told::means(&results))?;
        return Ok(Outcome::Done);
    }
    let whole = results.rows.iter().filter(|row| row.part == Part::Suite);
    let mut metrics: Map<_, _> =
        whole.map(|row| (row.metric.clone(), json!(row.percent))).collect();
    let known: Vec<_> = RIGHT.iter().filter(|name| metrics.contains_key(**name)).collect();
    if let ([known], 1) = (&known[..], metrics.len()) {
        let value = metrics[**known].clone();
        RIGHT.iter().for_each(|name| {
            metrics.insert((*name).to_owned(), value.clone());
        });
    }
    let others = results.summaries.iter();
    metrics.extend(others.map(|summary| (summary.metric.clone(), json!(summary.value))));
    let parts = results.rows.iter().filter(|row| row.part != Part::Suite).collect::<Vec<_>>();
    let line = json!({ "task": name, "n": scores.len(), "metrics": metrics, "parts": parts });
    terminal.print(&line.to_string())?;
    Ok(Outcome::Done)
}
