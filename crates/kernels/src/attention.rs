//! Attention over packed sequences: `softmax(scale · q kᵀ) v` (Vaswani et al., 2017, equation 1), each
//! sequence on its own or behind a prompt that it shares, with groups of query heads sharing a
//! key/value head.
//!
//! Tile by tile with an online softmax (Dao, 2023, FlashAttention-2): of the tokens x tokens scores
//! no more exists at a time than one tile a thread, and the forward pass leaves behind only its
//! output and the log-sum-exp of each row of scores. The backward pass computes the scores again.
//!
//! A tile holds its scores as (key, query), so that the softmax runs down columns of [`QUERIES`]
//! lanes and never across a vector; all products are by `gemm`, on one thread each.

mod backward;
mod bias;
mod cross;
mod dropped;
mod forward;
mod pairs;
#[cfg(test)]
mod prompt_tests;
#[cfg(test)]
mod reference;
mod rows;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

pub use bias::{BiasValues, Buckets, RelativeBias};
pub use cross::{Crossing, cross_attention};
pub(crate) use dropped::Dropped;
pub(crate) use forward::Tile;
pub(crate) use rows::{Block, Rows};

use crate::device::attention::{Call, Streams};
use crate::device::bias::Table;
use crate::dropout::Mask;
use crate::engine::{Engine, Memory};
use crate::error::expect_shape;
use crate::launch::{Compute, Gpu};
use crate::storage::Like;
use crate::{Error, Heads, Result, Sequences, Tape, Value, storage};

/// Queries of a tile: the rows of `gemm`'s f32 kernels are 48 (AVX-512) and 24 (AVX2).
pub(crate) const QUERIES: usize = 48;

/// Causal attention: a token sees itself and the earlier tokens of its sequence, and of the prompt that
/// its sequence goes on from.
///
/// Saves `qkv` and `(H, T)` log-sum-exps for the backward pass, and the output if the tape does not
/// compute it again. Results have the same bits at any thread count and whatever other sequences are
/// in the batch.
///
/// # Shapes
/// `qkv` `(T, (H + 2G) D)`, rotary embedding applied; returns `(T, H D)`.
///
/// # Errors
/// If the shapes, the heads and the sequences do not fit each other.
pub fn attention<'a>(
    tape: &mut Tape<'a>,
    qkv: &Value<'a>,
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
) -> Result<Value<'a>> {
    let plain = Attention { heads, sequences, scale, causal: true, bias: None, dropout: None };
    record(tape, qkv, plain)
}

/// As [`attention()`], but a token sees all tokens of its sequence and of its prompt: the attention of
/// an encoder.
///
/// # Errors
/// If the shapes, the heads and the sequences do not fit each other.
pub fn bidirectional_attention<'a>(
    tape: &mut Tape<'a>,
    qkv: &Value<'a>,
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
) -> Result<Value<'a>> {
    let plain = Attention { heads, sequences, scale, causal: false, bias: None, dropout: None };
    record(tape, qkv, plain)
}

/// Attention whose scores have a learned bias by the distance of the key from the query, before the
/// softmax: `softmax(scale · q kᵀ + bias) v`. It is causal, or bidirectional if the bias tells keys
/// behind their query apart. Positions count from the start of a sequence; no prompt may be shared.
///
/// # Shapes
/// As [`attention()`]; the table of the bias `(B, H)`.
///
/// # Errors
/// If the shapes, the heads, the sequences and the bias do not fit each other.
pub fn biased_attention<'a>(
    tape: &mut Tape<'a>,
    qkv: &Value<'a>,
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
    bias: RelativeBias<'a>,
) -> Result<Value<'a>> {
    biased_attention_with_dropout(tape, qkv, heads, sequences, scale, bias, 0.0)
}

/// As [`biased_attention`], of which the tape drops weights at the rate `dropout`, as
/// [`crate::dropout()`] drops numbers.
///
/// # Errors
/// As [`biased_attention`].
pub fn biased_attention_with_dropout<'a>(
    tape: &mut Tape<'a>,
    qkv: &Value<'a>,
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
    bias: RelativeBias<'a>,
    dropout: f32,
) -> Result<Value<'a>> {
    bias.check(heads.query)?;
    if sequences.share_prompts() {
        return Err(Error::BiasedPrompts);
    }
    let dropout = Mask::next(tape, dropout);
    let causal = !bias.buckets.is_bidirectional();
    record(tape, qkv, Attention { heads, sequences, scale, causal, bias: Some(bias), dropout })
}

/// What is attended to, and how.
#[derive(Clone, Copy)]
struct Attention<'a> {
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
    causal: bool,
    bias: Option<RelativeBias<'a>>,
    dropout: Option<Mask>,
}

fn record<'a>(tape: &mut Tape<'a>, qkv: &Value<'a>, call: Attention<'a>) -> Result<Value<'a>> {
    check("attention", qkv.tensor(), call.heads, call.sequences)?;
    let (tokens, like) = (call.sequences.tokens(), Like::of(qkv.tensor()));
    let shape = (tokens, call.heads.output_channels());
    // SAFETY: the forward pass writes each head of each token, in both.
    let out = unsafe { like.clone().shaped(shape).empty()? };
    // SAFETY: as above.
    let lse = unsafe { like.clone().wide().shaped((call.heads.query, tokens)).empty()? };
    call.run_forward(qkv.tensor(), &out, &lse)?;
    let (slot, kept, input, sums) = (qkv.slot(), tape.keep(qkv), qkv.tensor().clone(), lse.clone());
    let out = Value::constant(out).with_recipe(tape, move || {
        // SAFETY: as above. The log-sum-exps are overwritten by themselves.
        let out = unsafe { Like::of(&input).shaped(shape).empty()? };
        call.run_forward(&input, &out, &sums)?;
        Ok(out)
    });
    // What is added to the residual stream through `o_proj` and what this needs is one tensor, which
    // is computed again by whoever comes first and freed by the other.
    let output = tape.keep(&out);
    let needed = slot.is_some() || call.trained_table().is_some();
    Ok(tape.record_value(out, needed, move |slots, gradient| {
        let (qkv, output) = (kept.get()?, output.get()?);
        let run = |sum: &Tensor, accumulate| {
            call.run_backward(sum, [&qkv, &output, &gradient, &lse], accumulate)
        };
        match slot {
            Some(_) => slots.accumulate(slot, &like, run),
            // Nobody asks for the gradient of `qkv`, from which that of the table cannot be parted.
            // SAFETY: the backward pass writes all of it.
            None => run(&unsafe { like.empty()? }, false),
        }
    }))
}

impl Attention<'_> {
    fn run_forward(self, qkv: &Tensor, out: &Tensor, lse: &Tensor) -> Result<()> {
        if let Some(gpu) = Engine::of(qkv.device())? {
            let tiles = self.sequences.query_tiles(&gpu, self.causal)?;
            let places = [gpu.at(out)?, gpu.at(lse)?];
            let (call, _bias) = self.on_gpu(&gpu, qkv)?;
            let from = Streams::packed(self.heads, call.compute, gpu.at(qkv)?);
            return call.forward(&*gpu, tiles, places, from);
        }
        let (qkv, bias) = (storage::read(qkv)?, self.bias_values()?);
        storage::write(out, |out| {
            storage::write(lse, |lse| {
                self.forward(&qkv, bias.as_ref(), out, lse);
                Ok(())
            })
        })
    }

    fn run_backward(
        self,
        sum: &Tensor,
        [qkv, output, gradient, lse]: [&Tensor; 4],
        accumulate: bool,
    ) -> Result<()> {
        if let Some(gpu) = Engine::of(qkv.device())? {
            let queries = self.sequences.query_tiles(&gpu, self.causal)?;
            let tiles = [queries, self.sequences.key_tiles(&gpu, self.causal)?];
            let (call, bias) = self.on_gpu(&gpu, qkv)?;
            let places = [gpu.at(output)?, gpu.at(gradient)?, gpu.at(lse)?];
            let packed = |at| Streams::packed(self.heads, call.compute, at);
            let streams = [packed(gpu.at(sum)?), packed(gpu.at(qkv)?)];
            let Some((trained, (table, _values))) = self.trained_table().zip(bias.as_ref()) else {
                return call.backward(&*gpu, tiles, streams, places, accumulate, None);
            };
            let sums = table.sums(&*gpu, queries.count)?;
            let lines = gpu.address(&sums.memory);
            call.backward(&*gpu, tiles, streams, places, accumulate, Some(lines))?;
            return trained.add_sums_on_gpu(&gpu, *table, &sums);
        }
        let (qkv, output) = (storage::read(qkv)?, storage::read(output)?);
        let (lse, gradient) = (storage::read(lse)?, storage::read(gradient)?);
        let (all, bias) = ([&*qkv, &*output, &*lse, &*gradient], self.bias_values()?);
        let sums =
            storage::write(sum, |sum| Ok(self.backward(all, bias.as_ref(), sum, accumulate)))?;
        match self.bias.zip(sums) {
            Some((bias, sums)) => bias.add_sums(&sums),
            None => Ok(()),
        }
    }

    /// The call, and its bias: the table, and the memory of the values that the call reads.
    fn on_gpu(self, gpu: &Engine, qkv: &Tensor) -> Result<(Call, Option<(Table, Memory)>)> {
        let Self { heads, scale, causal, .. } = self;
        let mut call = Call::new(heads, self.sequences.tokens(), scale, causal, Compute::of(qkv)?)?;
        let Some(bias) = self.bias else { return Ok((call, None)) };
        let table = bias.on_gpu(gpu)?;
        let values = table.values(gpu)?;
        call.bias = Some(table.bias(gpu.address(&values)));
        call.dropout = self.dropout;
        Ok((call, Some((table, values))))
    }
}

/// Checks the arguments at the door of a public function.
pub(crate) fn check(
    operation: &'static str,
    qkv: &Tensor,
    heads: Heads,
    sequences: &Sequences,
) -> Result<()> {
    if heads.width == 0 || heads.key_value == 0 || !heads.query.is_multiple_of(heads.key_value) {
        return Err(Error::Heads { operation, found: heads });
    }
    expect_shape(operation, "qkv", qkv.dims(), &[sequences.tokens(), heads.channels()])
}
