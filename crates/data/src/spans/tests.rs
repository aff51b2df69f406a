//! Spans beside a worked example, seqio's lengths, and what holds for any text.

use proptest::prelude::*;

use super::*;
use crate::Origin;

/// Words 0 to 899, a hundred sentinels that descend from 999, EOS 1.
fn spans(density: f64, mean_length: f64, inputs_length: usize) -> Spans {
    let sentinels = (900..1000).rev().collect();
    let spans = Spans { density, mean_length, window: 2, joined: JOINED, sentinels, eos: 1 };
    Spans { window: spans.window_of(inputs_length), ..spans }
}

fn text(ids: impl IntoIterator<Item = u32>) -> Encoded {
    let mut text = Encoded::empty(Origin::new("a.jsonl", 3));
    ids.into_iter().for_each(|id| text.push(id, true, Reason::Text));
    text
}

/// Source and target.
fn parts(example: &Encoded) -> (Vec<u32>, Vec<u32>) {
    let first = example.learned.iter().position(|learned| *learned).unwrap();
    let (source, target) = example.ids.split_at(first);
    assert!(example.learned[first..].iter().all(|learned| *learned));
    (source.to_vec(), target.to_vec())
}

/// Twenty tokens at a density of 0.3: six are taken out, in two spans of three on average.
#[test]
fn a_worked_example() {
    let spans = spans(0.3, 3.0, 17);
    let found = spans.corrupt(&text(100..120), 7, 0, 0);
    let (source, target) = parts(&found);
    assert_eq!(spans.counts(20), [6, 14]);
    let stays = (100..113).chain([999, 114, 998, 1]);
    assert_eq!(source, stays.collect::<Vec<_>>());
    assert_eq!(target, [999, 113, 998, 115, 116, 117, 118, 119, 1]);
    assert_eq!((source.len(), target.len()), (14 + 2 + 1, 6 + 2 + 1));
    assert_eq!(found.prompt(), source);
    assert_eq!(spans.restore(&found), text(100..120));
}

/// ```python
/// # seqio's, at the settings of T5's pretraining and two others
/// random_spans_helper(inputs_length=512, noise_density=0.15, mean_noise_span_length=3.0) == (568, 114)
/// ```
/// 568 · 0.15 = 85.2, 85 tokens in 28 spans: sources of 483 + 28 + 1 = 512, targets of 85 + 28 + 1 = 114.
/// 141 · 0.15 = 21.15, 21 in 7: 120 + 7 + 1 = 128 and 29; 142 would make 129.
#[test]
fn windows_are_as_long_as_seqio_makes_them() {
    for (inputs, window, targets) in [(512, 568, 114), (128, 141, 29)] {
        let spans = spans(0.15, 3.0, inputs);
        assert_eq!(spans.window, window);
        let (source, target) = parts(&spans.corrupt(&text(2..window as u32 + 2), 1, 0, 0));
        assert_eq!((source.len(), target.len()), (inputs, targets));
    }
}

/// ```python
/// # t5's reduce_concat_tokens, then split_tokens(max_tokens_per_segment=8)
/// [[10, 11, 12], [20, 21, 22, 23, 24, 25], [30], [40, 41]] becomes
/// [[10, 11, 12, 20, 21, 22, 23, 24], [25, 30, 40, 41]]
/// ```
#[test]
fn texts_are_joined_without_a_mark_and_cut_into_full_windows() {
    let spans = Spans { window: 8, ..spans(0.15, 3.0, 17) };
    let origins = [1, 2, 3, 4].map(|line| Origin::new("a.jsonl", line));
    let ids = [vec![10, 11, 12], (20..26).collect(), vec![30], vec![40, 41]];
    let texts: Vec<_> = origins.iter().zip(ids).collect();
    let windows = spans.windows(&texts);
    let found: Vec<_> = windows
        .iter()
        .map(|(number, window)| (*number, window.origin.line, window.ids.clone()))
        .collect();
    let wanted = [(0, 1, vec![10, 11, 12, 20, 21, 22, 23, 24]), (1, 2, vec![25, 30, 40, 41])];
    assert_eq!(found, wanted);
    // A token that is left over alone has nothing beside it to be told from.
    let texts: Vec<_> = texts.into_iter().take(2).collect();
    assert_eq!(Spans { window: 4, ..spans }.windows(&texts).len(), 2);
}

#[test]
fn every_cut_of_five_things_into_three_is_about_equally_likely() {
    let mut counts = std::collections::BTreeMap::new();
    let mut random = Random::new(1, "test", 0);
    for _ in 0..6000 {
        *counts.entry(segments(5, 3, &mut random)).or_insert(0) += 1;
    }
    // Two begins among four places: six cuts, 1000 of each expected, standard deviation 29.
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn each_pass_and_each_place_has_spans_of_its_own_and_each_is_drawn_again_alike() {
    let spans = spans(0.15, 3.0, 512);
    let first = spans.corrupt(&text(2..400), 7, 0, 3);
    assert_eq!(spans.redrawn(&first, 7, 0, 3), first);
    let second = spans.redrawn(&first, 7, 1, 3);
    assert_ne!(second, first);
    assert_eq!(spans.redrawn(&second, 7, 0, 3), first, "nothing of the text is lost");
    assert_ne!(spans.redrawn(&first, 7, 0, 4), first);
    assert_ne!(spans.redrawn(&first, 8, 0, 3), first);
}

proptest! {
    /// Over texts of any length and noise of any density: all tokens are there once and in order, the
    /// sentinels are in both parts in the same order, and the lengths follow from the text's.
    #[test]
    fn source_and_target_are_the_text(
        length in 2usize..300,
        density in 0.01f64..0.99,
        mean_length in 1.0f64..20.0,
        seed: u64,
        epoch in 0u64..5,
        place in 0usize..1000,
    ) {
        let spans = spans(density, mean_length, 64);
        let [noise, kept] = spans.counts(length);
        prop_assume!(spans.count(noise, kept) <= spans.sentinels.len());
        let ids = text((0..length as u32).map(|i| 2 + i * 7 % 800));
        let example = spans.corrupt(&ids, seed, epoch, place);
        prop_assert_eq!(spans.restore(&example), ids);
        let (source, target) = parts(&example);
        let count = spans.count(noise, kept);
        prop_assert_eq!((source.len(), target.len()), (kept + count + 1, noise + count + 1));
        let of = |ids: &[u32]| ids.iter().filter(|id| **id >= 900).copied().collect::<Vec<_>>();
        prop_assert_eq!(of(&source), spans.sentinels[..count].to_vec());
        prop_assert_eq!(of(&target), spans.sentinels[..count].to_vec());
        prop_assert_eq!((source.last(), target.last()), (Some(&1), Some(&1)));
        // What stays comes first, and what is taken comes last.
        prop_assert!(source[0] < 900 && target[0] == 999 && source[source.len() - 2] >= 900);
    }
}
