//! The kernels, emulated, against their CPU twins at odd sizes: the numbers within the contract, the
//! same bytes under every schedule, nothing out of bounds.
//!
//! `cargo test -p albacore-kernels emulated -- --nocapture` shows the worst error of each.

mod adafactor;
mod attention;
mod biased_attention;
mod crossing;
mod decode;
mod head;
mod narrow;
#[cfg(feature = "cuda")]
mod offload;
mod points;
mod rows;
mod sample;
mod update;
#[cfg(feature = "cuda")]
mod whole;
mod wide;

use crate::AdamWStep;
use crate::emulator::rounded;
use crate::launch::Compute;
use crate::support::numbers;

const BOTH: [Compute; 2] = [Compute::F32, Compute::Bf16];

/// An update like any other: the third, with a gradient that is clipped to half.
const STEP: AdamWStep = AdamWStep {
    step: 3,
    learning_rate: 1e-2,
    betas: (0.9, 0.95),
    epsilon: 1e-8,
    weight_decay: 0.1,
    gradient_scale: 0.5,
};

/// Numbers that the type holds exactly, so that both twins start from the same.
fn exact(len: usize, seed: u64, compute: Compute) -> Vec<f32> {
    numbers(len, seed).into_iter().map(|number| rounded(number, compute)).collect()
}

/// Holds a kernel to its CPU twin: the norm of the difference, relative to the twin's.
///
/// f32 differs by the order of sums; bf16 rounds its output to 2^-9, and what it saved before that.
fn assert_twin(what: &str, found: &[f32], wanted: &[f32], compute: Compute) {
    assert_eq!(found.len(), wanted.len(), "{what}: how many");
    let norm = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.map(|number| number * number).sum::<f64>().sqrt()
    };
    let pairs = found.iter().zip(wanted);
    let off = norm(&mut pairs.map(|(&found, &wanted)| f64::from(found) - f64::from(wanted)));
    let error = off / norm(&mut wanted.iter().map(|&wanted| f64::from(wanted))).max(1e-30);
    println!("emulated {what} {}: {error:.1e}", compute.name());
    let allowed = if compute == Compute::F32 { 1e-5 } else { 1e-2 };
    assert!(error <= allowed, "{what} {}: {error:.1e}, allowed {allowed:.0e}", compute.name());
}
