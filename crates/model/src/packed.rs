//! Sequences packed end to end: what a forward pass takes in.

use albacore_kernels::{Angles, Crossing, Positions, Sequences};

use crate::{Error, LlamaConfig, Result, T5Config, rope_angles};

/// A batch as data gives it, before it is any model's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The ids of all sequences.
    pub ids: Vec<u32>,
    /// The first of each sequence and, last, how many there are.
    pub starts: Vec<u32>,
    /// Whether each sequence is a response: it goes on from the nearest before it that is none.
    pub is_response: Vec<bool>,
    /// The rows whose next token is wanted.
    pub rows: Vec<u32>,
    /// These next tokens.
    pub targets: Vec<u32>,
    /// Where the targets of each response, and of each sequence that no response follows, begin, and
    /// last how many there are.
    pub target_starts: Vec<u32>,
}

/// A batch of sequences packed end to end, with the tokens that are supervised.
#[derive(Debug)]
pub struct Packed {
    pub(crate) ids: Vec<u32>,
    pub(crate) sequences: Sequences,
    pub(crate) rows: Vec<u32>,
    pub(crate) targets: Vec<u32>,
    beside: Beside,
}

/// What a batch holds for one kind of model.
#[derive(Debug)]
enum Beside {
    /// Rotary angles, and the row of them for each token.
    Turns(Angles, Positions),
    /// What an encoder reads; the batch's own sequences are the decoder's.
    Sources(Sources),
}

/// The sequences that an encoder reads.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) ids: Vec<u32>,
    pub(crate) sequences: Sequences,
    /// Which of them each of the decoder's sequences sees.
    pub(crate) crossing: Crossing,
}

impl Packed {
    /// Checks a batch and prepares what its forward pass shares between layers.
    ///
    /// # Shapes
    /// `ids` `(T,)`; `starts` the first token of each sequence and, last, `T`; `rows` and `targets`
    /// `(N,)`: `targets[n]` is the token wanted after packed token `rows[n]`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a row outside the batch, the starts do not rise to the
    /// number of tokens, or there are not as many targets as rows.
    pub fn new(
        config: &LlamaConfig,
        ids: Vec<u32>,
        starts: Vec<u32>,
        rows: Vec<u32>,
        targets: Vec<u32>,
    ) -> Result<Self> {
        let is_response = vec![false; starts.len().saturating_sub(1)];
        Self::with_responses(config, ids, starts, &is_response, rows, targets)
    }

    /// As [`Packed::new`], of sequences of which some are responses: each goes on from the nearest
    /// before it that is none, its prompt, as if it had a copy of it (see [`Sequences`]).
    ///
    /// The row of a prompt may be wanted several times: its last predicts the first token of each
    /// response. Under dynamic scaling, a prompt and its responses turn as the longest of them does.
    ///
    /// # Errors
    /// As [`Packed::new`]; if there is not one flag for each sequence, or the first is a response.
    pub fn with_responses(
        config: &LlamaConfig,
        ids: Vec<u32>,
        starts: Vec<u32>,
        is_response: &[bool],
        rows: Vec<u32>,
        targets: Vec<u32>,
    ) -> Result<Self> {
        let sequences = Sequences::with_responses(starts, is_response)?;
        check(config.vocab_size, &ids, &sequences, &rows, &targets)?;
        let (angles, positions) = turns(config, &sequences)?;
        Ok(Self { ids, sequences, rows, targets, beside: Beside::Turns(angles, positions.into()) })
    }

    /// A batch for a decoder alone.
    ///
    /// # Errors
    /// As [`Packed::with_responses`].
    pub fn of_decoder(config: &LlamaConfig, batch: Rows) -> Result<Self> {
        let Rows { ids, starts, is_response, rows, targets, .. } = batch;
        Self::with_responses(config, ids, starts, &is_response, rows, targets)
    }

    /// A batch for an encoder, which reads the prompts, each once, and a decoder, which says the
    /// responses. A sequence that no response follows is parted where its first wanted token stands.
    ///
    /// The decoder reads a response behind its start token, and each of its rows predicts the token that
    /// stands there in the response:
    ///
    /// ```text
    ///  batch     p p p e a b e     rows 3 4 5, targets a b e
    ///  encoder   p p p e
    ///  decoder   s a b             rows 0 1 2, targets a b e
    /// ```
    ///
    /// # Errors
    /// If the batch contradicts itself, or if a response has no wanted token or one outside of it.
    pub fn of_encoder_decoder(config: &T5Config, batch: Rows) -> Result<Self> {
        let sequences = Sequences::with_responses(batch.starts.clone(), &batch.is_response)?;
        check(config.vocab_size, &batch.ids, &sequences, &batch.rows, &batch.targets)?;
        let mut parted = Parted::default();
        let mut of_targets = batch.target_starts.windows(2);
        let next_is_response =
            |index: usize| batch.is_response.get(index + 1).copied().unwrap_or(false);
        for (index, range) in sequences.iter().enumerate() {
            let is_response = batch.is_response[index];
            if !is_response && next_is_response(index) {
                parted.read(&batch.ids[range]);
                continue;
            }
            let of = of_targets.next().ok_or(Error::Targets { sequence: index })?;
            let of = of[0] as usize..of[1] as usize;
            let rows = batch.rows.get(of).filter(|rows| !rows.is_empty());
            let rows = rows.ok_or(Error::Targets { sequence: index })?;
            let response = match is_response {
                true => range.clone(),
                false => {
                    let first = rows[0] as usize + 1;
                    parted.read(batch.ids.get(range.start..first).unwrap_or_default());
                    first..range.end
                }
            };
            let start = config.decoder_start_token_id;
            let ids = batch.ids.get(response.clone()).unwrap_or_default();
            parted.say(start, ids, response.start, rows, index)?;
        }
        let Parted { sources, source_lengths, ids, lengths, source_of, rows } = parted;
        let source_sequences = Sequences::from_lengths(source_lengths)?;
        let sequences = Sequences::from_lengths(lengths)?;
        let crossing = Crossing::new(&sequences, &source_sequences, &source_of)?;
        let sources = Sources { ids: sources, sequences: source_sequences, crossing };
        let targets = batch.targets;
        Ok(Self { ids, sequences, rows, targets, beside: Beside::Sources(sources) })
    }

    /// The rotary angles, and each token's row of them.
    pub(crate) fn turns(&self) -> Result<(&Angles, &Positions)> {
        match &self.beside {
            Beside::Turns(angles, positions) => Ok((angles, positions)),
            Beside::Sources(_) => Err(Error::OtherModel { wanted: "a decoder alone" }),
        }
    }

    /// What the encoder reads.
    pub(crate) fn sources(&self) -> Result<&Sources> {
        match &self.beside {
            Beside::Sources(sources) => Ok(sources),
            Beside::Turns(..) => Err(Error::OtherModel { wanted: "an encoder and a decoder" }),
        }
    }

    /// Number of supervised tokens, `N`.
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }
}

/// Sources and targets, as they are taken apart.
#[derive(Default)]
struct Parted {
    sources: Vec<u32>,
    source_lengths: Vec<usize>,
    ids: Vec<u32>,
    lengths: Vec<usize>,
    source_of: Vec<u32>,
    rows: Vec<u32>,
}

impl Parted {
    fn read(&mut self, source: &[u32]) {
        self.sources.extend(source);
        self.source_lengths.push(source.len());
    }

    /// A response to the newest source, whose first token stands at `first` in the batch.
    fn say(
        &mut self,
        start: u32,
        response: &[u32],
        first: usize,
        rows: &[u32],
        sequence: usize,
    ) -> Result<()> {
        let begins = self.ids.len();
        let input = response.len().saturating_sub(1);
        self.ids.push(start);
        self.ids.extend(&response[..input]);
        self.lengths.push(input + 1);
        self.source_of.push(self.source_lengths.len() as u32 - 1);
        for &row in rows {
            // What stands before the response predicts its first token: the prompt's last row.
            let own = (row as usize + 1).saturating_sub(first);
            if own >= response.len() {
                return Err(Error::Targets { sequence });
            }
            self.rows.push((begins + own) as u32);
        }
        Ok(())
    }
}

/// The tables of angles, and each token's row of them: a response goes on from its prompt's last.
fn turns(config: &LlamaConfig, sequences: &Sequences) -> Result<(Angles, Vec<u32>)> {
    // Of a prompt with its longest response, or of a sequence alone.
    let mut lengths: Vec<usize> = Vec::new();
    for (index, range) in sequences.iter().enumerate() {
        match (sequences.prompt(index), lengths.last_mut()) {
            (Some(prompt), Some(longest)) => *longest = (*longest).max(prompt.len() + range.len()),
            _ => lengths.push(range.len()),
        }
    }
    let (angles, first_rows) = rope_angles(config, &lengths)?;
    let (mut positions, mut first_rows) = (Vec::new(), first_rows.into_iter());
    let mut first = 0;
    for (index, range) in sequences.iter().enumerate() {
        let before = match sequences.prompt(index) {
            Some(prompt) => prompt.len(),
            None => {
                first = first_rows.next().expect("each has one that is no response");
                0
            }
        };
        let start = first + before as u32;
        positions.extend(start..start + range.len() as u32);
    }
    Ok((angles, positions))
}

/// Checks that nothing in a batch contradicts the rest.
fn check(
    vocabulary: usize,
    ids: &[u32],
    sequences: &Sequences,
    rows: &[u32],
    targets: &[u32],
) -> Result<()> {
    use albacore_kernels::Error::{Index, Shape, Starts};
    let (operation, len) = ("packed batch", ids.len());
    if sequences.tokens() != len {
        let (index, found) = (sequences.count(), sequences.tokens().to_string());
        return Err(Starts { index, found, wanted: len.to_string() }.into());
    }
    if targets.len() != rows.len() {
        let (found, wanted) = (vec![targets.len()], vec![rows.len()]);
        return Err(Shape { operation, what: "targets", found, wanted }.into());
    }
    if let Some(index) = rows.iter().map(|&row| row as usize).find(|&row| row >= len) {
        return Err(Index { operation, what: "row", index, len }.into());
    }
    match ids.iter().chain(targets).find(|&&id| id as usize >= vocabulary) {
        Some(&id) => Err(Error::TokenId { id, vocabulary }),
        None => Ok(()),
    }
}
