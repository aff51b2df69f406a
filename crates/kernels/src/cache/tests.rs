//! The cache against attention to whole sequences.

use candle_core::Device;

use super::*;
use crate::support::{assert_close, floats, numbers, on_threads, wider};
use crate::{Tape, Value, attention};

/// Rows of `qkv` of each sequence.
type Batch = Vec<Vec<f32>>;

fn batch(heads: Heads, lengths: &[usize]) -> Batch {
    let numbers = |(seed, len)| numbers(len * heads.channels(), seed as u64);
    lengths.iter().copied().enumerate().map(numbers).collect()
}

/// The next tokens of each sequence, packed.
fn pack(heads: Heads, batch: &Batch, ranges: &[Range<usize>]) -> (Tensor, Sequences) {
    let channels = heads.channels();
    let rows = batch.iter().zip(ranges);
    let rows = rows.map(|(rows, range)| &rows[range.start * channels..range.end * channels]);
    let fresh = Sequences::from_lengths(ranges.iter().map(Range::len)).unwrap();
    let data = rows.collect::<Vec<_>>().concat();
    (Tensor::from_vec(data, (fresh.tokens(), channels), &Device::Cpu).unwrap(), fresh)
}

/// Attention of a whole sequence to itself.
fn whole(heads: Heads, rows: &[f32]) -> Vec<f64> {
    let tokens = rows.len() / heads.channels();
    let x = Tensor::from_slice(rows, (tokens, heads.channels()), &Device::Cpu).unwrap();
    let sequences = Sequences::from_lengths([tokens]).unwrap();
    let tape = &mut Tape::inference();
    let out = attention(tape, &Value::constant(x), heads, &sequences, 0.3).unwrap();
    wider(&floats(out.tensor()))
}

#[test]
fn attention_step_by_step_equals_attention_to_the_whole() {
    // Groups of one, of three, and of more heads than a tile has rows.
    for (query, key_value, width) in [(2, 2, 16), (6, 2, 64), (50, 1, 5)] {
        let heads = Heads { query, key_value, width };
        let lengths = [305, 40, 9];
        let batch = batch(heads, &lengths);
        let mut cache = KeyValueCache::new(heads, 3);
        let mut found = vec![Vec::new(); 3];
        // Whole prompts, then parts of them, then a token at a time.
        let mut past = [0; 3];
        for fresh in [[290, 1, 5], [11, 35, 1], [1, 1, 1], [1, 1, 1], [2, 2, 1]] {
            let ends = past.iter().zip(&fresh).map(|(&past, &fresh)| past..past + fresh);
            let ranges = ends.collect::<Vec<_>>();
            let (x, fresh) = pack(heads, &batch, &ranges);
            let out = floats(&cache.attend(&x, 0..fresh.count(), &fresh, 0.3).unwrap());
            for (sequence, range) in fresh.iter().enumerate() {
                let row = heads.output_channels();
                found[sequence].extend_from_slice(&out[range.start * row..range.end * row]);
                past[sequence] = ranges[sequence].end;
            }
        }
        assert_eq!(cache.lengths(), lengths);
        for (found, rows) in found.iter().zip(&batch) {
            // Other tiles, so other roundings of 6e-8 in sums of up to 300 terms.
            assert_close("cached", found, &whole(heads, rows), 2e-6);
        }
    }
}

#[test]
fn what_remains_after_dropping_sequences_goes_on_with_its_own_past() {
    let heads = Heads { query: 4, key_value: 2, width: 8 };
    let mut batch = batch(heads, &[20, 10, 30]);
    let mut cache = KeyValueCache::new(heads, 3);
    let (x, fresh) = pack(heads, &batch, &[0..19, 0..10, 0..29]);
    cache.attend(&x, 0..fresh.count(), &fresh, 0.3).unwrap();
    cache.retain(&[true, false, true]);
    batch.remove(1);
    let (x, fresh) = pack(heads, &batch, &[19..20, 29..30]);
    let out = floats(&cache.attend(&x, 0..fresh.count(), &fresh, 0.3).unwrap());
    for (found, rows) in out.chunks(heads.output_channels()).zip(&batch) {
        let wanted = whole(heads, rows);
        assert_close("kept", found, &wanted[wanted.len() - found.len()..], 2e-6);
    }
    let error =
        cache.attend(&x.narrow(0, 0, 1).unwrap(), 0..2, &fresh, 0.3).unwrap_err().to_string();
    assert_eq!(error, "cached attention: qkv has shape [1, 64], wanted [2, 64]");
    cache.retain(&[true, false]);
    let error = cache.attend(&x, 0..1, &fresh, 0.3).unwrap_err().to_string();
    assert_eq!(error, "cached attention: the batch of sequences has shape [2], wanted [1]");
}

#[test]
fn the_bits_depend_neither_on_the_threads_nor_on_the_rest_of_the_batch() {
    let heads = Heads { query: 6, key_value: 2, width: 16 };
    let batch = batch(heads, &[100, 301]);
    let run = |batch: &Batch| {
        let mut cache = KeyValueCache::new(heads, batch.len());
        let lengths = batch.iter().map(|rows| rows.len() / heads.channels());
        let prompts = lengths.map(|len| 0..len - 1).collect::<Vec<_>>();
        let lasts = prompts.iter().map(|range| range.end..range.end + 1).collect::<Vec<_>>();
        let (x, fresh) = pack(heads, batch, &prompts);
        cache.attend(&x, 0..fresh.count(), &fresh, 0.3).unwrap();
        let (x, fresh) = pack(heads, batch, &lasts);
        floats(&cache.attend(&x, 0..fresh.count(), &fresh, 0.3).unwrap())
    };
    let alone = on_threads(1, || run(&batch));
    for threads in [2, 5] {
        assert!(on_threads(threads, || run(&batch)) == alone, "{threads} threads");
    }
    assert!(alone == [run(&batch[..1].to_vec()), run(&batch[1..].to_vec())].concat());
}

/// The rows of a batch whose sequences begin with the same `head` tokens.
fn beginning_alike(heads: Heads, lengths: &[usize], head: usize) -> Batch {
    let mut batch = batch(heads, lengths);
    let (first, others) = batch.split_first_mut().unwrap();
    let head = head * heads.channels();
    others.iter_mut().for_each(|rows| rows[..head].copy_from_slice(&first[..head]));
    batch
}

/// Lets these sequences of the cache grow by the next tokens, and holds what comes out to attention
/// to each sequence as a whole.
fn assert_grows(cache: &mut KeyValueCache, batch: &Batch, sequences: Range<usize>, ends: &[usize]) {
    let heads = cache.heads;
    let past = cache.lengths()[sequences.clone()].to_vec();
    let ranges = past.into_iter().zip(ends).map(|(past, &end)| past..end).collect::<Vec<_>>();
    let members = batch[sequences.clone()].to_vec();
    let (x, fresh) = pack(heads, &members, &ranges);
    let out = floats(&cache.attend(&x, sequences, &fresh, 0.3).unwrap());
    let row = heads.output_channels();
    for ((rows, range), packed) in members.iter().zip(&ranges).zip(fresh.iter()) {
        let wanted = &whole(heads, rows)[range.start * row..range.end * row];
        // As above; two softmaxes put together add a few roundings.
        assert_close("grown", &out[packed.start * row..packed.end * row], wanted, 2e-6);
    }
}

#[test]
fn sequences_that_share_a_head_attend_as_if_each_had_its_own() {
    for (query, key_value, width) in [(2, 2, 16), (6, 2, 64), (50, 1, 5)] {
        let heads = Heads { query, key_value, width };
        let batch = beginning_alike(heads, &[350, 330, 400, 303], 300);
        let mut cache = KeyValueCache::new(heads, 1);
        assert_grows(&mut cache, &batch, 0..1, &[320]);
        let head = cache.share(0, 300).unwrap();
        // Others begin with it, one of them with a part; the first goes on.
        cache.admit(Some((&head, 300))).unwrap();
        cache.admit(Some((&head, 288))).unwrap();
        cache.admit(Some((&head, 300))).unwrap();
        assert_eq!(cache.lengths(), [320, 300, 288, 300]);
        assert_grows(&mut cache, &batch, 1..4, &[301, 390, 302]);
        assert_grows(&mut cache, &batch, 0..4, &[321, 302, 391, 303]);
        assert_grows(&mut cache, &batch, 0..3, &[350, 330, 392]);
    }
}

#[test]
fn a_head_can_be_cut_from_a_head_and_what_follows_it() {
    let heads = Heads { query: 6, key_value: 2, width: 16 };
    let batch = beginning_alike(heads, &[120, 110, 100, 115], 90);
    let mut cache = KeyValueCache::new(heads, 1);
    assert_grows(&mut cache, &batch, 0..1, &[95]);
    let short = cache.share(0, 64).unwrap();
    cache.admit(Some((&short, 64))).unwrap();
    assert_grows(&mut cache, &batch, 1..2, &[100]);
    let long = cache.share(1, 90).unwrap();
    let part = cache.share(1, 32).unwrap();
    cache.admit(Some((&long, 90))).unwrap();
    cache.admit(Some((&part, 32))).unwrap();
    // Whoever made a head may go before those who use it.
    cache.retain(&[false, true, true, true]);
    let batch = batch[1..].to_vec();
    drop([short, long, part]);
    assert_grows(&mut cache, &batch, 0..3, &[101, 99, 113]);
    assert_grows(&mut cache, &batch, 0..3, &[102, 100, 114]);
}

#[test]
fn newcomers_use_the_memory_of_those_that_went_and_not_what_was_in_it() {
    let heads = Heads { query: 4, key_value: 2, width: 8 };
    let batch = batch(heads, &[200, 40, 150]);
    let mut cache = KeyValueCache::new(heads, 2);
    assert_grows(&mut cache, &batch, 0..2, &[199, 39]);
    let before = cache.sequences[0].own.as_ptr();
    cache.retain(&[false, true]);
    cache.admit(None).unwrap();
    assert_eq!(cache.lengths(), [39, 0]);
    let batch = batch[1..].to_vec();
    assert_grows(&mut cache, &batch, 1..2, &[149]);
    assert_eq!(cache.sequences[1].own.as_ptr(), before);
    assert_grows(&mut cache, &batch, 0..2, &[40, 150]);
    assert!(cache.spare.is_empty());
}

#[test]
fn biased_attention_step_by_step_equals_that_to_the_whole() {
    let heads = Heads { query: 3, key_value: 3, width: 8 };
    let buckets = crate::Buckets::t5(8, 20, false).unwrap();
    let table = crate::support::parameter((8, 3), 9);
    let bias = crate::RelativeBias { table: &table, buckets: &buckets };
    let batch = batch(heads, &[70, 3]);
    let mut cache = KeyValueCache::new(heads, 2);
    let values = bias.values(70).unwrap();
    let mut found = vec![Vec::new(); 2];
    // The prompts, one longer than a tile, then a token at a time.
    for ranges in [[0..60, 0..1], [60..61, 1..2], [61..70, 2..3]] {
        let (qkv, fresh) = pack(heads, &batch, &ranges);
        let out = cache.attend_biased(&qkv, 0..2, &fresh, 0.3, &values).unwrap();
        let out = floats(&out);
        for (found, tokens) in found.iter_mut().zip(fresh.iter()) {
            let width = heads.output_channels();
            found.extend_from_slice(&out[tokens.start * width..tokens.end * width]);
        }
    }
    for (found, rows) in found.iter().zip(&batch) {
        let tokens = rows.len() / heads.channels();
        let x = Tensor::from_slice(rows, (tokens, heads.channels()), &Device::Cpu).unwrap();
        let sequences = Sequences::from_lengths([tokens]).unwrap();
        let (tape, x) = (&mut Tape::inference(), Value::constant(x));
        let whole = crate::biased_attention(tape, &x, heads, &sequences, 0.3, bias).unwrap();
        assert_close("biased", found, &wider(&floats(whole.tensor())), 2e-6);
    }
    let (qkv, fresh) = pack(heads, &batch, &[0..1, 0..1]);
    let error = cache.attend_biased(&qkv, 0..2, &fresh, 0.3, &values).unwrap_err().to_string();
    assert!(error.contains("by its longest sequence, has shape [70], wanted [71]"), "{error}");
}

#[test]
fn looking_up_equals_cross_attention_alone_and_behind_a_shared_source() {
    let heads = Heads { query: 4, key_value: 2, width: 8 };
    let sources = Sequences::from_lengths([300, 2]).unwrap();
    let targets = Sequences::from_lengths([3, 1]).unwrap();
    let matrix = |rows: usize, columns, seed| {
        let numbers = numbers(rows * columns, seed);
        Tensor::from_vec(numbers, (rows, columns), &Device::Cpu).unwrap()
    };
    let (q, kv) = (matrix(4, 32, 1), matrix(302, 32, 2));
    let crossing = crate::Crossing::new(&targets, &sources, &[0, 1]).unwrap();
    let (x, y) = (Value::constant(q.clone()), Value::constant(kv.clone()));
    let tape = &mut Tape::inference();
    let wanted = crate::cross_attention(tape, &x, &y, heads, &crossing, 0.4, 0.0).unwrap();
    let wanted = wider(&floats(wanted.tensor()));

    let mut cache = KeyValueCache::new(heads, 2);
    cache.fill(&kv, 0..2, &sources).unwrap();
    let found = cache.look_up(&q, 0..2, &targets, 0.4).unwrap();
    assert_close("look_up", &floats(&found), &wanted, 2e-6);
    // A second target of the first source, which both now read from one place.
    let head = cache.share(0, 300).unwrap();
    cache.admit(Some((&head, 300))).unwrap();
    let fresh = Sequences::from_lengths([3, 1, 3]).unwrap();
    let q = Tensor::cat(&[&q, &q.narrow(0, 0, 3).unwrap()], 0).unwrap();
    let found = floats(&cache.look_up(&q, 0..3, &fresh, 0.4).unwrap());
    assert_close("the second", &found[4 * 32..], &wanted[..3 * 32], 2e-6);
    assert_eq!(cache.lengths(), [300, 2, 300]);
}

#[test]
fn a_reordered_cache_goes_on_from_the_copies() {
    let heads = Heads { query: 2, key_value: 2, width: 4 };
    let batch = batch(heads, &[5, 5]);
    let mut cache = KeyValueCache::new(heads, 2);
    let (qkv, fresh) = pack(heads, &batch, &[0..4, 0..4]);
    cache.attend(&qkv, 0..2, &fresh, 0.3).unwrap();
    cache.reorder(&[1, 1]).unwrap();
    let last = [batch[1].clone(), batch[1].clone()].to_vec();
    let (qkv, fresh) = pack(heads, &last, &[4..5, 4..5]);
    let found = floats(&cache.attend(&qkv, 0..2, &fresh, 0.3).unwrap());
    let wanted = &whole(heads, &batch[1])[4 * 8..];
    assert_close("first", &found[..8], wanted, 2e-6);
    assert_close("second", &found[8..], wanted, 2e-6);
}
