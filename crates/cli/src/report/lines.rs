//! How numbers go on over steps.

use maud::{Markup, html};

use super::{Cell, Table, shown};
use crate::progress::count;

/// Rows of the table behind a chart.
const ROWS: usize = 20;

/// A line chart.
#[derive(Debug)]
pub struct Lines {
    /// What it shows.
    pub title: String,
    /// What the steps are, such as `rounds`.
    pub steps: String,
    /// The lines; at most four can be told apart.
    pub series: Vec<Series>,
}

/// One line.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Steps and values, in the order of the steps.
    pub points: Vec<(f64, f64)>,
}

impl Lines {
    /// The chart as HTML, its numbers in a table below.
    pub fn markup(&self) -> Markup {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
        let highest = points().map(|(_, y)| finite(*y)).fold(f64::MIN_POSITIVE, f64::max);
        let lowest = points().map(|(_, y)| finite(*y)).fold(0.0, f64::min);
        let last = points().map(|(x, _)| finite(*x)).fold(f64::MIN_POSITIVE, f64::max);
        let path = |series: &Series| {
            let place = |(x, y): &(f64, f64)| {
                let up = (finite(*y) - lowest) / (highest - lowest);
                format!("{:.2},{:.2}", 100.0 * finite(*x) / last, 100.0 - 100.0 * up)
            };
            series.points.iter().map(place).collect::<Vec<_>>().join(" ")
        };
        html! {
            figure {
                figcaption { (shown(&self.title)) }
                ul.legend {
                    @for (number, series) in self.series.iter().enumerate() {
                        li { span class={ "key line" (number % 4) } {} (shown(&series.name)) }
                    }
                }
                svg.chart role="img" aria-label=(self.title) width="100%" height="184" {
                    line.grid x1="0" x2="100%" y1="0.5" y2="0.5" {}
                    text.axis x="0" y="14" { (label(highest)) }
                    svg width="100%" height="160" viewBox="0 0 100 100" preserveAspectRatio="none" {
                        @for (number, series) in self.series.iter().enumerate() {
                            polyline class={ "line" (number % 4) } points=(path(series)) fill="none"
                                vector-effect="non-scaling-stroke" {}
                        }
                    }
                    line.base x1="0" x2="100%" y1="160" y2="160" {}
                    text.axis x="0" y="177" { (label(lowest)) }
                    text.axis x="100%" y="177" text-anchor="end" { (label(last)) " " (self.steps) }
                }
                (self.table().folded())
            }
        }
    }

    /// Some of the points, evenly spaced, the last among them.
    fn table(&self) -> Table {
        let names = self.series.iter().map(|series| series.name.as_str());
        let columns = std::iter::once(self.steps.as_str()).chain(names).collect::<Vec<_>>();
        let mut table = Table::new(&self.title, &columns);
        let Some(first) = self.series.first() else { return table };
        let every = first.points.len().div_ceil(ROWS).max(1);
        for at in (0..first.points.len()).rev().step_by(every) {
            let values = self
                .series
                .iter()
                .map(|series| series.points.get(at).map_or(Cell::None, |(_, y)| cell(*y)));
            table.rows.push(std::iter::once(cell(first.points[at].0)).chain(values).collect());
        }
        table.rows.reverse();
        table
    }
}

/// A number of any size, short.
fn label(value: f64) -> String {
    match cell(value) {
        Cell::Count(whole) => count(whole as usize),
        _ => format!("{value:.3}"),
    }
}

fn cell(value: f64) -> Cell {
    let is_whole = value.fract() == 0.0 && (0.0..1e15).contains(&value);
    if is_whole { Cell::Count(value as u64) } else { Cell::Number(value, 3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_few_points_and_the_last() {
        let points = (0..101).map(|step| (f64::from(step), 0.5)).collect();
        let series = vec![Series { name: "loss".into(), points }];
        let lines = Lines { title: "t".into(), steps: "steps".into(), series };
        let table = lines.table();
        assert!(table.rows.len() <= ROWS + 1, "{}", table.rows.len());
        assert_eq!(table.rows.last().unwrap(), &[Cell::Count(100), Cell::Number(0.5, 3)]);
    }

    #[test]
    fn numbers_that_are_none_do_not_break_the_chart() {
        let points = vec![(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 3.0)];
        let series = vec![Series { name: "loss".into(), points }];
        let html =
            Lines { title: "t".into(), steps: "steps".into(), series }.markup().into_string();
        assert!(html.contains("points=\"0.00,100.00 50.00,100.00 100.00,0.00\""), "{html}");
    }
}
