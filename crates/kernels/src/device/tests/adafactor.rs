//! Adafactor on the device: against the CPU's, and where it must do nothing.

use candle_core::{Device, Tensor};

use super::{assert_twin, exact};
use crate::device::adafactor::{Second, Updated, adafactor};
use crate::emulator::{Emulator, Memory, rounded};
use crate::launch::{Address, Compute};
use crate::support::floats;
use crate::{AdafactorState, AdafactorStep};

const F32: Compute = Compute::F32;
const BF16: Compute = Compute::Bf16;

/// Updates one after the other.
const STEPS: u64 = 3;

const STEP: AdafactorStep = AdafactorStep {
    step: 1,
    learning_rate: 0.05,
    decay_rate: 0.8,
    epsilons: (1e-30, 1e-3),
    clip_threshold: 1.0,
    scale_parameter: true,
    momentum: 0.9,
    weight_decay: 0.1,
    gradient_scale: 0.5,
};

/// A tensor, how it is kept, and how far behind a multiple of 16 bytes it lies.
#[derive(Clone, Copy)]
struct Case {
    dims: &'static [usize],
    factor_from: usize,
    momentum: bool,
    offset: usize,
}

impl Case {
    fn count(self) -> usize {
        self.dims.iter().product()
    }

    /// Its weights, or those of a gradient of this seed, as bf16 holds them.
    fn numbers(self, seed: u64) -> Vec<f32> {
        exact(self.count(), seed, BF16)
    }

    fn tensor(self, numbers: &[f32]) -> Tensor {
        Tensor::from_slice(numbers, self.dims, &Device::Cpu).unwrap()
    }

    /// Its weights and everything kept after all steps on the CPU, by name.
    fn twin(self, step: &AdafactorStep) -> Vec<(&'static str, Vec<f32>)> {
        let weights = self.tensor(&self.numbers(1));
        let state = AdafactorState::zeros(&weights, self.factor_from, self.momentum).unwrap();
        for number in 1..=STEPS {
            let gradient = self.tensor(&self.numbers(10 + number));
            let step = AdafactorStep { step: number, ..*step };
            crate::adafactor(&weights, &gradient, &state, &step).unwrap();
        }
        let kept = state.buffers().into_iter();
        let kept = kept.map(|(name, buffer)| (name, floats(buffer.tensor().unwrap())));
        [("weights", floats(&weights))].into_iter().chain(kept).collect()
    }

    /// The same on a GPU before the first step; bf16 `alone` has no master.
    fn upload(self, gpu: &Emulator, step: &AdafactorStep, alone: bool) -> OnGpu {
        let behind = |numbers: &[f32], compute: Compute| {
            let at = gpu.numbers(&[&vec![0.0; self.offset], numbers].concat(), compute);
            at.after(self.offset, compute.size())
        };
        let zeros = |count: usize| (gpu.numbers(&vec![0.0; count], F32), count);
        let second = match *self.dims {
            [rows, columns] if rows.min(columns) >= self.factor_from => {
                Second::Factored { rows: zeros(rows), columns: zeros(columns) }
            }
            _ => Second::Full(zeros(self.count()).0, self.count()),
        };
        let weights = self.numbers(1);
        let tensor = Updated {
            master: (!alone).then(|| behind(&weights, F32)),
            weights: Some(behind(&weights, BF16)),
            gradient: Address(0),
            first: self.momentum.then(|| zeros(self.count()).0),
            second,
            weight_decay: step.weight_decay as f32,
        };
        let gradients = (1..=STEPS).map(|number| behind(&self.numbers(10 + number), F32)).collect();
        OnGpu { tensor, gradients }
    }
}

struct OnGpu {
    tensor: Updated,
    /// Of each step.
    gradients: Vec<Address>,
}

/// Runs all steps over all tensors.
fn run(gpu: &Emulator, tensors: &[OnGpu], step: &AdafactorStep, seed: u32) -> Memory {
    let norm = gpu.numbers(&[1.0, step.gradient_scale], F32);
    for number in 1..=STEPS {
        let tensors = tensors.iter().map(|on_gpu| {
            let gradient = on_gpu.gradients[number as usize - 1];
            Updated { gradient, ..on_gpu.tensor }
        });
        let step = AdafactorStep { step: number, ..*step };
        adafactor(gpu, &tensors.collect::<Vec<_>>(), norm, &step, seed).unwrap();
    }
    gpu.run()
}

/// One number, a vector, matrices of one tile and of more, tall, wide, empty and misplaced ones.
fn small_cases() -> Vec<Case> {
    let case = |dims, factor_from, momentum| Case { dims, factor_from, momentum, offset: 0 };
    let vectors: [&[usize]; 3] = [&[], &[7], &[3, 4, 5]];
    let matrices: [&[usize]; 6] = [&[1, 1], &[3, 5], &[0, 5], &[40, 33], &[600, 3], &[2, 1100]];
    let ways = [(1, false), (1, true), (10_000, false), (10_000, true)];
    let vectors = vectors.iter().flat_map(|dims| [case(dims, 1, false), case(dims, 1, true)]);
    let matrices = matrices
        .iter()
        .flat_map(|dims| ways.map(|(factor_from, momentum)| case(dims, factor_from, momentum)));
    let misplaced = Case { offset: 1, ..case(&[9, 12], 1, true) };
    let unfactored = Case { offset: 3, ..case(&[9, 12], 100, false) };
    vectors.chain(matrices).chain([misplaced, unfactored]).collect()
}

/// A matrix of two by two tiles, and a vector of more than one.
fn large_cases() -> Vec<Case> {
    let dims: [&[usize]; 2] = [&[300, 260], &[65_536 + 300]];
    dims.map(|dims| Case { dims, factor_from: 1, momentum: true, offset: 0 }).to_vec()
}

#[test]
fn emulated_adafactor_updates_every_tensor_as_its_twin_does() {
    let unscaled = AdafactorStep {
        scale_parameter: false,
        clip_threshold: 0.3,
        learning_rate: 0.01,
        weight_decay: 0.0,
        ..STEP
    };
    let all = [small_cases(), large_cases()].concat();
    for (step, cases) in [(STEP, all), (unscaled, small_cases())] {
        let Some(gpu) = Emulator::new() else { return };
        let tensors: Vec<_> = cases.iter().map(|case| case.upload(&gpu, &step, false)).collect();
        let memory = run(&gpu, &tensors, &step, 0);
        for (case, OnGpu { tensor, .. }) in cases.iter().zip(&tensors) {
            let found = |name: &str| match (name, tensor.second) {
                ("weights", _) => tensor.master.unwrap(),
                ("m", _) => tensor.first.unwrap(),
                ("v_row", Second::Factored { rows, .. }) => rows.0,
                ("v_col", Second::Factored { columns, .. }) => columns.0,
                ("v", Second::Full(at, _)) => at,
                other => panic!("{other:?}"),
            };
            for (name, wanted) in case.twin(&step) {
                let what = format!("adafactor {name} {:?}", case.dims);
                assert_twin(&what, &memory.numbers(found(name), F32), &wanted, F32);
            }
            let masters = memory.numbers(tensor.master.unwrap(), F32);
            let wanted: Vec<f32> = masters.iter().map(|&weight| rounded(weight, BF16)).collect();
            assert_eq!(memory.numbers(tensor.weights.unwrap(), BF16), wanted);
        }
    }
}

#[test]
fn emulated_adafactor_moves_nothing_when_the_gradient_is_not_finite() {
    let Some(gpu) = Emulator::new() else { return };
    let matrix = Case { dims: &[30, 20], factor_from: 1, momentum: true, offset: 0 };
    let cases = [matrix, Case { dims: &[300], ..matrix }];
    let tensors: Vec<_> = cases.iter().map(|case| case.upload(&gpu, &STEP, false)).collect();
    let stopped = AdafactorStep { gradient_scale: 0.0, ..STEP };
    let memory = run(&gpu, &tensors, &stopped, 0);
    for (case, OnGpu { tensor, .. }) in cases.iter().zip(&tensors) {
        assert_eq!(memory.numbers(tensor.master.unwrap(), F32), case.numbers(1));
        let kept = match tensor.second {
            Second::Factored { rows, columns } => vec![rows.0, columns.0],
            Second::Full(at, _) => vec![at],
        };
        for at in kept.into_iter().chain(tensor.first) {
            assert!(memory.numbers(at, F32).iter().all(|number| *number == 0.0));
        }
    }
}

/// A row of the embedding that no token has reached has a gradient of zero.
#[test]
fn emulated_adafactor_leaves_a_row_without_gradient_and_makes_nothing_infinite() {
    let Some(gpu) = Emulator::new() else { return };
    let matrix = Case { dims: &[3, 4], factor_from: 1, momentum: false, offset: 0 };
    let step = AdafactorStep { weight_decay: 0.0, ..STEP };
    let mut on_gpu = matrix.upload(&gpu, &step, false);
    let mut gradient = matrix.numbers(2);
    gradient[4..8].fill(0.0);
    on_gpu.gradients = vec![gpu.numbers(&gradient, F32); STEPS as usize];
    let master = on_gpu.tensor.master.unwrap();
    let found = run(&gpu, &[on_gpu], &step, 0).numbers(master, F32);
    let before = matrix.numbers(1);
    assert!(found.iter().all(|weight| weight.is_finite()));
    assert_eq!(found[4..8], before[4..8]);
    assert!(found[..4].iter().zip(&before).all(|(after, before)| after != before));
}

/// bf16 weights that start from the same numbers as masters go, in one step, to one of the two neighbours of where
/// the masters go; which, the step and the tensor say.
#[test]
fn emulated_pure_bf16_weights_go_to_a_neighbour_of_their_masters_under_adafactor() {
    let matrix = Case { dims: &[70, 60], factor_from: 1, momentum: false, offset: 0 };
    let once = |seed| {
        let gpu = Emulator::new()?;
        let [alone, master] = [true, false].map(|alone| matrix.upload(&gpu, &STEP, alone));
        let tensors = [&alone, &master]
            .map(|on_gpu| Updated { gradient: on_gpu.gradients[0], ..on_gpu.tensor });
        let norm = gpu.numbers(&[1.0, STEP.gradient_scale], F32);
        adafactor(&gpu, &tensors, norm, &STEP, seed).unwrap();
        let memory = gpu.run();
        let found = memory.numbers(alone.tensor.weights.unwrap(), BF16);
        Some([found, memory.numbers(master.tensor.master.unwrap(), F32)])
    };
    let Some([found, wanted]) = once(3) else { return };
    let mut up = 0;
    for (found, wanted) in found.iter().zip(wanted) {
        let low = f32::from_bits(wanted.to_bits() & 0xffff_0000);
        let high = f32::from_bits((wanted.to_bits() & 0xffff_0000) + 0x1_0000);
        let is_high = *found == high && wanted != low;
        assert!(*found == low || is_high, "{found} for {wanted}");
        up += usize::from(is_high);
    }
    let count = matrix.count();
    assert!(up > count / 4 && up < 3 * count / 4, "{up} of {count} away from zero");
    assert!(once(3).unwrap()[0] == found);
    let other = once(4).unwrap()[0].iter().zip(&found).filter(|(a, b)| a != b).count();
    assert!(other > count / 6, "{other} of {count} are rounded otherwise at another step");
}
