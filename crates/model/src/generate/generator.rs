//! The loop of generation: whoever ends makes room for the next request at once.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};

use albacore_kernels::{KeyValueCache, choose, storage};
use candle_core::Tensor;

use super::heads::{FEWEST, Heads, shared};
use super::{Event, Finish, Generated, Request, Step, check};
use crate::rope::RopeScaling;
use crate::sampling::Sampler;
use crate::{Model, Result};

/// How much is generated at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sequences that grow together. More are faster, up to what the processor's products like.
    /// Default 16.
    pub slots: usize,
    /// Tokens that their caches may come to hold, `2 G D` numbers a layer each: a request waits while
    /// what it may need at most does not fit beside the others. One alone is never refused. On a GPU
    /// all slots are as long as the longest sequence needs, so that those which are not full take room
    /// that is not counted here. Default 65,536.
    pub tokens: usize,
    /// Tokens of prompts' heads that are kept for prompts that begin alike; 0 keeps none. Default
    /// 4,096.
    pub head_tokens: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { slots: 16, tokens: 65_536, head_tokens: 4_096 }
    }
}

impl Capacity {
    /// What suits a model where it lies: more sequences on a GPU, and on both no more tokens than come
    /// to 4 GiB of f32, an eighth of them for heads.
    pub fn of(model: &Model) -> Self {
        const BYTES: usize = 4 << 30;
        let token = model.config().cached_floats() * 4;
        let slots = if model.device().is_cpu() { Self::default().slots } else { 64 };
        Self { slots, tokens: BYTES / token / 8 * 7, head_tokens: BYTES / token / 8 }
    }
}

/// Continues prompts, as many at a time as it has room for; as soon as one ends, the next is taken.
///
/// What is drawn for a request does not depend on what runs beside it, up to rounding: the products of a
/// larger batch may differ in their last bits, as may attention to a shared head, and with them a
/// choice between near equals.
pub struct Generator<'m> {
    model: &'m Model,
    capacity: Capacity,
    /// The longest sequence that the model was made for.
    context: usize,
    /// What an answer begins with, where an encoder reads the prompt.
    start: Option<u32>,
    /// One a layer; the sequences are those of `growing`.
    caches: RefCell<Vec<KeyValueCache>>,
    growing: Vec<Growing>,
    heads: Heads,
    computed: u64,
}

/// One sequence that is still growing.
struct Growing {
    /// Which request it belongs to, and that.
    index: usize,
    request: Request,
    /// The prompt, or what stands for it if an encoder reads it, and what has come since.
    ids: Vec<u32>,
    /// How many of them were given.
    given: usize,
    /// How many of them the caches hold.
    cached: usize,
    /// Tokens that its caches hold at most, less those of a shared head.
    needed: usize,
    /// So many tokens at its beginning are wanted as a head, once they are computed.
    makes_head: usize,
    sampler: Sampler,
    /// What [`Request::compare`] asks for, once its first token is chosen.
    compared: Vec<f64>,
}

/// What is to be taken in, and how many were taken before.
struct Queue<'r> {
    requests: &'r mut dyn Iterator<Item = Request>,
    /// One that was taken and had to wait.
    waiting: Option<Request>,
    taken: usize,
    ended: bool,
}

impl<'m> Generator<'m> {
    /// A generator without a sequence.
    pub fn new(model: &'m Model, capacity: Capacity) -> Self {
        let caches = RefCell::new(model.new_caches());
        let heads = Heads::new(capacity.head_tokens);
        let config = model.config();
        let (context, start) = (config.context(), config.decoder_start_token_id());
        Self { model, capacity, context, start, caches, growing: Vec::new(), heads, computed: 0 }
    }

    /// Continues every request, and says what happens to each by its number, from 0 in the order in
    /// which they were taken. They are taken as there is room for them. What is kept of prompts serves
    /// the next run too.
    ///
    /// # Errors
    /// If a prompt is empty or names a token outside the vocabulary; if the model's logits have no
    /// finite largest one; if memory runs out. What was growing is then given up.
    pub fn run(
        &mut self,
        requests: &mut dyn Iterator<Item = Request>,
        on_event: &mut dyn FnMut(usize, Event) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut queue = Queue { requests, waiting: None, taken: 0, ended: false };
        let result = loop {
            match self.advance(&mut queue, on_event) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // Whatever is left belongs to nobody any more.
        match result {
            Ok(()) => self.drop_all_but(&vec![false; self.growing.len()]),
            // Some layers may have gone further than others.
            Err(_) => {
                *self = Self { computed: self.computed, ..Self::new(self.model, self.capacity) }
            }
        }
        result
    }

    /// Tokens that have gone through the model so far: those of prompts, less what heads have spared,
    /// and new ones.
    pub fn computed_tokens(&self) -> u64 {
        self.computed
    }

    /// Newcomers are taken in, or all grow by a token; breaks if there is nothing more to do.
    fn advance(
        &mut self,
        queue: &mut Queue<'_>,
        on_event: &mut dyn FnMut(usize, Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let first = self.growing.len();
        if self.admit(queue, on_event)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let all = self.growing.len();
        let sources: Vec<&[u32]> =
            self.growing[first..].iter().map(|one| one.request.prompt.as_slice()).collect();
        self.model.read_sources(&sources, &self.caches, first..all)?;
        if all == 0 {
            return Ok(if queue.ended {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            });
        }
        /// Short prompts are computed together with the others' next tokens, which saves reading the
        /// weights twice (4 to 6 % of the CPU time with prompts of 10 to 30 tokens); long ones in steps
        /// of their own, where a GPU has better kernels for them.
        const SHORT: usize = 64;
        let newest = self.growing[first..].iter().map(|one| one.ids.len() - one.cached);
        let members = if newest.sum::<usize>() > SHORT { first..all } else { 0..all };
        self.step(members, on_event)
    }

    /// Takes requests in while there is room.
    fn admit(
        &mut self,
        queue: &mut Queue<'_>,
        on_event: &mut dyn FnMut(usize, Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        /// Most tokens of prompts that are computed together, unless one has more: they are as fast
        /// as any number of them, and need less memory.
        const TOGETHER: usize = 2048;
        let (first, mut fresh) = (self.growing.len(), 0);
        while self.growing.len() < self.capacity.slots.max(1) {
            let Some(request) = queue.pop() else { break };
            check(self.model, queue.taken, &request.prompt)?;
            if request.limits.max_new_tokens == 0 {
                queue.taken += 1;
                if on_event(queue.taken - 1, Event::Ended(Generated::nothing())).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            let Some(makes_head) = self.look_for_head(&request, first)? else {
                queue.waiting = Some(request);
                break;
            };
            let found = self.heads.find(self.shareable(&request.prompt));
            let cached = found.as_ref().map_or(0, |(_, tokens)| *tokens);
            let tokens = request.prompt.len() - cached;
            // No answer is expected to leave the context, whatever its limit says.
            let room = self.context.saturating_sub(request.prompt.len()).max(1);
            let needed = tokens + request.limits.max_new_tokens.min(room);
            let used = self.growing.iter().fold(needed, |sum, one| sum.saturating_add(one.needed));
            let crowded = used > self.capacity.tokens && !self.growing.is_empty();
            if crowded || (fresh + tokens > TOGETHER && fresh > 0) {
                queue.waiting = Some(request);
                break;
            }
            for (layer, cache) in self.caches.borrow_mut().iter_mut().enumerate() {
                cache.admit(found.map(|(head, tokens)| (&head.layers[layer], tokens)))?;
            }
            fresh += tokens;
            self.heads.remember(self.shareable(&request.prompt));
            let ids = self.start.map_or_else(|| request.prompt.clone(), |start| vec![start]);
            let sampler = Sampler::new(request.sampling, &request.prompt, &ids, request.times);
            let (index, given) = (queue.taken, ids.len());
            self.growing.push(Growing {
                index,
                request,
                ids,
                given,
                cached,
                needed,
                makes_head,
                sampler,
                compared: Vec::new(),
            });
            queue.taken += 1;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Sees to it that what `request` shares with others becomes a head: at once where another has
    /// computed it already; else the request is to do it itself, and so many tokens are returned.
    /// `None` if it had better wait for one of the newcomers, the sequences from `first` on.
    fn look_for_head(&mut self, request: &Request, first: usize) -> Result<Option<usize>> {
        let prompt = self.shareable(&request.prompt);
        let known = self.heads.find(prompt).map_or(0, |(_, tokens)| tokens);
        let worth = known + FEWEST;
        let all = self
            .growing
            .iter()
            .map(|one| self.heads.fits(shared(self.shareable(&one.request.prompt), prompt)));
        let all = all.collect::<Vec<_>>();
        let best = |members: Range<usize>| {
            let best = members.max_by_key(|&member| all[member]);
            best.filter(|&member| all[member] >= worth)
        };
        if let Some(member) = best(first..all.len()) {
            self.growing[member].makes_head = all[member];
            return Ok(None);
        }
        if let Some(member) = best(0..first) {
            self.make_head(member, all[member])?;
            return Ok(Some(0));
        }
        let seen = self.heads.seen(prompt);
        Ok(Some(if seen >= worth { seen } else { 0 }))
    }

    /// The tokens of a prompt whose keys and values another may use: none where they depend on its
    /// length, and none where an encoder reads all of it both ways.
    fn shareable<'p>(&self, prompt: &'p [u32]) -> &'p [u32] {
        let alone = match self.model {
            Model::Llama(model) => {
                let dynamic = matches!(model.config().rope.scaling, RopeScaling::Dynamic { .. });
                dynamic && prompt.len() > self.context
            }
            Model::T5(_) => true,
        };
        if alone { &prompt[..1] } else { prompt }
    }

    fn make_head(&mut self, member: usize, tokens: usize) -> Result<()> {
        let mut caches = self.caches.borrow_mut();
        let layers = caches.iter_mut().map(|cache| cache.share(member, tokens));
        let layers = layers.collect::<albacore_kernels::Result<Vec<_>>>()?;
        self.heads.keep(self.growing[member].ids[..tokens].to_vec(), layers);
        Ok(())
    }

    /// Some neighbours grow by a token each.
    fn step(
        &mut self,
        members: Range<usize>,
        on_event: &mut dyn FnMut(usize, Event) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let growing = &mut self.growing[members.clone()];
        let held = growing.iter().map(|one| (one.ids.as_slice(), one.cached));
        let input = Step::new(self.model, members.clone(), held)?;
        self.computed += input.ids.len() as u64;
        let logits = self.model.next_logits(&input, &self.caches)?;
        let raw = growing.iter().enumerate().map(|(row, one)| {
            match one.request.logprobs || one.compares() {
                true => Ok(Some(storage::to_vec(&row_of(&logits, row)?)?)),
                false => Ok(None),
            }
        });
        let raw = raw.collect::<Result<Vec<_>>>()?;
        let choices = growing.iter_mut().map(|one| one.sampler.choice()).collect::<Vec<_>>();
        let chosen = choose(&logits, &choices)?;
        let mut keep = vec![true; self.growing.len()];
        for (row, (member, id)) in members.clone().zip(chosen).enumerate() {
            let one = &mut self.growing[member];
            one.cached = one.ids.len();
            one.ids.push(id);
            one.sampler.saw(id);
            if let (true, Some(logits)) = (one.compares(), &raw[row]) {
                one.compared = logprobs(logits, &one.request.compare);
            }
            let wanted = raw[row].as_ref().filter(|_| one.request.logprobs);
            let logprob = wanted.map(|logits| logprobs(logits, &[id])[0]);
            let Some(finish) = one.ends(id, logprob, on_event) else { continue };
            keep[member] = false;
            let (ids, compared) = (one.ids.split_off(one.given), std::mem::take(&mut one.compared));
            let generated = Generated { ids, finish, compared };
            if on_event(one.index, Event::Ended(generated)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        for member in members {
            match std::mem::take(&mut self.growing[member].makes_head) {
                0 => {}
                tokens => self.make_head(member, tokens)?,
            }
        }
        self.drop_all_but(&keep);
        Ok(ControlFlow::Continue(()))
    }

    fn drop_all_but(&mut self, keep: &[bool]) {
        if !keep.contains(&false) {
            return;
        }
        self.caches.get_mut().iter_mut().for_each(|cache| cache.retain(keep));
        let mut keep = keep.iter();
        self.growing.retain(|_| *keep.next().expect("one flag a sequence"));
    }
}

impl Queue<'_> {
    fn pop(&mut self) -> Option<Request> {
        if self.waiting.is_some() || self.ended {
            return self.waiting.take();
        }
        let request = self.requests.next();
        self.ended = request.is_none();
        request
    }
}

impl Growing {
    /// Whether the logits of its next token are those that are asked for.
    fn compares(&self) -> bool {
        !self.request.compare.is_empty() && self.compared.is_empty()
    }

    /// Whether the sequence ends with its newest token, and why.
    fn ends(
        &self,
        id: u32,
        logprob: Option<f64>,
        on_event: &mut dyn FnMut(usize, Event) -> ControlFlow<()>,
    ) -> Option<Finish> {
        let limits = &self.request.limits;
        if limits.stop_ids.contains(&id) {
            Some(Finish::Stop)
        } else if on_event(self.index, Event::Token { id, logprob }).is_break() {
            Some(Finish::Caller)
        } else if self.ids.len() - self.given >= limits.max_new_tokens {
            Some(Finish::Length)
        } else {
            None
        }
    }
}

fn row_of(logits: &Tensor, row: usize) -> Result<Tensor> {
    Ok(logits.narrow(0, row, 1)?)
}

/// The natural logarithm of the softmax of `logits` at each of `ids`.
fn logprobs(logits: &[f32], ids: &[u32]) -> Vec<f64> {
    let highest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum = logits.iter().map(|&logit| (f64::from(logit) - highest).exp()).sum::<f64>();
    ids.iter().map(|&id| f64::from(logits[id as usize]) - highest - sum.ln()).collect()
}
