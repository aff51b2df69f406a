//! The head beside its specification, its finite differences and itself in another order.

use super::*;
use crate::Recompute;
use crate::support::{
    Passes, assert_close, floats, gradient, numbers, parameter, passes, prove, tensor, wider,
};

/// The specification.
fn reference(hidden: &[f64], weight: &[f64], targets: &[u32], channels: usize) -> Vec<f64> {
    let rows = hidden.chunks(channels).zip(targets);
    let logprob = |(hidden, &target): (&[f64], &u32)| {
        let dot = |word: &[f64]| word.iter().zip(hidden).map(|(w, h)| w * h).sum::<f64>();
        let logits: Vec<f64> = weight.chunks(channels).map(dot).collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - max).exp()).sum();
        logits[target as usize] - max - sum.ln()
    };
    rows.map(logprob).collect()
}

fn targets(rows: usize, words: usize) -> Vec<u32> {
    (0..rows).map(|row| (row * 7 % words) as u32).collect()
}

const SIZES: [(usize, usize, usize); 4] =
    [(1, 1, 1), (3, 50, 33), (LOGIT_ROWS + 4, 3, 2), (2, 1100, 2)];

fn both_ways(
    hidden: &Tensor,
    weight: &Parameter,
    targets: &[u32],
    seed: &[f32],
    ahead: bool,
) -> Passes {
    passes(std::slice::from_ref(hidden), &[weight], seed, |tape, leaves| {
        linear_logprob(tape, &leaves[0], weight, targets, ahead.then(|| seed.to_vec()))
    })
}

#[test]
fn it_equals_its_specification_and_its_finite_differences() {
    for (rows, words, channels) in SIZES {
        let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
        let targets = targets(rows, words);
        let reference = |given: &[Vec<f64>]| reference(&given[0], &given[1], &targets, channels);
        prove("linear_logprob", &[hidden], &[&weight], reference, |tape, leaves| {
            linear_logprob(tape, &leaves[0], &weight, &targets, None)
        });
    }
}

#[test]
fn the_sum_over_a_large_vocabulary_keeps_its_digits() {
    let (words, channels) = (49_152, 3);
    let (hidden, weight) = (tensor((5, channels), 1), parameter((words, channels), 2));
    let targets = targets(5, words);
    let found = linear_logprob(
        &mut Tape::inference(),
        &Value::constant(hidden.clone()),
        &weight,
        &targets,
        None,
    );
    let given = [&hidden, weight.value()].map(|tensor| wider(&floats(tensor)));
    let wanted = reference(&given[0], &given[1], &targets, channels);
    // One rounding of numbers between 8 and 16 to f32, 5e-7, and hardly more.
    let found = floats(found.unwrap().tensor());
    assert_close("49,152 words", &found, &wanted, 6e-8);
}

#[test]
fn a_gradient_known_ahead_gives_the_same_bits() {
    for (rows, words, channels) in SIZES {
        let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
        let (targets, seed) = (targets(rows, words), numbers(rows, 3));
        let plain = both_ways(&hidden, &weight, &targets, &seed, false);
        assert_eq!(both_ways(&hidden, &weight, &targets, &seed, true), plain);
    }
}

#[test]
fn only_what_asks_for_a_gradient_receives_one() {
    let (hidden, mut weight) = (tensor((5, 4), 1), parameter((7, 4), 2));
    let (targets, seed) = (targets(5, 7), numbers(5, 3));
    let wanted = both_ways(&hidden, &weight, &targets, &seed, false).gradients;
    for (trains_weight, ahead) in [(true, false), (true, true), (false, false), (false, true)] {
        weight.clear_gradient();
        weight.set_trainable(|_| trains_weight);
        let mut tape = Tape::recording(Recompute::None);
        let constant = Value::constant(hidden.clone());
        let input = if trains_weight { constant } else { tape.leaf(hidden.clone()) };
        let ahead = ahead.then(|| seed.clone());
        let out = linear_logprob(&mut tape, &input, &weight, &targets, ahead).unwrap();
        let seed = Tensor::from_slice(&seed, 5, hidden.device()).unwrap();
        let slots = tape.backward(&out, seed).unwrap();
        let found = [slots.of(&input).map(floats), gradient(&weight)];
        let (of_hidden, of_weight) = (Some(wanted[0].clone()), Some(wanted[1].clone()));
        assert_eq!(found, if trains_weight { [None, of_weight] } else { [of_hidden, None] });
    }
}

#[test]
fn a_tape_that_does_not_record_leaves_no_gradient_behind() {
    let (hidden, weight) = (Value::constant(tensor((5, 4), 1)), parameter((7, 4), 2));
    let (targets, ahead) = (targets(5, 7), Some(vec![1.0; 5]));
    linear_logprob(&mut Tape::inference(), &hidden, &weight, &targets, ahead).unwrap();
    assert_eq!(gradient(&weight), None);
}

#[test]
fn a_backward_pass_that_was_announced_otherwise_is_refused() {
    let (hidden, weight) = (tensor((2, 4), 1), parameter((7, 4), 2));
    let mut tape = Tape::recording(Recompute::None);
    let leaf = tape.leaf(hidden);
    let out = linear_logprob(&mut tape, &leaf, &weight, &[0, 1], Some(vec![1., 2.])).unwrap();
    let seed = Tensor::new(&[1f32, 3.], out.tensor().device()).unwrap();
    assert_eq!(
        tape.backward(&out, seed).err().unwrap().to_string(),
        "linear_logprob: row 1 receives the gradient 3, but 2 was announced"
    );
}

#[test]
fn huge_logits_stay_exact_and_what_is_not_finite_shows() {
    let device = candle_core::Device::Cpu;
    let words = Tensor::new(&[[300f32], [299.]], &device).unwrap();
    let weight = Parameter::single("weight", words);
    let logprob = |hidden: f32| {
        let hidden = Value::constant(Tensor::new(&[[hidden]], &device).unwrap());
        let out = linear_logprob(&mut Tape::inference(), &hidden, &weight, &[0], None).unwrap();
        floats(out.tensor())[0]
    };
    // -ln(1 + 1/e), up to one rounding of 1/e.
    assert!((logprob(1.0) + 0.313_261_7).abs() < 1e-7);
    assert_eq!(logprob(-1e3), -1000.0);
    assert!(logprob(f32::NAN).is_nan());
    assert!(logprob(f32::INFINITY).is_nan());
}

/// The specification of what is softened.
fn softened_reference(
    hidden: &[f64],
    weight: &[f64],
    targets: &[u32],
    channels: usize,
    softening: Softening,
) -> Vec<f64> {
    let Softening { label_smoothing: s, z_loss: w } = softening;
    let rows = hidden.chunks(channels).zip(targets);
    let one = |(hidden, &target): (&[f64], &u32)| {
        let dot = |word: &[f64]| word.iter().zip(hidden).map(|(w, h)| w * h).sum::<f64>();
        let logits: Vec<f64> = weight.chunks(channels).map(dot).collect();
        let log_sum = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let even: f64 = logits.iter().map(|logit| logit - log_sum).sum();
        (1.0 - s) * (logits[target as usize] - log_sum) + s * even / logits.len() as f64
            - w * log_sum * log_sum
    };
    rows.map(one).collect()
}

const SOFT: [Softening; 3] = [
    Softening { label_smoothing: 0.0, z_loss: 0.05 },
    Softening { label_smoothing: 0.1, z_loss: 0.0 },
    Softening { label_smoothing: 0.2, z_loss: 0.1 },
];

#[test]
fn what_is_softened_equals_its_specification_and_its_finite_differences() {
    // Of a single word, `p` and the target cancel and leave little more than rounding.
    for (rows, words, channels) in SIZES.into_iter().filter(|(_, words, _)| *words > 1) {
        let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
        let targets = targets(rows, words);
        for soft in SOFT {
            let reference = |given: &[Vec<f64>]| {
                softened_reference(&given[0], &given[1], &targets, channels, soft)
            };
            let hidden = hidden.clone();
            prove("softened_logprob", &[hidden], &[&weight], reference, |tape, leaves| {
                let found = softened_logprob(tape, &leaves[0], &weight, &targets, None, soft)?;
                Ok(found.softened)
            });
        }
    }
}

#[test]
fn what_is_softened_has_the_same_bits_with_a_gradient_known_ahead() {
    for (rows, words, channels) in SIZES {
        let (hidden, weight) = (tensor((rows, channels), 1), parameter((words, channels), 2));
        let (targets, seed) = (targets(rows, words), numbers(rows, 3));
        for soft in SOFT {
            let run = |ahead: bool| {
                weight.clear_gradient();
                passes(std::slice::from_ref(&hidden), &[&weight], &seed, |tape, leaves| {
                    let ahead = ahead.then(|| seed.clone());
                    let found = softened_logprob(tape, &leaves[0], &weight, &targets, ahead, soft)?;
                    Ok(found.softened)
                })
            };
            assert_eq!(run(true), run(false));
        }
    }
}

#[test]
fn nothing_softened_is_the_log_probability_and_its_parts_are_told_beside() {
    let (hidden, weight) = (tensor((5, 4), 1), parameter((7, 4), 2));
    let (targets, value) = (targets(5, 7), Value::constant(hidden));
    let run = |soft| {
        softened_logprob(&mut Tape::inference(), &value, &weight, &targets, None, soft).unwrap()
    };
    let plain = run(Softening::default());
    assert!(plain.logprobs.get().unwrap().is_empty() && plain.log_sums.get().unwrap().is_empty());
    let logprobs = floats(plain.softened.tensor());
    let soft = run(Softening { label_smoothing: 0.0, z_loss: 0.5 });
    assert_eq!(soft.logprobs.get().unwrap(), logprobs);
    let log_sums = soft.log_sums.get().unwrap();
    let rows = floats(soft.softened.tensor()).into_iter().zip(logprobs).zip(log_sums);
    for ((softened, logprob), log_sum) in rows {
        assert!((softened - (logprob - 0.5 * log_sum * log_sum)).abs() < 1e-6);
    }
}
