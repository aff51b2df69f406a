//! Our LLaMA against transformers' on the tiny models of `tests/golden/llama_tiny`.
//!
//! `scripts/golden_model.py` made the numbers, in f32 with eager attention, each sequence alone:
//!
//! ```python
//! logits = model(input_ids=ids).logits
//! logprobs = logits.log_softmax(-1)[rows].gather(-1, targets)
//! (-logprobs.sum() / count).backward()
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use albacore_kernels::{Parameter, Recompute, Tape, storage};
use albacore_model::{Finish, Limits, Llama, Model, Packed, Sampling, generate};
use candle_core::{Device, Tensor};
use serde_json::Value;

const VARIANTS: [&str; 7] =
    ["tied", "untied_bias", "llama3", "linear", "dynamic", "wide_heads", "mha"];

fn folder(variant: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/llama_tiny").join(variant)
}

struct Golden {
    variant: &'static str,
    model: Llama,
    reference: Value,
}

impl Golden {
    fn load(variant: &'static str) -> Self {
        let text = std::fs::read_to_string(folder(variant).join("reference.json")).unwrap();
        let model = Llama::load(&folder(variant), &Device::Cpu).unwrap();
        Self { variant, model, reference: serde_json::from_str(&text).unwrap() }
    }

    /// The same as generation takes it.
    fn whole(&self) -> Model {
        let place = folder(self.variant);
        Model::load(&place, &Device::Cpu).unwrap()
    }

    fn packed(&self, rows: Vec<u32>, targets: Vec<u32>) -> Packed {
        let packed = &self.reference["packed"];
        let (ids, starts) = (numbers(&packed["ids"]), numbers(&packed["starts"]));
        Packed::new(self.model.config(), ids, starts, rows, targets).unwrap()
    }

    fn supervised(&self) -> Packed {
        let packed = &self.reference["packed"];
        self.packed(numbers(&packed["rows"]), numbers(&packed["targets"]))
    }
}

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// The largest absolute difference.
fn worst(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| (found - wanted).abs()).fold(0.0, f32::max)
}

#[test]
fn logits_equal_transformers() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let wanted = golden.reference["logits"].as_array().unwrap();
        let rows = wanted.iter().map(|row| row["row"].as_u64().unwrap() as u32);
        let packed = golden.packed(rows.collect(), vec![0; wanted.len()]);
        let found = golden.model.logits(&packed).unwrap().to_vec2::<f32>().unwrap();
        for (found, wanted) in found.iter().zip(wanted) {
            let error = worst(found, &floats(&wanted["values"]));
            // DESIGN's contract for logits; both sides are f32 sums in another order.
            assert!(error < 1e-4, "{variant}, row {}: {error:e}", wanted["row"]);
        }
    }
}

#[test]
fn logprobs_and_loss_equal_transformers() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let packed = golden.supervised();
        let logprobs = golden.model.logprobs(&mut Tape::inference(), &packed, None).unwrap();
        let found = logprobs.tensor().to_vec1::<f32>().unwrap();
        let error = worst(&found, &floats(&golden.reference["logprobs"]));
        assert!(error < 1e-4, "{variant}: {error:e}");
        let sum = found.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
        let loss = -sum / found.len() as f64;
        assert!((loss - golden.reference["loss"].as_f64().unwrap()).abs() < 1e-5, "{variant}");
    }
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    let golden = Golden::load("tied");
    let refused = |[ids, starts, rows, targets]: [&[u32]; 4]| {
        let (ids, starts) = (ids.to_vec(), starts.to_vec());
        let packed =
            Packed::new(golden.model.config(), ids, starts, rows.to_vec(), targets.to_vec());
        packed.err().map(|error| error.to_string())
    };
    let cases: [([&[u32]; 4], &str); 5] = [
        ([&[3, 4, 5], &[0, 2], &[0], &[4]], "sequence starts: entry 1 is 2, wanted 3"),
        ([&[3, 4, 5], &[0, 2, 4], &[0], &[4]], "sequence starts: entry 2 is 4, wanted 3"),
        ([&[3, 4], &[0, 2], &[0, 2], &[4, 5]], "packed batch: row 2 is out of range, there are 2"),
        ([&[3, 4], &[0, 2], &[0, 1], &[4]], "packed batch: targets has shape [1], wanted [2]"),
        ([&[3, 400], &[0, 2], &[0], &[4]], "token id 400 is not in the vocabulary of 128 tokens"),
    ];
    for (batch, wanted) in cases {
        assert_eq!(refused(batch).as_deref(), Some(wanted));
    }
    assert_eq!(refused([&[3, 4, 5], &[0, 3], &[0, 2], &[4, 5]]), None);
}

/// Runs a step's forward and backward pass; the loss is the mean over all supervised tokens.
fn backward(model: &Llama, packed: &Packed, recompute: Recompute, fused: bool) {
    model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
    let count = packed.supervised();
    let seed = vec![-1.0 / count as f32; count];
    let mut tape = Tape::recording(recompute);
    let ahead = fused.then(|| seed.clone());
    let logprobs = model.logprobs(&mut tape, packed, ahead).unwrap();
    let seed = Tensor::from_vec(seed, count, &Device::Cpu).unwrap();
    tape.backward(&logprobs, seed).unwrap();
}

/// Every checkpoint tensor's name and gradient.
fn gradients(model: &Llama) -> Vec<(String, Option<Vec<f32>>)> {
    let of = |parameter: &&Parameter| {
        let parts = parameter.parts().iter().map(|part| {
            let gradient = parameter.part_gradient(part).unwrap();
            (part.name.clone(), gradient.map(|gradient| storage::read(&gradient).unwrap().to_vec()))
        });
        parts.collect::<Vec<_>>()
    };
    model.parameters().iter().flat_map(of).collect()
}

#[test]
fn every_gradient_equals_transformers() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        backward(&golden.model, &golden.supervised(), Recompute::Selective, true);
        let wanted = golden.reference["gradients"].as_object().unwrap();
        let found = gradients(&golden.model);
        assert_eq!(found.len(), wanted.len(), "{variant}: as many gradients as tensors");
        for (name, found) in found {
            let (found, wanted) = (found.unwrap(), &wanted[&name]);
            assert!(found.iter().all(|gradient| gradient.is_finite()), "{variant} {name}");
            let norm = found.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let wanted_norm = wanted["norm"].as_f64().unwrap();
            // DESIGN's contract: 1e-4 relative to the parameter's norm.
            assert!((norm / wanted_norm - 1.0).abs() < 1e-4, "{variant} {name}: {norm}");
            for entry in wanted["entries"].as_array().unwrap() {
                let (index, value) = (entry[0].as_u64().unwrap(), entry[1].as_f64().unwrap());
                let error = (f64::from(found[index as usize]) - value).abs() / wanted_norm;
                assert!(error < 1e-4, "{variant} {name}[{index}]: {error:e}");
            }
        }
    }
}

#[test]
fn every_entry_of_every_gradient_equals_pytorch() {
    let golden = Golden::load("tied");
    backward(&golden.model, &golden.supervised(), Recompute::Selective, true);
    let path = folder("tied").join("gradients.safetensors");
    let wanted = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    for (name, found) in gradients(&golden.model) {
        let wanted = wanted[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let found = found.unwrap();
        let difference =
            found.iter().zip(&wanted).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let norm = wanted.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        assert!((difference / norm).sqrt() < 1e-4, "{name}: {:e}", (difference / norm).sqrt());
    }
}

#[test]
fn the_fused_head_and_every_recomputation_give_the_same_gradients() {
    let golden = Golden::load("untied_bias");
    let packed = golden.supervised();
    backward(&golden.model, &packed, Recompute::None, true);
    let wanted = gradients(&golden.model);
    for recompute in [Recompute::Selective, Recompute::Block] {
        backward(&golden.model, &packed, recompute, true);
        assert!(gradients(&golden.model) == wanted, "{recompute:?} differs in its bits");
    }
    backward(&golden.model, &packed, Recompute::None, false);
    assert!(gradients(&golden.model) == wanted, "the unfused head differs in its bits");
}

#[test]
fn a_frozen_tensor_receives_no_gradient_and_the_others_the_same_as_before() {
    let mut golden = Golden::load("untied_bias");
    let packed = golden.supervised();
    backward(&golden.model, &packed, Recompute::Selective, true);
    let all = gradients(&golden.model);
    let frozen = |name: &str| {
        ["k_proj", "layers.0.mlp", "embed_tokens"].iter().any(|part| name.contains(part))
    };
    let parameters = golden.model.parameters_mut();
    parameters.into_iter().for_each(|parameter| parameter.set_trainable(|name| !frozen(name)));
    backward(&golden.model, &packed, Recompute::Selective, true);
    for ((name, found), (_, wanted)) in gradients(&golden.model).into_iter().zip(all) {
        assert!(found == if frozen(&name) { None } else { wanted }, "{name}");
    }
}

/// Holds greedy continuations to those under `kind`.
fn continuations_equal(variant: &'static str, kind: &str) {
    let golden = Golden::load(variant);
    let greedy = golden.reference[kind]["runs"].as_array().unwrap();
    let prompts = greedy.iter().map(|one| numbers(&one["prompt"])).collect::<Vec<_>>();
    let limits = Limits {
        max_new_tokens: greedy[0]["continuation"].as_array().unwrap().len(),
        stop_ids: Vec::new(),
    };
    let run = |prompts: &[Vec<u32>]| {
        let go_on = |_, _| ControlFlow::Continue(());
        generate(&golden.whole(), prompts, Sampling::default(), &limits, go_on).unwrap()
    };
    let together = run(&prompts);
    for (index, one) in greedy.iter().enumerate() {
        let wanted = numbers(&one["continuation"]);
        assert_eq!(together[index].ids, wanted, "{variant}, prompt {index}");
        assert_eq!(together[index].finish, Finish::Length);
        assert_eq!(run(&prompts[index..=index])[0].ids, wanted, "{variant}, {index} alone");
    }
}

#[test]
fn greedy_continuations_equal_transformers_together_and_alone() {
    VARIANTS.into_iter().for_each(|variant| continuations_equal(variant, "greedy"));
}

#[test]
fn under_dynamic_scaling_frequencies_follow_a_sequence_as_it_grows() {
    continuations_equal("dynamic", "growing");
}

#[test]
fn a_limit_that_is_never_reached_costs_nothing() {
    let golden = Golden::load("dynamic");
    let run = |max_new_tokens| {
        let limits = Limits { max_new_tokens, stop_ids: Vec::new() };
        let mut seen = 0;
        let third = |_, _| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let sampling = Sampling::default();
        generate(&golden.whole(), &[vec![3, 4, 5]], sampling, &limits, third).unwrap().remove(0).ids
    };
    assert_eq!(run(usize::MAX), run(3));
}

#[test]
fn what_is_drawn_for_a_prompt_does_not_depend_on_the_others() {
    let golden = Golden::load("tied");
    let prompts = [vec![9, 8, 7, 6], vec![3], vec![50, 60], vec![3]];
    let sampling = Sampling { temperature: 1.0, seed: 5, ..Sampling::default() };
    let limits = Limits { max_new_tokens: 12, stop_ids: Vec::new() };
    let run = |prompts: &[Vec<u32>]| {
        let go_on = |_, _| ControlFlow::Continue(());
        let generated = generate(&golden.whole(), prompts, sampling, &limits, go_on).unwrap();
        generated.into_iter().map(|one| one.ids).collect::<Vec<_>>()
    };
    let together = run(&prompts);
    for (index, found) in together.iter().enumerate().take(3) {
        assert_eq!(run(&prompts[index..=index])[0], *found, "prompt {index} alone");
    }
    assert_eq!(run(&[vec![3], vec![9, 8, 7, 6]]), [&together[1], &together[0]].map(Vec::clone));
    // The same prompt again is there for another answer.
    assert_ne!(together[1], together[3]);
    assert_eq!(run(&prompts), together);
}

#[test]
fn a_sequence_ends_at_its_stop_token_while_others_go_on() {
    let golden = Golden::load("tied");
    let greedy = golden.reference["greedy"]["runs"].as_array().unwrap();
    let prompts = greedy.iter().map(|one| numbers(&one["prompt"])).collect::<Vec<_>>();
    let first = numbers(&greedy[0]["continuation"]);
    let limits = Limits { max_new_tokens: first.len(), stop_ids: vec![first[2]] };
    let mut seen = vec![Vec::new(); prompts.len()];
    let results = generate(&golden.whole(), &prompts, Sampling::default(), &limits, |index, id| {
        seen[index].push(id);
        if index == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let results = results.unwrap();
    let stop = first.iter().position(|id| *id == first[2]).unwrap();
    assert_eq!(results[0].ids, first[..=stop]);
    assert_eq!(results[0].finish, Finish::Stop);
    assert_eq!((results[1].ids.len(), results[1].finish), (1, Finish::Caller));
    assert_eq!(seen[2], results[2].ids[..seen[2].len()]);
}
