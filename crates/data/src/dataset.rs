//! All sources of a config as ids: read, encoded in parallel, counted, and split.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::random::{Random, shuffled};
use crate::read::Records;
use crate::split::hold_out;
use crate::{
    BadRecord, BadRecords, DataConfig, Encoded, Encoder, Error, Origin, Record, Result,
    SourceConfig, Template, Tokenizer, TooLong, read,
};

/// How many offenders an error or a report names.
const SHOWN: usize = 10;

/// What a run trains on.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The examples of an epoch in file order, those of a repeated source as often as it says.
    pub train: Vec<Arc<Encoded>>,
    /// The examples kept from training, in file order.
    pub held_out: Vec<Arc<Encoded>>,
    /// What became of the records.
    pub report: Report,
    /// SHA-256 of all ids and of what is learned, in hexadecimal: a resumed run compares it.
    pub fingerprint: String,
}

impl Dataset {
    /// The lengths of the training examples, for a [`crate::Plan`].
    pub fn lengths(&self) -> Vec<usize> {
        self.train.iter().map(|example| example.len()).collect()
    }
}

/// What became of the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Records read, after `cap`.
    pub records: usize,
    /// Examples made of them.
    pub kept: usize,
    /// Records left out, by reason.
    pub dropped: Vec<Dropped>,
    /// Examples that lost their tail, among those kept.
    pub truncated: Option<Dropped>,
    /// Conversations whose template ends the last answer without EOS, so that one was added.
    pub eos_added: usize,
    /// Examples held out, among those kept.
    pub held_out: usize,
    /// Examples of one epoch, repeats included, without those held out.
    pub train: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Their learned tokens.
    pub supervised_tokens: usize,
    /// Tokens of the longest example kept.
    pub longest: usize,
    /// The record of the longest example kept.
    pub longest_origin: Option<Origin>,
}

/// Records that share a fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: Vec<Origin>,
}

/// How far the preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Records encoded.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// Everything that decides the dataset.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// The `[data]` table.
    pub config: &'a DataConfig,
    /// The model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Decides what is capped and held out.
    pub seed: u64,
    /// A folder for the encoded records, so that a restart need not make them again.
    pub cache: Option<&'a Path>,
    /// Told now and then how far it is, from any thread.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
}

/// What one record became.
enum Fate {
    Kept(Encoded),
    Truncated(Encoded),
    TooLong(Origin, usize),
    TruncatedToNothing(Origin),
    Bad(BadRecord),
}

impl Preparation<'_> {
    /// Reads, encodes, counts and splits.
    ///
    /// # Errors
    /// If a file cannot be read, the template cannot be used, a record is bad or too long and the
    /// config does not say to leave it out, or nothing is left to train on. All bad records of all
    /// sources are in one error.
    pub fn run(&self) -> Result<Dataset> {
        let config = self.config;
        let sources = self.read()?;
        let date = config.date.parse::<jiff::civil::Date>().ok().map(|date| date.at(0, 0, 0, 0));
        let template = Template::load(&config.template, self.tokenizer, date)?;
        let encoder = Encoder::new(self.tokenizer, template, config.learn.clone());

        let mut tally = Tally::default();
        let mut examples: Vec<(Arc<Encoded>, usize)> = Vec::new();
        let total = sources.iter().map(|source| source.good.len()).sum();
        let done = AtomicUsize::new(0);
        for (source, records) in config.sources.iter().zip(sources) {
            for bad in records.bad {
                tally.add(Fate::Bad(bad));
            }
            let fates: Vec<Fate> = records
                .good
                .par_iter()
                .map(|record| {
                    let fate = self.encode(&encoder, record);
                    self.tell(1 + done.fetch_add(1, Ordering::Relaxed), total);
                    fate
                })
                .collect();
            let kept = fates.into_iter().filter_map(|fate| tally.add(fate));
            examples.extend(kept.map(|example| (Arc::new(example), source.repeat)));
        }
        tally.check(config)?;
        self.split(examples, tally.report)
    }

    /// Reads all sources, and names all that cannot be read.
    fn read(&self) -> Result<Vec<Records>> {
        let mut errors = Vec::new();
        let mut sources = Vec::new();
        for (index, source) in self.config.sources.iter().enumerate() {
            match read(source) {
                Ok(records) => sources.push(self.cap(source, index, records)),
                Err(error) => errors.push(error),
            }
        }
        Error::all(errors)?;
        Ok(sources)
    }

    /// At most `cap` records: a random choice, in file order.
    fn cap(&self, source: &SourceConfig, index: usize, mut records: Records) -> Records {
        let Some(cap) = source.cap.filter(|cap| *cap < records.good.len()) else { return records };
        let random = Random::new(self.seed, "cap", index as u64);
        let mut chosen = shuffled(records.good.len(), random);
        chosen.truncate(cap);
        let mut keep = vec![false; records.good.len()];
        chosen.iter().for_each(|index| keep[*index as usize] = true);
        let mut keep = keep.into_iter();
        records.good.retain(|_| keep.next() == Some(true));
        records
    }

    fn encode(&self, encoder: &Encoder<'_>, record: &Record) -> Fate {
        let DataConfig { max_tokens, too_long, .. } = self.config;
        let mut example = match encoder.encode(record) {
            Ok(example) => example,
            Err(defect) => return Fate::Bad(BadRecord { origin: record.origin.clone(), defect }),
        };
        if example.len() <= *max_tokens {
            return Fate::Kept(example);
        }
        if *too_long != TooLong::Truncate {
            return Fate::TooLong(example.origin, example.ids.len());
        }
        example.truncate(*max_tokens);
        match example.supervised() {
            0 => Fate::TruncatedToNothing(example.origin),
            _ => Fate::Truncated(example),
        }
    }

    /// About a hundred times in all.
    fn tell(&self, done: usize, total: usize) {
        if let Some(progress) = self.progress
            && (done % (total / 100).max(1) == 0 || done == total)
        {
            progress(Progress { done, total });
        }
    }

    fn split(&self, examples: Vec<(Arc<Encoded>, usize)>, mut report: Report) -> Result<Dataset> {
        let all: Vec<&Encoded> = examples.iter().map(|(example, _)| example.as_ref()).collect();
        let count = self.config.held_out.of(all.len());
        let is_held_out = hold_out(&all, count, self.seed)?;
        let longest = all.iter().max_by_key(|example| example.len());
        report.longest = longest.map_or(0, |longest| longest.len());
        report.longest_origin = longest.map(|longest| longest.origin.clone());
        report.eos_added = all.iter().filter(|example| example.eos_added).count();

        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for ((example, repeat), is_held_out) in examples.into_iter().zip(is_held_out) {
            match is_held_out {
                true => held_out.push(example),
                false => train.extend(std::iter::repeat_n(example, repeat)),
            }
        }
        report.held_out = held_out.len();
        report.train = train.len();
        report.tokens = train.iter().map(|example| example.len()).sum();
        report.supervised_tokens = train.iter().map(|example| example.supervised()).sum();
        let fingerprint = fingerprint(&train, &held_out);
        Ok(Dataset { train, held_out, report, fingerprint })
    }
}

/// Counts fates, and remembers the first of each kind.
#[derive(Default)]
struct Tally {
    report: Report,
    bad: Vec<BadRecord>,
    bad_count: usize,
    long: Vec<(Origin, usize)>,
    long_count: usize,
    longest: usize,
}

impl Tally {
    fn add(&mut self, fate: Fate) -> Option<Encoded> {
        self.report.records += 1;
        let (reason, origin) = match fate {
            Fate::Kept(example) => {
                self.report.kept += 1;
                return Some(example);
            }
            Fate::Truncated(example) => {
                self.report.kept += 1;
                let truncated =
                    self.report.truncated.get_or_insert_with(|| Dropped::new("truncated"));
                truncated.count(&example.origin);
                return Some(example);
            }
            Fate::TooLong(origin, tokens) => {
                self.long_count += 1;
                self.longest = self.longest.max(tokens);
                if self.long.len() < SHOWN {
                    self.long.push((origin.clone(), tokens));
                }
                ("too long", origin)
            }
            Fate::TruncatedToNothing(origin) => ("truncated before anything learned", origin),
            Fate::Bad(bad) => {
                self.bad_count += 1;
                let (name, origin) = (bad.defect.name(), bad.origin.clone());
                if self.bad.len() < SHOWN {
                    self.bad.push(bad);
                }
                (name, origin)
            }
        };
        let dropped = &mut self.report.dropped;
        let known = dropped.iter().position(|known| known.reason == reason);
        let index = known.unwrap_or_else(|| {
            dropped.push(Dropped::new(reason));
            dropped.len() - 1
        });
        dropped[index].count(&origin);
        None
    }

    /// What the config does not forgive.
    fn check(&mut self, config: &DataConfig) -> Result<()> {
        let records = self.report.records;
        let mut errors = Vec::new();
        if config.bad_records == BadRecords::Error && self.bad_count > 0 {
            let shown = std::mem::take(&mut self.bad);
            errors.push(Error::BadRecords { bad: self.bad_count, records, shown });
        }
        if config.too_long == TooLong::Error && self.long_count > 0 {
            errors.push(Error::TooLong {
                long: self.long_count,
                records,
                max_tokens: config.max_tokens,
                longest: self.longest,
                shown: std::mem::take(&mut self.long),
            });
        }
        Error::all(errors)?;
        if self.report.kept == 0 {
            let found = self.report.dropped.iter();
            let found = found.map(|dropped| format!("{} {}", dropped.count, dropped.reason));
            return Err(Error::NothingLeft { found: found.collect::<Vec<_>>().join(", ") });
        }
        Ok(())
    }
}

impl Dropped {
    fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned(), count: 0, first: Vec::new() }
    }

    fn count(&mut self, origin: &Origin) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(origin.clone());
        }
    }
}

/// SHA-256 over the number of examples on each side, and each one's length, ids and learned flags.
fn fingerprint(train: &[Arc<Encoded>], held_out: &[Arc<Encoded>]) -> String {
    let mut hash = Sha256::new();
    for side in [train, held_out] {
        hash.update((side.len() as u64).to_le_bytes());
        for example in side {
            hash.update((example.len() as u64).to_le_bytes());
            let ids: Vec<u8> = example.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            hash.update(ids);
            let learned: Vec<u8> =
                example.learned.iter().map(|learned| u8::from(*learned)).collect();
            hash.update(learned);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
