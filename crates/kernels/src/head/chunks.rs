//! What the head is on any device: its logits, a chunk of rows at a time, and the products around
//! them.

use std::ops::Range;

use candle_core::Tensor;

use crate::storage::Like;
use crate::{Parameter, Result, linear};

/// The head over one batch, and the one buffer for its logits.
pub(super) struct Chunks<'t> {
    hidden: Tensor, // (N, C)
    weight: &'t Parameter,
    rows_at_once: usize,
    buffer: Tensor, // (rows at once, V), f32
}

impl<'t> Chunks<'t> {
    /// Chunks of `rows_at_once`, and what is left for the last.
    pub(super) fn new(hidden: &Tensor, weight: &'t Parameter, rows_at_once: usize) -> Result<Self> {
        let (rows, words) = (hidden.dims()[0].min(rows_at_once), weight.value().dims()[0]);
        // SAFETY: `logits`, which alone hands out its rows, writes these first.
        let buffer = unsafe { Like::of(hidden).wide().shaped((rows, words)).empty()? };
        Ok(Self { hidden: hidden.clone(), weight, rows_at_once, buffer })
    }

    /// `(N, C)`.
    pub(super) fn hidden(&self) -> &Tensor {
        &self.hidden
    }

    /// `V`.
    pub(super) fn words(&self) -> usize {
        self.weight.value().dims()[0]
    }

    /// The rows of each chunk in turn.
    pub(super) fn iter(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (rows, step) = (self.hidden.dims()[0], self.rows_at_once);
        (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
    }

    /// A place for the gradient of `hidden`.
    pub(super) fn d_hidden(&self, wanted: bool) -> Result<Option<Tensor>> {
        // SAFETY: it is handed on once `back` has written the rows of every chunk.
        wanted.then(|| unsafe { Like::of(&self.hidden).empty() }).transpose()
    }

    /// The logits of `rows`, in the buffer.
    pub(super) fn logits(&self, rows: &Range<usize>) -> Result<Tensor> {
        let logits = self.buffer.narrow(0, 0, rows.len())?;
        let hidden = self.hidden.narrow(0, rows.start, rows.len())?;
        linear::forward(&logits, &hidden, self.weight.value(), false)?;
        Ok(logits)
    }

    /// Carries the gradient of the logits of `rows` back to the weight and into `d_hidden`.
    pub(super) fn back(
        &self,
        rows: &Range<usize>,
        d_logits: &Tensor,
        d_hidden: Option<&Tensor>,
    ) -> Result<()> {
        let hidden = self.hidden.narrow(0, rows.start, rows.len())?;
        self.weight.accumulate(|sum, words, accumulate| {
            linear::weight_gradient(sum, d_logits, words.start, &hidden, accumulate)
        })?;
        let Some(d_hidden) = d_hidden else { return Ok(()) };
        let d_hidden = d_hidden.narrow(0, rows.start, rows.len())?;
        linear::input_gradient(&d_hidden, d_logits, self.weight.value(), false)
    }
}
