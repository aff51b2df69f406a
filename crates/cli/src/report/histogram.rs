//! How often values of each size occur.

use maud::{Markup, html};

use super::{Cell, Table, shown};
use crate::progress::count;

/// Most bins of a histogram.
const BINS: u64 = 24;
/// Height of the chart, without its labels, in pixels.
const HEIGHT: f64 = 150.0;

/// A histogram.
#[derive(Debug)]
pub struct Histogram {
    /// What is counted.
    pub title: String,
    /// What the values are, such as `words`.
    pub unit: String,
    /// Bins in order: their names, and how many values are in each.
    bins: Vec<(String, u64)>,
    /// What stands under the left edge of each bin.
    edges: Vec<String>,
}

impl Histogram {
    /// Of whole numbers. The largest hundredth of them shares a bin without an end.
    pub fn of_numbers(title: &str, unit: &str, values: &[u64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let end = sorted.get((sorted.len() * 99 / 100).min(sorted.len().saturating_sub(1)));
        let end = end.map_or(0, |end| end + 1);
        let widths = (0..).flat_map(|power| [1, 2, 5].map(|step| step * 10u64.pow(power)));
        let width = widths.into_iter().find(|width| end.div_ceil(*width) <= BINS).unwrap_or(1);
        let full = end.div_ceil(width);
        let mut counts = vec![0; full as usize + 1];
        for value in values {
            counts[(value / width).min(full) as usize] += 1;
        }
        let rest = counts.pop().filter(|rest| *rest > 0);
        let name = |bin: u64| match width {
            1 => format!("{bin}"),
            _ => format!("{} to {}", bin * width, (bin + 1) * width - 1),
        };
        let mut bins: Vec<_> = (0..).zip(counts).map(|(bin, count)| (name(bin), count)).collect();
        bins.extend(rest.map(|rest| (format!("{} and more", full * width), rest)));
        let edges = (0..bins.len() as u64).map(|bin| (bin * width).to_string()).collect();
        Self { title: title.into(), unit: unit.into(), bins, edges }
    }

    /// Of numbers from 0 to 1, in 20 bins.
    pub fn of_shares(title: &str, unit: &str, values: &[f64]) -> Self {
        let mut counts = [0; 20];
        for value in values {
            counts[((value * 20.0) as usize).min(19)] += 1;
        }
        let edge = |bin: usize| format!("{:.2}", bin as f64 / 20.0);
        let bins = counts.iter().enumerate();
        let bins = bins.map(|(bin, count)| (format!("{} to {}", edge(bin), edge(bin + 1)), *count));
        let edges = (0..20).map(edge).collect();
        Self { title: title.into(), unit: unit.into(), bins: bins.collect(), edges }
    }

    /// The chart as HTML, its numbers in a table below.
    pub fn markup(&self) -> Markup {
        let highest = self.bins.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
        let step = 100.0 / self.bins.len().max(1) as f64;
        // A label every few bins, so that they do not run into each other on a narrow screen.
        let every = self.bins.len().div_ceil(6).max(1);
        html! {
            figure {
                figcaption { (shown(&self.title)) span.cut { ", " (shown(&self.unit)) } }
                svg.chart role="img" aria-label=(self.title) width="100%" height=(HEIGHT + 24.0) {
                    line.grid x1="0" x2="100%" y1="0.5" y2="0.5" {}
                    text.axis x="100%" y="14" text-anchor="end" { (count(highest as usize)) }
                    @for (bin, (name, number)) in self.bins.iter().enumerate() {
                        @let height = HEIGHT * *number as f64 / highest as f64;
                        @let left = step * bin as f64;
                        rect.mark x=(percent(left + 0.06 * step)) width=(percent(0.88 * step))
                            y=(format!("{:.1}", HEIGHT - height)) height=(format!("{height:.1}")) {
                            title { (name) " " (self.unit) ": " (count(*number as usize)) }
                        }
                        @if bin % every == 0 {
                            text.axis x=(percent(left)) y=(HEIGHT + 16.0) { (self.edges[bin]) }
                        }
                    }
                    line.base x1="0" x2="100%" y1=(HEIGHT) y2=(HEIGHT) {}
                }
                (self.table().folded())
            }
        }
    }

    fn table(&self) -> Table {
        let mut table = Table::new(&self.title, &[&self.unit, "count", "share"]);
        let whole = self.bins.iter().map(|(_, count)| count).sum();
        let row = |(name, count): &(String, u64)| {
            vec![Cell::text(name), Cell::Count(*count), Cell::share(*count, whole)]
        };
        table.rows = self.bins.iter().map(row).collect();
        table
    }
}

fn percent(share: f64) -> String {
    format!("{share:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin_and_a_long_tail_shares_one() {
        let values: Vec<u64> = (0..200).chain([10_000, 50_000]).collect();
        let histogram = Histogram::of_numbers("t", "words", &values);
        assert_eq!(histogram.bins.iter().map(|(_, count)| count).sum::<u64>(), 202);
        assert_eq!(histogram.bins[0], ("0 to 9".into(), 10));
        assert_eq!(histogram.bins.last(), Some(&("200 and more".into(), 2)));
        assert_eq!(Histogram::of_numbers("t", "words", &[3]).bins.len(), 4);
        assert!(Histogram::of_numbers("t", "words", &[]).bins.is_empty());
        let top = Histogram::of_numbers("t", "words", &[u64::MAX / 2, 1]);
        assert_eq!(top.bins.iter().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn one_is_in_the_last_bin_of_shares() {
        let histogram = Histogram::of_shares("t", "ROUGE-L", &[0.0, 0.7, 1.0, f64::NAN]);
        assert_eq!(histogram.bins[0].1, 2);
        assert_eq!((histogram.bins[14].1, histogram.bins[19].1), (1, 1));
    }
}
