//! Sequences packed end to end: what a forward pass takes in.

use albacore_kernels::{Angles, Positions, Sequences};

use crate::{Error, LlamaConfig, Result, rope_angles};

/// A batch of sequences packed end to end, with the tokens that are supervised.
#[derive(Debug)]
pub struct Packed {
    pub(crate) ids: Vec<u32>,
    pub(crate) sequences: Sequences,
    pub(crate) angles: Angles,
    /// The row of `angles` for each token.
    pub(crate) positions: Positions,
    pub(crate) rows: Vec<u32>,
    pub(crate) targets: Vec<u32>,
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
        check(config, &ids, &sequences, &rows, &targets)?;
        let (angles, positions) = turns(config, &sequences)?;
        Ok(Self { ids, sequences, angles, positions: positions.into(), rows, targets })
    }

    /// Number of supervised tokens, `N`.
    pub fn supervised(&self) -> usize {
        self.targets.len()
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
    config: &LlamaConfig,
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
    let vocabulary = config.vocab_size;
    match ids.iter().chain(targets).find(|&&id| id as usize >= vocabulary) {
        Some(&id) => Err(Error::TokenId { id, vocabulary }),
        None => Ok(()),
    }
}
