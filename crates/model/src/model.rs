//! One face for all models: what training, evaluation and the commands need of them.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use albacore_kernels::{KeyValueCache, Parameter, Softened, Softening, Tape, Value};
use candle_core::{DType, Device, Tensor};
use serde_json::Map;

use crate::generate::Step;
use crate::{Dtype, Llama, LlamaConfig, Packed, Result, Rows, T5, T5Config};

/// Shape of a model of any kind.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "there are one or two of them in a program")]
pub enum ModelConfig {
    /// A decoder alone.
    Llama(LlamaConfig),
    /// Encoder and decoder.
    T5(T5Config),
}

/// A model of any kind, with its weights.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are one or two of them in a program")]
pub enum Model {
    /// A decoder alone.
    Llama(Llama),
    /// Encoder and decoder.
    T5(T5),
}

impl ModelConfig {
    /// Reads `config.json` in a Hugging Face folder.
    ///
    /// # Errors
    /// If it is missing, is not JSON, or describes a model that this crate cannot run; all reasons
    /// are given at once.
    pub fn load(folder: &Path) -> Result<Self> {
        match T5Config::is_meant(&crate::config::read(&folder.join("config.json"))?) {
            true => T5Config::load(folder).map(Self::T5),
            false => LlamaConfig::load(folder).map(Self::Llama),
        }
    }

    /// `V`: rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Llama(config) => config.vocab_size,
            Self::T5(config) => config.vocab_size,
        }
    }

    /// Longest sequence that the model was made for, in tokens, where it has an end: T5 knows distances
    /// alone.
    pub fn context(&self) -> usize {
        match self {
            Self::Llama(config) => config.max_position_embeddings,
            Self::T5(_) => usize::MAX,
        }
    }

    /// The first token of a text, where the configuration names one.
    pub fn bos_token_id(&self) -> Option<u32> {
        match self {
            Self::Llama(config) => config.bos_token_id,
            Self::T5(_) => None,
        }
    }

    /// The tokens that end a text; none, one or several.
    pub fn eos_token_ids(&self) -> &[u32] {
        match self {
            Self::Llama(config) => &config.eos_token_ids,
            Self::T5(config) => &config.eos_token_ids,
        }
    }

    /// The token that stands before an answer, if an encoder reads the prompt.
    pub fn decoder_start_token_id(&self) -> Option<u32> {
        match self {
            Self::Llama(_) => None,
            Self::T5(config) => Some(config.decoder_start_token_id),
        }
    }

    /// The `config.json` of this model with weights stored as `dtype`.
    pub fn to_json(&self, dtype: Dtype) -> Map<String, serde_json::Value> {
        match self {
            Self::Llama(config) => config.to_json(dtype),
            Self::T5(config) => config.to_json(dtype),
        }
    }

    /// Floats that a token of an answer, or of a source, takes in the caches.
    pub(crate) fn cached_floats(&self) -> usize {
        let (layers, heads) = match self {
            Self::Llama(config) => (config.num_hidden_layers, config.heads()),
            Self::T5(config) => (config.num_decoder_layers, config.heads()),
        };
        layers * 2 * heads.key_value * heads.width
    }
}

impl Model {
    /// Loads the weights of a Hugging Face folder as f32.
    ///
    /// # Errors
    /// If files are missing or damaged; all missing, misshapen and unexpected tensors are named at
    /// once.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        match ModelConfig::load(folder)? {
            ModelConfig::Llama(_) => Llama::load(folder, device).map(Self::Llama),
            ModelConfig::T5(_) => T5::load(folder, device).map(Self::T5),
        }
    }

    /// A model with random weights.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn random(config: ModelConfig, seed: u64, device: &Device) -> Result<Self> {
        match config {
            ModelConfig::Llama(config) => Llama::random(config, seed, device).map(Self::Llama),
            ModelConfig::T5(config) => T5::random(config, seed, device).map(Self::T5),
        }
    }

    /// The configuration that the weights belong to.
    pub fn config(&self) -> ModelConfig {
        match self {
            Self::Llama(model) => ModelConfig::Llama(model.config().clone()),
            Self::T5(model) => ModelConfig::T5(model.config().clone()),
        }
    }

    /// Whether an encoder reads the prompt, apart from the answer.
    pub fn has_encoder(&self) -> bool {
        matches!(self, Self::T5(_))
    }

    /// Moves all weights to `device` and rounds them to `dtype`; see [`Llama::place`].
    ///
    /// # Errors
    /// If the device has no room, or no kernels for the model.
    pub fn place(&mut self, device: &Device, dtype: DType, master: bool) -> Result<()> {
        match self {
            Self::Llama(model) => model.place(device, dtype, master),
            Self::T5(model) => model.place(device, dtype, master),
        }
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        match self {
            Self::Llama(model) => model.device(),
            Self::T5(model) => model.device(),
        }
    }

    /// The share of numbers that dropout drops, where a tape has a seed for it; `None` for a model
    /// that has no dropout.
    pub fn dropout(&self) -> Option<f64> {
        match self {
            Self::Llama(_) => None,
            Self::T5(model) => Some(model.config().dropout_rate),
        }
    }

    /// Sets it, if the model has dropout.
    pub fn set_dropout(&mut self, rate: f64) {
        match self {
            Self::Llama(_) => {}
            Self::T5(model) => model.set_dropout(rate),
        }
    }

    /// All parameters, in the order of the forward pass.
    pub fn parameters(&self) -> Vec<&Parameter> {
        match self {
            Self::Llama(model) => model.parameters(),
            Self::T5(model) => model.parameters(),
        }
    }

    /// All parameters, to freeze some.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        match self {
            Self::Llama(model) => model.parameters_mut(),
            Self::T5(model) => model.parameters_mut(),
        }
    }

    /// A batch as this model takes it.
    ///
    /// # Errors
    /// If the batch contradicts itself or the model.
    pub fn pack(&self, rows: Rows) -> Result<Packed> {
        match self {
            Self::Llama(model) => Packed::of_decoder(model.config(), rows),
            Self::T5(model) => Packed::of_encoder_decoder(model.config(), rows),
        }
    }

    /// The natural logarithm of the probability of each supervised token, `(N,)`.
    ///
    /// `ahead` is the gradient of the loss by these, where it is known before the forward pass: the
    /// head then does both passes at once.
    ///
    /// # Errors
    /// If the batch was packed for another model, or memory cannot be allocated.
    pub fn logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
    ) -> Result<Value<'a>> {
        match self {
            Self::Llama(model) => model.logprobs(tape, batch, ahead),
            Self::T5(model) => model.logprobs(tape, batch, ahead),
        }
    }

    /// The same with label smoothing and z-loss in it; `ahead` is the gradient by the softened ones.
    ///
    /// # Errors
    /// As [`Self::logprobs`]; if anything is softened on a GPU.
    pub fn softened_logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
        softening: Softening,
    ) -> Result<Softened<'a>> {
        match self {
            Self::Llama(model) => model.softened_logprobs(tape, batch, ahead, softening),
            Self::T5(model) => model.softened_logprobs(tape, batch, ahead, softening),
        }
    }

    /// The logits after each of `batch`'s rows, `(N, V)`: for tests and small inputs, since they
    /// exist whole.
    ///
    /// # Errors
    /// If the batch was packed for another model, or memory cannot be allocated.
    pub fn logits(&self, batch: &Packed) -> Result<Tensor> {
        match self {
            Self::Llama(model) => model.logits(batch),
            Self::T5(model) => model.logits(batch),
        }
    }

    /// Empty caches, as many as the model has use for.
    pub(crate) fn new_caches(&self) -> Vec<KeyValueCache> {
        match self {
            Self::Llama(model) => model.new_caches(),
            Self::T5(model) => model.new_caches(),
        }
    }

    /// Lets an encoder, if there is one, read the prompts of new `members` of the caches.
    pub(crate) fn read_sources(
        &self,
        sources: &[&[u32]],
        caches: &RefCell<Vec<KeyValueCache>>,
        members: Range<usize>,
    ) -> Result<()> {
        match self {
            Self::Llama(_) => Ok(()),
            Self::T5(_) if sources.is_empty() => Ok(()),
            Self::T5(model) => model.read_sources(sources, caches, members),
        }
    }

    /// The logits after the last of each sequence's new tokens, which join the caches.
    pub(crate) fn next_logits(
        &self,
        step: &Step,
        caches: &RefCell<Vec<KeyValueCache>>,
    ) -> Result<Tensor> {
        match self {
            Self::Llama(model) => model.next_logits(step, caches),
            Self::T5(model) => model.next_logits(step, caches),
        }
    }
}

impl From<Llama> for Model {
    fn from(model: Llama) -> Self {
        Self::Llama(model)
    }
}

impl From<T5> for Model {
    fn from(model: T5) -> Self {
        Self::T5(model)
    }
}

impl From<LlamaConfig> for ModelConfig {
    fn from(config: LlamaConfig) -> Self {
        Self::Llama(config)
    }
}

impl From<T5Config> for ModelConfig {
    fn from(config: T5Config) -> Self {
        Self::T5(config)
    }
}
