//! Evaluations of a run: before its first step, between steps, after the last; and one that was stopped.
//!
//! An evaluation by suites takes long, and a run may be stopped in it; and it may fail. The step is made
//! then, and its checkpoint is sealed; its line lacks what was to be measured, so it is kept in
//! `unmeasured.json` and logged once the run goes on from there. No byte of a checkpoint tells of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Loop;
use crate::event::{Evaluator, Event, When};
use crate::metrics::{Line, Named};
use crate::run::UNMEASURED;
use crate::{Error, Result};

/// The newest step of a run whose evaluation was stopped, or has failed.
#[derive(Deserialize, Serialize)]
pub(crate) struct Unmeasured {
    when: When,
    line: Line,
}

impl Unmeasured {
    /// Whether a run that has made `step` steps owes an evaluation.
    pub(crate) fn is_in(run: &Path, step: u64) -> bool {
        Self::read(run, step).is_some()
    }

    /// What waits since this step. A file that is of another step, or of another version, is of a course
    /// that is not continued.
    fn read(run: &Path, step: u64) -> Option<Self> {
        let text = fs::read(run.join(UNMEASURED)).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|found| found.line.step == step)
    }

    fn write(&self, run: &Path) -> Result<()> {
        let (path, partial) = (run.join(UNMEASURED), run.join(format!("{UNMEASURED}.partial")));
        let text = serde_json::to_vec(self).expect("a line is JSON");
        File::create(&partial)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(Error::file("write", &path))
    }
}

impl Loop<'_, '_> {
    /// What is to be measured before the next step: the base, or what an evaluation that was stopped has
    /// left.
    pub(super) fn measure_first(
        &mut self,
        evaluator: &mut Option<&mut dyn Evaluator>,
    ) -> Result<()> {
        let step = self.training.state.step;
        if step == 0 {
            match self.evaluate(evaluator, When::Before)? {
                Some(values) => {
                    self.metrics.baseline(&values, SystemTime::now());
                    self.training.state.baseline = values;
                }
                None => self.unmeasured = true,
            }
            return Ok(());
        }
        let run = self.training.run.path().to_owned();
        let Some(Unmeasured { when, mut line }) = Unmeasured::read(&run, step) else {
            return Ok(());
        };
        if self.metrics.last_step() < step {
            match self.evaluate(evaluator, when)? {
                Some(values) => line.more.extend(values),
                None => {
                    self.unmeasured = true;
                    return Ok(());
                }
            }
            self.write(&line)?;
            self.metrics.sync()?;
        }
        let path = run.join(UNMEASURED);
        fs::remove_file(&path).map_err(Error::file("remove", &path))
    }

    /// Logs the newest step if that has not been done, with what an evaluation measures after it.
    pub(super) fn log(
        &mut self,
        evaluator: &mut Option<&mut dyn Evaluator>,
        evaluation: Option<When>,
    ) -> Result<()> {
        let Some(unread) = self.unread.take() else { return Ok(()) };
        let mut line = self.read(unread)?;
        if let Some(when) = evaluation {
            match self.evaluate(evaluator, when) {
                Ok(Some(values)) => line.more.extend(values),
                Ok(None) => return self.owe(when, line),
                Err(error) => {
                    if let Err(failed) = self.owe(when, line) {
                        (self.report)(Event::Warning(&failed.to_string()));
                    }
                    return Err(error);
                }
            }
        }
        self.write(&line)
    }

    /// Keeps the line of the newest step until what is due behind it has been measured. If it cannot be kept
    /// there, it is logged as it is.
    fn owe(&mut self, when: When, line: Line) -> Result<()> {
        self.unmeasured = true;
        let owed = Unmeasured { when, line };
        owed.write(self.training.run.path()).or_else(|error| {
            self.write(&owed.line)?;
            Err(error)
        })
    }

    /// What is due now, by name; `None` if it was stopped.
    fn evaluate(
        &mut self,
        evaluator: &mut Option<&mut dyn Evaluator>,
        when: When,
    ) -> Result<Option<Named>> {
        let (since, step) = (Instant::now(), self.training.state.step);
        let is_of_all =
            when != When::During || self.training.is_due(self.training.options.evaluate_every);
        let mut values = if is_of_all { self.training.held_out_terms()? } else { Named::new() };
        if let Some(evaluator) = evaluator {
            let more = evaluator.evaluate(self.training.model, when, step);
            match more.map_err(|source| Error::Evaluation { step, source })? {
                Some(more) => values.extend(more),
                None => return Ok(None),
            }
        }
        if !values.is_empty() {
            (self.report)(Event::Evaluated { step, values: &values, took: since.elapsed() });
        }
        if when == When::After {
            self.after.clone_from(&values);
        }
        Ok(Some(values))
    }
}
