//! Texts that are the same as an earlier one.

use std::collections::HashMap;
use std::str::FromStr;

use serde_json::Value;

use super::Rejection;
use crate::Likeness;
use crate::rouge::is_python_space;

/// When two texts are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sameness {
    /// But for upper and lower case, and blanks.
    #[default]
    Normalised,
    /// Byte for byte.
    Exact,
}

impl Sameness {
    /// As the rule is named on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normalised => "duplicate",
            Self::Exact => "duplicate=exact",
        }
    }
}

impl FromStr for Sameness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "normalised" => Ok(Self::Normalised),
            "exact" => Ok(Self::Exact),
            _ => Err("wanted `normalised` or `exact`".into()),
        }
    }
}

/// The texts so far.
#[derive(Debug)]
pub(super) struct Duplicates {
    sameness: Sameness,
    /// The number of the first text of each form.
    numbers: HashMap<Box<str>, usize>,
}

impl Duplicates {
    pub(super) fn new(sameness: Sameness) -> Self {
        Self { sameness, numbers: HashMap::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.sameness.name()
    }

    /// Adds a text, unless there is one that is the same.
    pub(super) fn add(&mut self, text: &str, number: usize) -> Option<Rejection> {
        let form: Box<str> = match self.sameness {
            Sameness::Exact => text.into(),
            Sameness::Normalised => normalised(text).into(),
        };
        let first = *self.numbers.entry(form).or_insert(number);
        (first != number).then(|| Rejection {
            rule: self.name().into(),
            value: Value::Null,
            nearest: Some(Likeness { index: first, score: 1.0 }),
        })
    }
}

/// The text in lower case, runs of blanks as one, none at the ends.
fn normalised(text: &str) -> String {
    let words: Vec<_> = text.split(is_python_space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}
