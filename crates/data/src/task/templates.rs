//! A record in a template: its fields, options and answer in the places that the template has for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::format::Names;
use crate::task::family::{Family, Template};
use crate::task::item::Item;
use crate::task::reader::Reader;
use crate::task::shards::Raw;
use crate::task::shots::{self, Row, Shot, Shots};
use crate::task::{OptionStyle, dialog, options, pattern};
use crate::{Defect, Random, Result};

/// What a source says of its templates.
#[derive(Debug)]
pub(super) struct Templates {
    pub(super) reader: Reader,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) options: Vec<String>,
    pub(super) family: Arc<Family>,
    pub(super) inverted: bool,
    pub(super) option_style: OptionStyle,
    pub(super) shots: Shots,
    pub(super) shot_tokens: usize,
    /// Which templates mixed exemplars are written in.
    pub(super) mix: Vec<usize>,
}

/// A record in a template.
pub(super) struct Made {
    pub(super) head: String,
    pub(super) shot: Shot,
}

impl Templates {
    pub(super) fn list(&self) -> &[Template] {
        if self.inverted { &self.family.inversions } else { &self.family.templates }
    }

    /// What the templates say, wherever they come from: a comment in their file alters nothing.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(format!("{:?}", self.list())).into()
    }

    /// The exemplars of a draw's row.
    pub(super) fn wanted(&self, row: Row, turn: u64) -> Vec<shots::Wanted> {
        let count = self.list().len();
        match (row, &self.reader) {
            (Row::Same, Reader::SuperNi(_)) => shots::wanted_of_super_ni(turn, count),
            _ => shots::wanted(row, turn, count, &self.mix),
        }
    }

    pub(super) fn shot(
        &self,
        raw: Raw,
        template: &Template,
        random: &mut Random,
    ) -> Result<Made, Defect> {
        let names = Names(&self.fields);
        let mut item = self.reader.item(raw, names, &self.options, random)?;
        if !item.turns.is_empty() {
            let dialog = dialog::shown(&item.turns, random);
            item.set("dialog", dialog);
        }
        let answer = item.get("answer").unwrap_or_default().to_owned();
        let style =
            if template.input.has_options() { self.option_style } else { OptionStyle::None };
        let (shown, named) = options::shown(style, &item.options, &answer, random);
        let fill = |pattern: &pattern::Pattern, answer: &str, shown: &str| {
            let missing = |field: String| self.missing(&item, field);
            if answer.is_empty() && pattern.fields().any(|field| field == "answer") {
                return Err(missing("answer".into()));
            }
            pattern.fill(&item, answer, shown).map_err(missing)
        };
        let head = fill(&template.head, &answer, "")?;
        let input = fill(&template.input, &answer, &shown)?;
        let target = fill(&template.target, &named, "")?;
        Ok(Made { head, shot: Shot { input, target } })
    }

    fn missing(&self, item: &Item, field: String) -> Defect {
        let field = self.fields.get(&field).cloned().unwrap_or(field);
        let mut found: Vec<_> = item.fields.iter().map(|(name, _)| name.clone()).collect();
        found.extend((!item.options.is_empty()).then(|| "options".to_owned()));
        Defect::MissingField { what: "the record".into(), field, found }
    }
}
