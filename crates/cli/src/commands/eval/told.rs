//! The table of an evaluation, as it is printed.

use std::fmt::Write;
use std::path::Path;

use albacore_eval::{Difference, FEWEST_FOR_CLEAR, Part, Prompts, Results, Row, Summary};
use serde_json::json;

use crate::contamination::Contamination;
use crate::program::program;
use crate::progress::count;

/// Everything: means, differences, and what became of the questions.
pub(super) fn table(
    results: &Results,
    found: &Option<Contamination>,
    folder: &Path,
    as_json: bool,
) -> String {
    let total = |of: fn(&Prompts) -> usize| results.prompts.iter().map(of).sum::<usize>();
    let unanswered = total(|prompts| prompts.unanswered);
    let (dropped, cut) = (total(|prompts| prompts.dropped), total(|prompts| prompts.cut));
    if as_json {
        return json!({
            "run": folder, "results": results, "answers": total(|prompts| prompts.answered),
            "unanswered": unanswered, "prompts_with_dropped_exemplars": dropped, "cut_prompts": cut,
            "contamination": found,
        })
        .to_string();
    }
    let mut text = means(results);
    text += &differences(results);
    let rare = [
        (unanswered, "questions without an answer: they count nowhere"),
        (dropped, "prompts that were too long for all of their exemplars"),
        (cut, "prompts that were cut, too long even without exemplars"),
    ];
    for (number, what) in rare.into_iter().filter(|(number, _)| *number > 0) {
        let _ = writeln!(text, "{:>9}  {what}", count(number));
    }
    let unstopped = results.prompts.iter().filter(|one| one.unstopped && one.suite == "lmentry");
    for Prompts { model, .. } in unstopped {
        let _ = writeln!(
            text,
            "lmentry: replies of `{model}` end with their first sentence, since it does not stop by itself"
        );
    }
    if found.is_some() {
        text += &format!("\n{}", contamination(found, folder, false));
    }
    let (run, program) = (folder.display(), program());
    text + &format!(
        "\nevery prompt, answer and score: {run}/answers.jsonl\n\
         as a page:                      {program} report {run}\n"
    )
}

/// The questions that stand in the training files.
pub(super) fn contamination(found: &Option<Contamination>, folder: &Path, as_json: bool) -> String {
    if as_json {
        return json!({ "run": folder, "contamination": found }).to_string();
    }
    let Some(found) = found else { return String::new() };
    let mut text = found.table();
    if !found.found.is_empty() {
        text += &format!("each of them, with a record: {}/contamination.jsonl\n", folder.display());
    }
    text
}

/// A block a suite, a line a part, a column a model, in the order asked; below, what they come to together.
pub(super) fn means(results: &Results) -> String {
    let suites = distinct(results.rows.iter().map(|row| row.suite.as_str()));
    let models = distinct(results.rows.iter().map(|row| row.model.as_str()));
    let blocks = suites.into_iter().map(|suite| block(results, suite, &models));
    blocks.chain([of_all_suites(results)]).collect()
}

fn distinct<'t>(names: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

fn block(results: &Results, suite: &str, models: &[&str]) -> String {
    let rows: Vec<_> = results.rows.iter().filter(|row| row.suite == suite).collect();
    let mut text = format!("{suite}, {} % intervals\n", 100.0 * results.confidence);
    let names = models.iter().map(|model| format!("  {:>28}", shortened(model, 28)));
    let _ = writeln!(text, "  {:<46}{}", "", names.collect::<String>());
    let mut lines: Vec<(&Part, &str)> = Vec::new();
    for row in rows.iter().filter(|row| is_shown(row, &rows)) {
        if !lines.contains(&(&row.part, &row.metric)) {
            lines.push((&row.part, &row.metric));
        }
    }
    for (part, metric) in lines {
        let cells = models.iter().map(|model| {
            let of = |row: &&&Row| row.model == *model && row.part == *part && row.metric == metric;
            let cell = rows.iter().find(of).map_or_else(|| "–".to_owned(), |row| cell(row));
            format!("  {cell:>28}")
        });
        let name = match part {
            Part::Suite => "all".to_owned(),
            Part::Category(name) | Part::Task(name) => format!("  {}", shortened(name, 30)),
        };
        let _ = writeln!(text, "  {name:<34}{metric:<12}{}", cells.collect::<String>());
    }
    for summary in results.summaries.iter().filter(|summary| summary.suite == suite) {
        let value = format!("{:.2}  ({})", summary.value, shortened(&summary.model, 16));
        let _ = writeln!(text, "  {:<34}{:<12}  {value:>28}", summary.metric, "");
    }
    text + "\n"
}

/// What the suites come to together: the Flan normalised average.
fn of_all_suites(results: &Results) -> String {
    let of_one = |suite: &str| results.rows.iter().any(|row| row.suite == suite);
    let lines = results.summaries.iter().filter(|summary| !of_one(&summary.suite)).map(|summary| {
        let Summary { model, suite, metric, value } = summary;
        format!("{suite} {metric}: {value:.1}  ({})\n", shortened(model, 40))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { lines + "\n" }
}

/// The whole in every metric; below it the categories, or the tasks where there are none, in the metric
/// that stands for each.
fn is_shown(row: &Row, rows: &[&Row]) -> bool {
    let has_categories = rows.iter().any(|row| matches!(row.part, Part::Category(_)));
    match row.part {
        Part::Suite => true,
        Part::Category(_) => row.is_headline,
        Part::Task(_) => row.is_headline && !has_categories,
    }
}

fn cell(row: &Row) -> String {
    let left = if row.unanswered > 0 { format!(" -{}", row.unanswered) } else { String::new() };
    format!("{} n={}{left}", row.told(), row.n)
}

/// How much better each model is than those before it, on whole suites.
fn differences(results: &Results) -> String {
    let whole = results.differences.iter().filter(|difference| difference.part == Part::Suite);
    let lines = whole.map(|difference| {
        let Difference { suite, metric, first, second, points, low, high, n, .. } = difference;
        let clear = match difference.is_clear() {
            true => "",
            false if *n < FEWEST_FOR_CLEAR => ", of too few questions to be clear",
            false => ", which may be chance",
        };
        format!(
            "{suite} {metric}: {} is {points:+.1} [{low:+.1}, {high:+.1}] to {}{clear}\n",
            shortened(second, 40),
            shortened(first, 40)
        )
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        lines
    } else {
        format!("differences in points, on the same questions\n{lines}\n")
    }
}

/// The end of a long name, which tells folders apart.
pub(super) fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    format!("…{}", name.chars().skip(length - most + 1).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &str, part: Part, metric: &str, is_headline: bool) -> Row {
        Row {
            model: model.into(),
            suite: "mmlu".into(),
            part,
            metric: metric.into(),
            is_headline,
            n: 10,
            unanswered: usize::from(model == "b"),
            tasks: None,
            percent: Some(30.0),
            low: Some(10.0),
            high: Some(50.0),
        }
    }

    #[test]
    fn a_line_is_a_part_and_a_column_a_model() {
        let group = || Part::Category("STEM".into());
        let rows = ["a", "b"].into_iter().flat_map(|model| {
            [
                row(model, Part::Suite, "accuracy", true),
                row(model, group(), "accuracy", true),
                row(model, group(), "other", false),
                row(model, Part::Task("anatomy".into()), "accuracy", true),
            ]
        });
        let results = Results { confidence: 0.95, rows: rows.collect(), ..Results::default() };
        let text = means(&results);
        assert_eq!(text.lines().filter(|line| line.contains("accuracy")).count(), 2, "{text}");
        assert!(!text.contains("anatomy") && !text.contains("other"), "{text}");
        assert!(text.contains("30.0 [10.0, 50.0] n=10 -1"), "{text}");
    }
}
