//! The settings of sampling, and each sequence's own random numbers.
//!
//! The choice itself is [`albacore_kernels::choose`]; the random numbers are drawn here, so they do
//! not depend on the device.

use albacore_kernels::Choice;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most probable token. Default 0.
    pub temperature: f32,
    /// Keeps only this many of the most probable tokens; 0 keeps all. Default 0.
    pub top_k: usize,
    /// Keeps the most probable tokens whose probabilities together reach this; 0 keeps the most
    /// probable one. Default 1.
    pub top_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen already. Default 1.
    pub repetition_penalty: f32,
    /// Taken from the logit of each token that the answer holds already. Default 0.
    pub presence_penalty: f32,
    /// Taken from it for each time that the answer holds it. Default 0.
    pub frequency_penalty: f32,
    /// Start of the random numbers. Each prompt has a stream of its own, which follows from its
    /// tokens: what is drawn for it does not depend on what it is generated together with, up to
    /// rounding of the logits.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// What is wrong with these settings, all of it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            problems.push(format!("temperature is {}, wanted 0 or more", self.temperature));
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            problems.push(format!("top_p is {}, wanted a number from 0 to 1", self.top_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let found = self.repetition_penalty;
            problems.push(format!("repetition_penalty is {found}, wanted more than 0"));
        }
        for (name, penalty) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            if !penalty.is_finite() {
                problems.push(format!("{name} is {penalty}, wanted a number"));
            }
        }
        problems
    }
}

/// What the choices of one sequence's tokens depend on, besides the logits.
pub(crate) struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    /// The tokens so far, each once and in order; none if there is no penalty for them.
    seen: Vec<u32>,
    /// The answer's tokens with their counts, in order; none if there is no penalty for them.
    counted: Vec<(u32, u32)>,
}

impl Sampler {
    /// For the answer to a prompt that was asked so many `times` before. The decoder begins with the
    /// tokens `given`: the prompt, unless an encoder reads that.
    pub(crate) fn new(sampling: Sampling, prompt: &[u32], given: &[u32], times: u64) -> Self {
        // FNV-1a: the same on every machine and in every release.
        let absorb = |hash: u64, id: &u32| (hash ^ u64::from(*id)).wrapping_mul(0x100_0000_01b3);
        let stream = prompt.iter().fold(0xcbf2_9ce4_8422_2325, absorb);
        let mut random = ChaCha8Rng::seed_from_u64(sampling.seed);
        random.set_stream(stream.wrapping_add(times));
        let mut seen = if sampling.repetition_penalty == 1.0 { vec![] } else { given.to_vec() };
        seen.sort_unstable();
        seen.dedup();
        Self { sampling, random, seen, counted: Vec::new() }
    }

    /// How the next token is chosen.
    pub(crate) fn choice(&mut self) -> Choice<'_> {
        let Sampling { temperature, top_k, top_p, repetition_penalty, .. } = self.sampling;
        let Sampling { presence_penalty, frequency_penalty, .. } = self.sampling;
        let draw = if temperature == 0.0 { 0 } else { self.random.next_u64() };
        Choice {
            temperature,
            top_k,
            top_p,
            repetition_penalty,
            seen: &self.seen,
            presence_penalty,
            frequency_penalty,
            counted: &self.counted,
            draw,
        }
    }

    /// The sequence goes on with this token.
    pub(crate) fn saw(&mut self, id: u32) {
        let Sampling { presence_penalty, frequency_penalty, .. } = self.sampling;
        if self.sampling.repetition_penalty != 1.0
            && let Err(place) = self.seen.binary_search(&id)
        {
            self.seen.insert(place, id);
        }
        if presence_penalty != 0.0 || frequency_penalty != 0.0 {
            match self.counted.binary_search_by_key(&id, |&(id, _)| id) {
                Ok(place) => self.counted[place].1 += 1,
                Err(place) => self.counted.insert(place, (id, 1)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use albacore_kernels::choose;
    use candle_core::{Device, Tensor};

    use super::*;

    fn next(sampler: &mut Sampler, logits: &[f32]) -> u32 {
        let logits = Tensor::from_slice(logits, (1, logits.len()), &Device::Cpu).unwrap();
        choose(&logits, &[sampler.choice()]).unwrap()[0]
    }

    #[test]
    fn settings_reach_the_choice() {
        let sampling = Sampling {
            temperature: 0.5,
            top_k: 3,
            top_p: 0.9,
            repetition_penalty: 1.2,
            presence_penalty: 0.3,
            frequency_penalty: -0.1,
            seed: 1,
        };
        let mut sampler = Sampler::new(sampling, &[5, 2, 5], &[5, 2, 5], 0);
        let Choice { temperature, top_k, top_p, repetition_penalty, seen, .. } = sampler.choice();
        assert_eq!((temperature, top_k, top_p, repetition_penalty), (0.5, 3, 0.9, 1.2));
        assert_eq!(seen, [2, 5]);
        let Choice { presence_penalty, frequency_penalty, counted, .. } = sampler.choice();
        assert_eq!((presence_penalty, frequency_penalty, counted), (0.3, -0.1, &[][..]));
        let mut plain = Sampler::new(Sampling::default(), &[5, 2, 5], &[5, 2, 5], 0);
        assert_eq!(next(&mut plain, &[0.0, 2.0, 2.0, 1.0]), 1);
    }

    #[test]
    fn the_repetition_penalty_lowers_what_was_seen_once() {
        let sampling = Sampling { repetition_penalty: 2.0, ..Default::default() };
        let mut sampler = Sampler::new(sampling, &[0, 0], &[0, 0], 0);
        assert_eq!(next(&mut sampler, &[3.0, 2.0]), 1);
        assert_eq!(next(&mut sampler, &[-1.0, -1.5]), 1);
        for _ in 0..2 {
            sampler.saw(1);
        }
        assert_eq!(next(&mut sampler, &[3.0, 2.0]), 0);
    }

    #[test]
    fn presence_and_frequency_count_the_answer_and_not_the_prompt() {
        let sampling =
            Sampling { presence_penalty: 0.25, frequency_penalty: 0.5, ..Default::default() };
        let mut sampler = Sampler::new(sampling, &[0, 0, 1], &[0, 0, 1], 0);
        assert_eq!(next(&mut sampler, &[3.0, 2.0, 0.0]), 0);
        for id in [2, 0, 0] {
            sampler.saw(id);
        }
        assert_eq!(sampler.choice().counted, [(0, 2), (2, 1)]);
        // 3 - 0.25 - 2 · 0.5 = 1.75
        assert_eq!(next(&mut sampler, &[3.0, 1.8, 0.0]), 1);
        assert_eq!(next(&mut sampler, &[3.0, 1.7, 0.0]), 0);
    }

    #[test]
    fn seed_prompt_and_repetition_fix_the_draws() {
        let draw = |seed, prompt: &[u32], times| {
            let sampling = Sampling { temperature: 1.0, seed, ..Default::default() };
            let mut sampler = Sampler::new(sampling, prompt, prompt, times);
            (0..32).map(|_| next(&mut sampler, &[0.0; 16])).collect::<Vec<_>>()
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
