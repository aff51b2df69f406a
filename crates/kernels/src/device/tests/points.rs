//! The kernels that work number by number, against the operations of the CPU.

use super::rows::{SIZES, matrix, plus};
use super::{BOTH, assert_twin, exact};
use crate::device::points::{self, Gating, Points};
use crate::device::rows::Rows;
use crate::dropout::Mask;
use crate::emulator::{Emulator, rounded};
use crate::launch::Compute;
use crate::support::passes;
use crate::{Recompute, Result, Tape, Value};

/// Counts of numbers around those of a thread, of a block, and of several blocks.
const COUNTS: [usize; 6] = [1, 7, 8, 33, 2048, 5003];

/// Both ways of a gated activation, as the operation of the CPU.
fn prove_gated(
    gating: Gating,
    operation: impl for<'a> Fn(&mut Tape<'a>, &Value<'a>) -> Result<Value<'a>>,
) {
    for (compute, (rows, width)) in
        BOTH.into_iter().flat_map(|compute| SIZES.map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let gate_up: Vec<f32> =
            exact(rows * 2 * width, 1, compute).iter().map(|x| 4.0 * x).collect();
        let gradient = exact(rows * width, 2, compute);
        let base = exact(rows * 2 * width, 3, compute);
        let wanted = passes(&[matrix(&gate_up, 2 * width)], &[], &gradient, |tape, leaves| {
            operation(tape, &leaves[0])
        });
        let shape = Rows { rows, columns: width, compute };
        let [gate_up, gradient, added] =
            [&gate_up, &gradient, &base].map(|numbers| gpu.numbers(numbers, compute));
        let (out, sum) = (gpu.room(rows * width, compute), gpu.room(rows * 2 * width, compute));
        points::gated_forward(&gpu, gating, shape, [out, gate_up]).unwrap();
        points::gated_backward(&gpu, gating, shape, [sum, gradient, gate_up], false).unwrap();
        points::gated_backward(&gpu, gating, shape, [added, gradient, gate_up], true).unwrap();
        let memory = gpu.run();
        let name = format!("{gating:?}").to_lowercase();
        let what = |part: &str| format!("{name} {part} {rows}x{width}");
        assert_twin(&what("forward"), &memory.numbers(out, compute), &wanted.output, compute);
        let d_gate_up = &wanted.gradients[0];
        assert_twin(&what("backward"), &memory.numbers(sum, compute), d_gate_up, compute);
        let added = memory.numbers(added, compute);
        assert_twin(&what("backward, added"), &added, &plus(&base, d_gate_up), compute);
    }
}

#[test]
fn emulated_swiglu_is_its_twin() {
    prove_gated(Gating::Swiglu, crate::swiglu);
}

#[test]
fn emulated_geglu_is_its_twin() {
    prove_gated(Gating::Geglu, crate::geglu);
}

#[test]
fn emulated_gates_far_from_zero_are_open_or_shut_and_never_nan() {
    let Some(gpu) = Emulator::new() else { return };
    let huge = 2f32.powi(100);
    let compute = Compute::F32;
    let gate_up = gpu.numbers(&[200., -200., huge, -huge, 3., 3., 3., 3.], compute);
    let gradient = gpu.numbers(&[1.; 4], compute);
    let shape = Rows { rows: 1, columns: 4, compute };
    let rooms = [Gating::Swiglu, Gating::Geglu].map(|gating| {
        let (out, sum) = (gpu.room(4, compute), gpu.room(8, compute));
        points::gated_forward(&gpu, gating, shape, [out, gate_up]).unwrap();
        points::gated_backward(&gpu, gating, shape, [sum, gradient, gate_up], false).unwrap();
        (out, sum)
    });
    let memory = gpu.run();
    for (out, sum) in rooms {
        assert_eq!(memory.numbers(out, compute), [600., 0., 3. * huge, 0.]);
        assert_eq!(memory.numbers(sum, compute), [3., 0., 3., 0., 200., 0., huge, 0.]);
    }
}

#[test]
fn emulated_relu_and_scale_are_their_twins_to_the_last_bit() {
    for (compute, count) in
        BOTH.into_iter().flat_map(|compute| COUNTS.map(|count| (compute, count)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let [mut x, gradient, base] = [1, 2, 3].map(|seed| exact(count, seed, compute));
        x[count / 2] = 0.0;
        let points = Points { count, compute };
        let wanted =
            passes(&[matrix(&x, 1)], &[], &gradient, |tape, leaves| crate::relu(tape, &leaves[0]));
        let scaled = passes(&[matrix(&x, 1)], &[], &gradient, |tape, leaves| {
            crate::scale(tape, &leaves[0], 0.3)
        });
        let [at, d, added] = [&x, &gradient, &base].map(|numbers| gpu.numbers(numbers, compute));
        let [out, sum, times] = [(); 3].map(|()| gpu.room(count, compute));
        points::relu_forward(&gpu, points, [out, at]).unwrap();
        points::relu_backward(&gpu, points, [sum, d, at], false).unwrap();
        points::relu_backward(&gpu, points, [added, d, at], true).unwrap();
        points::scale(&gpu, points, [times, at], 0.3).unwrap();
        let memory = gpu.run();
        let found = |at| memory.numbers(at, compute);
        let kept = |numbers: &[f32]| -> Vec<f32> {
            numbers.iter().map(|&number| rounded(number, compute)).collect()
        };
        assert_eq!(found(out), kept(&wanted.output));
        assert_eq!(found(sum), kept(&wanted.gradients[0]));
        assert_eq!(found(added), kept(&plus(&base, &wanted.gradients[0])));
        assert_eq!(found(times), kept(&scaled.output));
    }
}

fn mask(rate: f32) -> Mask {
    let mut tape = Tape::recording(Recompute::None).with_dropout_seed(11);
    Mask::next(&mut tape, rate).unwrap()
}

/// The same numbers are dropped as on the CPU, whatever the types and the count.
#[test]
fn emulated_dropout_drops_what_the_cpu_drops_to_the_last_bit() {
    for (count, rate) in COUNTS.into_iter().flat_map(|count| [(count, 0.1), (count, 0.999)]) {
        let Some(gpu) = Emulator::new() else { return };
        let (f32, bf16, mask) = (Compute::F32, Compute::Bf16, mask(rate));
        let [x, residual] = [1, 2].map(|seed| exact(count, seed, bf16));
        // In the CPU's type, and rounded as a kernel's output is.
        let dropped = mask.applied(&matrix(&x, 1), candle_core::DType::F32).unwrap();
        let dropped = crate::support::floats(&dropped);
        let both = plus(&residual, &dropped);
        let [wide, narrow] = [f32, bf16].map(|compute| {
            let points = Points { count, compute };
            let (at, out) = (gpu.numbers(&x, compute), gpu.room(count, compute));
            points::dropout(&gpu, points, compute, [out, at], mask).unwrap();
            let (sum, residual) = (gpu.numbers(&x, compute), gpu.numbers(&residual, compute));
            points::dropout_add(&gpu, points, [sum, residual], mask).unwrap();
            (out, sum)
        });
        let narrowed = gpu.room(count, bf16);
        let points = Points { count, compute: bf16 };
        points::dropout(&gpu, points, f32, [narrowed, gpu.numbers(&x, f32)], mask).unwrap();
        let memory = gpu.run();
        let in_bf16 = |numbers: &[f32]| -> Vec<f32> {
            numbers.iter().map(|&number| rounded(number, bf16)).collect()
        };
        assert_eq!(memory.numbers(wide.0, f32), dropped);
        assert_eq!(memory.numbers(narrow.0, bf16), in_bf16(&dropped));
        assert_eq!(memory.numbers(narrowed, bf16), in_bf16(&dropped));
        // The emulator's compiler may fuse the product with the sum, and a GPU's does.
        assert_twin(&format!("dropout, added {count}"), &memory.numbers(wide.1, f32), &both, f32);
        assert_twin(
            &format!("dropout, added {count}"),
            &memory.numbers(narrow.1, bf16),
            &both,
            bf16,
        );
    }
}

#[test]
fn emulated_dropout_lets_no_nan_or_infinity_pass_where_it_drops() {
    let Some(gpu) = Emulator::new() else { return };
    let (mask, compute) = (mask(0.5), Compute::F32);
    let points = Points { count: 40, compute };
    let x = gpu.numbers(&[f32::NAN; 40], compute);
    let out = gpu.room(40, compute);
    points::dropout(&gpu, points, compute, [out, x], mask).unwrap();
    for (place, number) in gpu.run().numbers(out, compute).into_iter().enumerate() {
        assert_eq!(number.is_nan(), mask.factor(place as u64) > 0.0, "place {place}: {number}");
    }
}
