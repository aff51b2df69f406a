//! State in page-locked memory of the host against the same on the GPU: needs a real one, named by
//! `ALBACORE_TEST_GPU` (an index), and says so where there is none.

use candle_core::{DType, Device, Tensor};

use crate::support::tensor;
use crate::{AdamWStep, Moments, StateKind, StateNumbers, Trained, clip_and_update, storage};

/// Two tensors after three updates: the weights, and every buffer of the state.
fn run(device: &Device, kind: StateKind, pure: bool, offload: bool) -> Vec<Vec<u8>> {
    let on_gpu = |shape: (usize, usize), seed| tensor(shape, seed).to_device(device).unwrap();
    let tensors = [(129, 257), (7, 9)].map(|shape| {
        let whole = on_gpu(shape, 1);
        let half = whole.to_dtype(DType::BF16).unwrap();
        let (weights, rounded) = if pure { (half, None) } else { (whole, Some(half)) };
        let moments = Moments::zeros(&weights, kind, offload).unwrap();
        Trained { gradient: on_gpu(shape, 2), weights, rounded, moments, weight_decay: 0.1 }
    });
    for step in 1..=3 {
        let step = AdamWStep {
            step,
            learning_rate: 1e-2,
            betas: (0.9, 0.95),
            epsilon: 1e-8,
            weight_decay: 0.0,
            gradient_scale: 1.0,
        };
        clip_and_update(&tensors, &step, 1.0).unwrap();
    }
    let bytes = |numbers: StateNumbers<'_>| match numbers {
        StateNumbers::F32(numbers) => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        StateNumbers::Codes(codes) => codes.to_vec(),
    };
    let weights = |weights: &Tensor| {
        let weights = storage::to_vec(&weights.to_dtype(DType::F32).unwrap()).unwrap();
        weights.into_iter().flat_map(f32::to_le_bytes).collect()
    };
    let all = tensors.iter().flat_map(|tensor| {
        let buffers = tensor.moments.buffers().into_iter();
        // As a checkpoint's writer does, from another thread.
        let read = buffers.map(|(_, buffer)| {
            std::thread::scope(|scope| scope.spawn(|| buffer.read(bytes).unwrap()).join().unwrap())
        });
        read.chain([weights(&tensor.weights)]).collect::<Vec<Vec<u8>>>()
    });
    all.collect()
}

#[test]
fn offloaded_state_gives_the_bits_of_state_on_the_gpu() {
    let Ok(index) = std::env::var("ALBACORE_TEST_GPU") else {
        eprintln!("skipped: ALBACORE_TEST_GPU names no GPU");
        return;
    };
    let device = crate::gpu(index.parse().unwrap()).unwrap();
    for kind in [StateKind::F32, StateKind::Int8] {
        for pure in [false, true] {
            let [near, far] = [false, true].map(|offload| run(&device, kind, pure, offload));
            assert!(near == far, "{kind:?}, weights in bf16 alone: {pure}");
            assert!(near.iter().all(|bytes| bytes.iter().any(|&byte| byte != 0)));
        }
    }
}

#[test]
fn offloaded_numbers_are_those_that_were_loaded() {
    let Ok(index) = std::env::var("ALBACORE_TEST_GPU") else {
        eprintln!("skipped: ALBACORE_TEST_GPU names no GPU");
        return;
    };
    let device = crate::gpu(index.parse().unwrap()).unwrap();
    let weights = tensor((64, 65), 1).to_device(&device).unwrap();
    for offload in [false, true] {
        let moments = Moments::zeros(&weights, StateKind::Int8, offload).unwrap();
        for (_, buffer) in moments.buffers() {
            let codes: Vec<u8> = (0..buffer.count()).map(|at| (at % 251) as u8).collect();
            let floats: Vec<f32> = codes.iter().map(|&code| f32::from(code) / 3.0).collect();
            let numbers = match buffer.is_codes() {
                true => StateNumbers::Codes(&codes),
                false => StateNumbers::F32(&floats),
            };
            buffer.overwrite(numbers).unwrap();
            buffer.read(|found| assert_eq!(found, numbers)).unwrap();
        }
    }
}
