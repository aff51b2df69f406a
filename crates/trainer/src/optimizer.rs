//! AdamW over the trained weights of a model, and the clipping of its gradient.

use std::fs::File;
use std::path::Path;

use albacore_kernels::{AdamWStep, Later, Parameter, Part, Trained, clip_and_update, storage};
use candle_core::{DType, Tensor};
use rayon::prelude::*;
use safetensors::SafeTensors;
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

/// The moments of one trained tensor.
#[derive(Debug)]
struct Moments {
    name: String,
    /// Running mean of the gradient.
    first: Tensor,
    /// Running mean of its square.
    second: Tensor,
}

/// AdamW and its moments, for the trained tensors of a model only.
#[derive(Debug)]
pub struct AdamW {
    config: OptimConfig,
    /// Updates made.
    step: u64,
    /// In the order of the parameters and their parts.
    moments: Vec<Moments>,
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
        let zeros = |value: &Tensor| Tensor::zeros(value.shape(), DType::F32, value.device());
        let moments = trained(parameters).map(|(parameter, part)| {
            let value = parameter.part_value(part)?;
            let (first, second) = (zeros(&value), zeros(&value));
            let kernel = albacore_kernels::Error::from;
            Ok(Moments {
                name: part.name.clone(),
                first: first.map_err(kernel)?,
                second: second.map_err(kernel)?,
            })
        });
        Ok(Self { config, step: 0, moments: moments.collect::<Result<_>>()? })
    }

    /// How many numbers are trained.
    pub fn trained(&self) -> usize {
        self.moments.iter().map(|moments| moments.first.elem_count()).sum()
    }

    /// Clips the gradients and applies them, and frees their memory for the activations of the next
    /// step. Returns their norm: where it is not finite, no weight and no moment was changed, and
    /// the run is to end. A tensor that no gradient has reached stays as it is.
    ///
    /// # Errors
    /// If a tensor cannot be written.
    pub fn update(&mut self, parameters: &[&Parameter], learning_rate: f64) -> Result<Later<f64>> {
        let mut tensors = Vec::new();
        for ((parameter, part), moments) in trained(parameters).zip(&self.moments) {
            debug_assert_eq!(part.name, moments.name, "the same parts are trained all along");
            let Some(gradient) = parameter.part_gradient(part)? else { continue };
            let weights = parameter.part_value(part)?;
            let is_vector = weights.dims().len() == 1;
            tensors.push(Trained {
                weights,
                rounded: parameter.part_rounded(part)?,
                gradient,
                first: moments.first.clone(),
                second: moments.second.clone(),
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

    /// The moments by name: `m.` and `v.` before the name of the tensor that they belong to.
    ///
    /// They share their storage with the optimizer: an update changes them.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let pair = |of: &Moments| {
            [
                (format!("m.{}", of.name), of.first.clone()),
                (format!("v.{}", of.name), of.second.clone()),
            ]
        };
        self.moments.iter().flat_map(pair).collect()
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
            let (dtype, shape) = (found.dtype(), found.shape());
            if (dtype, shape) != (safetensors::Dtype::F32, moment.dims()) {
                let wanted = moment.dims();
                let found = format!("{dtype:?} {shape:?}");
                return Err(wrong(format!("`{name}` is {found}, wanted F32 {wanted:?}")));
            }
            let numbers = found.data().par_chunks_exact(4).with_min_len(1 << 14);
            let numbers =
                numbers.map(|number| f32::from_le_bytes(number.try_into().expect("four bytes")));
            storage::overwrite(&moment, numbers.collect())?;
        }
        self.step = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn parameter(name: &str, shape: &[usize], value: f32) -> Parameter {
        let value = Tensor::full(value, shape, &Device::Cpu).unwrap();
        Parameter::single(name, value.contiguous().unwrap())
    }

    fn with_gradient(parameter: &Parameter, gradient: f32) {
        parameter.clear_gradient();
        let fill = |sum: &Tensor, _: std::ops::Range<usize>, _: bool| {
            storage::write(sum, |sum| {
                sum.fill(gradient);
                Ok(())
            })
        };
        parameter.accumulate(fill).unwrap();
    }

    fn first(tensor: &Tensor) -> f32 {
        storage::read(tensor).unwrap()[0]
    }

    /// ```python
    /// import torch
    /// w = torch.nn.Parameter(torch.tensor([1.0]))
    /// optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    /// for g in (3.0, -1.0, 0.5):
    ///     w.grad = torch.tensor([g])
    ///     torch.nn.utils.clip_grad_norm_([w], 1.0)
    ///     optimizer.step()
    ///     print(w.item())
    /// ```
    #[test]
    fn updates_are_those_of_pytorch() {
        let matrix = parameter("matrix", &[1, 1], 1.0);
        let config = OptimConfig { weight_decay: 0.5, ..Default::default() };
        let mut optimizer = AdamW::new(config, &[&matrix]).unwrap();
        for (gradient, wanted) in [(3.0, 0.85), (-1.0, 0.812_763_15), (0.5, 0.754_652_44)] {
            with_gradient(&matrix, gradient);
            let norm = optimizer.update(&[&matrix], 0.1).unwrap().get().unwrap();
            assert_eq!(norm, f64::from(gradient.abs()));
            let found = first(matrix.value());
            assert!((found - wanted).abs() <= 1e-7, "found {found}, wanted {wanted}");
        }
    }

    #[test]
    fn vectors_do_not_decay_and_matrices_do() {
        let (matrix, vector) = (parameter("matrix", &[2, 2], 1.0), parameter("vector", &[2], 1.0));
        let both = [&matrix, &vector];
        let config = OptimConfig { weight_decay: 0.5, ..Default::default() };
        let mut optimizer = AdamW::new(config, &both).unwrap();
        both.iter().for_each(|parameter| with_gradient(parameter, 0.0));
        drop(optimizer.update(&both, 0.1).unwrap());
        assert_eq!((first(matrix.value()), first(vector.value())), (0.95, 1.0));
    }

    #[test]
    fn the_norm_is_that_of_trained_tensors_together_and_frozen_ones_have_no_moments() {
        let mut frozen = parameter("frozen", &[2, 2], 1.0);
        let (matrix, vector) = (parameter("matrix", &[2, 2], 1.0), parameter("vector", &[9], 1.0));
        with_gradient(&frozen, 100.0);
        frozen.set_trainable(|_| false);
        with_gradient(&matrix, 2.0);
        with_gradient(&vector, 1.0);
        let all = [&frozen, &matrix, &vector];
        let mut optimizer = AdamW::new(OptimConfig::default(), &all).unwrap();
        assert_eq!(optimizer.update(&all, 0.1).unwrap().get().unwrap(), 5.0); // √(4 · 2² + 9 · 1²)
        assert_eq!(first(frozen.value()), 1.0);
        let names = optimizer.tensors().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names, ["m.matrix", "v.matrix", "m.vector", "v.vector"]);
    }

    #[test]
    fn moments_come_back_by_name_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.safetensors");
        let matrix = parameter("matrix", &[2, 3], 1.0);
        let mut optimizer = AdamW::new(OptimConfig::default(), &[&matrix]).unwrap();
        with_gradient(&matrix, 2.0);
        drop(optimizer.update(&[&matrix], 0.1).unwrap());
        let tensors = optimizer.tensors().into_iter().collect();
        candle_core::safetensors::save::<String, _>(&tensors, &path).unwrap();

        let mut loaded = AdamW::new(OptimConfig::default(), &[&matrix]).unwrap();
        loaded.load(&path, 1).unwrap();
        assert_eq!(loaded.step, 1);
        for ((name, loaded), (_, saved)) in loaded.tensors().iter().zip(optimizer.tensors()) {
            assert_eq!(*storage::read(loaded).unwrap(), *storage::read(&saved).unwrap(), "{name}");
        }
        let other = parameter("other", &[2, 3], 1.0);
        let mut other = AdamW::new(OptimConfig::default(), &[&other]).unwrap();
        let error = other.load(&path, 1).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("has no `m.other`: its tensor was not trained"), "{text}");
        let wanted = format!("`--set model.path={} --set run.name=NAME`", folder.path().display());
        assert!(error.hint().unwrap().ends_with(&wanted), "{error:?}");
        let wide = parameter("matrix", &[3, 2], 1.0);
        let error =
            AdamW::new(OptimConfig::default(), &[&wide]).unwrap().load(&path, 1).unwrap_err();
        let wanted = "`m.matrix` is F32 [2, 3], wanted F32 [3, 2]";
        assert!(error.to_string().ends_with(wanted), "{error}");
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let config = OptimConfig {
            learning_rate: -1.0,
            betas: [0.9, 1.0],
            epsilon: 0.0,
            weight_decay: f64::NAN,
            ..Default::default()
        };
        assert_eq!(
            config.validate(),
            [
                "`optim.learning_rate` is -1, wanted a number above 0",
                "`optim.epsilon` is 0, wanted a number above 0",
                "`optim.betas` is [0.9, 1.0], wanted two numbers from 0 to below 1",
                "`optim.weight_decay` is NaN, wanted 0 or more",
            ]
        );
        assert!(OptimConfig::default().validate().is_empty());
    }
}
