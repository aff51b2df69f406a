//! Every operation against PyTorch, both ways.
//!
//! The numbers are in `tests/golden/ops.json`; `scripts/golden_ops.py` made them, in f64, from the
//! formula above each test. What is left is the rounding of f32.

#![allow(clippy::unwrap_used)]

mod support;

use albacore_kernels::{
    AdamWStep, Angles, Buckets, Heads, Parameter, RelativeBias, Result, Sequences, Tape, Value,
    adamw, add, attention, biased_attention, embedding, linear, linear_add, linear_logprob,
    rms_norm, rope, select_rows, squared_norm, swiglu,
};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;
use support::{assert_close, floats, passes};

/// f32 rounds to 6e-8, and an element passes through a few tens of operations.
const TOLERANCE: f64 = 1e-6;

/// What PyTorch computed for one operation.
struct Golden {
    operation: &'static str,
    numbers: Json,
}

impl Golden {
    fn of(operation: &'static str) -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ops.json");
        let goldens: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Self { operation, numbers: goldens[operation].clone() }
    }

    fn wanted(&self, name: &str) -> Vec<f64> {
        let data = self.numbers[name]["data"].as_array();
        let data = data.unwrap_or_else(|| panic!("{} has no {name}", self.operation));
        data.iter().map(|number| number.as_f64().unwrap()).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.wanted(name).iter().map(|&number| number as f32).collect()
    }

    fn indices(&self, name: &str) -> Vec<u32> {
        self.wanted(name).iter().map(|&number| number as u32).collect()
    }

    fn tensor(&self, name: &str) -> Tensor {
        let shape = self.numbers[name]["shape"].as_array().unwrap();
        let shape: Vec<usize> = shape.iter().map(|size| size.as_u64().unwrap() as usize).collect();
        Tensor::from_vec(self.floats(name), shape, &Device::Cpu).unwrap()
    }

    fn parameter(&self, name: &str) -> Parameter {
        Parameter::single(name, self.tensor(name))
    }

    /// Compares output and gradients of `op`; `parameters` bear the names that PyTorch's side uses.
    fn compare<'a>(
        &self,
        inputs: &[&str],
        parameters: &[&'a Parameter],
        op: impl Fn(&mut Tape<'a>, &[Value<'a>]) -> Result<Value<'a>>,
    ) {
        let tensors: Vec<Tensor> = inputs.iter().map(|name| self.tensor(name)).collect();
        let found = passes(&tensors, parameters, &self.floats("seed"), op);
        let named = parameters.iter().map(|parameter| parameter.parts()[0].name.as_str());
        let named = inputs.iter().copied().chain(named).map(|name| format!("d_{name}"));
        self.close("output", &found.output, TOLERANCE);
        for (name, found) in named.zip(&found.gradients) {
            self.close(&name, found, TOLERANCE);
        }
    }

    fn close(&self, name: &str, found: &[f32], tolerance: f64) {
        let what = format!("{} {name}", self.operation);
        assert_close(&what, found, &self.wanted(name), tolerance);
    }
}

/// ```python
/// F.rms_norm(x, (x.shape[-1],), weight, eps=1e-5)
/// ```
#[test]
fn rms_norm_equals_pytorch() {
    let golden = Golden::of("rms_norm");
    let weight = golden.parameter("weight");
    golden.compare(&["x"], &[&weight], |tape, leaves| rms_norm(tape, &leaves[0], &weight, 1e-5));
}

/// ```python
/// F.linear(x, weight, bias)
/// ```
#[test]
fn linear_equals_pytorch() {
    let golden = Golden::of("linear");
    let (weight, bias) = (golden.parameter("weight"), golden.parameter("bias"));
    golden.compare(&["x"], &[&weight, &bias], |tape, leaves| {
        linear(tape, &leaves[0], &weight, Some(&bias))
    });
}

/// ```python
/// residual + F.linear(x, weight)
/// ```
#[test]
fn linear_add_equals_pytorch() {
    let golden = Golden::of("linear_add");
    let weight = golden.parameter("weight");
    golden.compare(&["residual", "x"], &[&weight], |tape, leaves| {
        linear_add(tape, &leaves[0], &leaves[1], &weight, None)
    });
}

/// ```python
/// x + y
/// ```
#[test]
fn add_equals_pytorch() {
    Golden::of("add").compare(&["x", "y"], &[], |tape, leaves| add(tape, &leaves[0], &leaves[1]));
}

/// ```python
/// gate, up = gate_up.chunk(2, dim=-1)
/// F.silu(gate) * up
/// ```
#[test]
fn swiglu_equals_pytorch() {
    Golden::of("swiglu").compare(&["gate_up"], &[], |tape, leaves| swiglu(tape, &leaves[0]));
}

/// ```python
/// heads = qkv.unflatten(-1, (3 + 2 + 2, 6))
/// cos = cosine[positions].repeat(1, 2)[:, None]
/// sin = sine[positions].repeat(1, 2)[:, None]
/// x, v = heads[:, :5], heads[:, 5:]
/// x1, x2 = x.chunk(2, dim=-1)
/// turned = x * cos + torch.cat((-x2, x1), dim=-1) * sin
/// torch.cat((turned, v), dim=1).flatten(1)
/// ```
#[test]
fn rope_equals_pytorch() {
    let golden = Golden::of("rope");
    let heads = Heads { query: 3, key_value: 2, width: 6 };
    let angles = Angles::new(golden.floats("cosine"), golden.floats("sine"), 3).unwrap();
    let positions = golden.indices("positions").into();
    golden.compare(&["qkv"], &[], |tape, leaves| {
        rope(tape, leaves[0].clone(), heads, &angles, &positions)
    });
}

/// ```python
/// F.embedding(ids, weight)
/// ```
#[test]
fn embedding_equals_pytorch() {
    let golden = Golden::of("embedding");
    let (weight, ids) = (golden.parameter("weight"), golden.indices("ids"));
    golden.compare(&[], &[&weight], |tape, _| embedding(tape, &weight, &ids));
}

/// ```python
/// x[rows]
/// ```
#[test]
fn select_rows_equals_pytorch() {
    let golden = Golden::of("select_rows");
    let rows = golden.indices("rows");
    golden.compare(&["x"], &[], |tape, leaves| select_rows(tape, &leaves[0], &rows));
}

/// ```python
/// -F.cross_entropy(hidden @ weight.T, targets, reduction="none")
/// ```
#[test]
fn linear_logprob_equals_pytorch_whether_or_not_its_gradient_is_known_ahead() {
    let golden = Golden::of("linear_logprob");
    let (weight, targets) = (golden.parameter("weight"), golden.indices("targets"));
    for ahead in [None, Some(golden.floats("seed"))] {
        golden.compare(&["hidden"], &[&weight], |tape, leaves| {
            linear_logprob(tape, &leaves[0], &weight, &targets, ahead.clone())
        });
    }
}

/// ```python
/// q, k, v = qkv.unflatten(-1, (4 + 2 + 2, 6)).split((4, 2, 2), dim=1)
/// outputs = []
/// for start, end in zip(starts.tolist(), starts.tolist()[1:]):
///     of_sequence = [x[start:end].transpose(0, 1) for x in (q, k, v)]  # (heads, tokens, width)
///     out = F.scaled_dot_product_attention(*of_sequence, is_causal=True, enable_gqa=True)
///     outputs.append(out.transpose(0, 1).flatten(1))
/// torch.cat(outputs)
/// ```
#[test]
fn attention_equals_pytorch() {
    let golden = Golden::of("attention");
    let heads = Heads { query: 4, key_value: 2, width: 6 };
    let sequences = Sequences::new(golden.indices("starts")).unwrap();
    golden.compare(&["qkv"], &[], |tape, leaves| {
        attention(tape, &leaves[0], heads, &sequences, 6f32.sqrt().recip())
    });
}

/// ```python
/// distance = place[None, :] - place[:, None]
/// buckets = T5Attention._relative_position_bucket(distance, bidirectional, 8, 20)
/// bias = F.embedding(buckets, table).permute(2, 0, 1)  # (heads, query, key)
/// if not bidirectional:
///     bias = bias.masked_fill(distance > 0, -torch.inf)
/// F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0, enable_gqa=True)
/// ```
#[test]
fn attention_with_a_bias_equals_pytorch_in_both_directions() {
    let heads = Heads { query: 4, key_value: 2, width: 6 };
    for (name, both) in [("biased_attention", false), ("bidirectional_biased_attention", true)] {
        let golden = Golden::of(name);
        let sequences = Sequences::new(golden.indices("starts")).unwrap();
        let buckets = Buckets::t5(8, 20, both).unwrap();
        let table = golden.parameter("table");
        golden.compare(&["qkv"], &[&table], |tape, leaves| {
            let bias = RelativeBias { table: &table, buckets: &buckets };
            biased_attention(tape, &leaves[0], heads, &sequences, 1.0, bias)
        });
    }
}

/// ```python
/// T5Attention._relative_position_bucket(torch.arange(-300, 301), bidirectional, count, far)
/// ```
#[test]
fn t5_buckets_equal_those_of_transformers() {
    let golden = Golden::of("t5_buckets");
    for (count, far) in [(32, 128), (16, 64), (64, 256), (20, 50), (9, 33)] {
        for (kind, both) in [("past", false), ("bidirectional", true)] {
            let buckets = Buckets::t5(count, far, both).unwrap();
            let wanted = golden.indices(&format!("{count}_{far}_{kind}"));
            assert_eq!(wanted.len(), 601);
            for (distance, wanted) in (-300..=300).zip(wanted) {
                let found = buckets.of(distance);
                assert_eq!(found, wanted as usize, "{count} {far} {kind}, distance {distance}");
            }
        }
    }
}

/// ```python
/// optimizer = torch.optim.AdamW(
///     [weight], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, foreach=False
/// )
/// for gradient in gradients:
///     weight.grad = gradient * 0.5
///     norms.append(gradient.norm())
///     optimizer.step()
/// ```
#[test]
fn five_updates_and_the_norms_equal_pytorch() {
    let golden = Golden::of("adamw");
    let weights = golden.tensor("weight");
    let zeros = || Tensor::zeros(weights.shape(), DType::F32, &Device::Cpu).unwrap();
    let (first, second, gradients) = (zeros(), zeros(), golden.tensor("gradients"));
    let mut norms = Vec::new();
    for step in 1..=5 {
        let gradient = gradients.get(step - 1).unwrap();
        let update = AdamWStep {
            step: step as u64,
            learning_rate: 1e-2,
            betas: (0.9, 0.95),
            epsilon: 1e-8,
            weight_decay: 0.1,
            gradient_scale: 0.5,
        };
        adamw(&weights, &gradient, &first, &second, &update).unwrap();
        norms.push(squared_norm(&gradient).unwrap().sqrt() as f32);
    }
    // PyTorch's own f32 here, in the same order of arithmetic: a last bit or two may differ where
    // its vector code fuses a multiplication with an addition.
    golden.close("updated", &floats(&weights), 1e-7);
    golden.close("first_moment", &floats(&first), 1e-7);
    golden.close("second_moment", &floats(&second), 1e-7);
    golden.close("norms", &norms, 1e-7);
}
