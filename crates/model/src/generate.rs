//! Generation with a key/value cache: prompts of different lengths in one batch.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use albacore_kernels::{Angles, Sequences, choose};

use crate::rope::newest_angles;
use crate::sampling::Sampler;
use crate::{Error, Llama, LlamaConfig, Result, Sampling};

/// When a generation ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most new tokens per prompt.
    pub max_new_tokens: usize,
    /// Tokens that end an answer; they are part of the result.
    pub stop_ids: Vec<u32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token was generated.
    Stop,
    /// The most new tokens were reached.
    Length,
    /// The caller had seen enough (a stop string, say).
    Caller,
}

/// What was generated for one prompt.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The new tokens, the stop token included.
    pub ids: Vec<u32>,
    /// Why there are no more.
    pub finish: Finish,
}

/// One sequence that is still growing.
struct Growing {
    /// Which prompt it belongs to.
    index: usize,
    ids: Vec<u32>,
    sampler: Sampler,
}

/// Continues each of `prompts`.
///
/// `on_token(prompt, id)` is called for every new token as it comes and may end its sequence.
/// Results do not depend on which prompts are generated together, up to rounding: the products of a
/// larger batch may differ in their last bits, and with them a choice between near equals.
///
/// # Errors
/// If a prompt is empty or names a token outside the vocabulary; if the model's logits have no finite
/// largest one.
pub fn generate(
    model: &Llama,
    prompts: &[Vec<u32>],
    sampling: Sampling,
    limits: &Limits,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>> {
    check(model, prompts)?;
    let blank = Generated { ids: Vec::new(), finish: Finish::Length };
    let mut results = vec![blank; prompts.len()];
    if prompts.is_empty() || limits.max_new_tokens == 0 {
        return Ok(results);
    }
    let caches = RefCell::new(model.new_caches(prompts.len()));
    let mut asked = HashMap::new();
    let growing = prompts.iter().enumerate().map(|(index, prompt)| {
        let times = asked.entry(prompt).and_modify(|times| *times += 1).or_insert(0);
        Growing { index, ids: prompt.clone(), sampler: Sampler::new(sampling, prompt, *times) }
    });
    let mut growing = growing.collect::<Vec<_>>();
    // First each whole prompt, then one token a round.
    let mut fresh = prompts.iter().map(Vec::len).collect::<Vec<_>>();
    while !growing.is_empty() {
        let input = Step::new(model.config(), &growing, &fresh)?;
        let logits = model.next_logits(&input, &caches)?;
        let choices = growing.iter_mut().map(|sequence| sequence.sampler.choice());
        let chosen = choose(&logits, &choices.collect::<Vec<_>>())?;
        let mut keep = vec![true; growing.len()];
        for (slot, (sequence, &id)) in growing.iter_mut().zip(&chosen).enumerate() {
            sequence.ids.push(id);
            sequence.sampler.saw(id);
            let result = &mut results[sequence.index];
            result.ids.push(id);
            let finish = if limits.stop_ids.contains(&id) {
                Some(Finish::Stop)
            } else if on_token(sequence.index, id).is_break() {
                Some(Finish::Caller)
            } else if result.ids.len() >= limits.max_new_tokens {
                Some(Finish::Length)
            } else {
                None
            };
            if let Some(finish) = finish {
                result.finish = finish;
                keep[slot] = false;
            }
        }
        if keep.contains(&false) {
            caches.borrow_mut().iter_mut().for_each(|cache| cache.retain(&keep));
            let mut kept = keep.iter();
            growing.retain(|_| *kept.next().expect("one flag a sequence"));
        }
        fresh = vec![1; growing.len()];
    }
    Ok(results)
}

/// The tokens that are new to the caches, packed.
pub(crate) struct Step {
    pub(crate) ids: Vec<u32>,
    /// Those of each token, in a row of its own.
    pub(crate) angles: Angles,
    /// The row of `angles` for each token.
    pub(crate) positions: Vec<u32>,
    pub(crate) sequences: Sequences,
    /// The last token of each sequence: what follows it is to be chosen.
    pub(crate) last: Vec<u32>,
}

impl Step {
    fn new(config: &LlamaConfig, growing: &[Growing], fresh: &[usize]) -> Result<Self> {
        let sequences = Sequences::from_lengths(fresh.iter().copied())?;
        let newest = || {
            growing.iter().zip(fresh).map(|(sequence, fresh)| {
                let length = sequence.ids.len();
                (sequence, length - fresh..length)
            })
        };
        let ids = newest().flat_map(|(sequence, range)| &sequence.ids[range]).copied().collect();
        let angles = newest_angles(config, newest().map(|(_, range)| range))?;
        let positions = (0..sequences.tokens() as u32).collect();
        let last = sequences.starts()[1..].iter().map(|end| end - 1).collect();
        Ok(Self { ids, angles, positions, sequences, last })
    }
}

fn check(model: &Llama, prompts: &[Vec<u32>]) -> Result<()> {
    let vocabulary = model.config().vocab_size;
    for (index, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(Error::EmptyPrompt { index });
        }
        if let Some(&id) = prompt.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(Error::TokenId { id, vocabulary });
        }
    }
    Ok(())
}
