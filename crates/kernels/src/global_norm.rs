//! The norm of a gradient, for clipping (Pascanu et al., 2013) and for noticing what is not finite.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::simd::wide;
use crate::{Result, storage};

/// Elements that are summed together: 256 KiB of a gradient.
const CHUNK: usize = 1 << 16;

/// Lanes of a sum in f64: two AVX-512 registers.
const LANES: usize = 16;

/// `Σ x²`, in f64 from the first square on: no overflow, and a sum over parameters is exact enough
/// to be added up in any grouping. A NaN or an infinity in `x` makes the result not finite.
///
/// # Errors
/// If `x` is not a contiguous f32 tensor on the CPU.
pub fn squared_norm(x: &Tensor) -> Result<f64> {
    let x = storage::read(x)?;
    // Collected in order before they are added: the grouping does not depend on the threads.
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(|chunk| wide!(|| sum_of_squares(chunk))).collect();
    Ok(sums.iter().sum())
}

#[inline(always)]
fn sum_of_squares(x: &[f32]) -> f64 {
    let mut lanes = [0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for x in chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(x[lane]) * f64::from(x[lane]);
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        lanes[lane] += f64::from(x) * f64::from(x);
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::support::{numbers, on_threads, tensor, wider};

    #[test]
    fn it_is_the_sum_of_the_squares_at_any_length_and_thread_count() {
        for len in [0, 1, 33, CHUNK, 3 * CHUNK + 17] {
            let x = tensor(len, 1);
            let wanted: f64 = wider(&numbers(len, 1)).iter().map(|x| x * x).sum();
            let found = squared_norm(&x).unwrap();
            // f64 rounds to 1e-16; sums of 2e5 terms.
            assert!((found - wanted).abs() <= 1e-12 * wanted, "{found} wanted {wanted}");
            for threads in [1, 2, 5] {
                assert_eq!(on_threads(threads, || squared_norm(&x).unwrap()), found);
            }
        }
    }

    #[test]
    fn one_number_that_is_not_finite_shows_wherever_it_is() {
        for place in [0, 100, CHUNK - 1, CHUNK + 7] {
            for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = numbers(CHUNK + 8, 1);
                x[place] = wrong;
                let len = x.len();
                let x = Tensor::from_vec(x, len, &Device::Cpu).unwrap();
                assert!(!squared_norm(&x).unwrap().is_finite(), "{wrong} at {place}");
            }
        }
        // The largest number is finite, and so is its square.
        let x = Tensor::new(&[f32::MAX, f32::MAX], &Device::Cpu).unwrap();
        assert!(squared_norm(&x).unwrap().is_finite());
    }
}
