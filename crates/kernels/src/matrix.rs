//! Matrices that lie in slices of floats: what products read and write.

use std::ops::Range;

/// A matrix inside a slice of floats, with any strides.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix stored row after row without gaps.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A matrix whose rows start every `row_stride` floats.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, row_stride);
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same numbers, rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// One row, where its numbers lie without gaps.
    #[inline(always)]
    pub(crate) fn row(&self, index: usize) -> &'a [f32] {
        &self.data[index * self.row_stride..][..self.columns]
    }

    pub(crate) fn row_range(self, rows: Range<usize>) -> Self {
        Self { data: &self.data[rows.start * self.row_stride..], rows: rows.len(), ..self }
    }

    pub(crate) fn column_range(self, columns: Range<usize>) -> Self {
        self.transposed().row_range(columns).transposed()
    }
}

/// Where a product goes.
pub struct MatrixMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix stored row after row without gaps.
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A matrix whose rows start every `row_stride` floats.
    pub fn strided(data: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert_fits(data.len(), rows, columns, row_stride);
        Self { data, rows, columns, row_stride }
    }
}

fn assert_fits(len: usize, rows: usize, columns: usize, row_stride: usize) {
    assert!(columns <= row_stride || rows <= 1, "rows of a matrix overlap");
    let last = rows.saturating_sub(1).checked_mul(row_stride);
    let end = last.and_then(|last| last.checked_add(columns));
    assert!(rows == 0 || end.is_some_and(|end| end <= len), "matrix exceeds its slice");
}
