//! AdamW or Adafactor over the trained weights of a model, and the clipping of its gradient.

mod config;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::Path;

use albacore_kernels::{
    self as kernels, AdafactorState, AdafactorStep, AdamWStep, Factored, Later, Moments, Parameter,
    Part, StateBuffer, StateNumbers, Trained, clip_and_adafactor, clip_and_update,
};
use candle_core::Tensor;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

pub use config::{OptimConfig, OptimKind, StateConfig};

use crate::{Error, Result};

/// What is kept of one trained tensor.
#[derive(Debug)]
struct Kept {
    name: String,
    state: State,
}

/// The same, by rule.
#[derive(Clone, Debug)]
enum State {
    AdamW(Moments),
    Adafactor(AdafactorState),
}

impl State {
    fn zeros(config: &OptimConfig, value: &Tensor) -> kernels::Result<Self> {
        Ok(match config.kind {
            OptimKind::Adamw => {
                Self::AdamW(Moments::zeros(value, config.state.into(), config.offload)?)
            }
            OptimKind::Adafactor => Self::Adafactor(AdafactorState::zeros(
                value,
                config.min_dim_size_to_factor,
                config.momentum > 0.0,
            )?),
        })
    }

    fn buffers(&self) -> Vec<(&'static str, &StateBuffer)> {
        match self {
            Self::AdamW(moments) => moments.buffers(),
            Self::Adafactor(state) => state.buffers(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::AdamW(moments) => moments.count(),
            Self::Adafactor(state) => state.count(),
        }
    }
}

/// An optimizer and what it keeps, for the trained tensors of a model only.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimConfig,
    /// Updates made.
    step: u64,
    /// In the order of the parameters and their parts.
    kept: Vec<Kept>,
}

/// What follows the kind of a saved buffer: a point, and the name of the tensor.
fn tensor_of(name: &str) -> &str {
    name.find('.').map_or(name, |point| &name[point..])
}

/// The parts of the parameters that are trained, in order.
fn trained<'p>(parameters: &[&'p Parameter]) -> impl Iterator<Item = (&'p Parameter, &'p Part)> {
    let parts = parameters
        .iter()
        .flat_map(|&parameter| parameter.parts().iter().map(move |part| (parameter, part)));
    parts.filter(|(_, part)| part.trainable).collect::<Vec<_>>().into_iter()
}

impl Optimizer {
    /// A fresh state, zero, for the trained tensors.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn new(config: OptimConfig, parameters: &[&Parameter]) -> Result<Self> {
        let parts = trained(parameters)
            .map(|(parameter, part)| Ok((part.name.clone(), parameter.part_value(part)?)));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let bytes = |(_, value): &(_, Tensor)| config.state_bytes(value.dims());
        let needed = parts.iter().map(bytes).sum();
        let kept = parts.into_iter().map(|(name, value)| {
            let state = State::zeros(&config, &value).map_err(|source| match source {
                kernels::Error::Pinned { .. } => Error::Offload { needed, source },
                other => other.into(),
            })?;
            Ok(Kept { name, state })
        });
        let kept = kept.collect::<Result<_>>()?;
        Ok(Self { config, step: 0, kept })
    }

    /// How many numbers are trained.
    pub fn trained(&self) -> usize {
        self.kept.iter().map(|kept| kept.state.count()).sum()
    }

    /// Clips the gradients and applies them, and frees their memory for the activations of the next
    /// step. Returns their norm: where it is not finite, no weight and no moment was changed, and
    /// the run is to end. A tensor that no gradient has reached stays as it is.
    ///
    /// # Errors
    /// If a tensor cannot be written.
    pub fn update(&mut self, parameters: &[&Parameter], learning_rate: f64) -> Result<Later<f64>> {
        let (mut by_adamw, mut by_adafactor) = (Vec::new(), Vec::new());
        for ((parameter, part), kept) in trained(parameters).zip(&self.kept) {
            debug_assert_eq!(part.name, kept.name, "the same parts are trained all along");
            let Some(gradient) = parameter.part_gradient(part)? else { continue };
            let weights = parameter.part_value(part)?;
            let is_vector = weights.dims().len() == 1;
            let weight_decay = if is_vector { 0.0 } else { self.config.weight_decay };
            let rounded = parameter.part_rounded(part)?;
            match kept.state.clone() {
                State::AdamW(moments) => {
                    by_adamw.push(Trained { weights, rounded, gradient, moments, weight_decay });
                }
                State::Adafactor(state) => {
                    let factored = Factored { weights, rounded, gradient, state, weight_decay };
                    by_adafactor.push(factored);
                }
            }
        }
        let longest = self.config.max_grad_norm;
        let norm = match self.config.kind {
            OptimKind::Adamw => clip_and_update(&by_adamw, &self.adamw(learning_rate), longest)?,
            OptimKind::Adafactor => {
                clip_and_adafactor(&by_adafactor, &self.adafactor(learning_rate), longest)?
            }
        };
        self.step += 1;
        parameters.iter().for_each(|parameter| parameter.clear_gradient());
        Ok(norm)
    }

    /// The next update by AdamW.
    fn adamw(&self, learning_rate: f64) -> AdamWStep {
        AdamWStep {
            step: self.step + 1,
            learning_rate,
            betas: (self.config.betas[0], self.config.betas[1]),
            epsilon: self.config.epsilon,
            weight_decay: 0.0,
            gradient_scale: 1.0,
        }
    }

    /// The next update by Adafactor.
    fn adafactor(&self, learning_rate: f64) -> AdafactorStep {
        let config = &self.config;
        AdafactorStep {
            step: self.step + 1,
            learning_rate,
            decay_rate: config.decay_rate,
            epsilons: (config.epsilons[0], config.epsilons[1]),
            clip_threshold: config.clip_threshold,
            scale_parameter: config.scale_parameter,
            momentum: config.momentum,
            weight_decay: 0.0,
            gradient_scale: 1.0,
        }
    }

    /// The moments by name: `m.` and `v.` before the name of the tensor that they belong to; beside
    /// codes of 8 bits, their scales with `m_scale.` and `v_scale.`; of Adafactor `v_row.` and `v_col.`
    /// where a matrix is factored.
    ///
    /// They share their storage with the optimizer: an update changes them.
    pub fn tensors(&self) -> Vec<(String, StateBuffer)> {
        let named = |of: &Kept| {
            let buffers = of.state.buffers().into_iter();
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
                let why =
                    match stored.names().iter().any(|stored| stored.ends_with(tensor_of(&name))) {
                        true => {
                            "it was saved with another `optim.kind`, or another number of `[optim]`"
                        }
                        false => "its tensor was not trained",
                    };
                return Err(wrong(format!("has no `{name}`: {why}")));
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
