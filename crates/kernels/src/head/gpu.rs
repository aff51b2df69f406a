//! The head on a GPU: the same chunks as on the CPU, more rows in each, and nothing is read back.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use super::chunks::Chunks;
use super::{Softened, Softening};
use crate::device::rows::{head_gradient, head_logprob};
use crate::engine::Engine;
use crate::launch::{Address, Compute, Gpu};
use crate::storage::Like;
use crate::{Later, Parameter, Result, Tape, Value};

/// Logits that exist at one time: 256 MiB of f32.
const LOGITS: usize = 64 << 20;

/// Rows whose logits exist at one time on a GPU, for a vocabulary of `words`: a function of nothing
/// else, since the bits of the weight's gradient depend on it.
pub fn rows_at_once(words: usize) -> usize {
    (LOGITS / words.max(1)).clamp(128, 4096) / 128 * 128
}

/// As [`super::softened_logprob`], which has checked the arguments.
pub(super) fn softened_logprob<'a>(
    gpu: Arc<Engine>,
    tape: &mut Tape<'a>,
    hidden: &Value<'a>,
    weight: &'a Parameter,
    targets: &'a [u32],
    ahead: Option<Vec<f32>>,
    softening: Softening,
) -> Result<Softened<'a>> {
    let slot = hidden.slot();
    let needed = slot.is_some() || weight.is_trainable();
    let head = Head::new(gpu.clone(), hidden.tensor(), weight, targets, softening)?;
    let Some(ahead) = ahead.filter(|_| needed && tape.is_recording()) else {
        let scored = head.forward(|_, _, _| Ok(()))?;
        let [logprobs, sums] = scored.told(softening)?;
        let (Scored { softened, log_sums, .. }, kept) = (scored, tape.keep(hidden));
        let softened = tape.record(softened, needed, move |slots, gradient| {
            let head = Head::new(gpu.clone(), &kept.get()?, weight, targets, softening)?;
            let (seeds, d_hidden) = (gpu.at(&gradient)?, head.chunks.d_hidden(slot.is_some())?);
            for rows in head.chunks.iter() {
                let logits = head.chunks.logits(&rows)?;
                head.back(&rows, &logits, gpu.at(&log_sums)?, seeds, d_hidden.as_ref())?;
            }
            d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
        });
        return Ok(Softened { softened, logprobs, log_sums: sums });
    };
    let words: Vec<u32> = ahead.iter().map(|seed| seed.to_bits()).collect();
    let seeds = gpu.upload(&words)?;
    let d_hidden = head.chunks.d_hidden(slot.is_some())?;
    let scored = head.forward(|rows, logits, log_sums| {
        head.back(rows, logits, log_sums, gpu.address(&seeds), d_hidden.as_ref())
    })?;
    let [logprobs, log_sums] = scored.told(softening)?;
    // That the gradient is the one announced is checked on the CPU alone: here it would be read back.
    let softened = tape.record(scored.softened, needed, move |slots, _| {
        d_hidden.map_or(Ok(()), |d_hidden| slots.give(slot, d_hidden))
    });
    Ok(Softened { softened, logprobs, log_sums })
}

/// What is known of all rows, `(N,)` each. Where nothing is softened, the first two are the same.
struct Scored {
    softened: Tensor,
    logprobs: Tensor,
    log_sums: Tensor,
}

impl Scored {
    /// The log-probabilities and log-sums, asked for where anybody may want them.
    fn told(&self, softening: Softening) -> Result<[Later<Vec<f32>>; 2]> {
        let ask = |tensor| match softening.is_none() {
            true => Ok(Later::here(Vec::new())),
            false => Later::of(tensor, |numbers| numbers),
        };
        Ok([ask(&self.logprobs)?, ask(&self.log_sums)?])
    }
}

struct Head<'t> {
    gpu: Arc<Engine>,
    compute: Compute,
    chunks: Chunks<'t>,
    targets: <Engine as Gpu>::Memory,
    softening: Softening,
    /// Where the gradient of the logits goes if it is of another type; f32 takes their place.
    slopes: Option<Tensor>,
}

impl<'t> Head<'t> {
    fn new(
        gpu: Arc<Engine>,
        hidden: &Tensor,
        weight: &'t Parameter,
        targets: &[u32],
        softening: Softening,
    ) -> Result<Self> {
        let words = weight.value().dims()[0];
        let rows = rows_at_once(words);
        let compute = Compute::of(hidden)?;
        let chunks = Chunks::new(hidden, weight, rows)?;
        let slopes = match compute {
            Compute::F32 => None,
            Compute::Bf16 => {
                let like = Like::of(hidden).shaped((rows.min(targets.len()), words));
                // SAFETY: each chunk is written before it is read.
                Some(unsafe { like.empty()? })
            }
        };
        let targets = gpu.upload(targets)?;
        Ok(Self { gpu, compute, chunks, targets, softening, slopes })
    }

    fn targets(&self, first: usize) -> Address {
        self.gpu.address(&self.targets).after(first, 4)
    }

    /// What is known of all rows. `then(rows, logits, log_sums)` may use up each chunk of logits before the
    /// next takes its place.
    fn forward(
        &self,
        mut then: impl FnMut(&Range<usize>, &Tensor, Address) -> Result<()>,
    ) -> Result<Scored> {
        let hidden = self.chunks.hidden();
        let like = Like::of(hidden).wide().shaped(hidden.dims()[0]);
        // SAFETY: the chunks together write all of both.
        let (logprobs, log_sums) = unsafe { (like.clone().empty()?, like.clone().empty()?) };
        let softened = match self.softening.is_none() {
            true => logprobs.clone(),
            // SAFETY: the chunks together write all of it.
            false => unsafe { like.empty()? },
        };
        for rows in self.chunks.iter() {
            let logits = self.chunks.logits(&rows)?;
            let gpu = &*self.gpu;
            let place = |tensor| Ok::<_, crate::Error>(gpu.at(tensor)?.after(rows.start, 4));
            let (out, sums) = (place(&logprobs)?, place(&log_sums)?);
            let places = [out, sums, gpu.at(&logits)?, self.targets(rows.start)];
            let soft = match self.softening.is_none() {
                true => None,
                false => Some((place(&softened)?, self.softening)),
            };
            head_logprob(gpu, places, soft, rows.len(), self.chunks.words())?;
            then(&rows, &logits, gpu.at(&log_sums)?)?;
        }
        Ok(Scored { softened, logprobs, log_sums })
    }

    /// Carries the gradient of the softened log-probabilities of `rows` back; their logits are used up.
    fn back(
        &self,
        rows: &Range<usize>,
        logits: &Tensor,
        log_sums: Address, // (N,)
        seeds: Address,    // (N,)
        d_hidden: Option<&Tensor>,
    ) -> Result<()> {
        let gpu = &*self.gpu;
        let slopes = match &self.slopes {
            Some(slopes) => slopes.narrow(0, 0, rows.len())?,
            None => logits.clone(),
        };
        let (log_sums, seeds) = (log_sums.after(rows.start, 4), seeds.after(rows.start, 4));
        let targets = self.targets(rows.start);
        let places = [gpu.at(&slopes)?, gpu.at(logits)?, log_sums, seeds, targets];
        let (soft, words) = (self.softening, self.chunks.words());
        head_gradient(gpu, self.compute, places, soft, rows.len(), words)?;
        self.chunks.back(rows, &slopes, d_hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_of_logits_stays_under_its_share_of_memory() {
        assert_eq!(rows_at_once(32_000), 2048);
        assert_eq!(rows_at_once(128_256), 512);
        for words in [1, 100, 32_000, 49_152, 128_256, 256_000] {
            assert!(rows_at_once(words) * words <= LOGITS, "{words}");
        }
    }
}
