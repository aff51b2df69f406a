//! Whole operations of an optimizer's step and of the softened head, host side included, against the CPU's: needs
//! a real GPU, named by `ALBACORE_TEST_GPU` (an index), and says so where there is none.

use candle_core::{DType, Device, Tensor};

use super::assert_twin;
use crate::launch::Compute;
use crate::support::{floats, numbers, tensor};
use crate::{
    AdafactorState, AdafactorStep, Factored, Parameter, Recompute, Softening, StateNumbers, Tape,
    clip_and_adafactor, softened_logprob,
};

fn gpu() -> Option<Device> {
    let Ok(index) = std::env::var("ALBACORE_TEST_GPU") else {
        eprintln!("skipped: ALBACORE_TEST_GPU names no GPU");
        return None;
    };
    Some(crate::gpu(index.parse().unwrap()).unwrap())
}

fn on_cpu(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap();
    floats(&tensor.flatten_all().unwrap())
}

/// Three tensors, the middle one part of another.
fn factored(device: &Device) -> Vec<Factored> {
    let shapes = [vec![130, 257], vec![7, 9], vec![300]];
    let tensors = shapes.into_iter().enumerate().map(|(number, shape)| {
        let [weights, gradient] = [1, 2].map(|seed| {
            let whole = tensor(shape.as_slice(), seed).to_device(device).unwrap();
            if number == 1 { whole.narrow(0, 1, 5).unwrap() } else { whole }
        });
        let rounded = (!device.is_cpu()).then(|| weights.to_dtype(DType::BF16).unwrap());
        let state = AdafactorState::zeros(&weights, 5, true).unwrap();
        Factored { weights, rounded, gradient, state, weight_decay: 0.1 }
    });
    tensors.collect()
}

fn update(tensors: &[Factored], step: u64) -> f64 {
    let step = AdafactorStep {
        step,
        learning_rate: 0.05,
        decay_rate: 0.8,
        epsilons: (1e-30, 1e-3),
        clip_threshold: 1.0,
        scale_parameter: true,
        momentum: 0.9,
        weight_decay: 0.0,
        gradient_scale: 1.0,
    };
    clip_and_adafactor(tensors, &step, 1.0).unwrap().get().unwrap()
}

#[test]
fn adafactor_on_a_gpu_is_the_cpus_and_takes_over_its_state() {
    let Some(device) = gpu() else { return };
    let [cpu, gpu] = [&Device::Cpu, &device].map(factored);
    for step in 1..=3 {
        let [wanted, found] = [&cpu, &gpu].map(|tensors| update(tensors, step));
        assert!((found / wanted - 1.0).abs() < 1e-5, "norm {found}, wanted {wanted}");
    }
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        let what = |name: &str| format!("whole adafactor {name} {:?}", cpu.weights.dims());
        let f32 = Compute::F32;
        assert_twin(&what("weights"), &on_cpu(&gpu.weights), &floats(&cpu.weights), f32);
        let rounded = on_cpu(gpu.rounded.as_ref().unwrap());
        assert_twin(&what("rounded"), &rounded, &floats(&cpu.weights), Compute::Bf16);
        for ((name, ours), (_, theirs)) in cpu.state.buffers().into_iter().zip(gpu.state.buffers())
        {
            let wanted = floats(ours.tensor().unwrap());
            let check = |found: StateNumbers<'_>| match found {
                StateNumbers::F32(found) => assert_twin(&what(name), found, &wanted, f32),
                StateNumbers::Codes(_) => panic!("its state is f32"),
            };
            theirs.read(check).unwrap();
            // As a checkpoint of the one is loaded by the other.
            theirs.overwrite(StateNumbers::F32(&wanted)).unwrap();
        }
    }
    let [wanted, found] = [&cpu, &gpu].map(|tensors| update(tensors, 4));
    assert!((found / wanted - 1.0).abs() < 1e-5, "norm {found}, wanted {wanted}");
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        let (found, wanted) = (on_cpu(&gpu.weights), floats(&cpu.weights));
        assert_twin("whole adafactor resumed", &found, &wanted, Compute::F32);
    }
}

#[test]
fn adafactor_on_a_gpu_moves_nothing_when_a_gradient_is_not_finite() {
    let Some(device) = gpu() else { return };
    let mut tensors = factored(&device);
    let before: Vec<_> = tensors.iter().map(|tensor| on_cpu(&tensor.weights)).collect();
    tensors[2].gradient = (&tensors[2].gradient * f64::INFINITY).unwrap();
    assert!(!update(&tensors, 1).is_finite());
    let after: Vec<_> = tensors.iter().map(|tensor| on_cpu(&tensor.weights)).collect();
    assert!(after == before);
}

/// Softened log-probabilities, those behind them, log-sums, and the gradients of `hidden` and of the weight.
fn head(device: &Device, dtype: DType, ahead: bool, soft: Softening) -> Vec<Vec<f32>> {
    let (rows, words, channels) = (150, 1003, 32);
    // As bf16 holds them, so that both start from the same.
    let exact = |shape: (usize, usize), seed| {
        let half = tensor(shape, seed).to_dtype(DType::BF16).unwrap();
        half.to_dtype(DType::F32).unwrap()
    };
    let mut weight = Parameter::single("weight", exact((words, channels), 2));
    weight.place(device, dtype, false).unwrap();
    let hidden = exact((rows, channels), 1).to_device(device).unwrap().to_dtype(dtype).unwrap();
    let targets: Vec<u32> = (0..rows).map(|row| (row * 31 % words) as u32).collect();
    let seeds = numbers(rows, 3);
    let mut tape = Tape::recording(Recompute::None);
    let leaf = tape.leaf(hidden);
    let known = ahead.then(|| seeds.clone());
    let found = softened_logprob(&mut tape, &leaf, &weight, &targets, known, soft).unwrap();
    let seed = Tensor::from_vec(seeds, rows, device).unwrap();
    let softened = on_cpu(found.softened.tensor());
    let slots = tape.backward(&found.softened, seed).unwrap();
    let d_hidden = on_cpu(slots.of(&leaf).unwrap());
    let part = weight.parts()[0].clone();
    let d_weight = on_cpu(&weight.part_gradient(&part).unwrap().unwrap());
    let behind = [found.logprobs, found.log_sums].map(|numbers| numbers.get().unwrap());
    [vec![softened], behind.to_vec(), vec![d_hidden, d_weight]].concat()
}

#[test]
fn a_softened_head_on_a_gpu_is_the_cpus_and_tells_what_is_behind() {
    let Some(device) = gpu() else { return };
    let soft = Softening { label_smoothing: 0.1, z_loss: 0.01 };
    for (compute, dtype) in [(Compute::F32, DType::F32), (Compute::Bf16, DType::BF16)] {
        for ahead in [false, true] {
            let wanted = head(&Device::Cpu, DType::F32, ahead, soft);
            let found = head(&device, dtype, ahead, soft);
            let names = ["softened", "logprobs", "log-sums", "d_hidden", "d_weight"];
            for (name, (found, wanted)) in names.into_iter().zip(found.iter().zip(&wanted)) {
                assert_twin(&format!("whole head {name}"), found, wanted, compute);
            }
        }
    }
}
