//! An opened mixture: its tasks, their rates, and which of them stands where.

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::defect::Defect;
use crate::mixture::draw::Draw;
use crate::mixture::rates::{Member, rates};
use crate::task::{HELD, Task, open};
use crate::{BadRecord, DataConfig, Drawn, Error, HeldOut, Origin, Result};

/// Draws of each task that are tried when it is opened: as many as a family has templates.
const TRIED: usize = 10;
/// Up to so many examples in all, every one of them is tried: that takes about a second.
const ALL_TRIED: usize = 100_000;
/// Bad records that an error names.
const SHOWN: usize = 10;

/// Tasks with their rates.
#[derive(Debug)]
pub struct Mixture {
    tasks: Vec<Task>,
    groups: Vec<Option<String>>,
    rates: Vec<f64>,
    draw: Draw,
}

/// A task as `albacore mixture` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskRate {
    /// Its name.
    pub task: String,
    /// The group that its source stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Examples to train on.
    pub examples: usize,
    /// Examples that are held out.
    pub held_out: usize,
    /// Its part of the mixture.
    pub rate: f64,
}

impl Mixture {
    /// Opens all sources of a config and works out the rates.
    ///
    /// # Errors
    /// All sources that cannot be opened; rates that add up to zero; records among the first draws of
    /// each task that cannot be used, unless the config says to leave them out.
    pub fn open(config: &DataConfig, seed: u64) -> Result<Self> {
        let opened: Vec<_> = config
            .sources
            .par_iter()
            .enumerate()
            .map(|(index, source)| open(source, index, seed, config.max_tokens))
            .collect();
        let (mut errors, mut members, mut tasks, mut apart) = (vec![], vec![], vec![], vec![]);
        for (source, opened) in config.sources.iter().zip(opened) {
            match opened {
                Ok(opened) if source.held_out => apart.extend(opened),
                Ok(opened) => {
                    members.push(Member {
                        weight: source.weight,
                        cap: source.cap,
                        group: source.group.clone(),
                        examples: opened.iter().map(Task::examples).collect(),
                    });
                    tasks.extend(opened);
                }
                Err(error) => errors.push(error),
            }
        }
        Error::all(errors)?;
        let rates = rates(&members, &config.groups, config.temperature).map_err(Error::Config)?;
        let mut rates = rates.concat();
        // Tasks that are held out stand behind the others, and are never drawn.
        rates.resize(tasks.len() + apart.len(), 0.0);
        tasks.extend(apart);
        let group = |task: &Task| config.sources[task.source()].group.clone();
        let groups = tasks.iter().map(group).collect();
        let draw = Draw::new(&rates, seed);
        let mut mixture = Self { tasks, groups, rates, draw };
        mixture.hold_out(config)?;
        mixture.try_each(config)?;
        Ok(mixture)
    }

    /// Its tasks.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Its tasks and their rates.
    pub fn rates(&self) -> Vec<TaskRate> {
        let row = |((task, group), rate): ((&Task, &Option<String>), &f64)| TaskRate {
            task: task.name().to_owned(),
            group: group.clone(),
            examples: task.examples(),
            held_out: task.held_out(),
            rate: *rate,
        };
        self.tasks.iter().zip(&self.groups).zip(&self.rates).map(row).collect()
    }

    /// Examples to train on, of all tasks.
    pub fn examples(&self) -> usize {
        self.tasks.iter().map(Task::examples).sum()
    }

    /// The task at a position of the stream.
    pub fn task_at(&self, position: u64) -> usize {
        self.draw.task(position)
    }

    /// How often each task stands before a position.
    pub(crate) fn turns_before(&self, position: u64) -> Vec<u64> {
        let mut turns = vec![0; self.tasks.len()];
        (0..position).for_each(|position| turns[self.task_at(position)] += 1);
        turns
    }

    /// Where the record at a position stands.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn origin(&self, position: u64) -> Result<Origin> {
        let task = self.task_at(position);
        self.tasks[task].origin(self.turns_before(position)[task])
    }

    /// SHA-256 of all files and of the rates, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for (task, rate) in self.tasks.iter().zip(&self.rates) {
            hash.update((task.name().len() as u64).to_le_bytes());
            hash.update(task.name());
            hash.update(rate.to_bits().to_le_bytes());
            hash.update(
                [task.examples(), task.held_out()]
                    .map(|count| count as u64)
                    .map(u64::to_le_bytes)
                    .concat(),
            );
            task.hashes().for_each(|file| hash.update(file));
        }
        hex(&hash.finalize())
    }

    /// Bytes of the Parquet row groups that are read from at once, and how many of them can be held in memory,
    /// about; `None` if all of them can.
    pub fn too_large_row_groups(&self) -> Option<(u64, u64)> {
        // Held compressed: text is a fourth then, and Parquet says its size with words that are repeated left out.
        let (groups, held) = (self.tasks.iter().map(Task::row_groups).sum(), 3 * HELD as u64);
        (groups > held).then_some((groups, held))
    }

    /// Puts every record that is drawn from, of all tasks, through its templates, and counts those that
    /// cannot be used.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn check(&self) -> Result<Vec<BadRecord>> {
        let bad = self.tasks.par_iter().map(|task| {
            let numbers = (0..task.examples() + task.held_out()).into_par_iter();
            let bad = numbers.filter_map(|number| match task.in_order(number, &no_tokens) {
                Ok(Drawn::Bad(bad)) => Some(Ok(bad)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            bad.collect::<Result<Vec<_>>>()
        });
        Ok(bad.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Keeps some examples of each task from training: its share, or its part of a count by its rate; of a
    /// source that is held out, all.
    fn hold_out(&mut self, config: &DataConfig) -> Result<()> {
        let wanted: Vec<usize> = match config.held_out {
            HeldOut::Share(_) => {
                self.tasks.iter().map(|task| config.held_out.of(task.examples())).collect()
            }
            HeldOut::Count(count) => apportioned(count, &self.rates),
        };
        let (found, all) = (self.examples(), wanted.iter().sum());
        for (task, wanted) in self.tasks.iter_mut().zip(wanted) {
            if config.sources[task.source()].held_out {
                task.hold_out(task.examples());
                continue;
            }
            if wanted >= task.examples() && wanted > 0 {
                return Err(Error::HeldOut { wanted: all, found });
            }
            task.hold_out(wanted);
        }
        Ok(())
    }

    /// Tries each task's first draws, or all if they are not too many, so that a record that cannot be
    /// used is told before the first step.
    fn try_each(&self, config: &DataConfig) -> Result<()> {
        if config.bad_records == crate::BadRecords::Drop {
            return Ok(());
        }
        let most = if self.examples() <= ALL_TRIED { usize::MAX } else { TRIED };
        let tried = |task: &Task| task.examples().min(most);
        let bad = self.tasks.par_iter().map(|task| {
            let bad = (0..tried(task) as u64).into_par_iter().filter_map(|turn| {
                match task.draw(turn, &no_tokens) {
                    Ok(Drawn::Bad(bad)) => Some(Ok(bad)),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                }
            });
            bad.collect::<Result<Vec<_>>>()
        });
        let mut bad = bad.collect::<Result<Vec<_>>>()?.concat();
        if bad.is_empty() {
            return Ok(());
        }
        bad.sort_by(|a, b| (&a.origin.file, a.origin.line).cmp(&(&b.origin.file, b.origin.line)));
        let (count, records) = (bad.len(), self.tasks.iter().map(tried).sum());
        bad.truncate(SHOWN);
        Err(Error::BadRecords { bad: count, records, shown: bad })
    }
}

/// Counts nothing: where only the fields matter.
fn no_tokens(_: &str) -> Result<usize, Defect> {
    Ok(0)
}

/// A count in parts by rates, the largest remainders rounded up.
fn apportioned(count: usize, rates: &[f64]) -> Vec<usize> {
    let exact: Vec<f64> = rates.iter().map(|rate| rate * count as f64).collect();
    let mut parts: Vec<usize> = exact.iter().map(|exact| *exact as usize).collect();
    let mut order: Vec<usize> = (0..rates.len()).collect();
    order.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()).then(a.cmp(b)));
    let left = count.saturating_sub(parts.iter().sum());
    order.iter().take(left).for_each(|index| parts[*index] += 1);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_parted_by_rates_without_losing_one() {
        assert_eq!(apportioned(10, &[0.5, 0.26, 0.24]), [5, 3, 2]);
        assert_eq!(apportioned(0, &[0.5, 0.5]), [0, 0]);
        assert_eq!(apportioned(7, &[1.0 / 3.0; 3]).iter().sum::<usize>(), 7);
    }
}
