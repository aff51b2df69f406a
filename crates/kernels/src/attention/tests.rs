//! Attention against its reference, Candle's autograd in f64, and itself under other circumstances.

use std::cell::Cell;
use std::slice::from_ref;

use candle_core::{D, DType, Device, Tensor, Var};

use super::reference;
use crate::storage::Like;
use crate::support::{
    Passes, assert_close, floats, gradient, numbers, on_threads, parameter, passes, prove, tensor,
    wider,
};
use crate::{
    Heads, Recompute, Result, Sequences, Tape, Value, add, attention, bidirectional_attention,
    linear, storage,
};

/// Below, at and above the edges of tiles (48), of chunks (192) and of the keys of a tile (256).
pub(super) const LENGTHS: [usize; 6] = [1, 33, 64, 65, 300, 48];

/// One head a group, three heads a group, one group; widths on and off multiples of a vector.
pub(super) const HEADS: [Heads; 4] = [
    Heads { query: 3, key_value: 3, width: 16 },
    Heads { query: 6, key_value: 2, width: 64 },
    Heads { query: 2, key_value: 1, width: 80 },
    Heads { query: 1, key_value: 1, width: 3 },
];

/// Rounding to 6e-8 once for each of some 300 keys, most of it averaged out.
pub(super) const TOLERANCE: f64 = 2e-6;

pub(super) fn qkv(heads: Heads, tokens: usize, seed: u64) -> Tensor {
    let numbers = numbers(tokens * heads.channels(), seed);
    Tensor::from_vec(numbers, (tokens, heads.channels()), &Device::Cpu).unwrap()
}

/// The usual scale, doubled for attention that is not nearly even.
pub(super) fn scale(heads: Heads) -> f32 {
    2.0 / (heads.width as f32).sqrt()
}

fn no_bias(_distance: i64, _head: usize) -> f64 {
    0.0
}

pub(super) fn both_passes(
    qkv: &Tensor,
    heads: Heads,
    sequences: &Sequences,
    seed: &[f32],
) -> Passes {
    passes(from_ref(qkv), &[], seed, |tape, leaves| {
        attention(tape, &leaves[0], heads, sequences, scale(heads))
    })
}

#[test]
fn the_output_equals_the_reference() {
    let sequences = Sequences::from_lengths(LENGTHS).unwrap();
    for heads in HEADS {
        let x = qkv(heads, sequences.tokens(), 1);
        for causal in [true, false] {
            let value = Value::constant(x.clone());
            let op = if causal { attention } else { bidirectional_attention };
            let scale = scale(heads);
            let out = op(&mut Tape::inference(), &value, heads, &sequences, scale).unwrap();
            let given = wider(&floats(&x));
            let wanted =
                reference::forward(&given, heads, &sequences, scale.into(), causal, &no_bias);
            let what = format!("{heads:?}, causal {causal}");
            assert_close(&what, &floats(out.tensor()), &wanted, TOLERANCE);
        }
    }
}

#[test]
fn gradients_equal_finite_differences_of_the_reference() {
    let sequences = Sequences::from_lengths([1, 2, 7]).unwrap();
    for heads in [(2, 2, 3), (3, 1, 5), (4, 2, 2)] {
        let heads = Heads { query: heads.0, key_value: heads.1, width: heads.2 };
        let (x, scale) = (qkv(heads, 10, 2), scale(heads));
        for causal in [true, false] {
            let reference = |given: &[Vec<f64>]| {
                reference::forward(&given[0], heads, &sequences, scale.into(), causal, &no_bias)
            };
            let op = if causal { attention } else { bidirectional_attention };
            prove("attention", from_ref(&x), &[], reference, |tape, leaves| {
                op(tape, &leaves[0], heads, &sequences, scale)
            });
        }
    }
}

/// The unfused formula on Candle tensors. Not `softmax_last_dim`: it has no backward pass.
pub(super) fn formula(
    qkv: &Tensor,
    heads: Heads,
    sequences: &Sequences,
    scale: f64,
    causal: bool,
    bias: &dyn Fn(usize) -> candle_core::Result<Tensor>, // (H, len, len) of a sequence
) -> candle_core::Result<Tensor> {
    let Heads { query, key_value, width } = heads;
    let outputs = sequences.iter().map(|rows| {
        let len = rows.len();
        let rows = qkv.narrow(0, rows.start, len)?;
        let part = |first: usize, heads: usize| {
            rows.narrow(1, first * width, heads * width)?
                .reshape((len, heads, width))?
                .transpose(0, 1)
        };
        // (G, len, D) to (H, len, D): each head of a group reads the same.
        let shared = |part: Tensor| {
            let shape = (key_value, heads.group(), len, width);
            part.unsqueeze(1)?.broadcast_as(shape)?.reshape((query, len, width))
        };
        let q = part(0, query)?.contiguous()?;
        let (k, v) = (part(query, key_value)?, part(query + key_value, key_value)?);
        let scores = (q.matmul(&shared(k)?.t()?.contiguous()?)? * scale)?; // (H, len, len)
        let seen = Tensor::tril2(len, DType::F64, &Device::Cpu)?;
        let hidden = ((1.0 - seen)? * if causal { -1e9 } else { 0.0 })?;
        let weights =
            candle_nn::ops::softmax(&(scores + bias(len)?)?.broadcast_add(&hidden)?, D::Minus1)?;
        weights.matmul(&shared(v)?)?.transpose(0, 1)?.reshape((len, query * width))
    });
    Tensor::cat(&outputs.collect::<candle_core::Result<Vec<_>>>()?, 0)
}

#[test]
fn gradients_equal_candles_autograd_in_f64() {
    let sequences = Sequences::from_lengths(LENGTHS).unwrap();
    for heads in HEADS {
        let (x, scale) = (qkv(heads, sequences.tokens(), 3), scale(heads));
        let seed = numbers(sequences.tokens() * heads.output_channels(), 4);
        for causal in [true, false] {
            let variable = Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
            let none = |len| Tensor::zeros((heads.query, len, len), DType::F64, &Device::Cpu);
            let out = formula(&variable, heads, &sequences, scale.into(), causal, &none).unwrap();
            let weights = Tensor::from_vec(wider(&seed), out.shape(), &Device::Cpu).unwrap();
            let gradients = (out * weights).unwrap().sum_all().unwrap().backward().unwrap();
            let wanted = gradients.get(&variable).unwrap().flatten_all().unwrap();
            let op = if causal { attention } else { bidirectional_attention };
            let found = passes(from_ref(&x), &[], &seed, |tape, leaves| {
                op(tape, &leaves[0], heads, &sequences, scale)
            });
            let what = format!("{heads:?}, causal {causal}: gradient");
            assert_close(&what, &found.gradients[0], &wanted.to_vec1().unwrap(), TOLERANCE);
        }
    }
}

#[test]
fn a_gradient_that_is_there_already_is_added_to() {
    let heads = HEADS[1];
    let sequences = Sequences::from_lengths([300, 7]).unwrap();
    let (x, seed) = (qkv(heads, 307, 5), numbers(307 * heads.output_channels(), 6));
    let once = both_passes(&x, heads, &sequences, &seed);
    let twice = passes(&[x], &[], &seed, |tape, leaves| {
        let first = attention(tape, &leaves[0], heads, &sequences, scale(heads))?;
        let second = attention(tape, &leaves[0], heads, &sequences, scale(heads))?;
        add(tape, &first, &second)
    });
    let wanted = once.gradients[0].iter().map(|&value| 2.0 * f64::from(value)).collect::<Vec<_>>();
    assert_close("twice", &twice.gradients[0], &wanted, 1e-6);
}

/// The numbers of some of `of` equal rows.
pub(super) fn rows(all: &[f32], of: usize, range: std::ops::Range<usize>) -> &[f32] {
    let width = all.len() / of;
    &all[range.start * width..range.end * width]
}

#[test]
fn a_sequence_in_a_pack_equals_the_sequence_alone_bit_for_bit() {
    // The contract is 1e-5. Tiles are counted from the start of a sequence, so that even the order
    // of the terms of a sum is the same.
    let sequences = Sequences::from_lengths(LENGTHS).unwrap();
    let tokens = sequences.tokens();
    for heads in HEADS {
        let (x, seed) = (qkv(heads, tokens, 7), numbers(tokens * heads.output_channels(), 8));
        let packed = both_passes(&x, heads, &sequences, &seed);
        for range in sequences.iter() {
            let alone = Sequences::from_lengths([range.len()]).unwrap();
            let x = x.narrow(0, range.start, range.len()).unwrap();
            let found = both_passes(&x, heads, &alone, rows(&seed, tokens, range.clone()));
            assert!(found.output == rows(&packed.output, tokens, range.clone()), "{range:?}");
            let gradient = rows(&packed.gradients[0], tokens, range.clone());
            assert!(found.gradients[0] == gradient, "gradient of {range:?}");
        }
    }
}

/// Gradients of `qkv` and of a projection behind attention, whose output is spoilt in between.
fn spoilt(recompute: Recompute, spoil: bool) -> [Vec<f32>; 2] {
    let heads = HEADS[1];
    let sequences = Sequences::from_lengths([70, 3]).unwrap();
    let o_proj = parameter((5, heads.output_channels()), 21);
    let mut tape = Tape::recording(recompute);
    let leaf = tape.leaf(qkv(heads, 73, 22));
    let mixed = attention(&mut tape, &leaf, heads, &sequences, scale(heads)).unwrap();
    let out = linear(&mut tape, &mixed, &o_proj, None).unwrap();
    if spoil {
        let fill = |numbers: &mut [f32]| {
            numbers.fill(7.0);
            Ok(())
        };
        storage::write(mixed.tensor(), fill).unwrap();
    }
    drop(mixed);
    let slots = tape.backward(&out, tensor((73, 5), 23)).unwrap();
    [floats(slots.of(&leaf).unwrap()), gradient(&o_proj).unwrap()]
}

#[test]
fn the_output_is_computed_again_where_the_tape_asks_for_it_and_kept_where_not() {
    let wanted = spoilt(Recompute::None, false);
    assert!(spoilt(Recompute::Selective, false) == wanted);
    assert!(spoilt(Recompute::Selective, true) == wanted);
    let kept = spoilt(Recompute::None, true);
    assert!(kept[0] != wanted[0] && kept[1] != wanted[1]);
}

#[test]
fn an_output_that_two_have_kept_is_computed_again_once() {
    let (built, x) = (Cell::new(0), tensor((3, 4), 24));
    let (o_proj, like) = (parameter((2, 4), 25), Like::of(&x));
    let mut tape = Tape::recording(Recompute::Selective);
    let leaf = tape.leaf(x.clone());
    let (slot, built_here) = (leaf.slot(), &built);
    let output = Value::constant(x.clone()).with_recipe(&tape, move || {
        built_here.set(built_here.get() + 1);
        Ok(x.copy()?)
    });
    let kept = tape.keep(&output);
    let output = tape.record_value(output, true, move |slots, gradient| {
        kept.get()?;
        slots.accumulate(slot, &like, |sum, _| Ok(sum.slice_set(&gradient, 0, 0)?))
    });
    let out = linear(&mut tape, &output, &o_proj, None).unwrap();
    drop(output);
    assert_eq!(built.get(), 0);
    tape.backward(&out, tensor((3, 2), 26)).unwrap();
    assert_eq!(built.get(), 1);
}

#[test]
fn other_sequences_and_later_tokens_leave_an_output_as_it_is() {
    let heads = HEADS[1];
    let sequences = Sequences::from_lengths([65, 300, 40]).unwrap();
    let run = |x: &Tensor| {
        let value = Value::constant(x.clone());
        let tape = &mut Tape::inference();
        floats(attention(tape, &value, heads, &sequences, scale(heads)).unwrap().tensor())
    };
    let x = qkv(heads, 405, 9);
    let before = run(&x);
    for changed in [0, 64, 65, 112, 113, 256, 300, 364, 365, 404] {
        let other = x.copy().unwrap();
        storage::write(&other, |other| {
            let row = &mut other[changed * heads.channels()..(changed + 1) * heads.channels()];
            row.iter_mut().for_each(|value| *value = 100.0 - 300.0 * *value);
            Ok(())
        })
        .unwrap();
        let after = run(&other);
        let sequence = sequences.iter().find(|range| range.contains(&changed)).unwrap();
        for token in 0..405 {
            let same = rows(&before, 405, token..token + 1) == rows(&after, 405, token..token + 1);
            let sees = sequence.contains(&token) && token >= changed;
            assert_eq!(same, !sees, "token {token} after token {changed} has changed");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let sequences = Sequences::from_lengths([500, 1, 33, 200]).unwrap();
    for heads in HEADS {
        let (x, seed) = (qkv(heads, 734, 10), numbers(734 * heads.output_channels(), 11));
        let alone = on_threads(1, || both_passes(&x, heads, &sequences, &seed));
        for threads in [2, 5] {
            let found = on_threads(threads, || both_passes(&x, heads, &sequences, &seed));
            assert!(found == alone, "{heads:?} on {threads} threads");
        }
    }
}

#[test]
fn scores_of_thousands_neither_overflow_nor_vanish() {
    let heads = HEADS[0];
    let sequences = Sequences::from_lengths([300]).unwrap();
    let (x, scale) = (qkv(heads, 300, 12), 1e4);
    let value = Value::constant(x.clone());
    let out = attention(&mut Tape::inference(), &value, heads, &sequences, scale).unwrap();
    let wanted = reference::forward(
        &wider(&floats(&x)),
        heads,
        &sequences,
        f64::from(scale),
        true,
        &no_bias,
    );
    // A score of 1e4 is rounded by up to 5e-4, and its exponential by as much.
    assert_close("large scores", &floats(out.tensor()), &wanted, 5e-3);
    let seed = numbers(300 * heads.output_channels(), 13);
    let found = passes(&[x], &[], &seed, |tape, leaves| {
        attention(tape, &leaves[0], heads, &sequences, scale)
    });
    assert!(found.gradients[0].iter().all(|value| value.is_finite()));
}

#[test]
fn a_score_that_is_not_a_number_reaches_the_output() {
    let heads = Heads { query: 1, key_value: 1, width: 4 };
    let sequences = Sequences::from_lengths([3]).unwrap();
    let x = qkv(heads, 3, 14);
    storage::write(&x, |x| {
        x[heads.channels() + heads.k(0).start] = f32::NAN; // the key of token 1
        Ok(())
    })
    .unwrap();
    let out = attention(&mut Tape::inference(), &Value::constant(x), heads, &sequences, 1.0);
    let nan = floats(out.unwrap().tensor()).iter().map(|value| value.is_nan()).collect::<Vec<_>>();
    assert_eq!(nan, [[false; 4], [true; 4], [true; 4]].concat());
}

#[test]
fn shapes_and_heads_that_do_not_fit_are_refused() {
    let sequences = Sequences::from_lengths([3]).unwrap();
    let message = |tokens, query, key_value| -> Result<String> {
        let heads = Heads { query, key_value, width: 2 };
        let value = Value::constant(Tensor::zeros((tokens, 8), DType::F32, &Device::Cpu)?);
        let out = attention(&mut Tape::inference(), &value, heads, &sequences, 1.0);
        Ok(out.err().map(|error| error.to_string()).unwrap_or_default())
    };
    assert_eq!(message(3, 2, 1).unwrap(), "");
    assert_eq!(message(4, 2, 1).unwrap(), "attention: qkv has shape [4, 8], wanted [3, 8]");
    for key_value in [0, 2] {
        let message = message(3, 3, key_value).unwrap();
        let wanted = "wanted query heads in a multiple of the key/value heads";
        assert!(message.ends_with(wanted), "{message}");
    }
}
