//! Cross-attention against its reference, finite differences, and attention in one sequence.

use super::*;
use crate::support::{assert_close, floats, numbers, on_threads, passes, prove, tensor, wider};
use crate::{Recompute, bidirectional_attention};
use candle_core::Device;

/// The specification, in plain loops.
fn reference(
    q: &[f64],
    kv: &[f64],
    heads: Heads,
    seen: &[(Range<usize>, Range<usize>)],
    scale: f64,
) -> Vec<f64> {
    let (stride, key_stride) = (heads.output_channels(), 2 * heads.key_value * heads.width);
    let mut out = Vec::new();
    for (queries, keys) in seen {
        for query in queries.clone() {
            for head in 0..heads.query {
                let group = head / heads.group();
                let q = &q[query * stride..][heads.q(head)];
                let of = |key: usize, index: usize| &kv[key * key_stride..][heads.q(index)];
                let dot = |key| q.iter().zip(of(key, group)).map(|(q, k)| q * k).sum::<f64>();
                let scores = keys.clone().map(|key| scale * dot(key)).collect::<Vec<_>>();
                let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights = scores.iter().map(|score| (score - highest).exp());
                let weights = weights.collect::<Vec<_>>();
                let total = weights.iter().sum::<f64>();
                out.extend((0..heads.width).map(|channel| {
                    let values = keys.clone().map(|key| of(key, heads.key_value + group));
                    let terms = weights.iter().zip(values).map(|(w, v)| w * v[channel]);
                    terms.sum::<f64>() / total
                }));
            }
        }
    }
    out
}

fn batch(targets: &[usize], sources: &[usize], source_of: &[u32]) -> Crossing {
    let lengths = |lengths: &[usize]| Sequences::from_lengths(lengths.to_vec()).unwrap();
    Crossing::new(&lengths(targets), &lengths(sources), source_of).unwrap()
}

fn inputs(heads: Heads, crossing: &Crossing) -> [Tensor; 2] {
    let kv = (crossing.sources, 2 * heads.key_value * heads.width);
    [tensor((crossing.targets, heads.output_channels()), 1), tensor(kv, 2)]
}

#[test]
fn output_and_gradients_equal_the_reference_and_its_finite_differences() {
    // The second source has two targets and the third none.
    let crossing = batch(&[2, 1, 3, 2], &[3, 2, 1, 4], &[0, 1, 1, 3]);
    for (query, key_value, width) in [(2, 2, 3), (3, 1, 5), (4, 2, 2)] {
        let heads = Heads { query, key_value, width };
        let reference =
            |given: &[Vec<f64>]| reference(&given[0], &given[1], heads, &crossing.stretches, 1.5);
        prove("cross-attention", &inputs(heads, &crossing), &[], reference, |tape, leaves| {
            cross_attention(tape, &leaves[0], &leaves[1], heads, &crossing, 1.5, 0.0)
        });
    }
}

#[test]
fn longer_than_tiles_and_chunks_it_still_equals_the_reference() {
    let crossing = batch(&[1, 300, 47, 210], &[700, 1, 193], &[0, 0, 1, 2]);
    let heads = Heads { query: 2, key_value: 1, width: 20 };
    let [q, kv] = inputs(heads, &crossing);
    let (x, y) = (Value::constant(q.clone()), Value::constant(kv.clone()));
    let out = cross_attention(&mut Tape::inference(), &x, &y, heads, &crossing, 0.5, 0.0).unwrap();
    let [q, kv] = [q, kv].map(|tensor| wider(&floats(&tensor)));
    let wanted = reference(&q, &kv, heads, &crossing.stretches, 0.5);
    assert_close("cross-attention", &floats(out.tensor()), &wanted, 2e-6);
}

#[test]
fn gradients_over_several_chunks_equal_those_of_attention_in_a_batch() {
    // Of source and target in one sequence, where only the target's outputs have a gradient, a
    // bidirectional encoder sees the target's keys too; these are shut out by their scores.
    let (heads, source, target) = (Heads { query: 2, key_value: 2, width: 4 }, 500, 260);
    let crossing = batch(&[target], &[source], &[0]);
    let channels = heads.output_channels();
    let (mut q, kv) = (numbers(target * channels, 3), numbers(source * 2 * channels, 4));
    // The first channel of a query is 1; that of a source's key 0, of a target's key far below.
    q.chunks_mut(heads.width).for_each(|head| head[0] = 1.0);
    let mut kv = kv;
    kv.chunks_mut(2 * channels).for_each(|row| {
        row[..channels].chunks_mut(heads.width).for_each(|head| head[0] = 0.0);
    });
    let seed = numbers(target * channels, 5);
    let of = |data: &[f32], rows| {
        Tensor::from_slice(data, (rows, data.len() / rows), &Device::Cpu).unwrap()
    };
    let found = passes(&[of(&q, target), of(&kv, source)], &[], &seed, |tape, leaves| {
        cross_attention(tape, &leaves[0], &leaves[1], heads, &crossing, 0.7, 0.0)
    });
    let mut qkv = Vec::new();
    for row in kv.chunks(2 * channels) {
        qkv.extend(vec![0.0; channels].iter().chain(row));
    }
    for row in q.chunks(channels) {
        qkv.extend(row);
        let mut far = vec![0.0; 2 * channels];
        far[..channels].chunks_mut(heads.width).for_each(|head| head[0] = -1e4);
        qkv.extend(far);
    }
    let sequences = Sequences::from_lengths([source + target]).unwrap();
    let both = [vec![0.0; source * channels], seed].concat();
    let wanted = passes(&[of(&qkv, source + target)], &[], &both, |tape, leaves| {
        bidirectional_attention(tape, &leaves[0], heads, &sequences, 0.7)
    });
    let (keys, queries) = wanted.gradients[0].split_at(source * 3 * channels);
    let d_q = queries.chunks(3 * channels).flat_map(|row| &row[..channels]).copied();
    let d_kv = keys.chunks(3 * channels).flat_map(|row| &row[channels..]).copied();
    let wide = |numbers: &mut dyn Iterator<Item = f32>| wider(&numbers.collect::<Vec<_>>());
    assert_close("dq", &found.gradients[0], &wide(&mut d_q.into_iter()), 2e-6);
    assert_close("dkv", &found.gradients[1], &wide(&mut d_kv.into_iter()), 2e-6);
    assert_close("output", &found.output, &wider(&wanted.output[source * channels..]), 2e-6);
}

#[test]
fn the_bits_do_not_depend_on_the_threads_or_on_what_is_computed_again() {
    let crossing = batch(&[60, 300, 47], &[400, 90], &[0, 0, 1]);
    let heads = Heads { query: 4, key_value: 2, width: 8 };
    let inputs = inputs(heads, &crossing);
    let seed = numbers(crossing.targets * heads.output_channels(), 5);
    let run = |recompute| {
        let mut tape = Tape::recording(recompute);
        let leaves = inputs.clone().map(|input| tape.leaf(input));
        let out = tape.checkpoint_of(leaves.each_ref(), |tape, [q, kv]| {
            cross_attention(tape, q, kv, heads, &crossing, 0.5, 0.0)
        });
        let out = out.unwrap();
        let numbers = floats(out.tensor());
        let seed = Tensor::from_slice(&seed, out.tensor().shape(), &Device::Cpu).unwrap();
        let slots = tape.backward(&out, seed).unwrap();
        let gradients = leaves.map(|leaf| floats(slots.of(&leaf).unwrap()));
        (numbers, gradients)
    };
    let alone = on_threads(1, || run(Recompute::None));
    assert!(alone == on_threads(5, || run(Recompute::None)));
    assert!(alone == run(Recompute::Selective) && alone == run(Recompute::Block));
}

#[test]
fn targets_without_a_source_or_out_of_order_are_refused() {
    let [two, one] =
        [[2, 3].as_slice(), &[4]].map(|lengths| Sequences::from_lengths(lengths.to_vec()).unwrap());
    let message = |source_of: &[u32]| Crossing::new(&two, &two, source_of).unwrap_err().to_string();
    let wanted = "cross-attention: target 1 sees source 0 after source 1, wanted sources in order";
    assert_eq!(message(&[1, 0]), wanted);
    assert_eq!(message(&[0]), "cross-attention: source_of has shape [1], wanted [2]");
    let error = Crossing::new(&two, &one, &[0, 1]).unwrap_err().to_string();
    assert_eq!(error, "cross-attention: source 1 is out of range, there are 1");
}

/// With dropout the weights that are kept grow, the others are 0, and gradients follow: as the mask has it.
#[test]
fn dropped_weights_equal_the_reference_and_its_finite_differences() {
    let crossing = batch(&[2, 60], &[3, 2], &[0, 1]);
    let heads = Heads { query: 2, key_value: 1, width: 3 };
    let mut tape = Tape::recording(Recompute::None).with_dropout_seed(9);
    let mask = crate::dropout::Mask::next(&mut tape, 0.4).unwrap();
    let reference = |given: &[Vec<f64>]| {
        let mut out = vec![0.0; crossing.targets * heads.output_channels()];
        for (queries, keys) in &crossing.stretches {
            for (query, head) in queries.clone().flat_map(|query| [(query, 0), (query, 1)]) {
                let q = &given[0][query * 6 + head * 3..][..3];
                let row = |key: usize| &given[1][key * 6..][..6];
                let score = |key| 1.5 * q.iter().zip(row(key)).map(|(q, k)| q * k).sum::<f64>();
                let total = keys.clone().map(|key| score(key).exp()).sum::<f64>();
                for key in keys.clone() {
                    let place = ((head as u64) << 44) + ((query as u64) << 22) + key as u64;
                    let weight = score(key).exp() / total * f64::from(mask.factor(place));
                    for channel in 0..3 {
                        out[query * 6 + head * 3 + channel] += weight * row(key)[3 + channel];
                    }
                }
            }
        }
        out
    };
    prove("dropped", &inputs(heads, &crossing), &[], reference, |tape, leaves| {
        let fresh = std::mem::replace(tape, Tape::inference());
        *tape = fresh.with_dropout_seed(9);
        cross_attention(tape, &leaves[0], &leaves[1], heads, &crossing, 1.5, 0.4)
    });
}
