//! The page kit: one HTML file that needs no network, made of a few parts.
//!
//! ```text
//!  Page ─► Section (a heading) ─► parts: facts, Table, Bars, Histogram, Lines, Sunburst, Samples
//!                └► Section …
//! ```
//! A part is made by a plain struct and becomes [`Markup`]. Whatever text goes into it is escaped by
//! `maud` and spelled out by [`shown`] where a reader could not see it; the page's own policy forbids
//! every script but ours and every address, should anything slip through. What a chart shows stands in
//! a table beside it. Colours follow the reader's light or dark setting; on paper it is light.

mod bars;
pub mod card;
mod contamination;
pub mod data_run;
pub mod evaluation;
mod histogram;
mod intervals;
pub mod judging;
mod lines;
mod samples;
mod sunburst;
mod table;
mod text;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

pub use bars::{Bar, Bars};
pub use histogram::Histogram;
pub use intervals::{Interval, Intervals};
pub use lines::{Lines, Series};
pub use samples::{Question, Sample, Samples};
pub use sunburst::{Branch, Sunburst};
pub use table::{Cell, Table};
pub use text::shown;

const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/rate.js");

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its name.
    pub title: String,
    /// What it is about, in a sentence.
    pub about: String,
    /// What it shows.
    pub sections: Vec<Section>,
}

/// A heading and what stands under it.
#[derive(Debug)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What comes first.
    pub parts: Vec<Markup>,
    /// What comes then, each under a smaller heading.
    pub sections: Vec<Section>,
}

impl Section {
    /// A section without smaller ones.
    pub fn new(title: &str, parts: Vec<Markup>) -> Self {
        Self { title: title.to_owned(), parts, sections: Vec::new() }
    }

    fn markup(&self, level: usize, id: &str) -> Markup {
        html! {
            section id=(id) {
                @match level {
                    0 => h2 { (shown(&self.title)) },
                    1 => h3 { (shown(&self.title)) },
                    _ => h4 { (shown(&self.title)) },
                }
                @for part in &self.parts { (part) }
                @for (section, id) in self.numbered(id) { (section.markup(level + 1, &id)) }
            }
        }
    }

    fn contents(&self, id: &str) -> Markup {
        html! {
            li {
                a href={ "#" (id) } { (shown(&self.title)) }
                @if !self.sections.is_empty() {
                    ul { @for (section, id) in self.numbered(id) { (section.contents(&id)) } }
                }
            }
        }
    }

    fn numbered(&self, id: &str) -> impl Iterator<Item = (&Self, String)> {
        (1..).zip(&self.sections).map(move |(number, section)| (section, format!("{id}-{number}")))
    }
}

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let digest = BASE64_STANDARD.encode(Sha256::digest(SCRIPT));
        // No address may be loaded, whatever stands in the page.
        let policy = format!(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; \
             base-uri 'none'; form-action 'none'"
        );
        let sections = (1..).zip(&self.sections);
        let sections = sections.map(|(number, section)| (section, format!("s{number}")));
        let sections = sections.collect::<Vec<_>>();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (shown(&self.title)) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (shown(&self.title)) }
                        p { (shown(&self.about)) }
                    }
                    nav aria-label="Contents" {
                        ul { @for (section, id) in &sections { (section.contents(id)) } }
                    }
                    main { @for (section, id) in &sections { (section.markup(0, id)) } }
                    footer { p { "Made by albacore " (env!("CARGO_PKG_VERSION")) "." } }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        };
        page.into_string()
    }
}

/// A sentence or a few.
pub fn paragraph(text: &str) -> Markup {
    html! { p { (shown(text)) } }
}

/// Something that a reader must not miss.
pub fn notice(text: &str) -> Markup {
    html! { p.notice role="note" { (shown(text)) } }
}

/// Numbers that say most, each with its name.
pub fn facts(facts: &[(&str, String)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts { div { dt { (name) } dd { (shown(value)) } } }
        }
    }
}
