//! What the proofs share: numbers, an operation run both ways, finite differences, comparison.
//!
//! The unit tests of the crate and its integration tests use this one file.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test crate uses a part of it")]
#![allow(clippy::unwrap_used)]

use albacore_kernels::{Parameter, Recompute, Result, Tape, Value, storage};
use candle_core::{Device, Shape, Tensor};

/// `len` numbers spread over [-1, 1), the same for the same seed.
pub fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let step = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| step(&mut state)).collect()
}

/// A tensor of such numbers.
pub fn tensor(shape: impl Into<Shape>, seed: u64) -> Tensor {
    let shape = shape.into();
    Tensor::from_vec(numbers(shape.elem_count(), seed), shape, &Device::Cpu).unwrap()
}

/// A parameter of such numbers.
pub fn parameter(shape: impl Into<Shape>, seed: u64) -> Parameter {
    Parameter::single("weight", tensor(shape, seed))
}

/// The numbers of a tensor.
pub fn floats(tensor: &Tensor) -> Vec<f32> {
    storage::read(tensor).unwrap().to_vec()
}

/// An operation's output, and the gradients of its inputs and then of its parameters.
#[derive(Debug, PartialEq)]
pub struct Passes {
    pub output: Vec<f32>,
    pub gradients: Vec<Vec<f32>>,
}

/// Runs `op` forward on copies of `inputs`, and back from the gradient `seed`.
pub fn passes<'a>(
    inputs: &[Tensor],
    parameters: &[&'a Parameter],
    seed: &[f32],
    op: impl Fn(&mut Tape<'a>, &[Value<'a>]) -> Result<Value<'a>>,
) -> Passes {
    parameters.iter().for_each(|parameter| parameter.clear_gradient());
    let mut tape = Tape::recording(Recompute::Selective);
    let leaves: Vec<_> = inputs.iter().map(|input| tape.leaf(input.copy().unwrap())).collect();
    let output = op(&mut tape, &leaves).unwrap();
    let numbers = floats(output.tensor());
    let seed = Tensor::from_slice(seed, output.tensor().shape(), &Device::Cpu).unwrap();
    let slots = tape.backward(&output, seed).unwrap();
    let of_inputs = leaves.iter().map(|leaf| floats(slots.of(leaf).unwrap()));
    let of_parameters = parameters.iter().map(|parameter| gradient(parameter).unwrap());
    Passes { output: numbers, gradients: of_inputs.chain(of_parameters).collect() }
}

/// The gradient of a parameter of one part.
pub fn gradient(parameter: &Parameter) -> Option<Vec<f32>> {
    let gradient = parameter.part_gradient(&parameter.parts()[0]).unwrap();
    gradient.map(|gradient| floats(&gradient))
}

/// Proves `op` by its specification: the output against `reference` in f64, and the gradients
/// against finite differences of it. `reference` takes the numbers of the inputs and then of the
/// parameters.
pub fn prove<'a>(
    what: &str,
    inputs: &[Tensor],
    parameters: &[&'a Parameter],
    reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    op: impl Fn(&mut Tape<'a>, &[Value<'a>]) -> Result<Value<'a>>,
) {
    let of_parameters = parameters.iter().map(|parameter| parameter.value());
    let given = inputs.iter().chain(of_parameters).map(|tensor| wider(&floats(tensor)));
    let mut given: Vec<Vec<f64>> = given.collect();
    let wanted = reference(&given);
    let seed = numbers(wanted.len(), 99);
    let found = passes(inputs, parameters, &seed, op);
    // f32 rounds to 6e-8, and an element passes through a few tens of operations.
    assert_close(&format!("{what}: output"), &found.output, &wanted, 1e-6);
    let loss = |given: &[Vec<f64>]| {
        let terms = reference(given).into_iter().zip(&seed);
        terms.map(|(output, &seed)| output * f64::from(seed)).sum::<f64>()
    };
    for (index, found) in found.gradients.iter().enumerate() {
        let wanted = finite_differences(&mut given, index, loss);
        assert_close(&format!("{what}: gradient {index}"), found, &wanted, 1e-6);
    }
}

/// The derivative of `loss` by each number of `given[index]`, by central differences.
fn finite_differences(
    given: &mut [Vec<f64>],
    index: usize,
    loss: impl Fn(&[Vec<f64>]) -> f64,
) -> Vec<f64> {
    // The error is about h² from the third derivative and 1e-16 / h from rounding: 1e-10 here.
    const H: f64 = 1e-5;
    let elements = given[index].len();
    let derivative = |element: usize| {
        let value = given[index][element];
        given[index][element] = value + H;
        let above = loss(given);
        given[index][element] = value - H;
        let below = loss(given);
        given[index][element] = value;
        (above - below) / (2.0 * H)
    };
    (0..elements).map(derivative).collect()
}

/// Fails if an element differs by more than `tolerance` times the largest wanted magnitude.
pub fn assert_close(what: &str, found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: how many");
    let largest = wanted.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    let errors = found.iter().zip(wanted).map(|(&found, wanted)| (f64::from(found) - wanted).abs());
    let (element, worst) =
        errors.enumerate().max_by(|left, right| left.1.total_cmp(&right.1)).unwrap_or((0, 0.0));
    // Shown by `cargo test -- --nocapture`.
    println!("{what}: worst error {:.1e} of {largest:.1e}", worst / largest.max(1e-30));
    // A NaN is the largest of all in total order, and fails here too.
    let close = worst <= tolerance * largest;
    assert!(close, "{what}: element {element} is {} off, {largest} is the largest", worst);
}

/// The same numbers in f64.
pub fn wider(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| f64::from(number)).collect()
}

/// Runs `f` where rayon has this many threads.
pub fn on_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
