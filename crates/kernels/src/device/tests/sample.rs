//! The next tokens: the same ids as on the CPU, at the very edges of each token's share too.

use candle_core::{Device, Tensor};

use crate::Choice;
use crate::device::sample::{choose, table};
use crate::emulator::Emulator;
use crate::launch::Compute;
use crate::sample::tests::PLAIN;
use crate::support::numbers;

const NONE: u32 = u32::MAX;

fn on_cpu(logits: &[f32], choice: Choice) -> u32 {
    let logits = Tensor::from_slice(logits, (1, logits.len()), &Device::Cpu).unwrap();
    crate::choose(&logits, &[choice]).map_or(NONE, |ids| ids[0])
}

/// The first number beyond the share of the token that `choice` takes, if there is one.
fn end_of_share(logits: &[f32], choice: Choice) -> Option<u64> {
    let id = on_cpu(logits, choice);
    let chosen = |draw| on_cpu(logits, Choice { draw, ..choice });
    let (mut inside, mut beyond) = (choice.draw, u64::MAX);
    if chosen(beyond) == id {
        return None;
    }
    while beyond - inside > 1 {
        let middle = inside + (beyond - inside) / 2;
        if chosen(middle) == id { inside = middle } else { beyond = middle }
    }
    Some(beyond)
}

/// Chooses by kernel, and holds every id to the CPU's.
fn assert_same(rows: &[(&[f32], Choice)]) -> Option<()> {
    let gpu = Emulator::new()?;
    let vocabulary = rows[0].0.len();
    let logits: Vec<f32> = rows.iter().flat_map(|(logits, _)| *logits).copied().collect();
    let choices: Vec<Choice> = rows.iter().map(|&(_, choice)| choice).collect();
    let chosen = gpu.room(rows.len(), Compute::F32);
    let places =
        [chosen, gpu.numbers(&logits, Compute::F32), gpu.words(&table(&choices, vocabulary))];
    choose(&gpu, places, rows.len(), vocabulary).unwrap();
    let found = gpu.run().numbers(chosen, Compute::F32);
    for (&(logits, choice), found) in rows.iter().zip(found) {
        assert_eq!(found.to_bits(), on_cpu(logits, choice), "{vocabulary} tokens: {choice:?}");
    }
    println!("emulated choose: {} rows of {vocabulary} logits, the same ids", rows.len());
    Some(())
}

/// A few settings that together take every way through the kernel.
fn settings(words: usize) -> impl Iterator<Item = (f32, usize, f32)> {
    let kept = [
        (0, 1.0),
        (1, 1.0),
        (words / 2 + 1, 1.0),
        (words + 7, 1.0),
        (0, f32::MIN_POSITIVE),
        (0, 0.3),
        (0, 0.95),
        (9, 0.8),
        (words / 2 + 1, 0.99),
        (0, 0.0),
        // All that top-k has left, some of whose least ones' equals it has not.
        (words / 2 + 1, 0.999_999_9),
    ];
    [0.02, 1.0].into_iter().flat_map(move |t| kept.map(|(top_k, top_p)| (t, top_k, top_p)))
}

fn assert_same_at_size(words: usize, seeds: std::ops::Range<u64>) {
    let seen: Vec<u32> = (0..words as u32).step_by(3).collect();
    let counted: Vec<_> = (0..words as u32).step_by(2).map(|id| (id, 1 + id % 7)).collect();
    let logits: Vec<Vec<f32>> = seeds
        .map(|seed| {
            let wide = numbers(words, seed).into_iter().map(|logit| 8.0 * logit);
            // Every other row in steps, so that many are equal, some of them 0 and -0.
            wide.map(|logit| if seed % 2 == 1 { logit.round() / 2.0 } else { logit }).collect()
        })
        .collect();
    let mut rows: Vec<(&[f32], Choice)> = Vec::new();
    for (row, logits) in logits.iter().enumerate() {
        for (index, (temperature, top_k, top_p)) in settings(words).enumerate() {
            let repetition_penalty = [1.0, 1.3][(row + index) % 2];
            let draw = (row as u64 * 31 + index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Alone and together with the other penalty.
            let [presence_penalty, frequency_penalty] =
                [[0.0, 0.0], [0.7, 0.0], [0.0, -0.3], [1.1, 0.13]][(row + index / 2) % 4];
            let choice = Choice {
                temperature,
                top_k,
                top_p,
                repetition_penalty,
                seen: &seen,
                presence_penalty,
                frequency_penalty,
                counted: &counted,
                draw,
            };
            rows.push((logits, choice));
            if let Some(end) = end_of_share(logits, choice) {
                rows.extend([end - 1, end].map(|draw| (&**logits, Choice { draw, ..choice })));
            }
        }
        rows.push((logits, Choice { temperature: 0.0, ..rows[rows.len() - 1].1 }));
    }
    assert_same(&rows);
}

#[test]
fn emulated_choices_in_small_vocabularies_are_those_of_the_cpu() {
    for words in [1, 2, 5, 33] {
        assert_same_at_size(words, 0..2);
    }
}

#[test]
fn emulated_choices_in_a_vocabulary_of_one_round_are_those_of_the_cpu() {
    assert_same_at_size(1003, 0..8);
}

#[test]
fn emulated_choices_in_a_larger_vocabulary_are_those_of_the_cpu() {
    assert_same_at_size(5002, 0..2);
}

/// Runs of neighbours are searched three times over above 2^18 tokens.
#[test]
fn emulated_choices_in_the_largest_vocabularies_are_those_of_the_cpu() {
    let words = 263_001;
    let logits: Vec<f32> = numbers(words, 8).iter().map(|logit| (64.0 * logit).round()).collect();
    let rows = [(0, 1.0), (0, 0.9), (30_001, 0.95)].map(|(top_k, top_p)| {
        let draw = 0x9e37_79b9_7f4a_7c15;
        (&*logits, Choice { temperature: 8.0, top_k, top_p, draw, ..PLAIN })
    });
    assert_same(&rows);
}

#[test]
fn emulated_draws_are_those_of_the_cpu() {
    let logits: Vec<f32> = numbers(700, 5).into_iter().map(|logit| 4.0 * logit).collect();
    let rows: Vec<(&[f32], Choice)> = (1..=1500u64)
        .map(|row| {
            let draw = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let temperature = [0.5, 1.0, 3.0][row as usize % 3];
            (&*logits, Choice { temperature, draw, ..PLAIN })
        })
        .collect();
    assert_same(&rows);
}

#[test]
fn emulated_rows_without_a_finite_largest_logit_choose_nothing() {
    let plain = Choice { top_k: 3, top_p: 0.9, draw: 1 << 63, ..PLAIN };
    let row = |place: usize, value: f32| {
        let mut logits = numbers(300, 1);
        logits[place] = value;
        logits
    };
    let bad = [
        row(0, f32::NAN),
        row(299, -f32::NAN),
        row(17, f32::INFINITY),
        vec![f32::NEG_INFINITY; 300],
    ];
    let mut fine = vec![f32::NEG_INFINITY; 300];
    fine[200] = -3e38;
    let rows: Vec<(&[f32], Choice)> = bad
        .iter()
        .chain([&fine])
        .flat_map(|logits| [plain, Choice { temperature: 0.0, ..plain }].map(|c| (&**logits, c)))
        .collect();
    for (index, &(logits, choice)) in rows.iter().enumerate() {
        assert_eq!(on_cpu(logits, choice), if index < 8 { NONE } else { 200 });
    }
    assert_same(&rows);
}

/// Differences that overflow when they are divided, or vanish: also among logits that are as far apart
/// as can be.
#[test]
fn emulated_choices_at_the_ends_of_the_scale_are_those_of_the_cpu() {
    let mut far: Vec<f32> = numbers(97, 4).into_iter().map(|logit| 3e38 * logit).collect();
    far[5] = f32::NEG_INFINITY;
    let near: Vec<f32> = numbers(97, 4).into_iter().map(|logit| 1e-44 * logit).collect();
    let mut rows: Vec<(&[f32], Choice)> = Vec::new();
    for logits in [&far, &near] {
        for temperature in [f32::from_bits(1), f32::MIN_POSITIVE, 1.0, f32::MAX] {
            for top_p in [0.6, 1.0] {
                for draw in [0, 1 << 62, u64::MAX] {
                    rows.push((logits, Choice { temperature, top_p, draw, ..PLAIN }));
                }
            }
        }
    }
    assert_same(&rows);
}
