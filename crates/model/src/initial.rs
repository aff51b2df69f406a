//! Random initial weights, the same on every machine for the same seed.

use albacore_kernels::{Parameter, storage};
use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal};

use crate::Result;

/// Makes one parameter after another from one stream of random numbers.
pub(crate) struct Initial {
    random: ChaCha8Rng,
}

impl Initial {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Matrices are normal, each with the deviation of its name; vectors are a norm's weights, 1, or
    /// biases, 0.
    pub(crate) fn parameter(
        &mut self,
        parts: &[(String, usize)],
        columns: Option<usize>,
        deviation: &dyn Fn(&str) -> f32,
        device: &Device,
    ) -> Result<Parameter> {
        let rows = parts.iter().map(|(_, rows)| rows).sum::<usize>();
        let shape = std::iter::once(rows).chain(columns).collect::<Vec<_>>();
        let value = Tensor::zeros(shape, DType::F32, device)?;
        storage::write(&value, |data| {
            let Some(columns) = columns else {
                data.fill(if parts[0].0.ends_with(".bias") { 0.0 } else { 1.0 });
                return Ok(());
            };
            let mut rest = data;
            for (name, rows) in parts {
                let (part, after) = std::mem::take(&mut rest).split_at_mut(rows * columns);
                rest = after;
                let deviation = deviation(name).abs();
                let normal = Normal::new(0.0, deviation).expect("a deviation is finite");
                part.fill_with(|| normal.sample(&mut self.random));
            }
            Ok(())
        })?;
        Ok(Parameter::new(value, parts.iter().cloned()))
    }
}
