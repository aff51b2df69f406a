//! Work shared out over threads so that results never depend on how many there are.
//!
//! Rows are handed out in blocks of fixed size, and sums over rows are formed block by block and
//! then added in order: the grouping of the terms is part of the operation, not of the machine.

use rayon::prelude::*;

/// Rows in one block of work. Small enough to keep 64 threads busy on a batch of 4,096 tokens.
pub(crate) const ROWS: usize = 64;

/// Runs `f(first_row, block)` on blocks of [`ROWS`] rows of `out`.
pub(crate) fn for_row_blocks(
    out: &mut [f32],
    columns: usize,
    f: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    let blocks = out.par_chunks_mut((ROWS * columns).max(1)).enumerate();
    blocks.for_each(|(index, block)| f(index * ROWS, block));
}

/// Adds up `f(block of rows, sum)` over blocks of [`ROWS`] rows, in order, into `total`.
///
/// Each block fills a row of its own, starting from zeros; the rows are added in order.
pub(crate) fn sum_over_row_blocks(
    rows: usize,
    total: &mut [f32],
    f: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync + Send,
) {
    let mut partial = vec![0.0; rows.div_ceil(ROWS) * total.len()];
    let blocks = partial.par_chunks_mut(total.len().max(1)).enumerate();
    blocks.for_each(|(index, sum)| f(index * ROWS..((index + 1) * ROWS).min(rows), sum));
    for sum in partial.chunks(total.len().max(1)) {
        total.iter_mut().zip(sum).for_each(|(total, term)| *total += term);
    }
}

/// A slice of which threads write disjoint parts.
pub(crate) struct SharedMut<'a> {
    pointer: *mut f32,
    _slice: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer is only dereferenced in `unsafe` code whose authors vouch that no two threads
// use the same elements.
unsafe impl Sync for SharedMut<'_> {}

impl<'a> SharedMut<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { pointer: slice.as_mut_ptr(), _slice: std::marker::PhantomData }
    }

    /// The start of the slice.
    pub(crate) fn as_mut_ptr(&self) -> *mut f32 {
        self.pointer
    }
}
