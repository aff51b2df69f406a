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
    let sums: Vec<f64> = x.par_chunks(CHUNK).map(|chunk| wide(|| sum_of_squares(chunk))).collect();
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
