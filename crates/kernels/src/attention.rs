//! Attention over packed sequences: `softmax(scale · q kᵀ) v` (Vaswani et al., 2017, equation 1), each
//! sequence on its own, with groups of query heads sharing a key/value head.
//!
//! Tile by tile with an online softmax (Dao, 2023, FlashAttention-2): of the tokens x tokens scores
//! no more exists at a time than one tile a thread, and the forward pass leaves behind only its
//! output and the log-sum-exp of each row of scores. The backward pass computes the scores again.
//!
//! A tile holds its scores as (key, query), so that the softmax runs down columns of [`QUERIES`]
//! lanes and never across a vector; all products are by `gemm`, on one thread each.

mod backward;
mod forward;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;

use candle_core::Tensor;

pub(crate) use forward::Tile;

use crate::error::expect_shape;
use crate::matmul::{Matrix, product_unchecked};
use crate::parallel::SharedMut;
use crate::{Error, Heads, Result, Sequences, Tape, Value, storage};

/// Queries of a tile: the rows of `gemm`'s f32 kernels are 48 (AVX-512) and 24 (AVX2).
pub(crate) const QUERIES: usize = 48;

/// Causal attention: a token sees itself and the earlier tokens of its sequence.
///
/// Saves `qkv`, the output and `(H, T)` log-sum-exps for the backward pass. Results have the same
/// bits at any thread count and whatever other sequences are in the batch.
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
    record(tape, qkv, Attention { heads, sequences, scale, causal: true })
}

/// As [`attention()`], but a token sees all tokens of its sequence: the attention of an encoder.
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
    record(tape, qkv, Attention { heads, sequences, scale, causal: false })
}

/// What is attended to, and how.
#[derive(Clone, Copy)]
struct Attention<'a> {
    heads: Heads,
    sequences: &'a Sequences,
    scale: f32,
    causal: bool,
}

fn record<'a>(tape: &mut Tape<'a>, qkv: &Value<'a>, call: Attention<'a>) -> Result<Value<'a>> {
    check("attention", qkv.tensor(), call.heads, call.sequences)?;
    let (tokens, device) = (call.sequences.tokens(), qkv.tensor().device().clone());
    let out = storage::empty((tokens, call.heads.output_channels()), &device)?;
    let lse = storage::empty((call.heads.query, tokens), &device)?;
    let floats = storage::read(qkv.tensor())?;
    storage::write(&out, |out| {
        storage::write(&lse, |lse| {
            call.forward(&floats, out, lse);
            Ok(())
        })
    })?;
    let (slot, shape, kept) = (qkv.slot(), qkv.tensor().shape().clone(), tape.keep(qkv));
    let output = out.clone();
    Ok(tape.record(out, slot.is_some(), move |slots, gradient| {
        let qkv = kept.get()?;
        slots.accumulate(slot, &shape, &device, |sum, accumulate| {
            let (qkv, output) = (storage::read(&qkv)?, storage::read(&output)?);
            let (lse, gradient) = (storage::read(&lse)?, storage::read(&gradient)?);
            storage::write(sum, |sum| {
                call.backward(&qkv, &output, &lse, &gradient, sum, accumulate);
                Ok(())
            })
        })
    }))
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

/// The rows of one head in a slice that holds those of all heads.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    data: &'a [f32],
    width: usize,
    stride: usize,
}

impl<'a> Rows<'a> {
    /// The `channels` of rows that start every `stride` floats.
    pub(crate) fn new(data: &'a [f32], channels: Range<usize>, stride: usize) -> Self {
        Self { data: &data[channels.start..], width: channels.len(), stride }
    }

    /// Some of the rows.
    pub(crate) fn matrix(self, rows: Range<usize>) -> Matrix<'a> {
        let data = &self.data[rows.start * self.stride..];
        Matrix::strided(data, rows.len(), self.width, self.stride)
    }
}

/// Rows of one head that one thread writes while others write elsewhere in the same slice.
pub(crate) struct Block<'a> {
    pointer: *mut f32,
    rows: usize,
    width: usize,
    stride: usize,
    _slice: PhantomData<&'a mut [f32]>,
}

impl<'a> Block<'a> {
    /// The `channels` of some `rows` of `stride` floats.
    ///
    /// # Safety
    /// They must lie inside the slice, and nobody else may use them while the block lives.
    pub(crate) unsafe fn new(
        slice: &'a SharedMut,
        rows: Range<usize>,
        channels: Range<usize>,
        stride: usize,
    ) -> Self {
        // SAFETY: the caller says that this is inside the slice.
        let pointer = unsafe { slice.as_mut_ptr().add(rows.start * stride + channels.start) };
        let (rows, width) = (rows.len(), channels.len());
        Self { pointer, rows, width, stride, _slice: PhantomData }
    }

    /// Row `index` of the block.
    #[inline(always)]
    pub(crate) fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows, "row outside its block");
        // SAFETY: `new`'s caller vouches for the rows of this block.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(index * self.stride), self.width) }
    }

    /// Sets the block to `scale · a · b`, or adds that.
    pub(crate) fn product(&mut self, a: Matrix, b: Matrix, scale: f32, accumulate: bool) {
        let (rows, width, stride) = (self.rows, self.width, self.stride);
        // SAFETY: `new`'s caller vouches for the rows of this block.
        unsafe { product_unchecked(self.pointer, rows, width, stride, a, b, scale, accumulate) };
    }
}
