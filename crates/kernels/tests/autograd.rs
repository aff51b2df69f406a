//! Every operation against Candle's autograd on the unfused formula.
//!
//! The formulas avoid Candle's own fused `rms_norm`, `rope` and `softmax_last_dim`, which have no
//! backward pass.

#![allow(clippy::unwrap_used)]

mod support;

use albacore_kernels::{
    AdamWStep, Angles, Heads, Parameter, Sequences, Tape, Value, adamw, add, attention, embedding,
    linear, linear_add, linear_logprob, rms_norm, rope, select_rows, swiglu,
};
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use support::{assert_close, floats, numbers, parameter, passes, tensor, wider};

/// Compares `op` with `formula`, whose arguments are the inputs and then the parameters.
fn compare<'a>(
    what: &str,
    inputs: &[Tensor],
    parameters: &[&'a Parameter],
    formula: impl Fn(&[Tensor]) -> Result<Tensor>,
    op: impl Fn(&mut Tape<'a>, &[Value<'a>]) -> albacore_kernels::Result<Value<'a>>,
) {
    let given = inputs.iter().chain(parameters.iter().map(|parameter| parameter.value()));
    let variables: Vec<Var> = given.map(|tensor| Var::from_tensor(tensor).unwrap()).collect();
    let tensors: Vec<Tensor> =
        variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    let output = formula(&tensors).unwrap();
    let seed = numbers(output.elem_count(), 99);
    let weighted =
        (&output * Tensor::from_slice(&seed, output.shape(), &Device::Cpu).unwrap()).unwrap();
    let gradients = weighted.sum_all().unwrap().backward().unwrap();
    let found = passes(inputs, parameters, &seed, op);
    // Two computations in f32, which rounds to 6e-8, of a few tens of operations each.
    const TOLERANCE: f64 = 2e-6;
    assert_close(&format!("{what}: output"), &found.output, &wider(&floats(&output)), TOLERANCE);
    for (index, (variable, found)) in variables.iter().zip(&found.gradients).enumerate() {
        let wanted = wider(&floats(&gradients.get(variable).unwrap().contiguous().unwrap()));
        assert_close(&format!("{what}: gradient {index}"), found, &wanted, TOLERANCE);
    }
}

#[test]
fn rms_norm_equals_its_formula() {
    let (x, weight) = (tensor((70, 33), 1), parameter(33, 2));
    let formula = |given: &[Tensor]| {
        let mean = given[0].sqr()?.mean_keepdim(1)?;
        given[0].broadcast_div(&(mean + 1e-5)?.sqrt()?)?.broadcast_mul(&given[1])
    };
    compare("rms_norm", &[x], &[&weight], formula, |tape, leaves| {
        rms_norm(tape, &leaves[0], &weight, 1e-5)
    });
}

#[test]
fn linear_and_linear_add_equal_their_formula() {
    let (x, residual) = (tensor((70, 33), 1), tensor((70, 9), 2));
    let (weight, bias) = (parameter((9, 33), 3), parameter(9, 4));
    let formula = |given: &[Tensor]| given[0].matmul(&given[1].t()?)?.broadcast_add(&given[2]);
    compare("linear", std::slice::from_ref(&x), &[&weight, &bias], formula, |tape, leaves| {
        linear(tape, &leaves[0], &weight, Some(&bias))
    });
    let formula = |given: &[Tensor]| &given[0] + given[1].matmul(&given[2].t()?)?;
    compare("linear_add", &[residual, x], &[&weight], formula, |tape, leaves| {
        linear_add(tape, &leaves[0], &leaves[1], &weight, None)
    });
}

#[test]
fn add_equals_its_formula() {
    let inputs = [tensor((3, 33), 1), tensor((3, 33), 2)];
    let formula = |given: &[Tensor]| &given[0] + &given[1];
    compare("add", &inputs, &[], formula, |tape, leaves| add(tape, &leaves[0], &leaves[1]));
}

#[test]
fn swiglu_equals_its_formula() {
    let gate_up = (tensor((70, 2 * 33), 1) * 4.0).unwrap();
    let formula = |given: &[Tensor]| {
        let (gate, up) = (given[0].narrow(1, 0, 33)?, given[0].narrow(1, 33, 33)?);
        gate.silu()? * up
    };
    compare("swiglu", &[gate_up], &[], formula, |tape, leaves| swiglu(tape, &leaves[0]));
}

#[test]
fn rope_equals_its_formula() {
    let heads = Heads { query: 3, key_value: 2, width: 6 };
    let positions: Vec<u32> = (0..70).map(|token| token * 7 % 9).collect();
    let (cosine, sine) = (tensor((9, 3), 1).cos().unwrap(), tensor((9, 3), 1).sin().unwrap());
    let angles = Angles::new(floats(&cosine), floats(&sine), 3).unwrap();
    let formula = |given: &[Tensor]| {
        let index = Tensor::from_slice(&positions, 70, &Device::Cpu)?;
        let at = |table: &Tensor| table.index_select(&index, 0)?.reshape((70, 1, 3));
        let (cosine, sine) = (at(&cosine)?, at(&sine)?);
        let qkv = given[0].reshape((70, 3 + 2 + 2, 6))?;
        let (x, v) = (qkv.narrow(1, 0, 5)?, qkv.narrow(1, 5, 2)?);
        let (x1, x2) = (x.narrow(2, 0, 3)?, x.narrow(2, 3, 3)?);
        let first = (x1.broadcast_mul(&cosine)? - x2.broadcast_mul(&sine)?)?;
        let second = (x2.broadcast_mul(&cosine)? + x1.broadcast_mul(&sine)?)?;
        Tensor::cat(&[Tensor::cat(&[first, second], 2)?, v], 1)?.reshape((70, heads.channels()))
    };
    let given = positions.clone().into();
    compare("rope", &[tensor((70, heads.channels()), 2)], &[], formula, |tape, leaves| {
        rope(tape, leaves[0].clone(), heads, &angles, &given)
    });
}

#[test]
fn embedding_and_selected_rows_equal_their_formula() {
    let (weight, indices) = (parameter((11, 33), 1), [3u32, 10, 3, 0, 3, 7, 10, 1]);
    let formula =
        |given: &[Tensor]| given[0].index_select(&Tensor::new(&indices, &Device::Cpu)?, 0);
    compare("embedding", &[], &[&weight], formula, |tape, _| embedding(tape, &weight, &indices));
    compare("select_rows", &[weight.value().clone()], &[], formula, |tape, leaves| {
        select_rows(tape, &leaves[0], &indices)
    });
}

#[test]
fn linear_logprob_equals_its_formula() {
    let (hidden, weight) = (tensor((300, 33), 1), parameter((70, 33), 2));
    let targets: Vec<u32> = (0..300).map(|row| row * 7 % 70).collect();
    let formula = |given: &[Tensor]| {
        let logits = given[0].matmul(&given[1].t()?)?;
        let targets = Tensor::from_slice(&targets, (300, 1), &Device::Cpu)?;
        candle_nn::ops::log_softmax(&logits, D::Minus1)?.gather(&targets, 1)?.flatten_all()
    };
    compare("linear_logprob", &[hidden], &[&weight], formula, |tape, leaves| {
        linear_logprob(tape, &leaves[0], &weight, &targets, None)
    });
}

#[test]
fn attention_equals_its_formula() {
    let (heads, width) = (Heads { query: 4, key_value: 2, width: 6 }, 6);
    let (sequences, scale) = (Sequences::from_lengths([1, 70, 9]).unwrap(), 0.4);
    let formula = |given: &[Tensor]| {
        // (T, heads, D): two heads of q share each head of k and of v.
        let qkv = given[0].reshape((80, 8, width))?;
        let heads = |indices: [u32; 4]| qkv.index_select(&Tensor::new(&indices, &Device::Cpu)?, 1);
        let (q, k, v) = (heads([0, 1, 2, 3])?, heads([4, 4, 5, 5])?, heads([6, 6, 7, 7])?);
        let outputs = sequences.iter().map(|rows| {
            let (start, len) = (rows.start, rows.len());
            let of = |x: &Tensor| x.narrow(0, start, len)?.transpose(0, 1)?.contiguous();
            let scores = (of(&q)?.matmul(&of(&k)?.t()?.contiguous()?)? * scale)?; // (4, len, len)
            let hidden = Tensor::triu2(len, DType::F32, &Device::Cpu)?;
            let future = (hidden - Tensor::eye(len, DType::F32, &Device::Cpu)?)?;
            let scores = scores.broadcast_sub(&(future * 1e9)?)?;
            let out = candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&of(&v)?)?;
            out.transpose(0, 1)?.reshape((len, 4 * width))
        });
        Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 0)
    };
    compare("attention", &[tensor((80, heads.channels()), 1)], &[], formula, |tape, leaves| {
        attention(tape, &leaves[0], heads, &sequences, scale as f32)
    });
}

#[test]
fn adamw_equals_candles() {
    let weights = tensor(33, 1);
    let variable = Var::from_tensor(&weights.copy().unwrap()).unwrap();
    let settings = ParamsAdamW { lr: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let mut candle = AdamW::new(vec![variable.clone()], settings).unwrap();
    let zeros = || weights.zeros_like().unwrap();
    let (first, second) = (zeros(), zeros());
    for step in 1..=5 {
        let gradient = tensor(33, 10 + step);
        candle
            .backward_step(&(variable.as_tensor() * &gradient).unwrap().sum_all().unwrap())
            .unwrap();
        let update = AdamWStep {
            step,
            learning_rate: 1e-2,
            betas: (0.9, 0.95),
            epsilon: 1e-8,
            weight_decay: 0.1,
            gradient_scale: 1.0,
        };
        adamw(&weights, &gradient, &first, &second, &update).unwrap();
    }
    // Five updates of ten operations, each rounded to 6e-8 on both sides.
    let wanted = wider(&floats(variable.as_tensor()));
    assert_close("adamw: weights", &floats(&weights), &wanted, 1e-6);
}
