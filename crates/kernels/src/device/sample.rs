//! The twin of the choice of the next tokens.

use crate::launch::{Address, Gpu, Launch, arguments, blocks};
use crate::{Choice, Result};

/// Words of a choice in the table: `Choice` of sample.cu.
const WORDS: usize = 12;

/// The table as the kernel reads it: the choices, and the tokens that each row is penalised for; those
/// that are counted with their counts.
pub(crate) fn table(choices: &[Choice], vocabulary: usize) -> Vec<u32> {
    let (mut words, mut penalised) = (Vec::new(), Vec::new());
    for choice in choices {
        let seen = if choice.repetition_penalty == 1.0 { &[] } else { choice.seen };
        let first_seen = choices.len() * WORDS + penalised.len();
        penalised.extend_from_slice(seen);
        let counted = if choice.counts() { choice.counted } else { &[] };
        let first_counted = choices.len() * WORDS + penalised.len();
        penalised.extend(counted.iter().flat_map(|&(id, times)| [id, times]));
        words.extend([
            choice.repetition_penalty.to_bits(),
            choice.temperature.to_bits(),
            // All of them need no search for the last one.
            if choice.top_k < vocabulary { choice.top_k as u32 } else { 0 },
            choice.top_p.to_bits(),
            choice.draw as u32,
            (choice.draw >> 32) as u32,
            first_seen as u32,
            // The counted ones follow those seen.
            first_counted as u32,
            choice.presence_penalty.to_bits(),
            choice.frequency_penalty.to_bits(),
            first_counted as u32,
            counted.len() as u32,
        ]);
    }
    words.extend(penalised);
    words
}

/// Writes the chosen id of each row to `chosen`; logits of seen tokens are penalised in place.
pub(crate) fn choose(
    gpu: &impl Gpu,
    [chosen, logits, table]: [Address; 3],
    rows: usize,
    vocabulary: usize,
) -> Result<()> {
    gpu.launch(Launch {
        file: "sample",
        kernel: "choose".to_owned(),
        grid: [blocks(rows, 1), 1],
        threads: 256,
        shared: 0,
        arguments: arguments![chosen, logits, table, vocabulary as u32],
    })
}
