//! A model of our own writes text for the data engine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use albacore_data::{
    Completion, CompletionRequest, Decoding, Effort, Encoder, FinishReason, LanguageModel, Learn,
    Message, NoCompletion, OnReply, Prompt, Reply, Template, TemplateChoice, TokenLogprob,
    Tokenizer, Usage,
};
use albacore_model::{
    Capacity, Event, Finish, Generated, Generator, Limits, Model, Request, Sampling,
};

use crate::answer::Answer;
use crate::failure::{OrRefuse, Refusal, Result};
use crate::loaded::Loaded;

/// A loaded model as a writer of text. As many requests run at a time as there is room for; what their
/// prompts share at the beginning is computed once, and kept from one call to the next.
///
/// An answer follows from its request alone, up to rounding: see [`Generator`].
pub struct LocalModel<'m> {
    name: String,
    identity: String,
    /// Whether text prompts are messages of the user.
    answers: bool,
    tokenizer: &'m Tokenizer,
    /// The longest sequence that the model was made for.
    context: usize,
    /// For conversations, if the model has a chat template.
    chat: Option<Encoder<'m>>,
    generator: RefCell<Generator<'m>>,
    /// Becomes true when nobody wants any answer more.
    stop: Arc<AtomicBool>,
}

impl<'m> LocalModel<'m> {
    /// A model under the name by which records are to know it.
    ///
    /// # Errors
    /// Refused if its chat template cannot be read.
    pub fn new(name: &str, loaded: &'m Loaded, capacity: Capacity) -> Result<Self> {
        Self::over(name, &loaded.model, &loaded.tokenizer, capacity)
    }

    /// As [`new`](Self::new), for a model and a tokenizer that others hold.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn over(
        name: &str,
        model: &'m Model,
        tokenizer: &'m Tokenizer,
        capacity: Capacity,
    ) -> Result<Self> {
        let chat = match tokenizer.chat_templates() {
            [] => None,
            _ => {
                let template =
                    Template::load(&TemplateChoice::Chat, tokenizer, None).or_refuse()?;
                Some(Encoder::new(tokenizer, template, Learn::Answers))
            }
        };
        let context = model.config().context();
        let generator = RefCell::new(Generator::new(model, capacity));
        let (identity, answers) = (name.to_owned(), false);
        let (name, stop) = (name.to_owned(), Arc::default());
        Ok(Self { name, identity, answers, tokenizer, context, chat, generator, stop })
    }

    /// Gives up what it is writing as soon as `stop` becomes true: an answer may take long.
    pub fn stop_when(&mut self, stop: Arc<AtomicBool>) {
        self.stop = stop;
    }

    /// Whatever tells it from other models, wherever it lies. Default: its name.
    pub fn identify(&mut self, identity: String) {
        self.identity = identity;
    }

    /// From now on it answers text prompts by its chat template, as messages of the user, instead of
    /// going on with them.
    ///
    /// # Errors
    /// Refused if it has no chat template.
    pub fn answer(&mut self) -> Result<()> {
        if self.chat.is_none() {
            let message = "`model.api` is `chat`, and the model has no chat template";
            let hint = "set `model.api = \"completions\"`, or take a model that was tuned to chat";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        self.answers = true;
        Ok(())
    }

    /// What the generator is to do for a request, or why there is no answer to it.
    fn prepare(&self, request: &CompletionRequest) -> Result<Request, NoCompletion> {
        let tokenizer = self.tokenizer;
        let refused = untokenizable;
        let problems = request.decoding.problems();
        if !problems.is_empty() {
            return Err(no_completion(problems.join("; "), None, true));
        }
        let prompt = match (&request.prompt, &self.chat) {
            (Prompt::Text(text), Some(chat)) if self.answers => {
                chat.ask(&[Message::new("user", text)]).map_err(refused)?
            }
            (Prompt::Text(text), _) => tokenizer.encode_prompt(text).map_err(refused)?,
            (Prompt::Messages(messages), Some(chat)) => chat.ask(messages).map_err(refused)?,
            (Prompt::Messages(_), None) => {
                let found = "the prompt is a conversation, and the model has no chat template";
                let hint = "ask with plain text, or take a model that was tuned to chat";
                return Err(no_completion(found.into(), Some(hint.into()), true));
            }
        };
        let context = self.context;
        if prompt.is_empty() {
            let found = "the prompt has no tokens, wanted at least one";
            return Err(no_completion(found.into(), None, false));
        }
        if prompt.len() >= context {
            let found = format!(
                "the prompt has {} tokens, wanted fewer than the {context} that the model was made for",
                prompt.len()
            );
            let hint = "shorten the prompt, or take a model with a longer context";
            return Err(no_completion(found, Some(hint.into()), false));
        }
        let compare = first_tokens(tokenizer, &request.decoding.options)?;
        let most = if compare.is_empty() { request.decoding.max_tokens } else { 1 };
        let limits = Limits {
            max_new_tokens: most.min(context - prompt.len()),
            stop_ids: tokenizer.eos_ids().to_vec(),
        };
        let sampling = sampling(&request.decoding, request.seed);
        Ok(Request { prompt, sampling, times: 0, limits, logprobs: request.logprobs, compare })
    }
}

/// The token with which each of some answers begins: by it they are told apart.
///
/// # Errors
/// If two begin with one token, or an answer with part of one.
pub fn first_tokens(tokenizer: &Tokenizer, options: &[String]) -> Result<Vec<u32>, NoCompletion> {
    let ids = |text: &str| tokenizer.encode(text).map_err(untokenizable);
    let mut firsts = Vec::with_capacity(options.len());
    for option in options {
        // Alone, it might get the blank that some tokenizers put before a text that begins.
        let before = if option.starts_with(' ') { "a" } else { "\n" };
        let (alone, whole) = (ids(before)?, ids(&format!("{before}{option}"))?);
        let first = whole.get(alone.len()).filter(|_| whole.starts_with(&alone));
        match first {
            Some(first) if !firsts.contains(first) => firsts.push(*first),
            _ => {
                let message = format!(
                    "the answer `{option}` cannot be told from the others by its first token"
                );
                return Err(no_completion(message, None, true));
            }
        }
    }
    Ok(firsts)
}

impl LanguageModel for LocalModel<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        identity(&self.identity, self.answers)
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        let open = BTreeMap::new();
        let desk = Desk { model: self, on_reply, taken: 0, running: 0, open, enough: false };
        let desk = RefCell::new(desk);
        let mut prepared = std::iter::from_fn(|| {
            loop {
                if desk.borrow().enough {
                    return None;
                }
                let request = requests.next()?;
                if let Some(request) = desk.borrow_mut().take(&request) {
                    return Some(request);
                }
            }
        });
        let mut on_event = |index, event| desk.borrow_mut().on_event(index, event);
        let result = self.generator.borrow_mut().run(&mut prepared, &mut on_event);
        if let Err(error) = result {
            desk.borrow_mut().give_up(&error);
        }
    }

    fn count_tokens(&self, text: &str) -> usize {
        // What cannot be tokenized is refused when it is asked: here any number does.
        self.tokenizer.encode(text).map_or(text.len(), |ids| ids.len())
    }
}

fn sampling(decoding: &Decoding, seed: u64) -> Sampling {
    Sampling {
        temperature: decoding.temperature as f32,
        top_p: decoding.top_p as f32,
        presence_penalty: decoding.presence_penalty as f32,
        frequency_penalty: decoding.frequency_penalty as f32,
        seed,
        ..Sampling::default()
    }
}

/// What an answer follows from, beside its request: the model's files, and whether it is asked by its chat
/// template.
pub fn identity(files: &str, answers: bool) -> String {
    format!("{files} {}", if answers { "chat" } else { "completions" })
}

fn untokenizable(defect: albacore_data::Defect) -> NoCompletion {
    no_completion(format!("the prompt cannot be tokenized: {defect}"), defect.hint(), false)
}

fn no_completion(message: String, hint: Option<String>, fatal: bool) -> NoCompletion {
    // What is not fatal is of the request alone, and would be so again.
    NoCompletion { message, hint, fatal, refused: !fatal }
}

/// What goes on during one call.
struct Desk<'d, 'm> {
    model: &'d LocalModel<'m>,
    on_reply: &'d mut OnReply<'d>,
    /// Requests taken, and those of them that the generator was given.
    taken: usize,
    running: usize,
    /// By the generator's numbers.
    open: BTreeMap<usize, Open<'d>>,
    /// Nobody wants more.
    enough: bool,
}

/// A request that is being answered.
struct Open<'d> {
    number: usize,
    answer: Answer<'d>,
    began: Instant,
    prompt_tokens: usize,
    /// Where the text of each token begins, and the token, if that was asked for.
    tokens: Option<Vec<(usize, TokenLogprob)>>,
    /// The answers to choose from, if it is not to be any text.
    options: Vec<String>,
}

impl Desk<'_, '_> {
    /// Opens a request, or replies that it cannot be answered.
    fn take(&mut self, request: &CompletionRequest) -> Option<Request> {
        let number = self.taken;
        self.taken += 1;
        match self.model.prepare(request) {
            Ok(prepared) => {
                let stream = self.model.tokenizer.stream(true);
                let open = Open {
                    number,
                    answer: Answer::new(stream, &request.decoding.stop),
                    began: Instant::now(),
                    prompt_tokens: prepared.prompt.len(),
                    tokens: request.logprobs.then(Vec::new),
                    options: request.decoding.options.clone(),
                };
                self.open.insert(self.running, open);
                self.running += 1;
                Some(prepared)
            }
            Err(none) => {
                self.reply(number, Err(none));
                None
            }
        }
    }

    fn on_event(&mut self, index: usize, event: Event) -> ControlFlow<()> {
        self.enough |= self.model.stop.load(Ordering::Relaxed);
        // One that failed is no longer open.
        if !self.enough
            && let Some(open) = self.open.get_mut(&index)
        {
            let number = open.number;
            match event {
                Event::Token { id, logprob } => match open.push(id, logprob) {
                    Ok(()) if !open.answer.stopped => return ControlFlow::Continue(()),
                    Ok(()) => return ControlFlow::Break(()),
                    Err(none) => {
                        self.open.remove(&index);
                        self.reply(number, Err(none));
                        return ControlFlow::Break(());
                    }
                },
                Event::Ended(generated) => {
                    if let Some(open) = self.open.remove(&index) {
                        self.reply(number, open.end(&generated));
                    }
                }
            }
        }
        if self.enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// The generator has failed: nothing that is open will be answered.
    fn give_up(&mut self, error: &albacore_model::Error) {
        while let Some((_, open)) = self.open.pop_first() {
            let none = no_completion(error.to_string(), error.hint(), true);
            self.reply(open.number, Err(none));
        }
    }

    fn reply(&mut self, number: usize, reply: Reply) {
        if !self.enough {
            self.enough = (self.on_reply)(number, reply).is_break();
        }
    }
}

impl Open<'_> {
    fn push(&mut self, id: u32, logprob: Option<f64>) -> Result<(), NoCompletion> {
        let start = self.answer.text.len();
        let token = self.answer.push(id).map_err(undecodable)?;
        if let (Some(tokens), Some(logprob)) = (&mut self.tokens, logprob) {
            tokens.push((start, TokenLogprob { token, logprob }));
        }
        Ok(())
    }

    fn end(mut self, generated: &Generated) -> Reply {
        self.answer.end().map_err(undecodable)?;
        let length = generated.finish == Finish::Length && !self.answer.stopped;
        let text = self.answer.text;
        // Those that are part of the text: a stop text may begin before the last of them.
        let tokens = self.tokens.map(|tokens| {
            let kept = tokens.into_iter().filter(|(start, _)| *start < text.len());
            kept.map(|(_, token)| token).collect()
        });
        let usage = Usage {
            prompt_tokens: self.prompt_tokens as u64,
            completion_tokens: generated.ids.len() as u64,
        };
        let finish_reason = if length { FinishReason::Length } else { FinishReason::Stop };
        let seconds = self.began.elapsed().as_secs_f64();
        let effort = Effort { seconds, ..Effort::default() };
        if !self.options.is_empty() {
            let options = self.options.into_iter().zip(&generated.compared);
            let options = options.map(|(token, &logprob)| TokenLogprob { token, logprob });
            let options = options.collect::<Vec<_>>();
            // The first of equals.
            let best = options.iter().reduce(|a, b| if b.logprob > a.logprob { b } else { a });
            let text = best.map_or_else(String::new, |best| best.token.clone());
            let (finish_reason, logprobs) = (FinishReason::Stop, Some(options));
            return Ok(Completion { text, finish_reason, logprobs, usage, effort });
        }
        Ok(Completion { text, finish_reason, logprobs: tokens, usage, effort })
    }
}

fn undecodable(defect: albacore_data::Defect) -> NoCompletion {
    no_completion(format!("the answer cannot be decoded: {defect}"), defect.hint(), false)
}

#[cfg(test)]
#[path = "local_model/tests.rs"]
pub(crate) mod tests;
