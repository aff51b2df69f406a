//! Inner loops that use the machine's widest vectors, with results that do not depend on them.
//!
//! [`wide!`] runs a closure compiled for the instruction sets that the machine has; sums go through a
//! fixed number of lanes, so that AVX2, AVX-512 and plain SSE2 give the same bits.

use std::sync::LazyLock;

use pulp::Arch;

/// Lanes of a sum: two AVX-512 registers.
pub(crate) const LANES: usize = 32;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// `wide!(|| …)` runs a closure compiled for the widest vectors of this machine.
///
/// A macro because only what is inlined is compiled so, and a closure of some length is not unless
/// it says `#[inline(always)]`. What it calls must say so too: code left out is compiled once, for
/// SSE2, where even `mul_add` is a function call.
macro_rules! wide {
    (|| $body:expr) => {
        $crate::simd::run_wide(
            #[inline(always)]
            || $body,
        )
    };
}
pub(crate) use wide;

/// Runs `f`, which must be inlined: see [`wide!`].
#[inline(always)]
pub(crate) fn run_wide<R>(f: impl FnOnce() -> R) -> R {
    struct Inlined<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Inlined<F> {
        type Output = R;

        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    ARCH.dispatch(Inlined(f))
}

/// Adds up the lanes pairwise: always in the same order.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `Σ f(xᵢ, yᵢ)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum2(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (x_chunks, x_rest) = x.as_chunks::<LANES>();
    let (y_chunks, y_rest) = y.as_chunks::<LANES>();
    for (x, y) in x_chunks.iter().zip(y_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f(x[lane], y[lane]);
        }
    }
    for (lane, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
        lanes[lane] += f(x, y);
    }
    fold(lanes)
}

/// `Σ f(xᵢ)`.
#[inline(always)]
pub(crate) fn sum1(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(x, x, |x, _| f(x))
}

/// `eˣ`, to 2 units in the last place. Only inside [`wide!`] is it fast.
///
/// Branches only to select, so a loop of it becomes vector code; of fused multiply-adds and
/// comparisons alone, so every instruction set computes the same bits. Below -86.9, close to the
/// smallest normal number, the result is 0; infinities and NaN come out as they should.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Above it, eˣ is infinite. Not `f32::min`, which would hide a NaN.
    const HIGHEST: f32 = 89.0;
    const LOWEST: f32 = -86.9;
    /// 1.5 · 2²³: adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 = `LN_2` + `LN_2_REST`, the first with 24 bits.
    const LN_2_REST: f32 = -1.904_654_3e-9;
    let clamped = if x > HIGHEST { HIGHEST } else { x };
    let rounded = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // x = n ln 2 + r with |r| <= ln 2 / 2.
    let r = n.mul_add(-std::f32::consts::LN_2, clamped);
    let r = n.mul_add(-LN_2_REST, r);
    // Minimax polynomial of (eʳ - 1 - r) / r², relative error of eʳ 4e-9 in exact arithmetic.
    let tail = 0.001_381_454_f32.mul_add(r, 0.008_368_745);
    let tail = tail.mul_add(r, 0.041_668_39);
    let tail = tail.mul_add(r, 0.166_665_21);
    let tail = tail.mul_add(r, 0.499_999_94);
    let e_r = (tail * r).mul_add(r, r) + 1.0;
    // 2ⁿ⁻¹ written into the exponent, then doubled: n is 128 just below the overflow.
    let half = f32::from_bits((rounded.to_bits() << 23).wrapping_add(126 << 23));
    let result = e_r * half * 2.0;
    if x < LOWEST { 0.0 } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        let mut worst = 0f64;
        for step in 0..=8_000_000u32 {
            let x = -86.9 + step as f32 * (175.6 / 8e6);
            let wanted = f64::from(x).exp();
            worst = worst.max((f64::from(wide!(|| exp(x))) / wanted - 1.0).abs());
        }
        // One unit in the last place is 2⁻²³ = 1.2e-7 just above a power of two.
        assert!(worst < 2e-7, "{worst:e}");
    }

    #[test]
    fn exp_keeps_its_promises_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        for x in [-87.0, -104.0, -1e9, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(x), 0.0, "{x}");
        }
        assert!(exp(88.7).is_finite());
        for x in [88.8, 1e9, f32::MAX, f32::INFINITY] {
            assert_eq!(exp(x), f32::INFINITY, "{x}");
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn exp_has_the_same_bits_in_every_instruction_set() {
        for step in 0..100_000 {
            let x = -90.0 + step as f32 * 0.0018;
            assert_eq!(exp(x).to_bits(), wide!(|| exp(x)).to_bits());
        }
    }
}
