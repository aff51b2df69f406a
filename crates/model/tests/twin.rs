//! A whole LLaMA on a GPU against the same one on the CPU: log-probabilities and every gradient; and
//! the tokens that are chosen from its logits.
//!
//! Needs the feature `cuda` and a GPU, named by `ALBACORE_TEST_GPU` (an index); says so where there is
//! none. Prints the worst errors: `cargo test --features cuda --test twin -- --nocapture`.

#![cfg(feature = "cuda")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;

use albacore_kernels::{Choice, Recompute, Tape, choose, storage};
use albacore_model::{
    Capacity, Event, Generator, Limits, Llama, LlamaConfig, Model, Packed, Request, Sampling,
};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

/// Log-probabilities, and the gradient of every tensor by name.
struct Passes {
    logprobs: Vec<f32>,
    gradients: Vec<(String, Vec<f32>)>,
}

fn gpu() -> Option<Device> {
    let Ok(index) = std::env::var("ALBACORE_TEST_GPU") else {
        eprintln!("skipped: ALBACORE_TEST_GPU names no GPU");
        return None;
    };
    Some(albacore_kernels::gpu(index.parse().unwrap()).unwrap())
}

fn model(tied: bool, bias: bool, width: usize) -> Llama {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1003,
        "hidden_size": 4 * width, "intermediate_size": 6 * width, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": width, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "tie_word_embeddings": tied, "attention_bias": bias,
        "initializer_range": 0.05, "hidden_act": "silu", "rope_theta": 10000.0,
    });
    let config = LlamaConfig::from_json(config.as_object().unwrap().clone(), "the test").unwrap();
    Llama::random(config, 7, &Device::Cpu).unwrap()
}

/// Four sequences of odd lengths, three quarters of whose tokens are learned.
fn batch(model: &Llama) -> Packed {
    let starts = vec![0, 1, 34, 164, 231];
    let ids: Vec<u32> = (0..231).map(|token| token * 7919 % 1003).collect();
    let inside = |row: &u32| !starts.contains(&(row + 1)) && !row.is_multiple_of(4);
    let rows: Vec<u32> = (0..231).filter(inside).collect();
    let targets = rows.iter().map(|&row| ids[row as usize + 1]).collect();
    Packed::new(model.config(), ids, starts.clone(), rows, targets).unwrap()
}

fn passes(model: &Llama, batch: &Packed, device: &Device, fused: bool) -> Passes {
    let count = batch.supervised();
    let seed: Vec<f32> = (0..count).map(|row| -1.0 / (count + row % 3) as f32).collect();
    let mut tape = Tape::recording(Recompute::Selective);
    let logprobs = model.logprobs(&mut tape, batch, fused.then(|| seed.clone())).unwrap();
    let found = storage::to_vec(logprobs.tensor()).unwrap();
    tape.backward(&logprobs, Tensor::from_vec(seed, count, device).unwrap()).unwrap();
    let parameters = model.parameters();
    let parts = parameters
        .iter()
        .flat_map(|parameter| parameter.parts().iter().map(move |part| (parameter, part)));
    let gradients = parts.map(|(parameter, part)| {
        let gradient = parameter.part_gradient(part).unwrap().unwrap();
        (part.name.clone(), storage::to_vec(&gradient).unwrap())
    });
    Passes { logprobs: found, gradients: gradients.collect() }
}

fn error(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let pairs = found.iter().zip(wanted);
    let off = pairs.map(|(&a, &b)| square(f64::from(a) - f64::from(b))).sum::<f64>();
    (off / wanted.iter().map(|&b| square(f64::from(b))).sum::<f64>().max(1e-30)).sqrt()
}

fn compare(dtype: DType, allowed: f64) {
    let Some(device) = gpu() else { return };
    for (tied, bias, width) in [(true, false, 64), (false, true, 64), (false, false, 128)] {
        let mut model = model(tied, bias, width);
        let batch = batch(&model);
        let wanted = passes(&model, &batch, &Device::Cpu, true);
        model.place(&device, dtype, true).unwrap();
        for fused in [true, false] {
            model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
            let found = passes(&model, &batch, &device, fused);
            let what = format!("{dtype:?} tied {tied} bias {bias} width {width} fused {fused}");
            let logprobs = error(&found.logprobs, &wanted.logprobs);
            let (mut worst, mut name) = (0.0, "");
            for ((part, found), (_, wanted)) in found.gradients.iter().zip(&wanted.gradients) {
                let error = error(found, wanted);
                if error > worst || error.is_nan() {
                    (worst, name) = (error, part);
                }
            }
            println!(
                "twin {what}: log-probabilities {logprobs:.1e}, gradients {worst:.1e} ({name})"
            );
            assert!(logprobs <= allowed, "{what}: log-probabilities");
            assert!(worst <= allowed, "{what}: gradient of {name}");
        }
    }
}

#[test]
fn in_f32_a_gpu_gives_the_numbers_of_the_cpu() {
    compare(DType::F32, 1e-4);
}

/// Random weights amplify rounding; what bf16 may cost on a real model is measured against PyTorch's.
#[test]
fn in_bf16_a_gpu_gives_nearly_the_numbers_of_the_cpu() {
    compare(DType::BF16, 0.2);
}

#[test]
fn from_the_same_logits_a_gpu_chooses_the_tokens_of_the_cpu() {
    let Some(device) = gpu() else { return };
    let model = model(true, false, 64);
    let logits = model.logits(&batch(&model)).unwrap();
    let rows = logits.dims()[0];
    let seen: Vec<u32> = (0..1003).step_by(7).collect();
    let counted: Vec<(u32, u32)> = (0..1003).step_by(5).map(|id| (id, 1 + id % 3)).collect();
    for round in 0..20 {
        let choices: Vec<Choice> = (0..rows as u64)
            .map(|row| Choice {
                temperature: [0.0, 0.5, 1.0][row as usize % 3],
                top_k: [0, 50][row as usize / 3 % 2],
                top_p: [1.0, 0.9][row as usize / 6 % 2],
                repetition_penalty: [1.0, 1.2][row as usize / 12 % 2],
                seen: &seen,
                presence_penalty: [0.0, 0.6][row as usize / 24 % 2],
                frequency_penalty: [0.0, -0.2][row as usize / 48 % 2],
                counted: &counted,
                draw: (row + 1 + 1000 * round).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            })
            .collect();
        let there = logits.copy().unwrap().to_device(&device).unwrap();
        let found = choose(&there, &choices).unwrap();
        assert_eq!(found, choose(&logits.copy().unwrap(), &choices).unwrap(), "round {round}");
    }
}

/// The tokens and log-probabilities of a dozen answers, most of whose prompts begin alike; and how many
/// tokens that took.
fn answers(model: &Model) -> (Vec<Vec<(u32, f64)>>, u64) {
    let mut requests = (0..12u32).map(|number| {
        let head = (0..if number % 4 == 3 { 0 } else { 100 }).map(|token| token * 37 % 1003);
        let tail = (0..5 + number * 13 % 40).map(|token| (number * 71 + token * 7) % 1003);
        let limits = Limits { max_new_tokens: 4 + number as usize % 5, stop_ids: Vec::new() };
        let prompt = head.chain(tail).collect();
        Request {
            prompt,
            sampling: Sampling::default(),
            times: 0,
            limits,
            logprobs: true,
            compare: Vec::new(),
        }
    });
    let mut answers = vec![Vec::new(); 12];
    let mut generator = Generator::new(model, Capacity { slots: 3, ..Capacity::default() });
    let on_event = &mut |index: usize, event| {
        if let Event::Token { id, logprob } = event {
            answers[index].push((id, logprob.unwrap()));
        }
        ControlFlow::Continue(())
    };
    generator.run(&mut requests, on_event).unwrap();
    let computed = generator.computed_tokens();
    (answers, computed)
}

#[test]
fn a_generator_on_a_gpu_shares_heads_and_gives_the_answers_of_the_cpu() {
    let Some(device) = gpu() else { return };
    let mut model = Model::from(model(true, false, 64));
    let wanted = answers(&model);
    model.place(&device, DType::F32, false).unwrap();
    let found = answers(&model);
    assert_eq!(found.1, wanted.1, "tokens computed");
    let mut same = 0;
    for (found, wanted) in found.0.iter().zip(&wanted.0) {
        // Where two tokens are as probable as each other, rounding chooses, and the rest differs.
        for (found, wanted) in found.iter().zip(wanted).take_while(|(a, b)| a.0 == b.0) {
            assert!((found.1 - wanted.1).abs() < 1e-4, "{found:?}, wanted {wanted:?}");
            same += 1;
        }
    }
    let all = wanted.0.iter().map(Vec::len).sum::<usize>();
    println!("a generator on a GPU: {same} of {all} tokens are the CPU's");
    assert!(same * 10 >= all * 9, "{same} of {all}");
}
