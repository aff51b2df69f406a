//! Attention with a bias against its reference, Candle's autograd in f64, and itself under other circumstances.

use std::slice::from_ref;

use candle_core::{DType, Device, Tensor, Var};

use crate::attention::tests::{HEADS, LENGTHS, TOLERANCE, formula, qkv, rows, scale};
use crate::attention::{reference, tests};
use crate::support::{
    Passes, assert_close, floats, gradient, numbers, on_threads, parameter, passes, prove, tensor,
    wider,
};
use crate::{
    Buckets, Heads, Parameter, Recompute, RelativeBias, Sequences, Tape, Value, add,
    biased_attention,
};

/// A few buckets, of which the last begins inside a tile; and T5's own.
fn all_buckets() -> [Buckets; 4] {
    [(10, 40, false), (10, 40, true), (32, 128, false), (32, 128, true)]
        .map(|(count, far, both)| Buckets::t5(count, far, both).unwrap())
}

fn table(buckets: &Buckets, heads: Heads, seed: u64) -> Parameter {
    parameter((buckets.count(), heads.query), seed)
}

fn run(
    x: &Tensor,
    heads: Heads,
    sequences: &Sequences,
    bias: RelativeBias<'_>,
    seed: &[f32],
) -> Passes {
    passes(from_ref(x), &[bias.table], seed, |tape, leaves| {
        biased_attention(tape, &leaves[0], heads, sequences, scale(heads), bias)
    })
}

#[test]
fn buckets_are_exact_at_first_and_then_wider_and_keep_to_their_direction() {
    let buckets = Buckets::t5(32, 128, true).unwrap();
    let of = |distances: &[i64]| distances.iter().map(|&d| buckets.of(d)).collect::<Vec<_>>();
    assert_eq!(of(&[0, -1, -7, -8, -11, -12, -15, -16]), [0, 1, 7, 8, 8, 9, 9, 10]);
    assert_eq!(of(&[-90, -91, -127, -128, -5000, i64::MIN]), [14, 15, 15, 15, 15, 15]);
    assert_eq!(of(&[1, 7, 8, 128, i64::MAX]), [17, 23, 24, 31, 31]);
    let past = Buckets::t5(32, 128, false).unwrap();
    assert_eq!(
        [past.of(5), past.of(0), past.of(-15), past.of(-16), past.of(-113)],
        [0, 0, 15, 16, 31]
    );
    for buckets in all_buckets() {
        let monotone = |distances: &mut dyn Iterator<Item = i64>| {
            let buckets: Vec<usize> = distances.map(|distance| buckets.of(distance)).collect();
            assert!(buckets.is_sorted(), "{buckets:?}");
        };
        monotone(&mut (0..200).map(|distance| -distance));
        monotone(&mut (1..200));
    }
}

#[test]
fn buckets_that_leave_no_exact_one_or_no_range_are_refused() {
    for (count, far, both, exact) in [(1, 128, false, 0), (3, 128, true, 0), (32, 8, true, 8)] {
        let message = Buckets::t5(count, far, both).unwrap_err().to_string();
        let wanted = format!("found {count} buckets up to distance {far}, of which {exact} would");
        assert!(message.contains(&wanted), "{message}");
    }
    assert!(Buckets::t5(2, 2, false).is_ok() && Buckets::t5(4, 2, true).is_ok());
}

#[test]
fn gradients_equal_finite_differences_of_the_reference() {
    let sequences = Sequences::from_lengths([1, 2, 9]).unwrap();
    for (query, key_value, width) in [(2, 2, 3), (3, 1, 5), (4, 2, 2)] {
        let heads = Heads { query, key_value, width };
        for both in [false, true] {
            let buckets = Buckets::t5(8, 6, both).unwrap();
            let (x, table) = (qkv(heads, 12, 2), table(&buckets, heads, 3));
            let reference = |given: &[Vec<f64>]| {
                let bias = |distance, head| given[1][buckets.of(distance) * query + head];
                reference::forward(&given[0], heads, &sequences, scale(heads).into(), !both, &bias)
            };
            prove("biased attention", from_ref(&x), &[&table], reference, |tape, leaves| {
                let bias = RelativeBias { table: &table, buckets: &buckets };
                biased_attention(tape, &leaves[0], heads, &sequences, scale(heads), bias)
            });
        }
    }
}

#[test]
fn output_and_gradients_equal_candles_autograd_in_f64() {
    let sequences = Sequences::from_lengths(LENGTHS).unwrap();
    for (heads, buckets) in HEADS.into_iter().zip(all_buckets()) {
        let (x, table) = (qkv(heads, sequences.tokens(), 3), table(&buckets, heads, 5));
        let seed = numbers(sequences.tokens() * heads.output_channels(), 4);
        let double = |x: &Tensor| Var::from_tensor(&x.to_dtype(DType::F64).unwrap()).unwrap();
        let variables = [double(&x), double(table.value())];
        let bias = |len: usize| {
            let pairs = (0..len * len).map(|pair| (pair % len) as i64 - (pair / len) as i64);
            let ids: Vec<u32> = pairs.map(|distance| buckets.of(distance) as u32).collect();
            let ids = Tensor::new(ids, &Device::Cpu)?;
            let values = variables[1].index_select(&ids, 0)?; // (len len, H)
            values.t()?.contiguous()?.reshape((heads.query, len, len))
        };
        let (scale, causal) = (scale(heads).into(), !buckets.is_bidirectional());
        let out = formula(&variables[0], heads, &sequences, scale, causal, &bias).unwrap();
        let weights = Tensor::from_vec(wider(&seed), out.shape(), &Device::Cpu).unwrap();
        let gradients = (&out * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let found =
            run(&x, heads, &sequences, RelativeBias { table: &table, buckets: &buckets }, &seed);
        let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1().unwrap();
        let what = format!("{heads:?}, causal {causal}");
        assert_close(&what, &found.output, &numbers(&out), TOLERANCE);
        for (found, variable) in found.gradients.iter().zip(&variables) {
            let wanted = numbers(gradients.get(variable).unwrap());
            assert_close(&format!("{what}: gradient"), found, &wanted, TOLERANCE);
        }
    }
}

#[test]
fn layers_that_share_a_table_add_to_its_gradient_and_a_frozen_one_gets_none() {
    let (heads, buckets) = (HEADS[1], &all_buckets()[3]);
    let sequences = Sequences::from_lengths([300, 7]).unwrap();
    let (x, seed) = (qkv(heads, 307, 5), numbers(307 * heads.output_channels(), 6));
    let mut table = table(buckets, heads, 7);
    let once = run(&x, heads, &sequences, RelativeBias { table: &table, buckets }, &seed);
    let twice = passes(from_ref(&x), &[&table], &seed, |tape, leaves| {
        let bias = RelativeBias { table: &table, buckets };
        let first = biased_attention(tape, &leaves[0], heads, &sequences, scale(heads), bias)?;
        let second = biased_attention(tape, &leaves[0], heads, &sequences, scale(heads), bias)?;
        add(tape, &first, &second)
    });
    for (found, once) in twice.gradients.iter().zip(&once.gradients) {
        let wanted: Vec<f64> = once.iter().map(|&value| 2.0 * f64::from(value)).collect();
        assert_close("twice", found, &wanted, 1e-6);
    }
    table.set_trainable(|_| false);
    let frozen = passes(from_ref(&x), &[], &seed, |tape, leaves| {
        let bias = RelativeBias { table: &table, buckets };
        biased_attention(tape, &leaves[0], heads, &sequences, scale(heads), bias)
    });
    assert!(gradient(&table).is_none());
    assert!(frozen.output == once.output && frozen.gradients[0] == once.gradients[0]);
}

#[test]
fn a_table_is_trained_even_if_nothing_below_attention_is() {
    let (heads, buckets) = (HEADS[1], &all_buckets()[1]);
    let sequences = Sequences::from_lengths([70, 2]).unwrap();
    let (x, table) = (qkv(heads, 72, 8), table(buckets, heads, 9));
    let seed = tensor((72, heads.output_channels()), 10);
    let bias = RelativeBias { table: &table, buckets };
    let wanted = run(&x, heads, &sequences, bias, &floats(&seed));
    for recompute in [Recompute::None, Recompute::Selective, Recompute::Block] {
        table.clear_gradient();
        let mut tape = Tape::recording(recompute);
        let sequences = &sequences;
        let out = tape.checkpoint(&Value::constant(x.clone()), move |tape, x| {
            biased_attention(tape, x, heads, sequences, scale(heads), bias)
        });
        tape.backward(&out.unwrap(), seed.copy().unwrap()).unwrap();
        assert!(gradient(&table).as_ref() == Some(&wanted.gradients[1]), "{recompute:?}");
    }
}

#[test]
fn the_bits_depend_neither_on_the_number_of_threads_nor_on_other_sequences() {
    let sequences = Sequences::from_lengths([500, 1, 33, 200]).unwrap();
    for (heads, buckets) in HEADS.into_iter().zip(all_buckets()) {
        let table = table(&buckets, heads, 12);
        let bias = RelativeBias { table: &table, buckets: &buckets };
        let (x, seed) = (qkv(heads, 734, 10), numbers(734 * heads.output_channels(), 11));
        let packed = on_threads(1, || run(&x, heads, &sequences, bias, &seed));
        for threads in [2, 5] {
            let found = on_threads(threads, || run(&x, heads, &sequences, bias, &seed));
            assert!(found == packed, "{heads:?} on {threads} threads");
        }
        for range in sequences.iter() {
            let alone = Sequences::from_lengths([range.len()]).unwrap();
            let x = x.narrow(0, range.start, range.len()).unwrap();
            let found = run(&x, heads, &alone, bias, rows(&seed, 734, range.clone()));
            assert!(found.output == rows(&packed.output, 734, range.clone()), "{range:?}");
            let gradient = rows(&packed.gradients[0], 734, range.clone());
            assert!(found.gradients[0] == gradient, "gradient of {range:?}");
        }
    }
}

#[test]
fn a_table_of_zeros_changes_no_bit_and_one_of_another_shape_is_refused() {
    let (heads, buckets) = (HEADS[0], &all_buckets()[2]);
    let sequences = Sequences::from_lengths([300]).unwrap();
    let (x, seed) = (qkv(heads, 300, 12), numbers(300 * heads.output_channels(), 13));
    let zeros = Tensor::zeros((32, heads.query), DType::F32, &Device::Cpu).unwrap();
    let table = Parameter::single("table", zeros);
    let found = run(&x, heads, &sequences, RelativeBias { table: &table, buckets }, &seed);
    let wanted = tests::both_passes(&x, heads, &sequences, &seed);
    assert!(found.output == wanted.output && found.gradients[0] == wanted.gradients[0]);

    let table = parameter((heads.query, 32), 1);
    let bias = RelativeBias { table: &table, buckets };
    let (tape, value) = (&mut Tape::inference(), Value::constant(x));
    let error = biased_attention(tape, &value, heads, &sequences, 1.0, bias).err().unwrap();
    let wanted = "attention: the bias table has shape [3, 32], wanted [32, 3]";
    assert_eq!(error.to_string(), wanted);
}

/// The output is linear in the values for a given mask, so the gradient of the values times them is the
/// output times its own; and scores far apart leave one weight, which is kept or dropped.
#[test]
fn dropped_weights_are_the_same_in_both_passes_and_on_every_thread() {
    let (heads, buckets) = (HEADS[0], &all_buckets()[3]);
    let table = table(buckets, heads, 3);
    let bias = RelativeBias { table: &table, buckets };
    let sequences = Sequences::from_lengths([300, 1, 70]).unwrap();
    let x = qkv(heads, 371, 2);
    let seed = numbers(371 * heads.output_channels(), 4);
    let run = |rate, recompute| {
        table.clear_gradient();
        let mut tape = Tape::recording(recompute).with_dropout_seed(5);
        let leaf = tape.leaf(x.copy().unwrap());
        let out = tape.checkpoint(&leaf, |tape, x| {
            crate::biased_attention_with_dropout(tape, x, heads, &sequences, 0.5, bias, rate)
        });
        let out = out.unwrap();
        let numbers = floats(out.tensor());
        let seed = Tensor::from_slice(&seed, out.tensor().shape(), &Device::Cpu).unwrap();
        let slots = tape.backward(&out, seed).unwrap();
        (numbers, floats(slots.of(&leaf).unwrap()), gradient(&table).unwrap())
    };
    let alone = on_threads(1, || run(0.3, Recompute::None));
    assert!(alone == on_threads(5, || run(0.3, Recompute::None)));
    assert!(alone == run(0.3, Recompute::Selective) && alone == run(0.3, Recompute::Block));
    assert!(alone.0 != run(0.0, Recompute::None).0);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let values = |rows: &[f32]| -> Vec<f32> {
        let of_values = heads.v(0).start..heads.v(heads.key_value - 1).end;
        rows.chunks(heads.channels()).flat_map(|row| row[of_values.clone()].to_vec()).collect()
    };
    let (forward, backward) = (dot(&alone.0, &seed), dot(&values(&floats(&x)), &values(&alone.1)));
    assert!((forward - backward).abs() < 1e-4 * forward.abs(), "{forward} and {backward}");
    // One key alone has the weight 1: it is dropped, or it grows.
    let one = &alone.0[300 * heads.output_channels()..][..heads.output_channels()];
    let value = &floats(&x)[300 * heads.channels()..][heads.v(0).start..heads.channels()];
    for (found, value) in one.chunks(heads.width).zip(value.chunks(heads.width)) {
        let factor = found[0] / value[0];
        assert!(factor == 0.0 || (factor - 1.0 / 0.7).abs() < 1e-5, "{factor}");
    }
}
