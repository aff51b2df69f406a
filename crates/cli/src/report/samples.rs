//! Records to be rated by a person, one after the other; only to be read where nothing is asked about them.
//!
//! The verdicts are kept by the reader's browser and can be saved as a file; without scripts the
//! buttons work all the same, and nothing is kept.

use maud::{Markup, html};
use sha2::{Digest, Sha256};

use super::shown;
use crate::progress::count;

/// Characters of a field that are shown: enough to judge it.
const LONGEST: usize = 8000;

/// Records and what is asked about each.
#[derive(Debug)]
pub struct Samples {
    /// What they were drawn from, in a name that stays the same.
    pub name: String,
    /// The questions.
    pub questions: Vec<Question>,
    /// The records.
    pub samples: Vec<Sample>,
}

/// A question that is answered by `good` or `flawed`.
#[derive(Debug)]
pub struct Question {
    /// Its name in the file of verdicts.
    pub key: &'static str,
    /// The question.
    pub text: &'static str,
}

/// One record.
#[derive(Debug)]
pub struct Sample {
    /// Which it is, from 1.
    pub number: usize,
    /// Names and texts of its fields.
    pub fields: Vec<(&'static str, String)>,
}

impl Samples {
    /// The records as HTML.
    pub fn markup(&self) -> Markup {
        html! {
            div.samples[!self.questions.is_empty()] data-name=(self.name) {
                @for sample in &self.samples { (self.sample(sample)) }
                @if !self.questions.is_empty() {
                    div.verdicts hidden {
                        p { output {} }
                        button type="button" data-do="save" { "Save the verdicts as JSON" }
                        button type="button" data-do="forget" { "Forget them" }
                    }
                }
            }
        }
    }

    fn sample(&self, sample: &Sample) -> Markup {
        let id = sample.id();
        html! {
            article.sample data-id=(id) data-record=(sample.number) {
                p.number { "Record " (count(sample.number)) }
                dl {
                    @for (name, text) in &sample.fields {
                        dt { (name) }
                        @if text.is_empty() { dd.empty { "(empty)" } } @else { dd { (shown(text).up_to(LONGEST)) } }
                    }
                }
                @for Question { key, text } in &self.questions {
                    fieldset {
                        legend { (text) }
                        @for verdict in ["good", "flawed"] {
                            label {
                                input type="radio" name={ (self.name) "/" (id) "/" (key) } data-key=(key) value=(verdict);
                                (verdict)
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Sample {
    /// What its verdicts are kept under: another text under the same number is another record.
    fn id(&self) -> String {
        let fields = serde_json::to_vec(&self.fields).expect("texts are JSON");
        Sha256::digest(fields)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
