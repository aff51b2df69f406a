//! T5: an encoder reads the source, a decoder writes the target.
//!
//! As in `llama.rs`, one forward pass serves training, evaluation and generation: what differs is the
//! tape and where the decoder's attention finds its keys ([`block::Attend`]). What is T5's own: no
//! `1/sqrt(D)`, a learned bias by distance instead of rotary embedding, one for all layers of the encoder
//! and one for the decoder's, none in cross-attention; and dropout.
//!
//! In bf16 the residual streams are f32 all the same: T5's grow to thousands, of which bf16 would keep eight
//! bits. A norm reads its stream in f32 and returns the weights' type; the products that end in a stream
//! (`o`, and `wo`, whose sums overflowed half precision) are summed in f32 and added to it unrounded.
//!
//! Legend: `S` tokens of the packed sources, `T` of the packed targets, `C` hidden width, `H` heads, `D`
//! head width, `F` feed-forward width, `N` supervised tokens, `V` vocabulary.

mod block;

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use albacore_kernels::{
    Buckets, KeyValueCache, Parameter, RelativeBias, Sequences, Softened, Softening, Tape, Value,
    dropout, embedding_wide, linear_logits, rms_norm, scale, select_rows, softened_logprob,
};
use candle_core::{DType, Device, Tensor};

use crate::generate::Step;
use crate::initial::Initial;
use crate::packed::Sources;
use crate::{Error, Packed, Result, T5Config, Weights};
use block::{Attend, Block, Pass};

/// One half of the model: its blocks and what they share.
#[derive(Debug)]
struct Stack {
    /// `(B, H)`, stored with the first block.
    relative_attention_bias: Parameter,
    buckets: Buckets,
    blocks: Vec<Block>,
    final_layer_norm: Parameter,
}

impl Stack {
    fn bias(&self) -> RelativeBias<'_> {
        RelativeBias { table: &self.relative_attention_bias, buckets: &self.buckets }
    }
}

/// Makes a parameter of the named checkpoint tensors with so many rows each, one below another, and
/// so many columns; `None` for vectors.
type ParameterSource<'s> = dyn FnMut(&[(String, usize)], Option<usize>) -> Result<Parameter> + 's;

/// A T5 with its weights.
#[derive(Debug)]
pub struct T5 {
    config: T5Config,
    /// The embedding of source and target.
    shared: Parameter,
    encoder: Stack,
    decoder: Stack,
    /// The output matrix, where it is not the embedding's.
    lm_head: Option<Parameter>,
}

impl T5 {
    /// Loads the weights of a Hugging Face folder as f32.
    ///
    /// # Errors
    /// If files are missing or damaged, or hold one half of a model; all missing, misshapen and
    /// unexpected tensors are named at once.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let mut config = T5Config::load(folder)?;
        let mut weights = Weights::open(folder)?;
        config.tied = weights.shape("lm_head.weight").is_none();
        let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
        for (half, other) in [("encoder", "decoder"), ("decoder", "encoder")] {
            if !has(&format!("{half}.block.")) && has(&format!("{other}.block.")) {
                let problem = format!(
                    "its weights hold the {other} alone (no tensor `{half}.block.…`), wanted encoder \
                     and decoder"
                );
                let from = format!("`{}`", folder.display());
                return Err(Error::Config { from, problems: vec![problem] });
            }
        }
        for copy in ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"] {
            weights.call("shared.weight", copy);
        }
        // Of no use: old exporters stored it.
        weights.forget("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight");
        let model =
            Self::build(config, &mut |parts, columns| weights.parameter(parts, columns, device))?;
        weights.finish()?;
        Ok(model)
    }

    /// A model with random weights, normal with the deviations of transformers; norms 1.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn random(config: T5Config, seed: u64, device: &Device) -> Result<Self> {
        let shape = config.clone();
        let mut initial = Initial::new(seed);
        let deviation = |name: &str| deviation(&shape, name);
        Self::build(config, &mut |parts, columns| {
            initial.parameter(parts, columns, &deviation, device)
        })
    }

    /// Asks `parameter` for each of the model's parameters in turn.
    fn build(config: T5Config, parameter: &mut ParameterSource<'_>) -> Result<Self> {
        let width = config.d_model;
        let mut single = |name: &str, rows, columns| parameter(&[(name.to_owned(), rows)], columns);
        let shared = single("shared.weight", config.vocab_size, Some(width))?;
        let lm_head = match config.tied {
            true => None,
            false => Some(single("lm_head.weight", config.vocab_size, Some(width))?),
        };
        let encoder = stack(&config, "encoder", config.num_layers, parameter)?;
        let decoder = stack(&config, "decoder", config.num_decoder_layers, parameter)?;
        Ok(Self { config, shared, encoder, decoder, lm_head })
    }

    /// Moves all weights to `device` and rounds them to `dtype`; see [`crate::Llama::place`].
    ///
    /// # Errors
    /// If the device has no room.
    pub fn place(&mut self, device: &Device, dtype: DType, master: bool) -> Result<()> {
        for parameter in self.parameters_mut() {
            parameter.place(device, dtype, master)?;
        }
        Ok(())
    }

    /// The configuration that the weights belong to.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.shared.value().device()
    }

    /// All parameters, in the order of the forward pass.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut all = vec![&self.shared];
        for stack in [&self.encoder, &self.decoder] {
            all.push(&stack.relative_attention_bias);
            all.extend(stack.blocks.iter().flat_map(Block::parameters));
            all.push(&stack.final_layer_norm);
        }
        all.extend(&self.lm_head);
        all
    }

    /// All parameters, to freeze some.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut all = vec![&mut self.shared];
        for stack in [&mut self.encoder, &mut self.decoder] {
            all.push(&mut stack.relative_attention_bias);
            all.extend(stack.blocks.iter_mut().flat_map(Block::parameters_mut));
            all.push(&mut stack.final_layer_norm);
        }
        all.extend(&mut self.lm_head);
        all
    }

    /// The share of numbers that dropout drops, where a tape has a seed for it.
    pub fn set_dropout(&mut self, rate: f64) {
        self.config.dropout_rate = rate;
    }

    /// The natural logarithm of the probability of each supervised token, `(N,)`; see
    /// [`crate::Llama::logprobs`].
    ///
    /// # Errors
    /// If the batch was packed for another kind of model, or memory cannot be allocated.
    pub fn logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
    ) -> Result<Value<'a>> {
        Ok(self.softened_logprobs(tape, batch, ahead, Softening::default())?.softened)
    }

    /// The same with label smoothing and z-loss in it; see [`crate::Llama::softened_logprobs`].
    ///
    /// # Errors
    /// If the batch was packed for another kind of model, or memory cannot be allocated.
    pub fn softened_logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
        softening: Softening,
    ) -> Result<Softened<'a>> {
        let hidden = self.hidden(tape, batch)?; // (N, C)
        Ok(softened_logprob(tape, &hidden, self.head(), &batch.targets, ahead, softening)?)
    }

    /// The logits after each of `batch`'s rows, `(N, V)`: for tests and small inputs, since they
    /// exist whole.
    ///
    /// # Errors
    /// If the batch was packed for another kind of model, or memory cannot be allocated.
    pub fn logits(&self, batch: &Packed) -> Result<Tensor> {
        let hidden = self.hidden(&mut Tape::inference(), batch)?;
        Ok(linear_logits(hidden.tensor(), self.head().value())?)
    }

    /// What the head takes at each of the rows, `(N, C)`.
    fn hidden<'a>(&'a self, tape: &mut Tape<'a>, batch: &'a Packed) -> Result<Value<'a>> {
        let Sources { ids, sequences, crossing } = batch.sources()?;
        let encoded = self.encode(tape, ids, sequences)?; // (S, C)
        let pass = self.pass(&self.decoder);
        let attend = Attend::Packed(&batch.sequences, crossing);
        let mut x = self.embed(tape, &batch.ids)?;
        for (index, block) in self.decoder.blocks.iter().enumerate() {
            x = tape.checkpoint_of([&x, &encoded], move |tape, [x, encoded]| {
                block.decode(tape, x, Some(encoded), attend, pass, index)
            })?;
        }
        self.head_input(tape, &x, &batch.rows)
    }

    /// What the decoder sees of the sources, `(S, C)`.
    fn encode<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        ids: &'a [u32],
        sources: &'a Sequences,
    ) -> Result<Value<'a>> {
        let pass = self.pass(&self.encoder);
        let mut x = self.embed(tape, ids)?;
        for block in &self.encoder.blocks {
            x = tape.checkpoint(&x, move |tape, x| block.encode(tape, x, sources, pass))?;
        }
        let x = rms_norm(tape, &x, &self.encoder.final_layer_norm, pass.epsilon)?;
        Ok(dropout(tape, &x, pass.dropout)?)
    }

    fn embed<'a>(&'a self, tape: &mut Tape<'a>, ids: &'a [u32]) -> Result<Value<'a>> {
        let x = embedding_wide(tape, &self.shared, ids)?;
        Ok(dropout(tape, &x, self.config.dropout_rate as f32)?)
    }

    /// Normalised, and scaled where the head is the embedding.
    fn head_input<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        rows: &'a [u32],
    ) -> Result<Value<'a>> {
        let pass = self.pass(&self.decoder);
        let x = select_rows(tape, x, rows)?;
        let x = rms_norm(tape, &x, &self.decoder.final_layer_norm, pass.epsilon)?;
        let x = dropout(tape, &x, pass.dropout)?;
        let factor = if self.config.scaled { (self.config.d_model as f32).powf(-0.5) } else { 1.0 };
        Ok(scale(tape, &x, factor)?)
    }

    fn pass<'a>(&'a self, stack: &'a Stack) -> Pass<'a> {
        Pass {
            heads: self.config.heads(),
            epsilon: self.config.layer_norm_epsilon as f32,
            feed_forward: self.config.feed_forward,
            dropout: self.config.dropout_rate as f32,
            bias: stack.bias(),
        }
    }

    fn head(&self) -> &Parameter {
        self.lm_head.as_ref().unwrap_or(&self.shared)
    }

    /// Two empty caches for each layer of the decoder: all of its own, then all of the sources.
    pub(crate) fn new_caches(&self) -> Vec<KeyValueCache> {
        let count = 2 * self.decoder.blocks.len();
        (0..count).map(|_| KeyValueCache::new(self.config.heads(), 0)).collect()
    }

    /// Encodes sources, once each, for the `members` of the caches that are to answer them.
    pub(crate) fn read_sources(
        &self,
        sources: &[&[u32]],
        caches: &RefCell<Vec<KeyValueCache>>,
        members: Range<usize>,
    ) -> Result<()> {
        let sequences = Sequences::from_lengths(sources.iter().map(|source| source.len()))?;
        let ids = sources.concat();
        let tape = &mut Tape::inference();
        let encoded = self.encode(tape, &ids, &sequences)?;
        let (layers, mut caches) = (self.decoder.blocks.len(), caches.borrow_mut());
        for (block, cache) in self.decoder.blocks.iter().zip(&mut caches[layers..]) {
            let kv = block.keys_and_values(tape, &encoded)?;
            cache.fill(kv.tensor(), members.clone(), &sequences)?;
        }
        Ok(())
    }

    /// The logits after the last of each target's new tokens, which join the caches.
    pub(crate) fn next_logits(
        &self,
        step: &Step,
        caches: &RefCell<Vec<KeyValueCache>>,
    ) -> Result<Tensor> {
        let bias = self.decoder.bias().values(step.longest)?;
        let attend = Attend::Cached(caches, &step.members, &step.sequences, &bias);
        let tape = &mut Tape::inference();
        let pass = self.pass(&self.decoder);
        let mut x = self.embed(tape, &step.ids)?;
        for (index, block) in self.decoder.blocks.iter().enumerate() {
            x = block.decode(tape, &x, None, attend, pass, index)?;
        }
        let hidden = self.head_input(tape, &x, &step.last)?;
        Ok(linear_logits(hidden.tensor(), self.head().value())?)
    }
}

/// One half of the model.
fn stack(
    config: &T5Config,
    half: &str,
    blocks: usize,
    parameter: &mut ParameterSource<'_>,
) -> Result<Stack> {
    let (count, heads) = (config.relative_attention_num_buckets, config.num_heads);
    let is_decoder = half == "decoder";
    let buckets = Buckets::t5(count, config.relative_attention_max_distance, !is_decoder)?;
    let bias = format!("{half}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
    let relative_attention_bias = parameter(&[(bias, count)], Some(heads))?;
    let final_layer_norm =
        parameter(&[(format!("{half}.final_layer_norm.weight"), config.d_model)], None)?;
    let blocks = (0..blocks).map(|index| Block::build(config, half, index, parameter));
    let blocks = blocks.collect::<Result<Vec<_>>>()?;
    Ok(Stack { relative_attention_bias, buckets, blocks, final_layer_norm })
}

/// The standard deviation of a fresh matrix, as in `_init_weights` of transformers' T5.
fn deviation(config: &T5Config, name: &str) -> f32 {
    let inner = config.num_heads * config.d_kv;
    let part = name.trim_end_matches(".weight").rsplit('.').next().unwrap_or_default();
    let fan = match part {
        "q" => config.d_model * config.d_kv,
        "k" | "v" | "wi" | "wi_0" | "wi_1" | "relative_attention_bias" => config.d_model,
        "o" => inner,
        "wo" => config.d_ff,
        _ => 1,
    };
    config.initializer_factor as f32 * (fan as f32).powf(-0.5)
}
