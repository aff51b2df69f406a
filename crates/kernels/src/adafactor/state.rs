//! What Adafactor keeps of a tensor.

use candle_core::{DType, Tensor};

use crate::device::adafactor::Second as OnGpu;
use crate::engine::Engine;
use crate::launch::Address;
use crate::{Result, StateBuffer};

/// What is kept of one tensor: its mean squared gradient, as one number for each row and column where it
/// is factored, and the mean step if one is wanted. In f32.
#[derive(Clone, Debug)]
pub struct AdafactorState {
    dims: Vec<usize>,
    pub(super) second: Second,
    pub(super) first: Option<StateBuffer>,
}

/// The mean squared gradient.
#[derive(Clone, Debug)]
pub(super) enum Second {
    /// Of each row, `(N,)`, and of each column, `(C,)`.
    Factored { rows: StateBuffer, columns: StateBuffer },
    /// Of each element.
    Full(StateBuffer),
}

impl AdafactorState {
    /// State of zero for a tensor, on its device. A matrix whose sides are both at least `factor_from` is
    /// factored; a momentum takes as many numbers as the tensor has.
    ///
    /// # Errors
    /// If there is no room.
    pub fn zeros(weights: &Tensor, factor_from: usize, momentum: bool) -> Result<Self> {
        let dims = weights.dims();
        let zeros = |dims: &[usize]| StateBuffer::zeros(dims, DType::F32, weights.device(), false);
        let second = match *dims {
            [rows, columns] if is_factored(dims, factor_from) => {
                Second::Factored { rows: zeros(&[rows])?, columns: zeros(&[columns])? }
            }
            _ => Second::Full(zeros(dims)?),
        };
        let first = momentum.then(|| zeros(dims)).transpose()?;
        Ok(Self { dims: dims.to_vec(), second, first })
    }

    /// The shape of the tensor that it belongs to.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// How many weights it belongs to.
    pub fn count(&self) -> usize {
        self.dims.iter().product()
    }

    /// What has to be saved, and the name of each: `v_row` and `v_col`, or `v`; and `m` for the mean step.
    /// The buffers are shared: an update changes them.
    pub fn buffers(&self) -> Vec<(&'static str, &StateBuffer)> {
        let mut buffers = match &self.second {
            Second::Factored { rows, columns } => vec![("v_row", rows), ("v_col", columns)],
            Second::Full(second) => vec![("v", second)],
        };
        buffers.extend(self.first.iter().map(|first| ("m", first)));
        buffers
    }

    /// Where a GPU finds the mean squared gradient, and the mean step if one is kept.
    pub(crate) fn at(&self, gpu: &Engine) -> Result<(OnGpu, Option<Address>)> {
        let place = |buffer: &StateBuffer| Ok::<_, crate::Error>((buffer.at(gpu)?, buffer.count()));
        let second = match &self.second {
            Second::Factored { rows, columns } => {
                OnGpu::Factored { rows: place(rows)?, columns: place(columns)? }
            }
            Second::Full(second) => OnGpu::Full(second.at(gpu)?, second.count()),
        };
        Ok((second, self.first.as_ref().map(|first| first.at(gpu)).transpose()?))
    }

    /// Bytes that [`Self::zeros`] takes for a tensor of this shape.
    pub fn bytes(dims: &[usize], factor_from: usize, momentum: bool) -> u64 {
        let count = dims.iter().product::<usize>();
        let second = if is_factored(dims, factor_from) { dims.iter().sum() } else { count };
        4 * (second + if momentum { count } else { 0 }) as u64
    }
}

fn is_factored(dims: &[usize], factor_from: usize) -> bool {
    dims.len() == 2 && dims.iter().all(|side| *side >= factor_from.max(1))
}
