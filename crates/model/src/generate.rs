//! Generation with a key/value cache: many requests, of which as many grow at a time as there is room for.
//!
//! ```text
//!  requests ──admission: slots, tokens──► growing ──a token a step──► events: Token, Ended
//!                  └ heads of earlier prompts, which need not be computed again
//! ```

mod beam;
mod generator;
mod heads;

use std::ops::{ControlFlow, Range};

use albacore_kernels::{Angles, Positions, Sequences};

use crate::rope::newest_angles;
use crate::{Error, Model, Result, Sampling};

pub use beam::{Beams, beam_search};
pub use generator::{Capacity, Generator};

/// When a generation ends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most new tokens per prompt.
    pub max_new_tokens: usize,
    /// Tokens that end an answer; they are part of the result.
    pub stop_ids: Vec<u32>,
}

/// A prompt that is to be continued.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its tokens.
    pub prompt: Vec<u32>,
    /// How its next tokens are chosen. What is drawn follows from its seed, from the prompt and from
    /// `times` alone.
    pub sampling: Sampling,
    /// How often this prompt was asked before, where another answer is wanted each time.
    pub times: u64,
    /// When it ends.
    pub limits: Limits,
    /// Whether the log-probability of each token is wanted: on a GPU its logits are then copied from
    /// there.
    pub logprobs: bool,
    /// Tokens whose log-probabilities as the first new one are wanted: of answers to choose from.
    pub compare: Vec<u32>,
}

/// What happens to a request. Its caller answers with `Break` to have enough: of this answer after a
/// token, of all after an end.
#[derive(Clone, Debug)]
pub enum Event {
    /// It goes on with this token. Not sent for a token that ends an answer.
    Token {
        /// The token.
        id: u32,
        /// The natural logarithm of its probability under the model, before penalties, temperature and
        /// what they leave out; if it was asked for.
        logprob: Option<f64>,
    },
    /// It has ended.
    Ended(Generated),
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
    /// The log-probability of each token of [`Request::compare`].
    pub compared: Vec<f64>,
}

impl Generated {
    /// Nothing, since nothing more was allowed.
    fn nothing() -> Self {
        Self { ids: Vec::new(), finish: Finish::Length, compared: Vec::new() }
    }
}

/// Continues each of `prompts`; a prompt that stands there again draws anew.
///
/// `on_token(prompt, id)` is called for every new token as it comes and may end its sequence.
/// Results do not depend on which prompts are generated together, up to rounding: see [`Generator`].
///
/// # Errors
/// If a prompt is empty or names a token outside the vocabulary; if the model's logits have no finite
/// largest one.
pub fn generate(
    model: &Model,
    prompts: &[Vec<u32>],
    sampling: Sampling,
    limits: &Limits,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>> {
    for (index, prompt) in prompts.iter().enumerate() {
        check(model, index, prompt)?;
    }
    let mut asked = std::collections::HashMap::new();
    let mut requests = prompts.iter().map(|prompt| {
        let times = asked.entry(prompt).and_modify(|times| *times += 1).or_insert(0);
        let (prompt, limits) = (prompt.clone(), limits.clone());
        Request { prompt, sampling, times: *times, limits, logprobs: false, compare: Vec::new() }
    });
    let mut results = vec![Generated::nothing(); prompts.len()];
    Generator::new(model, Capacity::of(model)).run(
        &mut requests,
        &mut |index, event| match event {
            Event::Token { id, .. } => on_token(index, id),
            Event::Ended(generated) => {
                results[index] = generated;
                ControlFlow::Continue(())
            }
        },
    )?;
    Ok(results)
}

fn check(model: &Model, index: usize, prompt: &[u32]) -> Result<()> {
    let vocabulary = model.config().vocab_size();
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt { index });
    }
    match prompt.iter().find(|&&id| id as usize >= vocabulary) {
        Some(&id) => Err(Error::TokenId { id, vocabulary }),
        None => Ok(()),
    }
}

/// The tokens that are new to the caches, packed.
pub(crate) struct Step {
    /// The neighbours in the caches that they belong to.
    pub(crate) members: Range<usize>,
    pub(crate) ids: Vec<u32>,
    /// Those of each token, in a row of its own, where the model turns by them.
    pub(crate) angles: Option<Angles>,
    /// The row of `angles` for each token.
    pub(crate) positions: Positions,
    pub(crate) sequences: Sequences,
    /// The last token of each sequence: what follows it is to be chosen.
    pub(crate) last: Vec<u32>,
    /// Tokens of the longest sequence, those that the cache has included.
    pub(crate) longest: usize,
}

impl Step {
    /// Takes what some sequences of the cache hold, and how many of their tokens it has already.
    fn new<'s>(
        model: &Model,
        members: Range<usize>,
        growing: impl Iterator<Item = (&'s [u32], usize)> + Clone,
    ) -> Result<Self> {
        let sequences =
            Sequences::from_lengths(growing.clone().map(|(ids, cached)| ids.len() - cached))?;
        let ids = growing.clone().flat_map(|(ids, cached)| &ids[cached..]).copied().collect();
        let longest = growing.clone().map(|(ids, _)| ids.len()).max().unwrap_or(0);
        let angles = match model {
            Model::Llama(model) => {
                let newest = growing.map(|(ids, cached)| cached..ids.len());
                Some(newest_angles(model.config(), newest)?)
            }
            Model::T5(_) => None,
        };
        let positions = (0..sequences.tokens() as u32).collect::<Vec<_>>().into();
        let last = sequences.starts()[1..].iter().map(|end| end - 1).collect();
        Ok(Self { members, ids, angles, positions, sequences, last, longest })
    }
}

#[cfg(test)]
mod tests;
