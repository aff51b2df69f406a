//! The stream of a mixture: examples as they are drawn, packed into batches.

use std::collections::VecDeque;

use rayon::prelude::*;

use crate::report::Fate;
use crate::{
    BadRecords, Batch, Dropped, Encoded, Encoder, Error, Mixture, Origin, Preparation, Result,
    TaskLoss, TooLong,
};

/// Positions that are drawn and encoded at once, on all cores.
const BLOCK: u64 = 256;
/// So many positions in a row without an example, and there is none to wait for.
const DRY: usize = 16_384;

/// How far a stream has been read: all that it needs to go on from there.
pub type Position = u64;

/// What became of the positions so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Positions drawn.
    pub drawn: usize,
    /// Examples made of them.
    pub kept: usize,
    /// Of these, those that lost their tail.
    pub truncated: usize,
    /// Those left out, by reason.
    pub dropped: Vec<Dropped>,
}

/// What a mixture's stream is made of.
#[derive(Clone, Copy)]
pub struct MixtureSource<'a> {
    /// The tasks and their rates.
    pub mixture: &'a Mixture,
    /// How long examples may be, and what becomes of those that cannot be used.
    pub preparation: Preparation<'a>,
    /// What makes ids of them.
    pub encoder: &'a Encoder<'a>,
}

impl std::fmt::Debug for MixtureSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a mixture of {} tasks", self.mixture.tasks().len())
    }
}

/// Draws, encodes and packs the examples of a mixture.
pub struct MixtureStream<'a> {
    source: MixtureSource<'a>,
    /// The position behind the last example that was given out.
    position: Position,
    /// The first position that has not been drawn, and how often each task stands before it.
    drawn: Position,
    turns: Vec<u64>,
    /// Examples that were drawn and not given out; in its place, an error that ends the stream when it is
    /// reached, and not before: where a run ends does not depend on where its blocks begin.
    ready: VecDeque<Result<(Position, Encoded)>>,
    tally: Tally,
    /// How often each task was drawn, and how often nothing came of it.
    drawn_of: Vec<usize>,
    lost_of: Vec<usize>,
    /// Positions since the last that gave an example.
    dry: usize,
}

impl<'a> MixtureStream<'a> {
    /// The stream from its start.
    pub fn new(source: MixtureSource<'a>) -> Self {
        Self {
            turns: vec![0; source.mixture.tasks().len()],
            source,
            position: 0,
            drawn: 0,
            ready: VecDeque::new(),
            tally: Tally::default(),
            drawn_of: vec![0; source.mixture.tasks().len()],
            lost_of: vec![0; source.mixture.tasks().len()],
            dry: 0,
        }
    }

    /// How far it has been read.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What became of the positions that were drawn.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The mixture.
    pub fn mixture(&self) -> &'a Mixture {
        self.source.mixture
    }

    /// Goes on from a position: what comes then is what would have come without stopping there.
    pub fn seek(&mut self, position: Position) {
        (self.position, self.drawn) = (position, position);
        self.turns = self.source.mixture.turns_before(position);
        self.ready.clear();
        self.dry = 0;
    }

    /// The next example and its position.
    ///
    /// # Errors
    /// If a file cannot be read, a record is bad or too long and the config does not say to leave it out,
    /// or nothing comes any more.
    pub fn example(&mut self) -> Result<(Position, Encoded)> {
        while self.ready.is_empty() {
            self.draw()?;
        }
        let next = self.ready.pop_front().expect("some are ready")?;
        self.position = next.0 + 1;
        Ok(next)
    }

    /// The next batch: examples in order, as many as the budget of tokens takes, at most `examples`. An error
    /// before it is full is its error.
    ///
    /// # Errors
    /// As [`Self::example`].
    pub fn batch(&mut self, examples: usize) -> Result<Batch> {
        let budget = self.source.preparation.config.tokens_per_batch;
        let (mut taken, mut tokens) = (Vec::new(), 0);
        while taken.len() < examples {
            while self.ready.is_empty() {
                self.draw()?;
            }
            if let (false, Some(Ok((_, next)))) = (taken.is_empty(), self.ready.front())
                && tokens + next.len() > budget
            {
                break;
            }
            let next = self.example()?;
            tokens += next.1.len();
            taken.push(next);
        }
        Ok(Batch::of(taken.iter().map(|(position, example)| (*position as usize, example))))
    }

    /// Draws the next block.
    fn draw(&mut self) -> Result<()> {
        let draws: Vec<(Position, usize, u64)> = (self.drawn..self.drawn + BLOCK)
            .map(|position| {
                let task = self.source.mixture.task_at(position);
                self.turns[task] += 1;
                (position, task, self.turns[task] - 1)
            })
            .collect();
        self.drawn += BLOCK;
        let made: Vec<Result<Fate>> =
            draws.par_iter().map(|(_, task, turn)| self.make(*task, *turn)).collect();
        for ((position, task, _), made) in draws.into_iter().zip(made) {
            if let Err(error) = made.and_then(|fate| self.keep(position, task, fate)) {
                self.ready.push_back(Err(error));
            }
        }
        match self.dry {
            tried if tried >= DRY && self.ready.is_empty() => {
                Err(Error::Dry { tried, found: self.tally.losses() })
            }
            _ => Ok(()),
        }
    }

    fn make(&self, task: usize, turn: u64) -> Result<Fate> {
        let MixtureSource { mixture, preparation, encoder } = self.source;
        let drawn = mixture.tasks()[task].draw(turn, &|text| preparation.count(text))?;
        Ok(preparation.fate(encoder, drawn))
    }

    fn keep(&mut self, position: Position, task: usize, fate: Fate) -> Result<()> {
        let config = self.source.preparation.config;
        self.tally.drawn += 1;
        self.drawn_of[task] += 1;
        if let Some((reason, origin)) = fate.loss() {
            self.tally.drop(reason, origin);
            self.lost_of[task] += 1;
            self.dry += 1;
        }
        match fate {
            Fate::Kept(example) | Fate::Fewer(example) | Fate::Window(example) => {
                self.give(position, example);
            }
            Fate::Truncated(example) => {
                self.tally.truncated += 1;
                self.give(position, example);
            }
            Fate::TooLong(origin, tokens) | Fate::NoRoom(origin, tokens)
                if config.too_long == TooLong::Error =>
            {
                return Err(Error::TooLong {
                    long: 1,
                    records: self.tally.drawn,
                    max_tokens: config.max_tokens,
                    longest: tokens,
                    shown: vec![(origin, tokens)],
                });
            }
            Fate::Bad(bad) if config.bad_records == BadRecords::Error => {
                let records = self.tally.drawn;
                return Err(Error::BadRecords { bad: 1, records, shown: vec![bad] });
            }
            Fate::TooLong(..) | Fate::NoRoom(..) | Fate::TruncatedToNothing(..) => {}
            Fate::Bad(_) | Fate::Joined(_) => {}
        }
        Ok(())
    }

    fn give(&mut self, position: Position, example: Encoded) {
        self.tally.kept += 1;
        self.dry = 0;
        self.ready.push_back(Ok((position, example)));
    }

    /// Of each task the share of its draws that gave no example, if it was drawn.
    pub fn left_out(&self) -> Vec<Option<f64>> {
        let share =
            |(drawn, lost): (&usize, &usize)| (*drawn > 0).then(|| *lost as f64 / *drawn as f64);
        self.drawn_of.iter().zip(&self.lost_of).map(share).collect()
    }

    /// The tasks whose examples were left out, those that lost most first.
    pub fn losses_by_task(&self) -> Vec<TaskLoss> {
        let tasks = self.source.mixture.tasks().iter().zip(&self.drawn_of).zip(&self.lost_of);
        let lost = tasks.filter(|(_, lost)| **lost > 0);
        let mut lost: Vec<_> = lost
            .map(|((task, drawn), lost)| TaskLoss {
                task: task.name().to_owned(),
                drawn: *drawn,
                lost: *lost,
            })
            .collect();
        lost.sort_by_key(|task| std::cmp::Reverse(task.lost));
        lost
    }
}

impl Tally {
    pub(crate) fn drop(&mut self, reason: &str, origin: &Origin) {
        Dropped::of(&mut self.dropped, reason).count(origin);
    }

    /// What was left out, in words.
    pub fn losses(&self) -> String {
        let told = self.dropped.iter().map(|lost| format!("{} {}", lost.count, lost.reason));
        told.collect::<Vec<_>>().join(", ")
    }
}
