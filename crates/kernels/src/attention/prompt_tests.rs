//! Responses that share a prompt, against their definition and against the same responses each behind
//! a copy of it.

use std::ops::Range;

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::reference;
use super::tests::{HEADS, TOLERANCE, both_passes, qkv, scale};
use crate::support::{assert_close, floats, numbers, on_threads, prove, wider};
use crate::{
    Buckets, Heads, Parameter, RelativeBias, Sequences, Tape, Value, attention, biased_attention,
    bidirectional_attention,
};

/// Each group's prompt, and its responses; a group without any is an ordinary sequence.
type Groups = Vec<(usize, Vec<usize>)>;

fn shared(groups: &Groups) -> Sequences {
    let (mut starts, mut is_response) = (vec![0], Vec::new());
    for (prompt, responses) in groups {
        for (length, response) in
            [(prompt, false)].into_iter().chain(responses.iter().map(|length| (length, true)))
        {
            starts.push(starts[starts.len() - 1] + *length as u32);
            is_response.push(response);
        }
    }
    Sequences::with_responses(starts, &is_response).unwrap()
}

/// Prompts and responses on both sides of the edges of tiles (48), chunks (192) and keys of a tile (256).
fn groups() -> Groups {
    vec![
        (120, vec![100, 1, 47, 49]),
        (33, vec![]),
        (1, vec![3, 200]),
        (300, vec![193, 30, 2]),
        (65, vec![64]),
    ]
}

#[test]
fn the_output_equals_the_reference() {
    let sequences = shared(&groups());
    for heads in HEADS {
        let x = qkv(heads, sequences.tokens(), 1);
        for causal in [true, false] {
            let op = if causal { attention } else { bidirectional_attention };
            let (value, scale) = (Value::constant(x.clone()), scale(heads));
            let out = op(&mut Tape::inference(), &value, heads, &sequences, scale).unwrap();
            let given = wider(&floats(&x));
            let wanted =
                reference::forward(&given, heads, &sequences, scale.into(), causal, &|_, _| 0.0);
            let what = format!("{heads:?}, causal {causal}");
            assert_close(&what, &floats(out.tensor()), &wanted, TOLERANCE);
        }
    }
}

#[test]
fn gradients_equal_finite_differences_of_the_reference() {
    let sequences = shared(&vec![(2, vec![3, 1]), (2, vec![]), (1, vec![2])]);
    for heads in [(2, 2, 3), (3, 1, 5), (4, 2, 2)] {
        let heads = Heads { query: heads.0, key_value: heads.1, width: heads.2 };
        let (x, scale) = (qkv(heads, sequences.tokens(), 2), scale(heads));
        for causal in [true, false] {
            let reference = |given: &[Vec<f64>]| {
                let none = &|_, _| 0.0;
                reference::forward(&given[0], heads, &sequences, scale.into(), causal, none)
            };
            let op = if causal { attention } else { bidirectional_attention };
            prove("attention", std::slice::from_ref(&x), &[], reference, |tape, leaves| {
                op(tape, &leaves[0], heads, &sequences, scale)
            });
        }
    }
}

/// The rows of `shared` that each row of the same sequences with a copy of the prompt each stands for,
/// and those sequences.
fn copies(groups: &Groups) -> (Sequences, Vec<usize>) {
    let (mut lengths, mut rows, mut at) = (Vec::new(), Vec::new(), 0);
    for (prompt, responses) in groups {
        let of_prompt = at..at + prompt;
        at += prompt;
        if responses.is_empty() {
            lengths.push(*prompt);
            rows.extend(of_prompt.clone());
        }
        for response in responses {
            lengths.push(prompt + response);
            rows.extend(of_prompt.clone().chain(at..at + response));
            at += response;
        }
    }
    (Sequences::from_lengths(lengths).unwrap(), rows)
}

fn row(numbers: &[f32], width: usize, row: usize) -> &[f32] {
    &numbers[row * width..(row + 1) * width]
}

/// That sharing changes neither the output nor, summed over the copies, the gradient.
fn assert_equals_copies(groups: &Groups, heads: Heads) {
    let (sequences, (alone, rows)) = (shared(groups), copies(groups));
    let (tokens, channels, width) = (sequences.tokens(), heads.channels(), heads.output_channels());
    let (x, gradient) = (qkv(heads, tokens, 3), numbers(tokens * width, 4));
    let numbers = floats(&x);
    let copied: Vec<f32> =
        rows.iter().flat_map(|&at| row(&numbers, channels, at).to_vec()).collect();
    let copied = Tensor::from_vec(copied, (rows.len(), channels), &Device::Cpu).unwrap();
    // What arrives at a prompt arrives at its first copy.
    let mut met = vec![false; tokens];
    let of_copies: Vec<f32> = rows
        .iter()
        .flat_map(|&at| {
            let first = !std::mem::replace(&mut met[at], true);
            row(&gradient, width, at).iter().map(move |value| if first { *value } else { 0.0 })
        })
        .collect();

    let found = both_passes(&x, heads, &sequences, &gradient);
    let wanted = both_passes(&copied, heads, &alone, &of_copies);
    let mut sums = vec![0f64; tokens * channels];
    for (index, &at) in rows.iter().enumerate() {
        let copy = wider(row(&wanted.output, width, index));
        assert_close("output", row(&found.output, width, at), &copy, 1e-5);
        let terms = row(&wanted.gradients[0], channels, index);
        sums[at * channels..][..channels].iter_mut().zip(terms).for_each(|(sum, &term)| {
            *sum += f64::from(term);
        });
    }
    assert_close("gradient", &found.gradients[0], &sums, 1e-5);
}

#[test]
fn responses_that_share_a_prompt_equal_those_behind_a_copy_each() {
    HEADS.into_iter().for_each(|heads| assert_equals_copies(&groups(), heads));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_groups_equal_their_copies(
        groups in prop::collection::vec((1usize..260, prop::collection::vec(1usize..210, 0..5)), 1..4),
        heads in prop::sample::select(HEADS.to_vec()),
    ) {
        assert_equals_copies(&groups, heads);
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let sequences = shared(&groups());
    for heads in HEADS {
        let x = qkv(heads, sequences.tokens(), 5);
        let gradient = numbers(sequences.tokens() * heads.output_channels(), 6);
        let run = |threads| on_threads(threads, || both_passes(&x, heads, &sequences, &gradient));
        let alone = run(1);
        for threads in [2, 5] {
            assert!(run(threads) == alone, "{heads:?} on {threads} threads");
        }
    }
}

#[test]
fn a_response_sees_its_prompt_and_no_other_response() {
    let heads = HEADS[1];
    let sequences = shared(&vec![(3, vec![2, 2]), (2, vec![1])]);
    let x = floats(&qkv(heads, 10, 7));
    let out = |x: &[f32]| {
        let x = Tensor::from_slice(x, (10, heads.channels()), &Device::Cpu).unwrap();
        let value = Value::constant(x);
        let tape = &mut Tape::inference();
        floats(attention(tape, &value, heads, &sequences, scale(heads)).unwrap().tensor())
    };
    let before = out(&x);
    let seen_by = |changed: usize| -> Vec<usize> {
        let mut x = x.clone();
        let moved: Range<usize> = changed * heads.channels()..(changed + 1) * heads.channels();
        x[moved].iter_mut().for_each(|value| *value = 2.0 - 3.0 * *value);
        let after = out(&x);
        let width = heads.output_channels();
        (0..10).filter(|&at| row(&before, width, at) != row(&after, width, at)).collect()
    };
    assert_eq!(seen_by(1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(seen_by(3), [3, 4]);
    assert_eq!(seen_by(5), [5, 6]);
    assert_eq!(seen_by(7), [7, 8, 9]);
    assert_eq!(seen_by(9), [9]);
}

#[test]
fn a_bias_by_distance_and_a_shared_prompt_exclude_each_other() {
    let (heads, sequences) = (HEADS[3], shared(&vec![(2, vec![1])]));
    let buckets = Buckets::t5(4, 8, false).unwrap();
    let table =
        Parameter::single("bias", qkv(Heads { width: 1, ..heads }, 4, 8).narrow(1, 0, 1).unwrap());
    let bias = RelativeBias { table: &table, buckets: &buckets };
    let value = Value::constant(qkv(heads, 3, 9));
    let out = biased_attention(&mut Tape::inference(), &value, heads, &sequences, 1.0, bias);
    assert_eq!(
        out.err().unwrap().to_string(),
        "attention: found a bias by distance and responses that share a prompt, wanted one of them"
    );
}
