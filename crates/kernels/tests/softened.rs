//! Label smoothing and z-loss in the head against PyTorch's cross entropy.
//!
//! The numbers are in `tests/golden/softened.json`; `scripts/golden_softened.py` made them:
//!
//! ```python
//! loss = CrossEntropyLoss(label_smoothing=s)(logits, targets) + z_loss * logits.logsumexp(-1).pow(2).mean()
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use albacore_kernels::{Parameter, Recompute, Softening, Tape, softened_logprob, storage};
use candle_core::{Device, Tensor};
use serde_json::Value;

const TARGETS: [u32; 5] = [3, 0, 10, 3, 7];
const CHANNELS: usize = 4;

/// As the script's `numbers`.
fn numbers(rows: usize, step: usize) -> Tensor {
    let number = |place: usize| (((place * step + 5) % 129) as f32 - 64.0) / 32.0;
    let numbers = (0..rows * CHANNELS).map(number).collect();
    Tensor::from_vec(numbers, (rows, CHANNELS), &Device::Cpu).unwrap()
}

/// Numbers of size 1, in f32 against f64.
fn assert_close(found: &[f32], wanted: &Value, name: &str) {
    let wanted = wanted.as_array().unwrap();
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        let wanted = wanted.as_f64().unwrap();
        assert!((f64::from(*found) - wanted).abs() < 1e-6, "{name}: {found}, wanted {wanted}");
    }
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/softened.json");
    let goldens: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let number = |key: &str| case[key].as_f64().unwrap();
        let softening =
            Softening { label_smoothing: number("label_smoothing"), z_loss: number("z_loss") };
        let weight = Parameter::single("weight", numbers(11, 53));
        for ahead in [false, true] {
            weight.clear_gradient();
            let mut tape = Tape::recording(Recompute::None);
            let hidden = tape.leaf(numbers(TARGETS.len(), 37));
            let seed = vec![-1.0 / TARGETS.len() as f32; TARGETS.len()];
            let known = ahead.then(|| seed.clone());
            let found =
                softened_logprob(&mut tape, &hidden, &weight, &TARGETS, known, softening).unwrap();
            let softened = storage::to_vec(found.softened.tensor()).unwrap();
            let loss = -softened.iter().map(|&it| f64::from(it)).sum::<f64>() / 5.0;
            let name = format!("{softening:?}, ahead {ahead}");
            assert!((loss - number("loss")).abs() < 1e-6, "{name}: {loss}");
            let seed = Tensor::from_vec(seed, TARGETS.len(), &Device::Cpu).unwrap();
            let slots = tape.backward(&found.softened, seed).unwrap();
            let of_hidden = storage::to_vec(slots.of(&hidden).unwrap()).unwrap();
            assert_close(&of_hidden, &case["d_hidden"], &name);
            let part = weight.parts()[0].clone();
            let of_weight = weight.part_gradient(&part).unwrap().unwrap();
            assert_close(&storage::to_vec(&of_weight).unwrap(), &case["d_weight"], &name);
        }
    }
}
