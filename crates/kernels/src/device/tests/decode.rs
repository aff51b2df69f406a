//! New tokens that join a cache and attend to it, against the CPU's cache.

use candle_core::{Device, Tensor};

use super::rows::matrix;
use super::{BOTH, assert_twin, exact};
use crate::device::bias::Table;
use crate::device::decode::Cache;
use crate::emulator::Emulator;
use crate::launch::Gpu;
use crate::support::floats;
use crate::{Buckets, Heads, KeyValueCache, Parameter, RelativeBias, Sequences};

#[test]
fn emulated_new_tokens_attend_to_their_cache_as_on_the_cpu() {
    for compute in BOTH {
        for (query, key_value, width) in [(1, 1, 8), (9, 3, 64), (5, 1, 72), (2, 2, 136)] {
            let Some(gpu) = Emulator::new() else { return };
            let heads = Heads { query, key_value, width };
            let (lengths, capacity) = ([6, 1, 3], 8);
            let prompt = Sequences::from_lengths(lengths).unwrap();
            // Several at once are what a prompt has behind a shared head.
            let more = [2, 1, 3];
            let next = Sequences::from_lengths(more).unwrap();
            let numbers = |tokens: usize, seed| exact(tokens * heads.channels(), seed, compute);
            let (first, second) = (numbers(10, 1), numbers(6, 2));
            let tensor = |numbers: &[f32]| {
                let shape = (numbers.len() / heads.channels(), heads.channels());
                Tensor::from_slice(numbers, shape, &Device::Cpu).unwrap()
            };
            let mut twin = KeyValueCache::new(heads, 3);
            twin.attend(&tensor(&first), 0..3, &prompt, 0.3).unwrap();
            let wanted = floats(&twin.attend(&tensor(&second), 0..3, &next, 0.3).unwrap());

            // Slots in another order than the sequences, as after some have ended.
            let slots = [2, 0, 1];
            let places = lengths.iter().zip(slots).flat_map(|(&length, slot)| {
                (0..length as u32).flat_map(move |position| [slot, position])
            });
            let prompt_table = gpu.words(&places.collect::<Vec<_>>());
            let places = lengths.iter().zip(more).zip(slots).flat_map(|((&length, more), slot)| {
                (length..length + more).flat_map(move |position| [slot, position as u32])
            });
            let table = gpu.words(&places.collect::<Vec<_>>());
            let at = gpu.room(3 * capacity * 2 * key_value * width, compute);
            let cache = Cache { heads, at, capacity, compute };
            let [first, second] = [&first, &second].map(|numbers| gpu.numbers(numbers, compute));
            let out = gpu.room(wanted.len(), compute);
            let channels = heads.channels();
            cache.append(&gpu, [first, prompt_table], 10, channels).unwrap();
            cache.append(&gpu, [second, table], 6, channels).unwrap();
            cache.attend(&gpu, [out, second, table], [6, channels], 0.3, None).unwrap();
            let found = gpu.run().numbers(out, compute);
            assert_twin(&format!("decode {query}/{key_value}x{width}"), &found, &wanted, compute);
        }
    }
}

/// The table of places of some sequences: the tokens of each from a position on.
fn places(slots: &[u32], ranges: &[std::ops::Range<u32>]) -> Vec<u32> {
    let each = slots.iter().zip(ranges);
    each.flat_map(|(&slot, range)| range.clone().flat_map(move |at| [slot, at])).collect()
}

#[test]
fn emulated_new_tokens_attend_with_a_bias_by_distance_as_on_the_cpu() {
    // Near and far: the last distances of the longest sequence share a bucket.
    let buckets = Buckets::t5(8, 6, false).unwrap();
    for (compute, (query, width)) in
        BOTH.into_iter().flat_map(|compute| [(1, 8), (6, 64), (2, 136)].map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let heads = Heads { query, key_value: query, width };
        let channels = heads.channels();
        let (lengths, more, slots) = ([12, 1, 3], [1, 1, 2], [2, 0, 1]);
        let [prompt, next] =
            [lengths, more].map(|lengths| Sequences::from_lengths(lengths).unwrap());
        let (first, second) = (exact(16 * channels, 1, compute), exact(4 * channels, 2, compute));
        let values = exact(8 * query, 3, compute);
        let table = Tensor::from_slice(&values, (8, query), &Device::Cpu).unwrap();
        let table = Parameter::single("table", table);
        let bias = RelativeBias { table: &table, buckets: &buckets }.values(13).unwrap();
        let mut twin = KeyValueCache::new(heads, 3);
        let [x, y] = [&first, &second].map(|numbers| matrix(numbers, channels));
        twin.attend_biased(&x, 0..3, &prompt, 0.3, &bias).unwrap();
        let wanted = floats(&twin.attend_biased(&y, 0..3, &next, 0.3, &bias).unwrap());

        let ranges = [12..13, 1..2, 3..5];
        let old = gpu.words(&places(&slots, &lengths.map(|length| 0..length as u32)));
        let new = gpu.words(&places(&slots, &ranges));
        let at = gpu.room(3 * 16 * 2 * query * width, compute);
        let cache = Cache { heads, at, capacity: 16, compute };
        let (words, past) = buckets.by_distance();
        let [first, second, values] =
            [&first, &second, &values].map(|numbers| gpu.numbers(numbers, compute));
        let (at_buckets, span) = (gpu.words(words), words.len());
        let table = Table { at: values, compute, buckets: at_buckets, span, past, heads: query };
        let by_distance = table.values(&gpu).unwrap();
        let bias = Some(table.bias(gpu.address(&by_distance)));
        let out = gpu.room(wanted.len(), compute);
        cache.append(&gpu, [first, old], 16, channels).unwrap();
        cache.append(&gpu, [second, new], 4, channels).unwrap();
        cache.attend(&gpu, [out, second, new], [4, channels], 0.3, bias).unwrap();
        let found = gpu.run().numbers(out, compute);
        assert_twin(&format!("decode biased {query}/{query}x{width}"), &found, &wanted, compute);
    }
}

#[test]
fn emulated_new_tokens_look_sources_up_as_on_the_cpu() {
    for (compute, (query, key_value, width)) in BOTH
        .into_iter()
        .flat_map(|compute| [(1, 1, 8), (6, 6, 64), (5, 1, 72)].map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let heads = Heads { query, key_value, width };
        let (stride, row) = (heads.output_channels(), 2 * key_value * width);
        let (lengths, more, slots) = ([5, 1, 9], [1, 2, 1], [1, 2, 0]);
        let [sources, next] =
            [lengths, more].map(|lengths| Sequences::from_lengths(lengths).unwrap());
        let (kv, q) = (exact(15 * row, 1, compute), exact(4 * stride, 2, compute));
        let mut twin = KeyValueCache::new(heads, 3);
        twin.fill(&matrix(&kv, row), 0..3, &sources).unwrap();
        let wanted = floats(&twin.look_up(&matrix(&q, stride), 0..3, &next, 0.3).unwrap());

        let filled = gpu.words(&places(&slots, &lengths.map(|length| 0..length as u32)));
        let last = [[1, 4], [2, 0], [2, 0], [0, 8]];
        let table = gpu.words(last.as_flattened());
        let cache = Cache { heads, at: gpu.room(3 * 10 * row, compute), capacity: 10, compute };
        let [kv, q] = [&kv, &q].map(|numbers| gpu.numbers(numbers, compute));
        let out = gpu.room(wanted.len(), compute);
        cache.append(&gpu, [kv, filled], 15, row).unwrap();
        cache.attend(&gpu, [out, q, table], [4, stride], 0.3, None).unwrap();
        let found = gpu.run().numbers(out, compute);
        assert_twin(&format!("look up {query}/{key_value}x{width}"), &found, &wanted, compute);
    }
}

#[test]
fn emulated_slots_become_like_others_and_no_other_byte_changes() {
    // Rows of whole packs and not, and more numbers than a round of blocks takes.
    for (compute, (width, capacity)) in
        BOTH.into_iter().flat_map(|compute| [(3, 5), (8, 4), (64, 600)].map(|size| (compute, size)))
    {
        let Some(gpu) = Emulator::new() else { return };
        let heads = Heads { query: 1, key_value: 1, width };
        let slot = capacity * 2 * width;
        let held = exact(4 * slot, 1, compute);
        let cache = Cache { heads, at: gpu.numbers(&held, compute), capacity, compute };
        let rows = [capacity as u32, 3];
        let table = gpu.words(&[2, 0, rows[0], 2, 3, rows[1]]);
        cache.copy_slots(&gpu, table, 2).unwrap();
        let found = gpu.run().numbers(cache.at, compute);
        let mut wanted = held.clone();
        wanted.copy_within(2 * slot..3 * slot, 0);
        wanted.copy_within(2 * slot..2 * slot + 3 * 2 * width, 3 * slot);
        assert_eq!(found, wanted, "{width} {capacity}");
    }
}
