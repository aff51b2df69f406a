//! Every operation has the same bits on 1, 2 and 5 threads, both ways, at sizes that are shared out.

#![allow(clippy::unwrap_used)]

mod support;

use albacore_kernels::{
    Angles, Heads, LOGIT_ROWS, Parameter, Result, Sequences, Tape, Value, add, attention,
    embedding, linear, linear_add, linear_logprob, rms_norm, rope, select_rows, swiglu,
};
use candle_core::Tensor;
use support::{numbers, on_threads, parameter, passes, tensor};

fn same_on_any_threads<'a>(
    inputs: &[Tensor],
    parameters: &[&'a Parameter],
    outputs: usize,
    op: impl Fn(&mut Tape<'a>, &[Value<'a>]) -> Result<Value<'a>> + Sync,
) {
    let seed = numbers(outputs, 99);
    let run = |threads| on_threads(threads, || passes(inputs, parameters, &seed, &op));
    let alone = run(1);
    for threads in [2, 5] {
        // Not `assert_eq`, which would print a million numbers.
        assert!(run(threads) == alone, "differs on {threads} threads");
    }
}

/// More than four blocks of rows, the last one not full.
const TOKENS: usize = 300;

#[test]
fn rms_norm_does() {
    let (x, weight) = (tensor((TOKENS, 65), 1), parameter(65, 2));
    same_on_any_threads(&[x], &[&weight], TOKENS * 65, |tape, leaves| {
        rms_norm(tape, &leaves[0], &weight, 1e-5)
    });
}

#[test]
fn linear_does() {
    let (x, weight, bias) = (tensor((TOKENS, 65), 1), parameter((97, 65), 2), parameter(97, 3));
    same_on_any_threads(&[x], &[&weight, &bias], TOKENS * 97, |tape, leaves| {
        linear(tape, &leaves[0], &weight, Some(&bias))
    });
}

#[test]
fn linear_add_does() {
    let (x, residual) = (tensor((TOKENS, 65), 1), tensor((TOKENS, 97), 2));
    let (weight, bias) = (parameter((97, 65), 2), parameter(97, 3));
    same_on_any_threads(&[x, residual], &[&weight, &bias], TOKENS * 97, |tape, leaves| {
        linear_add(tape, &leaves[1], &leaves[0], &weight, Some(&bias))
    });
}

#[test]
fn add_does() {
    let inputs = [tensor((TOKENS, 650), 1), tensor((TOKENS, 650), 2)];
    same_on_any_threads(&inputs, &[], TOKENS * 650, |tape, leaves| {
        add(tape, &leaves[0], &leaves[1])
    });
}

#[test]
fn swiglu_does() {
    same_on_any_threads(&[tensor((TOKENS, 2 * 65), 1)], &[], TOKENS * 65, |tape, leaves| {
        swiglu(tape, &leaves[0])
    });
}

#[test]
fn rope_does() {
    let heads = Heads { query: 3, key_value: 2, width: 6 };
    let angles = Angles::new(numbers(27, 1), numbers(27, 2), 3).unwrap();
    let positions = (0..TOKENS as u32).map(|token| token % 9).collect::<Vec<_>>().into();
    let qkv = tensor((TOKENS, heads.channels()), 1);
    same_on_any_threads(&[qkv], &[], TOKENS * heads.channels(), |tape, leaves| {
        rope(tape, leaves[0].clone(), heads, &angles, &positions)
    });
}

#[test]
fn attention_does() {
    let heads = Heads { query: 4, key_value: 2, width: 6 };
    let sequences = Sequences::from_lengths([1, 170, 129]).unwrap();
    let qkv = tensor((TOKENS, heads.channels()), 1);
    same_on_any_threads(&[qkv], &[], TOKENS * heads.output_channels(), |tape, leaves| {
        attention(tape, &leaves[0], heads, &sequences, 0.4)
    });
}

#[test]
fn embedding_and_select_rows_do() {
    let (weight, ids) = (parameter((70, 65), 1), numbers(TOKENS, 2));
    // Squared: small ids are frequent, as real ones are.
    let ids: Vec<u32> = ids.iter().map(|number| (number * number * 70.0) as u32).collect();
    same_on_any_threads(&[], &[&weight], TOKENS * 65, |tape, _| embedding(tape, &weight, &ids));
    same_on_any_threads(&[tensor((70, 65), 3)], &[], TOKENS * 65, |tape, leaves| {
        select_rows(tape, &leaves[0], &ids)
    });
}

#[test]
fn linear_logprob_does() {
    let rows = LOGIT_ROWS + 30;
    let (hidden, weight) = (tensor((rows, 65), 1), parameter((900, 65), 2));
    let targets: Vec<u32> = (0..rows as u32).map(|row| row * 3 % 900).collect();
    for ahead in [None, Some(numbers(rows, 99))] {
        same_on_any_threads(std::slice::from_ref(&hidden), &[&weight], rows, |tape, leaves| {
            linear_logprob(tape, &leaves[0], &weight, &targets, ahead.clone())
        });
    }
}
