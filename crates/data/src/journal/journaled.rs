//! Asking a model only what the journal does not know.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::{Journal, digest};
use crate::{Completion, CompletionRequest, Error, LanguageModel, Reply, Result, Statistics};

/// Is told of each reply: the request's key, and what came.
type OnKeyedReply<'a> = dyn FnMut(&str, Reply) -> ControlFlow<()> + 'a;

/// Answers requests, each under the key that stands with it: those that the journal knows from
/// there, the rest by the model, recorded before `on_reply` hears of it. A failure is told and not
/// recorded: the next run asks again. Requests are taken as there is room for them; replies come in any
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
        statistics: Statistics::default(),
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
    let run = run.into_inner();
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
    statistics: Statistics,
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
        match self.journal.get(&key, &digest) {
            Err(error) => self.end = Some(End::Error(error)),
            Ok(Some(answer)) => {
                self.count(&answer);
                self.tell(&key, Ok(answer));
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
        match &reply {
            Ok(answer) => {
                if let Err(error) = self.journal.append(&key, &digest, answer) {
                    self.end = Some(End::Error(error));
                    return ControlFlow::Break(());
                }
                self.count(answer);
            }
            Err(_) => self.statistics.failures += 1,
        }
        // One that was asked before the end was wanted: it is recorded, and nobody waits for it.
        if self.end.is_none() {
            self.tell(&key, reply);
        }
        if self.end.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn tell(&mut self, key: &str, reply: Reply) {
        if (self.on_reply)(key, reply).is_break() {
            self.end = Some(End::Wanted);
        }
    }

    fn count(&mut self, answer: &Completion) {
        self.statistics.add(answer, self.model.cost(&answer.usage));
    }
}
