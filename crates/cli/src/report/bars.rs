//! A bar chart that is a table: names, numbers, and their bars beside them.

use maud::Markup;

use super::{Cell, Table};

/// Counts with names, compared.
#[derive(Debug)]
pub struct Bars {
    /// What is shown.
    pub title: String,
    /// What has a name, and what is counted.
    pub columns: [String; 2],
    /// The bars, in order.
    pub bars: Vec<Bar>,
    /// What the shares are of.
    pub whole: u64,
}

/// One of them.
#[derive(Debug)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How long it is.
    pub count: u64,
}

impl Bars {
    /// The chart as HTML.
    pub fn markup(&self) -> Markup {
        let [name, counted] = &self.columns;
        let mut table = Table::new(&self.title, &[name, counted, "share", ""]);
        let longest = self.bars.iter().map(|bar| bar.count).max().unwrap_or(0).max(1) as f64;
        table.rows = self
            .bars
            .iter()
            .map(|Bar { name, count }| {
                let share = Cell::share(*count, self.whole);
                vec![
                    Cell::text(name),
                    Cell::Count(*count),
                    share,
                    Cell::Bar(*count as f64 / longest),
                ]
            })
            .collect();
        table.markup()
    }
}
