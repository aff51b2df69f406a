//! Asking a model only what the journal does not know.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::{Journal, Outcome, digest};
use crate::{
    Completion, CompletionRequest, Error, LanguageModel, NoCompletion, Reply, Result, Statistics,
};

/// Is told of each reply: the request's key, and what came.
type OnKeyedReply<'a> = dyn FnMut(&str, Reply) -> ControlFlow<()> + 'a;

/// Answers requests, each under the key that stands with it: those that the journal knows from
/// there, the rest by the model, recorded before `on_reply` hears of it. A failure is told and not
/// recorded: the next run asks again. One that is the request's own ([`NoCompletion::refused`]) is
/// recorded as a refusal and not asked again, but only once the same model has answered something
/// after it, or before it where nothing fatal follows: a model that refuses everything is set up
/// wrongly, and that is told without the mark. Requests are taken as there is room for them; replies come in any
/// order, those of the journal when their request is taken.
///
/// Returns what the answers took in all, the recorded ones included.
///
/// # Errors
/// The journal cannot be read or written, has another request's answer under a key, or a key is
/// used twice at a time. What was recorded until then stays.
pub fn journaled(
    model: &(impl LanguageModel + ?Sized),
    journal: &mut Journal,
    requests: &mut dyn Iterator<Item = (String, CompletionRequest)>,
    on_reply: &mut OnKeyedReply<'_>,
) -> Result<Statistics> {
    let run = RefCell::new(Run {
        model,
        journal,
        on_reply,
        asked: HashMap::new(),
        keys: HashSet::new(),
        taken: 0,
        refused: Vec::new(),
        statistics: Statistics::default(),
        is_broken: false,
        end: None,
    });
    let mut unknown = std::iter::from_fn(|| {
        loop {
            if run.borrow().end.is_some() {
                return None;
            }
            // Not borrowed here: the caller's iterator may take its time, and look at its own replies.
            let (key, request) = requests.next()?;
            if let Some(request) = run.borrow_mut().take(key, request) {
                return Some(request);
            }
        }
    });
    model.complete(&mut unknown, &mut |number, reply| run.borrow_mut().replied(number, reply));
    let mut run = run.into_inner();
    run.end_refusals();
    // Synced whatever happened: what was paid for stays.
    let synced = run.journal.sync();
    match run.end {
        Some(End::Error(error)) => Err(error),
        _ => synced.map(|()| run.statistics),
    }
}

struct Run<'a, M: ?Sized> {
    model: &'a M,
    journal: &'a mut Journal,
    on_reply: &'a mut OnKeyedReply<'a>,
    /// The requests that the model has, by their number there.
    asked: HashMap<usize, (String, [u8; 32])>,
    keys: HashSet<String>,
    /// How many the model has been given.
    taken: usize,
    /// Refusals since the last answer: whether they are the requests' own is not known yet.
    refused: Vec<(String, [u8; 32], NoCompletion)>,
    statistics: Statistics,
    /// Whether the model can answer nothing more.
    is_broken: bool,
    end: Option<End>,
}

/// Why no more is asked.
enum End {
    Wanted,
    Error(Error),
}

impl<M: LanguageModel + ?Sized> Run<'_, M> {
    /// Answers a request from the journal, or gives it back to be asked.
    fn take(&mut self, key: String, request: CompletionRequest) -> Option<CompletionRequest> {
        let digest = digest(self.model, &request);
        match self.journal.outcome(&key, &digest) {
            Err(error) => self.end = Some(End::Error(error)),
            Ok(Some(Outcome::Completion(answer))) => {
                self.count(&answer);
                self.tell(&key, Ok(answer));
            }
            Ok(Some(Outcome::Refusal(message))) => {
                self.statistics.refused += 1;
                let refusal = NoCompletion { message, hint: None, fatal: false, refused: true };
                self.tell(&key, Err(refusal));
            }
            Ok(None) if !self.keys.insert(key.clone()) => {
                self.end = Some(End::Error(self.journal.asked_twice(&key)));
            }
            Ok(None) => {
                self.asked.insert(self.taken, (key, digest));
                self.taken += 1;
                return Some(request);
            }
        }
        None
    }

    /// Records what the model answers.
    fn replied(&mut self, number: usize, reply: Reply) -> ControlFlow<()> {
        let Some((key, digest)) = self.asked.remove(&number) else {
            return ControlFlow::Break(());
        };
        self.keys.remove(&key);
        match reply {
            Ok(answer) => {
                if let Err(error) = self.journal.append(&key, &digest, &answer) {
                    self.end = Some(End::Error(error));
                    return ControlFlow::Break(());
                }
                self.count(&answer);
                self.tell(&key, Ok(answer));
                self.record_refusals();
            }
            Err(failure) if failure.refused => self.refused.push((key, digest, failure)),
            Err(failure) => self.fail(&key, failure),
        }
        if self.end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The model answers others: what it has refused before was refused for itself.
    fn record_refusals(&mut self) {
        for (key, digest, refusal) in std::mem::take(&mut self.refused) {
            if let Err(error) = self.journal.append_refusal(&key, &digest, &refusal.message) {
                self.end = Some(End::Error(error));
                return;
            }
            self.statistics.refused += 1;
            self.tell(&key, Err(refusal));
        }
    }

    /// What is to be held of the last refusals, once no answer follows.
    fn end_refusals(&mut self) {
        if matches!(self.end, Some(End::Error(_))) {
            return;
        }
        if !self.is_broken && !self.journal.is_empty() {
            return self.record_refusals();
        }
        for (key, _, refusal) in std::mem::take(&mut self.refused) {
            self.fail(&key, NoCompletion { refused: false, ..refusal });
        }
    }

    fn fail(&mut self, key: &str, failure: NoCompletion) {
        self.statistics.failures += 1;
        self.is_broken |= failure.fatal;
        self.tell(key, Err(failure));
    }

    /// Hands a reply on; one that was asked before the end was wanted is recorded, and nobody waits for it.
    fn tell(&mut self, key: &str, reply: Reply) {
        if self.end.is_none() && (self.on_reply)(key, reply).is_break() {
            self.end = Some(End::Wanted);
        }
    }

    fn count(&mut self, answer: &Completion) {
        self.statistics.add(answer, self.model.cost(&answer.usage));
    }
}
