//! The rows of one head among those of all heads: to read, and to write beside other threads.

use std::marker::PhantomData;
use std::ops::Range;

use crate::matmul::{Matrix, product_unchecked};
use crate::parallel::SharedMut;

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
