//! Norm, clipping and AdamW on the device: against the CPU's, and where they must do nothing.

use super::{STEP, assert_twin, exact};
use crate::AdamWStep;
use crate::adamw::Factors;
use crate::device::update::{Updated, adamw, clip, table};
use crate::emulator::{Emulator, Memory, rounded};
use crate::launch::{Address, Compute};
use crate::support::floats;

const F32: Compute = Compute::F32;

#[test]
fn emulated_norm_clips_what_is_too_long_and_stops_what_is_not_finite() {
    let [short, long] = [exact(33, 1, F32), exact(70_001, 2, F32)];
    let squares = short.iter().chain(&long).map(|&x| f64::from(x) * f64::from(x));
    let norm = squares.sum::<f64>().sqrt() as f32;
    let mut broken = long.clone();
    broken[70_000] = f32::NAN;
    for (second, limit, wanted) in [
        (&long, Some(1.0), 1.0 / norm),
        (&long, Some(1e6), 1.0),
        (&long, None, 1.0),
        (&broken, None, 0.0),
    ] {
        let Some(gpu) = Emulator::new() else { return };
        let out = gpu.room(2, F32);
        let gradients =
            [(gpu.numbers(&short, F32), short.len()), (gpu.numbers(second, F32), second.len())];
        clip(&gpu, out, &gradients, limit).unwrap();
        let found = gpu.run().numbers(out, F32);
        assert_eq!(found[0].is_nan(), wanted == 0.0);
        if wanted == 0.0 {
            assert_eq!(found[1], 0.0);
        } else {
            assert_twin("norm and factor", &found, &[norm, wanted], F32);
        }
    }
}

/// Runs an update of all tensors.
fn update(gpu: &Emulator, tensors: &[Updated], step: &AdamWStep, seed: u32) -> Memory {
    let table = table(tensors);
    let norm = gpu.numbers(&[1.0, step.gradient_scale], F32);
    let at = gpu.words(&table.words);
    adamw(gpu, (&table, at), norm, step.learning_rate, &Factors::new(step), seed).unwrap();
    gpu.run()
}

/// The state of one tensor: weights, gradient, first and second moment.
fn state(count: usize, seed: u64) -> [Vec<f32>; 4] {
    let [weights, gradient, first, second] = [0, 1, 2, 3].map(|at| exact(count, seed + at, F32));
    [weights, gradient, first, second.into_iter().map(f32::abs).collect()]
}

#[test]
fn emulated_adamw_updates_every_tensor_as_its_twin_does() {
    let Some(gpu) = Emulator::new() else { return };
    let states = [state(1, 1), state(8192, 10), state(9001, 20)];
    let mut tensors = Vec::new();
    for [weights, gradient, first, second] in &states {
        let at = |numbers: &[f32]| gpu.numbers(numbers, F32);
        tensors.push(Updated {
            master: Some(at(weights)),
            weights: Some(gpu.room(weights.len(), Compute::Bf16)),
            gradient: at(gradient),
            first: at(first),
            second: at(second),
            scales: None,
            count: weights.len(),
            weight_decay: STEP.weight_decay as f32,
        });
    }
    let memory = update(&gpu, &tensors, &STEP, 0);
    for (tensor, numbers) in tensors.iter().zip(&states) {
        let count = tensor.count;
        let all = numbers.each_ref().map(|numbers| {
            candle_core::Tensor::from_slice(numbers, count, &candle_core::Device::Cpu).unwrap()
        });
        let [weights, gradient, first, second] = &all;
        crate::adamw(weights, gradient, first, second, &STEP).unwrap();
        let check = |what: &str, at: Address, wanted: &[f32]| {
            assert_twin(&format!("adamw {what} {count}"), &memory.numbers(at, F32), wanted, F32);
        };
        check("weights", tensor.master.unwrap(), &floats(weights));
        check("first moment", tensor.first, &floats(first));
        check("second moment", tensor.second, &floats(second));
        let master = memory.numbers(tensor.master.unwrap(), F32);
        let wanted: Vec<f32> =
            master.iter().map(|&weight| rounded(weight, Compute::Bf16)).collect();
        assert_eq!(memory.numbers(tensor.weights.unwrap(), Compute::Bf16), wanted);
    }
}

#[test]
fn emulated_adamw_moves_nothing_when_the_gradient_is_not_finite() {
    let Some(gpu) = Emulator::new() else { return };
    let numbers = state(100, 1);
    let [master, gradient, first, second] =
        numbers.each_ref().map(|numbers| gpu.numbers(numbers, F32));
    let tensor = Updated {
        master: Some(master),
        weights: None,
        gradient,
        first,
        second,
        scales: None,
        count: 100,
        weight_decay: 0.1,
    };
    let table = table(&[tensor]);
    let norm = gpu.numbers(&[f32::NAN, 0.0], F32);
    let at = gpu.words(&table.words);
    adamw(&gpu, (&table, at), norm, 1e-2, &Factors::new(&STEP), 0).unwrap();
    let memory = gpu.run();
    for (at, wanted) in [(master, &numbers[0]), (first, &numbers[2]), (second, &numbers[3])] {
        assert_eq!(&memory.numbers(at, F32), wanted);
    }
}

/// Pure bf16: an update far below the last bit must still move the weights on average.
#[test]
fn emulated_rounding_by_chance_loses_nothing_on_average() {
    let Some(gpu) = Emulator::new() else { return };
    let count = 20_000;
    let at = |value: f32| gpu.numbers(&vec![value; count], F32);
    let weights = gpu.numbers(&vec![1.0; count], Compute::Bf16);
    let (gradient, first, second) = (at(1.0), at(1.0), at(1.0));
    let tensor = Updated {
        master: None,
        weights: Some(weights),
        gradient,
        first,
        second,
        scales: None,
        count,
        weight_decay: 0.0,
    };
    // Moments of a long constant gradient: a weight moves by the rate, a fifth of its last bit down.
    let step = AdamWStep { step: 100_000, gradient_scale: 1.0, ..STEP };
    let rate = 1e-3;
    let step = AdamWStep { learning_rate: rate, ..step };
    let found = update(&gpu, &[tensor], &step, 7).numbers(weights, Compute::Bf16);
    let below = 1.0 - 1.0 / 256.0;
    assert!(found.iter().all(|&weight| weight == 1.0 || weight == below));
    let mean = found.iter().map(|&weight| f64::from(weight)).sum::<f64>() / count as f64;
    // The standard error is 1.2e-5.
    assert!((mean - (1.0 - rate)).abs() < 6e-5, "{mean}");
}
