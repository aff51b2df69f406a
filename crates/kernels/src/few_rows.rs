//! Products of few rows with a large matrix: what a step of generation consists of.
//!
//! `gemm` packs its operands first, which pays where each number is used many times. Here the
//! matrix is read once, as it lies, and the memory's bandwidth is the limit. The order of an
//! element's terms depends on the inner length and the instruction set alone: neither on the
//! threads nor on how many rows there are.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::SharedMut;

/// The most rows for which this is faster than `gemm`.
pub(crate) const MOST: usize = 24;

/// Rows of the matrix that one thread takes at a time: a multiple of each tile's.
const PANEL: usize = 96;

/// `out = scale · x · weightᵀ`, or `out += scale · x · weightᵀ`, where the numbers in a row of
/// either operand lie without gaps.
pub(crate) fn product_of_few_rows(
    out: MatrixMut,
    x: Matrix,
    weight: Matrix,
    scale: f32,
    accumulate: bool,
) {
    assert_eq!((x.rows, weight.rows), (out.rows, out.columns), "shapes of a product");
    assert_eq!(x.columns, weight.columns, "shapes of a product");
    assert_eq!((x.column_stride, weight.column_stride), (1, 1), "rows without gaps");
    let (target, row_stride) = (SharedMut::new(out.data), out.row_stride);
    (0..weight.rows.div_ceil(PANEL)).into_par_iter().for_each(|panel| {
        let rows = panel * PANEL..((panel + 1) * PANEL).min(weight.rows);
        let store = |token: usize, row: usize, sum: f32| {
            // SAFETY: `MatrixMut` has checked that the element lies in `out`, and the columns of
            // `out` that belong to this panel are written by this closure alone.
            let out = unsafe { &mut *target.as_mut_ptr().add(token * row_stride + row) };
            *out = if accumulate { *out + scale * sum } else { scale * sum };
        };
        Arch::new().dispatch(Panel { x, weight, rows, store });
    });
}

/// The products of all rows of `x` with some rows of the matrix.
struct Panel<'a, F> {
    x: Matrix<'a>,
    weight: Matrix<'a>,
    rows: Range<usize>,
    store: F,
}

impl<F: Fn(usize, usize, f32)> WithSimd for Panel<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The sums of a tile fill the registers: 24 of 32 in AVX-512, 12 of 16 elsewhere.
        match (self.x.rows, S::F32_LANES) {
            (1, _) => self.run::<S, 1, 4>(simd),
            (_, 16) => self.run::<S, 8, 3>(simd),
            _ => self.run::<S, 4, 3>(simd),
        }
    }
}

// Plain loops from here on: closures, those of `map` included, are not sure to be inlined, and run
// without vectors where they are not.
impl<F: Fn(usize, usize, f32)> Panel<'_, F> {
    /// Takes tiles of `M` rows of `x` by `N` of the matrix. Beyond the last row of either, that row
    /// is taken again and its sums are left out.
    #[inline(always)]
    fn run<S: Simd, const M: usize, const N: usize>(&self, simd: S) {
        let (mut xs, mut weights) = ([[].as_slice(); M], [[].as_slice(); N]);
        for row in self.rows.clone().step_by(N) {
            for (n, slice) in weights.iter_mut().enumerate() {
                *slice = self.weight.row((row + n).min(self.rows.end - 1));
            }
            for token in (0..self.x.rows).step_by(M) {
                for (m, slice) in xs.iter_mut().enumerate() {
                    *slice = self.x.row((token + m).min(self.x.rows - 1));
                }
                // The first tile of these rows fetches the next rows from memory.
                let ahead = if token == 0 { N * self.weight.row_stride } else { 0 };
                let sums = tile(simd, xs, weights, ahead);
                for (token, sums) in (token..self.x.rows).zip(sums) {
                    for (row, sum) in (row..self.rows.end).zip(sums) {
                        (self.store)(token, row, sum);
                    }
                }
            }
        }
    }
}

/// The inner products of each of `xs` with each of `weights`.
#[inline(always)]
fn tile<S: Simd, const M: usize, const N: usize>(
    simd: S,
    xs: [&[f32]; M],
    weights: [&[f32]; N],
    ahead: usize,
) -> [[f32; N]; M] {
    let length = xs[0].len();
    let vectors = length / S::F32_LANES;
    let (mut x_vectors, mut weight_vectors) = ([[].as_slice(); M], [[].as_slice(); N]);
    for m in 0..M {
        x_vectors[m] = &S::as_simd_f32s(xs[m]).0[..vectors];
    }
    for n in 0..N {
        weight_vectors[n] = &S::as_simd_f32s(weights[n]).0[..vectors];
    }
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for index in 0..vectors {
        for weight in weights {
            prefetch(weight.as_ptr().wrapping_add(index * S::F32_LANES + ahead));
        }
        for m in 0..M {
            for n in 0..N {
                let (x, weight) = (x_vectors[m][index], weight_vectors[n][index]);
                sums[m][n] = simd.mul_add_f32s(x, weight, sums[m][n]);
            }
        }
    }
    let whole = vectors * S::F32_LANES;
    let mut totals = [[0.0; N]; M];
    for m in 0..M {
        for n in 0..N {
            if whole < length {
                let x = simd.partial_load_f32s(&xs[m][whole..]);
                let weight = simd.partial_load_f32s(&weights[n][whole..]);
                sums[m][n] = simd.mul_add_f32s(x, weight, sums[m][n]);
            }
            totals[m][n] = simd.reduce_sum_f32s(sums[m][n]);
        }
    }
    totals
}

/// Asks for a cache line early: the machine's own prefetching ends at each page of 4 KiB.
#[inline(always)]
fn prefetch(place: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and takes any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{assert_close, numbers, on_threads};

    fn product(tokens: usize, rows: usize, length: usize, threads: usize) -> Vec<f32> {
        let (x, weight) = (numbers(tokens * length, 1), numbers(rows * length, 2));
        let mut out = vec![1.0; tokens * rows];
        let (x, weight) = (Matrix::new(&x, tokens, length), Matrix::new(&weight, rows, length));
        on_threads(threads, || {
            product_of_few_rows(MatrixMut::new(&mut out, tokens, rows), x, weight, 2.0, true);
        });
        out
    }

    #[test]
    fn it_is_the_sum_of_its_terms_at_any_size_and_thread_count() {
        for (tokens, rows, length) in [(1, 1, 1), (2, 5, 33), (7, 97, 15), (9, 200, 64), (32, 4, 7)]
        {
            let (x, weight) = (numbers(tokens * length, 1), numbers(rows * length, 2));
            let mut wanted = Vec::new();
            for x in x.chunks(length) {
                for weight in weight.chunks(length) {
                    let terms = x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w));
                    wanted.push(1.0 + 2.0 * terms.sum::<f64>());
                }
            }
            let found = product(tokens, rows, length, 1);
            // Sums of up to 64 terms, each rounded to 6e-8.
            assert_close(&format!("{tokens} x {rows} x {length}"), &found, &wanted, 1e-6);
            for threads in [2, 5] {
                assert!(product(tokens, rows, length, threads) == found);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_company() {
        let (rows, length) = (100, 77);
        let together = product(13, rows, length, 2);
        for tokens in [1, 2, 8] {
            assert!(product(tokens, rows, length, 2) == together[..tokens * rows]);
        }
    }
}
