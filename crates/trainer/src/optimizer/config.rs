//! `[optim]`: the rule by which weights are updated, and its numbers.

use albacore_kernels::{AdafactorState, Moments, StateKind};
use serde::{Deserialize, Serialize};

use crate::config::Problems;

/// The rule by which weights are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimKind {
    /// Adam with decoupled weight decay.
    #[default]
    Adamw,
    /// Adafactor: the mean squared gradient of a matrix by rows and columns.
    Adafactor,
}

/// How the moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateConfig {
    /// In f32: 8 bytes for each weight.
    #[default]
    F32,
    /// In 8 bits, by dynamic quantisation in blocks of 256: about 2 bytes for each weight.
    Int8,
}

impl From<StateConfig> for StateKind {
    fn from(config: StateConfig) -> Self {
        match config {
            StateConfig::F32 => Self::F32,
            StateConfig::Int8 => Self::Int8,
        }
    }
}

/// `[optim]`: how weights are updated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// The rule: `adamw`, or `adafactor`, which takes next to no memory and is what T5 is trained with.
    pub kind: OptimKind,
    /// Highest rate of the schedule: about how far a weight moves in one step or, with `adafactor`, which
    /// share of its tensor's root mean square. Default 2e-5; Adafactor's are near 1e-3. A larger one learns
    /// faster, until the loss jumps.
    pub learning_rate: f64,
    /// Share of the mean gradient and of the mean squared gradient that a step keeps. Default
    /// `[0.9, 0.999]`. Closer to 1 looks back over more steps.
    pub betas: [f64; 2],
    /// Added to the root of the mean squared gradient. Default 1e-8. A larger one slows weights whose
    /// gradients are small.
    pub epsilon: f64,
    /// Share of a weight, times the learning rate, that a step takes away; vectors (norms, biases)
    /// are spared. Default 0. A larger one keeps weights small.
    pub weight_decay: f64,
    /// Longest gradient that is applied as it is, over all trained weights together; longer ones are
    /// scaled down to it. Default 1; 0 turns it off. A smaller one bounds the harm of an odd batch.
    pub max_grad_norm: f64,
    /// How the mean gradient and the mean squared gradient are kept: `f32`, 8 bytes for each weight, or
    /// `int8`, 2 bytes and a 32nd, as 8-bit AdamW keeps them. Default `f32`. `int8` rounds them to three
    /// digits or fewer at each step; vectors and matrices of fewer than 4096 numbers stay in f32.
    pub state: StateConfig,
    /// Keep them in page-locked memory of the host, which the GPU reads and writes at each step, and not
    /// in the GPU's own. Default false. It frees 8 or 2 bytes of the GPU's memory for each weight, as
    /// `state` has it, and a step waits for the bus; the results are the same.
    pub offload: bool,
    /// Of Adafactor. Whether the learning rate is a share of each tensor's root mean square. Default true.
    pub scale_parameter: bool,
    /// Of Adafactor. Whether the rate is that of its paper instead of `learning_rate` and the schedule:
    /// `min(0.01, 1 / sqrt(step))`. Default false.
    pub relative_step: bool,
    /// Of Adafactor with `relative_step`. Whether the rate rises first, by 1e-6 a step. Default false.
    pub warmup_init: bool,
    /// Of Adafactor. How quickly it comes to look back further: step `t` keeps `1 - t^-decay_rate` of the mean
    /// squared gradient. Default 0.8. A larger one looks back over more steps.
    pub decay_rate: f64,
    /// Of Adafactor. Root mean square of a tensor's step, before the rate, above which it is scaled down to
    /// it. Default 1. A smaller one bounds what a sudden gradient does.
    pub clip_threshold: f64,
    /// Of Adafactor. Share of the mean step that a step keeps; 0 keeps none, and no memory for it. Default 0. A
    /// larger one steadies the steps and takes 4 bytes for each weight.
    pub momentum: f64,
    /// Of Adafactor. What is added to the squared gradient, and the least root mean square that a tensor
    /// counts as having. Default `[1e-30, 1e-3]`. A larger second one lets small tensors grow faster.
    pub epsilons: [f64; 2],
    /// Of Adafactor. The length from which both sides of a matrix must be for it to be factored. Default 128,
    /// as T5X has it; transformers factors every matrix, as 1 does. A larger one takes more memory.
    pub min_dim_size_to_factor: usize,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            kind: OptimKind::default(),
            learning_rate: 2e-5,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            state: StateConfig::default(),
            offload: false,
            scale_parameter: true,
            relative_step: false,
            warmup_init: false,
            decay_rate: 0.8,
            clip_threshold: 1.0,
            momentum: 0.0,
            epsilons: [1e-30, 1e-3],
            min_dim_size_to_factor: 128,
        }
    }
}

impl OptimConfig {
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Vec<String> {
        let mut problems = Problems::default();
        let number = |value: f64| value.is_finite() && value >= 0.0;
        let mut more_than_zero = |key: &str, value: f64| {
            problems.unless(number(value) && value > 0.0, key, value, "a number above 0");
        };
        more_than_zero("optim.learning_rate", self.learning_rate);
        more_than_zero("optim.epsilon", self.epsilon);
        more_than_zero("optim.decay_rate", self.decay_rate);
        more_than_zero("optim.clip_threshold", self.clip_threshold);
        let betas = self.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        let found = format!("{:?}", self.betas);
        problems.unless(betas, "optim.betas", found, "two numbers from 0 to below 1");
        for (key, value) in
            [("optim.weight_decay", self.weight_decay), ("optim.max_grad_norm", self.max_grad_norm)]
        {
            problems.unless(number(value), key, value, "0 or more");
        }
        let below_one = (0.0..1.0).contains(&self.momentum);
        problems.unless(below_one, "optim.momentum", self.momentum, "a number from 0 to below 1");
        let found = format!("{:?}", self.epsilons);
        let above = self.epsilons.iter().all(|&epsilon| number(epsilon) && epsilon > 0.0);
        problems.unless(above, "optim.epsilons", found, "two numbers above 0");
        problems.0.extend(self.of_another_rule());
        problems.0
    }

    /// Bytes of what is kept of a trained tensor of this shape.
    pub fn state_bytes(&self, dims: &[usize]) -> u64 {
        match self.kind {
            OptimKind::Adamw => Moments::bytes(dims, self.state.into()),
            OptimKind::Adafactor => {
                AdafactorState::bytes(dims, self.min_dim_size_to_factor, self.momentum > 0.0)
            }
        }
    }

    /// Keys that are set though the rule does not know them.
    fn of_another_rule(&self) -> Vec<String> {
        let default = Self::default();
        let adamw = [
            ("betas", self.betas != default.betas),
            ("epsilon", self.epsilon != default.epsilon),
            ("state", self.state != default.state),
            ("offload", self.offload),
        ];
        let adafactor = [
            ("scale_parameter", !self.scale_parameter),
            ("relative_step", self.relative_step),
            ("warmup_init", self.warmup_init),
            ("decay_rate", self.decay_rate != default.decay_rate),
            ("clip_threshold", self.clip_threshold != default.clip_threshold),
            ("momentum", self.momentum != default.momentum),
            ("epsilons", self.epsilons != default.epsilons),
            (
                "min_dim_size_to_factor",
                self.min_dim_size_to_factor != default.min_dim_size_to_factor,
            ),
        ];
        let (others, other, this) = match self.kind {
            OptimKind::Adamw => (adafactor.as_slice(), "adafactor", "adamw"),
            OptimKind::Adafactor => (adamw.as_slice(), "adamw", "adafactor"),
        };
        let set = others.iter().filter(|(_, is_set)| *is_set);
        let mut problems: Vec<String> = set
            .map(|(key, _)| {
                format!(
                    "`optim.{key}` is set, wanted only with `optim.kind = \"{other}\"`\n\
                     hint: leave it out: `{this}` does not know it"
                )
            })
            .collect();
        if self.kind == OptimKind::Adafactor && self.warmup_init && !self.relative_step {
            problems.push(
                "`optim.warmup_init` is true, wanted only with `optim.relative_step`\n\
                 hint: `schedule.warmup_steps` is the warm-up of a rate of your own"
                    .to_owned(),
            );
        }
        problems
    }
}
