//! Attention of one batch to another, and attention that drops weights, against the CPU's.

use candle_core::{Device, Tensor};

use super::rows::matrix;
use super::{BOTH, assert_twin, exact};
use crate::device::attention::{Call, Streams};
use crate::device::bias::{Bias, Table};
use crate::device::tiles::{
    Tiles, alone, crossing_key_tiles, crossing_query_tiles, key_tiles, query_tiles,
};
use crate::dropout::Mask;
use crate::emulator::Emulator;
use crate::launch::{Compute, Gpu};
use crate::support::passes;
use crate::{
    Buckets, Crossing, Heads, Parameter, RelativeBias, Sequences, Tape,
    biased_attention_with_dropout, cross_attention,
};

const SCALE: f32 = 0.2;
const SEED: u64 = 9;

/// Lets a test's tape drop.
fn seeded(tape: &mut Tape<'_>) {
    let fresh = std::mem::replace(tape, Tape::inference());
    *tape = fresh.with_dropout_seed(SEED);
}

/// The mask of such a tape's first dropout.
fn mask(rate: f32) -> Option<Mask> {
    Mask::next(&mut Tape::inference().with_dropout_seed(SEED), rate)
}

/// Targets of one token, of a tile and of more, several to a source and sources without any; for wide heads,
/// which take the emulator long, fewer.
fn crossing(wide: bool) -> (Crossing, [usize; 2]) {
    let lengths = |lengths: &[usize]| Sequences::from_lengths(lengths.to_vec()).unwrap();
    let (targets, sources, source_of): (_, _, &[u32]) = match wide {
        false => (lengths(&[1, 66, 3, 64, 5]), lengths(&[67, 2, 1, 64, 70, 3]), &[0, 0, 2, 3, 3]),
        true => (lengths(&[1, 3, 65]), lengths(&[5, 2, 66]), &[0, 0, 2]),
    };
    let crossing = Crossing::new(&targets, &sources, source_of).unwrap();
    (crossing, [targets.tokens(), sources.tokens()])
}

/// Runs both passes with the kernels and on the CPU.
fn prove_crossing(heads: Heads, compute: Compute, dropout: f32) {
    let Some(gpu) = Emulator::new() else { return };
    let (crossing, [targets, sources]) = crossing(heads.width > 64);
    let (width, key_width) = (heads.output_channels(), 2 * heads.key_value * heads.width);
    let (q, kv) = (exact(targets * width, 1, compute), exact(sources * key_width, 2, compute));
    let gradient = exact(targets * width, 3, compute);
    let inputs = [matrix(&q, width), matrix(&kv, key_width)];
    let wanted = passes(&inputs, &[], &gradient, |tape, leaves| {
        seeded(tape);
        cross_attention(tape, &leaves[0], &leaves[1], heads, &crossing, SCALE, dropout)
    });

    let mut call = Call::new(heads, targets, SCALE, false, compute).unwrap();
    let zeros = gpu.numbers(&vec![0.0; heads.query], Compute::F32);
    call.dropout = mask(dropout);
    call.bias = call.dropout.map(|_| Bias::of_one_distance(zeros));
    let send = |words: Vec<u32>| (gpu.words(&words), words.len());
    let stretches = crossing.stretches();
    let tiles = [
        Tiles::of_queries(send(crossing_query_tiles(stretches))),
        Tiles::of_keys(send(crossing_key_tiles(stretches, sources))),
    ];
    let [at_q, at_kv, at_gradient] =
        [&q, &kv, &gradient].map(|numbers| gpu.numbers(numbers, compute));
    let [out, d_q, d_kv] = [&q, &q, &kv].map(|like| gpu.room(like.len(), compute));
    let sums = gpu.room(heads.query * targets, Compute::F32);
    let (from, to) = (Streams::apart(heads, [at_q, at_kv]), Streams::apart(heads, [d_q, d_kv]));
    call.forward(&gpu, tiles[0], [out, sums], from).unwrap();
    call.backward(&gpu, tiles, [to, from], [out, at_gradient, sums], false, None).unwrap();
    let memory = gpu.run();

    let kind = if dropout > 0.0 { "dropped cross-attention" } else { "cross-attention" };
    let what =
        |part: &str| format!("{kind} {part} {}/{}x{}", heads.query, heads.key_value, heads.width);
    assert_twin(&what("forward"), &memory.numbers(out, compute), &wanted.output, compute);
    let gradients = [(d_q, "backward, queries"), (d_kv, "backward, keys")];
    for ((at, part), wanted) in gradients.into_iter().zip(&wanted.gradients) {
        assert_twin(&what(part), &memory.numbers(at, compute), wanted, compute);
    }
}

fn heads(query: usize, key_value: usize, width: usize) -> Heads {
    Heads { query, key_value, width }
}

#[test]
fn emulated_cross_attention_is_its_twin_at_every_width() {
    for compute in BOTH {
        for width in [8, 64, 80, 96, 128, 256] {
            let query = if width == 8 { 4 } else { 1 };
            prove_crossing(heads(query, query.div_ceil(2), width), compute, 0.0);
        }
        prove_crossing(heads(3, 3, 16), compute, 0.0);
    }
}

#[test]
fn emulated_cross_attention_drops_what_the_cpu_drops() {
    for compute in BOTH {
        for (query, key_value, width) in [(2, 1, 8), (1, 1, 64), (1, 1, 72), (1, 1, 136)] {
            prove_crossing(heads(query, key_value, width), compute, 0.3);
        }
    }
}

/// As `prove_crossing`, of sequences that see themselves, with a bias by distance whose table is trained.
fn prove_dropped(heads: Heads, starts: &[u32], buckets: &Buckets, compute: Compute) {
    let Some(gpu) = Emulator::new() else { return };
    let sequences = Sequences::new(starts.to_vec()).unwrap();
    let (tokens, causal) = (sequences.tokens(), !buckets.is_bidirectional());
    let qkv = exact(tokens * heads.channels(), 1, compute);
    let gradient = exact(tokens * heads.output_channels(), 2, compute);
    let values = exact(buckets.count() * heads.query, 3, compute);
    let shape = (buckets.count(), heads.query);
    let table = Tensor::from_slice(&values, shape, &Device::Cpu).unwrap();
    let table = Parameter::single("table", table);
    let bias = RelativeBias { table: &table, buckets };
    let input = [matrix(&qkv, heads.channels())];
    let wanted = passes(&input, &[&table], &gradient, |tape, leaves| {
        seeded(tape);
        biased_attention_with_dropout(tape, &leaves[0], heads, &sequences, SCALE, bias, 0.3)
    });

    let (words, past) = buckets.by_distance();
    let [at, at_gradient, at_values] =
        [&qkv, &gradient, &values].map(|numbers| gpu.numbers(numbers, compute));
    let (span, at_buckets) = (words.len(), gpu.words(words));
    let query = heads.query;
    let table = Table { at: at_values, compute, buckets: at_buckets, span, past, heads: query };
    let by_distance = table.values(&gpu).unwrap();
    let mut call = Call::new(heads, tokens, SCALE, causal, compute).unwrap();
    call.bias = Some(table.bias(gpu.address(&by_distance)));
    call.dropout = mask(0.3);
    let send = |words: Vec<u32>| (gpu.words(&words), words.len());
    let stretches = alone(starts);
    let tiles = [
        Tiles::of_queries(send(query_tiles(&stretches, causal))),
        Tiles::of_keys(send(key_tiles(&stretches, causal))),
    ];
    let (out, sums) = (gpu.room(gradient.len(), compute), gpu.room(query * tokens, Compute::F32));
    let d = gpu.room(qkv.len(), compute);
    let [from, to] = [at, d].map(|at| Streams::packed(heads, compute, at));
    call.forward(&gpu, tiles[0], [out, sums], from).unwrap();
    let lines = table.sums(&gpu, tiles[0].count).unwrap();
    let (given, place) = ([out, at_gradient, sums], Some(gpu.address(&lines.memory)));
    call.backward(&gpu, tiles, [to, from], given, false, place).unwrap();
    let distances = gpu.address(&lines.by_distance(&gpu, table).unwrap());
    let d_table = gpu.room(values.len(), Compute::F32);
    table.gradient(&gpu, [d_table, distances], 0..buckets.count(), false).unwrap();
    let memory = gpu.run();

    let what = |part: &str| {
        format!("dropped attention {part} {query}/{}x{}", heads.key_value, heads.width)
    };
    assert_twin(&what("forward"), &memory.numbers(out, compute), &wanted.output, compute);
    let d_qkv = &wanted.gradients[0];
    assert_twin(&what("backward"), &memory.numbers(d, compute), d_qkv, compute);
    let d_table = memory.numbers(d_table, Compute::F32);
    assert_twin(&what("table"), &d_table, &wanted.gradients[1], compute);
}

#[test]
fn emulated_biased_attention_drops_what_the_cpu_drops() {
    for compute in BOTH {
        for both in [false, true] {
            let buckets = Buckets::t5(10, 40, both).unwrap();
            prove_dropped(heads(2, 1, 8), &[0, 1, 67], &buckets, compute);
            prove_dropped(heads(1, 1, 64), &[0, 66, 67, 71], &buckets, compute);
            prove_dropped(heads(1, 1, 72), &[0, 70], &buckets, compute);
            prove_dropped(heads(1, 1, 136), &[0, 33], &buckets, compute);
        }
    }
}
