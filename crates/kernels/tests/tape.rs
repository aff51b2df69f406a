//! What the operations do together, on a decoder of two layers: which parameters receive a gradient,
//! and that neither recomputation nor accumulation changes it.

#![allow(clippy::unwrap_used)]

mod support;

use std::cell::RefCell;

use albacore_kernels::{
    Angles, Heads, Parameter, Positions, Recompute, Result, Sequences, Tape, Value, attention,
    embedding, linear, linear_add, linear_logprob, rms_norm, rope, select_rows, swiglu,
};
use candle_core::{Device, Tensor};
use support::{assert_close, floats, numbers, on_threads, tensor, wider};

const WORDS: usize = 90;
const CHANNELS: usize = 40;
const WIDTH: usize = 56;
const HEADS: Heads = Heads { query: 4, key_value: 2, width: 10 };

struct Layer {
    input_norm: Parameter,
    qkv: Parameter,
    qkv_bias: Parameter,
    o_proj: Parameter,
    post_norm: Parameter,
    gate_up: Parameter,
    down_proj: Parameter,
}

impl Layer {
    fn new(index: u64) -> Self {
        let named = |name: &str, parts: &[(&str, usize)], columns: Option<usize>| {
            let rows = parts.iter().map(|(_, rows)| rows).sum::<usize>();
            let seed = index * 100 + name.len() as u64;
            let value = match columns {
                Some(columns) => (tensor((rows, columns), seed) * 0.3).unwrap(),
                None => tensor(rows, seed),
            };
            let parts = parts.iter().map(|&(part, rows)| (format!("{index}.{name}.{part}"), rows));
            Parameter::new(value, parts)
        };
        let qkv = [("q", 40), ("k", 20), ("v", 20)];
        Self {
            input_norm: named("input_norm", &[("weight", CHANNELS)], None),
            qkv: named("qkv", &qkv, Some(CHANNELS)),
            qkv_bias: named("qkv_bias", &qkv, None),
            o_proj: named("o_proj", &[("weight", CHANNELS)], Some(40)),
            post_norm: named("post_norm", &[("weight", CHANNELS)], None),
            gate_up: named("gate_up", &[("gate", WIDTH), ("up", WIDTH)], Some(CHANNELS)),
            down_proj: named("down_proj", &[("weight", CHANNELS)], Some(WIDTH)),
        }
    }

    fn forward<'a>(
        &'a self,
        tape: &mut Tape<'a>,
        x: &Value<'a>,
        batch: &'a Batch,
    ) -> Result<Value<'a>> {
        let hidden = rms_norm(tape, x, &self.input_norm, 1e-5)?;
        let qkv = linear(tape, &hidden, &self.qkv, Some(&self.qkv_bias))?;
        let qkv = rope(tape, qkv, HEADS, &batch.angles, &batch.positions)?;
        let hidden = attention(tape, &qkv, HEADS, &batch.sequences, 0.3)?;
        let x = linear_add(tape, x, &hidden, &self.o_proj, None)?;
        let hidden = rms_norm(tape, &x, &self.post_norm, 1e-5)?;
        let gate_up = linear(tape, &hidden, &self.gate_up, None)?;
        let hidden = swiglu(tape, &gate_up)?;
        linear_add(tape, &x, &hidden, &self.down_proj, None)
    }

    fn parameters(&mut self) -> [&mut Parameter; 7] {
        let Self { input_norm, qkv, qkv_bias, o_proj, post_norm, gate_up, down_proj } = self;
        [input_norm, qkv, qkv_bias, o_proj, post_norm, gate_up, down_proj]
    }
}

struct Batch {
    ids: Vec<u32>,
    positions: Positions,
    sequences: Sequences,
    angles: Angles,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Batch {
    fn new(lengths: &[usize]) -> Self {
        let sequences = Sequences::from_lengths(lengths.iter().copied()).unwrap();
        let angles = numbers(5 * 256, 1);
        let cosine = angles.iter().map(|angle| (angle * 3.0).cos()).collect();
        let sine = angles.iter().map(|angle| (angle * 3.0).sin()).collect();
        let ids: Vec<u32> = (0..sequences.tokens() as u32).map(|token| token * 13 % 71).collect();
        Self {
            positions: sequences
                .iter()
                .flat_map(|rows| 0..rows.len() as u32)
                .collect::<Vec<_>>()
                .into(),
            angles: Angles::new(cosine, sine, 5).unwrap(),
            rows: (0..ids.len() as u32).filter(|row| row % 3 > 0).collect(),
            targets: (0..ids.len() as u32)
                .filter(|row| row % 3 > 0)
                .map(|row| row * 7 % 90)
                .collect(),
            sequences,
            ids,
        }
    }
}

struct Model {
    embedding: Parameter,
    layers: [Layer; 2],
    norm: Parameter,
}

impl Model {
    fn new() -> Self {
        Self {
            embedding: Parameter::single("embedding", tensor((WORDS, CHANNELS), 7)),
            layers: [Layer::new(1), Layer::new(2)],
            norm: Parameter::single("norm", tensor(CHANNELS, 8)),
        }
    }

    /// One training pass; the head is tied to the embedding.
    fn pass(&self, batch: &Batch, recompute: Recompute, ahead: bool) -> Vec<f32> {
        let mut tape = Tape::recording(recompute);
        let seed = numbers(batch.targets.len(), 9);
        let mut x = embedding(&mut tape, &self.embedding, &batch.ids).unwrap();
        for layer in &self.layers {
            x = tape.checkpoint(&x, move |tape, x| layer.forward(tape, x, batch)).unwrap();
        }
        let x = select_rows(&mut tape, &x, &batch.rows).unwrap();
        let x = rms_norm(&mut tape, &x, &self.norm, 1e-5).unwrap();
        let ahead = ahead.then(|| seed.clone());
        let out = linear_logprob(&mut tape, &x, &self.embedding, &batch.targets, ahead).unwrap();
        let seed = Tensor::from_vec(seed, batch.targets.len(), &Device::Cpu).unwrap();
        tape.backward(&out, seed).unwrap();
        floats(out.tensor())
    }

    fn parameters(&mut self) -> Vec<&mut Parameter> {
        let layers = self.layers.iter_mut().flat_map(Layer::parameters);
        [&mut self.embedding, &mut self.norm].into_iter().chain(layers).collect()
    }

    /// Name and gradient of each part; forgets them.
    fn take_gradients(&mut self) -> Vec<(String, Option<Vec<f32>>)> {
        let mut gradients = Vec::new();
        for parameter in self.parameters() {
            for part in parameter.parts() {
                let gradient = parameter.part_gradient(part).unwrap();
                gradients.push((part.name.clone(), gradient.map(|gradient| floats(&gradient))));
            }
            parameter.clear_gradient();
        }
        gradients
    }

    fn train_only(&mut self, trainable: impl Fn(&str) -> bool) {
        self.parameters().into_iter().for_each(|parameter| parameter.set_trainable(&trainable));
    }
}

#[test]
fn every_trained_part_receives_a_gradient_and_no_frozen_one_does() {
    let (mut model, batch) = (Model::new(), Batch::new(&[1, 70, 30]));
    model.pass(&batch, Recompute::Selective, false);
    let all = model.take_gradients();
    let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
    let patterns = [
        "",
        "norm",
        "embedding",
        "qkv.q",
        "qkv.v",
        "bias.k",
        "up",
        "gate",
        "1.",
        "2.qkv",
        "o_proj",
    ];
    for pattern in patterns {
        assert!(
            names.iter().any(|name| name.contains(pattern)),
            "{pattern} names nothing: {names:?}"
        );
        for frozen in [false, true] {
            model.train_only(|name| name.contains(pattern) != frozen);
            for recompute in [Recompute::Selective, Recompute::Block] {
                model.pass(&batch, recompute, true);
                for ((name, found), (_, wanted)) in model.take_gradients().iter().zip(&all) {
                    let wanted = wanted.as_ref().filter(|_| name.contains(pattern) != frozen);
                    let moved = found.as_ref().is_none_or(|found| found.iter().any(|&x| x != 0.0));
                    assert!(moved, "{name} receives zeros");
                    assert!(found.as_ref() == wanted, "{name}, where `{pattern}` is chosen");
                }
            }
        }
    }
}

#[test]
fn a_frozen_block_runs_once_and_the_input_of_the_lowest_trained_one_gets_no_gradient() {
    let (mut model, batch) = (Model::new(), Batch::new(&[5, 30]));
    model.train_only(|name| name.starts_with("2.") || name == "norm");
    // Whether each run of each block was to bring a gradient for its input.
    let runs = [RefCell::new(Vec::new()), RefCell::new(Vec::new())];
    let mut tape = Tape::recording(Recompute::Block);
    let mut x = embedding(&mut tape, &model.embedding, &batch.ids).unwrap();
    for (layer, runs) in model.layers.iter().zip(&runs) {
        let batch = &batch;
        let run = tape.checkpoint(&x, move |tape, x| {
            runs.borrow_mut().push(x.slot().is_some());
            layer.forward(tape, x, batch)
        });
        x = run.unwrap();
    }
    let x = rms_norm(&mut tape, &x, &model.norm, 1e-5).unwrap();
    let seed = tensor(x.tensor().shape().clone(), 9);
    tape.backward(&x, seed).unwrap();
    assert_eq!(runs[0].take(), [false]);
    assert_eq!(runs[1].take(), [false, false]);
}

#[test]
fn recomputation_threads_and_a_gradient_known_ahead_change_no_bit() {
    let (mut model, batch) = (Model::new(), Batch::new(&[1, 130, 100]));
    let logprobs = on_threads(1, || model.pass(&batch, Recompute::None, false));
    let gradients = model.take_gradients();
    for recompute in [Recompute::None, Recompute::Selective, Recompute::Block] {
        for ahead in [false, true] {
            for threads in [1, 2, 5] {
                let found = on_threads(threads, || model.pass(&batch, recompute, ahead));
                let what = format!("{recompute:?}, ahead {ahead}, {threads} threads");
                assert!(found == logprobs, "log-probs: {what}");
                assert!(model.take_gradients() == gradients, "gradients: {what}");
            }
        }
    }
}

#[test]
fn two_passes_accumulate_the_sum_of_their_gradients() {
    let (first, second) = (Batch::new(&[20, 3]), Batch::new(&[7, 50]));
    let mut model = Model::new();
    model.pass(&first, Recompute::Selective, true);
    let of_first = model.take_gradients();
    model.pass(&second, Recompute::Selective, true);
    let of_second = model.take_gradients();
    model.pass(&first, Recompute::Selective, true);
    model.pass(&second, Recompute::Selective, true);
    for (index, (name, found)) in model.take_gradients().into_iter().enumerate() {
        let terms = [&of_first, &of_second].map(|all| wider(all[index].1.as_ref().unwrap()));
        let wanted: Vec<f64> = terms[0].iter().zip(&terms[1]).map(|(x, y)| x + y).collect();
        // The terms of the second pass are added one by one: another order, f32 rounding of 6e-8.
        assert_close(&name, &found.unwrap(), &wanted, 1e-6);
    }
}
