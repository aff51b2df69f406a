//! The cache of one layer in the memory of a GPU.

use candle_core::Tensor;

use crate::device::decode::Cache;
use crate::engine::Engine;
use crate::launch::{Compute, Gpu};
use crate::storage::Like;
use crate::{Heads, Result, Sequences, Tape, Value, attention};

/// Tokens that a slot has room for at first.
const ROOM: usize = 256;

/// Slots of equal size, one for each sequence at the start; those of sequences that have ended stay
/// unused, so that nothing is moved.
#[derive(Debug)]
pub(super) struct Slots {
    rows: Tensor, // (slots, capacity, 2 G D)
    capacity: usize,
    /// Of the sequences that are left: the slot and the tokens in it.
    left: Vec<(u32, usize)>,
}

impl Slots {
    pub(super) fn new(qkv: &Tensor, heads: Heads, sequences: usize) -> Result<Self> {
        let row = 2 * heads.key_value * heads.width;
        // SAFETY: a position is read only once a token has been appended there.
        let rows = unsafe { Like::of(qkv).shaped((sequences, ROOM, row)).empty()? };
        let left = (0..sequences as u32).map(|slot| (slot, 0)).collect();
        Ok(Self { rows, capacity: ROOM, left })
    }

    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> + '_ {
        self.left.iter().map(|&(_, length)| length)
    }

    pub(super) fn retain(&mut self, keep: &[bool]) {
        let mut keep = keep.iter();
        self.left.retain(|_| *keep.next().expect("their number was checked"));
    }

    /// As [`super::KeyValueCache::attend`], which has checked the arguments.
    pub(super) fn attend(
        &mut self,
        gpu: &Engine,
        heads: Heads,
        qkv: &Tensor,
        fresh: &Sequences,
        scale: f32,
    ) -> Result<Tensor> {
        let tokens = fresh.tokens();
        let longest =
            self.left.iter().zip(fresh.iter()).map(|(&(_, length), new)| length + new.len());
        self.make_room(longest.max().unwrap_or(0))?;
        let places = self.left.iter().zip(fresh.iter()).flat_map(|(&(slot, length), new)| {
            (length..length + new.len()).flat_map(move |position| [slot, position as u32])
        });
        let table = gpu.upload(&places.collect::<Vec<_>>())?;
        let compute = Compute::of(qkv)?;
        let cache = Cache { heads, at: gpu.at(&self.rows)?, capacity: self.capacity, compute };
        let (at_qkv, at_table) = (gpu.at(qkv)?, gpu.address(&table));
        cache.append(gpu, [at_qkv, at_table], tokens)?;
        let is_prompt = self.lengths().all(|length| length == 0);
        for ((_, length), new) in self.left.iter_mut().zip(fresh.iter()) {
            *length += new.len();
        }
        if is_prompt {
            let mut tape = Tape::inference();
            let out = attention(&mut tape, &Value::constant(qkv.clone()), heads, fresh, scale)?;
            return Ok(out.tensor().clone());
        }
        // SAFETY: the kernel writes every head of every token.
        let out = unsafe { Like::of(qkv).shaped((tokens, heads.output_channels())).empty()? };
        cache.attend(gpu, [gpu.at(&out)?, at_qkv, at_table], tokens, scale)?;
        Ok(out)
    }

    /// At least `tokens` in each slot, and twice as many as now if that does not do.
    fn make_room(&mut self, tokens: usize) -> Result<()> {
        if tokens <= self.capacity {
            return Ok(());
        }
        let (slots, _, row) = self.rows.dims3()?;
        let capacity = tokens.max(2 * self.capacity);
        // SAFETY: as in `new`.
        let rows = unsafe { Like::of(&self.rows).shaped((slots, capacity, row)).empty()? };
        rows.slice_set(&self.rows, 1, 0)?;
        (self.rows, self.capacity) = (rows, capacity);
        Ok(())
    }
}
