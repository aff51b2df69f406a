//! Right and certain replies of a task, counted, and percentages of them as they are published.

use super::{LmentryFile, Mark};

/// Replies of one kind, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Right ones.
    pub right: usize,
    /// Wrong ones.
    pub wrong: usize,
    /// Right ones that the scorer is sure of.
    pub certainly_right: usize,
    /// Wrong ones that it is sure of.
    pub certainly_wrong: usize,
}

impl Counts {
    fn add(&mut self, mark: Mark) {
        let (all, certain) = match mark.right {
            true => (&mut self.right, &mut self.certainly_right),
            false => (&mut self.wrong, &mut self.certainly_wrong),
        };
        *all += 1;
        *certain += usize::from(mark.certain);
    }

    fn plus(self, other: Self) -> Self {
        Self {
            right: self.right + other.right,
            wrong: self.wrong + other.wrong,
            certainly_right: self.certainly_right + other.certainly_right,
            certainly_wrong: self.certainly_wrong + other.certainly_wrong,
        }
    }
}

/// What the replies to one file come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    /// By template.
    pub templates: Vec<Counts>,
    /// By which of two options is the answer: right replies, and all.
    pub by_answer_index: [(usize, usize); 2],
    examples_per_template: usize,
}

impl Tally {
    /// Nothing yet.
    pub fn new(file: &LmentryFile) -> Self {
        Self {
            templates: vec![Counts::default(); file.templates],
            by_answer_index: [(0, 0); 2],
            examples_per_template: file.examples_per_template,
        }
    }

    /// Counts a reply to an example.
    pub fn add(&mut self, template: usize, answer_index: Option<usize>, mark: Mark) {
        if let Some(counts) = self.templates.get_mut(template) {
            counts.add(mark);
        }
        if let Some((right, all)) = answer_index.and_then(|i| self.by_answer_index.get_mut(i)) {
            *right += usize::from(mark.right);
            *all += 1;
        }
    }

    /// Of all templates.
    pub fn counts(&self) -> Counts {
        self.templates.iter().copied().fold(Counts::default(), Counts::plus)
    }

    /// Percentage of all examples that have a right reply, to two decimals. One without a reply counts as
    /// wrong.
    pub fn accuracy(&self) -> f64 {
        self.share(self.counts().right, self.templates.len(), 2)
    }

    /// Percentage of all examples whose score is certain, to two decimals.
    pub fn certainty(&self) -> f64 {
        let counts = self.counts();
        self.share(counts.certainly_right + counts.certainly_wrong, self.templates.len(), 2)
    }

    /// The accuracy of each template, to one decimal.
    pub fn template_accuracies(&self) -> Vec<f64> {
        self.templates.iter().map(|counts| self.share(counts.right, 1, 1)).collect()
    }

    /// The accuracy where the first option is the answer, and where the second is.
    pub fn order_accuracies(&self) -> [f64; 2] {
        self.by_answer_index.map(|(right, all)| match right {
            0 => 0.0,
            right => rounded(right as f64 / all as f64 * 100.0, 2),
        })
    }

    fn share(&self, part: usize, templates: usize, decimals: usize) -> f64 {
        let all = self.examples_per_template * templates;
        rounded(part as f64 / all as f64 * 100.0, decimals)
    }
}

/// Rounded as Python's `round` does it: by the decimal digits of the very number.
pub(super) fn rounded(number: f64, decimals: usize) -> f64 {
    format!("{number:.decimals$}").parse().unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_without_a_reply_counts_as_wrong() {
        let file = LmentryFile {
            name: "bigger_number".into(),
            templates: 3,
            examples_per_template: 2,
            examples: Vec::new(),
        };
        let mut tally = Tally::new(&file);
        tally.add(0, Some(0), Mark::RIGHT);
        tally.add(0, Some(1), Mark::WRONG);
        tally.add(2, Some(1), Mark { right: true, certain: false });
        // 2 of 6, not of 3
        assert_eq!(tally.accuracy(), 33.33);
        assert_eq!(tally.certainty(), 33.33);
        assert_eq!(tally.template_accuracies(), [50.0, 0.0, 50.0]);
        assert_eq!(tally.order_accuracies(), [100.0, 50.0]);
    }

    #[test]
    fn halves_are_rounded_by_what_the_number_is() {
        // round(2.675, 2), round(0.125, 2), round(0.375, 2) in Python
        assert_eq!([2.675, 0.125, 0.375].map(|x| rounded(x, 2)), [2.67, 0.12, 0.38]);
    }
}
