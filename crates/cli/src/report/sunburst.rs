//! Parts of parts, as two rings: what there is most of, and what that goes with.

use std::f64::consts::TAU;

use maud::{Markup, html};

use super::{Cell, Table, shown};
use crate::progress::count;

/// Half the width of the chart, its centre at 0.
const OUTER: f64 = 300.0;
/// Where the inner ring ends and the outer begins.
const MIDDLE: f64 = 175.0;
const INNER: f64 = 60.0;
/// Characters of a label; a longer one is cut.
const LABEL: usize = 15;
/// The narrowest part that has a label: one line of text, in pixels along its ring.
const LINE: f64 = 13.0;

/// Two rings of parts.
#[derive(Debug)]
pub struct Sunburst {
    /// What it shows.
    pub title: String,
    /// What the parts of the inner ring are, and those of the outer.
    pub columns: [String; 2],
    /// The inner ring's parts, in order.
    pub branches: Vec<Branch>,
}

/// A part of the inner ring and those of the outer that belong to it.
#[derive(Debug, PartialEq)]
pub struct Branch {
    /// Its name.
    pub name: String,
    /// How much there is of it in all, for the table.
    pub count: u64,
    /// Names and sizes of the outer ring's parts: the branch is drawn as wide as all of them.
    pub leaves: Vec<(String, u64)>,
}

impl Branch {
    fn width(&self) -> u64 {
        self.leaves.iter().map(|(_, size)| size).sum()
    }
}

impl Sunburst {
    /// The chart as HTML, its numbers in a table below.
    pub fn markup(&self) -> Markup {
        let whole = self.branches.iter().map(Branch::width).sum::<u64>().max(1);
        let angle = |count: u64| TAU * count as f64 / whole as f64;
        let starts = self.branches.iter().scan(0, |start, branch| {
            let here = *start;
            *start += branch.width();
            Some(here)
        });
        // The golden angle keeps neighbours apart, however many there are.
        let hue = |number: usize| format!("--hue:{:.0}", (210.0 + 137.508 * number as f64) % 360.0);
        html! {
            figure.sunburst {
                figcaption { (shown(&self.title)) }
                svg role="img" aria-label=(self.title) viewBox="-310 -310 620 620" {
                    @for (number, (branch, start)) in self.branches.iter().zip(starts).enumerate() {
                        g style=(hue(number)) {
                            (part("inner", (INNER, MIDDLE), angle(start), angle(branch.width()), &branch.name, branch.count))
                            @for (at, (name, size)) in branch.leaves.iter().enumerate() {
                                @let before = branch.leaves[..at].iter().map(|(_, size)| size).sum::<u64>();
                                (part("outer", (MIDDLE, OUTER), angle(start + before), angle(*size), name, *size))
                            }
                        }
                    }
                }
                (self.table().folded())
            }
        }
    }

    fn table(&self) -> Table {
        let [branch, leaf] = &self.columns;
        let mut table = Table::new(&self.title, &[branch, "count", leaf]);
        table.rows = self
            .branches
            .iter()
            .map(|branch| {
                let leaves = branch
                    .leaves
                    .iter()
                    .map(|(name, size)| format!("{name} ({})", count(*size as usize)));
                let leaves = leaves.collect::<Vec<_>>().join(", ");
                vec![Cell::text(&branch.name), Cell::Count(branch.count), Cell::text(leaves)]
            })
            .collect();
        table
    }
}

/// One part of a ring, with its name along the middle of it.
fn part(
    class: &str,
    (from, to): (f64, f64),
    start: f64,
    angle: f64,
    name: &str,
    size: u64,
) -> Markup {
    // A whole ring would begin where it ends, which is no arc.
    let end = start + angle.min(TAU - 1e-4);
    let middle = (start + end) / 2.0;
    let (radius, turned) = ((from + to) / 2.0, middle.to_degrees() - 90.0);
    // On the left half the text is turned, so that none stands on its head.
    let turned = if middle > TAU / 2.0 { turned + 180.0 } else { turned };
    let (x, y) = point(radius, middle);
    html! {
        path class=(class) d=(ring(from, to, start, end)) {
            title { (shown(name).up_to(100)) ": " (count(size as usize)) }
        }
        @if angle * radius >= LINE {
            text class=(class) transform=(format!("translate({x:.1} {y:.1}) rotate({turned:.1})")) { (label(name)) }
        }
    }
}

/// The outline between two radii and two angles.
fn ring(from: f64, to: f64, start: f64, end: f64) -> String {
    let long = u8::from(end - start > TAU / 2.0);
    let [a, b, c, d] =
        [(to, start), (to, end), (from, end), (from, start)].map(|(radius, angle)| {
            let (x, y) = point(radius, angle);
            format!("{x:.2} {y:.2}")
        });
    format!("M{a} A{to} {to} 0 {long} 1 {b} L{c} A{from} {from} 0 {long} 0 {d} Z")
}

/// Angles begin at the top and go round as a clock's hand.
fn point(radius: f64, angle: f64) -> (f64, f64) {
    (radius * angle.sin(), -radius * angle.cos())
}

fn label(name: &str) -> String {
    let (name, left_out) = shown(name).up_to(LABEL).cut();
    if left_out == 0 { name } else { format!("{name}…") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_of_one_part_is_still_drawn_and_narrow_parts_have_no_label() {
        let leaves = vec![("story".to_owned(), 999), ("tiny".to_owned(), 1)];
        let branches = vec![Branch { name: "write".into(), count: 1000, leaves }];
        let columns = ["verb".to_owned(), "objects".to_owned()];
        let html = Sunburst { title: "t".into(), columns, branches }.markup().into_string();
        assert_eq!(html.matches("<path").count(), 3);
        assert_eq!(html.matches("<text").count(), 2);
        assert!(html.contains("<title>tiny: 1</title>"), "{html}");
        assert!(!html.contains("NaN"), "{html}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let columns = ["verb".to_owned(), "objects".to_owned()];
        let html = Sunburst { title: "t".into(), columns, branches: Vec::new() }.markup();
        assert!(!html.into_string().contains("<path"));
    }
}
