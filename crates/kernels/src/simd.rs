//! Inner loops that use the machine's widest vectors, with results that do not depend on them.
//!
//! [`wide`] runs a closure compiled for the instruction sets that the machine has; sums go through a
//! fixed number of lanes, so that AVX2, AVX-512 and plain SSE2 give the same bits.

use std::sync::LazyLock;

use pulp::Arch;

/// Lanes of a sum: two AVX-512 registers.
pub(crate) const LANES: usize = 32;

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs `f` compiled for the widest vectors of this machine. What it calls must be inlined into it.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
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
