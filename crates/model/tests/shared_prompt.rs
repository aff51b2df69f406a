//! Responses behind one copy of their prompt have the log-probabilities, and give the parameters the
//! gradients, of the same responses each behind a copy of its own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use albacore_kernels::{Recompute, Tape, storage};
use albacore_model::{Llama, LlamaConfig, Packed};
use candle_core::{Device, Tensor};
use proptest::prelude::*;
use serde_json::{Value, json};

fn model() -> Llama {
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 50,
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "hidden_act": "silu", "rope_theta": 10000.0,
        "initializer_range": 0.3, "tie_word_embeddings": true,
    });
    let Value::Object(config) = config else { unreachable!() };
    Llama::random(LlamaConfig::from_json(config, "the test").unwrap(), 5, &Device::Cpu).unwrap()
}

/// A batch as `Packed::with_responses` takes it.
#[derive(Default)]
struct Rows {
    ids: Vec<u32>,
    starts: Vec<u32>,
    is_response: Vec<bool>,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Rows {
    fn sequence(&mut self, ids: &[u32], is_response: bool) {
        self.ids.extend(ids);
        self.starts.push(self.ids.len() as u32);
        self.is_response.push(is_response);
    }

    /// What is to be predicted, `ids` behind row `before` and the last of `ids` from the row before it on.
    fn targets(&mut self, before: u32, first: u32, ids: &[u32]) {
        self.rows.extend([before].into_iter().chain(first..).take(ids.len()));
        self.targets.extend(ids);
    }
}

/// The prompt and responses of each group.
type Groups = Vec<(Vec<u32>, Vec<Vec<u32>>)>;

fn shared(groups: &Groups) -> Rows {
    let mut out = Rows { starts: vec![0], ..Rows::default() };
    for (prompt, responses) in groups {
        out.sequence(prompt, false);
        let last = out.ids.len() as u32 - 1;
        for response in responses {
            let first = out.ids.len() as u32;
            out.sequence(response, true);
            out.targets(last, first, response);
        }
    }
    out
}

fn copies(groups: &Groups) -> Rows {
    let mut out = Rows { starts: vec![0], ..Rows::default() };
    for (prompt, responses) in groups {
        for response in responses {
            let first = (out.ids.len() + prompt.len()) as u32;
            out.sequence(&[prompt.as_slice(), response].concat(), false);
            out.targets(first - 1, first, response);
        }
    }
    out
}

/// Log-probabilities, and the gradient of each parameter from uneven gradients of these.
fn passes(model: &Llama, rows: Rows) -> (Vec<f32>, Vec<Vec<f32>>) {
    let Rows { ids, starts, is_response, rows, targets } = rows;
    let count = targets.len();
    let packed =
        Packed::with_responses(model.config(), ids, starts, &is_response, rows, targets).unwrap();
    model.parameters().iter().for_each(|parameter| parameter.clear_gradient());
    let mut tape = Tape::recording(Recompute::Selective);
    let logprobs = model.logprobs(&mut tape, &packed, None).unwrap();
    let found = storage::to_vec(logprobs.tensor()).unwrap();
    let seed = (0..count).map(|at| ((at * 7 + 3) % 11) as f32 / 11.0 - 0.4).collect::<Vec<_>>();
    tape.backward(&logprobs, Tensor::from_vec(seed, count, &Device::Cpu).unwrap()).unwrap();
    let parameters = model.parameters();
    let gradients = parameters.iter().flat_map(|parameter| {
        parameter
            .parts()
            .iter()
            .map(|part| storage::to_vec(&parameter.part_gradient(part).unwrap().unwrap()).unwrap())
    });
    (found, gradients.collect())
}

/// The difference by the norm of what is wanted.
fn apart(found: &[f32], wanted: &[f32]) -> f64 {
    let square = |value: f32| f64::from(value).powi(2);
    let difference: f64 = found.iter().zip(wanted).map(|(a, b)| square(a - b)).sum();
    (difference / wanted.iter().map(|value| square(*value)).sum::<f64>().max(1e-20)).sqrt()
}

fn ids(least: usize, most: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..50, least..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn sharing_a_prompt_changes_neither_log_probabilities_nor_gradients(
        groups in prop::collection::vec((ids(1, 90), prop::collection::vec(ids(1, 70), 1..5)), 1..4)
    ) {
        let model = model();
        let (found, gradients) = passes(&model, shared(&groups));
        let (wanted, expected) = passes(&model, copies(&groups));
        for (found, wanted) in found.iter().zip(&wanted) {
            prop_assert!((found - wanted).abs() <= 1e-5 * (1.0 + wanted.abs()), "{found}, {wanted}");
        }
        for (found, wanted) in gradients.iter().zip(&expected) {
            prop_assert!(apart(found, wanted) <= 1e-5, "{}", apart(found, wanted));
        }
    }
}
