//! The choice against its definition in f64, and what it promises at the edges.

use candle_core::{Device, Tensor};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Choice, choose};
use crate::Result;
use crate::support::{numbers, on_threads};

/// Draws from all tokens as they are.
pub(crate) const PLAIN: Choice = Choice {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    repetition_penalty: 1.0,
    seen: &[],
    presence_penalty: 0.0,
    frequency_penalty: 0.0,
    counted: &[],
    draw: 0,
};

const GREEDY: Choice = Choice { temperature: 0.0, ..PLAIN };

fn one(logits: &[f32], choice: Choice) -> Result<u32> {
    let logits = Tensor::from_slice(logits, (1, logits.len()), &Device::Cpu).unwrap();
    choose(&logits, &[choice]).map(|ids| ids[0])
}

fn refusal(logits: &[f32], choice: Choice) -> String {
    one(logits, choice).unwrap_err().to_string()
}

fn counts(choice: Choice, logits: &[f32]) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(1);
    let mut counts = vec![0; logits.len()];
    for _ in 0..4_000 {
        counts[one(logits, Choice { draw: random.random(), ..choice }).unwrap() as usize] += 1;
    }
    counts
}

/// The tokens that are left, in the order of their ids, with their probabilities; also how far from
/// the edge of top-p the sum was, as it was last below and first above it.
fn definition(logits: &[f32], choice: &Choice) -> (Vec<(u32, f64)>, f64) {
    let mut logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let penalty = f64::from(choice.repetition_penalty);
    for &id in choice.seen {
        let logit = &mut logits[id as usize];
        // Rounded as a logit is.
        *logit = f64::from(if *logit > 0.0 { *logit / penalty } else { *logit * penalty } as f32);
    }
    for &(id, times) in choice.counted {
        let taken = f64::from(choice.frequency_penalty) * f64::from(times)
            + f64::from(choice.presence_penalty);
        let logit = &mut logits[id as usize];
        // Rounded as the sum of penalties and a logit are.
        *logit = f64::from((*logit - f64::from(taken as f32)) as f32);
    }
    let mut left: Vec<u32> = (0..logits.len() as u32).collect();
    let of = |id: u32| logits[id as usize];
    left.sort_by(|&a, &b| of(b).total_cmp(&of(a)).then(a.cmp(&b)));
    if choice.top_k > 0 {
        left.truncate(choice.top_k);
    }
    let weight = |id: u32| ((of(id) - of(left[0])) / f64::from(choice.temperature)).exp();
    let total: f64 = left.iter().map(|&id| weight(id)).sum();
    let (mut sum, mut kept, mut margin) = (0.0, Vec::new(), f64::INFINITY);
    for &id in &left {
        if choice.top_p < 1.0 {
            margin = margin.min((sum - f64::from(choice.top_p)).abs());
            if sum >= f64::from(choice.top_p) {
                break;
            }
        }
        sum += weight(id) / total;
        kept.push((id, weight(id) / total));
    }
    kept.sort_by_key(|&(id, _)| id);
    (kept.into_iter().map(|(id, part)| (id, part / sum)).collect(), margin)
}

#[test]
fn every_token_that_is_left_has_its_share_of_the_numbers_and_no_other_has_any() {
    // exp is right to 2e-7, a weight to 2⁻⁴³: a share begins and ends where it should to less than this.
    const EXACT: f64 = 1e-6;
    let mut tried = 0;
    for (row, words) in [1, 2, 33, 1003, 1003, 5001].into_iter().enumerate() {
        let mut logits: Vec<f32> =
            numbers(words, row as u64).iter().map(|logit| 6.0 * logit - 1.0).collect();
        if row == 4 {
            // Many equals.
            logits.iter_mut().for_each(|logit| *logit = (*logit * 2.0).round() / 2.0);
        }
        let seen: Vec<u32> = (0..words as u32).step_by(3).collect();
        let counted: Vec<_> = (0..words as u32).step_by(4).map(|id| (id, 1 + id % 5)).collect();
        for (temperature, penalty) in [(0.05, 1.0), (0.7, 1.3), (1.0, 1.0), (2.0, 0.8)] {
            for (top_k, top_p) in [
                (0, 1.0),
                (1, 1.0),
                (7, 1.0),
                (words + 1, 1.0),
                (0, 1e-4),
                (0, 0.313),
                (0, 0.917),
                (40, 0.777),
            ] {
                let seen = if penalty == 1.0 { &[] } else { seen.as_slice() };
                let repetition_penalty = penalty;
                let plain = Choice { temperature, top_k, top_p, repetition_penalty, seen, ..PLAIN };
                // Some settings take off for what an answer holds already.
                let choice = match top_k == 7 || top_p == 0.917 {
                    true => Choice {
                        presence_penalty: 0.3,
                        frequency_penalty: -0.17,
                        counted: &counted,
                        ..plain
                    },
                    false => plain,
                };
                let (left, margin) = definition(&logits, &choice);
                assert!(margin > EXACT, "the test asks for what rounding decides: {choice:?}");
                let mut begin = 0.0;
                for (id, part) in left {
                    let end = begin + part;
                    let inside = [begin + EXACT, begin + part / 2.0, end - EXACT];
                    for at in inside.into_iter().filter(|_| part > 2.0 * EXACT) {
                        let draw = (at * 2f64.powi(64)) as u64;
                        let found = one(&logits, Choice { draw, ..choice }).unwrap();
                        assert_eq!(found, id, "{words} tokens at {at}: {choice:?}");
                        tried += 1;
                    }
                    begin = end;
                }
            }
        }
    }
    assert!(tried > 20_000, "{tried}");
}

#[test]
fn temperature_zero_takes_the_first_of_the_most_probable() {
    assert_eq!(one(&[0.0, 2.0, 2.0, 1.0], GREEDY).unwrap(), 1);
    assert_eq!(one(&[-1.0, -0.0, 0.0], GREEDY).unwrap(), 1);
    assert_eq!(one(&[f32::NEG_INFINITY, f32::MIN], GREEDY).unwrap(), 1);
}

#[test]
fn draws_follow_the_softmax() {
    let counts = counts(PLAIN, &[0.0, 3f32.ln(), f32::NEG_INFINITY]);
    // 1 : 3 in 4,000 draws; the standard deviation is 27.
    assert!((counts[0] as i32 - 1_000).abs() < 120, "{counts:?}");
    assert_eq!(counts[2], 0);
}

#[test]
fn top_k_and_top_p_leave_out_the_improbable() {
    let logits = [1.0, 4.0, 3.0, 2.0];
    let kept = counts(Choice { top_k: 2, ..PLAIN }, &logits);
    assert!(kept[1] > 0 && kept[2] > 0 && kept[0] + kept[3] == 0, "{kept:?}");
    assert_eq!(counts(Choice { top_p: 0.5, ..PLAIN }, &logits)[1], 4_000);
}

#[test]
fn of_equals_the_first_are_kept() {
    let logits = [0.0, 1.0, 1.0, -1.0, 1.0, 1.0];
    let kept = |choice| counts(choice, &logits).iter().map(|&count| count > 0).collect::<Vec<_>>();
    let first_two = [false, true, true, false, false, false];
    assert_eq!(kept(Choice { top_k: 2, ..PLAIN }), first_two);
    // Of the four that top-k leaves, two are half.
    assert_eq!(kept(Choice { top_k: 4, top_p: 0.5, ..PLAIN }), first_two);
    assert_eq!(kept(Choice { top_k: 2, top_p: 0.99, ..PLAIN }), first_two);
    // -0 equals 0.
    let signed = counts(Choice { top_k: 2, ..PLAIN }, &[-0.0, -0.0, 0.0, 0.0]);
    assert!(signed[0] > 0 && signed[1] > 0 && signed[2] + signed[3] == 0, "{signed:?}");
}

#[test]
fn the_smallest_temperature_and_part_still_choose_the_most_probable() {
    for choice in [
        Choice { temperature: f32::MIN_POSITIVE, ..PLAIN },
        Choice { top_p: f32::MIN_POSITIVE, ..PLAIN },
        Choice { top_p: 0.0, ..PLAIN },
        Choice { top_p: 0.0, temperature: 1e6, ..PLAIN },
        Choice { top_k: 1, ..PLAIN },
    ] {
        for draw in [0, u64::MAX] {
            assert_eq!(one(&[-3e38, 1.0, 3e38, 1.0], Choice { draw, ..choice }).unwrap(), 2);
        }
    }
}

#[test]
fn the_repetition_penalty_lowers_what_was_seen() {
    let choice = Choice { repetition_penalty: 2.0, seen: &[0], ..GREEDY };
    assert_eq!(one(&[3.0, 2.0], choice).unwrap(), 1);
    assert_eq!(one(&[-1.0, -1.5], choice).unwrap(), 1);
}

#[test]
fn presence_is_taken_once_and_frequency_for_each_time_before_the_temperature() {
    let counted = [(0, 3), (2, 1)];
    let greedy = |presence_penalty, frequency_penalty, logits: &[f32]| {
        let choice = Choice { presence_penalty, frequency_penalty, counted: &counted, ..GREEDY };
        one(logits, choice).unwrap()
    };
    // 5 - 1 stays above 3.9, and 5 - 1.2 does not: once, though it was counted three times.
    assert_eq!(greedy(1.0, 0.0, &[5.0, 3.9, 0.0]), 0);
    assert_eq!(greedy(1.2, 0.0, &[5.0, 3.9, 0.0]), 1);
    // 5 - 3 · 0.5 = 3.5, and the other is counted once: 4 - 0.5 = 3.5 is no more than that.
    assert_eq!(greedy(0.0, 0.5, &[5.0, 3.4, 4.0]), 0);
    assert_eq!(greedy(0.0, 0.6, &[5.0, 3.3, 4.0]), 2);
    assert_eq!(greedy(1.0, 0.5, &[5.0, 2.6, 4.2]), 2);
    // Also from negative logits, and what is negative is added.
    assert_eq!(greedy(0.5, 0.0, &[-1.0, -1.4, -9.0]), 1);
    assert_eq!(greedy(0.0, -0.5, &[1.0, 2.0, 1.0]), 0);
    // A repetition penalty comes first: 4 / 2 - 1, not (4 - 1) / 2.
    let both = Choice {
        repetition_penalty: 2.0,
        seen: &[0],
        presence_penalty: 1.0,
        counted: &[(0, 1)],
        ..GREEDY
    };
    assert_eq!(one(&[4.0, 1.2], both).unwrap(), 1);
    // At a temperature of 2, a difference of 2 ln 3 in the logits is one of 1 : 3.
    let warm =
        Choice { temperature: 2.0, presence_penalty: 2.0 * 3f32.ln(), counted: &[(0, 9)], ..PLAIN };
    let counts = counts(warm, &[0.0, 0.0]);
    assert!((counts[0] as i32 - 1_000).abs() < 120, "{counts:?}");
}

#[test]
fn each_row_has_its_own_choice_at_any_thread_count() {
    let logits: Vec<f32> = numbers(9 * 500, 3);
    let choices: Vec<Choice> = (0..9u32)
        .map(|row| {
            let (temperature, draw) = ((row % 3) as f32, u64::from(row) << 60);
            Choice { temperature, draw, top_p: 0.9, ..PLAIN }
        })
        .collect();
    let alone = logits.chunks(500).zip(&choices);
    let wanted: Vec<u32> = alone.map(|(logits, choice)| one(logits, *choice).unwrap()).collect();
    for threads in [1, 2, 5] {
        let found = on_threads(threads, || {
            let logits = Tensor::from_slice(&logits, (9, 500), &Device::Cpu).unwrap();
            choose(&logits, &choices).unwrap()
        });
        assert_eq!(found, wanted);
    }
}

#[test]
fn logits_without_a_finite_largest_one_are_refused_with_their_row() {
    let bad = [f32::NAN, -f32::NAN, f32::INFINITY].map(|bad| [0.0, bad, 1.0]);
    for row in bad.into_iter().chain([[f32::NEG_INFINITY; 3]]) {
        for choice in [GREEDY, PLAIN] {
            let logits = Tensor::new(&[[0.0, 1.0, 2.0], row], &Device::Cpu).unwrap();
            let found = choose(&logits, &[choice, choice]).unwrap_err().to_string();
            let wanted = "choose: found a NaN among the logits of row 1, or an infinite largest one, \
                          wanted numbers, the largest finite";
            assert_eq!(found, wanted);
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_at_the_door() {
    let logits = [0.0, 1.0];
    for (choice, wanted) in [
        (
            Choice { temperature: -1.0, ..PLAIN },
            "choose: found the temperature -1 for row 0, wanted 0 or more",
        ),
        (
            Choice { temperature: f32::INFINITY, ..PLAIN },
            "choose: found the temperature inf for row 0, wanted 0 or more",
        ),
        (
            Choice { top_p: -0.1, ..PLAIN },
            "choose: found top_p -0.1 for row 0, wanted a number from 0 to 1",
        ),
        (
            Choice { top_p: f32::NAN, ..PLAIN },
            "choose: found top_p NaN for row 0, wanted a number from 0 to 1",
        ),
        (
            Choice { repetition_penalty: 0.0, ..PLAIN },
            "choose: found the penalty 0 for row 0, wanted more than 0",
        ),
        (
            Choice { repetition_penalty: 2.0, seen: &[1, 2], ..PLAIN },
            "choose: seen token 2 is out of range, there are 2",
        ),
        (
            Choice { repetition_penalty: 2.0, seen: &[1, 1], ..PLAIN },
            "choose: found the seen tokens [1, 1] of row 0, wanted each once, rising",
        ),
        (
            Choice { presence_penalty: f32::NAN, ..PLAIN },
            "choose: found the penalty NaN for row 0, wanted a number",
        ),
        (
            Choice { frequency_penalty: 0.5, counted: &[(0, 1), (2, 1)], ..PLAIN },
            "choose: counted token 2 is out of range, there are 2",
        ),
        (
            Choice { presence_penalty: 0.5, counted: &[(1, 1), (0, 1)], ..PLAIN },
            "choose: found the counted tokens [(1, 1), (0, 1)] of row 0, wanted each once, rising",
        ),
    ] {
        assert_eq!(refusal(&logits, choice), wanted);
    }
    let wanted = "choose: logits has shape [1, 2], wanted [2, 2]";
    let logits = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(choose(&logits, &[PLAIN; 2]).unwrap_err().to_string(), wanted);
    let wanted = "choose: found a vocabulary of 0 tokens, wanted 1 to 2^21";
    assert_eq!(refusal(&[], PLAIN), wanted);
}
