//! New tokens that join a cache and attend to it, against the CPU's cache.

use candle_core::{Device, Tensor};

use super::{BOTH, assert_twin, exact};
use crate::device::decode::Cache;
use crate::emulator::Emulator;
use crate::support::floats;
use crate::{Heads, KeyValueCache, Sequences};

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
            cache.append(&gpu, [first, prompt_table], 10).unwrap();
            cache.append(&gpu, [second, table], 6).unwrap();
            cache.attend(&gpu, [out, second, table], 6, 0.3).unwrap();
            let found = gpu.run().numbers(out, compute);
            assert_twin(&format!("decode {query}/{key_value}x{width}"), &found, &wanted, compute);
        }
    }
}
