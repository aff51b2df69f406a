//! Matrix products in f32, by the `gemm` crate that Candle itself uses.
//!
//! Called directly rather than through `Tensor::matmul` because a weight gradient is added to where
//! it lies, and because outputs go into buffers that exist.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::few_rows::{MOST, product_of_few_rows};
use crate::parallel::SharedMut;

pub use crate::matrix::{Matrix, MatrixMut};

fn assert_shapes(out: (usize, usize), a: Matrix, b: Matrix) {
    assert_eq!((a.rows, b.columns, a.columns), (out.0, out.1, b.rows), "shapes of a product");
}

/// Rows or columns of whole cache lines, so that no two threads write to one.
const LINE: usize = 16;

/// Rows or columns that a thread takes at least, where `short` is the other side. `gemm` sums in
/// another order where both sides are at most 64, and where they have at most 256 elements: a panel
/// must not fall below that where the whole does not.
fn fewest(short: usize) -> usize {
    (64 + LINE).max(256 / short.max(1) + LINE)
}

/// `out = scale · a · b`, or `out += scale · a · b`, on all threads.
///
/// The result has the same bits at any thread count: the threads share out the longer side of
/// `out`, in panels large enough for the order of an element's terms not to depend on their size.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn product(out: MatrixMut, a: Matrix, b: Matrix, scale: f32, accumulate: bool) {
    assert_shapes((out.rows, out.columns), a, b);
    // Below 2 MFLOP handing out the work costs more than it saves.
    const SMALL: usize = 1 << 20;
    if out.rows <= MOST && a.column_stride == 1 && b.row_stride == 1 {
        return product_of_few_rows(out, a, b.transposed(), scale, accumulate);
    }
    let by_columns = out.columns >= out.rows;
    let (short, long) = (out.rows.min(out.columns), out.rows.max(out.columns));
    let panels = rayon::current_num_threads().min(long / fewest(short));
    if panels < 2 || out.rows * out.columns * a.columns < SMALL {
        return product_here(out, a, b, scale, accumulate);
    }
    let lines = long.div_ceil(LINE);
    let boundary = |index: usize| (lines * index / panels * LINE).min(long);
    let shared = SharedMut::new(out.data);
    (0..panels).into_par_iter().for_each(|index| {
        let range = boundary(index)..boundary(index + 1);
        let (start, rows, columns) = if by_columns {
            (range.start, out.rows, range.len())
        } else {
            (range.start * out.row_stride, range.len(), out.columns)
        };
        // SAFETY: the panels are disjoint ranges of rows or of columns of `out`, and
        // `product_unchecked` writes to these alone.
        unsafe {
            let target = shared.as_mut_ptr().add(start);
            let (a, b) =
                if by_columns { (a, b.column_range(range)) } else { (a.row_range(range), b) };
            product_unchecked(target, rows, columns, out.row_stride, a, b, scale, accumulate);
        }
    });
}

/// As [`product`], on the calling thread alone.
///
/// # Panics
/// If the shapes do not fit each other.
pub fn product_here(out: MatrixMut, a: Matrix, b: Matrix, scale: f32, accumulate: bool) {
    let (rows, columns, row_stride) = (out.rows, out.columns, out.row_stride);
    // SAFETY: `MatrixMut` has checked that its rows and columns lie inside its slice.
    unsafe {
        product_unchecked(
            out.data.as_mut_ptr(),
            rows,
            columns,
            row_stride,
            a,
            b,
            scale,
            accumulate,
        );
    }
}

/// # Safety
/// `out` must be valid for writes (and reads, if `accumulate`) at `rows` x `columns` with
/// `row_stride`, and no other thread may use these elements meanwhile.
#[allow(clippy::too_many_arguments)]
pub(crate) unsafe fn product_unchecked(
    out: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: usize,
    a: Matrix,
    b: Matrix,
    scale: f32,
    accumulate: bool,
) {
    assert_shapes((rows, columns), a, b);
    // SAFETY: `Matrix` has checked its bounds, and the caller vouches for `out`.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            a.columns,
            out,
            1,
            row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{numbers, on_threads};

    #[test]
    fn a_product_equals_the_sum_of_its_terms_and_adds_where_asked() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (33, 130, 65), (1, 96, 64), (70, 200, 300)] {
            let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
            let mut out = vec![1.0; m * n];
            let (left, right) = (Matrix::new(&a, m, k), Matrix::new(&b, n, k).transposed());
            product(MatrixMut::new(&mut out, m, n), left, right, 2.0, true);
            for row in 0..m {
                for column in 0..n {
                    let dot =
                        (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[column * k + i]));
                    let wanted = 1.0 + 2.0 * dot.sum::<f64>();
                    let found = f64::from(out[row * n + column]);
                    // f32 sums of up to 300 terms of at most 1.
                    assert!((found - wanted).abs() < 1e-4, "{m}x{n}x{k}: {found} wanted {wanted}");
                }
            }
        }
    }

    /// Whether `f` panics.
    fn panics(f: impl FnOnce() + Send) -> bool {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err()
    }

    #[test]
    fn shapes_that_do_not_fit_each_other_are_refused_on_every_path() {
        let numbers = vec![0.0; 200 * 200];
        // Few rows; panels of columns; panels of rows.
        for (m, n, k) in [(1, 200, 100), (150, 200, 100), (200, 150, 100)] {
            let run = |m_a, k_a, k_b, n_b| {
                let mut out = vec![0.0; m * n];
                let (a, b) = (Matrix::new(&numbers, m_a, k_a), Matrix::new(&numbers, n_b, k_b));
                let target = MatrixMut::new(&mut out, m, n);
                on_threads(2, || product(target, a, b.transposed(), 1.0, false));
            };
            run(m, k, k, n);
            for (m_a, k_a, k_b, n_b) in
                [(m - 1, k, k, n), (m, k - 1, k, n), (m, k, k - 1, n), (m, k, k, n - 1)]
            {
                assert!(panics(|| run(m_a, k_a, k_b, n_b)), "{m_a}x{k_a} by {k_b}x{n_b}");
            }
        }
    }

    #[test]
    fn a_matrix_whose_size_overflows_is_refused() {
        // Times two, this is 2 again.
        let rows = usize::MAX / 2 + 3;
        assert!(panics(|| _ = Matrix::strided(&[0.0; 4], rows, 1, 2)));
        assert!(panics(|| _ = MatrixMut::strided(&mut [0.0; 4], 2, 3, usize::MAX - 1)));
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let sizes = [
            (300, 576, 600),
            (1, 4096, 576),
            (8, 1536, 576),
            (1536, 576, 256),
            // Just above the sizes below which `gemm` sums otherwise.
            (30, 65, 1100),
            (64, 129, 1100),
            (330, 5, 1500),
            (330, 3, 1500),
            (330, 1, 3300),
            (3, 1000, 1000),
            (1, 1000, 1100),
        ];
        for (m, n, k) in sizes {
            let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
            let by_rows = Matrix::new(&b, n, k).transposed();
            for right in [by_rows, Matrix::new(&b, k, n)] {
                let run = |threads| {
                    let mut out = vec![0.0; m * n];
                    let (target, left) = (MatrixMut::new(&mut out, m, n), Matrix::new(&a, m, k));
                    on_threads(threads, || product(target, left, right, 1.0, false));
                    out
                };
                let alone = run(1);
                for threads in [2, 3, 5, 12] {
                    assert!(alone == run(threads), "{m}x{n}x{k} differs on {threads} threads");
                }
            }
        }
    }
}
