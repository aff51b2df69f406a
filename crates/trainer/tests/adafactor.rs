//! Ten steps of Adafactor against transformers' own, and against the rule of T5X where that differs.
//!
//! The numbers are in `tests/golden/adafactor.json`; `scripts/golden_adafactor.py` made them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::PathBuf;

use albacore_kernels::{Parameter, Recompute, Tape, storage};
use albacore_model::{Packed, Rows, T5};
use albacore_trainer::{OptimConfig, Optimizer, Schedule, ScheduleConfig, ScheduleKind};
use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

/// Of the largest number of a tensor. Ten steps, each of some twenty roundings of 6e-8 on either side.
const TOLERANCE: f64 = 1e-5;

#[derive(Deserialize)]
struct Goldens {
    tensors: Vec<Case>,
    models: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    rule: String,
    optim: OptimConfig,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    losses: Vec<f64>,
    tensors: Vec<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    name: String,
    shape: Vec<usize>,
    norm: f64,
    entries: Vec<(usize, f64)>,
}

impl Summary {
    fn assert_is(&self, found: &[f32], case: &str) {
        let largest = found.iter().fold(0.0, |largest: f32, number| largest.max(number.abs()));
        for &(place, wanted) in &self.entries {
            let error = (f64::from(found[place]) - wanted).abs() / f64::from(largest);
            let name = &self.name;
            assert!(error < TOLERANCE, "{case}, {name} {place}: {}, wanted {wanted}", found[place]);
        }
        let norm = found.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let error = (norm / self.norm - 1.0).abs();
        assert!(error < TOLERANCE, "{case}, {}: norm {norm}, wanted {}", self.name, self.norm);
    }
}

fn golden() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"))
}

fn goldens() -> Goldens {
    let text = std::fs::read_to_string(golden().join("adafactor.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The rate of each step: the constant one, or that of the paper.
fn schedule(optim: &OptimConfig) -> Schedule {
    let config = ScheduleConfig { kind: ScheduleKind::Constant, ..ScheduleConfig::default() };
    match optim.relative_step {
        true => Schedule::relative(optim.warmup_init),
        false => Schedule::new(config, optim.learning_rate, 10),
    }
}

/// As the script's `weight` and `gradient`.
fn weight(number: usize, place: usize) -> f32 {
    ((place * 37 + 11 * number) % 129) as f32 / 64.0 - 1.0
}

fn gradient(number: usize, place: usize, step: usize) -> f32 {
    let mixed = (place * place * 3 + place * 17 + step * 29 + number * 5) % 127;
    let wanted = (mixed as f64 - 63.0) / (64 * (1 + step * step)) as f64;
    if place % 7 == 3 { 0.0 } else { wanted as f32 }
}

#[test]
fn ten_steps_are_those_of_transformers_and_of_t5x() {
    let cases = goldens().tensors;
    assert_eq!(cases.len(), 7);
    for case in cases {
        let name = format!("{} {:?}", case.rule, case.optim);
        let make = |(number, tensor): (usize, &Summary)| {
            let count = tensor.shape.iter().product();
            let numbers = (0..count).map(|place| weight(number, place)).collect();
            let value = Tensor::from_vec(numbers, tensor.shape.clone(), &Device::Cpu).unwrap();
            Parameter::single(tensor.name.clone(), value)
        };
        let parameters: Vec<_> = case.tensors.iter().enumerate().map(make).collect();
        let all: Vec<_> = parameters.iter().collect();
        let schedule = schedule(&case.optim);
        let mut optimizer = Optimizer::new(case.optim, &all).unwrap();
        for step in 0..10 {
            for (number, parameter) in parameters.iter().enumerate() {
                let fill = |sum: &Tensor, _: std::ops::Range<usize>, _: bool| {
                    let count = sum.elem_count();
                    let numbers = (0..count).map(|place| gradient(number, place, step)).collect();
                    storage::overwrite(sum, numbers)
                };
                parameter.accumulate(fill).unwrap();
            }
            optimizer.update(&all, schedule.rate(step as u64)).unwrap().get().unwrap();
        }
        for (tensor, parameter) in case.tensors.iter().zip(&parameters) {
            tensor.assert_is(&storage::to_vec(parameter.value()).unwrap(), &name);
        }
    }
}

/// The pairs of a variant, in one batch.
fn batch(model: &T5, variant: &str) -> Packed {
    let text = std::fs::read_to_string(golden().join("t5_tiny").join(variant));
    let reference: Value =
        serde_json::from_str(&text.unwrap_or_else(|error| panic!("{variant}: {error}"))).unwrap();
    let mut rows = Rows { starts: vec![0], target_starts: vec![0], ..Rows::default() };
    for pair in reference["pairs"].as_array().unwrap() {
        let ids = |key: &str| serde_json::from_value::<Vec<u32>>(pair[key].clone()).unwrap();
        let (source, target) = (ids("source"), ids("target"));
        let last = (rows.ids.len() + source.len() - 1) as u32;
        rows.rows.extend((last..).take(target.len()));
        rows.targets.extend(&target);
        rows.ids.extend([source, target].concat());
        rows.starts.push(rows.ids.len() as u32);
        rows.is_response.push(false);
        rows.target_starts.push(rows.targets.len() as u32);
    }
    Packed::of_encoder_decoder(model.config(), rows).unwrap()
}

#[test]
fn ten_losses_and_weights_of_a_tiny_t5_are_those_of_transformers_and_of_t5x() {
    let cases = goldens().models;
    assert_eq!(cases.len(), 3);
    for case in cases {
        let name = format!("{} {}", case.rule, case.variant);
        let folder = golden().join("t5_tiny").join(&case.variant);
        let model = T5::load(&folder, &Device::Cpu).unwrap();
        let batch = batch(&model, &format!("{}/reference.json", case.variant));
        let parameters = model.parameters();
        let schedule = schedule(&case.optim);
        let mut optimizer = Optimizer::new(case.optim, &parameters).unwrap();
        for (step, wanted) in case.losses.iter().enumerate() {
            let count = batch.supervised();
            let ahead = vec![-1.0 / count as f32; count];
            let mut tape = Tape::recording(Recompute::None);
            let logprobs = model.logprobs(&mut tape, &batch, Some(ahead.clone())).unwrap();
            let sum = storage::to_vec(logprobs.tensor()).unwrap().into_iter().map(f64::from);
            let loss = -sum.sum::<f64>() / count as f64;
            assert!((loss - wanted).abs() < TOLERANCE * wanted, "{name}, {step}: {loss}, {wanted}");
            let seed = Tensor::from_vec(ahead, count, &Device::Cpu).unwrap();
            tape.backward(&logprobs, seed).unwrap();
            optimizer.update(&parameters, schedule.rate(step as u64)).unwrap().get().unwrap();
        }
        let parts = parameters.iter().flat_map(|parameter| {
            parameter.parts().iter().map(|part| {
                (part.name.clone(), storage::to_vec(&parameter.part_value(part).unwrap()).unwrap())
            })
        });
        let found: std::collections::BTreeMap<_, _> = parts.collect();
        assert_eq!(found.len(), case.tensors.len(), "{name}");
        case.tensors.iter().for_each(|tensor| tensor.assert_is(&found[&tensor.name], &name));
    }
}
