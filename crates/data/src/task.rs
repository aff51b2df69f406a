//! Tasks: records that are read on demand, and the templates that make examples of them.
//!
//! ```text
//!  files ─Shard─► Raw ─Reader─► Item ─Template, options, exemplars─► Record
//!    └ a source: one task, or one for each of its files
//! ```
//!
//! The same task, draw number and seed give the same example: which record it is, in which template, with
//! which options and exemplars.

mod dialog;
mod family;
mod files;
mod item;
mod open;
mod options;
mod pattern;
mod reader;
mod rows;
mod shards;
mod shots;
mod templates;

use std::collections::BTreeMap;

pub use family::{FamilyCard, families};
pub use open::Excluded;
pub use options::OptionStyle;
pub use shots::Shots;

pub(crate) use files::{expand, is_pattern};
pub(crate) use open::open;

use crate::format::Names;
use crate::mixture::Order;
use crate::{
    BadRecord, Body, Defect, Format, Origin, OriginalAnswer, Random, Record, Result, read,
};
pub(crate) use reader::{is_parquet, objects};
pub(crate) use rows::HELD;
pub(crate) use shards::Raw;
use shards::Shard;
use shots::Row;
use templates::Templates;

/// A set of records of one kind, and what becomes of them.
#[derive(Debug)]
pub struct Task {
    name: String,
    /// The index of the source that it came from.
    source: usize,
    shards: Vec<Shard>,
    /// The number of the first record of each shard, and last how many there are.
    starts: Vec<usize>,
    /// How many of them are used.
    len: usize,
    /// How many of these are held out.
    held_out: usize,
    form: Form,
    /// What the task's own random numbers begin with.
    key: u64,
}

/// How a record becomes an example.
#[derive(Debug)]
enum Form {
    /// As its format says.
    Plain { format: Format, fields: BTreeMap<String, String>, original: Option<OriginalAnswer> },
    /// By the templates of a family.
    Templates(Box<Templates>),
}

/// What a draw gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Drawn {
    /// An example.
    Record(Record),
    /// A record that cannot be used.
    Bad(BadRecord),
    /// A record beside which not one exemplar fits, and how many tokens the first would need with it.
    NoRoom(Origin, usize),
}

/// Counts the tokens of a text.
pub(crate) type CountTokens<'a> = &'a dyn Fn(&str) -> Result<usize, Defect>;

impl Task {
    /// Its name: that of the source, or of the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of its source.
    pub fn source(&self) -> usize {
        self.source
    }

    /// How many examples it has to train on.
    pub fn examples(&self) -> usize {
        self.len - self.held_out
    }

    /// How many examples are held out.
    pub fn held_out(&self) -> usize {
        self.held_out
    }

    /// Uses no more records than this.
    fn limit(&mut self, limit: Option<usize>) {
        self.len = limit.map_or(self.len, |limit| limit.min(self.len));
    }

    pub(crate) fn hold_out(&mut self, count: usize) {
        self.held_out = count;
    }

    /// What its files and its templates are, for a fingerprint.
    pub(crate) fn hashes(&self) -> impl Iterator<Item = [u8; 32]> {
        let templates = match &self.form {
            Form::Templates(templates) => Some(templates.hash()),
            Form::Plain { .. } => None,
        };
        self.shards.iter().map(Shard::hash).chain(templates)
    }

    /// The example of a draw: `turn` counts those of this task from 0. Each pass over its records has an
    /// order of its own, in which each of them stands once.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn draw(&self, turn: u64, count: CountTokens<'_>) -> Result<Drawn> {
        self.make(self.record_of("order", turn), turn, count)
    }

    /// The held-out example of this number.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn draw_held_out(&self, number: usize, count: CountTokens<'_>) -> Result<Drawn> {
        let record = match self.is_by_groups() {
            true => self.examples() + number,
            false => self.chosen(self.apart().at(number as u64) as usize),
        };
        self.make(record, number as u64, count)
    }

    /// The example of a record in file order, its number for a draw's.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn in_order(&self, number: usize, count: CountTokens<'_>) -> Result<Drawn> {
        let record = if self.is_by_groups() { number } else { self.chosen(number) };
        self.make(record, number as u64, count)
    }

    /// Which record stands at a place of an endless order, pass after pass.
    fn record_of(&self, purpose: &str, place: u64) -> usize {
        let len = self.drawn_from() as u64;
        let (pass, place) = (place / len, place % len);
        if self.is_by_groups() {
            return self.in_groups(purpose, pass, place as usize);
        }
        let number = Order::new(len, self.key, purpose, pass).at(place);
        match self.held_out {
            0 => self.chosen(number as usize),
            all if all == self.len => self.chosen(number as usize),
            held_out => self.chosen(self.apart().at(held_out as u64 + number) as usize),
        }
    }

    /// How many records are drawn from: those to train on, or, where the whole task is held out, all, as
    /// exemplars of each other.
    fn drawn_from(&self) -> usize {
        if self.examples() == 0 { self.len } else { self.examples() }
    }

    /// The order whose first are held out.
    fn apart(&self) -> Order {
        Order::new(self.len as u64, self.key, "held out", 0)
    }

    /// Of the records that a limit leaves, the one of this number.
    fn chosen(&self, number: usize) -> usize {
        match self.starts.last() {
            Some(&all) if all > self.len => {
                Order::new(all as u64, self.key, "limit", 0).at(number as u64) as usize
            }
            _ => number,
        }
    }

    pub(crate) fn is_by_groups(&self) -> bool {
        self.shards.iter().any(Shard::is_by_groups)
    }

    /// As [`Self::record_of`] where records are read in groups: these are in random order, and so are the
    /// records inside each, so that a group is read once a pass.
    fn in_groups(&self, purpose: &str, pass: u64, place: usize) -> usize {
        let (groups, len) = (self.groups(), self.drawn_from());
        let order = Order::new(groups.len() as u64, self.key, purpose, pass);
        let mut left = place;
        for group in (0..groups.len() as u64).map(|place| order.at(place) as usize) {
            let first = groups[group];
            let size = groups.get(group + 1).copied().unwrap_or(len).min(len).saturating_sub(first);
            if left < size {
                let inside = Order::new(size as u64, self.key ^ first as u64, purpose, pass);
                return first + inside.at(left as u64) as usize;
            }
            left -= size;
        }
        unreachable!("the groups together are as long as the task")
    }

    /// The first record of each group, those beyond the end left out.
    fn groups(&self) -> Vec<usize> {
        let starts = self.shards.iter().zip(&self.starts);
        let groups =
            starts.flat_map(|(shard, start)| shard.groups().map(move |group| start + group));
        groups.filter(|first| *first < self.drawn_from()).collect()
    }

    /// Bytes of the row groups that it reads from at once: of each of its files one.
    pub(crate) fn row_groups(&self) -> u64 {
        self.shards.iter().map(Shard::largest_group).sum()
    }

    /// How many records its files have.
    pub(crate) fn records(&self) -> usize {
        *self.starts.last().expect("there is always a start")
    }

    /// Where the record of a draw stands.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn origin(&self, turn: u64) -> Result<Origin> {
        Ok(self.raw(self.record_of("order", turn))?.0)
    }

    /// What is said around every record, by name.
    pub(crate) fn shared_texts(&self) -> Vec<(String, String)> {
        match &self.form {
            Form::Templates(templates) => templates.reader.shared_texts(),
            Form::Plain { .. } => Vec::new(),
        }
    }

    /// A record as it stands in its file, and where.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub(crate) fn raw(&self, record: usize) -> Result<(Origin, Raw)> {
        let shard = self.starts.partition_point(|start| *start <= record) - 1;
        self.shards[shard].get(record - self.starts[shard])
    }

    fn make(&self, record: usize, turn: u64, count: CountTokens<'_>) -> Result<Drawn> {
        let (origin, raw) = self.raw(record)?;
        let templates = match &self.form {
            Form::Templates(templates) => templates,
            Form::Plain { format, fields, original } => {
                let made = raw.object().map(|object| {
                    read::record(*format, Names(fields), *original, object, origin.clone())
                });
                return Ok(match made {
                    Ok(Ok(record)) => Drawn::Record(record),
                    Ok(Err(bad)) => Drawn::Bad(bad),
                    Err(defect) => Drawn::Bad(BadRecord { origin, id: None, defect }),
                });
            }
        };
        Ok(match self.templated(templates, record, raw, turn, count)? {
            Templated::Body(body) => Drawn::Record(Record::new(body, origin)),
            Templated::NoRoom(tokens) => Drawn::NoRoom(origin, tokens),
            Templated::Bad(defect) => Drawn::Bad(BadRecord { origin, id: None, defect }),
        })
    }

    /// A record in its template, with the exemplars of its draw.
    fn templated(
        &self,
        of: &Templates,
        record: usize,
        raw: Raw,
        turn: u64,
        count: CountTokens<'_>,
    ) -> Result<Templated> {
        let list = of.list();
        let template = &list[(turn % list.len() as u64) as usize];
        let mut random = Random::new(self.key, "item", turn);
        let query = match of.shot(raw, template, &mut random) {
            Ok(query) => query,
            Err(defect) => return Ok(Templated::Bad(defect)),
        };
        let Some(row) = shots::row(of.shots, turn) else {
            let prompt = query.head + &query.shot.input;
            return Ok(Templated::Body(Body::Prompt { prompt, completion: query.shot.target }));
        };
        let mut exemplars = Vec::new();
        for wanted in of.wanted(row, turn) {
            let place = self.record_of("exemplars", wanted.place);
            // Drawn apart from the queries, it may be the query by chance.
            if place != record {
                let template = &list[wanted.template];
                let mut random = Random::new(self.key, "exemplar", wanted.place);
                match of.shot(self.raw(place)?.1, template, &mut random) {
                    Ok(made) => exemplars.push((made.shot, template)),
                    // A record that cannot be used is told where it is the query.
                    Err(_) => continue,
                }
            }
        }
        let (outer, separator) = match row {
            Row::Mixed => (&list[0], Some(shots::SEPARATORS[(self.key % 3) as usize])),
            Row::Same => (template, None),
        };
        let joined = shots::joined(
            &query.head,
            &exemplars,
            (&query.shot, template),
            outer,
            separator,
            of.shot_tokens,
            count,
        );
        Ok(match joined {
            Ok(Ok(prompt)) => {
                Templated::Body(Body::Prompt { prompt, completion: query.shot.target })
            }
            Ok(Err(tokens)) => Templated::NoRoom(tokens),
            Err(defect) => Templated::Bad(defect),
        })
    }
}

/// What a template makes of a record.
enum Templated {
    Body(Body),
    /// Not one exemplar fits, and so many tokens are needed for the first.
    NoRoom(usize),
    Bad(Defect),
}
