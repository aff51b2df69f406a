//! The loop: step, evaluate, log, checkpoint.
//!
//! ```text
//!  Course ─batches─► accumulate ─gradient─► AdamW ─► weights ─► Evaluator
//!                        └─ terms ─► Line ─► metrics.jsonl      └─► Writer (behind the next step)
//! ```
//!
//! A GPU is asked for a step before the numbers of the step before are read, so that it never waits
//! for the host: a step is logged one step late there, or where it is evaluated or saved.
//!
//! The line of a step carries what was measured after it, so the evaluation comes before the log;
//! and what a checkpoint seals has been logged, so that a resumed run has its lines. An evaluation may be
//! stopped, or fail: the line of its step then waits beside the checkpoint until the run goes on.

mod due;
mod unmeasured;

use std::time::{Duration, Instant};

use albacore_data::Batch;
use albacore_kernels::{Later, Parameter};
use albacore_model::{Dtype, save};

use crate::checkpoint::{State, last_good, name_of, remove_partial};
use crate::event::{End, Evaluator, Event, Outcome};
use crate::held_out;
use crate::metrics::{Line, Metrics, Named};
use crate::reference::{REFERENCE, References};
use crate::setup::Training;
use crate::step::{Accumulated, Aim, accumulate};
use crate::writer::{Contents, Writer};
use crate::{Error, Result};

use unmeasured::Unmeasured;

/// What a running loop holds.
struct Loop<'t, 'r> {
    training: Training<'t>,
    parameters: Vec<&'t Parameter>,
    metrics: Metrics,
    writer: Writer,
    report: &'r mut dyn FnMut(Event<'_>),
    /// The newest step, until it is logged.
    unread: Option<Unread>,
    /// When the last step was logged.
    logged: Instant,
    since: Instant,
    /// Seconds of training before that.
    before_s: f64,
    after: Named,
    /// Whether an evaluation was stopped before its end, or has failed: the newest step is whole, and waits
    /// for it, unlogged.
    unmeasured: bool,
}

/// What a run begins as.
enum Begun<'t, 'r> {
    Loop(Box<Loop<'t, 'r>>),
    /// Stopped before its first step.
    Stopped(Outcome),
}

/// A step that was made, or is being made, whose numbers have not been read.
struct Unread {
    began: Instant,
    step: u64,
    epoch: f64,
    learning_rate: f64,
    batches: Vec<Batch>,
    accumulated: Accumulated,
    /// Of the gradient, before clipping.
    norm: Later<f64>,
}

impl<'t> Training<'t> {
    /// Trains until the run has made all its steps, or `stop` says so after a step. Either way the
    /// run is saved. `report` is told what happens.
    ///
    /// # Errors
    /// If a loss or gradient is not finite (no later weights are saved), something cannot be written, an
    /// evaluation fails or a mixture comes to a record that cannot be used (the run is saved as it stands).
    /// Checkpoints sealed before stay.
    pub fn run(
        self,
        mut evaluator: Option<&mut dyn Evaluator>,
        stop: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome> {
        if self.is_finished() && !Unmeasured::is_in(self.run.path(), self.state.step) {
            return Ok(self.outcome(End::AlreadyFinished, Named::new()));
        }
        let mut this = match self.begin(stop, report)? {
            Begun::Loop(this) => *this,
            Begun::Stopped(outcome) => return Ok(outcome),
        };
        this.measure_first(&mut evaluator)?;
        if this.unmeasured {
            return Ok(this.stopped_before_a_step());
        }
        while !this.training.is_finished() {
            if let Err(error) = this.step() {
                return Err(this.leave(error));
            }
            let evaluation = this.training.evaluation_due(evaluator.as_deref());
            if evaluation.is_some() || this.training.options.gpu.is_none() {
                let logged = this.log(&mut evaluator, evaluation);
                logged.map_err(|error| this.leave(error))?;
            }
            let stopping = stop() || this.unmeasured;
            if stopping || this.training.checkpoint_due() {
                this.log(&mut evaluator, None)?;
                this.save()?;
            }
            if stopping {
                break;
            }
        }
        this.wait_for_writer()?;
        let finished = this.training.is_finished() && !this.unmeasured;
        let end = if finished { End::Finished } else { End::Stopped };
        Ok(this.training.outcome(end, this.after))
    }

    /// Prepares the run folder: nothing was written before.
    fn begin<'r>(
        mut self,
        stop: &dyn Fn() -> bool,
        report: &'r mut dyn FnMut(Event<'_>),
    ) -> Result<Begun<'t, 'r>> {
        let left_over = remove_partial(&self.run.checkpoints())?;
        let set_aside = self.clear_run_folder()?;
        if !self.refer(stop, report)? {
            let checkpoint = self.run.path().to_owned();
            let outcome = self.outcome(End::Stopped, Named::new());
            return Ok(Begun::Stopped(Outcome { checkpoint, ..outcome }));
        }
        let State { step, steps, elapsed_s, ref baseline, .. } = self.state;
        let trained = self.optimizer.trained();
        report(Event::Started { step, steps, trained, set_aside: set_aside.as_deref() });
        let elapsed = Duration::try_from_secs_f64(elapsed_s).unwrap_or_default();
        let mut metrics = Metrics::open(self.run.path(), step, elapsed, baseline)?;
        left_over.iter().for_each(|warning| report(Event::Warning(warning)));
        metrics.warning().iter().for_each(|warning| report(Event::Warning(warning)));
        Ok(Begun::Loop(Box::new(Loop {
            parameters: self.model.parameters(),
            metrics,
            writer: Writer::new(self.run.checkpoints(), self.options.checkpoint.clone()),
            unread: None,
            logged: Instant::now(),
            since: Instant::now(),
            before_s: elapsed_s,
            after: Named::new(),
            unmeasured: false,
            report,
            training: self,
        })))
    }
}

impl Loop<'_, '_> {
    /// Begins one optimizer step, then logs the one before.
    fn step(&mut self) -> Result<()> {
        let begun = self.begin_step();
        match (self.log(&mut None, None), begun) {
            // If the step before was not finite, whatever this one says is its consequence.
            (Err(error @ Error::NotFinite { .. }), _) | (Err(error), Ok(_)) => Err(error),
            (_, begun) => {
                self.unread = Some(begun?);
                Ok(())
            }
        }
    }

    /// Asks for the gradient of one step and its update.
    fn begin_step(&mut self) -> Result<Unread> {
        let began = Instant::now();
        let training = &mut self.training;
        let step = training.state.step + 1;
        let learning_rate = training.schedule.rate(training.state.step);
        let batches = training.course.next_step()?;

        let (model, recompute) = (training.model, training.options.train.recompute.into());
        let accumulated = loop {
            let parts = training.state.parts;
            match accumulate(model, training.aim(), &batches, recompute, parts) {
                Err(error) if training.may_split(&error, &batches) => {
                    training.state.parts = 2 * parts;
                    let warning =
                        format!("step {step}: {error}: batches run in {} parts now", 2 * parts);
                    (self.report)(Event::Warning(&warning));
                }
                accumulated => break accumulated?,
            }
        };
        // The checkpoint is being read from the weights that the update changes.
        self.wait_for_writer()?;
        let training = &mut self.training;
        let norm = training.optimizer.update(&self.parameters, learning_rate)?;
        training.state.step = step;
        training.state.cursor = training.course.cursor();
        let epoch = training.course.epochs();
        Ok(Unread { began, step, epoch, learning_rate, batches, accumulated, norm })
    }

    /// Waits for the numbers of a step.
    fn read(&mut self, unread: Unread) -> Result<Line> {
        let Unread { began, step, epoch, learning_rate, batches, accumulated, norm } = unread;
        let Accumulated { tokens, supervised_tokens, .. } = accumulated;
        let training = &self.training;
        let measured = accumulated.read(training.objective)?;
        for (batch, share) in batches.iter().zip(&measured.shares) {
            if !share.is_finite() {
                return Err(training.not_finite(step, "loss", *share, std::slice::from_ref(batch)));
            }
        }
        let norm = norm.get()?;
        if !norm.is_finite() {
            return Err(training.not_finite(step, "norm of the gradient", norm, &batches));
        }
        // A step that began while another ran has the time since that one's end.
        let since = began.max(self.logged);
        self.logged = Instant::now();
        let mut terms = measured.terms.iter().map(|term| (term.name.to_owned(), term.mean()));
        Ok(Line {
            step,
            epoch,
            loss: terms.next().map_or(f64::NAN, |(_, loss)| loss),
            tokens,
            supervised_tokens,
            learning_rate,
            grad_norm: norm,
            tokens_per_second: tokens as f64 / (self.logged - since).as_secs_f64(),
            elapsed_s: self.elapsed_s(),
            more: terms.collect(),
        })
    }

    /// Where a run stands that is stopped before it makes a step more.
    fn stopped_before_a_step(self) -> Outcome {
        let place = self.training.resumed.clone();
        let checkpoint = place.unwrap_or_else(|| self.training.run.path().to_owned());
        Outcome { checkpoint, ..self.training.outcome(End::Stopped, Named::new()) }
    }

    fn write(&mut self, line: &Line) -> Result<()> {
        let written = self.metrics.write(line);
        self.logged(written)?;
        if let Some(warning) = self.metrics.warning() {
            (self.report)(Event::Warning(&warning));
        }
        (self.report)(Event::Stepped { line, steps: self.training.state.steps });
        Ok(())
    }

    /// A run whose steps cannot be logged ends, and its error says where it can go on.
    fn logged(&mut self, written: Result<()>) -> Result<()> {
        let Err(error) = written else { return Ok(()) };
        // A checkpoint that is still being written may be the one.
        self.wait_for_writer()?;
        Err(error.of_metrics(last_good(&self.training.run.checkpoints())))
    }

    /// Begins to write a checkpoint of the run as it stands now.
    fn save(&mut self) -> Result<()> {
        self.wait_for_writer()?;
        let written = self.metrics.sync();
        self.logged(written)?;
        self.training.state.elapsed_s = self.elapsed_s();
        let moments = self.training.optimizer.tensors().into_iter();
        self.writer.start(Contents {
            files: self.training.files.clone(),
            weights: save::entries(self.parameters.iter().copied(), Dtype::F32)?,
            moments: moments
                .map(|(name, moment)| save::Entry::tensor(name, moment, Dtype::F32))
                .collect(),
            state: self.training.state.clone(),
        });
        Ok(())
    }

    /// What a run ends with whose next step, or evaluation, has failed. If a step did for its records, or an
    /// evaluation, the steps before are whole, and are saved unless they have been.
    fn leave(&mut self, error: Error) -> Error {
        if !(self.unmeasured || matches!(error, Error::Data(_))) {
            return error;
        }
        let step = self.training.state.step;
        let folder = self.training.run.checkpoints().join(name_of(step));
        let saved = self.wait_for_writer().and_then(|()| {
            if step == 0 || folder.exists() {
                return Ok(());
            }
            self.save()?;
            self.wait_for_writer()
        });
        if let Err(failed) = saved {
            let warning = format!("step {step} could not be saved: {failed}");
            (self.report)(Event::Warning(&warning));
        }
        error
    }

    fn elapsed_s(&self) -> f64 {
        self.before_s + self.since.elapsed().as_secs_f64()
    }

    fn wait_for_writer(&mut self) -> Result<()> {
        if let Some(saved) = self.writer.wait()? {
            (self.report)(Event::Saved(&saved));
            saved.warnings.iter().for_each(|warning| (self.report)(Event::Warning(warning)));
        }
        Ok(())
    }
}

impl Training<'_> {
    /// Asks the reference, if the objective compares with it; every checkpoint holds what it says. False if it
    /// was stopped: what it has said is in the run's folder.
    fn refer(
        &mut self,
        stop: &dyn Fn() -> bool,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<bool> {
        if let Some(of) = self.reference_of.take() {
            let both = [self.data, self.held_out];
            let tell = &mut |done, total| report(Event::Referring { done, total });
            let (run, tokens) = (self.run.path(), self.tokens_per_batch);
            let model = self.model;
            let found = References::find_or_compute(run, of, model, both, tokens, stop, tell)?;
            if found.is_none() {
                return Ok(false);
            }
            self.references = found;
        }
        if let Some(references) = &self.references {
            let file = (REFERENCE.to_owned(), references.bytes.clone());
            std::sync::Arc::make_mut(&mut self.files).push(file);
        }
        Ok(true)
    }

    /// What the loss of a step is made by.
    fn aim(&self) -> Aim<'_> {
        let reference = self.references.as_ref().map(|references| &references.train);
        let share_prompts = self.options.train.share_prompts;
        // So far apart that no step reaches the seeds of the next.
        let dropout_seed = self.state.seed.wrapping_add(self.state.step << 32);
        Aim { objective: self.objective, reference, share_prompts, dropout_seed }
    }

    /// The terms of a ranking objective on the held-out groups; none of another one.
    fn held_out_terms(&self) -> Result<Named> {
        let ranks = self.objective.needs_groups() && self.options.measures_held_out;
        if !ranks || self.held_out.is_empty() {
            return Ok(Named::new());
        }
        let reference = self.references.as_ref().map(|references| &references.held_out);
        let aim = Aim { reference, ..self.aim() };
        held_out::measure(self.model, aim, self.held_out, self.tokens_per_batch)
    }

    /// An error that names the examples of the batches that led to it.
    fn not_finite(&self, step: u64, what: &'static str, value: f64, batches: &[Batch]) -> Error {
        /// More are not read by anyone.
        const NAMED: usize = 8;
        let examples = batches.iter().flat_map(|batch| &batch.examples);
        let mut names = examples.map(|&example| self.course.origin(example));
        let mut examples = names.by_ref().take(NAMED).collect::<Vec<_>>();
        match names.count() {
            0 => {}
            more => examples.push(format!("and {more} more")),
        }
        Error::NotFinite { step, what, value, examples }
    }

    fn outcome(self, end: End, after: Named) -> Outcome {
        let newest = || self.run.checkpoints().join(name_of(self.state.step));
        Outcome {
            end,
            step: self.state.step,
            checkpoint: match (end, &self.resumed) {
                (End::AlreadyFinished, Some(folder)) => folder.clone(),
                _ => newest(),
            },
            before: self.state.baseline,
            after,
        }
    }
}
