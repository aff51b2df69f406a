//! Rows taken by index: of the embedding table by token, of a packed batch by position.
//!
//! Backward, each row of the source receives the sum of what was taken from it, in order of
//! position. The positions are sorted by row first, so that each row is summed by one thread.

use std::ops::Range;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::device::rows::{self, Rows, Segments};
use crate::engine::Engine;
use crate::error::expect_indices;
use crate::launch::{Compute, Gpu};
use crate::simd::wide;
use crate::storage::Like;
use crate::{Parameter, Result, Tape, Value, storage};

/// Rows that a thread takes at least: a row alone is too little work to hand out.
const FEWEST: usize = 16;

/// The rows of `weight` that `ids` name.
///
/// # Shapes
/// `weight` `(V, C)`, `ids` `T` of them; returns `(T, C)`.
///
/// # Errors
/// If `weight` is not a matrix, or if an id is not below `V`.
pub fn embedding<'a>(
    tape: &mut Tape<'a>,
    weight: &'a Parameter,
    ids: &'a [u32],
) -> Result<Value<'a>> {
    embed(tape, weight, ids, weight.value().dtype())
}

/// As [`embedding`], in f32 whatever the weight's type: what a residual stream in f32 begins with.
///
/// # Errors
/// As [`embedding`].
pub fn embedding_wide<'a>(
    tape: &mut Tape<'a>,
    weight: &'a Parameter,
    ids: &'a [u32],
) -> Result<Value<'a>> {
    embed(tape, weight, ids, DType::F32)
}

fn embed<'a>(
    tape: &mut Tape<'a>,
    weight: &'a Parameter,
    ids: &'a [u32],
    dtype: DType,
) -> Result<Value<'a>> {
    let (words, _) = weight.value().dims2()?;
    expect_indices("embedding", "token id", ids, words)?;
    let out = gather(weight.value(), ids, dtype)?;
    Ok(tape.record(out, weight.is_trainable(), move |_, gradient| {
        weight.accumulate(|sum, rows, accumulate| scatter(sum, rows, ids, &gradient, accumulate))
    }))
}

/// The rows of `x` that `rows` name.
///
/// # Shapes
/// `x` `(T, C)`, `rows` `N` of them; returns `(N, C)`.
///
/// # Errors
/// If `x` is not a matrix, or if a row is not below `T`.
pub fn select_rows<'a>(tape: &mut Tape<'a>, x: &Value<'a>, rows: &'a [u32]) -> Result<Value<'a>> {
    let (tokens, _) = x.tensor().dims2()?;
    expect_indices("select_rows", "row", rows, tokens)?;
    let out = gather(x.tensor(), rows, x.tensor().dtype())?;
    let (slot, like) = (x.slot(), Like::of(x.tensor()));
    Ok(tape.record(out, slot.is_some(), move |slots, gradient| {
        slots.accumulate(slot, &like, |sum, accumulate| {
            scatter(sum, 0..tokens, rows, &gradient, accumulate)
        })
    }))
}

fn gather(table: &Tensor, indices: &[u32], dtype: DType) -> Result<Tensor> {
    let (_, columns) = table.dims2()?;
    let like = Like::of(table).shaped((indices.len(), columns)).of_type(dtype);
    // SAFETY: each row is copied below.
    let out = unsafe { like.empty()? };
    if let Some(gpu) = Engine::of(table.device())? {
        let sent = gpu.upload(indices)?;
        let places = [gpu.at(&out)?, gpu.at(table)?, gpu.address(&sent)];
        let shape = Rows { rows: indices.len(), columns, compute: Compute::of(table)? };
        rows::gather(&*gpu, shape, Compute::of(&out)?, places)?;
        return Ok(out);
    }
    let table = storage::read(table)?;
    storage::write(&out, |out| {
        let rows = out.par_chunks_mut(columns).zip(indices).with_min_len(FEWEST);
        rows.for_each(|(out, &index)| {
            out.copy_from_slice(&table[index as usize * columns..][..columns]);
        });
        Ok(())
    })?;
    Ok(out)
}

/// `sum[indices[p] - rows.start] += gradient[p]` for each `p` whose index is among `rows`, in order
/// of `p`; `sum` starts from zeros unless `accumulate`.
fn scatter(
    sum: &Tensor,
    rows: Range<usize>,
    indices: &[u32],
    gradient: &Tensor,
    accumulate: bool,
) -> Result<()> {
    if let Some(gpu) = Engine::of(sum.device())? {
        if !accumulate {
            gpu.zero(gpu.at(sum)?, sum.elem_count() * sum.dtype().size_in_bytes())?;
        }
        // A weight's gradient is f32; an activation's is of the activation's type.
        let to_weight = sum.dtype() != gradient.dtype();
        let (places, segments) = ([gpu.at(sum)?, gpu.at(gradient)?], Segments::new(indices, rows));
        return rows::scatter(&*gpu, Rows::of(gradient)?, places, &segments, to_weight);
    }
    let (_, columns) = gradient.dims2()?;
    let gradient = storage::read(gradient)?;
    let row_of = |position: usize| indices[position] as usize;
    let mut order: Vec<usize> =
        (0..indices.len()).filter(|&position| rows.contains(&row_of(position))).collect();
    // A stable sort: the positions of one row stay in order.
    order.sort_by_key(|&position| row_of(position));
    storage::write(sum, |sum| {
        if !accumulate {
            sum.par_chunks_mut(FEWEST * columns).for_each(|rows| rows.fill(0.0));
        }
        let (mut rest, mut next) = (sum, rows.start);
        let segments = order.chunk_by(|&left, &right| row_of(left) == row_of(right));
        let segments = segments.map(|positions| {
            let row = row_of(positions[0]);
            let (target, after) =
                std::mem::take(&mut rest)[(row - next) * columns..].split_at_mut(columns);
            (rest, next) = (after, row + 1);
            (target, positions)
        });
        let segments: Vec<(&mut [f32], &[usize])> = segments.collect();
        segments.into_par_iter().with_min_len(FEWEST).for_each(|(sum, positions)| {
            wide!(|| {
                for position in positions {
                    let term = &gradient[position * columns..][..columns];
                    sum.iter_mut().zip(term).for_each(|(sum, term)| *sum += term);
                }
            });
        });
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{gradient, parameter, passes, prove, tensor};

    /// The specification, of both operations.
    fn reference(table: &[f64], indices: &[u32], columns: usize) -> Vec<f64> {
        let rows = indices.iter().map(|&index| &table[index as usize * columns..][..columns]);
        rows.flatten().copied().collect()
    }

    /// Indices of which many repeat and some never occur.
    fn indices(len: usize, below: u32) -> Vec<u32> {
        (0..len as u32).map(|position| position * position % below.max(1)).collect()
    }

    #[test]
    fn an_embedding_equals_its_specification_and_its_finite_differences() {
        for (tokens, words, channels) in [(1, 1, 1), (70, 11, 3), (5, 40, 33)] {
            let (weight, ids) = (parameter((words, channels), 1), indices(tokens, words as u32));
            let reference = |given: &[Vec<f64>]| reference(&given[0], &ids, channels);
            prove("embedding", &[], &[&weight], reference, |tape, _| {
                embedding(tape, &weight, &ids)
            });
        }
    }

    #[test]
    fn selected_rows_equal_their_specification_and_its_finite_differences() {
        for (tokens, rows, channels) in [(1, 1, 1), (11, 70, 3), (40, 5, 33)] {
            let (x, rows) = (tensor((tokens, channels), 1), indices(rows, tokens as u32));
            let reference = |given: &[Vec<f64>]| reference(&given[0], &rows, channels);
            prove("select_rows", &[x], &[], reference, |tape, leaves| {
                select_rows(tape, &leaves[0], &rows)
            });
        }
    }

    #[test]
    fn no_rows_give_an_empty_output_and_a_gradient_of_zeros() {
        let found = passes(&[tensor((3, 2), 1)], &[], &[], |tape, leaves| {
            select_rows(tape, &leaves[0], &[])
        });
        assert_eq!((found.output.len(), &found.gradients[0][..]), (0, &[0.0; 6][..]));
    }

    #[test]
    fn frozen_words_receive_nothing_and_the_others_what_is_theirs() {
        let parts = [("frozen".to_owned(), 2), ("trained".to_owned(), 3)];
        let mut weight = Parameter::new(tensor((5, 1), 1), parts);
        weight.set_trainable(|name| name == "trained");
        let (seed, ids) = ([1., 10., 100., 1000.], [3, 1, 3, 4]);
        let mut tape = Tape::recording(crate::Recompute::None);
        let out = embedding(&mut tape, &weight, &ids).unwrap();
        let seed = Tensor::new(&seed, out.tensor().device()).unwrap().reshape((4, 1)).unwrap();
        tape.backward(&out, seed.to_dtype(candle_core::DType::F32).unwrap()).unwrap();
        assert_eq!(gradient(&weight), None);
        let trained = weight.part_gradient(&weight.parts()[1]).unwrap().unwrap();
        assert_eq!(&*storage::read(&trained).unwrap(), [0., 101., 1000.]);
    }

    #[test]
    fn an_unknown_id_is_named() {
        let weight = parameter((5, 1), 1);
        let error = embedding(&mut Tape::inference(), &weight, &[0, 7]).err().unwrap();
        assert_eq!(error.to_string(), "embedding: token id 7 is out of range, there are 5");
    }
}
