//! The head's kernels, against the definition and, softened, against the operation of the CPU.

use candle_core::{Device, Tensor};

use super::{BOTH, assert_twin, exact};
use crate::device::rows;
use crate::emulator::Emulator;
use crate::launch::Compute;
use crate::support::{floats, passes};
use crate::{Parameter, Softening, Tape, Value, softened_logprob};

#[test]
fn emulated_head_is_its_definition_both_ways() {
    for (compute, (rows, vocabulary)) in BOTH
        .into_iter()
        .flat_map(|compute| [(1, 1), (3, 33), (2, 5003)].map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let logits: Vec<f32> = exact(rows * vocabulary, 1, F32).iter().map(|x| 20.0 * x).collect();
        let seeds = exact(rows, 2, F32);
        let targets: Vec<u32> =
            (0..rows as u32).map(|row| (row * 31 + 7) % vocabulary as u32).collect();
        let (mut wanted, mut gradients) = (Vec::new(), Vec::new());
        for ((row, &target), &seed) in logits.chunks(vocabulary).zip(&targets).zip(&seeds) {
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            wanted.push((f64::from(row[target as usize]) - sum.ln()) as f32);
            gradients.extend(row.iter().enumerate().map(|(word, &logit)| {
                let hit = f64::from(u8::from(word == target as usize));
                (f64::from(seed) * (hit - f64::from(logit).exp() / sum)) as f32
            }));
        }
        let [logprobs, log_sums] = [(); 2].map(|()| gpu.room(rows, F32));
        let at = gpu.numbers(&logits, F32);
        let (targets, seeds) = (gpu.words(&targets), gpu.numbers(&seeds, F32));
        let out = gpu.room(rows * vocabulary, compute);
        let places = [logprobs, log_sums, at, targets];
        rows::head_logprob(&gpu, places, None, rows, vocabulary).unwrap();
        let places = [out, at, log_sums, seeds, targets];
        let soft = Softening::default();
        rows::head_gradient(&gpu, compute, places, soft, rows, vocabulary).unwrap();
        let memory = gpu.run();
        if vocabulary > 1 {
            let what = |part: &str| format!("head {part} {rows}x{vocabulary}");
            let found = memory.numbers(logprobs, F32);
            assert_twin(&what("logprob"), &found, &wanted, F32);
            assert_twin(&what("gradient"), &memory.numbers(out, compute), &gradients, compute);
        }
    }
}

const F32: Compute = Compute::F32;

/// What the CPU says of logits: softened log-probabilities, log-probabilities, log-sums and, of the seeds, the
/// gradient of the logits.
fn twin(logits: &[f32], targets: &[u32], seeds: &[f32], soft: Softening) -> [Vec<f32>; 4] {
    let (rows, words) = (targets.len(), logits.len() / targets.len());
    // Each row picks its column of the weights, so that their gradient is that of the logits.
    let hidden = Tensor::eye(rows, candle_core::DType::F32, &Device::Cpu).unwrap();
    let upright = Tensor::from_slice(logits, (rows, words), &Device::Cpu).unwrap();
    let weight = Parameter::single("weight", upright.t().unwrap().contiguous().unwrap());
    let value = Value::constant(hidden.clone());
    let tape = &mut Tape::inference();
    let found = softened_logprob(tape, &value, &weight, targets, None, soft).unwrap();
    let told = [found.logprobs, found.log_sums].map(|told| told.get().unwrap());
    let run = passes(&[hidden], &[&weight], seeds, |tape, leaves| {
        Ok(softened_logprob(tape, &leaves[0], &weight, targets, None, soft)?.softened)
    });
    let slopes = Tensor::from_slice(&run.gradients[1], (words, rows), &Device::Cpu).unwrap();
    let [logprobs, log_sums] = told;
    [run.output, logprobs, log_sums, floats(&slopes.t().unwrap().contiguous().unwrap())]
}

#[test]
fn emulated_softened_head_is_its_twin_both_ways() {
    let soft = |label_smoothing, z_loss| Softening { label_smoothing, z_loss };
    let all = [soft(0.0, 1e-4), soft(0.1, 0.0), soft(0.2, 0.01)];
    for (compute, (rows, words)) in
        BOTH.into_iter().flat_map(|compute| [(3, 33), (2, 5003)].map(|size| (compute, size)))
    {
        for soft in all {
            let Some(gpu) = Emulator::new() else { return };
            let logits: Vec<f32> = exact(rows * words, 1, F32).iter().map(|x| 20.0 * x).collect();
            let targets: Vec<u32> =
                (0..rows).map(|row| (row * 31 + 7) as u32 % words as u32).collect();
            // The last row is masked: its loss is not asked for.
            let seeds = [exact(rows - 1, 2, F32), vec![0.0]].concat();
            let wanted = twin(&logits, &targets, &seeds, soft);
            let [softened, logprobs, log_sums] = [(); 3].map(|()| gpu.room(rows, F32));
            let (at, out) = (gpu.numbers(&logits, F32), gpu.room(rows * words, compute));
            let (targets, seeds) = (gpu.words(&targets), gpu.numbers(&seeds, F32));
            let places = [logprobs, log_sums, at, targets];
            rows::head_logprob(&gpu, places, Some((softened, soft)), rows, words).unwrap();
            let places = [out, at, log_sums, seeds, targets];
            rows::head_gradient(&gpu, compute, places, soft, rows, words).unwrap();
            let memory = gpu.run();
            let check = |part: &str, found: &[f32], wanted: &[f32], compute| {
                assert_twin(&format!("head {part} {rows}x{words}"), found, wanted, compute);
            };
            let names = ["softened", "logprob", "log-sums"];
            for (name, (at, wanted)) in
                names.into_iter().zip([softened, logprobs, log_sums].into_iter().zip(&wanted))
            {
                check(name, &memory.numbers(at, F32), wanted, F32);
            }
            let found = memory.numbers(out, compute);
            check("softened gradient", &found, &wanted[3], compute);
            assert!(found[(rows - 1) * words..].iter().all(|slope| *slope == 0.0));
        }
    }
}
