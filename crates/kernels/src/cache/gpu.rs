//! The cache of one layer in the memory of a GPU.

use std::ops::Range;

use candle_core::Tensor;

use crate::device::bias::Bias;
use crate::device::decode::Cache;
use crate::engine::{Engine, Memory};
use crate::launch::{Compute, Gpu};
use crate::storage::Like;
use crate::{Heads, Result, Sequences, Tape, Value, attention, storage};

/// Tokens that a slot has room for at first.
const ROOM: usize = 256;

/// Slots of equal size, one for each sequence; those of sequences that have ended wait for others, so
/// that nothing is moved.
#[derive(Debug)]
pub(super) struct Slots {
    heads: Heads,
    rows: Tensor, // (slots, capacity, 2 G D)
    capacity: usize,
    free: Vec<u32>,
    /// Of the sequences that are left: the slot and the tokens in it.
    left: Vec<(u32, usize)>,
}

impl Slots {
    /// Slots where `like` is, of its type.
    pub(super) fn new(like: &Tensor, heads: Heads, sequences: usize) -> Result<Self> {
        let row = 2 * heads.key_value * heads.width;
        // SAFETY: a position is read only once a token has been appended there.
        let rows = unsafe { Like::of(like).shaped((sequences, ROOM, row)).empty()? };
        let left = (0..sequences as u32).map(|slot| (slot, 0)).collect();
        Ok(Self { heads, rows, capacity: ROOM, free: Vec::new(), left })
    }

    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.left.iter().map(|&(_, length)| length)
    }

    pub(super) fn retain(&mut self, keep: &[bool]) {
        let (mut keep, free) = (keep.iter(), &mut self.free);
        self.left.retain(|&(slot, _)| {
            let keep = *keep.next().expect("their number was checked");
            if !keep {
                free.push(slot);
            }
            keep
        });
    }

    /// A slot for one more sequence, which begins with some of these rows.
    pub(super) fn admit(&mut self, head: Option<(&Tensor, usize)>) -> Result<()> {
        let tokens = head.map_or(0, |(_, tokens)| tokens);
        let slots = self.rows.dims()[0];
        if self.free.is_empty() {
            let more = (2 * slots).max(1);
            self.make_room(more, self.capacity.max(tokens))?;
            self.free.extend((slots as u32..more as u32).rev());
        } else {
            self.make_room(slots, tokens)?;
        }
        let slot = self.free.pop().expect("there was one, or room for more was made");
        if let Some((rows, tokens)) = head {
            let (slots, capacity, row) = self.rows.dims3()?;
            let all = self.rows.reshape((slots * capacity, row))?;
            let place = all.narrow(0, slot as usize * capacity, tokens)?;
            storage::copy(&rows.narrow(0, 0, tokens)?, &place)?;
        }
        self.left.push((slot, tokens));
        Ok(())
    }

    /// The first `tokens` rows of a sequence.
    pub(super) fn copy(&self, sequence: usize, tokens: usize) -> Result<Tensor> {
        let (slot, length) = self.left[sequence];
        assert!(tokens <= length, "the sequence has fewer than {tokens} tokens");
        let row = self.rows.dims3()?.2;
        let rows = self.rows.get(slot as usize)?.narrow(0, 0, tokens)?;
        // SAFETY: all of it is set.
        let copy = unsafe { Like::of(&self.rows).shaped((tokens, row)).empty()? };
        storage::copy(&rows, &copy)?;
        Ok(copy)
    }

    /// As [`super::KeyValueCache::attend`], which has checked the arguments.
    pub(super) fn attend(
        &mut self,
        gpu: &Engine,
        qkv: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
    ) -> Result<Tensor> {
        let is_prompt = self.left[sequences.clone()].iter().all(|&(_, length)| length == 0);
        let table = self.append(gpu, qkv, sequences, fresh)?;
        if is_prompt {
            let (mut tape, qkv) = (Tape::inference(), Value::constant(qkv.clone()));
            let out = attention(&mut tape, &qkv, self.heads, fresh, scale)?;
            return Ok(out.tensor().clone());
        }
        self.run(gpu, qkv, &table, scale, None)
    }

    /// As [`super::KeyValueCache::attend_biased`], which has checked the arguments.
    pub(super) fn attend_biased(
        &mut self,
        gpu: &Engine,
        qkv: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
        bias: Bias,
    ) -> Result<Tensor> {
        let table = self.append(gpu, qkv, sequences, fresh)?;
        self.run(gpu, qkv, &table, scale, Some(bias))
    }

    /// As [`super::KeyValueCache::fill`], which has checked the arguments.
    pub(super) fn fill(
        &mut self,
        gpu: &Engine,
        kv: &Tensor,
        sequences: Range<usize>,
        sources: &Sequences,
    ) -> Result<()> {
        self.append(gpu, kv, sequences, sources).map(|_| ())
    }

    /// As [`super::KeyValueCache::look_up`], which has checked the arguments.
    pub(super) fn look_up(
        &self,
        gpu: &Engine,
        q: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
        scale: f32,
    ) -> Result<Tensor> {
        let mut places = Vec::with_capacity(2 * fresh.tokens());
        for (&(slot, length), tokens) in self.left[sequences].iter().zip(fresh.iter()) {
            assert!(length > 0, "there is something to attend to");
            // Each token sees all, up to the last.
            places.extend(tokens.flat_map(|_| [slot, length as u32 - 1]));
        }
        self.run(gpu, q, &gpu.upload(&places)?, scale, None)
    }

    /// Copies the last numbers of each row to the next places of its sequence; returns the places,
    /// `(T, 2)`.
    fn append(
        &mut self,
        gpu: &Engine,
        rows: &Tensor,
        sequences: Range<usize>,
        fresh: &Sequences,
    ) -> Result<Memory> {
        let asked = &self.left[sequences.clone()];
        let longest = asked.iter().zip(fresh.iter()).map(|(&(_, length), new)| length + new.len());
        self.make_room(self.rows.dims()[0], longest.max().unwrap_or(0))?;
        let asked = &mut self.left[sequences];
        let places = asked.iter().zip(fresh.iter()).flat_map(|(&(slot, length), new)| {
            (length..length + new.len()).flat_map(move |position| [slot, position as u32])
        });
        let table = gpu.upload(&places.collect::<Vec<_>>())?;
        for ((_, length), new) in asked.iter_mut().zip(fresh.iter()) {
            *length += new.len();
        }
        let (tokens, channels) = rows.dims2()?;
        let places = [gpu.at(rows)?, gpu.address(&table)];
        self.cache(gpu)?.append(gpu, places, tokens, channels)?;
        Ok(table)
    }

    /// Attention of new tokens, the first numbers of whose rows are the heads of q.
    fn run(
        &self,
        gpu: &Engine,
        rows: &Tensor,
        table: &Memory,
        scale: f32,
        bias: Option<Bias>,
    ) -> Result<Tensor> {
        let (tokens, channels) = rows.dims2()?;
        // SAFETY: the kernel writes every head of every token.
        let out = unsafe { Like::of(rows).shaped((tokens, self.heads.output_channels())).empty()? };
        let places = [gpu.at(&out)?, gpu.at(rows)?, gpu.address(table)];
        self.cache(gpu)?.attend(gpu, places, [tokens, channels], scale, bias)?;
        Ok(out)
    }

    fn cache(&self, gpu: &Engine) -> Result<Cache> {
        let (at, compute) = (gpu.at(&self.rows)?, Compute::of(&self.rows)?);
        Ok(Cache { heads: self.heads, at, capacity: self.capacity, compute })
    }

    /// As [`super::KeyValueCache::reorder`]: of the sequences that become like one, the first takes its
    /// slot, and the others get copies in slots that nobody goes on from.
    pub(super) fn reorder(&mut self, from: &[usize]) -> Result<()> {
        let slots = self.rows.dims()[0];
        if from.len() > slots {
            self.make_room(from.len(), self.capacity)?;
            self.free.extend(slots as u32..from.len() as u32);
        }
        let copies = self.reordered(from);
        if let (false, Some(gpu)) = (copies.is_empty(), Engine::of(self.rows.device())?) {
            let table = gpu.upload(copies.as_flattened())?;
            self.cache(&gpu)?.copy_slots(&*gpu, gpu.address(&table), copies.len())?;
        }
        Ok(())
    }

    /// Gives each sequence its slot; returns what is to be copied: from, to and rows.
    fn reordered(&mut self, from: &[usize]) -> Vec<[u32; 3]> {
        let old = std::mem::take(&mut self.left);
        let unused = old.iter().enumerate().filter(|(index, _)| !from.contains(index));
        self.free.extend(unused.map(|(_, &(slot, _))| slot));
        let mut copies = Vec::new();
        for (index, &sequence) in from.iter().enumerate() {
            let (slot, length) = old[sequence];
            let taken = from[..index].contains(&sequence);
            let slot = match taken {
                false => slot,
                true => {
                    let free = self.free.pop().expect("there are as many slots as sequences");
                    copies.push([slot, free, length as u32]);
                    free
                }
            };
            self.left.push((slot, length));
        }
        copies
    }

    /// At least so many slots of so many tokens; more of these than now if what there is does not do.
    fn make_room(&mut self, slots: usize, tokens: usize) -> Result<()> {
        let (old, _, row) = self.rows.dims3()?;
        if slots <= old && tokens <= self.capacity {
            return Ok(());
        }
        // Twice as many as now, so that what is moved in all is no more than what was written.
        let capacity =
            if tokens <= self.capacity { self.capacity } else { tokens.max(2 * self.capacity) };
        // SAFETY: as in `new`.
        let rows = unsafe { Like::of(&self.rows).shaped((slots, capacity, row)).empty()? };
        // Slot by slot: all together may be more than Candle's kernels can count.
        for slot in 0..old {
            let room = rows.get(slot)?.narrow(0, 0, self.capacity)?;
            storage::copy(&self.rows.get(slot)?, &room)?;
        }
        (self.rows, self.capacity) = (rows, capacity);
        Ok(())
    }
}

/// Slots need a GPU for attention alone: how they grow shows in the CPU's memory too.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{CachedHead, KeyValueCache, Place};
    use crate::support::{floats, tensor};

    const HEADS: Heads = Heads { query: 2, key_value: 1, width: 4 };

    #[test]
    fn slots_grow_in_number_and_length_and_keep_what_they_hold() {
        let heads = [3, 300, 1, 40].map(|tokens| tensor((tokens, 8), tokens as u64));
        let mut slots = Slots::new(&heads[0], HEADS, 0).unwrap();
        heads.iter().for_each(|head| slots.admit(Some((head, head.dims()[0]))).unwrap());
        assert_eq!(slots.rows.dims(), [4, 512, 8]);
        let held = |slots: &Slots, sequence, tokens| floats(&slots.copy(sequence, tokens).unwrap());
        for (sequence, head) in heads.iter().enumerate() {
            assert_eq!(held(&slots, sequence, head.dims()[0]), floats(head));
        }
        // The next one takes the slot of one that has ended.
        slots.retain(&[true, false, true, true]);
        slots.admit(Some((&heads[0], 2))).unwrap();
        assert_eq!(slots.rows.dims(), [4, 512, 8]);
        assert_eq!(slots.lengths().collect::<Vec<_>>(), [3, 1, 40, 2]);
        assert_eq!(held(&slots, 3, 2), floats(&heads[0])[..16]);
        assert_eq!(held(&slots, 2, 40), floats(&heads[3]));
    }

    #[test]
    fn reordered_sequences_keep_a_slot_each_and_copy_only_what_is_wanted_twice() {
        let heads = [3, 5, 2].map(|tokens| tensor((tokens, 8), tokens as u64));
        let mut slots = Slots::new(&heads[0], HEADS, 0).unwrap();
        heads.iter().for_each(|head| slots.admit(Some((head, head.dims()[0]))).unwrap());
        let of = |slots: &Slots| slots.left.iter().map(|&(slot, _)| slot).collect::<Vec<_>>();
        let [a, b, c] = of(&slots).try_into().unwrap();
        // Nothing is copied where all go on in another order.
        assert!(slots.reordered(&[2, 0, 1]).is_empty());
        assert_eq!(of(&slots), [c, a, b]);
        // The last goes on twice, in the slot of the first, which nobody goes on from.
        assert_eq!(slots.reordered(&[2, 1, 2]), [[b, c, 5]]);
        assert_eq!(of(&slots), [b, a, c]);
        assert_eq!(slots.lengths().collect::<Vec<_>>(), [5, 3, 5]);
        // More than there were.
        let free = slots.free.clone();
        let copies = slots.reordered(&[1, 1]);
        assert_eq!(copies.len(), 1);
        assert!([b, c].contains(&copies[0][1]) || free.contains(&copies[0][1]));
        let mut all = [of(&slots), slots.free.clone()].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), slots.rows.dims()[0], "each slot is one sequence's or free");
    }

    #[test]
    fn a_cache_that_is_still_empty_begins_with_a_head_from_a_gpu() {
        let head = CachedHead(Place::Gpu(tensor((5, 8), 1)));
        for empty in [0, 2] {
            let mut cache = KeyValueCache::new(HEADS, empty);
            cache.admit(Some((&head, 4))).unwrap();
            cache.admit(None).unwrap();
            assert_eq!(cache.lengths(), [vec![0; empty], vec![4, 0]].concat());
        }
    }
}
