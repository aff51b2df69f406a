//! AdamW over the trained weights of a model, and the clipping of its gradient.

use std::fs::File;
use std::path::Path;

use albacore_kernels::{
    self as kernels, AdamWStep, Later, Moments, Parameter, Part, StateBuffer, StateKind,
    StateNumbers, Trained, clip_and_update,
};
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::config::Problems;
use crate::{Error, Result};

/// The rule by which weights are updated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimKind {
    /// Adam with decoupled weight decay.
    #[default]
    Adamw,
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
    /// The rule: `adamw`.
    pub kind: OptimKind,
    /// Highest rate of the schedule: about how far a weight moves in one step. Default 2e-5. A larger
    /// one learns faster, until the loss jumps.
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
        let betas = self.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        let found = format!("{:?}", self.betas);
        problems.unless(betas, "optim.betas", found, "two numbers from 0 to below 1");
        for (key, value) in
            [("optim.weight_decay", self.weight_decay), ("optim.max_grad_norm", self.max_grad_norm)]
        {
            problems.unless(number(value), key, value, "0 or more");
        }
        problems.0
    }
}

/// What is kept of one trained tensor.
#[derive(Debug)]
struct Kept {
    name: String,
    moments: Moments,
}

/// AdamW and its moments, for the trained tensors of a model only.
#[derive(Debug)]
pub struct AdamW {
    config: OptimConfig,
    /// Updates made.
    step: u64,
    /// In the order of the parameters and their parts.
    kept: Vec<Kept>,
}

/// The parts of the parameters that are trained, in order.
fn trained<'p>(parameters: &[&'p Parameter]) -> impl Iterator<Item = (&'p Parameter, &'p Part)> {
    let parts = parameters
        .iter()
        .flat_map(|&parameter| parameter.parts().iter().map(move |part| (parameter, part)));
    parts.filter(|(_, part)| part.trainable).collect::<Vec<_>>().into_iter()
}

impl AdamW {
    /// Fresh moments, zero, for the trained tensors.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn new(config: OptimConfig, parameters: &[&Parameter]) -> Result<Self> {
        let (kind, offload) = (config.state.into(), config.offload);
        let parts = trained(parameters)
            .map(|(parameter, part)| Ok((part.name.clone(), parameter.part_value(part)?)));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let needed = parts.iter().map(|(_, value)| Moments::bytes(value.dims(), kind)).sum();
        let kept = parts.into_iter().map(|(name, value)| {
            let moments = Moments::zeros(&value, kind, offload);
            let moments = moments.map_err(|source| match source {
                kernels::Error::Pinned { .. } => Error::Offload { needed, source },
                other => other.into(),
            })?;
            Ok(Kept { name, moments })
        });
        Ok(Self { config, step: 0, kept: kept.collect::<Result<_>>()? })
    }

    /// How many numbers are trained.
    pub fn trained(&self) -> usize {
        self.kept.iter().map(|kept| kept.moments.count()).sum()
    }

    /// Clips the gradients and applies them, and frees their memory for the activations of the next
    /// step. Returns their norm: where it is not finite, no weight and no moment was changed, and
    /// the run is to end. A tensor that no gradient has reached stays as it is.
    ///
    /// # Errors
    /// If a tensor cannot be written.
    pub fn update(&mut self, parameters: &[&Parameter], learning_rate: f64) -> Result<Later<f64>> {
        let mut tensors = Vec::new();
        for ((parameter, part), kept) in trained(parameters).zip(&self.kept) {
            debug_assert_eq!(part.name, kept.name, "the same parts are trained all along");
            let Some(gradient) = parameter.part_gradient(part)? else { continue };
            let weights = parameter.part_value(part)?;
            let is_vector = weights.dims().len() == 1;
            tensors.push(Trained {
                weights,
                rounded: parameter.part_rounded(part)?,
                gradient,
                moments: kept.moments.clone(),
                weight_decay: if is_vector { 0.0 } else { self.config.weight_decay },
            });
        }
        let step = AdamWStep {
            step: self.step + 1,
            learning_rate,
            betas: (self.config.betas[0], self.config.betas[1]),
            epsilon: self.config.epsilon,
            weight_decay: 0.0,
            gradient_scale: 1.0,
        };
        let norm = clip_and_update(&tensors, &step, self.config.max_grad_norm)?;
        self.step += 1;
        parameters.iter().for_each(|parameter| parameter.clear_gradient());
        Ok(norm)
    }

    /// The moments by name: `m.` and `v.` before the name of the tensor that they belong to; beside
    /// codes of 8 bits, their scales with `m_scale.` and `v_scale.`.
    ///
    /// They share their storage with the optimizer: an update changes them.
    pub fn tensors(&self) -> Vec<(String, StateBuffer)> {
        let named = |of: &Kept| {
            let buffers = of.moments.buffers().into_iter();
            let named =
                buffers.map(|(kind, buffer)| (format!("{kind}.{}", of.name), buffer.clone()));
            named.collect::<Vec<_>>()
        };
        self.kept.iter().flat_map(named).collect()
    }

    /// Goes on from the moments in a file, after `step` updates.
    ///
    /// # Errors
    /// If the file cannot be read, or a moment is missing or has another shape or type.
    pub fn load(&mut self, path: &Path, step: u64) -> Result<()> {
        let file = File::open(path).map_err(Error::file("open", path))?;
        // SAFETY: the file belongs to a sealed checkpoint, which is only ever removed as a whole.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(Error::file("read", path))?;
        let wrong = |message| Error::Moments { path: path.to_owned(), message };
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
        for (name, moment) in self.tensors() {
            let Ok(found) = stored.tensor(&name) else {
                return Err(wrong(format!("has no `{name}`: its tensor was not trained")));
            };
            let dtype = if moment.is_codes() { Dtype::U8 } else { Dtype::F32 };
            if (found.dtype(), found.shape()) != (dtype, moment.dims()) {
                let state = match found.dtype() {
                    Dtype::U8 if dtype == Dtype::F32 => {
                        ": it was saved with `optim.state = \"int8\"`"
                    }
                    Dtype::F32 if dtype == Dtype::U8 => {
                        ": it was saved with `optim.state = \"f32\"`"
                    }
                    _ => "",
                };
                let found = format!("{:?} {:?}", found.dtype(), found.shape());
                let wanted = format!("{dtype:?} {:?}{state}", moment.dims());
                return Err(wrong(format!("`{name}` is {found}, wanted {wanted}")));
            }
            if moment.is_codes() {
                moment.overwrite(StateNumbers::Codes(found.data()))?;
                continue;
            }
            let numbers = found.data().par_chunks_exact(4).with_min_len(1 << 14);
            let numbers =
                numbers.map(|number| f32::from_le_bytes(number.try_into().expect("four bytes")));
            moment.overwrite(StateNumbers::F32(&numbers.collect::<Vec<_>>()))?;
        }
        self.step = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
