//! Keys and values of the tokens so far, and attention of new tokens to them: generation.
//!
//! Sequences come and go, each in its own time. Those that begin alike can share the rows of their
//! common head: these are computed once, and on the CPU they are stored and read once for all.

mod gpu;
mod host;

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use gpu::Slots;
use host::{Attention, Seen};

use crate::attention::check;
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::storage::Like;
use crate::{BiasValues, Error, Heads, Result, Sequences, storage};

/// The keys and values of one layer, for a batch of sequences that grow at their own pace.
#[derive(Debug)]
pub struct KeyValueCache {
    heads: Heads,
    sequences: Vec<Grown>,
    /// Memory of sequences that were dropped, for those to come.
    spare: Vec<Vec<f32>>,
    /// Where the rows are instead, if the model is on a GPU.
    on_gpu: Option<Slots>,
}

/// What a sequence holds: a row of `2 G D` floats a token, k and v, as they lie in a row of `qkv`.
#[derive(Clone, Debug, Default)]
struct Grown {
    /// The first rows, which others may read too, and how many floats of them are this sequence's.
    head: Option<(Arc<Vec<f32>>, usize)>,
    /// The rows after these.
    own: Vec<f32>,
}

/// The keys and values of one layer for tokens with which sequences begin. It lives as long as
/// somebody holds it; clones are the same rows.
#[derive(Clone, Debug)]
pub struct CachedHead(Place);

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<Vec<f32>>),
    Gpu(Tensor), // (tokens, 2 G D)
}

impl KeyValueCache {
    /// A cache for `sequences` sequences, all of them still empty.
    pub fn new(heads: Heads, sequences: usize) -> Self {
        let sequences = (0..sequences).map(|_| Grown::default()).collect();
        Self { heads, sequences, spare: Vec::new(), on_gpu: None }
    }

    /// How many tokens of each sequence it holds.
    pub fn lengths(&self) -> Vec<usize> {
        match &self.on_gpu {
            Some(slots) => slots.lengths().collect(),
            None => self.sequences.iter().map(|grown| grown.len() / self.row()).collect(),
        }
    }

    /// Adds a sequence behind the others: an empty one, or one that begins with some tokens of a
    /// head that a cache of this layer has made.
    ///
    /// # Errors
    /// If a GPU has no room for it.
    ///
    /// # Panics
    /// If the head has fewer tokens, or lies in the CPU's memory and this cache on a GPU.
    pub fn admit(&mut self, head: Option<(&CachedHead, usize)>) -> Result<()> {
        let head = head.filter(|(_, tokens)| *tokens > 0);
        let mut grown = Grown { head: None, own: self.spare.pop().unwrap_or_default() };
        if let (None, Some((CachedHead(Place::Gpu(rows)), _))) = (&self.on_gpu, head) {
            // Nothing has said yet where this cache is: the head does.
            self.on_gpu = Some(Slots::new(rows, self.heads, self.sequences.len())?);
        }
        if let Some(slots) = &mut self.on_gpu {
            slots.admit(head.map(|(CachedHead(place), tokens)| match place {
                Place::Gpu(rows) => (rows, tokens),
                Place::Memory(_) => panic!("a head from the CPU's memory for a cache on a GPU"),
            }))?;
        } else if let Some((CachedHead(place), tokens)) = head {
            let Place::Memory(rows) = place else {
                unreachable!("a head from a GPU has made slots")
            };
            let floats = tokens * self.row();
            assert!(floats <= rows.len(), "the head has fewer than {tokens} tokens");
            grown.head = Some((Arc::clone(rows), floats));
        }
        self.sequences.push(grown);
        Ok(())
    }

    /// The first `tokens` of what a sequence holds, for others to begin with.
    ///
    /// # Errors
    /// If a GPU has no room for them.
    ///
    /// # Panics
    /// If there is no such sequence, or it holds fewer tokens.
    pub fn share(&mut self, sequence: usize, tokens: usize) -> Result<CachedHead> {
        if let Some(slots) = &self.on_gpu {
            return Ok(CachedHead(Place::Gpu(slots.copy(sequence, tokens)?)));
        }
        let (floats, grown) = (tokens * self.row(), &mut self.sequences[sequence]);
        let shared = grown.head.as_ref().map_or(&[][..], |(rows, floats)| &rows[..*floats]);
        if floats < shared.len() {
            return Ok(CachedHead(Place::Memory(Arc::new(shared[..floats].to_vec()))));
        }
        let own = floats - shared.len();
        let rows = Arc::new([shared, &grown.own[..own]].concat());
        // From now on this sequence too reads what it shares.
        grown.head = Some((Arc::clone(&rows), floats));
        grown.own.drain(..own);
        Ok(CachedHead(Place::Memory(rows)))
    }

    /// Drops the sequences whose flag is false; the others move up, their rows stay where they are.
    ///
    /// # Panics
    /// If there is not one flag for each sequence.
    pub fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.sequences.len(), "one flag for each sequence of the cache");
        if let Some(slots) = &mut self.on_gpu {
            slots.retain(keep);
        }
        let spare = &mut self.spare;
        let mut keep = keep.iter();
        self.sequences.retain_mut(|grown| {
            let keep = *keep.next().expect("their number was checked");
            if !keep && grown.own.capacity() > 0 {
                grown.own.clear();
                spare.push(std::mem::take(&mut grown.own));
            }
            keep
        });
    }

    /// Appends `fresh` tokens to each of some neighbouring `sequences`, and attends with them,
    /// causally, to all tokens of their sequence so far. The prompts come first, whole or in parts,
    /// then a token at a time.
    ///
    /// # Shapes
    /// `qkv` `(T, (H + 2G) D)`, the new tokens packed as `fresh` says, rotary embedding applied;
    /// returns `(T, H D)`.
    ///
    /// # Errors
    /// If `fresh` has another number of sequences, or the shapes do not fit.
    ///
    /// # Panics
    /// If the cache does not have these sequences.
    pub fn attend(
        &mut self,
        qkv: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
    ) -> Result<Tensor> {
        check("cached attention", qkv, self.heads, fresh)?;
        let (found, wanted) = (fresh.count(), sequences.len());
        expect_shape("cached attention", "the batch of sequences", &[found], &[wanted])?;
        if let Some(gpu) = Engine::of(qkv.device())? {
            return self.slots(qkv)?.attend(&gpu, qkv, sequences, fresh, scale);
        }
        self.append(&storage::read(qkv)?, sequences.clone(), fresh);
        self.run(qkv, sequences, fresh, Seen { scale, causal: true, bias: None })
    }

    /// As [`Self::attend`], with what each head adds to a score by the distance of the key. For heads that
    /// share no keys.
    ///
    /// # Errors
    /// As [`Self::attend`]; if the bias is for other heads or for shorter sequences.
    ///
    /// # Panics
    /// If the cache does not have these sequences, or one of them begins with a shared head.
    pub fn attend_biased(
        &mut self,
        qkv: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
        bias: &BiasValues,
    ) -> Result<Tensor> {
        let operation = "cached attention";
        check(operation, qkv, self.heads, fresh)?;
        let (found, wanted) = (fresh.count(), sequences.len());
        expect_shape(operation, "the batch of sequences", &[found], &[wanted])?;
        let heads = [self.heads.query, self.heads.key_value];
        expect_shape(operation, "the bias", &[bias.heads(); 2], &heads)?;
        if let Some(gpu) = Engine::of(qkv.device())? {
            let Some(bias) = bias.on_gpu() else {
                let found = "attention with a bias in the CPU's memory".to_owned();
                return Err(Error::Device { found });
            };
            return self.slots(qkv)?.attend_biased(&gpu, qkv, sequences, fresh, scale, bias);
        }
        let shared = self.sequences[sequences.clone()].iter().any(|grown| grown.head.is_some());
        assert!(!shared, "a bias counts positions, which a shared head hides");
        self.append(&storage::read(qkv)?, sequences.clone(), fresh);
        let longest = self.sequences[sequences.clone()].iter().map(Grown::len).max().unwrap_or(0);
        expect_longest(longest / self.row(), bias.longest())?;
        self.run(qkv, sequences, fresh, Seen { scale, causal: true, bias: Some(bias) })
    }

    /// Appends the keys and values of whole tokens to neighbouring `sequences`: those of the sources to
    /// which [`Self::look_up`] attends.
    ///
    /// # Shapes
    /// `kv` `(S, 2 G D)`, k before v, the tokens packed as `sources` says.
    ///
    /// # Errors
    /// If `sources` has another number of sequences, or the shapes do not fit.
    ///
    /// # Panics
    /// If the cache does not have these sequences.
    pub fn fill(
        &mut self,
        kv: &Tensor,
        sequences: Range<usize>,
        sources: &Sequences,
    ) -> Result<()> {
        let (operation, row) = ("cached sources", self.row());
        expect_shape(operation, "kv", kv.dims(), &[sources.tokens(), row])?;
        let (found, wanted) = (sources.count(), sequences.len());
        expect_shape(operation, "the batch of sequences", &[found], &[wanted])?;
        if let Some(gpu) = Engine::of(kv.device())? {
            return self.slots(kv)?.fill(&gpu, kv, sequences, sources);
        }
        let kv = storage::read(kv)?;
        for (grown, tokens) in self.sequences[sequences].iter_mut().zip(sources.iter()) {
            grown.own.reserve_exact(tokens.len() * row);
            grown.own.extend_from_slice(&kv[tokens.start * row..tokens.end * row]);
        }
        Ok(())
    }

    /// Attends to all that neighbouring `sequences` hold, and appends nothing.
    ///
    /// # Shapes
    /// `q` `(T, H D)`, packed as `fresh` says; returns the same.
    ///
    /// # Errors
    /// If `fresh` has another number of sequences, or the shapes do not fit.
    ///
    /// # Panics
    /// If the cache does not have these sequences, or one of them is empty.
    pub fn look_up(
        &self,
        q: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
    ) -> Result<Tensor> {
        let (operation, wanted) = ("cached sources", self.heads.output_channels());
        expect_shape(operation, "q", q.dims(), &[fresh.tokens(), wanted])?;
        let (found, wanted) = (fresh.count(), sequences.len());
        expect_shape(operation, "the batch of sequences", &[found], &[wanted])?;
        if let (Some(gpu), Some(slots)) = (Engine::of(q.device())?, &self.on_gpu) {
            return slots.look_up(&gpu, q, sequences, fresh, scale);
        }
        let empty = self.sequences[sequences.clone()].iter().any(|grown| grown.len() == 0);
        assert!(!empty, "there is something to attend to");
        self.run(q, sequences, fresh, Seen { scale, causal: false, bias: None })
    }

    /// Makes each sequence a copy of that whose number stands in its place: beams go on from the best.
    ///
    /// # Errors
    /// If a GPU has no room for the copies.
    ///
    /// # Panics
    /// If there are no such sequences.
    pub fn reorder(&mut self, from: &[usize]) -> Result<()> {
        if let Some(slots) = &mut self.on_gpu {
            slots.reorder(from)?;
        }
        let copies = from.iter().map(|&number| self.sequences[number].clone()).collect();
        self.sequences = copies;
        Ok(())
    }

    /// The slots where `like` is, on a GPU: made by the first rows that come.
    fn slots(&mut self, like: &Tensor) -> Result<&mut Slots> {
        match &mut self.on_gpu {
            Some(slots) => Ok(slots),
            none => Ok(none.insert(Slots::new(like, self.heads, self.sequences.len())?)),
        }
    }

    fn run(
        &self,
        queries: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        seen: Seen<'_>,
    ) -> Result<Tensor> {
        let shape = (fresh.tokens(), self.heads.output_channels());
        // SAFETY: `Attention` writes each head of each new token.
        let out = unsafe { Like::of(queries).shaped(shape).empty()? };
        let (_, stride) = queries.dims2()?;
        let queries = storage::read(queries)?;
        let sequences = &self.sequences[sequences];
        let attention =
            Attention { heads: self.heads, sequences, queries: &queries, stride, fresh, seen };
        storage::write(&out, |out| {
            attention.run(out);
            Ok(())
        })?;
        Ok(out)
    }

    /// Floats of a token.
    fn row(&self) -> usize {
        2 * self.heads.key_value * self.heads.width
    }

    fn append(&mut self, qkv: &[f32], sequences: Range<usize>, fresh: &Sequences) {
        let (heads, row) = (self.heads, self.row());
        for (grown, tokens) in self.sequences[sequences].iter_mut().zip(fresh.iter()) {
            // Exact for the prompt; a vector that grows token by token doubles.
            if grown.own.is_empty() {
                grown.own.reserve_exact(tokens.len() * row);
            }
            for token in tokens {
                let end = (token + 1) * heads.channels();
                grown.own.extend_from_slice(&qkv[end - row..end]);
            }
        }
    }
}

/// Checks that a bias reaches as far as a sequence is long.
fn expect_longest(found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    let what = "the bias, by its longest sequence,";
    expect_shape("cached attention", what, &[most], &[found])
}

impl Grown {
    fn head(&self) -> &[f32] {
        self.head.as_ref().map_or(&[], |(rows, floats)| &rows[..*floats])
    }

    fn len(&self) -> usize {
        self.head().len() + self.own.len()
    }
}

#[cfg(test)]
mod tests;
