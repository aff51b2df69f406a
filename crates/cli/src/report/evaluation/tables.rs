//! The chart and the tables of a suite.

use albacore_eval::{Part, Prompts, Row};
use maud::Markup;

use super::super::{Cell, Interval, Intervals, Table};
use super::distinct;

/// The headline of the whole suite, model by model.
pub(super) fn chart(rows: &[&Row]) -> Markup {
    let whole = rows.iter().filter(|row| row.part == Part::Suite && row.is_headline);
    let metric = whole.clone().next().map_or("", |row| row.metric.as_str());
    let intervals = whole.clone().filter_map(|row| {
        let value = row.percent?;
        let (low, high) = (row.low.unwrap_or(value), row.high.unwrap_or(value));
        Some(Interval { name: row.model.clone(), value, low, high })
    });
    let intervals = intervals.collect();
    let title = "The whole suite".to_owned();
    Intervals { title, unit: format!("{metric}, %"), intervals }.markup()
}

/// What became of the prompts of each model and suite.
pub(super) fn prompts(prompts: &[Prompts]) -> Table {
    let columns = ["model", "suite", "answers", "no answer", "fewer exemplars", "cut", "replies"];
    let mut table = Table::new("What became of the prompts", &columns);
    let row = |one: &Prompts| {
        // No other suite is scored otherwise for it.
        let is_cut = one.unstopped && one.suite == "lmentry";
        vec![
            Cell::text(&one.model),
            Cell::text(&one.suite),
            Cell::Count(one.answered as u64),
            Cell::Count(one.unanswered as u64),
            Cell::Count(one.dropped as u64),
            Cell::Count(one.cut as u64),
            Cell::text(if is_cut { "their first sentence" } else { "whole" }),
        ]
    };
    table.rows = prompts.iter().map(row).collect();
    table
}

/// Every metric of the whole suite.
pub(super) fn whole(rows: &[&Row]) -> Table {
    let columns = ["model", "metric", "%", "low", "high", "answers", "no answer", "mean of tasks"];
    let mut table = Table::new("The whole suite", &columns);
    let whole = rows.iter().filter(|row| row.part == Part::Suite);
    table.rows = whole
        .map(|row| {
            vec![
                Cell::text(&row.model),
                Cell::text(&row.metric),
                number(row.percent, 2),
                number(row.low, 1),
                number(row.high, 1),
                Cell::Count(row.n as u64),
                Cell::Count(row.unanswered as u64),
                row.tasks.map_or(Cell::None, |tasks| Cell::Count(tasks as u64)),
            ]
        })
        .collect();
    table
}

fn number(number: Option<f64>, digits: usize) -> Cell {
    number.map_or(Cell::None, |number| Cell::Number(number, digits))
}

/// The headlines of some parts, a column a model.
pub(super) fn by_part(caption: &str, rows: &[&Row]) -> Option<Table> {
    let models = distinct(rows.iter().map(|row| &row.model));
    let columns: Vec<_> = ["", "metric"].into_iter().chain(models.iter().copied()).collect();
    let mut table = Table::new(caption, &columns);
    let mut parts: Vec<&Part> = Vec::new();
    for row in rows {
        if !parts.contains(&&row.part) {
            parts.push(&row.part);
        }
    }
    for part in parts {
        let (Part::Category(name) | Part::Task(name)) = part else { continue };
        let of_part = || rows.iter().filter(|row| row.part == *part && row.is_headline);
        let metric = of_part().next()?.metric.clone();
        let cells = models.iter().map(|model| {
            let found = of_part().find(|row| row.model == *model);
            found.map_or(Cell::None, |row| {
                let left = match row.unanswered {
                    0 => String::new(),
                    left => format!(", {left} without an answer"),
                };
                Cell::text(format!("{} n={}{left}", row.told(), row.n))
            })
        });
        table.rows.push([Cell::text(name), Cell::text(metric)].into_iter().chain(cells).collect());
    }
    (!table.rows.is_empty()).then_some(table)
}
