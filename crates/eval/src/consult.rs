//! A judge's replies, in the order of what it is asked, each recorded as it comes.
//!
//! ```text
//!  Asked ─journaled─► reply ─read─► found, or asked again, at most `attempts` times ─► Heard
//! ```
//! A request is known by who is asked and by all that it says: a run that is started again asks only what
//! has no reply.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use albacore_data::{
    CompletionRequest, Journal, LanguageModel, Message, NoCompletion, Prompt, Random, Statistics,
    journaled,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, JudgeConfig, Result};

/// Who judges, and how it is asked.
pub struct Judge<'a> {
    /// The model.
    pub model: &'a dyn LanguageModel,
    /// Whether it is asked by messages; a model without a chat template goes on with a text.
    pub chats: bool,
    /// How it is asked.
    pub config: &'a JudgeConfig,
    /// Start of all random numbers.
    pub seed: u64,
    /// Asked after every reply; true ends the run.
    pub stop: &'a dyn Fn() -> bool,
    /// Is told how many replies there are, and how many are wanted.
    pub progress: &'a dyn Fn(u64, u64),
}

/// Why a judge's word is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoOpinion {
    /// It did not answer: why, in words.
    Failed(String),
    /// No reply of it can be read.
    Unclear,
}

/// What was said to a judge, and what it said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// What was asked, its system line first.
    pub prompt: String,
    /// Its replies, one an attempt.
    pub replies: Vec<String>,
}

/// A question to a judge.
pub(crate) struct Asked {
    /// Unique among those that are asked together.
    pub(crate) key: String,
    pub(crate) system: &'static str,
    pub(crate) user: String,
}

/// What came of a question.
#[derive(Clone)]
pub(crate) struct Heard<T> {
    pub(crate) exchange: Exchange,
    pub(crate) found: Result<T, NoOpinion>,
}

/// Asks every question until `read` finds something in a reply; `None` if it was stopped before the end.
///
/// # Errors
/// If the journal cannot be used, or the judge can answer nothing more. What came until then is kept.
pub(crate) fn consult<T>(
    judge: &Judge<'_>,
    journal: &mut Journal,
    asked: Vec<Asked>,
    statistics: &mut Statistics,
    read: impl Fn(usize, &str) -> Option<T>,
) -> Result<Option<Vec<Heard<T>>>> {
    let mut heard: Vec<Heard<T>> = Vec::with_capacity(asked.len());
    heard.extend(asked.iter().map(|asked| Heard {
        exchange: Exchange { prompt: asked.text(), replies: Vec::new() },
        found: Err(NoOpinion::Unclear),
    }));
    for attempt in 0..judge.config.attempts {
        let open = |number: &usize| matches!(heard[*number].found, Err(NoOpinion::Unclear));
        let open: Vec<usize> = (0..asked.len()).filter(open).collect();
        let requests = open.iter().map(|&number| (number, judge.request(&asked[number], attempt)));
        let Some(replies) = judge.ask(journal, requests.collect(), statistics)? else {
            return Ok(None);
        };
        for (number, reply) in replies {
            let Heard { exchange, found } = &mut heard[number];
            match reply {
                Ok(text) => {
                    *found = read(number, &text).ok_or(NoOpinion::Unclear);
                    exchange.replies.push(text);
                }
                Err(why) => *found = Err(NoOpinion::Failed(why.message)),
            }
        }
    }
    Ok(Some(heard))
}

impl Asked {
    /// What a model without a chat template goes on with.
    fn text(&self) -> String {
        format!("{}\n\n{}", self.system, self.user)
    }
}

/// A reply to the question of a number.
type Numbered = (usize, Result<String, NoCompletion>);

impl Judge<'_> {
    /// The request, under a key that no other request to any judge has.
    fn request(&self, asked: &Asked, attempt: u32) -> (String, CompletionRequest) {
        let prompt = if self.chats {
            let user = Message::new("user", asked.user.as_str());
            Prompt::Messages(vec![Message::new("system", asked.system), user])
        } else {
            Prompt::Text(asked.text() + "\n\n")
        };
        let key = format!("{}/{attempt}", asked.key);
        // What is not drawn at random is the same for every seed.
        let seed = if attempt == 0 { 0 } else { Random::new(self.seed, &key, 0).next() };
        let decoding = self.config.decoding(attempt);
        let request = CompletionRequest { prompt, decoding, seed, logprobs: false };
        let whole = serde_json::to_vec(&(self.model.identity(), &request));
        let digest = Sha256::digest(whole.expect("a request is JSON"));
        let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        (format!("{key} {digest}"), request)
    }

    /// One attempt; `None` if it was stopped.
    fn ask(
        &self,
        journal: &mut Journal,
        requests: Vec<(usize, (String, CompletionRequest))>,
        statistics: &mut Statistics,
    ) -> Result<Option<Vec<Numbered>>> {
        let wanted = requests.len();
        let numbers: HashMap<String, usize> =
            requests.iter().map(|(number, (key, _))| (key.clone(), *number)).collect();
        let (mut replies, mut fatal) = (Vec::with_capacity(wanted), None);
        let stopped = Cell::new(false);
        let mut requests = requests.into_iter().map(|(_, request)| request);
        let took = journaled(self.model, journal, &mut requests, &mut |key, reply| {
            let number = *numbers.get(key).expect("only what was asked is answered");
            match reply {
                Err(why) if why.fatal => fatal = Some(why),
                reply => replies.push((number, reply.map(|reply| reply.text))),
            }
            (self.progress)(replies.len() as u64, wanted as u64);
            stopped.set((self.stop)());
            match fatal.is_some() || stopped.get() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        // A judge that was told to stop has given up what it was at, whatever it says of that.
        if stopped.get() || (self.stop)() {
            return Ok(None);
        }
        if let Some(NoCompletion { message, hint, .. }) = fatal {
            let model = self.model.name().to_owned();
            return Err(Error::Stopped { model, reason: message, hint });
        }
        statistics.join(&took);
        Ok((replies.len() == wanted).then_some(replies))
    }
}
