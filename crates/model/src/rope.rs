//! Rotary position embedding (Su et al., 2021): which angle each position turns each channel pair by.
//!
//! Frequencies are computed as transformers does (`modeling_rope_utils.py`), with its f32 rounding:
//! at position 8,000 an error in the last bit of a frequency is already 1e-3 of a radian.

use std::f64::consts::PI;
use std::ops::Range;

use albacore_kernels::Angles;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::reader::Reader;
use crate::{LlamaConfig, Result};

/// Base of the rotary frequencies, and how they are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// `rope_theta`: the base. Larger turns more slowly.
    pub theta: f64,
    /// How the frequencies are stretched.
    pub scaling: RopeScaling,
}

impl Default for Rope {
    fn default() -> Self {
        Self { theta: 10_000.0, scaling: RopeScaling::Default }
    }
}

/// How rotary frequencies are stretched for contexts longer than the model was trained on.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Every frequency is divided by `factor`.
    Linear {
        /// How many times longer the context becomes.
        factor: f64,
    },
    /// NTK-aware: the base grows with a sequence's length beyond `max_position_embeddings`.
    Dynamic {
        /// How many times longer the context becomes.
        factor: f64,
    },
    /// LLaMA 3.1: low frequencies are divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// How many times longer the context becomes.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are stretched.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pretraining, in tokens.
        original_max_position_embeddings: f64,
    },
}

/// The tables of cosines and sines for sequences of these lengths, and the row of position 0 of each.
///
/// Sequences share one table, except where dynamic scaling gives a long one frequencies of its own:
/// its angles then stand below the others', so that a sequence has the same numbers in any batch.
///
/// # Errors
/// Never for a valid configuration.
pub fn rope_angles(config: &LlamaConfig, lengths: &[usize]) -> Result<(Angles, Vec<u32>)> {
    let dynamic = matches!(config.rope.scaling, RopeScaling::Dynamic { .. });
    let own = |length: usize| dynamic && length > config.max_position_embeddings;
    let shared = lengths.iter().copied().filter(|&length| !own(length)).max().unwrap_or(0);
    let (mut cosine, mut sine) = (Vec::new(), Vec::new()); // (P, D/2)
    config.rope.extend_tables(config, 0..shared, &mut cosine, &mut sine);
    let half_width = config.head_dim / 2;
    let mut first_rows = vec![0; lengths.len()];
    for (first, &length) in first_rows.iter_mut().zip(lengths).filter(|(_, length)| own(**length)) {
        *first = (cosine.len() / half_width) as u32;
        config.rope.extend_tables(config, 0..length, &mut cosine, &mut sine);
    }
    Ok((Angles::new(cosine, sine, half_width)?, first_rows))
}

/// The cosines and sines of the newest tokens of growing sequences, which stand at these positions:
/// one row a token.
///
/// Under dynamic scaling the frequencies are those of a sequence's length so far, as transformers
/// has them with a cache: what was turned before stays as it is.
///
/// # Errors
/// Never for a valid configuration.
pub(crate) fn newest_angles(
    config: &LlamaConfig,
    positions: impl IntoIterator<Item = Range<usize>>,
) -> Result<Angles> {
    let (mut cosine, mut sine) = (Vec::new(), Vec::new()); // (T, D/2)
    for positions in positions {
        config.rope.extend_tables(config, positions, &mut cosine, &mut sine);
    }
    Ok(Angles::new(cosine, sine, config.head_dim / 2)?)
}

impl Rope {
    /// Appends the rows of the last `positions` of a sequence that ends there.
    fn extend_tables(
        &self,
        config: &LlamaConfig,
        positions: Range<usize>,
        cosine: &mut Vec<f32>,
        sine: &mut Vec<f32>,
    ) {
        let frequencies = self.frequencies(config, positions.end);
        let (half_width, start) = (frequencies.len(), cosine.len());
        let end = start + positions.len() * half_width;
        cosine.resize(end, 0.0);
        sine.resize(end, 0.0);
        let rows = cosine[start..].par_chunks_mut(half_width);
        let rows = rows.zip(sine[start..].par_chunks_mut(half_width)).enumerate();
        rows.with_min_len(64).for_each(|(row, (cosine, sine))| {
            let position = positions.start + row;
            for ((cosine, sine), frequency) in cosine.iter_mut().zip(sine).zip(&frequencies) {
                // The product is rounded to f32 first: the angle is part of the definition.
                let angle = f64::from(position as f32 * frequency);
                (*cosine, *sine) = (angle.cos() as f32, angle.sin() as f32);
            }
        });
    }

    /// Radians per position for each of the `D/2` channel pairs, in a sequence of `length` tokens.
    pub fn frequencies(&self, config: &LlamaConfig, length: usize) -> Vec<f32> {
        let width = config.head_dim;
        let plain = |theta| RopeScaling::plain(theta, width).into_iter();
        match self.scaling {
            RopeScaling::Default => plain(self.theta).collect(),
            RopeScaling::Linear { factor } => {
                plain(self.theta).map(|frequency| frequency / factor as f32).collect()
            }
            RopeScaling::Dynamic { factor } => {
                let trained = config.max_position_embeddings as f64;
                let stretch = factor * (length as f64).max(trained) / trained - (factor - 1.0);
                let power = width as f64 / (width as f64 - 2.0);
                plain(self.theta * stretch.powf(power)).collect()
            }
            RopeScaling::Llama3 { .. } => {
                plain(self.theta).map(|frequency| self.scaling.llama3(frequency)).collect()
            }
        }
    }

    /// Reads `rope_parameters`, or the older `rope_theta` and `rope_scaling`.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let nothing = Map::new();
        let scaling = ["rope_scaling", "rope_parameters"].into_iter().find_map(|key| {
            let object = reader.object(key)?;
            (!object.is_empty()).then_some((key, object))
        });
        let (key, object) = scaling.unwrap_or(("rope_scaling", &nothing));
        let outer_theta = reader.positive("rope_theta", Some(10_000.0));
        let trained_outside = "original_max_position_embeddings";
        let outer_length =
            reader.present(trained_outside).map(|_| reader.positive(trained_outside, None));
        let trained = reader.number("max_position_embeddings", 2048.0);
        let mut inner = Reader::within(object, key);
        let theta = inner.positive("rope_theta", Some(outer_theta));
        let kind = inner.present("rope_type").or(inner.present("type"));
        let kind = kind.map(|kind| kind.as_str().map_or_else(|| kind.to_string(), str::to_owned));
        let scaling = match kind.as_deref().unwrap_or("default") {
            "default" => RopeScaling::Default,
            "linear" => RopeScaling::Linear { factor: inner.positive("factor", None) },
            "dynamic" => RopeScaling::Dynamic { factor: inner.positive("factor", None) },
            "llama3" => RopeScaling::Llama3 {
                factor: inner.positive("factor", None),
                low_freq_factor: inner.positive("low_freq_factor", None),
                high_freq_factor: inner.positive("high_freq_factor", None),
                original_max_position_embeddings: outer_length.unwrap_or_else(|| {
                    inner.positive("original_max_position_embeddings", Some(trained))
                }),
            },
            other => {
                inner.problem(format!(
                    "`{key}.rope_type` is `{other}`, wanted `default`, `linear`, `dynamic` or `llama3`"
                ));
                RopeScaling::Default
            }
        };
        if inner.number("partial_rotary_factor", 1.0) != 1.0 {
            inner.problem(format!(
                "`{key}.partial_rotary_factor` is not 1, wanted whole heads rotated"
            ));
        }
        reader.absorb(inner);
        Self { theta, scaling }
    }
}

impl RopeScaling {
    /// The stretched value of one frequency, in the f32 steps of transformers.
    fn llama3(&self, frequency: f32) -> f32 {
        let &RopeScaling::Llama3 {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_max_position_embeddings: trained,
        } = self
        else {
            return frequency;
        };
        let wavelength = (2.0 * PI) as f32 / frequency;
        if wavelength < (trained / high) as f32 {
            frequency
        } else if wavelength > (trained / low) as f32 {
            frequency / factor as f32
        } else {
            let smooth = (trained as f32 / wavelength - low as f32) / (high - low) as f32;
            (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
        }
    }

    /// Finds LLaMA 3's scaling from the factors by which llama.cpp divides the frequencies; `None` if
    /// nothing known gives them.
    pub(crate) fn from_factors(factors: &[f32], theta: f64, width: usize) -> Option<Self> {
        if factors.iter().all(|factor| *factor == 1.0) {
            return Some(RopeScaling::Default);
        }
        let factor = f64::from(*factors.last()?);
        let lengths = (10..=20).map(|power| f64::from(1 << power));
        let candidates = lengths.map(|original_max_position_embeddings| RopeScaling::Llama3 {
            factor,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings,
        });
        let plain = Self::plain(theta, width);
        let gives = |scaling: &RopeScaling| {
            plain.len() == factors.len()
                && plain.iter().zip(factors).all(|(frequency, factor)| {
                    let wanted = frequency / scaling.llama3(*frequency);
                    // A few roundings of f32; another length differs by more than 1e-2.
                    (factor / wanted - 1.0).abs() < 1e-5
                })
        };
        candidates.into_iter().find(gives)
    }

    /// `theta^(-2i/D)` for each pair of channels.
    fn plain(theta: f64, width: usize) -> Vec<f32> {
        let pairs = (0..width).step_by(2);
        // Rounding the f64 power gives PyTorch's f32 power but for one value in 300.
        let frequency = |channel| {
            let exponent = f64::from(channel as f32 / width as f32);
            1.0 / f64::from(theta as f32).powf(exponent) as f32
        };
        pairs.map(frequency).collect()
    }

    /// The object that stands under `rope_scaling` in `config.json`; null for none.
    pub fn to_json(&self) -> Value {
        match self {
            RopeScaling::Default => Value::Null,
            RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
            RopeScaling::Dynamic { factor } => json!({ "rope_type": "dynamic", "factor": factor }),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: trained,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": *trained as u64,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
