//! A run before its first step: everything that can be found wrong is found here, and nothing is
//! written.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use albacore_data::{Batch, Encoded, Packing};
use albacore_kernels::Recompute;
use albacore_model::Llama;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint::{self, Checkpoint, CheckpointConfig, OPTIMIZER, State};
use crate::config::{Problems, only_on_a_gpu};
use crate::course::Course;
use crate::difference::{Difference, differences};
use crate::freeze::{fits, is_trained};
use crate::metrics::METRICS;
use crate::objective::Objective;
use crate::optimizer::{AdamW, OptimConfig};
use crate::run::RunFolder;
use crate::schedule::{Schedule, ScheduleConfig};
use crate::writer::SmallFiles;
use crate::{Error, Result};

/// What the backward pass computes again instead of keeping it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecomputeConfig {
    /// Nothing: the most memory.
    None,
    /// The outputs of norms, activations and attention, which cost little.
    #[default]
    Selective,
    /// Whole blocks: the least memory, and a third more work.
    Block,
}

impl From<RecomputeConfig> for Recompute {
    fn from(config: RecomputeConfig) -> Self {
        match config {
            RecomputeConfig::None => Self::None,
            RecomputeConfig::Selective => Self::Selective,
            RecomputeConfig::Block => Self::Block,
        }
    }
}

/// The numbers that a model computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    F32,
    /// 16 bits with the range of 32, over master weights in f32. Needs a CUDA device.
    Bf16,
}

/// `[train]`: how long, with which batches, and which weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Updates of the weights. Default: as many as `epochs` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the data, 1.5 for one and a half. Default 1 where `steps` is not set. More of
    /// them fit the data better, in the end too well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Batches, each of up to `data.tokens_per_batch` tokens, whose gradients make up one step.
    /// Default 1. More of them steady a step and take no memory.
    pub batches_per_step: usize,
    /// What the backward pass computes again instead of keeping it: `none`, `selective` (the outputs of
    /// norms, activations and attention) or `block` (all but the input of each block). Default
    /// `selective`. Later ones take less memory and more time; the results are the same.
    pub recompute: RecomputeConfig,
    /// Numbers that the model computes with: `f32` or `bf16`. Default `bf16` on a GPU, where it takes
    /// half the memory and a fraction of the time, and `f32` on the CPU, which has nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Keep the trained weights in f32 beside the bf16 ones that the model computes with. Default true.
    /// Without, 4 bytes less for each weight, in bf16 on a GPU only: each update rounds a weight to one
    /// of its two neighbours by chance, in proportion to the distance, so that small updates add up on
    /// average; the loss falls a little less evenly. Checkpoints hold the bf16 numbers, frozen tensors
    /// too.
    pub master_weights: bool,
    /// On a GPU whose memory runs out: run each batch in twice as many parts from then on, instead of
    /// stopping. The mathematics is the same, and the bits differ from those of whole batches.
    pub auto_micro_batch: bool,
    /// Tensors that are not trained, by patterns such as `model.embed_tokens.*`, in which `*` is any
    /// text and `?` any character. Default none. Frozen ones take no memory for moments.
    pub freeze: Vec<String>,
    /// If there are any: only tensors that fit one of these patterns are trained, without those of
    /// `freeze`. Default none.
    pub train_only: Vec<String>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batches_per_step: 1,
            recompute: RecomputeConfig::default(),
            precision: None,
            master_weights: true,
            auto_micro_batch: false,
            freeze: Vec::new(),
            train_only: Vec::new(),
        }
    }
}

impl TrainConfig {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        problems.unless(self.steps != Some(0), "train.steps", 0, "1 or more");
        if let Some(epochs) = self.epochs {
            let positive = epochs.is_finite() && epochs > 0.0;
            problems.unless(positive, "train.epochs", epochs, "a number above 0");
        }
        if self.steps.is_some() && self.epochs.is_some() {
            problems.0.push("`train.steps` and `train.epochs` are both set, wanted one".to_owned());
        }
        problems.unless(self.batches_per_step > 0, "train.batches_per_step", 0, "1 or more");
        if !self.master_weights && self.precision == Some(Precision::F32) {
            problems.0.push(
                "`train.master_weights` is false, wanted true where `train.precision` is `f32`\n\
                 hint: weights in f32 have no others beside them: leave it out"
                    .to_owned(),
            );
        }
        problems.0
    }

    /// Freezes what it says; the patterns must fit.
    fn choose_weights(&self, model: &mut Llama) -> Result<()> {
        let parameters = model.parameters();
        let parts = parameters.iter().flat_map(|parameter| parameter.parts());
        let names = parts.map(|part| part.name.clone()).collect::<Vec<_>>();
        let mut problems = Vec::new();
        for (key, patterns) in [("freeze", &self.freeze), ("train_only", &self.train_only)] {
            for pattern in patterns {
                if !names.iter().any(|name| fits(pattern, name)) {
                    let like = &names[names.len() / 2];
                    problems.push(format!(
                        "`train.{key}` has `{pattern}`, which fits no tensor of the model\n\
                         hint: its tensors have names like `{like}`; `*` is any text"
                    ));
                }
            }
        }
        let trained = |name: &str| is_trained(name, &self.freeze, &self.train_only);
        if problems.is_empty() && !names.iter().any(|name| trained(name)) {
            problems
                .push("`train.freeze` leaves no tensor to train, wanted one or more".to_owned());
        }
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        model.parameters_mut().into_iter().for_each(|parameter| parameter.set_trainable(trained));
        Ok(())
    }
}

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
    /// The examples.
    pub examples: &'a [Arc<Encoded>],
    /// How they are packed, and the seed of their order.
    pub packing: Packing,
    /// A digest of the examples.
    pub fingerprint: &'a str,
}

/// A run that is ready to go.
pub struct Training<'a> {
    pub(crate) run: &'a RunFolder,
    pub(crate) model: &'a Llama,
    pub(crate) data: &'a [Arc<Encoded>],
    pub(crate) objective: &'a dyn Objective,
    pub(crate) options: Options,
    pub(crate) files: Arc<SmallFiles>,
    pub(crate) course: Course<'a>,
    pub(crate) schedule: Schedule,
    pub(crate) optimizer: AdamW,
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
        model: &'a mut Llama,
        data: TrainingData<'a>,
        objective: &'a dyn Objective,
        files: SmallFiles,
        options: Options,
        resumed: Option<&Checkpoint>,
    ) -> Result<Self> {
        let problems = options.validate();
        if !problems.is_empty() {
            return Err(Error::Config { problems });
        }
        options.train.choose_weights(model)?;
        if let Some(gpu) = &options.gpu {
            // After the choice: on the GPU only what is trained keeps its weights in f32.
            let dtype = match options.train.precision {
                Some(Precision::F32) => DType::F32,
                Some(Precision::Bf16) | None => DType::BF16,
            };
            model.place(gpu, dtype, options.train.master_weights)?;
        }
        let model = &*model;
        let mut course = Course::new(data.examples, data.packing, options.train.batches_per_step);
        let steps = options.steps(&course);
        let mut optimizer = AdamW::new(options.optim.clone(), &model.parameters())?;
        let mut state = State::new(
            steps,
            data.packing.seed,
            data.fingerprint.to_owned(),
            options.config.clone(),
        );
        if let Some(Checkpoint { folder, state: saved }) = resumed {
            options.compare(folder, saved, steps, data.fingerprint)?;
            optimizer.load(&folder.join(OPTIMIZER), saved.step)?;
            course.seek(saved.cursor);
            state.go_on_from(saved);
        }
        Ok(Self {
            schedule: options.schedule(steps),
            files: Arc::new(files),
            resumed: resumed.map(|checkpoint| checkpoint.folder.clone()),
            data: data.examples,
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
        lines.push(PathBuf::from(METRICS));
        self.run.set_aside(&inside, &copied)
    }
}

impl Options {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        [
            self.optim.validate(),
            self.schedule.validate(),
            self.train.validate(),
            self.checkpoint.validate(),
            if self.gpu.is_some() { Vec::new() } else { only_on_a_gpu(&self.optim, &self.train) },
        ]
        .concat()
    }

    /// Steps of a run over this data.
    pub fn steps_over(&self, data: TrainingData<'_>) -> u64 {
        self.steps(&Course::new(data.examples, data.packing, self.train.batches_per_step))
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

    fn steps(&self, course: &Course<'_>) -> u64 {
        self.train.steps.unwrap_or_else(|| course.steps_in(self.train.epochs.unwrap_or(1.0)))
    }

    fn schedule(&self, steps: u64) -> Schedule {
        Schedule::new(self.schedule.clone(), self.optim.learning_rate, steps)
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
