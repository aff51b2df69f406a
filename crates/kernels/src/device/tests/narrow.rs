//! AdamW over moments in 8 bits, and over weights that are bf16 alone, against the CPU's.

use candle_core::{DType, Device, Tensor};

use super::{STEP, assert_twin, exact};
use crate::adamw::Factors;
use crate::device::update::{Updated, adamw, table};
use crate::dynamic_map::{BLOCK, DynamicMap, SIGNED, UNSIGNED};
use crate::emulator::{Emulator, Memory, rounded};
use crate::launch::{Address, Compute};
use crate::state::{Coded, StateBuffer};
use crate::support::{floats, numbers};
use crate::{StateNumbers, adamw_int8};

const F32: Compute = Compute::F32;
const BF16: Compute = Compute::Bf16;

/// Codes and scales of a moment.
#[derive(Clone)]
struct Narrow {
    codes: Vec<u8>,
    scales: Vec<f32>,
}

impl Narrow {
    fn new(numbers: &[f32], map: &DynamicMap) -> Self {
        let mut codes = vec![0; numbers.len()];
        let blocks = numbers.chunks(BLOCK).zip(codes.chunks_mut(BLOCK));
        let scales = blocks.map(|(numbers, codes)| map.narrow(numbers, codes)).collect();
        Self { codes, scales }
    }

    fn widened(&self, map: &DynamicMap) -> Vec<f32> {
        let mut numbers = vec![0.0; self.codes.len()];
        let blocks = numbers.chunks_mut(BLOCK).zip(self.codes.chunks(BLOCK)).zip(&self.scales);
        blocks.for_each(|((numbers, codes), scale)| map.widen(codes, *scale, numbers));
        numbers
    }

    /// The same in the CPU's memory.
    fn coded(&self) -> Coded {
        let zeros = |len, dtype| StateBuffer::zeros(&[len], dtype, &Device::Cpu, false).unwrap();
        let codes = zeros(self.codes.len(), DType::U8);
        let scales = zeros(self.scales.len(), DType::F32);
        codes.overwrite(StateNumbers::Codes(&self.codes)).unwrap();
        scales.overwrite(StateNumbers::F32(&self.scales)).unwrap();
        Coded { codes, scales }
    }
}

fn vector(numbers: &[f32]) -> Tensor {
    Tensor::from_slice(numbers, numbers.len(), &Device::Cpu).unwrap()
}

/// What one tensor starts from.
struct State {
    weights: Vec<f32>,
    gradient: Vec<f32>,
    first: Narrow,
    second: Narrow,
}

impl State {
    /// Numbers over several decades, as gradients are.
    fn new(count: usize, seed: u64) -> Self {
        let some = |at: u64| numbers(count, seed + at).into_iter().map(|number| number.powi(5));
        Self {
            weights: exact(count, seed, BF16),
            gradient: some(1).collect(),
            first: Narrow::new(&some(2).collect::<Vec<_>>(), &SIGNED),
            second: Narrow::new(
                &some(3).map(|number| number * number).collect::<Vec<_>>(),
                &UNSIGNED,
            ),
        }
    }
}

/// A tensor on the device, whose weights and gradient begin so many numbers into their buffers.
fn upload(gpu: &Emulator, state: &State, offset: usize, pure: bool) -> Updated {
    let shifted = |numbers: &[f32], compute: Compute| {
        let held = [&vec![0.0; offset], numbers].concat();
        gpu.numbers(&held, compute).after(offset, compute.size())
    };
    Updated {
        master: (!pure).then(|| shifted(&state.weights, F32)),
        weights: Some(shifted(&state.weights, BF16)),
        gradient: shifted(&state.gradient, F32),
        first: gpu.bytes(&state.first.codes),
        second: gpu.bytes(&state.second.codes),
        scales: Some([&state.first, &state.second].map(|moment| gpu.numbers(&moment.scales, F32))),
        count: state.weights.len(),
        weight_decay: STEP.weight_decay as f32,
    }
}

fn update(gpu: &Emulator, tensors: &[Updated], factor: f32, seed: u32) -> Memory {
    let table = table(tensors);
    let norm = gpu.numbers(&[1.0, factor], F32);
    let at = gpu.words(&table.words);
    adamw(gpu, (&table, at), norm, STEP.learning_rate, &Factors::new(&STEP), seed).unwrap();
    gpu.run()
}

/// Codes are equal, but where a number lies so close to the midpoint of two shares that its last bits
/// decide. Prints how many those are.
fn assert_codes(what: &str, found: &[u8], wanted: &[u8], exact: &[f32], map: &DynamicMap) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let mut decided = 0;
    let blocks = found.chunks(BLOCK).zip(wanted.chunks(BLOCK)).zip(exact.chunks(BLOCK));
    for ((found, wanted), exact) in blocks {
        let scale = exact.iter().fold(0f32, |most, number| most.max(number.abs()));
        for ((&found, &wanted), exact) in found.iter().zip(wanted).zip(exact) {
            if found == wanted {
                continue;
            }
            decided += 1;
            assert_eq!(found.abs_diff(wanted), 1, "{what}");
            let midpoint = map.midpoints[usize::from(found.min(wanted))];
            // Ten operations in f32, each rounded to 6e-8.
            let off = (exact / scale / midpoint - 1.0).abs();
            assert!(off < 1e-6, "{what}: {exact} is {off:e} from the midpoint");
        }
    }
    println!("emulated {what} f32: {decided} of {} codes decided by rounding", found.len());
}

/// Several tensors at once, those of f32 moments between them; odd sizes, and rows of a tensor that
/// begin anywhere.
#[test]
fn emulated_adamw_in_8_bits_updates_every_tensor_as_its_twin_does() {
    let Some(gpu) = Emulator::new() else { return };
    let counts = [(1, 0), (33, 0), (256, 1), (8192 + 256, 0), (9001, 3)];
    let states: Vec<_> =
        counts.iter().zip(1..).map(|(&(count, _), seed)| State::new(count, 10 * seed)).collect();
    let mut tensors: Vec<_> = states
        .iter()
        .zip(counts)
        .map(|(state, (_, offset))| upload(&gpu, state, offset, false))
        .collect();
    let zeros = || gpu.numbers(&[0.0; 70], F32);
    let wide = Updated {
        master: Some(gpu.numbers(&[1.0; 70], F32)),
        weights: None,
        gradient: gpu.numbers(&[2.0; 70], F32),
        first: zeros(),
        second: zeros(),
        scales: None,
        count: 70,
        weight_decay: 0.0,
    };
    tensors.insert(2, wide);
    let memory = update(&gpu, &tensors, STEP.gradient_scale, 0);
    // A tenth of the clipped gradient.
    assert!(memory.numbers(wide.first, F32).iter().all(|first| (first - 0.1).abs() < 1e-7));
    tensors.remove(2);
    for (tensor, state) in tensors.iter().zip(&states) {
        let (count, weights) = (tensor.count, vector(&state.weights));
        let (gradient, [first, second]) =
            (vector(&state.gradient), [state.first.coded(), state.second.coded()]);
        adamw_int8(&weights, &gradient, &first, &second, &STEP).unwrap();
        let master = memory.numbers(tensor.master.unwrap(), F32);
        assert_twin(&format!("adamw int8 weights {count}"), &master, &floats(&weights), F32);
        let wanted: Vec<f32> = master.iter().map(|&weight| rounded(weight, BF16)).collect();
        assert_eq!(memory.numbers(tensor.weights.unwrap(), BF16), wanted);

        let widened = [state.first.widened(&SIGNED), state.second.widened(&UNSIGNED)];
        let [m, v] = widened.map(|numbers| vector(&numbers));
        crate::adamw(&vector(&state.weights), &gradient, &m, &v, &STEP).unwrap();
        let moments = [(tensor.first, &first, m, &*SIGNED), (tensor.second, &second, v, &UNSIGNED)];
        for ((name, at), (codes, twin, exact, map)) in
            ["first", "second"].into_iter().zip(tensor.scales.unwrap()).zip(moments)
        {
            let check = |numbers: StateNumbers<'_>| match numbers {
                StateNumbers::Codes(wanted) => {
                    let what = format!("adamw int8 {name} codes {count}");
                    assert_codes(&what, &memory.bytes(codes), wanted, &floats(&exact), map);
                }
                StateNumbers::F32(wanted) => {
                    let what = format!("adamw int8 {name} scales {count}");
                    assert_twin(&what, &memory.numbers(at, F32), wanted, F32);
                }
            };
            twin.codes.read(check).unwrap();
            twin.scales.read(check).unwrap();
        }
    }
}

#[test]
fn emulated_adamw_in_8_bits_moves_nothing_when_the_gradient_is_not_finite() {
    let Some(gpu) = Emulator::new() else { return };
    let state = State::new(300, 1);
    let tensor = upload(&gpu, &state, 0, false);
    let memory = update(&gpu, &[tensor], 0.0, 0);
    assert_eq!(memory.numbers(tensor.master.unwrap(), F32), state.weights);
    for (codes, scales, moment) in [
        (tensor.first, tensor.scales.unwrap()[0], &state.first),
        (tensor.second, tensor.scales.unwrap()[1], &state.second),
    ] {
        assert_eq!(memory.bytes(codes), moment.codes);
        assert_eq!(memory.numbers(scales, F32), moment.scales);
    }
}

/// The weights after an update of weights that are bf16 alone, and of masters.
fn pure(state: &State, offset: usize, seed: u32) -> Option<[Vec<f32>; 2]> {
    let gpu = Emulator::new()?;
    let [bf16, master] = [true, false].map(|pure| upload(&gpu, state, offset, pure));
    // The number of a tensor counts, so the one that is looked at stands first.
    let memory = update(&gpu, &[bf16, master], STEP.gradient_scale, seed);
    let numbers = memory.numbers(bf16.weights.unwrap(), BF16);
    Some([numbers, memory.numbers(master.master.unwrap(), F32)])
}

/// bf16 weights that start from the same numbers as masters go to one of the two neighbours of where
/// the masters go.
#[test]
fn emulated_pure_bf16_weights_in_8_bits_go_to_a_neighbour_of_their_masters() {
    for (count, offset) in [(33, 0), (9001, 0), (9001, 1)] {
        let state = State::new(count, 5);
        let Some([found, wanted]) = pure(&state, offset, 3) else { return };
        let mut up = 0;
        for (found, wanted) in found.iter().zip(wanted) {
            let low = f32::from_bits(wanted.to_bits() & 0xffff_0000);
            let high = f32::from_bits((wanted.to_bits() & 0xffff_0000) + 0x1_0000);
            let is_high = *found == high && wanted != low;
            assert!(*found == low || is_high, "{found} for {wanted}");
            up += usize::from(is_high);
        }
        assert!(up > count / 4 && up < 3 * count / 4, "{up} of {count} away from zero");
    }
}

#[test]
fn emulated_chance_is_the_same_for_a_step_and_a_tensor_and_another_for_others() {
    let state = State::new(3000, 5);
    let Some([found, _]) = pure(&state, 0, 3) else { return };
    assert!(pure(&state, 0, 3).unwrap()[0] == found);
    let differing = |other: &[f32]| other.iter().zip(&found).filter(|(a, b)| a != b).count();
    for seed in [2, 4, 5] {
        let other = differing(&pure(&state, 0, seed).unwrap()[0]);
        assert!(other > 500, "{other} of 3000 weights are rounded otherwise at another step");
    }
    let gpu = Emulator::new().unwrap();
    let [first, second] = [(); 2].map(|()| upload(&gpu, &state, 0, true));
    let memory = update(&gpu, &[first, second], STEP.gradient_scale, 3);
    let numbers = |at: Option<Address>| memory.numbers(at.unwrap(), BF16);
    assert!(numbers(first.weights) == found);
    let other = differing(&numbers(second.weights));
    assert!(other > 500, "{other} of 3000 weights are rounded otherwise in another tensor");
}
