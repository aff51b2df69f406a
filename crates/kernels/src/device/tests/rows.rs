//! The kernels that work row by row, against the operations of the CPU.

use candle_core::{Device, Tensor};

use super::{BOTH, assert_twin, exact};
use crate::device::rows::{self, Rows, Segments};
use crate::emulator::Emulator;
use crate::launch::{Compute, Gpu};
use crate::support::passes;
use crate::{Angles, Heads, Parameter};

pub(super) const SIZES: [(usize, usize); 4] = [(1, 1), (3, 33), (130, 40), (5, 264)];

pub(super) fn matrix(numbers: &[f32], columns: usize) -> Tensor {
    Tensor::from_slice(numbers, (numbers.len() / columns, columns), &Device::Cpu).unwrap()
}

/// `base + change`, as a kernel that accumulates leaves it.
pub(super) fn plus(base: &[f32], change: &[f32]) -> Vec<f32> {
    base.iter().zip(change).map(|(base, change)| base + change).collect()
}

#[test]
fn emulated_rms_norm_is_its_twin() {
    for (compute, (rows, columns)) in
        BOTH.into_iter().flat_map(|compute| SIZES.map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let [x, gradient, base] = [1, 2, 3].map(|seed| exact(rows * columns, seed, compute));
        let weight = exact(columns, 4, compute);
        let parameter = Parameter::single(
            "weight",
            Tensor::from_slice(&weight, columns, &Device::Cpu).unwrap(),
        );
        let wanted = passes(&[matrix(&x, columns)], &[&parameter], &gradient, |tape, leaves| {
            crate::rms_norm(tape, &leaves[0], &parameter, 1e-5)
        });
        let shape = Rows { rows, columns, compute };
        let (out, inverse_rms) = (gpu.room(rows * columns, compute), gpu.room(rows, Compute::F32));
        let [x, gradient, sum, added] =
            [&x, &gradient, &x, &base].map(|numbers| gpu.numbers(numbers, compute));
        let weight = gpu.numbers(&weight, compute);
        let d_weight = gpu.room(columns, Compute::F32);
        rows::rms_norm_forward(&gpu, shape, compute, [out, inverse_rms, x, weight], 1e-5).unwrap();
        rows::rms_norm_backward(
            &gpu,
            shape,
            compute,
            [sum, gradient, x, weight, inverse_rms],
            false,
        )
        .unwrap();
        rows::rms_norm_backward(
            &gpu,
            shape,
            compute,
            [added, gradient, x, weight, inverse_rms],
            true,
        )
        .unwrap();
        rows::rms_norm_weight_gradient(
            &gpu,
            shape,
            compute,
            [d_weight, gradient, x, inverse_rms],
            false,
        )
        .unwrap();
        let memory = gpu.run();
        let what = |part: &str| format!("rms_norm {part} {rows}x{columns}");
        assert_twin(&what("forward"), &memory.numbers(out, compute), &wanted.output, compute);
        if columns > 1 {
            // One channel normalised is ±1: its gradient is all rounding.
            let d_x = &wanted.gradients[0];
            assert_twin(&what("backward"), &memory.numbers(sum, compute), d_x, compute);
            let added = memory.numbers(added, compute);
            assert_twin(&what("backward, added"), &added, &plus(&base, d_x), compute);
        }
        let d_weight = memory.numbers(d_weight, Compute::F32);
        assert_twin(&what("weight gradient"), &d_weight, &wanted.gradients[1], compute);
    }
}

#[test]
fn emulated_rope_is_its_twin_both_ways() {
    for (compute, (tokens, query, key_value, width)) in BOTH.into_iter().flat_map(|compute| {
        [(1, 1, 1, 2), (3, 4, 2, 6), (70, 9, 3, 64)].map(|size| (compute, size))
    }) {
        let Some(gpu) = Emulator::new() else { return };
        let heads = Heads { query, key_value, width };
        let half = width / 2;
        let angle = |index: usize| (index as f32 * 0.37).sin() * 3.0;
        let cosine: Vec<f32> = (0..9 * half).map(|index| angle(index).cos()).collect();
        let sine: Vec<f32> = (0..9 * half).map(|index| angle(index).sin()).collect();
        let angles = Angles::new(cosine.clone(), sine.clone(), half).unwrap();
        let positions: Vec<u32> = (0..tokens as u32).map(|token| token * 7 % 9).collect();
        let given = crate::Positions::from(positions.clone());
        let [qkv, gradient] = [1, 2].map(|seed| exact(tokens * heads.channels(), seed, compute));
        let wanted = passes(&[matrix(&qkv, heads.channels())], &[], &gradient, |tape, leaves| {
            crate::rope(tape, leaves[0].clone(), heads, &angles, &given)
        });
        let shape = Rows { rows: tokens, columns: heads.channels(), compute };
        let [qkv, gradient] = [&qkv, &gradient].map(|numbers| gpu.numbers(numbers, compute));
        let [cosine, sine] = [&cosine, &sine].map(|table| gpu.numbers(table, Compute::F32));
        let positions = gpu.words(&positions);
        let turning = query + key_value;
        rows::rope(&gpu, shape, [qkv, cosine, sine, positions], turning, half, 1.0).unwrap();
        rows::rope(&gpu, shape, [gradient, cosine, sine, positions], turning, half, -1.0).unwrap();
        let memory = gpu.run();
        let what = |part: &str| format!("rope {part} {tokens}x{query}/{key_value}x{width}");
        assert_twin(&what("forward"), &memory.numbers(qkv, compute), &wanted.output, compute);
        let found = memory.numbers(gradient, compute);
        assert_twin(&what("backward"), &found, &wanted.gradients[0], compute);
    }
}

#[test]
fn emulated_gather_and_scatter_are_their_twins() {
    for (compute, (positions, columns)) in
        BOTH.into_iter().flat_map(|compute| SIZES.map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let rows = 7;
        let table = exact(rows * columns, 1, compute);
        let gradient = exact(positions * columns, 2, compute);
        let indices: Vec<u32> = (0..positions as u32).map(|position| position * 5 % 6).collect();
        let parameter = Parameter::single("weight", matrix(&table, columns));
        let wanted = passes(&[], &[&parameter], &gradient, |tape, _| {
            crate::embedding(tape, &parameter, &indices)
        });
        let shape = Rows { rows: positions, columns, compute };
        let out = gpu.room(positions * columns, compute);
        let [table, gradient] = [&table, &gradient].map(|numbers| gpu.numbers(numbers, compute));
        let to_weight = gpu.room(rows * columns, Compute::F32);
        let to_activation = gpu.room(rows * columns, compute);
        gpu.zero(to_weight, rows * columns * 4).unwrap();
        gpu.zero(to_activation, rows * columns * compute.size()).unwrap();
        rows::gather(&gpu, shape, compute, [out, table, gpu.words(&indices)]).unwrap();
        let segments = Segments::new(&indices, 0..rows);
        rows::scatter(&gpu, shape, [to_weight, gradient], &segments, true).unwrap();
        rows::scatter(&gpu, shape, [to_activation, gradient], &segments, false).unwrap();
        let memory = gpu.run();
        let what = |part: &str| format!("{part} {positions}x{columns}");
        assert_twin(&what("gather"), &memory.numbers(out, compute), &wanted.output, compute);
        let d_table = &wanted.gradients[0];
        let found = memory.numbers(to_weight, Compute::F32);
        assert_twin(&what("scatter to weight"), &found, d_table, compute);
        let found = memory.numbers(to_activation, compute);
        assert_twin(&what("scatter"), &found, d_table, compute);
    }
}

#[test]
fn emulated_sums_are_plain_ones() {
    for (compute, count) in
        BOTH.into_iter().flat_map(|compute| [1, 33, 5003].map(|count| (compute, count)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let [a, b] = [1, 2].map(|seed| exact(count, seed, compute));
        let [at_a, at_b] = [&a, &b].map(|numbers| gpu.numbers(numbers, compute));
        let out = gpu.room(count, compute);
        rows::add(&gpu, compute, [out, at_a, at_b], count).unwrap();
        rows::add(&gpu, compute, [at_a, at_a, at_b], count).unwrap();
        let memory = gpu.run();
        let wanted = plus(&a, &b);
        assert_twin(&format!("add {count}"), &memory.numbers(out, compute), &wanted, compute);
        assert_eq!(memory.numbers(out, compute), memory.numbers(at_a, compute), "in place");
    }
}

#[test]
fn emulated_biases_are_added_to_each_row() {
    for (compute, (rows, columns)) in
        BOTH.into_iter().flat_map(|compute| SIZES.map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let (x, bias) = (exact(rows * columns, 1, compute), exact(columns, 2, compute));
        let wanted: Vec<f32> = x.chunks(columns).flat_map(|row| plus(row, &bias)).collect();
        let [at, bias] = [&x, &bias].map(|numbers| gpu.numbers(numbers, compute));
        rows::add_bias(&gpu, Rows { rows, columns, compute }, [at, bias]).unwrap();
        let found = gpu.run().numbers(at, compute);
        assert_twin(&format!("add bias {rows}x{columns}"), &found, &wanted, compute);
    }
}

#[test]
fn emulated_column_sums_are_a_bias_gradient() {
    for (compute, (rows, columns)) in
        BOTH.into_iter().flat_map(|compute| SIZES.map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let x = exact(rows * columns, 1, compute);
        let wanted: Vec<f32> = (0..columns)
            .map(|column| {
                x[column..].iter().step_by(columns).map(|&x| f64::from(x)).sum::<f64>() as f32
            })
            .collect();
        let shape = Rows { rows, columns, compute };
        let sum = gpu.numbers(&vec![1.0; columns], Compute::F32);
        let at = gpu.numbers(&x, compute);
        rows::column_sums(&gpu, shape, columns, [sum, at], true).unwrap();
        let found = gpu.run().numbers(sum, Compute::F32);
        let wanted: Vec<f32> = wanted.iter().map(|sum| sum + 1.0).collect();
        assert_twin(&format!("column sums {rows}x{columns}"), &found, &wanted, compute);
    }
}
