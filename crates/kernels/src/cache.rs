//! Keys and values of the tokens so far, and attention of new tokens to them: generation.

mod gpu;

use std::ops::Range;

use candle_core::Tensor;
use rayon::prelude::*;

use gpu::Slots;

use crate::attention::{Block, QUERIES, Rows, Tile, check};
use crate::engine::Engine;
use crate::error::expect_shape;
use crate::parallel::SharedMut;
use crate::storage::Like;
use crate::{Heads, Result, Sequences, storage};

/// The keys and values of one layer, for a batch of sequences that grow at their own pace.
#[derive(Debug)]
pub struct KeyValueCache {
    heads: Heads,
    /// For each sequence, a row of `2 G D` floats a token: k and v, as they lie in a row of `qkv`.
    sequences: Vec<Vec<f32>>,
    /// Where the rows are instead, if the model is on a GPU.
    on_gpu: Option<Slots>,
}

/// Up to [`QUERIES`] queries of one sequence: several tokens of one head, or several heads of one
/// group and token.
struct Task {
    sequence: usize,
    heads: Range<usize>,
    /// Counted from the first new token of the sequence.
    tokens: Range<usize>,
}

impl KeyValueCache {
    /// A cache for `sequences` sequences, all of them still empty.
    pub fn new(heads: Heads, sequences: usize) -> Self {
        Self { heads, sequences: vec![Vec::new(); sequences], on_gpu: None }
    }

    /// How many tokens of each sequence it holds.
    pub fn lengths(&self) -> Vec<usize> {
        match &self.on_gpu {
            Some(slots) => slots.lengths().collect(),
            None => self.sequences.iter().map(|rows| rows.len() / self.row()).collect(),
        }
    }

    /// Drops the sequences whose flag is false; the others move up.
    ///
    /// # Panics
    /// If there is not one flag for each sequence.
    pub fn retain(&mut self, keep: &[bool]) {
        assert_eq!(keep.len(), self.sequences.len(), "one flag for each sequence of the cache");
        if let Some(slots) = &mut self.on_gpu {
            slots.retain(keep);
        }
        let mut keep = keep.iter();
        self.sequences.retain(|_| *keep.next().expect("their number was checked"));
    }

    /// Appends `fresh` tokens to each sequence, and attends with them, causally, to all tokens of
    /// their sequence so far. The prompts come first, whole or in parts, then a token at a time.
    ///
    /// # Shapes
    /// `qkv` `(T, (H + 2G) D)`, the new tokens packed as `fresh` says, rotary embedding applied;
    /// returns `(T, H D)`.
    ///
    /// # Errors
    /// If `fresh` has another number of sequences than the cache, or the shapes do not fit.
    pub fn attend(&mut self, qkv: &Tensor, fresh: &Sequences, scale: f32) -> Result<Tensor> {
        check("cached attention", qkv, self.heads, fresh)?;
        let (found, wanted) = (fresh.count(), self.sequences.len());
        expect_shape("cached attention", "the batch of sequences", &[found], &[wanted])?;
        if let Some(gpu) = Engine::of(qkv.device())? {
            let slots = match &mut self.on_gpu {
                Some(slots) => slots,
                none => none.insert(Slots::new(qkv, self.heads, wanted)?),
            };
            return slots.attend(&gpu, self.heads, qkv, fresh, scale);
        }
        let shape = (fresh.tokens(), self.heads.output_channels());
        // SAFETY: the tasks below write each head of each new token.
        let out = unsafe { Like::of(qkv).shaped(shape).empty()? };
        let qkv = storage::read(qkv)?;
        self.append(&qkv, fresh);
        storage::write(&out, |out| {
            let out = SharedMut::new(out);
            let tasks = self.tasks(fresh).into_par_iter().with_max_len(1);
            tasks.for_each(|task| self.run(&task, &qkv, fresh, scale, &out));
            Ok(())
        })?;
        Ok(out)
    }

    /// Floats of a token.
    fn row(&self) -> usize {
        2 * self.heads.key_value * self.heads.width
    }

    fn append(&mut self, qkv: &[f32], fresh: &Sequences) {
        let (heads, row) = (self.heads, self.row());
        for (rows, tokens) in self.sequences.iter_mut().zip(fresh.iter()) {
            // Exact for the prompt; a vector that grows token by token doubles.
            if rows.is_empty() {
                rows.reserve_exact(tokens.len() * row);
            }
            for token in tokens {
                let end = (token + 1) * heads.channels();
                rows.extend_from_slice(&qkv[end - row..end]);
            }
        }
    }

    fn tasks(&self, fresh: &Sequences) -> Vec<Task> {
        let heads = self.heads;
        let cut = |range: Range<usize>| {
            let end = range.end;
            range.step_by(QUERIES).map(move |start| start..(start + QUERIES).min(end))
        };
        let mut tasks = Vec::new();
        for (sequence, tokens) in fresh.iter().enumerate() {
            if tokens.len() == 1 {
                // The heads of a group read the same keys: together they read them once.
                for group in 0..heads.key_value {
                    let group = group * heads.group()..(group + 1) * heads.group();
                    tasks.extend(cut(group).map(|heads| Task { sequence, heads, tokens: 0..1 }));
                }
            } else {
                for head in 0..heads.query {
                    let heads = head..head + 1;
                    let tiles = cut(0..tokens.len());
                    tasks.extend(tiles.map(|tokens| Task {
                        sequence,
                        heads: heads.clone(),
                        tokens,
                    }));
                }
            }
        }
        tasks
    }

    fn run(&self, task: &Task, qkv: &[f32], fresh: &Sequences, scale: f32, out: &SharedMut) {
        let (heads, row) = (self.heads, self.row());
        let (channels, out_channels, width) =
            (heads.channels(), heads.output_channels(), heads.width);
        let tokens = fresh.range(task.sequence);
        let past = self.sequences[task.sequence].len() / row - tokens.len();
        let packed = tokens.start + task.tokens.start..tokens.start + task.tokens.end;
        let head = task.heads.start;
        let (q, target) = if task.tokens.len() > 1 {
            let q = Rows::new(qkv, heads.q(head), channels).matrix(packed.clone());
            // SAFETY: no other task has this head and one of these tokens.
            (q, unsafe { Block::new(out, packed, heads.q(head), out_channels) })
        } else {
            // Each head of the token is a row.
            let q = Rows::new(&qkv[packed.start * channels..], 0..width, width);
            let first = packed.start * heads.query;
            let rows = first + task.heads.start..first + task.heads.end;
            // SAFETY: no other task has this token and one of these heads.
            (q.matrix(task.heads.clone()), unsafe { Block::new(out, rows, 0..width, width) })
        };
        // A row of the cache is the end of a row of `qkv`.
        let from = heads.k(0).start;
        let of_group = |channels: Range<usize>| {
            Rows::new(
                &self.sequences[task.sequence],
                channels.start - from..channels.end - from,
                row,
            )
        };
        let tile = Tile {
            q,
            queries: task.heads.len().max(task.tokens.len()),
            k: of_group(heads.k(head / heads.group())),
            v: of_group(heads.v(head / heads.group())),
            keys: past + task.tokens.end,
            first: (task.tokens.len() > 1).then_some(past + task.tokens.start),
            scale,
            bias: None,
        };
        let mut target = target;
        tile.attend(&mut target);
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::support::{assert_close, floats, numbers, on_threads, wider};
    use crate::{Tape, Value, attention};

    /// Rows of `qkv` of each sequence.
    type Batch = Vec<Vec<f32>>;

    fn batch(heads: Heads, lengths: &[usize]) -> Batch {
        let numbers = |(seed, len)| numbers(len * heads.channels(), seed as u64);
        lengths.iter().copied().enumerate().map(numbers).collect()
    }

    /// The next tokens of each sequence, packed.
    fn pack(heads: Heads, batch: &Batch, ranges: &[Range<usize>]) -> (Tensor, Sequences) {
        let channels = heads.channels();
        let rows = batch.iter().zip(ranges);
        let rows = rows.map(|(rows, range)| &rows[range.start * channels..range.end * channels]);
        let fresh = Sequences::from_lengths(ranges.iter().map(Range::len)).unwrap();
        let data = rows.collect::<Vec<_>>().concat();
        (Tensor::from_vec(data, (fresh.tokens(), channels), &Device::Cpu).unwrap(), fresh)
    }

    /// Attention of a whole sequence to itself.
    fn whole(heads: Heads, rows: &[f32]) -> Vec<f64> {
        let tokens = rows.len() / heads.channels();
        let x = Tensor::from_slice(rows, (tokens, heads.channels()), &Device::Cpu).unwrap();
        let sequences = Sequences::from_lengths([tokens]).unwrap();
        let tape = &mut Tape::inference();
        let out = attention(tape, &Value::constant(x), heads, &sequences, 0.3).unwrap();
        wider(&floats(out.tensor()))
    }

    #[test]
    fn attention_step_by_step_equals_attention_to_the_whole() {
        // Groups of one, of three, and of more heads than a tile has rows.
        for (query, key_value, width) in [(2, 2, 16), (6, 2, 64), (50, 1, 5)] {
            let heads = Heads { query, key_value, width };
            let lengths = [305, 40, 9];
            let batch = batch(heads, &lengths);
            let mut cache = KeyValueCache::new(heads, 3);
            let mut found = vec![Vec::new(); 3];
            // Whole prompts, then parts of them, then a token at a time.
            let mut past = [0; 3];
            for fresh in [[290, 1, 5], [11, 35, 1], [1, 1, 1], [1, 1, 1], [2, 2, 1]] {
                let ends = past.iter().zip(&fresh).map(|(&past, &fresh)| past..past + fresh);
                let ranges = ends.collect::<Vec<_>>();
                let (x, fresh) = pack(heads, &batch, &ranges);
                let out = floats(&cache.attend(&x, &fresh, 0.3).unwrap());
                for (sequence, range) in fresh.iter().enumerate() {
                    let row = heads.output_channels();
                    found[sequence].extend_from_slice(&out[range.start * row..range.end * row]);
                    past[sequence] = ranges[sequence].end;
                }
            }
            assert_eq!(cache.lengths(), lengths);
            for (found, rows) in found.iter().zip(&batch) {
                // Other tiles, so other roundings of 6e-8 in sums of up to 300 terms.
                assert_close("cached", found, &whole(heads, rows), 2e-6);
            }
        }
    }

    #[test]
    fn what_remains_after_dropping_sequences_goes_on_with_its_own_past() {
        let heads = Heads { query: 4, key_value: 2, width: 8 };
        let mut batch = batch(heads, &[20, 10, 30]);
        let mut cache = KeyValueCache::new(heads, 3);
        let (x, fresh) = pack(heads, &batch, &[0..19, 0..10, 0..29]);
        cache.attend(&x, &fresh, 0.3).unwrap();
        cache.retain(&[true, false, true]);
        batch.remove(1);
        let (x, fresh) = pack(heads, &batch, &[19..20, 29..30]);
        let out = floats(&cache.attend(&x, &fresh, 0.3).unwrap());
        for (found, rows) in out.chunks(heads.output_channels()).zip(&batch) {
            let wanted = whole(heads, rows);
            assert_close("kept", found, &wanted[wanted.len() - found.len()..], 2e-6);
        }
        let error = cache.attend(&x.narrow(0, 0, 1).unwrap(), &fresh, 0.3).unwrap_err().to_string();
        assert_eq!(error, "cached attention: qkv has shape [1, 64], wanted [2, 64]");
        cache.retain(&[true, false]);
        let error = cache.attend(&x, &fresh, 0.3).unwrap_err().to_string();
        assert_eq!(error, "cached attention: the batch of sequences has shape [2], wanted [1]");
    }

    #[test]
    fn the_bits_depend_neither_on_the_threads_nor_on_the_rest_of_the_batch() {
        let heads = Heads { query: 6, key_value: 2, width: 16 };
        let batch = batch(heads, &[100, 301]);
        let run = |batch: &Batch| {
            let mut cache = KeyValueCache::new(heads, batch.len());
            let lengths = batch.iter().map(|rows| rows.len() / heads.channels());
            let prompts = lengths.map(|len| 0..len - 1).collect::<Vec<_>>();
            let lasts = prompts.iter().map(|range| range.end..range.end + 1).collect::<Vec<_>>();
            let (x, fresh) = pack(heads, batch, &prompts);
            cache.attend(&x, &fresh, 0.3).unwrap();
            let (x, fresh) = pack(heads, batch, &lasts);
            floats(&cache.attend(&x, &fresh, 0.3).unwrap())
        };
        let alone = on_threads(1, || run(&batch));
        for threads in [2, 5] {
            assert!(on_threads(threads, || run(&batch)) == alone, "{threads} threads");
        }
        assert!(alone == [run(&batch[..1].to_vec()), run(&batch[1..].to_vec())].concat());
    }
}
