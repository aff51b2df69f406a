//! A round of requests whose every answer is wanted.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;

use super::{Journal, journaled};
use crate::{
    Completion, CompletionRequest, Error, LanguageModel, NoCompletion, Result, Statistics,
};

/// Asks all of these, and hands each answer on with the number of its request, from 0, in the order in
/// which they come; `None` for a request that was refused for good. After `stop` has said so no more is asked: then some have no answer.
///
/// # Errors
/// As [`journaled`]; and if requests have failed, once all others are answered.
pub(crate) fn ask_each(
    model: &dyn LanguageModel,
    journal: &mut Journal,
    requests: &mut dyn Iterator<Item = (String, CompletionRequest)>,
    stop: &dyn Fn() -> bool,
    on_answer: &mut dyn FnMut(usize, Option<Completion>),
) -> Result<Statistics> {
    let numbers = RefCell::new(HashMap::new());
    let mut requests = requests.enumerate().map(|(number, (key, request))| {
        numbers.borrow_mut().insert(key.clone(), number);
        (key, request)
    });
    let (mut failures, mut first) = (0, None::<NoCompletion>);
    let mut on_reply = |key: &str, reply: crate::Reply| {
        let number = numbers.borrow_mut().remove(key);
        match reply {
            Ok(answer) => on_answer(number.expect("a reply follows its request"), Some(answer)),
            Err(failure) if failure.refused => {
                on_answer(number.expect("a reply follows its request"), None);
            }
            Err(failure) => {
                failures += 1;
                first.get_or_insert(failure);
            }
        }
        if stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let statistics = journaled(model, journal, &mut requests, &mut on_reply)?;
    match first {
        // What was given up when the run was stopped is no failure.
        Some(first) if !stop() => Err(Error::Unanswered { failures, first }),
        _ => Ok(statistics),
    }
}
