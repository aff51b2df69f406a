//! Choosing the next token from the logits.
//!
//! The order of the steps is that of transformers' `generate`: repetition penalty, temperature,
//! top-k, top-p, then a draw.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most probable token. Default 0.
    pub temperature: f32,
    /// Keeps only this many of the most probable tokens; 0 keeps all. Default 0.
    pub top_k: usize,
    /// Keeps the most probable tokens whose probabilities together reach this. Default 1.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen already. Default 1.
    pub repetition_penalty: f32,
    /// Start of the random numbers. Each prompt has a stream of its own, which follows from its
    /// tokens: what is drawn for it does not depend on what it is generated together with, up to
    /// rounding of the logits. A prompt that stands in a batch again draws anew.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl Sampling {
    /// What is wrong with these settings, all of it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            problems.push(format!("temperature is {}, wanted 0 or more", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            problems.push(format!("top_p is {}, wanted more than 0 and at most 1", self.top_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let found = self.repetition_penalty;
            problems.push(format!("repetition_penalty is {found}, wanted more than 0"));
        }
        problems
    }
}

/// Chooses the tokens of one sequence.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    order: Vec<u32>,
}

impl Sampler {
    /// For the answer to a prompt that was asked so many `times` before.
    pub(crate) fn new(sampling: Sampling, prompt: &[u32], times: u64) -> Self {
        // FNV-1a: the same on every machine and in every release.
        let absorb = |hash: u64, id: &u32| (hash ^ u64::from(*id)).wrapping_mul(0x100_0000_01b3);
        let stream = prompt.iter().fold(0xcbf2_9ce4_8422_2325, absorb);
        let mut random = ChaCha8Rng::seed_from_u64(sampling.seed);
        random.set_stream(stream.wrapping_add(times));
        Self { sampling, random, order: Vec::new() }
    }

    /// The next token, given the logits and the tokens so far (prompt included).
    pub(crate) fn next(&mut self, logits: &mut [f32], seen: &[u32]) -> u32 {
        self.penalise(logits, seen);
        if self.sampling.temperature == 0.0 {
            return most_probable(logits);
        }
        self.order.clear();
        self.order.extend(0..logits.len() as u32);
        let falling =
            |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let top_k = self.sampling.top_k;
        if top_k > 0 && top_k < self.order.len() {
            self.order.select_nth_unstable_by(top_k - 1, falling);
            self.order.truncate(top_k);
        }
        self.order.sort_unstable_by(falling);
        let largest = logits[self.order[0] as usize];
        let weight =
            |id: u32| f64::from((logits[id as usize] - largest) / self.sampling.temperature).exp();
        let total = self.order.iter().map(|&id| weight(id)).sum::<f64>();
        let kept = total * f64::from(self.sampling.top_p);
        let mut below = 0.0;
        let nucleus = self.order.iter().position(|&id| {
            below += weight(id);
            below >= kept
        });
        let nucleus = nucleus.map_or(self.order.len(), |last| last + 1);
        let candidates = &self.order[..nucleus];
        let mass = candidates.iter().map(|&id| weight(id)).sum::<f64>();
        // 53 random bits make a double in [0, 1).
        let mut left = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64 * mass;
        for &id in candidates {
            left -= weight(id);
            if left < 0.0 {
                return id;
            }
        }
        candidates[candidates.len() - 1]
    }

    fn penalise(&self, logits: &mut [f32], seen: &[u32]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut seen = seen.to_vec();
        seen.sort_unstable();
        seen.dedup();
        for id in seen {
            let logit = &mut logits[id as usize];
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
}

/// The most probable token; of equals, the first.
fn most_probable(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(sampling: Sampling, logits: &[f32]) -> Vec<usize> {
        let mut sampler = Sampler::new(sampling, &[], 0);
        let mut counts = vec![0; logits.len()];
        for _ in 0..4_000 {
            counts[sampler.next(&mut logits.to_vec(), &[]) as usize] += 1;
        }
        counts
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_most_probable() {
        let mut sampler = Sampler::new(Sampling::default(), &[], 0);
        assert_eq!(sampler.next(&mut [0.0, 2.0, 2.0, 1.0], &[]), 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 3f32.ln(), f32::NEG_INFINITY];
        let counts = counts(Sampling { temperature: 1.0, ..Default::default() }, &logits);
        // 1 : 3 in 4,000 draws; the standard deviation is 27.
        assert!((counts[0] as i32 - 1_000).abs() < 120, "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn top_k_and_top_p_leave_out_the_improbable() {
        let logits = [1.0, 4.0, 3.0, 2.0];
        let top_k = Sampling { temperature: 1.0, top_k: 2, ..Default::default() };
        let kept = counts(top_k, &logits);
        assert!(kept[1] > 0 && kept[2] > 0 && kept[0] + kept[3] == 0, "{kept:?}");
        let top_p = Sampling { temperature: 1.0, top_p: 0.5, ..Default::default() };
        assert_eq!(counts(top_p, &logits)[1], 4_000);
    }

    #[test]
    fn the_repetition_penalty_lowers_what_was_seen_once() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Default::default() };
        let mut sampler = Sampler::new(sampling, &[], 0);
        assert_eq!(sampler.next(&mut [3.0, 2.0], &[0, 0]), 1);
        assert_eq!(sampler.next(&mut [-1.0, -1.5], &[0]), 1);
    }

    #[test]
    fn seed_prompt_and_repetition_fix_the_draws() {
        let draw = |seed, prompt: &[u32], times| {
            let sampling = Sampling { temperature: 1.0, seed, ..Default::default() };
            let mut sampler = Sampler::new(sampling, prompt, times);
            (0..32).map(|_| sampler.next(&mut [0.0; 16], &[])).collect::<Vec<_>>()
        };
        let all = [
            draw(7, &[1, 2], 0),
            draw(8, &[1, 2], 0),
            draw(7, &[2, 1], 0),
            draw(7, &[1], 0),
            draw(7, &[1, 2], 1),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "draws {index} repeat others");
        }
        assert_eq!(draw(7, &[1, 2], 0), all[0]);
    }
}
