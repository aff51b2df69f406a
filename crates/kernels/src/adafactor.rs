//! Adafactor (Shazeer and Stern, 2018): the mean squared gradient of a matrix is kept as the means of its
//! rows and of its columns, and a step is a share of the tensor that it changes.
//!
//! With `g` the gradient, `R` and `C` the running means of `g² + ε₁` over rows and columns, `θ` the tensor:
//!
//! ```text
//! u  = g / √(R Cᵀ / mean R)                  or g / √V of what is not factored, V the running mean of g² + ε₁
//! u' = u / max(1, rms u / clip_threshold)
//! θ  = θ - rate · max(ε₂, rms θ) · u'
//! ```
//!
//! In three passes over the gradient, for neither the squares nor `u` is ever held: sums, `rms u`, and the
//! step. Here they are the CPU's; the GPU's are in `adafactor.cu`.

mod state;
#[cfg(test)]
mod tests;

use candle_core::Tensor;
use rayon::prelude::*;

pub use state::AdafactorState;

use self::state::Second;
use crate::error::expect_shape;
use crate::simd::{sum1, sum2, wide};
use crate::storage::Floats;
use crate::{Result, StateBuffer, squared_norm, storage};

/// Numbers of a tensor that is not factored which are worked on together: 4 KiB each.
const CHUNK: usize = 1 << 10;
/// Rows, or chunks, that one thread takes at a time.
const ROWS: usize = 16;

/// What one update needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdafactorStep {
    /// 1 for the first update.
    pub step: u64,
    /// Share of a tensor's root mean square that an update moves it by, or with `scale_parameter` off
    /// about how far a weight moves.
    pub learning_rate: f64,
    /// Of update `t`, the mean squared gradient keeps `1 - t^-decay_rate`.
    pub decay_rate: f64,
    /// `ε₁`, added to the squared gradient, and `ε₂`, the least root mean square that a tensor counts as
    /// having.
    pub epsilons: (f64, f64),
    /// The root mean square above which an update is scaled down to it, before the rate.
    pub clip_threshold: f64,
    /// Whether the rate is a share of the tensor's root mean square.
    pub scale_parameter: bool,
    /// How much of the last updates an update keeps; not used of a state without room for them.
    pub momentum: f64,
    /// Share of a weight that an update takes away, times the rate.
    pub weight_decay: f64,
    /// What the gradient is multiplied by before anything else: clipping.
    pub gradient_scale: f32,
}

impl AdafactorStep {
    /// Shares of the running means and of the new squares in the means that it leaves.
    pub(crate) fn mixing(&self) -> [f32; 2] {
        let fresh = (self.step as f64).powf(-self.decay_rate);
        [(1.0 - fresh) as f32, fresh as f32]
    }
}

/// Updates `weights` and what is kept of their gradients in place.
///
/// # Shapes
/// `weights` and `gradient` of the shape that `state` was made for.
///
/// # Errors
/// If the shapes differ, or a tensor is not on the CPU.
pub fn adafactor(
    weights: &Tensor,
    gradient: &Tensor,
    state: &AdafactorState,
    update: &AdafactorStep,
) -> Result<()> {
    expect_shape("adafactor", "gradient", gradient.dims(), weights.dims())?;
    expect_shape("adafactor", "state", state.dims(), weights.dims())?;
    let count = weights.elem_count().max(1) as f64;
    let scale = match update.scale_parameter {
        true => (squared_norm(weights)? / count).sqrt().max(update.epsilons.1),
        false => 1.0,
    };
    let gradient = Gradient { numbers: &storage::read(gradient)?, scale: update.gradient_scale };
    let mixing = Mixing::new(update);
    let roots = match &state.second {
        Second::Factored { rows, columns } => mixing.factored(&gradient, rows, columns)?,
        Second::Full(second) => mixing.full(&gradient, second.tensor()?)?,
    };
    let length = (roots.squares(&gradient) / count).sqrt() / update.clip_threshold;
    let rate = update.learning_rate * scale;
    let factors = Factors {
        step: (rate / length.max(1.0)) as f32,
        decay: (1.0 - rate * update.weight_decay) as f32,
        kept: update.momentum as f32,
        fresh: (1.0 - update.momentum) as f32,
    };
    storage::write(weights, |weights| match &state.first {
        None => {
            roots.apply(&factors, &gradient, weights, None);
            Ok(())
        }
        Some(first) => storage::write(first.tensor()?, |first| {
            roots.apply(&factors, &gradient, weights, Some(first));
            Ok(())
        }),
    })
}

/// A gradient, and what it is multiplied by where it is read.
struct Gradient<'g> {
    numbers: &'g [f32],
    scale: f32,
}

impl Gradient<'_> {
    /// The mean square of each row and of each column.
    fn mean_squares(&self, columns: usize) -> (Vec<f64>, Vec<f64>) {
        let rows = self.numbers.len() / columns;
        // At most 64 of them, by the shape alone: the sums do not depend on the threads.
        let block = ROWS * rows.div_ceil(64 * ROWS);
        let blocks = self.numbers.par_chunks(block * columns);
        let sums = blocks.map(|block| wide!(|| sums_of_squares(block, columns, self.scale)));
        let mut all = (Vec::with_capacity(rows), vec![0.0; columns]);
        for (of_rows, of_columns) in sums.collect::<Vec<_>>() {
            all.0.extend(of_rows.into_iter().map(|sum| sum / columns as f64));
            all.1.iter_mut().zip(of_columns).for_each(|(all, sum)| *all += sum / rows as f64);
        }
        all
    }
}

/// The sums over rows and over columns.
#[inline(always)]
fn sums_of_squares(numbers: &[f32], columns: usize, scale: f32) -> (Vec<f64>, Vec<f64>) {
    let (mut of_rows, mut of_columns) = (Vec::new(), vec![0f64; columns]);
    let mut few = vec![0f32; columns];
    for rows in numbers.chunks(ROWS * columns) {
        few.fill(0.0);
        for row in rows.chunks_exact(columns) {
            for (sum, number) in few.iter_mut().zip(row) {
                let number = number * scale;
                *sum += number * number;
            }
            let sum = sum1(
                row,
                #[inline(always)]
                |number| (number * scale) * (number * scale),
            );
            of_rows.push(f64::from(sum));
        }
        for (sum, few) in of_columns.iter_mut().zip(&few) {
            *sum += f64::from(*few);
        }
    }
    (of_rows, of_columns)
}

/// How an update mixes the new squares into the running means.
struct Mixing {
    kept: f32,
    fresh: f32,
    epsilon: f64,
}

impl Mixing {
    fn new(update: &AdafactorStep) -> Self {
        let [kept, fresh] = update.mixing();
        Self { kept, fresh, epsilon: update.epsilons.0 }
    }

    /// Updates the means of rows and columns, and returns what an element is multiplied by.
    fn factored(
        &self,
        gradient: &Gradient<'_>,
        rows: &StateBuffer,
        columns: &StateBuffer,
    ) -> Result<Roots<'static>> {
        let (of_rows, of_columns) = gradient.mean_squares(columns.count());
        let mix = |kept: &StateBuffer, squares: Vec<f64>| {
            storage::write(kept.tensor()?, |kept| {
                for (kept, square) in kept.iter_mut().zip(squares) {
                    *kept = *kept * self.kept + (square + self.epsilon) as f32 * self.fresh;
                }
                Ok(kept.to_vec())
            })
        };
        let (mut rows, mut columns) = (mix(rows, of_rows)?, mix(columns, of_columns)?);
        let mean = rows.iter().map(|&row| f64::from(row)).sum::<f64>() / rows.len() as f64;
        for row in &mut rows {
            *row = 1.0 / (*row / mean as f32).sqrt();
        }
        columns.iter_mut().for_each(|column| *column = 1.0 / column.sqrt());
        Ok(Roots::Factored { rows, columns })
    }

    /// Updates the mean of each element, and returns it.
    fn full<'s>(&self, gradient: &Gradient<'_>, second: &'s Tensor) -> Result<Roots<'s>> {
        let epsilon = self.epsilon as f32;
        storage::write(second, |second| {
            let chunks = second.par_chunks_mut(ROWS * CHUNK);
            chunks.zip(gradient.numbers.par_chunks(ROWS * CHUNK)).for_each(|(second, numbers)| {
                wide!(|| {
                    for (second, number) in second.iter_mut().zip(numbers) {
                        let number = number * gradient.scale;
                        *second = *second * self.kept + (number * number + epsilon) * self.fresh;
                    }
                });
            });
            Ok(())
        })?;
        Ok(Roots::Full(storage::read(second)?))
    }
}

/// One over the root of the mean squared gradient.
enum Roots<'s> {
    /// Of an element, its row's times its column's.
    Factored { rows: Vec<f32>, columns: Vec<f32> },
    /// The means themselves.
    Full(Floats<'s>),
}

/// What an element's step is multiplied by, and how it joins the weights.
struct Factors {
    step: f32,
    decay: f32,
    kept: f32,
    fresh: f32,
}

impl Roots<'_> {
    /// Numbers that are worked on together.
    fn width(&self) -> usize {
        match self {
            Self::Factored { columns, .. } => columns.len(),
            Self::Full(_) => CHUNK,
        }
    }

    /// The roots of row (or chunk) `index` and what all of them are multiplied by; `scratch` holds those
    /// that have to be made.
    #[inline(always)]
    fn of<'r>(&'r self, index: usize, scratch: &'r mut [f32; CHUNK]) -> (&'r [f32], f32) {
        match self {
            Self::Factored { rows, columns } => (columns, rows[index]),
            Self::Full(second) => {
                let second = second.chunks(CHUNK).nth(index).unwrap_or_default();
                for (root, second) in scratch.iter_mut().zip(second) {
                    *root = 1.0 / second.sqrt();
                }
                (&scratch[..second.len()], 1.0)
            }
        }
    }

    /// The sum of `u²`.
    fn squares(&self, gradient: &Gradient<'_>) -> f64 {
        let (width, scale) = (self.width(), gradient.scale);
        let blocks = gradient.numbers.par_chunks(ROWS * width).enumerate();
        let sums = blocks.map(|(block, numbers)| {
            let (mut sum, mut scratch) = (0.0, [0.0; CHUNK]);
            for (row, numbers) in numbers.chunks(width).enumerate() {
                wide!(|| {
                    let (roots, of_row) = self.of(block * ROWS + row, &mut scratch);
                    sum += f64::from(sum2(
                        numbers,
                        roots,
                        #[inline(always)]
                        |number, root| {
                            let u = of_row * root * (number * scale);
                            u * u
                        },
                    ));
                });
            }
            sum
        });
        sums.collect::<Vec<f64>>().into_iter().sum()
    }

    /// Changes the weights, and the mean step if one is kept.
    fn apply(
        &self,
        factors: &Factors,
        gradient: &Gradient<'_>,
        weights: &mut [f32],
        first: Option<&mut [f32]>,
    ) {
        let block = ROWS * self.width();
        let blocks = weights.par_chunks_mut(block).zip(gradient.numbers.par_chunks(block));
        match first {
            None => blocks.enumerate().for_each(|(index, (weights, gradients))| {
                self.apply_block(factors, index, (gradients, gradient.scale), weights, &mut []);
            }),
            Some(first) => {
                let blocks = blocks.zip(first.par_chunks_mut(block)).enumerate();
                blocks.for_each(|(index, ((weights, gradients), first))| {
                    self.apply_block(factors, index, (gradients, gradient.scale), weights, first);
                });
            }
        }
    }

    /// One block of rows; `first` is empty where no mean step is kept.
    fn apply_block(
        &self,
        factors: &Factors,
        block: usize,
        (gradient, scale): (&[f32], f32),
        weights: &mut [f32],
        first: &mut [f32],
    ) {
        let (width, mut scratch) = (self.width(), [0.0; CHUNK]);
        let mut first = first.chunks_mut(width);
        let rows = weights.chunks_mut(width).zip(gradient.chunks(width));
        for (row, (weights, gradient)) in rows.enumerate() {
            let first = first.next().unwrap_or_default();
            wide!(|| {
                let (roots, of_row) = self.of(block * ROWS + row, &mut scratch);
                let of_row = of_row * factors.step;
                let numbers = weights.iter_mut().zip(gradient.iter().zip(roots));
                if first.is_empty() {
                    for (weight, (number, root)) in numbers {
                        let step = of_row * root * (number * scale);
                        *weight = *weight * factors.decay - step;
                    }
                } else {
                    for ((weight, (number, root)), first) in numbers.zip(first) {
                        let step = of_row * root * (number * scale);
                        *first = *first * factors.kept + step * factors.fresh;
                        *weight = *weight * factors.decay - *first;
                    }
                }
            });
        }
    }
}
