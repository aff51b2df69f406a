//! A run before its first step: everything that can be found wrong is found here, and nothing is
//! written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use albacore_data::{Batch, Encoded, MixtureSource, Packing, Spans};
use albacore_model::Model;
use candle_core::{DType, Device};
use serde_json::Value;

use crate::checkpoint::{self, Checkpoint, CheckpointConfig, OPTIMIZER, State};
use crate::config::{one_rate, only_on_a_gpu};
use crate::course::Course;
use crate::difference::{Difference, differences};
use crate::metrics::METRICS;
use crate::objective::Objective;
use crate::optimizer::{OptimConfig, Optimizer};
use crate::reference::{self, Of, References};
use crate::run::{RunFolder, UNMEASURED};
use crate::schedule::{Schedule, ScheduleConfig};
use crate::train_config::{Precision, TrainConfig};
use crate::writer::SmallFiles;
use crate::{Error, Result};

/// What an evaluator has come to in a run's folder, beside the answers that it keeps for another start.
const EVALUATED: [&str; 2] = ["evaluation/answers.jsonl", "evaluation/results.json"];

/// The configuration of a training, composed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `[optim]`.
    pub optim: OptimConfig,
    /// `[schedule]`.
    pub schedule: ScheduleConfig,
    /// `[train]`.
    pub train: TrainConfig,
    /// `[checkpoint]`.
    pub checkpoint: CheckpointConfig,
    /// Steps between two evaluations; 0 evaluates before the first and after the last only.
    pub evaluate_every: u64,
    /// Whether a ranking objective measures its terms on the held-out groups too.
    pub measures_held_out: bool,
    /// The whole effective configuration, saved with each checkpoint and compared on resume.
    pub config: Value,
    /// The same where nothing is set: what a key had that a checkpoint does not know.
    pub defaults: Value,
    /// The GPU to train on; the CPU if there is none.
    pub gpu: Option<Device>,
    /// Go on even though the configuration or the data have changed in what alters the training.
    pub accept_changes: bool,
}

/// The data of a training.
#[derive(Clone, Copy, Debug)]
pub struct TrainingData<'a> {
    /// The examples; of a mixture the first that come.
    pub examples: &'a [Arc<Encoded>],
    /// The mixture, if that is what is trained on.
    pub mixture: Option<MixtureSource<'a>>,
    /// Examples that are never trained on.
    pub held_out: &'a [Arc<Encoded>],
    /// How they are packed, and the seed of their order.
    pub packing: Packing,
    /// A digest of the examples, those held out included.
    pub fingerprint: &'a str,
    /// What took spans out of the examples, if they are texts: each pass takes out others.
    pub spans: Option<&'a Spans>,
}

/// A mixture goes on without an end, so something must say where the run ends.
pub const NO_STEPS: &str = "`train.steps` is missing: the data are a mixture, which has no epochs\n\
    hint: say how long to train: `train.steps = 1000`; without `weight` and `[data.groups]` an epoch has \
    every record once";

/// A run that is ready to go.
pub struct Training<'a> {
    pub(crate) run: &'a RunFolder,
    pub(crate) model: &'a Model,
    pub(crate) data: &'a [Arc<Encoded>],
    pub(crate) held_out: &'a [Arc<Encoded>],
    pub(crate) tokens_per_batch: usize,
    pub(crate) objective: &'a dyn Objective,
    /// What the reference gives the data, once that is known.
    pub(crate) references: Option<References>,
    /// The data and weights of which it is to be computed.
    pub(crate) reference_of: Option<Of>,
    pub(crate) options: Options,
    pub(crate) files: Arc<SmallFiles>,
    pub(crate) course: Course<'a>,
    pub(crate) schedule: Schedule,
    pub(crate) optimizer: Optimizer,
    pub(crate) state: State,
    /// The checkpoint that it goes on from.
    pub(crate) resumed: Option<PathBuf>,
}

impl<'a> Training<'a> {
    /// Checks everything that a run needs, freezes weights and loads moments. `model` has the weights
    /// of `resumed`, if there is one; `files` make each checkpoint a model's folder.
    ///
    /// # Errors
    /// If the configuration cannot be used, or differs from that of `resumed` in what alters the
    /// training, or the moments do not fit.
    pub fn new(
        run: &'a RunFolder,
        model: &'a mut Model,
        data: TrainingData<'a>,
        objective: &'a dyn Objective,
        files: SmallFiles,
        options: Options,
        resumed: Option<&Checkpoint>,
    ) -> Result<Self> {
        let suited = suits(objective, data.examples);
        let problems = [options.validate(), suited, options.fits(objective, &data)].concat();
        debug_assert_eq!(objective.corrupts(), data.spans.is_some(), "its data are made for it");
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        let reference_of = match objective.needs_reference() && resumed.is_none() {
            true => Some(Of {
                data: data.fingerprint.to_owned(),
                weights: reference::digest(model, options.computes())?,
                train: 0,
            }),
            false => None,
        };
        options.train.choose_weights(model)?;
        options.train.choose_dropout(model)?;
        if let Some(gpu) = &options.gpu {
            // After the choice: on the GPU only what is trained keeps its weights in f32.
            let dtype = match options.train.precision {
                Some(Precision::F32) => DType::F32,
                Some(Precision::Bf16) | None => DType::BF16,
            };
            model.place(gpu, dtype, options.train.master_weights)?;
        }
        let model = &*model;
        let mut course = options.course(data);
        let mut references = None;
        let steps = options.steps(&course);
        let mut optimizer = Optimizer::new(options.optim.clone(), &model.parameters())?;
        let mut state = State::new(
            steps,
            data.packing.seed,
            data.fingerprint.to_owned(),
            options.config.clone(),
        );
        if let Some(Checkpoint { folder, state: saved }) = resumed {
            options.compare(folder, saved, steps, data.fingerprint)?;
            if objective.needs_reference() {
                let both = [data.examples, data.held_out];
                let found = References::of_checkpoint(folder, data.fingerprint, both)?;
                references = Some(found);
            }
            optimizer.load(&folder.join(OPTIMIZER), saved.step)?;
            course.seek(saved.cursor);
            state.go_on_from(saved);
        }
        Ok(Self {
            schedule: options.schedule(steps),
            files: Arc::new(files),
            resumed: resumed.map(|checkpoint| checkpoint.folder.clone()),
            data: data.examples,
            held_out: data.held_out,
            tokens_per_batch: data.packing.tokens_per_batch,
            references,
            reference_of,
            run,
            model,
            objective,
            options,
            course,
            optimizer,
            state,
        })
    }

    /// Whether the step may be tried again with its batches in more parts.
    pub(crate) fn may_split(&self, error: &Error, batches: &[Batch]) -> bool {
        let smaller = batches.iter().any(|batch| batch.examples.len() > self.state.parts);
        self.options.train.auto_micro_batch && error.is_out_of_memory() && smaller
    }

    /// Steps of the whole run.
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// Steps made before.
    pub fn step(&self) -> u64 {
        self.state.step
    }

    /// Sets aside what belongs to a course of training that this run does not continue.
    pub(crate) fn clear_run_folder(&self) -> Result<Option<PathBuf>> {
        let checkpoints = self.run.checkpoints();
        let real = |path: &Path| path.canonicalize().ok();
        let parent = self.resumed.as_deref().and_then(Path::parent);
        let goes_on = parent.is_some_and(|parent| real(parent) == real(&checkpoints));
        let mut abandoned = checkpoint::list(&checkpoints)?;
        abandoned.retain(|(step, _)| !goes_on || *step > self.state.step);
        let checkpoints = abandoned.iter().filter_map(|(_, folder)| folder.file_name());
        let mut inside =
            checkpoints.map(|name| Path::new("checkpoints").join(name)).collect::<Vec<_>>();
        // A run that is wound back keeps the lines of the steps before: the others get a copy of all.
        let mut copied = Vec::new();
        let lines = if goes_on { &mut copied } else { &mut inside };
        let has_lines = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        if has_lines(&self.run.path().join(METRICS)) {
            lines.push(PathBuf::from(METRICS));
            lines.extend(EVALUATED.map(PathBuf::from));
        }
        if !goes_on {
            inside.push(PathBuf::from(UNMEASURED));
        }
        self.run.set_aside(&inside, &copied)
    }
}

/// Whether the data are such as the objective learns from: problems as those of `validate`.
pub fn suits(objective: &dyn Objective, examples: &[Arc<Encoded>]) -> Vec<String> {
    let is_group = |example: &&Arc<Encoded>| !example.responses.is_empty();
    match (objective.needs_groups(), examples.iter().find(is_group)) {
        (true, None) => vec![
            "`objective.kind` ranks several answers to a prompt, and the data has one to each\n\
             hint: it takes records of `format = \"tuna\"` or `\"preference\"` (pairs, or answers with a \
             label); answers without either are learned with `kind = \"sft\"`"
                .to_owned(),
        ],
        (false, Some(group)) => vec![format!(
            "`objective.kind` learns every answer alike, and {} has {} answers to its prompt, some \
             better than others\n\
             hint: rank them with `kind = \"tuna\"` or another ranking objective",
            group.origin,
            group.responses.len()
        )],
        _ => Vec::new(),
    }
}

/// How many examples have one answer, which teaches a ranking objective nothing.
pub fn idle_examples(objective: &dyn Objective, examples: &[Arc<Encoded>]) -> usize {
    let is_alone = |example: &&Arc<Encoded>| example.responses.len() < 2;
    if objective.learns_alone() { 0 } else { examples.iter().filter(is_alone).count() }
}

impl Options {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        [
            self.optim.validate(),
            self.schedule.validate(),
            self.train.validate(),
            self.checkpoint.validate(),
            one_rate(&self.optim, &self.schedule),
            if self.gpu.is_some() { Vec::new() } else { only_on_a_gpu(&self.optim, &self.train) },
        ]
        .concat()
    }

    /// Steps of a run over this data.
    pub fn steps_over(&self, data: TrainingData<'_>) -> u64 {
        self.steps(&self.course(data))
    }

    /// What has changed since a checkpoint, harmless or not.
    pub fn differences(&self, saved: &State, steps: u64, fingerprint: &str) -> Vec<Difference> {
        let same_rates = self.schedule(saved.steps).agrees_until(saved.step, steps);
        let mut found = differences(&saved.config, &self.config, &self.defaults, same_rates);
        if saved.data_fingerprint != fingerprint {
            found.push(Difference {
                key: "data".to_owned(),
                was: Some(saved.data_fingerprint.as_str().into()),
                now: Some(fingerprint.into()),
                alters: Some("these digests of the examples say that they have changed"),
            });
        }
        found
    }

    /// The batches of a run over this data.
    fn course<'d>(&self, data: TrainingData<'d>) -> Course<'d> {
        let examples_per_step = self.train.groups_per_step;
        let packing = Packing { examples_per_step, ..data.packing };
        let course = Course::new(data.examples, packing, self.train.batches_per_step);
        match data.mixture {
            Some(mixture) => course.of_mixture(mixture),
            None => course.with_spans(data.spans),
        }
    }

    /// What a mixture cannot be trained with.
    fn fits(&self, objective: &dyn Objective, data: &TrainingData<'_>) -> Vec<String> {
        let mut problems = Vec::new();
        if data.mixture.is_some() && self.train.steps.is_none() {
            problems.push(NO_STEPS.to_owned());
        }
        if data.mixture.is_some() && objective.needs_reference() {
            problems.push(
                "`objective.kind` compares with the frozen reference, which is asked about every example \
                 before the first step, and a mixture has no end\n\
                 hint: leave out `weight` and `[data.groups]`"
                    .to_owned(),
            );
        }
        problems
    }

    /// The numbers that the model computes with, and where.
    fn computes(&self) -> &'static str {
        match (&self.gpu, self.train.precision) {
            (None, _) => "f32 on the CPU",
            (Some(_), Some(Precision::F32)) => "f32 on a GPU",
            (Some(_), Some(Precision::Bf16) | None) => "bf16 on a GPU",
        }
    }

    fn steps(&self, course: &Course<'_>) -> u64 {
        self.train.steps.unwrap_or_else(|| course.steps_in(self.train.epochs.unwrap_or(1.0)))
    }

    fn schedule(&self, steps: u64) -> Schedule {
        match self.optim.relative_step {
            true => Schedule::relative(self.optim.warmup_init),
            false => Schedule::new(self.schedule.clone(), self.optim.learning_rate, steps),
        }
    }

    /// Refuses changes that alter the training, unless they are accepted.
    fn compare(&self, folder: &Path, saved: &State, steps: u64, fingerprint: &str) -> Result<()> {
        let mut differences = self.differences(saved, steps, fingerprint);
        differences.retain(|difference| difference.alters.is_some());
        if self.accept_changes || differences.is_empty() {
            return Ok(());
        }
        Err(Error::Changed { folder: folder.to_owned(), differences })
    }
}
