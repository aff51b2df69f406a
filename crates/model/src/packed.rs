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
        let sequences = Sequences::new(starts)?;
        check(config, &ids, &sequences, &rows, &targets)?;
        let lengths = sequences.iter().map(|range| range.len()).collect::<Vec<_>>();
        let (angles, first_rows) = rope_angles(config, &lengths)?;
        let mut positions = Vec::with_capacity(ids.len());
        for (first, length) in first_rows.into_iter().zip(lengths) {
            positions.extend(first..first + length as u32);
        }
        Ok(Self { ids, sequences, angles, positions: positions.into(), rows, targets })
    }

    /// Number of supervised tokens, `N`.
    pub fn supervised(&self) -> usize {
        self.targets.len()
    }
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
