//! A parameter: its values, and the place where its gradient adds up.

use candle_core::{DType, Device, Tensor};
use parking_lot::Mutex;
use std::ops::Range;

use crate::storage::Like;
use crate::{Result, storage};

/// One checkpoint tensor inside a [`Parameter`].
#[derive(Clone, Debug)]
pub struct Part {
    /// Name of the tensor in the checkpoint.
    pub name: String,
    /// Rows of the parameter that it fills.
    pub rows: Range<usize>,
    /// Whether training changes it.
    pub trainable: bool,
}

/// A weight of the model, made of one or several checkpoint tensors stored one below another.
///
/// `q_proj`, `k_proj` and `v_proj` lie in one matrix, so that one product serves all three, and
/// are still saved, frozen and adapted by their own names.
#[derive(Debug)]
pub struct Parameter {
    value: Tensor,
    /// The values in f32, where `value` is rounded: what the optimizer changes.
    master: Option<Tensor>,
    parts: Vec<Part>,
    /// The sum so far, once something has reached it. Its buffer is held no longer than its
    /// numbers: while a step runs forward, the same memory serves the activations.
    gradient: Mutex<Option<Tensor>>,
}

impl Parameter {
    /// A parameter whose rows are the given checkpoint tensors, all trainable.
    pub fn new(value: Tensor, parts: impl IntoIterator<Item = (String, usize)>) -> Self {
        let mut start = 0;
        let parts = parts.into_iter().map(|(name, rows)| {
            let rows = start..start + rows;
            start = rows.end;
            Part { name, rows, trainable: true }
        });
        let parts = parts.collect();
        debug_assert_eq!(start, value.dims()[0], "the parts fill the parameter");
        Self { value, master: None, parts, gradient: Mutex::default() }
    }

    /// A parameter that is one checkpoint tensor.
    pub fn single(name: impl Into<String>, value: Tensor) -> Self {
        let rows = value.dims()[0];
        Self::new(value, [(name.into(), rows)])
    }

    /// The values: `(N, C)` for a matrix, `(C,)` for a vector.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The checkpoint tensors that it is made of.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The values of one part in the precision that is kept of them, sharing their storage with the
    /// parameter: f32, unless it was placed in bf16 without masters.
    ///
    /// # Errors
    /// Never for a part of this parameter.
    pub fn part_value(&self, part: &Part) -> Result<Tensor> {
        let whole = self.master.as_ref().unwrap_or(&self.value);
        Ok(whole.narrow(0, part.rows.start, part.rows.len())?)
    }

    /// The rounded values of one part, where the model computes with such.
    ///
    /// # Errors
    /// Never for a part of this parameter.
    pub fn part_rounded(&self, part: &Part) -> Result<Option<Tensor>> {
        let rounded = self.master.as_ref().map(|_| &self.value);
        let rows = |value: &Tensor| value.narrow(0, part.rows.start, part.rows.len());
        Ok(rounded.map(rows).transpose()?)
    }

    /// Moves the values to `device` and rounds them to `dtype`. With `master` they are kept in f32
    /// beside the rounded ones: on the device where they are trained, and where they lie if not.
    /// Without, the rounded ones are all there is: placed again, they stay as they are.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn place(&mut self, device: &Device, dtype: DType, master: bool) -> Result<()> {
        let whole = self.value.to_device(device)?;
        let rounded = storage::converted(&whole, dtype)?;
        let original = std::mem::replace(&mut self.value, rounded);
        let kept = if self.is_trainable() { whole } else { original };
        self.master = (master && dtype != DType::F32).then_some(kept);
        self.clear_gradient();
        Ok(())
    }

    /// The gradient of one part, or `None` if nothing has reached this parameter since
    /// [`Self::clear_gradient`] or the part is frozen.
    ///
    /// # Errors
    /// Never for a part of this parameter.
    pub fn part_gradient(&self, part: &Part) -> Result<Option<Tensor>> {
        match &*self.gradient.lock() {
            Some(gradient) if part.trainable => {
                Ok(Some(gradient.narrow(0, part.rows.start, part.rows.len())?))
            }
            _ => Ok(None),
        }
    }

    /// Freezes or frees the parts, by name. Forgets the gradient, which has no numbers for what was
    /// frozen so far.
    pub fn set_trainable(&mut self, trainable: impl Fn(&str) -> bool) {
        *self.gradient.get_mut() = None;
        for part in &mut self.parts {
            part.trainable = trainable(&part.name);
        }
    }

    /// Whether any part is trained.
    pub fn is_trainable(&self) -> bool {
        self.parts.iter().any(|part| part.trainable)
    }

    /// The trained rows, neighbouring parts joined into one range.
    pub fn trainable_rows(&self) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for part in self.parts.iter().filter(|part| part.trainable) {
            match ranges.last_mut() {
                Some(last) if last.end == part.rows.start => last.end = part.rows.end,
                _ => ranges.push(part.rows.clone()),
            }
        }
        ranges
    }

    /// Forgets the gradient and frees its memory.
    pub fn clear_gradient(&self) {
        *self.gradient.lock() = None;
    }

    /// Lets `add` contribute to the gradient of each trained range of rows.
    ///
    /// `add(gradient_rows, rows, accumulate)` adds to `gradient_rows` if `accumulate`, and
    /// overwrites all of it if not: a step's first contribution needs no zeros.
    ///
    /// # Errors
    /// If the buffer cannot be allocated, or whatever `add` returns; the gradient is forgotten then,
    /// since part of the contribution may have reached it.
    pub fn accumulate(
        &self,
        mut add: impl FnMut(&Tensor, Range<usize>, bool) -> Result<()>,
    ) -> Result<()> {
        if !self.is_trainable() {
            return Ok(());
        }
        let mut gradient = self.gradient.lock();
        let (sum, accumulate) = match gradient.take() {
            Some(sum) => (sum, true),
            None => {
                // SAFETY: `add` overwrites the trained rows; the others are never handed out.
                (unsafe { Like::of(&self.value).wide().empty()? }, false)
            }
        };
        for rows in self.trainable_rows() {
            add(&sum.narrow(0, rows.start, rows.len())?, rows, accumulate)?;
        }
        *gradient = Some(sum);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{floats, tensor};
    use crate::{Error, storage};

    fn filled(parameter: &Parameter, number: f32) -> Result<()> {
        parameter.accumulate(|sum, _, _| {
            storage::write(sum, |sum| {
                sum.fill(number);
                Ok(())
            })
        })
    }

    #[test]
    fn a_contribution_that_fails_leaves_no_gradient_behind() {
        let parameter = Parameter::single("weight", tensor((3, 2), 1));
        for had_one in [false, true] {
            if had_one {
                filled(&parameter, 1.0).unwrap();
            }
            let failed = parameter.accumulate(|_, _, accumulate| {
                assert_eq!(accumulate, had_one);
                Err(Error::Index { operation: "test", what: "row", index: 1, len: 1 })
            });
            assert!(failed.is_err());
            assert!(parameter.part_gradient(&parameter.parts()[0]).unwrap().is_none());
        }
        // The next contribution is the first again.
        let mut fresh = false;
        let first = parameter.accumulate(|_, _, accumulate| {
            fresh = !accumulate;
            Ok(())
        });
        assert!(first.is_ok() && fresh);
    }

    #[test]
    fn what_was_frozen_has_no_gradient_once_it_is_trained() {
        let parts = [("frozen".to_owned(), 1), ("trained".to_owned(), 2)];
        let mut parameter = Parameter::new(tensor((3, 2), 1), parts);
        parameter.set_trainable(|name| name == "trained");
        filled(&parameter, 2.0).unwrap();
        let trained = parameter.part_gradient(&parameter.parts()[1]).unwrap().unwrap();
        assert_eq!(floats(&trained), [2.0; 4]);
        parameter.set_trainable(|_| true);
        for part in parameter.parts() {
            assert!(parameter.part_gradient(part).unwrap().is_none(), "{}", part.name);
        }
    }
}
