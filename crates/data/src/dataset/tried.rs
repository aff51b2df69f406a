//! What is tried of a mixture before the first step, so that what cannot be used is told then.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::error::cure;
use crate::report::{Fate, Tally};
use crate::task::Task;
use crate::{
    BadRecords, DataConfig, Drawn, Encoder, Error, Mixture, Origin, Preparation, Report, Result,
    StreamTally, TaskLoss, TooLong,
};

/// Draws of each task that are tried of a large mixture: as many as a family has templates.
const TRIED: usize = 10;
/// Up to so many examples in all, every one of them is tried: their templates take about a second, and
/// their lengths some seconds.
const ALL_TRIED: usize = 100_000;
/// Draws of a task that are tried for one that can be used.
const TRIED_FOR_ONE: usize = 10_000;
/// Records without an example that are kept of each reason: to be named, and to find what helps.
const SHOWN: usize = 10;

impl Preparation<'_> {
    /// Tries what a config wants to be told of, of all records if they are not too many; and finds an
    /// example of every task.
    ///
    /// # Errors
    /// All records that the config does not forgive, as far as they were tried; all tasks of which nothing
    /// is left.
    pub(super) fn try_each(&self, encoder: &Encoder<'_>, mixture: &Mixture) -> Result<()> {
        let DataConfig { bad_records, too_long, .. } = self.config;
        let lengths = *too_long == TooLong::Error;
        if lengths || *bad_records == BadRecords::Error {
            let most = if mixture.examples() <= ALL_TRIED { usize::MAX } else { TRIED };
            let tried = |task: &Task| task.examples().min(most);
            let tally = self.tally(lengths.then_some(encoder), mixture, &tried)?;
            match tally.finish(self.config) {
                // Told below, by task.
                Ok(_) | Err(Error::NothingLeft { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let tasks = mixture.tasks().par_iter();
        let empty: Vec<Error> =
            tasks.filter_map(|task| self.try_task(encoder, task).err()).collect();
        Error::all(empty)
    }

    /// What becomes of every record of a mixture in its first pass, and of those that are held out; and an
    /// error if there are any that the config does not forgive.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn check(&self, encoder: &Encoder<'_>, mixture: &Mixture) -> Result<(Report, Result<()>)> {
        let all = |task: &Task| task.examples() + task.held_out();
        let tally = self.tally(Some(encoder), mixture, &all)?;
        Ok((tally.report().clone(), tally.finish(self.config).map(drop)))
    }

    /// Tries so many draws of each task, with their lengths if there is an encoder.
    fn tally(
        &self,
        encoder: Option<&Encoder<'_>>,
        mixture: &Mixture,
        draws: &(dyn Fn(&Task) -> usize + Sync),
    ) -> Result<Tally> {
        let total = mixture.tasks().iter().map(draws).sum();
        let done = AtomicUsize::new(0);
        let tried = mixture.tasks().par_iter().map(|task| {
            let lost = (0..draws(task)).into_par_iter().map(|number| {
                self.tell(1 + done.fetch_add(1, Ordering::Relaxed), total);
                self.lost(encoder, task, number)
            });
            let lost = lost
                .try_fold(Losses::default, |losses, lost| -> Result<_> { Ok(losses.and(lost?)) });
            lost.try_reduce(Losses::default, |one, other| Ok(one.join(other)))
        });
        let tried = tried.collect::<Result<Vec<_>>>()?;
        let tasks = mixture.tasks().iter().zip(&tried).map(|(task, losses)| TaskLoss {
            task: task.name().to_owned(),
            drawn: draws(task),
            lost: losses.count(),
        });
        let mut tasks: Vec<_> = tasks.filter(|task| task.lost > 0).collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.lost));
        let losses = tried.into_iter().fold(Losses::default(), Losses::join);
        let mut tally = Tally::default();
        tally.add_kept(total - losses.count());
        losses.tell(&mut tally);
        tally.of_tasks(tasks);
        Ok(tally)
    }

    /// What becomes of a draw of a task that gives no example; `None` if it gives one. Numbers beyond those
    /// to train on are of held-out examples.
    fn lost(
        &self,
        encoder: Option<&Encoder<'_>>,
        task: &Task,
        number: usize,
    ) -> Result<Option<Lost>> {
        // Without lengths, all exemplars fit.
        let count = |text: &str| encoder.map_or(Ok(0), |_| self.count(text));
        let drawn = match number.checked_sub(task.examples()) {
            None => task.draw(number as u64, &count)?,
            Some(number) => task.draw_held_out(number, &count)?,
        };
        let fate = match (encoder, drawn) {
            (None, Drawn::Record(_)) => return Ok(None),
            (None, Drawn::Bad(bad)) => Fate::Bad(bad),
            (None, Drawn::NoRoom(..)) => return Ok(None),
            (Some(encoder), drawn) => self.fate(encoder, drawn),
        };
        let loss = fate.loss().map(|(reason, origin)| (reason, origin.clone()));
        Ok(loss.map(|(reason, origin)| Lost { fate, reason, origin }))
    }

    /// Looks for an example of a task that can be used.
    ///
    /// # Errors
    /// If there is none.
    fn try_task(&self, encoder: &Encoder<'_>, task: &Task) -> Result<()> {
        let (mut tally, mut bad, mut shortest) = (StreamTally::default(), Vec::new(), usize::MAX);
        let examples = if task.examples() > 0 { task.examples() } else { task.held_out() };
        let tried = examples.min(TRIED_FOR_ONE);
        for number in 0..tried {
            let Some(Lost { fate, reason, origin }) = self.lost(Some(encoder), task, number)?
            else {
                return Ok(());
            };
            tally.drop(reason, &origin);
            match fate {
                Fate::TooLong(_, tokens) => shortest = shortest.min(tokens),
                Fate::Bad(record) if bad.len() < SHOWN => bad.push(record),
                _ => {}
            }
        }
        let (name, found) = (task.name().to_owned(), tally.losses());
        let shortest = (shortest < usize::MAX).then_some(shortest);
        Err(Error::NothingOfTask { name, tried, examples, found, shortest, cure: cure(&bad) })
    }
}

/// A draw that gives no example.
struct Lost {
    fate: Fate,
    reason: &'static str,
    origin: Origin,
}

impl Lost {
    fn place(&self) -> (&Path, u32) {
        (&self.origin.file, self.origin.line)
    }
}

/// Draws that give no example, by reason: however many there are, the first of each are kept.
#[derive(Default)]
struct Losses(BTreeMap<&'static str, Alike>);

/// Draws that give no example for the same reason.
#[derive(Default)]
struct Alike {
    count: usize,
    /// Tokens of the longest, of those that are too long.
    longest: usize,
    /// The first of them, in the order of the files.
    first: Vec<Lost>,
}

impl Losses {
    fn and(mut self, lost: Option<Lost>) -> Self {
        if let Some(lost) = lost {
            let longest = lost.fate.too_long().unwrap_or(0);
            let of = self.0.entry(lost.reason).or_default();
            of.join(Alike { count: 1, longest, first: vec![lost] });
        }
        self
    }

    fn join(mut self, other: Self) -> Self {
        for (reason, of) in other.0 {
            self.0.entry(reason).or_default().join(of);
        }
        self
    }

    fn count(&self) -> usize {
        self.0.values().map(|of| of.count).sum()
    }

    /// Counts all of them, those that are kept in the order of the files.
    fn tell(self, tally: &mut Tally) {
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for (reason, of) in self.0 {
            others.push((reason, of.count - of.first.len(), of.longest));
            first.extend(of.first);
        }
        first.sort_by(|a, b| a.place().cmp(&b.place()));
        first.into_iter().for_each(|lost| drop(tally.add(lost.fate)));
        others
            .into_iter()
            .for_each(|(reason, more, longest)| tally.add_more(reason, more, longest));
    }
}

impl Alike {
    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
        self.first.extend(other.first);
        self.first.sort_by(|a, b| a.place().cmp(&b.place()));
        self.first.truncate(SHOWN);
    }
}
