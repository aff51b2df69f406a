//! Choosing the next token of each sequence from its logits.
//!
//! The order of the steps is that of transformers' `generate`: repetition penalty, temperature,
//! top-k, top-p, then a draw. The penalties of OpenAI's API stand before the temperature.
//!
//! The CPU and a GPU choose the same tokens from the same logits. A token's weight, its probability
//! over that of the most probable one, is an integer in units of 2⁻⁴², so that sums of weights are
//! exact in any order, and it comes from an [`exp`] whose steps are the same on both.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::device::sample as device;
use crate::engine::Engine;
use crate::error::{expect_indices, expect_shape};
use crate::launch::Gpu;
use crate::simd::{exp, wide};
use crate::{Error, Result, storage};

/// How the token of one row of logits is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice<'a> {
    /// Divides the logits; 0 takes the most probable token, the first of equals.
    pub temperature: f32,
    /// Keeps only this many of the most probable tokens, of equals the first; 0 keeps all.
    pub top_k: usize,
    /// Keeps the most probable tokens until their probabilities together reach this part of what
    /// `top_k` has left; of equals the first. 0 keeps one.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of `seen` tokens.
    pub repetition_penalty: f32,
    /// Tokens that the sequence holds already, each once, in rising order. Not looked at if the
    /// penalty is 1.
    pub seen: &'a [u32],
    /// Taken from the logit of each token that is `counted`.
    pub presence_penalty: f32,
    /// Taken from it for each time that it was counted.
    pub frequency_penalty: f32,
    /// Tokens that the answer holds already, and how often, each once, in rising order. Not looked
    /// at if both penalties are 0.
    pub counted: &'a [(u32, u32)],
    /// Which of the tokens that are left: a random number, all of its 64 bits equally probable.
    /// They stand in the order of their ids, each with a share of all numbers that is its
    /// probability. Not looked at if the temperature is 0.
    pub draw: u64,
}

impl Choice<'_> {
    /// Whether tokens are penalised by how often the answer holds them.
    pub(crate) fn counts(&self) -> bool {
        self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

/// The most tokens for which a sum of weights stays below 2⁶⁴.
const MOST_TOKENS: usize = 1 << 21;

/// In place of an id: there is no finite largest logit. Also in sample.cu.
const NONE: u32 = u32::MAX;

/// Chooses the next token of each row. From a GPU, only their ids come back.
///
/// The logits are used up: penalties are written into them.
///
/// # Shapes
/// `logits` `(B, V)`, contiguous f32; `choices` and the result `B` of them.
///
/// # Errors
/// If the shapes do not fit or `V` is over 2²¹; if a choice is out of its range; if the largest
/// logit of a row is not finite, or one of them is NaN.
///
/// ```
/// use albacore_kernels::{Choice, choose};
/// use candle_core::{Device, Tensor};
///
/// let logits = Tensor::new(&[[0f32, 2.0, 1.0]], &Device::Cpu)?;
/// let sharp = Choice {
///     temperature: 0.0,
///     top_k: 0,
///     top_p: 1.0,
///     repetition_penalty: 1.0,
///     seen: &[],
///     presence_penalty: 0.0,
///     frequency_penalty: 0.0,
///     counted: &[],
///     draw: 0,
/// };
/// assert_eq!(choose(&logits, &[sharp])?, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn choose(logits: &Tensor, choices: &[Choice]) -> Result<Vec<u32>> {
    let vocabulary = check(logits, choices)?;
    if choices.is_empty() {
        return Ok(Vec::new());
    }
    let ids = match Engine::of(logits.device())? {
        Some(gpu) => on_gpu(&gpu, logits, choices, vocabulary)?,
        None => storage::write(logits, |logits| {
            let rows = logits.par_chunks_mut(vocabulary).zip(choices);
            Ok(rows.map(|(logits, choice)| choose_one(logits, choice)).collect())
        })?,
    };
    match ids.iter().position(|&id| id == NONE) {
        Some(row) => Err(Error::Choice {
            found: format!("a NaN among the logits of row {row}, or an infinite largest one"),
            wanted: "numbers, the largest finite",
        }),
        None => Ok(ids),
    }
}

/// What the function promises to refuse; the size of the vocabulary.
fn check(logits: &Tensor, choices: &[Choice]) -> Result<usize> {
    let vocabulary = logits.dims().last().copied().unwrap_or(0);
    expect_shape("choose", "logits", logits.dims(), &[choices.len(), vocabulary])?;
    let refuse = |found, wanted| Err(Error::Choice { found, wanted });
    if !(1..=MOST_TOKENS).contains(&vocabulary) {
        return refuse(format!("a vocabulary of {vocabulary} tokens"), "1 to 2^21");
    }
    for (row, choice) in choices.iter().enumerate() {
        let Choice { temperature, top_p, repetition_penalty: penalty, seen, .. } = *choice;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            return refuse(format!("the temperature {temperature} for row {row}"), "0 or more");
        }
        if !(0.0..=1.0).contains(&top_p) {
            return refuse(format!("top_p {top_p} for row {row}"), "a number from 0 to 1");
        }
        if !(penalty > 0.0 && penalty.is_finite()) {
            return refuse(format!("the penalty {penalty} for row {row}"), "more than 0");
        }
        if penalty != 1.0 {
            expect_indices("choose", "seen token", seen, vocabulary)?;
            if !seen.is_sorted_by(|one, next| one < next) {
                return refuse(
                    format!("the seen tokens {seen:?} of row {row}"),
                    "each once, rising",
                );
            }
        }
        check_counted(row, choice, vocabulary)?;
    }
    Ok(vocabulary)
}

fn check_counted(row: usize, choice: &Choice, vocabulary: usize) -> Result<()> {
    let Choice { presence_penalty, frequency_penalty, counted, .. } = *choice;
    for penalty in [presence_penalty, frequency_penalty] {
        if !penalty.is_finite() {
            let found = format!("the penalty {penalty} for row {row}");
            return Err(Error::Choice { found, wanted: "a number" });
        }
    }
    if choice.counts() {
        // In rising order the last is the highest.
        let last = counted.last().map(|&(id, _)| id);
        expect_indices("choose", "counted token", last.as_slice(), vocabulary)?;
        if !counted.is_sorted_by(|one, next| one.0 < next.0) {
            let found = format!("the counted tokens {counted:?} of row {row}");
            return Err(Error::Choice { found, wanted: "each once, rising" });
        }
    }
    Ok(())
}

fn on_gpu(
    gpu: &Engine,
    logits: &Tensor,
    choices: &[Choice],
    vocabulary: usize,
) -> Result<Vec<u32>> {
    if logits.dtype() != DType::F32 {
        return Err(Error::Device { found: format!("logits of {:?}", logits.dtype()) });
    }
    let table = gpu.upload(&device::table(choices, vocabulary))?;
    let ids = Tensor::zeros(choices.len(), DType::U32, logits.device())?;
    let places = [gpu.at(&ids)?, gpu.at(logits)?, gpu.address(&table)];
    device::choose(gpu, places, choices.len(), vocabulary)?;
    Ok(ids.to_device(&Device::Cpu)?.to_vec1()?)
}

/// The token of one row.
fn choose_one(logits: &mut [f32], choice: &Choice) -> u32 {
    let Choice { temperature, top_k, top_p, .. } = *choice;
    penalise(logits, choice);
    let first = wide!(|| largest(logits));
    let largest = logit_of(first);
    if !largest.is_finite() {
        return NONE;
    }
    if temperature == 0.0 {
        let same = logits.iter().position(|&logit| key_of(logit) == first);
        return same.expect("it is the key of one of them") as u32;
    }
    let mut candidates = wide!(|| candidates(logits));
    if (1..candidates.len()).contains(&top_k) {
        let least = least_of_the_first(candidates.clone(), top_k);
        candidates.retain(|&candidate| candidate >= least);
    }
    let mut weights = wide!(|| weights_of(&candidates, largest, temperature));
    if top_p < 1.0 {
        let total = weights.iter().sum::<u64>() as f64;
        let wanted = ((total * f64::from(top_p)).ceil() as u64).max(1);
        let pairs = || candidates.iter().copied().zip(weights.iter().copied());
        let least = least_until(&mut pairs().collect::<Vec<_>>(), wanted);
        (candidates, weights) = pairs().filter(|&(candidate, _)| candidate >= least).unzip();
    }
    id_of(candidates[drawn(&weights, choice.draw)])
}

fn penalise(logits: &mut [f32], choice: &Choice) {
    let penalty = choice.repetition_penalty;
    let seen = if penalty == 1.0 { &[] } else { choice.seen };
    for &id in seen {
        let logit = &mut logits[id as usize];
        *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
    }
    let counted = if choice.counts() { choice.counted } else { &[] };
    for &(id, times) in counted {
        // Fused, as on a GPU.
        logits[id as usize] -=
            choice.frequency_penalty.mul_add(times as f32, choice.presence_penalty);
    }
}

/// An integer that orders as the logit does. -0 equals 0, and a NaN is larger than all.
#[inline(always)]
fn key_of(logit: f32) -> u32 {
    let bits = (logit + 0.0).to_bits();
    let key = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    if logit.is_nan() { u32::MAX } else { key }
}

#[inline(always)]
fn logit_of(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 0 { !key } else { key & !(1 << 31) })
}

#[inline(always)]
fn largest(logits: &[f32]) -> u32 {
    let mut largest = 0;
    for &logit in logits {
        largest = largest.max(key_of(logit));
    }
    largest
}

/// A number for each token: the more probable the larger, and of equals the lower id.
#[inline(always)]
fn candidates(logits: &[f32]) -> Vec<u64> {
    let mut candidates = vec![0; logits.len()];
    for (id, (candidate, &logit)) in candidates.iter_mut().zip(logits).enumerate() {
        *candidate = u64::from(key_of(logit)) << 32 | u64::from(!(id as u32));
    }
    candidates
}

fn id_of(candidate: u64) -> u32 {
    !(candidate as u32)
}

/// The `count`th of the candidates, from the most probable on.
fn least_of_the_first(mut candidates: Vec<u64>, count: usize) -> u64 {
    let from_the_end = candidates.len() - count;
    *candidates.select_nth_unstable(from_the_end).1
}

/// The candidate at which the sum of weights, from the most probable on, reaches `wanted`.
fn least_until(mut pairs: &mut [(u64, u64)], mut wanted: u64) -> u64 {
    while pairs.len() > 1 {
        let half = pairs.len() / 2;
        pairs.select_nth_unstable_by(half, |left, right| right.0.cmp(&left.0));
        let (first, rest) = pairs.split_at_mut(half);
        let weight = first.iter().map(|pair| pair.1).sum::<u64>();
        if weight >= wanted {
            pairs = first;
        } else {
            wanted -= weight;
            pairs = rest;
        }
    }
    pairs[0].0
}

/// Probabilities over the largest one, in units of 2⁻⁴².
#[inline(always)]
fn weights_of(candidates: &[u64], largest: f32, temperature: f32) -> Vec<u64> {
    /// Adding it rounds to an integer, the nearest or the even one, in the low bits of an f64.
    const ROUND: f64 = (1u64 << 52) as f64;
    const UNITS: f64 = (1u64 << 42) as f64;
    let mut weights = vec![0; candidates.len()];
    for (weight, &candidate) in weights.iter_mut().zip(candidates) {
        let logit = logit_of((candidate >> 32) as u32);
        let part = f64::from(exp((logit - largest) / temperature));
        *weight = (part * UNITS + ROUND).to_bits() - ROUND.to_bits();
    }
    weights
}

/// Which of the weights the number `draw` falls on.
fn drawn(weights: &[u64], draw: u64) -> usize {
    let total = weights.iter().sum::<u64>();
    let mut left = ((u128::from(draw) * u128::from(total)) >> 64) as u64;
    let falls_here = weights.iter().position(|&weight| {
        let here = left < weight;
        left = left.wrapping_sub(weight);
        here
    });
    falls_here.expect("it is less than the sum of all")
}

#[cfg(test)]
pub(crate) mod tests;
