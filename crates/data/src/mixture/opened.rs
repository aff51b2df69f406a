//! An opened mixture: its tasks, their rates, and which of them stands where.

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::cache::hex;
use crate::mixture::draw::Draw;
use crate::mixture::rates::{Member, rates};
use crate::task::{Excluded, HELD, Task, open};
use crate::{DataConfig, Error, HeldOut, Origin, Result};

/// Tasks with their rates.
#[derive(Debug)]
pub struct Mixture {
    tasks: Vec<Task>,
    groups: Vec<Option<String>>,
    rates: Vec<f64>,
    draw: Draw,
    excluded: Vec<Excluded>,
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
    /// All sources that cannot be opened; rates that add up to zero; no record left to train on.
    pub fn open(config: &DataConfig, seed: u64) -> Result<Self> {
        let opened: Vec<_> = config
            .sources
            .par_iter()
            .enumerate()
            .map(|(index, _)| open(config, index, seed))
            .collect();
        let (mut errors, mut members, mut tasks, mut apart) = (vec![], vec![], vec![], vec![]);
        let mut excluded = Vec::new();
        for (source, opened) in config.sources.iter().zip(opened) {
            let opened = opened.map(|(opened, by_rules)| {
                excluded.extend(by_rules);
                opened
            });
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
        let mut mixture = Self { tasks, groups, rates, draw, excluded };
        mixture.hold_out(config)?;
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

    /// The tasks in Parquet whose last records are held out, where another file's are a random choice.
    pub fn held_out_last(&self) -> impl Iterator<Item = &Task> {
        let is_parted = |task: &&Task| task.held_out() > 0 && task.examples() > 0;
        self.tasks.iter().filter(|task| task.is_by_groups()).filter(is_parted)
    }

    /// What the rules of its sources took out.
    pub fn excluded(&self) -> &[Excluded] {
        &self.excluded
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
