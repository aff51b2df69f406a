//! Attention's kernels with a bias by relative distance, and the gradient of its table.

use super::attention::{Reference, Wanted, heads, tiles};
use super::{BOTH, assert_twin, exact};
use crate::device::attention::{Call, Streams};
use crate::device::bias::Table;
use crate::device::tiles::alone;
use crate::emulator::Emulator;
use crate::launch::{Compute, Gpu};
use crate::{Buckets, Heads};

/// Runs both passes with the kernels, the table's gradient added to ones, and holds them to the
/// specification.
fn prove(heads: Heads, starts: &[u32], buckets: &Buckets, compute: Compute) {
    let Some(gpu) = Emulator::new() else { return };
    let tokens = starts[starts.len() - 1] as usize;
    let causal = !buckets.is_bidirectional();
    let (words, past) = buckets.by_distance();
    let qkv = exact(tokens * heads.channels(), 1, compute);
    let gradient = exact(tokens * heads.output_channels(), 2, compute);
    let values = exact(buckets.count() * heads.query, 3, compute);

    let sequence = |row: usize| starts.iter().rposition(|&start| start as usize <= row);
    let bucket = |query: usize, key: usize| buckets.of(key as i64 - query as i64);
    let reference = Reference {
        heads,
        scale: 0.2,
        tokens,
        sees: &|query, key| sequence(query) == sequence(key) && (!causal || key <= query),
        bias: &|query, key, head| values[bucket(query, key) * heads.query + head].into(),
    };
    let Wanted { out: wanted, log_sums, d_qkv, d_scores } = reference.passes(&qkv, &gradient);
    let mut d_table = vec![0f64; values.len()];
    for ([query, key, head], slope) in d_scores {
        d_table[bucket(query, key) * heads.query + head] += slope;
    }

    let at = [&qkv, &gradient, &values].map(|numbers| gpu.numbers(numbers, compute));
    let span = words.len();
    let table =
        Table { at: at[2], compute, buckets: gpu.words(words), span, past, heads: heads.query };
    let by_distance = table.values(&gpu).unwrap();
    let bias = Some(table.bias(gpu.address(&by_distance)));
    let call = Call { heads, tokens, scale: 0.2, causal, compute, bias, dropout: None };
    let tiles = tiles(&gpu, &alone(starts), causal);
    let (out, sums) = (gpu.room(wanted.len(), compute), gpu.room(log_sums.len(), Compute::F32));
    let d = gpu.room(qkv.len(), compute);
    let streams = [d, at[0]].map(|at| Streams::packed(heads, compute, at));
    call.forward(&gpu, tiles[0], [out, sums], streams[1]).unwrap();
    let lines = table.sums(&gpu, tiles[0].count).unwrap();
    let place = Some(gpu.address(&lines.memory));
    call.backward(&gpu, tiles, streams, [out, at[1], sums], false, place).unwrap();
    let distances = gpu.address(&lines.by_distance(&gpu, table).unwrap());
    let (fresh, added) = (gpu.room(values.len(), Compute::F32), vec![1.0; values.len()]);
    let added = gpu.numbers(&added, Compute::F32);
    table.gradient(&gpu, [fresh, distances], 0..buckets.count(), false).unwrap();
    // The rows in two parts, as of a table of which both are trained by themselves.
    let half = buckets.count() / 2;
    let rest = added.after(half * heads.query, 4);
    table.gradient(&gpu, [added, distances], 0..half, true).unwrap();
    table.gradient(&gpu, [rest, distances], half..buckets.count(), true).unwrap();
    let memory = gpu.run();

    let direction = if causal { "causal" } else { "bidirectional" };
    let Heads { query, key_value, width } = heads;
    let what = format!("biased attention {direction} {query}/{key_value}x{width} {starts:?}");
    let check = |part: &str, found: &[f32], wanted: &[f32]| {
        assert_twin(&format!("{what} {part}"), found, wanted, compute);
    };
    check("forward", &memory.numbers(out, compute), &wanted);
    check("log-sums", &memory.numbers(sums, Compute::F32), &log_sums);
    check("backward", &memory.numbers(d, compute), &d_qkv);
    let d_table: Vec<f32> = d_table.into_iter().map(|sum| sum as f32).collect();
    let fresh = memory.numbers(fresh, Compute::F32);
    check("table", &fresh, &d_table);
    let wanted: Vec<f32> = fresh.iter().map(|sum| sum + 1.0).collect();
    check("table, added", &memory.numbers(added, Compute::F32), &wanted);
}

#[test]
fn emulated_biased_attention_is_its_definition_at_every_width() {
    // The tiles of 64 are met from within, with one row over and exactly; near and far distances too.
    let both = [false, true].map(|both| Buckets::t5(10, 40, both).unwrap());
    for compute in BOTH {
        for (width, buckets) in [8, 64, 80, 96, 128, 256].into_iter().zip(both.iter().cycle()) {
            let query = if width == 8 { 2 } else { 1 };
            prove(heads(query, 1, width), &[0, 1, 67], buckets, compute);
        }
    }
}

#[test]
fn emulated_biased_attention_tells_far_distances_from_near_ones() {
    for compute in BOTH {
        // Whole tiles lie further away than the greatest distance; or none does, by far.
        for (far, both) in [(6, false), (6, true), (300, true)] {
            let buckets = Buckets::t5(8, far, both).unwrap();
            prove(heads(1, 1, 16), &[0, 33, 163], &buckets, compute);
        }
    }
}

#[test]
fn emulated_biased_attention_of_t5_shape_and_of_single_tokens() {
    for compute in BOTH {
        for both in [false, true] {
            let buckets = Buckets::t5(32, 128, both).unwrap();
            prove(heads(2, 2, 64), &[0, 66, 67, 71], &buckets, compute);
            prove(heads(1, 1, 8), &[0, 1, 3], &buckets, compute);
        }
    }
}

/// Without a place for the table's gradient, that of `qkv` is the same.
#[test]
fn emulated_biased_attention_with_a_frozen_table_leaves_out_its_gradient_alone() {
    let Some(gpu) = Emulator::new() else { return };
    let (compute, buckets) = (Compute::F32, Buckets::t5(8, 6, true).unwrap());
    let ((words, past), tiles) = (buckets.by_distance(), tiles(&gpu, &alone(&[0, 9]), false));
    let given = [exact(9 * 24, 1, compute), exact(72, 2, compute), exact(8, 3, compute)];
    let at = given.map(|numbers| gpu.numbers(&numbers, compute));
    let span = words.len();
    let table = Table { at: at[2], compute, buckets: gpu.words(words), span, past, heads: 1 };
    let values = table.values(&gpu).unwrap();
    let bias = Some(table.bias(gpu.address(&values)));
    let call = Call {
        heads: heads(1, 1, 8),
        tokens: 9,
        scale: 0.2,
        causal: false,
        compute,
        bias,
        dropout: None,
    };
    let [out, sums, trained, frozen] =
        [72, 9, 9 * 24, 9 * 24].map(|count| gpu.room(count, compute));
    let streams = |at| Streams::packed(call.heads, compute, at);
    let (from, given) = (streams(at[0]), [out, at[1], sums]);
    call.forward(&gpu, tiles[0], [out, sums], from).unwrap();
    let lines = table.sums(&gpu, tiles[0].count).unwrap();
    let place = Some(gpu.address(&lines.memory));
    call.backward(&gpu, tiles, [streams(trained), from], given, false, place).unwrap();
    call.backward(&gpu, tiles, [streams(frozen), from], given, false, None).unwrap();
    let memory = gpu.run();
    assert_eq!(memory.numbers(trained, compute), memory.numbers(frozen, compute));
}
