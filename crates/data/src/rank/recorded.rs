//! What a teacher has found so far, so that a run that was killed reads no answer twice.
//!
//! Answers are read in batches, and what is in a batch decides the last bits of what is found: so whole
//! batches are kept, and one of which a kill has cut off a part is read again.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Group, Likelihood, RankKind, Unranked};
use crate::lines::{self, Appended};
use crate::settings::{self, digest};
use crate::{Error, Origin, Result};

/// The file.
const NAME: &str = "likelihoods.jsonl";

/// A line of `likelihoods.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    /// The answer's number among all that are read.
    answer: usize,
    logprob: f64,
    tokens: u64,
}

/// The file `likelihoods.jsonl` of a run, and what it holds.
pub struct Recorded {
    file: Appended,
    found: Vec<Option<Likelihood>>,
    /// Batches that are complete.
    batches: usize,
}

/// What a teacher's findings follow from: `identity` tells it from others.
pub fn teacher_settings(identity: &str, groups: &[Result<Group, Unranked>]) -> Map<String, Value> {
    let answers = groups.iter().flatten().map(|group| {
        let texts = group.candidates.iter().map(|candidate| &candidate.text).collect::<Vec<_>>();
        (&group.id, &group.prompt, texts)
    });
    let answers: Vec<_> = answers.collect();
    let settings = json!({
        "command": "rank",
        "kind": "probabilistic",
        "model": identity,
        "candidates": digest(&answers),
    });
    let Value::Object(settings) = settings else { unreachable!("it is one") };
    settings
}

/// The same for a ranking that asks nobody: it is made anew each time, but never over a run of another
/// kind.
pub fn plain_settings(kind: RankKind) -> Map<String, Value> {
    let Value::Object(settings) = json!({ "command": "rank", "kind": kind }) else {
        unreachable!("it is one")
    };
    settings
}

/// Looks whether the folder is new, or holds a run with these settings. Touches nothing.
///
/// # Errors
/// If its run has other settings, which are named.
pub fn check_settings(folder: &Path, settings: &Map<String, Value>) -> Result<()> {
    settings::check(folder, settings)
}

/// Writes the settings down, if the run is new.
///
/// # Errors
/// As [`check_settings`]; or if they cannot be written.
pub fn hold_settings(folder: &Path, settings: &Map<String, Value>) -> Result<()> {
    check_settings(folder, settings)?;
    settings::keep(folder, settings)
}

impl Recorded {
    /// Goes on where the file ends. `batches` are the numbers of the answers in each batch.
    ///
    /// # Errors
    /// If the run has other settings, or the file cannot be read or written.
    pub fn open(
        folder: &Path,
        settings: &Map<String, Value>,
        batches: &[Vec<u32>],
    ) -> Result<Self> {
        hold_settings(folder, settings)?;
        let path = folder.join(NAME);
        let lines: Vec<Line> = lines::read(&path)?;
        let mut found = vec![None; batches.iter().map(|batch| batch.len()).sum()];
        let (mut kept, mut whole) = (0, 0);
        while let Some(batch) = batches.get(whole)
            && let Some(lines) = lines.get(kept..kept + batch.len())
        {
            for (place, (line, answer)) in lines.iter().zip(batch).enumerate() {
                if line.answer != *answer as usize {
                    let origin = Origin::new(&path, (kept + place + 1) as u32);
                    let message = format!("is of answer {}, wanted {answer}", line.answer);
                    return Err(Error::Line { origin, message });
                }
                let Line { logprob, tokens, .. } = *line;
                found[line.answer] = Some(Likelihood { logprob, tokens });
            }
            kept += batch.len();
            whole += 1;
        }
        Ok(Self { file: Appended::after(&path, kept)?, found, batches: whole })
    }

    /// The next batch that is to be read.
    pub fn next_batch(&self) -> usize {
        self.batches
    }

    /// How many answers have been read.
    pub fn len(&self) -> usize {
        self.found.iter().flatten().count()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records what was found of a batch: the number of each answer, and its likelihood.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, batch: &[(usize, Likelihood)]) -> Result<()> {
        let lines = batch.iter().map(|&(answer, Likelihood { logprob, tokens })| Line {
            answer,
            logprob,
            tokens,
        });
        self.file.append(&lines.collect::<Vec<_>>())?;
        for (answer, likelihood) in batch {
            self.found[*answer] = Some(*likelihood);
        }
        self.batches += 1;
        Ok(())
    }

    /// What was found of all answers, in the order of their numbers; `None` before the last batch.
    pub fn finish(self) -> Option<Vec<Likelihood>> {
        self.found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::group::tests::group;
    use super::*;

    fn likelihood(answer: usize) -> (usize, Likelihood) {
        (answer, Likelihood { logprob: -(answer as f64) - 0.1, tokens: 3 })
    }

    #[test]
    fn whole_batches_are_kept_and_a_part_of_one_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let batches = [vec![1, 0], vec![2], vec![4, 3]];
        let settings = teacher_settings("m", &[Ok(group(&["a", "b"]))]);
        let open = || Recorded::open(folder.path(), &settings, &batches).unwrap();
        let mut recorded = open();
        assert!(recorded.is_empty());
        recorded.add(&[likelihood(1), likelihood(0)]).unwrap();
        recorded.add(&[likelihood(2)]).unwrap();
        recorded.add(&[likelihood(4), likelihood(3)]).unwrap();
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        let all = recorded.finish().unwrap();
        assert!(all.iter().enumerate().all(|(answer, found)| *found == likelihood(answer).1));
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut again = open();
            let kept: usize = batches[..again.next_batch()].iter().map(|batch| batch.len()).sum();
            assert_eq!(again.len(), kept);
            for batch in &batches[again.next_batch()..] {
                again
                    .add(&batch.iter().map(|&one| likelihood(one as usize)).collect::<Vec<_>>())
                    .unwrap();
            }
            assert!(fs::read(&path).unwrap() == whole && again.finish().unwrap() == all);
        }
    }

    #[test]
    fn another_teacher_or_other_answers_are_another_run() {
        let folder = tempfile::tempdir().unwrap();
        let settings = |name: &str, texts: &[&str]| teacher_settings(name, &[Ok(group(texts))]);
        drop(Recorded::open(folder.path(), &settings("m", &["a", "b"]), &[]).unwrap());
        for other in [settings("n", &["a", "b"]), settings("m", &["a", "c"])] {
            assert!(matches!(check_settings(folder.path(), &other), Err(Error::Settings { .. })));
        }
        assert!(check_settings(folder.path(), &settings("m", &["a", "b"])).is_ok());
    }
}
