//! The blocks of a T5: attention of a stream to itself, in the decoder to its source too, and the
//! feed-forward layer.

use std::cell::RefCell;
use std::ops::Range;

use albacore_kernels::{
    BiasValues, Crossing, Heads, KeyValueCache, Parameter, RelativeBias, Sequences, Tape, Value,
    biased_attention_with_dropout, cross_attention, dropout, geglu, linear,
    linear_add_with_dropout, relu, rms_norm, swiglu,
};

use super::ParameterSource;
use crate::{FeedForward, Result, T5Config};

/// T5's queries were trained without the division by the square root of a head's width.
const NO_SCALE: f32 = 1.0;

/// Where the decoder's attention finds keys and values.
#[derive(Clone, Copy)]
pub(super) enum Attend<'a> {
    /// In the batch: each target in itself, and in its own source.
    Packed(&'a Sequences, &'a Crossing),
    /// In two caches a layer, first those of the targets, then those of the sources.
    Cached(&'a RefCell<Vec<KeyValueCache>>, &'a Range<usize>, &'a Sequences, &'a BiasValues),
}

/// What all layers of one forward pass share.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) heads: Heads,
    pub(super) epsilon: f32,
    pub(super) feed_forward: FeedForward,
    pub(super) dropout: f32,
    pub(super) bias: RelativeBias<'a>,
}

/// A layer's attention of a stream to itself.
#[derive(Debug)]
struct SelfAttention {
    layer_norm: Parameter,
    /// `q`, `k` and `v`, one below another.
    qkv: Parameter,
    o: Parameter,
}

/// The decoder's attention to the source.
#[derive(Debug)]
struct CrossAttention {
    layer_norm: Parameter,
    q: Parameter,
    /// `k` and `v`, one below another: of the encoder's output.
    kv: Parameter,
    o: Parameter,
}

#[derive(Debug)]
struct Dense {
    layer_norm: Parameter,
    /// `wi`, or `wi_0` and `wi_1`, one below another.
    wi: Parameter,
    wo: Parameter,
}

/// A block of the encoder, or, with cross-attention, of the decoder.
#[derive(Debug)]
pub(super) struct Block {
    attention: SelfAttention,
    cross: Option<CrossAttention>,
    dense: Dense,
}

impl Block {
    /// `x` is `(S, C)`.
    pub(super) fn encode<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        sources: &'a Sequences,
        pass: Pass<'a>,
    ) -> albacore_kernels::Result<Value<'a>> {
        let hidden = rms_norm(tape, x, &self.attention.layer_norm, pass.epsilon)?;
        let qkv = linear(tape, &hidden, &self.attention.qkv, None)?; // (S, 3 H D)
        let mixed = pass.attend(tape, &qkv, sources)?;
        let x = pass.residual(tape, x, &mixed, &self.attention.o)?;
        self.dense.forward(tape, &x, pass)
    }

    /// `x` is `(T, C)`, `encoded` `(S, C)` where the caches do not hold what is made of it.
    pub(super) fn decode<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        encoded: Option<&Value<'a>>,
        attend: Attend<'a>,
        pass: Pass<'a>,
        index: usize,
    ) -> albacore_kernels::Result<Value<'a>> {
        let cross = self.cross();
        let hidden = rms_norm(tape, x, &self.attention.layer_norm, pass.epsilon)?;
        let qkv = linear(tape, &hidden, &self.attention.qkv, None)?; // (T, 3 H D)
        let mixed = match attend {
            Attend::Packed(targets, _) => pass.attend(tape, &qkv, targets)?,
            Attend::Cached(caches, members, fresh, bias) => {
                let cache = &mut caches.borrow_mut()[index];
                let members = members.clone();
                let mixed = cache.attend_biased(qkv.tensor(), members, fresh, NO_SCALE, bias)?;
                Value::constant(mixed)
            }
        }; // (T, H D)
        let x = pass.residual(tape, x, &mixed, &self.attention.o)?;

        let hidden = rms_norm(tape, &x, &cross.layer_norm, pass.epsilon)?;
        let q = linear(tape, &hidden, &cross.q, None)?; // (T, H D)
        let mixed = match (attend, encoded) {
            (Attend::Packed(_, crossing), Some(encoded)) => {
                let kv = self.keys_and_values(tape, encoded)?;
                cross_attention(tape, &q, &kv, pass.heads, crossing, NO_SCALE, pass.dropout)?
            }
            (Attend::Cached(caches, members, fresh, _), _) => {
                let caches = caches.borrow();
                let cache = &caches[caches.len() / 2 + index];
                Value::constant(cache.look_up(q.tensor(), members.clone(), fresh, NO_SCALE)?)
            }
            (Attend::Packed(..), None) => unreachable!("a packed batch has its sources encoded"),
        }; // (T, H D)
        let x = pass.residual(tape, &x, &mixed, &cross.o)?;
        self.dense.forward(tape, &x, pass)
    }

    /// What the caches of sources hold of the encoder's output, `(S, 2 H D)`.
    pub(super) fn keys_and_values<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        encoded: &Value<'a>,
    ) -> albacore_kernels::Result<Value<'a>> {
        linear(tape, encoded, &self.cross().kv, None)
    }

    fn cross(&self) -> &CrossAttention {
        self.cross.as_ref().expect("a block of the decoder has cross-attention")
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        let SelfAttention { layer_norm, qkv, o } = &self.attention;
        let cross = self.cross.iter();
        let cross = cross.flat_map(|cross| [&cross.layer_norm, &cross.q, &cross.kv, &cross.o]);
        let Dense { layer_norm: dense_norm, wi, wo } = &self.dense;
        [layer_norm, qkv, o].into_iter().chain(cross).chain([dense_norm, wi, wo])
    }

    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let SelfAttention { layer_norm, qkv, o } = &mut self.attention;
        let cross = self
            .cross
            .iter_mut()
            .flat_map(|cross| [&mut cross.layer_norm, &mut cross.q, &mut cross.kv, &mut cross.o]);
        let Dense { layer_norm: dense_norm, wi, wo } = &mut self.dense;
        [layer_norm, qkv, o].into_iter().chain(cross).chain([dense_norm, wi, wo])
    }
}

impl Dense {
    fn forward<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        pass: Pass<'a>,
    ) -> albacore_kernels::Result<Value<'a>> {
        let hidden = rms_norm(tape, x, &self.layer_norm, pass.epsilon)?;
        let inner = linear(tape, &hidden, &self.wi, None)?; // (T, F) or (T, 2 F)
        let activated = match pass.feed_forward {
            FeedForward::Relu => relu(tape, &inner)?,
            FeedForward::GatedGelu => geglu(tape, &inner)?,
            FeedForward::GatedSilu => swiglu(tape, &inner)?,
        }; // (T, F)
        let activated = dropout(tape, &activated, pass.dropout)?;
        pass.residual(tape, x, &activated, &self.wo)
    }
}

impl<'a> Pass<'a> {
    /// Attention of packed sequences to themselves.
    fn attend(
        self,
        tape: &mut Tape<'a>,
        qkv: &Value<'a>,
        sequences: &'a Sequences,
    ) -> albacore_kernels::Result<Value<'a>> {
        let Self { heads, bias, dropout, .. } = self;
        biased_attention_with_dropout(tape, qkv, heads, sequences, NO_SCALE, bias, dropout)
    }

    /// `x + dropout(input weightᵀ)`.
    fn residual(
        self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        input: &Value<'a>,
        weight: &'a Parameter,
    ) -> albacore_kernels::Result<Value<'a>> {
        linear_add_with_dropout(tape, x, input, weight, self.dropout)
    }
}

impl Block {
    /// Asks `parameter` for each parameter of block `index` of one half of the model.
    pub(super) fn build(
        config: &T5Config,
        half: &str,
        index: usize,
        parameter: &mut ParameterSource<'_>,
    ) -> Result<Block> {
        let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
        let mut layer = |layer: usize, module: &str, names: &[&str], rows, columns| {
            let module = if module.is_empty() { String::new() } else { format!("{module}.") };
            let name =
                |name: &&str| format!("{half}.block.{index}.layer.{layer}.{module}{name}.weight");
            parameter(&names.iter().map(|one| (name(one), rows)).collect::<Vec<_>>(), columns)
        };
        let attention = SelfAttention {
            layer_norm: layer(0, "", &["layer_norm"], width, None)?,
            qkv: layer(0, "SelfAttention", &["q", "k", "v"], inner, Some(width))?,
            o: layer(0, "SelfAttention", &["o"], width, Some(inner))?,
        };
        let cross = match half {
            "decoder" => Some(CrossAttention {
                layer_norm: layer(1, "", &["layer_norm"], width, None)?,
                q: layer(1, "EncDecAttention", &["q"], inner, Some(width))?,
                kv: layer(1, "EncDecAttention", &["k", "v"], inner, Some(width))?,
                o: layer(1, "EncDecAttention", &["o"], width, Some(inner))?,
            }),
            _ => None,
        };
        let last = if cross.is_some() { 2 } else { 1 };
        let (inputs, dense) = (config.feed_forward.inputs(), "DenseReluDense");
        let dense = Dense {
            layer_norm: layer(last, "", &["layer_norm"], width, None)?,
            wi: layer(last, dense, inputs, config.d_ff, Some(width))?,
            wo: layer(last, dense, &["wo"], width, Some(config.d_ff))?,
        };
        Ok(Block { attention, cross, dense })
    }
}
