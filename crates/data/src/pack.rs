//! Packing: which examples go into which micro-batch, and how they lie in it.
//!
//! A batch is a budget of tokens. Examples lie end to end in it; there is no padding, so a batch that
//! is not full costs nothing, and the simplest packing is as good as any: examples are taken in order,
//! and one that does not fit opens the next batch (next-fit).
//!
//! ```text
//!  ids        p p a a e | p a e      two examples, `a` and `e` (EOS) are learned
//!  starts     0           5       8
//!  rows         1 2 3       5 6      a row whose NEXT token is learned
//!  targets      a a e       a e      that token
//!  target_starts 0          3     5
//! ```
//!
//! Responses that share a prompt stand behind it, each a sequence of its own; the prompt's last row
//! predicts the first token of each:
//!
//! ```text
//!  ids         p p p | a e | b b e | q q c e    a prompt with two responses, and an ordinary example
//!  starts      0       3     5       8       12
//!  is_response -       yes   yes     -
//!  rows            2     3     2 5 6     9 10
//!  group_starts        0             2       3    sequences with targets: the prompt is none
//! ```

use std::borrow::Borrow;
use std::ops::Range;

use crate::Encoded;
use crate::random::{Random, shuffled};

/// How a plan packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Decides the order, if they are shuffled.
    pub seed: u64,
    /// The most tokens in a batch. An example that is longer gets a batch of its own.
    pub tokens_per_batch: usize,
    /// Whether every epoch has its own random order; else file order.
    pub shuffle: bool,
    /// How many examples a step takes, if steps are measured so: no batch reaches from one step into
    /// the next. Steps of a number of batches need nothing here.
    pub examples_per_step: Option<usize>,
    /// Which of `world` workers this is, from 0.
    pub rank: usize,
    /// How many workers share an epoch's batches.
    pub world: usize,
}

impl Packing {
    /// All batches for one worker.
    pub fn alone(seed: u64, tokens_per_batch: usize, shuffle: bool) -> Self {
        Self { seed, tokens_per_batch, shuffle, examples_per_step: None, rank: 0, world: 1 }
    }
}

/// The micro-batches of one epoch for one worker: a pure function of the packing, the epoch and the
/// lengths of the examples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Numbers of examples, batch after batch.
    order: Vec<u32>,
    /// Where each of this worker's batches lies in `order`.
    batches: Vec<Range<usize>>,
    /// Where each step ends among the batches, if steps are measured in examples.
    step_ends: Vec<usize>,
}

impl Plan {
    /// Plans an epoch. Batches go to the workers in turn; in the last round of the epoch, or of a step
    /// that is measured in examples, some may get an empty one, so that all workers have equally many.
    pub fn new(packing: Packing, epoch: u64, lengths: &[usize]) -> Self {
        let Packing { seed, tokens_per_batch, shuffle, examples_per_step, rank, world } = packing;
        debug_assert!(rank < world, "rank {rank} is one of {world}");
        let order = match shuffle {
            true => shuffled(lengths.len(), Random::new(seed, "shuffle", epoch)),
            false => (0..lengths.len() as u32).collect(),
        };
        let (mut batches, mut step_ends) = (Vec::new(), Vec::new());
        let examples_of_step = examples_per_step.unwrap_or(usize::MAX);
        for first in (0..order.len()).step_by(examples_of_step) {
            let examples = first..order.len().min(first.saturating_add(examples_of_step));
            let all = fill(&order, lengths, examples, tokens_per_batch);
            let rounds = all.len().div_ceil(world);
            let turn = |round: usize| all.get(round * world + rank).cloned().unwrap_or_default();
            batches.extend((0..rounds).map(turn));
            step_ends.push(batches.len());
        }
        if examples_per_step.is_none() {
            step_ends.clear();
        }
        Self { order, batches, step_ends }
    }

    /// The batches from `batch` to the end of its step, where steps take so many batches unless they
    /// are measured in examples.
    pub fn step(&self, batch: usize, batches_per_step: usize) -> Range<usize> {
        let end = match self.step_ends.as_slice() {
            [] => batch + batches_per_step,
            ends => ends[ends.partition_point(|end| *end <= batch)],
        };
        batch..end.min(self.len())
    }

    /// How many steps the epoch has, the last of which may be smaller.
    pub fn steps(&self, batches_per_step: usize) -> usize {
        match self.step_ends.as_slice() {
            [] => self.len().div_ceil(batches_per_step),
            ends => ends.len(),
        }
    }

    /// How many micro-batches the epoch has.
    #[expect(clippy::len_without_is_empty, reason = "an epoch is never empty")]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    /// The numbers of the examples in a batch.
    pub fn examples(&self, batch: usize) -> &[u32] {
        &self.order[self.batches[batch].clone()]
    }

    /// A batch; `examples` are those whose lengths were planned with.
    pub fn batch<E: Borrow<Encoded>>(&self, batch: usize, examples: &[E]) -> Batch {
        let numbers = self.examples(batch).iter().map(|number| *number as usize);
        Batch::of(numbers.map(|number| (number, examples[number].borrow())))
    }
}

/// Next-fit of some of the examples in `order`.
fn fill(
    order: &[u32],
    lengths: &[usize],
    examples: Range<usize>,
    budget: usize,
) -> Vec<Range<usize>> {
    let (mut all, mut start, mut tokens) = (Vec::new(), examples.start, 0);
    for index in examples.clone() {
        let length = lengths[order[index] as usize];
        if tokens + length > budget && index > start {
            all.push(start..index);
            (start, tokens) = (index, 0);
        }
        tokens += length;
    }
    if start < examples.end {
        all.push(start..examples.end);
    }
    all
}

/// The score of an answer that has no rival: what is to be learned is above any threshold.
pub const UNRIVALLED: f32 = f32::INFINITY;

/// Examples packed end to end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The ids of all examples.
    pub ids: Vec<u32>,
    /// Where each sequence begins, and last where the last one ends. An ordinary example is one; a
    /// prompt that responses share is one, and so is each of these.
    pub starts: Vec<u32>,
    /// Whether each sequence is a response: it goes on from the nearest before it that is none.
    pub is_response: Vec<bool>,
    /// The rows whose next token is learned.
    pub rows: Vec<u32>,
    /// These next tokens.
    pub targets: Vec<u32>,
    /// The numbers of the examples.
    pub examples: Vec<usize>,
    /// Where the targets of each ordinary example and of each response begin, and last how many there
    /// are.
    pub target_starts: Vec<u32>,
    /// The first of those of each example, and last how many they are.
    pub group_starts: Vec<u32>,
    /// The score of each of them, [`UNRIVALLED`] for an ordinary example.
    pub scores: Vec<f32>,
}

impl Batch {
    /// Packs examples, each with its number, in the given order.
    pub fn of<'a>(examples: impl IntoIterator<Item = (usize, &'a Encoded)>) -> Self {
        let zero = || vec![0];
        let (starts, target_starts, group_starts) = (zero(), zero(), zero());
        let mut batch = Self { starts, target_starts, group_starts, ..Self::default() };
        for (number, example) in examples {
            match example.responses.as_slice() {
                // The first token has no row before it that predicts it.
                [] => batch.push(example, 0..example.len(), None, UNRIVALLED),
                [first, ..] => {
                    let prompt = batch.ids.len();
                    batch.ids.extend(&example.ids[..first.start]);
                    batch.end_sequence(false);
                    let last = (prompt + first.start - 1) as u32;
                    for (index, response) in example.responses.iter().enumerate() {
                        batch.push(example, example.response(index), Some(last), response.score);
                    }
                }
            }
            batch.examples.push(number);
            batch.group_starts.push(batch.scores.len() as u32);
        }
        batch
    }

    /// A sequence with targets; `before` is the row that predicts its first token, if there is one.
    fn push(&mut self, example: &Encoded, range: Range<usize>, before: Option<u32>, score: f32) {
        let start = self.ids.len() as u32;
        self.ids.extend(&example.ids[range.clone()]);
        for (row, next) in before
            .into_iter()
            .chain(start..)
            .zip(range.start + usize::from(before.is_none())..range.end)
        {
            if example.learned[next] {
                self.rows.push(row);
                self.targets.push(example.ids[next]);
            }
        }
        self.end_sequence(before.is_some());
        self.target_starts.push(self.targets.len() as u32);
        self.scores.push(score);
    }

    fn end_sequence(&mut self, is_response: bool) {
        self.starts.push(self.ids.len() as u32);
        self.is_response.push(is_response);
    }

    /// The same with a copy of the prompt before each response, for those who share none: the targets
    /// and whose they are stay the same.
    pub fn with_copies(&self) -> Self {
        let (ids, is_response, rows) = Default::default();
        let mut out = Self { ids, is_response, rows, starts: vec![0], ..self.clone() };
        let (mut prompt, mut of) = (0..0, 0);
        for (sequence, &is_response) in self.is_response.iter().enumerate() {
            let own = self.starts[sequence] as usize..self.starts[sequence + 1] as usize;
            if self.is_response.get(sequence + 1) == Some(&true) && !is_response {
                prompt = own;
                continue;
            }
            let before = if is_response { prompt.clone() } else { own.start..own.start };
            let first = out.ids.len();
            out.ids.extend([&self.ids[before.clone()], &self.ids[own.clone()]].concat());
            out.end_sequence(false);
            let targets = self.target_starts[of] as usize..self.target_starts[of + 1] as usize;
            out.rows.extend(self.rows[targets].iter().map(|&row| {
                let row = row as usize;
                let behind = if own.contains(&row) {
                    before.len() + row - own.start
                } else {
                    row - before.start
                };
                (first + behind) as u32
            }));
            of += 1;
        }
        out
    }

    /// The same examples in order, in at most `parts` batches of about as many tokens each.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let (count, tokens) = (self.examples.len(), self.tokens());
        let first_sequences = self.first_sequences();
        let end_of = |example: usize| self.starts[first_sequences[example + 1]] as usize;
        let (mut batches, mut first) = (Vec::new(), 0);
        for part in 1..=parts {
            let mut end = first;
            while end < count && (end == first || end_of(end) <= tokens * part / parts) {
                end += 1;
            }
            if end > first {
                batches.push(self.examples(first..end, &first_sequences));
            }
            first = end;
        }
        if first < count {
            batches.push(self.examples(first..count, &first_sequences));
        }
        batches
    }

    /// The first sequence of each example, and last how many sequences there are: every example begins
    /// with one that is no response.
    fn first_sequences(&self) -> Vec<usize> {
        let sequences = self.is_response.iter().enumerate();
        let firsts = sequences.filter(|(_, is_response)| !**is_response).map(|(index, _)| index);
        firsts.chain([self.is_response.len()]).collect()
    }

    /// Some of its examples as a batch of their own.
    fn examples(&self, range: Range<usize>, first_sequences: &[usize]) -> Self {
        let sequences = first_sequences[range.start]..first_sequences[range.end];
        let (start, end) = (self.starts[sequences.start], self.starts[sequences.end]);
        let (first_group, last_group) =
            (self.group_starts[range.start], self.group_starts[range.end]);
        let groups = first_group as usize..last_group as usize;
        let (first, last) = (self.target_starts[groups.start], self.target_starts[groups.end]);
        let targets = first as usize..last as usize;
        let less = |numbers: &[u32], by: u32| numbers.iter().map(|number| number - by).collect();
        Self {
            ids: self.ids[start as usize..end as usize].to_vec(),
            starts: less(&self.starts[sequences.start..=sequences.end], start),
            is_response: self.is_response[sequences].to_vec(),
            rows: less(&self.rows[targets.clone()], start),
            targets: self.targets[targets].to_vec(),
            examples: self.examples[range.clone()].to_vec(),
            target_starts: less(&self.target_starts[groups.start..=groups.end], first),
            group_starts: less(&self.group_starts[range.start..=range.end], first_group),
            scores: self.scores[groups].to_vec(),
        }
    }

    /// How many tokens it holds.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// How many of them are learned.
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }
}
