//! The filter of generated data: rules that texts must pass, in order.
//!
//! ```text
//!  text ─rules on one text, as named─► ─duplicate of an earlier text?─► ─like an accepted text?─► kept
//! ```
//!
//! What the rules on one text say depends on nothing else, so all threads work on them; the two
//! that know other texts see the texts in order. Duplicates are told before novelty, and novelty
//! last: it is what costs time, and what it says depends on what was kept.

mod duplicates;
mod keyword;
mod rule;
mod text_file;

use rayon::prelude::*;
use serde_json::Value;

use duplicates::Duplicates;
pub use duplicates::Sameness;
pub use rule::{Rule, Rules};
pub use text_file::TextFile;

use crate::{Likeness, Novelty};

/// Why a text was dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// The rule, as it would be named on the command line: `words=4..150`, `duplicate`, `rouge-l=0.7`.
    pub rule: String,
    /// What the rule found: a count, a share, a score, or the word it knows; null for a duplicate.
    pub value: Value,
    /// The text that this one is too like, by its number: of all texts that the filter was told of,
    /// known ones and judged ones, in the order it was told.
    pub nearest: Option<Likeness>,
}

/// Rules, and what they know of the texts so far.
#[derive(Debug, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    duplicates: Option<Duplicates>,
    novelty: Option<(f64, Novelty)>,
    /// For each text in the index of novelty, its number.
    numbers: Vec<usize>,
    /// How many texts the filter was told of.
    told: usize,
}

impl Filter {
    /// A filter of rules on one text, which are asked in this order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Drops texts that are the same as an earlier one that the rules before let pass.
    #[must_use]
    pub fn without_duplicates(mut self, sameness: Sameness) -> Self {
        self.duplicates = Some(Duplicates::new(sameness));
        self
    }

    /// Drops texts whose ROUGE-L with a known or kept text is above the threshold.
    ///
    /// # Panics
    /// As [`Novelty::new`].
    #[must_use]
    pub fn with_novelty(mut self, threshold: f64, tokenization: crate::Tokenization) -> Self {
        self.novelty = Some((threshold, Novelty::new(threshold, tokenization)));
        self
    }

    /// The names of the rules in the order they are asked.
    pub fn names(&self) -> Vec<String> {
        let duplicates = self.duplicates.as_ref().map(|duplicates| duplicates.name().to_owned());
        let novelty = self.novelty.as_ref().map(|(threshold, _)| format!("rouge-l={threshold}"));
        self.rules.iter().map(Rule::to_string).chain(duplicates).chain(novelty).collect()
    }

    /// Tells the filter of texts that those to be judged are compared with.
    pub fn know(&mut self, texts: &[&str]) {
        for text in texts {
            if let Some(duplicates) = &mut self.duplicates {
                duplicates.add(text, self.told);
            }
            if let Some((_, novelty)) = &mut self.novelty {
                novelty.insert(text);
                self.numbers.push(self.told);
            }
            self.told += 1;
        }
    }

    /// Judges texts in order: each is kept, or there is a reason. Texts that are kept are known to
    /// those after them. However the texts are cut into calls, the answers are the same.
    pub fn judge(&mut self, texts: &[&str]) -> Vec<Option<Rejection>> {
        let mut answers: Vec<_> =
            texts.par_iter().with_min_len(64).map(|text| self.rejects(text)).collect();
        let first = self.told;
        self.told += texts.len();
        if let Some(duplicates) = &mut self.duplicates {
            for (place, text) in texts.iter().enumerate() {
                if answers[place].is_none() {
                    answers[place] = duplicates.add(text, first + place);
                }
            }
        }
        if let Some((threshold, novelty)) = &mut self.novelty {
            let places: Vec<_> =
                (0..texts.len()).filter(|place| answers[*place].is_none()).collect();
            let left: Vec<_> = places.iter().map(|place| texts[*place]).collect();
            for (place, accepted) in places.into_iter().zip(novelty.accept(&left)) {
                match accepted {
                    Ok(_) => self.numbers.push(first + place),
                    Err(Likeness { index, score }) => {
                        let nearest = Some(Likeness { index: self.numbers[index], score });
                        let rule = format!("rouge-l={threshold}");
                        answers[place] = Some(Rejection { rule, value: score.into(), nearest });
                    }
                }
            }
        }
        answers
    }

    /// What the rules on one text say.
    fn rejects(&self, text: &str) -> Option<Rejection> {
        self.rules.iter().find_map(|rule| {
            let value = rule.rejects(text)?;
            Some(Rejection { rule: rule.to_string(), value, nearest: None })
        })
    }
}

#[cfg(test)]
mod tests;
