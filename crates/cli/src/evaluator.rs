//! What is measured while a run goes on: on the held-out examples, and by suites.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use albacore_data::{Encoded, Tokenizer};
use albacore_eval::{Answer, EvalConfig, ExactMatch, Metric, exact_match, held_out_loss};
use albacore_kernels::unprofiled;
use albacore_model::Model;
use albacore_trainer::{Evaluator, Named, When};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::suites::Suites;
use crate::terminal::Terminal;

/// Held-out examples between two signs of life.
const ANSWERED_TOGETHER: usize = 32;

/// Measures on the held-out examples, and keeps some answers to be shown.
pub struct HeldOut<'a> {
    config: &'a EvalConfig,
    tokenizer: &'a Tokenizer,
    examples: &'a [Arc<Encoded>],
    tokens_per_batch: usize,
    /// Whether the trainer measures its own objective on them.
    ranks: bool,
    terminal: &'a Terminal,
    /// The first answers of the model before the run, and after.
    pub samples: [Vec<Answer>; 2],
}

impl<'a> HeldOut<'a> {
    /// Measures what `config` says. Where the objective `ranks`, the loss is its own, which the trainer
    /// measures.
    pub fn new(
        config: &'a EvalConfig,
        tokenizer: &'a Tokenizer,
        examples: &'a [Arc<Encoded>],
        tokens_per_batch: usize,
        ranks: bool,
        terminal: &'a Terminal,
    ) -> Self {
        let samples = Default::default();
        Self { config, tokenizer, examples, tokens_per_batch, ranks, terminal, samples }
    }

    /// Generation takes long: it is for the two ends of a run.
    fn answers(&self, model: &Model, named: &mut Named) -> albacore_eval::Result<Vec<Answer>> {
        let Self { config, tokenizer, examples, .. } = self;
        let all = config.metrics.contains(&Metric::ExactMatch);
        let count = if all { examples.len() } else { config.samples.min(examples.len()) };
        let progress = Progress::new(self.terminal, "answering", 0, count as u64);
        let mut result = ExactMatch::default();
        for examples in examples[..count].chunks(ANSWERED_TOGETHER) {
            let found = exact_match(model, tokenizer, examples, config.max_new_tokens)?;
            result.answers.extend(found.answers);
            progress.set(result.answers.len() as u64, "held-out examples");
        }
        if all {
            named.push(("held_out_exact_match".into(), result.percent()));
        }
        result.answers.truncate(config.samples);
        Ok(result.answers)
    }

    /// What is due now, by name.
    fn measure(
        &mut self,
        model: &Model,
        when: When,
    ) -> Result<Named, Box<dyn Error + Send + Sync>> {
        let mut named = Named::new();
        if self.config.metrics.contains(&Metric::Loss) && !self.ranks {
            let loss = held_out_loss(model, self.examples, self.tokens_per_batch)?;
            named.push(("held_out_loss".into(), loss.mean()));
        }
        let end = match when {
            When::Before => 0,
            When::During => return Ok(named),
            When::After => 1,
        };
        self.samples[end] = self.answers(model, &mut named)?;
        Ok(named)
    }
}

/// Measures a model in training.
pub struct Measures<'a> {
    /// On the held-out examples.
    pub held_out: HeldOut<'a>,
    /// By suites, if any are named.
    pub suites: Option<Suites>,
    /// Becomes true when the run is to stop.
    pub stop: Arc<AtomicBool>,
    /// Why the suites could not be asked: the run was then stopped, so that nothing is lost.
    pub failure: Option<Failure>,
}

impl Measures<'_> {
    /// Whether there is nothing to measure.
    pub fn is_idle(&self) -> bool {
        self.held_out.examples.is_empty() && self.suites.is_none()
    }

    /// What the suites say; `None` if they were stopped, or have failed.
    fn ask(&mut self, model: &Model, step: u64) -> Option<Named> {
        let Some(suites) = &self.suites else { return Some(Named::new()) };
        let HeldOut { tokenizer, terminal, .. } = self.held_out;
        match suites.measure(model, tokenizer, step, &self.stop, terminal) {
            Ok(values) => values,
            Err(failure) => {
                self.failure = Some(failure);
                None
            }
        }
    }
}

impl Evaluator for Measures<'_> {
    fn is_due(&self, step: u64) -> bool {
        self.held_out.config.asks_suites(step)
    }

    fn evaluate(
        &mut self,
        model: &Model,
        when: When,
        step: u64,
    ) -> Result<Option<Named>, Box<dyn Error + Send + Sync>> {
        let config = self.held_out.config;
        let is_end = when != When::During;
        let mut named = Named::new();
        // The suites first: they may be stopped, and then all is measured again.
        let by_suites = match is_end || config.asks_suites(step) {
            // A profile is of training's steps.
            true => unprofiled(model.device(), || self.ask(model, step))?,
            false => Some(Named::new()),
        };
        let Some(by_suites) = by_suites else { return Ok(None) };
        if !self.held_out.examples.is_empty() && (is_end || config.is_due(step)) {
            named = unprofiled(model.device(), || self.held_out.measure(model, when))??;
        }
        named.extend(by_suites);
        Ok(Some(named))
    }
}
