//! Our T5 against transformers' on the tiny models of `tests/golden/t5_tiny`.
//!
//! `scripts/golden_t5.py` made the numbers, in f32 with eager attention, each pair alone:
//!
//! ```python
//! logits = model(input_ids=source, labels=target).logits
//! logprobs = logits.log_softmax(-1).gather(-1, target)
//! (-logprobs.sum() / count).backward()
//! model.generate(source, num_beams=4, max_new_tokens=12)
//! ```

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;

use albacore_kernels::{Recompute, Tape, storage};
use albacore_model::{
    Beams, Dtype, Limits, Model, Packed, Rows, Sampling, T5, beam_search, generate, save,
};
use candle_core::{Device, Tensor};
use serde_json::Value;

const VARIANTS: [&str; 3] = ["v1_0", "v1_1", "ul2"];

fn folder(variant: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/t5_tiny").join(variant)
}

/// A source, and what is answered to it.
type Pair = (Vec<u32>, Vec<Vec<u32>>);

struct Golden {
    model: T5,
    reference: Value,
}

impl Golden {
    fn load(variant: &str) -> Self {
        let text = std::fs::read_to_string(folder(variant).join("reference.json")).unwrap();
        let model = T5::load(&folder(variant), &Device::Cpu).unwrap();
        Self { model, reference: serde_json::from_str(&text).unwrap() }
    }

    fn pairs(&self) -> Vec<Pair> {
        let pairs = self.reference["pairs"].as_array().unwrap().iter();
        pairs.map(|pair| (ids(&pair["source"]), vec![ids(&pair["target"])])).collect()
    }

    fn pack(&self, pairs: &[Pair]) -> Packed {
        Packed::of_encoder_decoder(self.model.config(), rows(pairs)).unwrap()
    }
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// As the data engine packs them: one answer in one sequence with its prompt, several behind it.
fn rows(pairs: &[Pair]) -> Rows {
    let mut batch = Rows { starts: vec![0], target_starts: vec![0], ..Rows::default() };
    for (source, answers) in pairs {
        batch.ids.extend(source);
        let last = batch.ids.len() as u32 - 1;
        if answers.len() > 1 {
            batch.starts.push(batch.ids.len() as u32);
            batch.is_response.push(false);
        }
        for answer in answers {
            let first = batch.ids.len() as u32;
            batch.ids.extend(answer);
            batch.rows.extend([last].into_iter().chain(first..).take(answer.len()));
            batch.targets.extend(answer);
            batch.starts.push(batch.ids.len() as u32);
            batch.is_response.push(answers.len() > 1);
            batch.target_starts.push(batch.targets.len() as u32);
        }
    }
    batch
}

/// The log-probabilities, and every gradient of their negative mean by name.
fn passes(
    model: &T5,
    batch: &Packed,
    recompute: Recompute,
    fused: bool,
    seed: Option<u64>,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
    let gradient = vec![-1.0 / batch.supervised() as f32; batch.supervised()];
    let mut tape = Tape::recording(recompute);
    if let Some(seed) = seed {
        tape = tape.with_dropout_seed(seed);
    }
    let found = model.logprobs(&mut tape, batch, fused.then(|| gradient.clone())).unwrap();
    let logprobs = storage::to_vec(found.tensor()).unwrap();
    let seed = Tensor::from_vec(gradient, batch.supervised(), &Device::Cpu).unwrap();
    tape.backward(&found, seed).unwrap();
    let parameters = model.parameters();
    let parts = parameters.iter().flat_map(|parameter| {
        parameter.parts().iter().filter_map(|part| {
            let gradient = parameter.part_gradient(part).unwrap()?;
            Some((part.name.clone(), storage::to_vec(&gradient).unwrap()))
        })
    });
    (logprobs, parts.collect())
}

fn furthest(found: &[f32], wanted: &[f32]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn largest(numbers: &[f32]) -> f32 {
    numbers.iter().fold(0.0, |largest, number| largest.max(number.abs()))
}

#[test]
fn every_trained_tensor_gets_a_finite_gradient_and_a_frozen_one_none() {
    for variant in VARIANTS {
        let mut golden = Golden::load(variant);
        let batch = golden.pack(&golden.pairs());
        let (_, gradients) = passes(&golden.model, &batch, Recompute::None, true, None);
        let names = |model: &T5| -> Vec<String> {
            let parameters = model.parameters();
            let parts = parameters.iter().flat_map(|parameter| parameter.parts());
            parts.map(|part| part.name.clone()).collect()
        };
        let all = names(&golden.model);
        for name in &all {
            let gradient = gradients.get(name).unwrap_or_else(|| panic!("{variant}: {name}"));
            assert!(gradient.iter().all(|number| number.is_finite()), "{variant}: {name}");
            assert!(largest(gradient) > 0.0, "{variant}: {name} gets zeros");
        }
        // Each alone, so that no tensor depends on another's being trained.
        for trained in &all {
            let parameters = golden.model.parameters_mut().into_iter();
            parameters.for_each(|parameter| parameter.set_trainable(|name| name == trained));
            let (_, found) = passes(&golden.model, &batch, Recompute::Selective, true, None);
            assert_eq!(found.keys().collect::<Vec<_>>(), [trained], "{variant}");
            let apart = furthest(&found[trained], &gradients[trained]);
            assert!(apart <= 1e-6 * largest(&gradients[trained]), "{variant}: {trained}, {apart}");
        }
    }
}

#[test]
fn logits_and_loss_equal_transformers() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let batch = golden.pack(&golden.pairs());
        let wanted: Vec<Vec<Vec<f32>>> =
            serde_json::from_value(golden.reference["logits"].clone()).unwrap();
        let wanted = wanted.concat().concat();
        let logits = golden.model.logits(&batch).unwrap();
        let found = storage::to_vec(&logits).unwrap();
        let apart = furthest(&found, &wanted) / largest(&wanted);
        let (logprobs, _) = passes(&golden.model, &batch, Recompute::None, true, None);
        let loss = -logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
        let loss = loss / logprobs.len() as f64;
        let off = (loss - golden.reference["loss"].as_f64().unwrap()).abs();
        println!("{variant}: logits {apart:.1e} of the largest, loss {off:.1e}");
        assert!(apart < 1e-4 && off < 1e-4, "{variant}: {apart}, {off}");
    }
}

#[test]
fn gradients_equal_transformers_whatever_is_computed_again() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let batch = golden.pack(&golden.pairs());
        let (_, first) = passes(&golden.model, &batch, Recompute::None, true, None);
        let mut worst = 0f64;
        for (name, wanted) in golden.reference["gradients"].as_object().unwrap() {
            let found = &first[name];
            let norm = wanted["norm"].as_f64().unwrap();
            let squares = found.iter().map(|&number| f64::from(number).powi(2)).sum::<f64>();
            let mut apart = (squares.sqrt() - norm).abs();
            for entry in wanted["entries"].as_array().unwrap() {
                let place = entry[0].as_u64().unwrap() as usize;
                apart = apart.max((f64::from(found[place]) - entry[1].as_f64().unwrap()).abs());
            }
            worst = worst.max(apart / norm);
            assert!(apart <= 1e-4 * norm, "{variant}: {name} is {apart} off, its norm is {norm}");
        }
        assert_eq!(first.len(), golden.reference["gradients"].as_object().unwrap().len());
        println!("{variant}: gradients {worst:.1e} of their norms");
        for (recompute, fused) in
            [(Recompute::Selective, true), (Recompute::Block, true), (Recompute::None, false)]
        {
            let (_, found) = passes(&golden.model, &batch, recompute, fused, None);
            for (name, wanted) in &first {
                let apart = furthest(&found[name], wanted);
                assert!(apart <= 1e-6 * largest(wanted), "{variant} {recompute:?}: {name}");
            }
        }
    }
}

#[test]
fn every_gradient_of_v1_1_equals_transformers_in_full() {
    let golden = Golden::load("v1_1");
    let (_, found) =
        passes(&golden.model, &golden.pack(&golden.pairs()), Recompute::None, true, None);
    let file = folder("v1_1").join("gradients.safetensors");
    let wanted = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    assert_eq!(found.len(), wanted.len());
    for (name, wanted) in wanted {
        let wanted = wanted.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let norm = wanted.iter().map(|number| number * number).sum::<f32>().sqrt();
        let apart = furthest(&found[&name], &wanted);
        assert!(apart <= 1e-4 * norm, "{name} is {apart} off, its norm is {norm}");
    }
}

#[test]
fn packed_equals_alone_and_shared_sources_equal_copies() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let mut pairs = golden.pairs();
        // The first source has three answers, of which two are another's.
        let others = [pairs[1].1[0].clone(), pairs[3].1[0].clone()];
        pairs[0].1.extend(others);
        let (together, gradients) =
            passes(&golden.model, &golden.pack(&pairs), Recompute::None, true, None);
        let (mut alone, mut sums) = (Vec::new(), BTreeMap::<String, Vec<f64>>::new());
        for (source, answers) in &pairs {
            for answer in answers {
                let one = [(source.clone(), vec![answer.clone()])];
                let (logprobs, gradients) =
                    passes(&golden.model, &golden.pack(&one), Recompute::None, true, None);
                let share = logprobs.len() as f64 / together.len() as f64;
                alone.extend(logprobs);
                for (name, gradient) in gradients {
                    let sum = sums.entry(name).or_insert_with(|| vec![0.0; gradient.len()]);
                    let terms = gradient.iter().map(|&number| f64::from(number) * share);
                    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
                }
            }
        }
        let apart = furthest(&together, &alone);
        assert!(apart <= 1e-5 * largest(&alone), "{variant}: {apart}");
        for (name, found) in gradients {
            let wanted = sums[&name].iter().map(|&number| number as f32).collect::<Vec<_>>();
            let apart = furthest(&found, &wanted);
            assert!(apart <= 1e-5 * largest(&wanted), "{variant}: {name} is {apart} off");
        }
    }
}

#[test]
fn greedy_answers_equal_transformers_alone_and_together() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let greedy = golden.reference["greedy"].as_array().unwrap();
        let sources = greedy.iter().map(|one| ids(&one["source"])).collect::<Vec<_>>();
        let wanted = greedy.iter().map(|one| ids(&one["continuation"])).collect::<Vec<_>>();
        let model = Model::from(golden.model);
        let limits = Limits { max_new_tokens: wanted[0].len(), stop_ids: Vec::new() };
        let run = |sources: &[Vec<u32>]| {
            let go_on = |_, _| ControlFlow::Continue(());
            let found = generate(&model, sources, Sampling::default(), &limits, go_on).unwrap();
            found.into_iter().map(|generated| generated.ids).collect::<Vec<_>>()
        };
        assert_eq!(run(&sources), wanted, "{variant}");
        // More than there are slots for: some are read while others grow.
        let many = sources.iter().cycle().take(37).cloned().collect::<Vec<_>>();
        for (index, found) in run(&many).into_iter().enumerate() {
            assert_eq!(found, wanted[index % wanted.len()], "{variant}, {index}");
        }
    }
}

#[test]
fn beam_search_equals_transformers_token_by_token() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let searches = golden.reference["beams"].as_array().unwrap();
        let model = Model::from(golden.model);
        let mut ended = 0;
        for one in searches {
            let beams = Beams {
                count: one["beams"].as_u64().unwrap() as usize,
                length_penalty: one["length_penalty"].as_f64().unwrap() as f32,
                early_stopping: one["early_stopping"].as_bool().unwrap(),
            };
            let limits =
                Limits { max_new_tokens: 12, stop_ids: ids(&serde_json::json!([one["stop"]])) };
            let source = ids(&one["source"]);
            let found = beam_search(&model, &[source], beams, &limits).unwrap().remove(0);
            assert_eq!(found.ids, ids(&one["continuation"]), "{variant}: {one}");
            ended += usize::from(found.ids.len() < 12);
        }
        assert!(ended >= 10, "{variant}: only {ended} end before the limit");
    }
}

#[test]
fn one_beam_is_greedy_and_no_beam_is_refused() {
    let golden = Golden::load("v1_1");
    let greedy = &golden.reference["greedy"][0];
    let (source, wanted) = (ids(&greedy["source"]), ids(&greedy["continuation"]));
    let model = Model::from(golden.model);
    let limits = Limits { max_new_tokens: wanted.len(), stop_ids: Vec::new() };
    let search = |count| {
        let beams = Beams { count, ..Beams::default() };
        beam_search(&model, std::slice::from_ref(&source), beams, &limits)
    };
    assert_eq!(search(1).unwrap()[0].ids, wanted);
    let message = search(0).unwrap_err().to_string();
    assert!(message.contains("found 0 beams and 48 tokens"), "{message}");
    assert!(search(25).is_err() && search(24).is_ok());
}

#[test]
fn what_is_saved_loads_again_with_equal_logits() {
    for variant in VARIANTS {
        let golden = Golden::load(variant);
        let out = tempfile::tempdir().unwrap();
        let entries = save::entries(golden.model.parameters(), Dtype::F32).unwrap();
        save::write_weights(out.path(), entries, save::SHARD_BYTES).unwrap();
        let config = golden.model.config().to_json(Dtype::F32);
        let config = serde_json::to_vec(&config).unwrap();
        std::fs::write(out.path().join("config.json"), config).unwrap();
        let again = T5::load(out.path(), &Device::Cpu).unwrap();
        let batch = golden.pack(&golden.pairs());
        let numbers = |model: &T5| storage::to_vec(&model.logits(&batch).unwrap()).unwrap();
        assert_eq!(numbers(&again), numbers(&golden.model), "{variant}");
    }
}

#[test]
fn dropout_follows_its_seed_and_is_the_same_when_blocks_are_computed_again() {
    let mut golden = Golden::load("v1_1");
    golden.model.set_dropout(0.2);
    let batch = golden.pack(&golden.pairs());
    let run = |recompute, seed| passes(&golden.model, &batch, recompute, true, seed);
    let (first, gradients) = run(Recompute::None, Some(5));
    let (again, block) = run(Recompute::Block, Some(5));
    assert_eq!(first, again);
    for (name, wanted) in &gradients {
        let apart = furthest(&block[name], wanted);
        assert!(apart <= 1e-6 * largest(wanted), "{name}: {apart}");
    }
    let (plain, _) = run(Recompute::None, None);
    assert!(first != run(Recompute::None, Some(6)).0 && first != plain);
    let reference = Golden::load("v1_1");
    assert_eq!(plain, passes(&reference.model, &batch, Recompute::None, true, None).0);
}

#[test]
fn one_half_of_a_model_is_refused_by_what_it_is() {
    for (half, prefix) in [("encoder", "decoder."), ("decoder", "encoder.block")] {
        let out = tempfile::tempdir().unwrap();
        let weights =
            candle_core::safetensors::load(folder("v1_0").join("model.safetensors"), &Device::Cpu);
        let mut weights = weights.unwrap();
        weights.retain(|name, _| !name.starts_with(prefix));
        candle_core::safetensors::save(&weights, out.path().join("model.safetensors")).unwrap();
        std::fs::copy(folder("v1_0").join("config.json"), out.path().join("config.json")).unwrap();
        let message = T5::load(out.path(), &Device::Cpu).unwrap_err().to_string();
        let wanted = format!("its weights hold the {half} alone");
        assert!(message.contains(&wanted), "{message}");
    }
}

#[test]
fn a_batch_that_an_encoder_and_a_decoder_cannot_take_is_refused() {
    let golden = Golden::load("v1_0");
    let pack = |batch| Packed::of_encoder_decoder(golden.model.config(), batch);
    let mut batch = rows(&golden.pairs());
    batch.target_starts.pop();
    assert_eq!(
        pack(batch).unwrap_err().to_string(),
        "sequence 3 of the batch has no wanted token, or one that does not follow its prompt"
    );
    let mut batch = rows(&golden.pairs());
    batch.ids[0] = 48;
    assert!(pack(batch).unwrap_err().to_string().contains("token id 48"));
}
