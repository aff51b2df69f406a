//! Tables.

use maud::{Markup, html};

use super::shown;
use crate::progress::count;

/// Rows of cells under names.
#[derive(Debug, Default)]
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its rows: the first cell names the row.
    pub rows: Vec<Vec<Cell>>,
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A whole number.
    Count(u64),
    /// A number with so many digits after its point.
    Number(f64, usize),
    /// A part of a whole, from 0 to 1.
    Share(f64),
    /// The same as a bar.
    Bar(f64),
    /// Nothing is known.
    None,
}

impl Cell {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A part of a whole, if there is a whole.
    pub fn share(part: u64, whole: u64) -> Self {
        if whole == 0 { Self::None } else { Self::Share(part as f64 / whole as f64) }
    }

    /// It as words; a bar has none.
    pub fn words(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Count(number) => count(*number as usize),
            Self::Number(number, digits) => format!("{number:.digits$}"),
            Self::Share(share) => format!("{:.1} %", 100.0 * share),
            Self::Bar(_) => String::new(),
            Self::None => "–".into(),
        }
    }

    fn markup(&self, is_name: bool, is_among_numbers: bool) -> Markup {
        let words = self.words();
        html! {
            @match self {
                Self::Text(_) if is_name => th scope="row" { (shown(&words)) },
                Self::Text(_) => td.right[is_among_numbers] { (shown(&words)) },
                Self::Bar(share) => td.bar {
                    svg aria-hidden="true" width="100%" height="10" {
                        rect.mark width=(format!("{:.2}%", 100.0 * share.clamp(0.0, 1.0))) height="10" rx="2" {}
                    }
                },
                _ => td.number { (words) },
            }
        }
    }
}

impl Table {
    /// A table of these columns.
    pub fn new(caption: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Self { caption: caption.to_owned(), columns, rows: Vec::new() }
    }

    /// The table as HTML; on a narrow screen it is moved sideways.
    pub fn markup(&self) -> Markup {
        let is_number = |column: usize| {
            self.rows
                .iter()
                .any(|row| !matches!(row.get(column), Some(Cell::Text(_) | Cell::Bar(_))))
        };
        html! {
            div.wide tabindex="0" role="region" aria-label=(self.caption) {
                table {
                    caption { (shown(&self.caption)) }
                    thead { tr {
                        @for (column, name) in self.columns.iter().enumerate() {
                            th.number[is_number(column)] scope="col" { (shown(name)) }
                        }
                    } }
                    tbody { @for row in &self.rows {
                        tr { @for (column, cell) in row.iter().enumerate() { (cell.markup(column == 0, is_number(column))) } }
                    } }
                }
            }
        }
    }

    /// The table, folded away: for the numbers behind a chart.
    pub fn folded(&self) -> Markup {
        html! { details { summary { "The numbers" } (self.markup()) } }
    }
}
