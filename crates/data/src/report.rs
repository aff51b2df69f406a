//! What became of the records: nothing is left out in silence.

use serde::{Deserialize, Serialize};

use crate::error::cure;
use crate::{BadRecord, BadRecords, DataConfig, Encoded, Error, Origin, Result, TooLong};

/// How many offenders an error or a report names.
const SHOWN: usize = 10;

/// Why records are left out.
pub(crate) const TOO_LONG: &str = "too long";
/// See [`TOO_LONG`].
pub(crate) const NO_ROOM: &str = "no room for an exemplar";
/// See [`TOO_LONG`].
pub(crate) const CUT_TO_NOTHING: &str = "truncated before anything learned";

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
    /// Prompts that lost some of their responses as too long, among those kept.
    #[serde(default)]
    pub fewer: Option<Dropped>,
    /// Prompts whose responses all have the same score, among those kept.
    #[serde(default)]
    pub tied: Option<Dropped>,
    /// Conversations whose template ends the last answer without EOS, so that one was added.
    pub eos_added: usize,
    /// Examples held out, among those kept.
    pub held_out: usize,
    /// Examples of one epoch, repeats included, without those held out.
    pub train: usize,
    /// Their responses that share a prompt.
    #[serde(default)]
    pub responses: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Their learned tokens.
    pub supervised_tokens: usize,
    /// Tokens of the longest example kept.
    pub longest: usize,
    /// The record of the longest example kept.
    pub longest_origin: Option<Origin>,
    /// Of a mixture, the tasks whose examples were left out, those that lost most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskLoss>,
}

/// How many of a task's examples were left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLoss {
    /// The task.
    pub task: String,
    /// Examples drawn of it.
    pub drawn: usize,
    /// Of these, those left out.
    pub lost: usize,
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

/// What one record became.
#[derive(Debug)]
pub(crate) enum Fate {
    Kept(Encoded),
    /// One more example of the record that was counted before.
    Window(Encoded),
    /// Part of examples that begin in other records.
    Joined(Origin),
    Truncated(Encoded),
    /// Without some of its responses.
    Fewer(Encoded),
    /// With how many tokens it has.
    TooLong(Origin, usize),
    /// Not one exemplar fits beside it unless an example may have so many tokens.
    NoRoom(Origin, usize),
    /// With how many tokens it had.
    TruncatedToNothing(Origin, usize),
    Bad(BadRecord),
}

impl Fate {
    /// The record.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        match self {
            Self::Kept(it) | Self::Window(it) | Self::Truncated(it) | Self::Fewer(it) => {
                Some(&it.origin)
            }
            Self::Joined(origin) => Some(origin),
            _ => self.loss().map(|(_, origin)| origin),
        }
    }

    /// How many tokens it has, if these are too many.
    pub(crate) fn too_long(&self) -> Option<usize> {
        match self {
            Self::TooLong(_, tokens) | Self::NoRoom(_, tokens) => Some(*tokens),
            Self::TruncatedToNothing(_, tokens) => Some(*tokens),
            _ => None,
        }
    }

    /// Why there is no example, and of which record.
    pub(crate) fn loss(&self) -> Option<(&'static str, &Origin)> {
        match self {
            Self::Kept(_) | Self::Window(_) | Self::Truncated(_) | Self::Fewer(_) => None,
            Self::Joined(_) => None,
            Self::TooLong(origin, _) => Some((TOO_LONG, origin)),
            Self::NoRoom(origin, _) => Some((NO_ROOM, origin)),
            Self::TruncatedToNothing(origin, _) => Some((CUT_TO_NOTHING, origin)),
            Self::Bad(bad) => Some((bad.defect.name(), &bad.origin)),
        }
    }
}

/// Counts fates, and remembers the first of each kind.
#[derive(Default)]
pub(crate) struct Tally {
    report: Report,
    bad: Vec<BadRecord>,
    bad_count: usize,
    long: Vec<(Origin, usize)>,
    long_count: usize,
    longest: usize,
}

impl Tally {
    /// Counts one record; gives back what can be trained on.
    pub(crate) fn add(&mut self, fate: Fate) -> Option<Encoded> {
        if let Fate::Window(example) = fate {
            return Some(self.keep(example));
        }
        self.report.records += 1;
        let (reason, origin) = match fate {
            Fate::Kept(example) | Fate::Window(example) => return Some(self.keep(example)),
            Fate::Joined(_) => return None,
            Fate::Truncated(example) => {
                let truncated =
                    self.report.truncated.get_or_insert_with(|| Dropped::new("truncated"));
                truncated.count(&example.origin);
                return Some(self.keep(example));
            }
            Fate::Fewer(example) => {
                let fewer = self.report.fewer.get_or_insert_with(|| Dropped::new(TOO_LONG));
                fewer.count(&example.origin);
                return Some(self.keep(example));
            }
            Fate::TooLong(origin, tokens) => (TOO_LONG, self.long(origin, tokens)),
            Fate::NoRoom(origin, tokens) => (NO_ROOM, self.long(origin, tokens)),
            Fate::TruncatedToNothing(origin, tokens) => {
                self.longest = self.longest.max(tokens);
                (CUT_TO_NOTHING, origin)
            }
            Fate::Bad(bad) => {
                self.bad_count += 1;
                let (name, origin) = (bad.defect.name(), bad.origin.clone());
                if self.bad.len() < SHOWN {
                    self.bad.push(bad);
                }
                (name, origin)
            }
        };
        Dropped::of(&mut self.report.dropped, reason).count(&origin);
        None
    }

    /// Counts records of which no more is known than that they are kept.
    pub(crate) fn add_kept(&mut self, count: usize) {
        self.report.records += count;
        self.report.kept += count;
    }

    /// Counts more records that are left out for a reason that has been counted before; the longest of them
    /// has at most so many tokens.
    pub(crate) fn add_more(&mut self, reason: &str, count: usize, longest: usize) {
        self.report.records += count;
        let known = self.report.dropped.iter_mut().find(|known| known.reason == reason);
        known.expect("it has been counted").count += count;
        self.longest = self.longest.max(longest);
        match reason {
            TOO_LONG | NO_ROOM => self.long_count += count,
            CUT_TO_NOTHING => {}
            _ => self.bad_count += count,
        }
    }

    /// Says which tasks they are of.
    pub(crate) fn of_tasks(&mut self, tasks: Vec<TaskLoss>) {
        self.report.tasks = tasks;
    }

    /// What has been counted so far.
    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    fn long(&mut self, origin: Origin, tokens: usize) -> Origin {
        self.long_count += 1;
        self.longest = self.longest.max(tokens);
        if self.long.len() < SHOWN {
            self.long.push((origin.clone(), tokens));
        }
        origin
    }

    fn keep(&mut self, example: Encoded) -> Encoded {
        self.report.kept += 1;
        if example.responses.len() > 1 && example.is_tied() {
            let tied = self.report.tied.get_or_insert_with(|| Dropped::new("tied"));
            tied.count(&example.origin);
        }
        example
    }

    /// The report, unless there is something that the config does not forgive.
    pub(crate) fn finish(mut self, config: &DataConfig) -> Result<Report> {
        let records = self.report.records;
        let mut errors = Vec::new();
        if config.bad_records == BadRecords::Error && self.bad_count > 0 {
            let mut shown = std::mem::take(&mut self.bad);
            shown.sort_by(|a, b| {
                (&a.origin.file, a.origin.line).cmp(&(&b.origin.file, b.origin.line))
            });
            errors.push(Error::BadRecords { bad: self.bad_count, records, shown });
        }
        if config.too_long == TooLong::Error && self.long_count > 0 {
            errors.push(Error::TooLong {
                long: self.long_count,
                records,
                max_tokens: config.max_tokens,
                longest: self.longest,
                shown: self.long,
            });
        }
        Error::all(errors)?;
        if self.report.kept == 0 {
            let found = self.report.dropped.iter();
            let found = found.map(|dropped| format!("{} {}", dropped.count, dropped.reason));
            return Err(Error::NothingLeft {
                found: found.collect::<Vec<_>>().join(", "),
                longest: (self.longest > 0).then_some((self.longest, config.max_tokens)),
                truncates: config.too_long == TooLong::Truncate,
                cure: cure(&self.bad),
            });
        }
        Ok(self.report)
    }
}

impl Report {
    /// Counts records that are left out beside those that were counted before.
    pub(crate) fn leave_out(&mut self, more: &Dropped) {
        self.records += more.count;
        let dropped = Dropped::of(&mut self.dropped, &more.reason);
        dropped.count += more.count;
        let room = SHOWN.saturating_sub(dropped.first.len());
        dropped.first.extend(more.first.iter().take(room).cloned());
    }
}

impl Dropped {
    /// The one of a reason, which is added if it is new.
    pub(crate) fn of<'d>(all: &'d mut Vec<Self>, reason: &str) -> &'d mut Self {
        let known = all.iter().position(|known| known.reason == reason);
        let index = known.unwrap_or_else(|| {
            all.push(Self::new(reason));
            all.len() - 1
        });
        &mut all[index]
    }

    pub(crate) fn new(reason: &str) -> Self {
        Self { reason: reason.to_owned(), count: 0, first: Vec::new() }
    }

    pub(crate) fn count(&mut self, origin: &Origin) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(origin.clone());
        }
    }
}
