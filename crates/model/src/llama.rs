//! LLaMA: weights and ids in, log-probabilities out.
//!
//! One readable forward pass serves training, evaluation and generation: what differs is the tape
//! (recording or not) and where attention finds its keys ([`Attend`]).
//!
//! Legend: `T` tokens of a packed batch, `C` hidden width, `H` query heads, `G` key/value heads,
//! `D` head width, `F` feed-forward width, `N` supervised tokens, `V` vocabulary.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use albacore_kernels::{
    Angles, Heads, KeyValueCache, Parameter, Positions, Sequences, Softened, Softening, Tape,
    Value, attention, embedding, linear, linear_add, linear_logits, rms_norm, rope, select_rows,
    softened_logprob, swiglu,
};
use candle_core::{DType, Device, Tensor};

use crate::generate::Step;
use crate::{LlamaConfig, Packed, Result, Weights};

/// Where attention finds keys and values.
#[derive(Clone, Copy)]
enum Attend<'a> {
    /// In the batch itself, each sequence alone.
    Packed(&'a Sequences),
    /// In one cache a layer, to whose `members` the new tokens of each are appended first.
    Cached(&'a RefCell<Vec<KeyValueCache>>, &'a Range<usize>, &'a Sequences),
}

/// What all layers of one forward pass share.
#[derive(Clone, Copy)]
struct Pass<'a> {
    attend: Attend<'a>,
    angles: &'a Angles,
    positions: &'a Positions,
    heads: Heads,
    epsilon: f32,
}

/// One transformer block.
#[derive(Debug)]
struct Layer {
    input_layernorm: Parameter,
    /// `q_proj`, `k_proj` and `v_proj`, one below another.
    qkv_proj: Parameter,
    qkv_bias: Option<Parameter>,
    o_proj: Parameter,
    o_bias: Option<Parameter>,
    post_attention_layernorm: Parameter,
    /// `gate_proj` and `up_proj`, one below another.
    gate_up_proj: Parameter,
    down_proj: Parameter,
}

impl Layer {
    fn forward<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>, // (T, C)
        pass: Pass<'a>,
        index: usize,
    ) -> albacore_kernels::Result<Value<'a>> {
        let hidden = rms_norm(tape, x, &self.input_layernorm, pass.epsilon)?;
        let qkv = linear(tape, &hidden, &self.qkv_proj, self.qkv_bias.as_ref())?; // (T, (H + 2 G) D)
        let qkv = rope(tape, qkv, pass.heads, pass.angles, pass.positions)?;
        let mixed = match pass.attend {
            Attend::Packed(sequences) => {
                attention(tape, &qkv, pass.heads, sequences, pass.scale())?
            }
            Attend::Cached(caches, members, fresh) => {
                let cache = &mut caches.borrow_mut()[index];
                Value::constant(cache.attend(qkv.tensor(), members.clone(), fresh, pass.scale())?)
            }
        }; // (T, H D)
        let x = linear_add(tape, x, &mixed, &self.o_proj, self.o_bias.as_ref())?;

        let hidden = rms_norm(tape, &x, &self.post_attention_layernorm, pass.epsilon)?;
        let gate_up = linear(tape, &hidden, &self.gate_up_proj, None)?; // (T, 2 F)
        let activated = swiglu(tape, &gate_up)?; // (T, F)
        linear_add(tape, &x, &activated, &self.down_proj, None)
    }

    fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.input_layernorm, &self.qkv_proj]
            .into_iter()
            .chain(&self.qkv_bias)
            .chain([&self.o_proj])
            .chain(&self.o_bias)
            .chain([&self.post_attention_layernorm, &self.gate_up_proj, &self.down_proj])
    }

    fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        [&mut self.input_layernorm, &mut self.qkv_proj]
            .into_iter()
            .chain(&mut self.qkv_bias)
            .chain([&mut self.o_proj])
            .chain(&mut self.o_bias)
            .chain([
                &mut self.post_attention_layernorm,
                &mut self.gate_up_proj,
                &mut self.down_proj,
            ])
    }
}

impl Pass<'_> {
    fn scale(&self) -> f32 {
        (self.heads.width as f32).sqrt().recip()
    }
}

/// Makes a parameter of the named checkpoint tensors with so many rows each, one below another, and
/// so many columns; `None` for vectors.
type ParameterSource<'s> = dyn FnMut(&[(String, usize)], Option<usize>) -> Result<Parameter> + 's;

/// A LLaMA with its weights.
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    embed_tokens: Parameter,
    layers: Vec<Layer>,
    norm: Parameter,
    /// The output matrix, where it is not the embedding's.
    lm_head: Option<Parameter>,
}

impl Llama {
    /// Loads the weights of a Hugging Face folder as f32.
    ///
    /// # Errors
    /// If files are missing or damaged; all missing, misshapen and unexpected tensors are named at
    /// once.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let config = LlamaConfig::load(folder)?;
        let mut weights = Weights::open(folder)?;
        if config.tie_word_embeddings {
            weights.forget("lm_head.weight");
        }
        let model =
            Self::build(config, &mut |parts, columns| weights.parameter(parts, columns, device))?;
        weights.finish()?;
        Ok(model)
    }

    /// A model with random weights: normal with the configured `initializer_range`, norms 1.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn random(config: LlamaConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut initial = crate::initial::Initial::new(seed);
        let deviation = config.initializer_range as f32;
        Self::build(config, &mut |parts, columns| {
            initial.parameter(parts, columns, &|_| deviation, device)
        })
    }

    /// Asks `parameter` for each of the model's parameters in turn.
    fn build(config: LlamaConfig, parameter: &mut ParameterSource<'_>) -> Result<Self> {
        let (hidden, heads) = (config.hidden_size, config.heads());
        let mut single = |name: &str, rows, columns| parameter(&[(name.to_owned(), rows)], columns);
        let embed_tokens = single("model.embed_tokens.weight", config.vocab_size, Some(hidden))?;
        let norm = single("model.norm.weight", hidden, None)?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(single("lm_head.weight", config.vocab_size, Some(hidden))?),
        };
        let layers = (0..config.num_hidden_layers).map(|index| {
            let mut stacked = |parts: &[(&str, usize)], columns| {
                let named = parts
                    .iter()
                    .map(|&(name, rows)| (format!("model.layers.{index}.{name}"), rows));
                parameter(&named.collect::<Vec<_>>(), columns)
            };
            let (query, key_value) = (heads.query * heads.width, heads.key_value * heads.width);
            let feed_forward = config.intermediate_size;
            let mut bias = |parts: &[(&str, usize)]| match config.attention_bias {
                true => stacked(parts, None).map(Some),
                false => Ok(None),
            };
            let qkv_bias = bias(&[
                ("self_attn.q_proj.bias", query),
                ("self_attn.k_proj.bias", key_value),
                ("self_attn.v_proj.bias", key_value),
            ])?;
            let o_bias = bias(&[("self_attn.o_proj.bias", hidden)])?;
            Ok(Layer {
                input_layernorm: stacked(&[("input_layernorm.weight", hidden)], None)?,
                qkv_proj: stacked(
                    &[
                        ("self_attn.q_proj.weight", query),
                        ("self_attn.k_proj.weight", key_value),
                        ("self_attn.v_proj.weight", key_value),
                    ],
                    Some(hidden),
                )?,
                qkv_bias,
                o_proj: stacked(&[("self_attn.o_proj.weight", hidden)], Some(query))?,
                o_bias,
                post_attention_layernorm: stacked(
                    &[("post_attention_layernorm.weight", hidden)],
                    None,
                )?,
                gate_up_proj: stacked(
                    &[("mlp.gate_proj.weight", feed_forward), ("mlp.up_proj.weight", feed_forward)],
                    Some(hidden),
                )?,
                down_proj: stacked(&[("mlp.down_proj.weight", hidden)], Some(feed_forward))?,
            })
        });
        let layers = layers.collect::<Result<Vec<_>>>()?;
        Ok(Self { config, embed_tokens, layers, norm, lm_head })
    }

    /// Moves all weights to `device` and rounds them to `dtype`: f32, or bf16 on a GPU. With `master`
    /// the trained weights are kept in f32 beside the rounded ones.
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
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.embed_tokens.value().device()
    }

    /// All parameters, in the order of the forward pass.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let layers = self.layers.iter().flat_map(Layer::parameters);
        std::iter::once(&self.embed_tokens)
            .chain(layers)
            .chain([&self.norm])
            .chain(&self.lm_head)
            .collect()
    }

    /// All parameters, to freeze some.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let layers = self.layers.iter_mut().flat_map(Layer::parameters_mut);
        std::iter::once(&mut self.embed_tokens)
            .chain(layers)
            .chain([&mut self.norm])
            .chain(&mut self.lm_head)
            .collect()
    }

    /// The natural logarithm of the probability of each supervised token, `(N,)`.
    ///
    /// `ahead` is the gradient of the loss by these, where it is known before the forward pass: the
    /// head then does both passes at once.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
    ) -> Result<Value<'a>> {
        Ok(self.softened_logprobs(tape, batch, ahead, Softening::default())?.softened)
    }

    /// The same with label smoothing and z-loss in it; `ahead` is the gradient by the softened ones.
    ///
    /// # Errors
    /// If memory cannot be allocated, or anything is softened on a GPU.
    pub fn softened_logprobs<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        batch: &'a Packed,
        ahead: Option<Vec<f32>>,
        softening: Softening,
    ) -> Result<Softened<'a>> {
        let (angles, positions) = batch.turns()?;
        let pass = self.pass(Attend::Packed(&batch.sequences), angles, positions);
        let hidden = self.hidden(tape, &batch.ids, pass)?; // (T, C)
        let hidden = select_rows(tape, &hidden, &batch.rows)?; // (N, C)
        let hidden = rms_norm(tape, &hidden, &self.norm, self.epsilon())?;
        Ok(softened_logprob(tape, &hidden, self.head(), &batch.targets, ahead, softening)?)
    }

    /// The logits after each of `batch`'s rows, `(N, V)`: for tests and small inputs, since they
    /// exist whole.
    ///
    /// # Errors
    /// If memory cannot be allocated.
    pub fn logits(&self, batch: &Packed) -> Result<Tensor> {
        let (angles, positions) = batch.turns()?;
        let pass = self.pass(Attend::Packed(&batch.sequences), angles, positions);
        let tape = &mut Tape::inference();
        let hidden = self.hidden(tape, &batch.ids, pass)?;
        self.logits_of(tape, &hidden, &batch.rows)
    }

    /// An empty cache for each layer.
    pub(crate) fn new_caches(&self) -> Vec<KeyValueCache> {
        let new = |_: &Layer| KeyValueCache::new(self.config.heads(), 0);
        self.layers.iter().map(new).collect()
    }

    /// The logits after the last of each sequence's new tokens, which join the caches.
    pub(crate) fn next_logits(
        &self,
        step: &Step,
        caches: &RefCell<Vec<KeyValueCache>>,
    ) -> Result<Tensor> {
        let attend = Attend::Cached(caches, &step.members, &step.sequences);
        let angles = step.angles.as_ref().expect("a step of a LLaMA has angles");
        let pass = self.pass(attend, angles, &step.positions);
        let tape = &mut Tape::inference();
        let hidden = self.hidden(tape, &step.ids, pass)?;
        self.logits_of(tape, &hidden, &step.last)
    }

    fn logits_of<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        hidden: &Value<'a>,
        rows: &'a [u32],
    ) -> Result<Tensor> {
        let hidden = select_rows(tape, hidden, rows)?;
        let hidden = rms_norm(tape, &hidden, &self.norm, self.epsilon())?;
        Ok(linear_logits(hidden.tensor(), self.head().value())?)
    }

    fn pass<'a>(
        &self,
        attend: Attend<'a>,
        angles: &'a Angles,
        positions: &'a Positions,
    ) -> Pass<'a> {
        let (heads, epsilon) = (self.config.heads(), self.epsilon());
        Pass { attend, angles, positions, heads, epsilon }
    }

    /// The residual stream after the last block, `(T, C)`.
    fn hidden<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        ids: &'a [u32],
        pass: Pass<'a>,
    ) -> Result<Value<'a>> {
        let mut x = embedding(tape, &self.embed_tokens, ids)?;
        for (index, layer) in self.layers.iter().enumerate() {
            x = tape.checkpoint(&x, move |tape, x| layer.forward(tape, x, pass, index))?;
        }
        Ok(x)
    }

    fn epsilon(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    fn head(&self) -> &Parameter {
        self.lm_head.as_ref().unwrap_or(&self.embed_tokens)
    }
}
