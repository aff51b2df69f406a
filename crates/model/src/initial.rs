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
    normal: Normal<f32>,
}

impl Initial {
    pub(crate) fn new(seed: u64, deviation: f32) -> Self {
        let normal = Normal::new(0.0, deviation.abs()).expect("a deviation is finite");
        Self { random: ChaCha8Rng::seed_from_u64(seed), normal }
    }

    /// Matrices are normal; vectors are a norm's weights, 1, or biases, 0.
    pub(crate) fn parameter(
        &mut self,
        parts: &[(String, usize)],
        columns: Option<usize>,
        device: &Device,
    ) -> Result<Parameter> {
        let rows = parts.iter().map(|(_, rows)| rows).sum::<usize>();
        let shape = std::iter::once(rows).chain(columns).collect::<Vec<_>>();
        let value = Tensor::zeros(shape, DType::F32, device)?;
        storage::write(&value, |data| {
            let bias = parts[0].0.ends_with(".bias");
            match columns {
                Some(_) => data.fill_with(|| self.normal.sample(&mut self.random)),
                None => data.fill(if bias { 0.0 } else { 1.0 }),
            }
            Ok(())
        })?;
        Ok(Parameter::new(value, parts.iter().cloned()))
    }
}
