//! Linear layers: `y = x Wᵀ + b`, and the same added to a residual stream.

use candle_core::Tensor;

use crate::device::rows::{self, Rows};
use crate::dropout::Mask;
use crate::engine::{Engine, Operand};
use crate::error::expect_shape;
use crate::matmul::{Matrix, MatrixMut, product};
use crate::parallel::{for_row_blocks, sum_over_row_blocks};
use crate::storage::Like;
use crate::{Parameter, Result, Tape, Value, add, storage};

/// `x Wᵀ + b`.
///
/// # Shapes
/// `x` `(T, C)`, `weight` `(N, C)`, `bias` `(N,)`; returns `(T, N)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear<'a>(
    tape: &mut Tape<'a>,
    x: &Value<'a>,
    weight: &'a Parameter,
    bias: Option<&'a Parameter>,
) -> Result<Value<'a>> {
    let (tokens, rows) = check("linear", x.tensor(), weight)?;
    // SAFETY: the product writes all of it.
    let out = unsafe { Like::of(x.tensor()).shaped((tokens, rows)).empty()? };
    forward(&out, x.tensor(), weight.value(), false)?;
    if let Some(bias) = bias {
        add_bias(&out, bias.value())?;
    }
    Ok(record(tape, out, x, None, (weight, bias), None))
}

/// `residual + x Wᵀ + b`: the product is added where the copy of the residual stream lies, which may be
/// f32 beside `x` and a weight in bf16.
///
/// # Shapes
/// `residual` `(T, N)`, `x` `(T, C)`, `weight` `(N, C)`, `bias` `(N,)`; returns `(T, N)`.
///
/// # Errors
/// If the shapes do not fit.
pub fn linear_add<'a>(
    tape: &mut Tape<'a>,
    residual: &Value<'a>,
    x: &Value<'a>,
    weight: &'a Parameter,
    bias: Option<&'a Parameter>,
) -> Result<Value<'a>> {
    let (tokens, rows) = check("linear_add", x.tensor(), weight)?;
    expect_shape("linear_add", "residual", residual.tensor().dims(), &[tokens, rows])?;
    let out = add::copy(residual.tensor())?;
    forward(&out, x.tensor(), weight.value(), true)?;
    if let Some(bias) = bias {
        add_bias(&out, bias.value())?;
    }
    Ok(record(tape, out, x, Some(residual), (weight, bias), None))
}

/// `residual + dropout(x Wᵀ)`, dropped at the rate `dropout` as [`crate::dropout()`] drops numbers.
///
/// # Shapes
/// As [`linear_add`].
///
/// # Errors
/// As [`linear_add`].
pub fn linear_add_with_dropout<'a>(
    tape: &mut Tape<'a>,
    residual: &Value<'a>,
    x: &Value<'a>,
    weight: &'a Parameter,
    dropout: f32,
) -> Result<Value<'a>> {
    let Some(mask) = Mask::next(tape, dropout) else {
        return linear_add(tape, residual, x, weight, None);
    };
    let (tokens, rows) = check("linear_add", x.tensor(), weight)?;
    expect_shape("linear_add", "residual", residual.tensor().dims(), &[tokens, rows])?;
    // SAFETY: the product writes all of it.
    let out = unsafe { Like::of(residual.tensor()).empty()? };
    forward(&out, x.tensor(), weight.value(), false)?;
    mask.add_to(&out, residual.tensor())?;
    Ok(record(tape, out, x, Some(residual), (weight, None), Some(mask)))
}

fn check(operation: &'static str, x: &Tensor, weight: &Parameter) -> Result<(usize, usize)> {
    let (rows, columns) = weight.value().dims2()?;
    let tokens = x.dims().first().copied().unwrap_or(0);
    expect_shape(operation, "x", x.dims(), &[tokens, columns])?;
    Ok((tokens, rows))
}

/// `mask` is what was dropped of the product before it was added to the residual.
fn record<'a>(
    tape: &mut Tape<'a>,
    out: Tensor,
    x: &Value<'a>,
    residual: Option<&Value<'a>>,
    (weight, bias): (&'a Parameter, Option<&'a Parameter>),
    mask: Option<Mask>,
) -> Value<'a> {
    let residual = residual.and_then(Value::slot);
    let trains_bias = bias.is_some_and(Parameter::is_trainable);
    let needed = x.slot().is_some() || residual.is_some() || weight.is_trainable() || trains_bias;
    let (slot, like, dtype) = (x.slot(), Like::of(x.tensor()), x.tensor().dtype());
    let kept = weight.is_trainable().then(|| tape.keep(x));
    tape.record(out, needed, move |slots, gradient| {
        // The product's gradient: that of a residual stream may be wider, and products take one type.
        let of_product = match mask {
            Some(mask) => mask.applied(&gradient, dtype)?,
            None => storage::converted(&gradient, dtype)?,
        };
        if let Some(kept) = kept {
            let x = kept.get()?;
            weight.accumulate(|sum, rows, accumulate| {
                weight_gradient(sum, &of_product, rows.start, &x, accumulate)
            })?;
        }
        if let Some(bias) = bias {
            bias.accumulate(|sum, rows, accumulate| {
                bias_gradient(sum, &of_product, rows.start, accumulate)
            })?;
        }
        slots.accumulate(slot, &like, |sum, accumulate| {
            input_gradient(sum, &of_product, weight.value(), accumulate)
        })?;
        drop(of_product);
        slots.give(residual, gradient)
    })
}

/// `out = x Wᵀ`, or `out += x Wᵀ`.
pub(crate) fn forward(out: &Tensor, x: &Tensor, weight: &Tensor, accumulate: bool) -> Result<()> {
    let (rows, columns) = weight.dims2()?;
    let tokens = x.dims()[0];
    if let Some(gpu) = Engine::of(x.device())? {
        let (x, weight) = (Operand::new(&gpu, x, columns)?, Operand::new(&gpu, weight, columns)?);
        let sizes = [tokens, rows, columns];
        return gpu.product(out, x, weight.transposed(), sizes, accumulate);
    }
    let (x, weight) = (storage::read(x)?, storage::read(weight)?);
    storage::write(out, |out| {
        let (x, weight) = (Matrix::new(&x, tokens, columns), Matrix::new(&weight, rows, columns));
        product(MatrixMut::new(out, tokens, rows), x, weight.transposed(), 1.0, accumulate);
        Ok(())
    })
}

/// `dx = dy W`, or `dx += dy W`.
pub(crate) fn input_gradient(
    sum: &Tensor,
    gradient: &Tensor,
    weight: &Tensor,
    accumulate: bool,
) -> Result<()> {
    let (rows, columns) = weight.dims2()?;
    let tokens = gradient.dims()[0];
    if let Some(gpu) = Engine::of(sum.device())? {
        let gradient = Operand::new(&gpu, gradient, rows)?;
        let weight = Operand::new(&gpu, weight, columns)?;
        return gpu.product(sum, gradient, weight, [tokens, columns, rows], accumulate);
    }
    let (gradient, weight) = (storage::read(gradient)?, storage::read(weight)?);
    storage::write(sum, |sum| {
        let gradient = Matrix::new(&gradient, tokens, rows);
        let weight = Matrix::new(&weight, rows, columns);
        product(MatrixMut::new(sum, tokens, columns), gradient, weight, 1.0, accumulate);
        Ok(())
    })
}

/// `dW = dyᵀ x` for the rows of `W` from `first_row` on that `sum` holds, or `dW += dyᵀ x`.
pub(crate) fn weight_gradient(
    sum: &Tensor,
    gradient: &Tensor,
    first_row: usize,
    x: &Tensor,
    accumulate: bool,
) -> Result<()> {
    let (rows, columns) = sum.dims2()?;
    let (tokens, all_rows) = gradient.dims2()?;
    if let Some(gpu) = Engine::of(sum.device())? {
        let gradient = Operand::new(&gpu, gradient, all_rows)?.columns_from(first_row);
        let x = Operand::new(&gpu, x, columns)?;
        return gpu.product(sum, gradient.transposed(), x, [rows, columns, tokens], accumulate);
    }
    let (gradient, x) = (storage::read(gradient)?, storage::read(x)?);
    storage::write(sum, |sum| {
        let gradient = Matrix::strided(&gradient[first_row..], tokens, rows, all_rows);
        let x = Matrix::new(&x, tokens, columns);
        product(MatrixMut::new(sum, rows, columns), gradient.transposed(), x, 1.0, accumulate);
        Ok(())
    })
}

fn add_bias(out: &Tensor, bias: &Tensor) -> Result<()> {
    let (_, columns) = out.dims2()?;
    expect_shape("linear", "bias", bias.dims(), &[columns])?;
    if let Some(gpu) = Engine::of(out.device())? {
        return rows::add_bias(&*gpu, Rows::of(out)?, [gpu.at(out)?, gpu.at(bias)?]);
    }
    let bias = storage::read(bias)?;
    storage::write(out, |out| {
        for_row_blocks(out, columns, |_, block| {
            for row in block.chunks_mut(columns) {
                row.iter_mut().zip(bias.iter()).for_each(|(out, bias)| *out += bias);
            }
        });
        Ok(())
    })
}

fn bias_gradient(sum: &Tensor, gradient: &Tensor, first: usize, accumulate: bool) -> Result<()> {
    let (tokens, columns) = gradient.dims2()?;
    if let Some(gpu) = Engine::of(sum.device())? {
        let shape = Rows { columns: sum.elem_count(), ..Rows::of(gradient)? };
        let from = gpu.at(gradient)?.after(first, shape.compute.size());
        return rows::column_sums(&*gpu, shape, columns, [gpu.at(sum)?, from], accumulate);
    }
    let gradient = storage::read(gradient)?;
    storage::write(sum, |sum| {
        if !accumulate {
            sum.fill(0.0);
        }
        let width = sum.len();
        sum_over_row_blocks(tokens, sum, |rows, partial| {
            for row in gradient[rows.start * columns..rows.end * columns].chunks(columns) {
                let row = &row[first..first + width];
                partial.iter_mut().zip(row).for_each(|(sum, term)| *sum += term);
            }
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{parameter, prove, tensor};

    /// The specification.
    fn reference(x: &[f64], weight: &[f64], bias: &[f64], channels: usize) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let products = weight.chunks(channels).map(|weight| x.iter().zip(weight));
            let sums = products.map(|terms| terms.map(|(x, weight)| x * weight).sum::<f64>());
            sums.zip(bias).map(|(sum, bias)| sum + bias).collect()
        };
        x.chunks(channels).flat_map(row).collect()
    }

    const SIZES: [(usize, usize, usize); 3] = [(1, 1, 1), (3, 5, 33), (70, 3, 2)];

    #[test]
    fn it_equals_its_specification_and_its_finite_differences() {
        for (tokens, rows, channels) in SIZES {
            let (x, weight) = (tensor((tokens, channels), 1), parameter((rows, channels), 2));
            let bias = parameter(rows, 3);
            let reference =
                |given: &[Vec<f64>]| reference(&given[0], &given[1], &given[2], channels);
            prove("linear", &[x], &[&weight, &bias], reference, |tape, leaves| {
                linear(tape, &leaves[0], &weight, Some(&bias))
            });
        }
    }

    #[test]
    fn added_to_a_residual_it_equals_its_specification_and_its_finite_differences() {
        for (tokens, rows, channels) in SIZES {
            let (residual, x) = (tensor((tokens, rows), 4), tensor((tokens, channels), 1));
            let (weight, bias) = (parameter((rows, channels), 2), parameter(rows, 3));
            let reference = |given: &[Vec<f64>]| {
                let product = reference(&given[1], &given[2], &given[3], channels);
                given[0].iter().zip(product).map(|(residual, y)| residual + y).collect()
            };
            prove("linear_add", &[residual, x], &[&weight, &bias], reference, |tape, leaves| {
                linear_add(tape, &leaves[0], &leaves[1], &weight, Some(&bias))
            });
        }
    }

    /// The product is dropped, the residual is not; the gradient follows.
    #[test]
    fn added_with_dropout_it_equals_its_specification_and_its_finite_differences() {
        for (tokens, rows, channels) in SIZES {
            let (residual, x) = (tensor((tokens, rows), 4), tensor((tokens, channels), 1));
            let weight = parameter((rows, channels), 2);
            let mask = Mask::next(&mut Tape::inference().with_dropout_seed(3), 0.4).unwrap();
            let reference = |given: &[Vec<f64>]| {
                let product = reference(&given[1], &given[2], &vec![0.0; rows], channels);
                let pairs = given[0].iter().zip(product).enumerate();
                pairs
                    .map(|(at, (residual, y))| residual + y * f64::from(mask.factor(at as u64)))
                    .collect()
            };
            prove("linear_add dropped", &[residual, x], &[&weight], reference, |tape, leaves| {
                let fresh = std::mem::replace(tape, Tape::inference());
                *tape = fresh.with_dropout_seed(3);
                linear_add_with_dropout(tape, &leaves[0], &leaves[1], &weight, 0.4)
            });
        }
    }
}
