//! Span corruption (Raffel et al., 2020, section 3.1.4): text as a task for an encoder and a decoder.
//!
//! Some spans of a text are taken out; the source has a sentinel in the place of each, and the target has
//! each sentinel with what stood there:
//!
//! ```text
//!  text    Thank you for inviting me to your party last week
//!  mask              ─── ────────              ────
//!  source  Thank you <0> me to your party <1> week </s>
//!  target  <0> for inviting <1> last </s>
//! ```
//!
//! Texts are joined, 128 at a time and as they follow each other, and then cut into windows, so that all
//! windows but the last of them are full: as seqio's `reduce_concat_tokens` and `split_tokens` do. Nothing
//! stands between two texts; seqio puts no EOS there either.
//!
//! Which tokens are taken is drawn as seqio's `random_spans_noise_mask` draws it, from our own stream: a
//! function of the seed, the pass over the data and the place of the example. How many, and so every length,
//! follows from the text's length alone.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::random::Random;
use crate::{Body, Defect, Encoded, Encoder, Origin, Reason, Record, Tokenizer};

/// Texts that are joined before they are cut, as seqio joins them.
const JOINED: usize = 128;

/// What is taken out of a text, and what stands in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    density: f64,
    mean_length: f64,
    /// Tokens of a window of text.
    window: usize,
    /// How many texts are joined before they are cut.
    joined: usize,
    /// `<extra_id_0>` and those that follow.
    sentinels: Vec<u32>,
    eos: u32,
}

/// Why a text cannot be corrupted so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSpans {
    /// The tokenizer has fewer sentinels than a window has spans.
    Sentinels {
        /// How many it has.
        found: usize,
        /// How many spans a window has.
        wanted: usize,
    },
    /// Source and target of a window are longer than an example may be.
    TooLong {
        /// Tokens of the source.
        source: usize,
        /// Tokens of the target.
        target: usize,
        /// The most that an example may have.
        max_tokens: usize,
    },
}

impl fmt::Display for NoSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sentinels { found, wanted } => write!(
                f,
                "the tokenizer has {found} sentinels (`<extra_id_0>`, …), wanted {wanted}, one for each \
                 span of a text\nhint: span corruption needs a T5's tokenizer; a smaller \
                 `objective.inputs_length` has fewer spans"
            ),
            Self::TooLong { source, target, max_tokens } => write!(
                f,
                "`objective.inputs_length` makes sources of {source} tokens and targets of {target}, more \
                 together than the {max_tokens} of `data.max_tokens`\nhint: raise `data.max_tokens` to {}",
                source + target
            ),
        }
    }
}

impl Spans {
    /// Spans of `mean_length` tokens on average that hold `density` of each window; texts are joined and cut
    /// into windows whose sources have at most `inputs_length` tokens.
    ///
    /// # Errors
    /// If a window has more spans than the tokenizer has sentinels, or makes an example of more than
    /// `max_tokens`.
    pub fn new(
        density: f64,
        mean_length: f64,
        inputs_length: usize,
        max_tokens: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self, NoSpans> {
        let sentinel = |number: usize| {
            let name = format!("<extra_id_{number}>");
            // mT5's stand in its vocabulary with the mark of a word's beginning.
            tokenizer.id(&name).or_else(|| tokenizer.id(&format!("\u{2581}{name}")))
        };
        let sentinels = (0..).map_while(sentinel).collect::<Vec<_>>();
        let (window, joined, eos) = (2, JOINED, tokenizer.eos());
        let spans = Self { density, mean_length, window, joined, sentinels, eos };
        let spans = Self { window: spans.window_of(inputs_length), ..spans };
        let [noise, kept] = spans.counts(spans.window);
        let wanted = spans.count(noise, kept);
        if wanted > spans.sentinels.len() {
            return Err(NoSpans::Sentinels { found: spans.sentinels.len(), wanted });
        }
        let (source, target) = (kept + wanted + 1, noise + wanted + 1);
        match source + target > max_tokens {
            true => Err(NoSpans::TooLong { source, target, max_tokens }),
            false => Ok(spans),
        }
    }

    /// The same of each text by itself, without those beside it.
    pub fn of_each_alone(self) -> Self {
        Self { joined: 1, ..self }
    }

    /// How many texts are joined before they are cut.
    pub(crate) fn joined(&self) -> usize {
        self.joined
    }

    /// The most tokens of text whose source, with its sentinels and EOS, has at most `inputs_length`: as
    /// seqio's `random_spans_helper`.
    fn window_of(&self, inputs_length: usize) -> usize {
        let source = |tokens: usize| {
            let noise = (tokens as f64 * self.density).round_ties_even();
            tokens as f64 - noise + (noise / self.mean_length).round_ties_even() + 1.0
        };
        let mut tokens = inputs_length.saturating_sub(1);
        while source(tokens + 1) <= inputs_length as f64 {
            tokens += 1;
        }
        tokens.max(2)
    }

    /// How many tokens are taken out of a text of `length`, and how many stay: at least one of each.
    fn counts(&self, length: usize) -> [usize; 2] {
        let noise = (length as f64 * self.density).round_ties_even() as usize;
        let noise = noise.clamp(1, length - 1);
        [noise, length - noise]
    }

    /// How many spans that is.
    fn count(&self, noise: usize, kept: usize) -> usize {
        let spans = (noise as f64 / self.mean_length).round_ties_even() as usize;
        spans.clamp(1, noise.min(kept))
    }

    /// Whether each token of a text is taken out. Tokens that stay and that are taken are each cut into as
    /// many spans, of random lengths above 0; those that stay come first.
    fn mask(&self, length: usize, random: &mut Random) -> Vec<bool> {
        let [noise, kept] = self.counts(length);
        let spans = self.count(noise, kept);
        let noise = segments(noise, spans, random);
        let kept = segments(kept, spans, random);
        let spans = kept.into_iter().zip(noise);
        let mask = spans.flat_map(|(kept, noise)| {
            std::iter::repeat_n(false, kept).chain(std::iter::repeat_n(true, noise))
        });
        mask.collect()
    }

    /// A text as source and target. `place` is the example's in its pass.
    fn corrupt(&self, text: &Encoded, seed: u64, epoch: u64, place: usize) -> Encoded {
        let mut random = Random::new(seed, "spans", (epoch << 32) ^ place as u64);
        let mask = self.mask(text.ids.len(), &mut random);
        let mut sentinels = self.sentinels.iter();
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for (place, (&id, &is_noise)) in text.ids.iter().zip(&mask).enumerate() {
            if is_noise {
                if place == 0 || !mask[place - 1] {
                    let sentinel = *sentinels.next().expect("there is one for each span");
                    source.push(sentinel);
                    target.push(sentinel);
                }
                target.push(id);
            } else {
                source.push(id);
            }
        }
        let mut out = Encoded::empty(text.origin.clone());
        source.into_iter().chain([self.eos]).for_each(|id| out.push(id, false, Reason::Prompt));
        target.into_iter().for_each(|id| out.push(id, true, Reason::Answer));
        out.push(self.eos, true, Reason::AnswerEnd);
        out
    }

    /// The text that source and target were made of.
    fn restore(&self, example: &Encoded) -> Encoded {
        let is_sentinel = |id: &u32| self.sentinels.contains(id);
        let learned = example.learned.iter().position(|learned| *learned);
        let (source, target) = example.ids.split_at(learned.unwrap_or(example.ids.len()));
        let mut noise = target[..target.len().saturating_sub(1)].split(is_sentinel).skip(1);
        let mut text = Encoded::empty(example.origin.clone());
        for id in &source[..source.len().saturating_sub(1)] {
            let ids = match is_sentinel(id) {
                true => noise.next().unwrap_or_default(),
                false => std::slice::from_ref(id),
            };
            ids.iter().for_each(|&id| text.push(id, true, Reason::Text));
        }
        text
    }

    /// An example of the first pass as a later one has it: the same text with other spans taken out of
    /// it, and the same lengths. `place` is the example's in the data.
    pub fn redrawn(&self, example: &Encoded, seed: u64, epoch: u64, place: usize) -> Encoded {
        self.corrupt(&self.restore(example), seed, epoch, place)
    }

    /// Texts as the first pass has them.
    pub(crate) fn first_pass(&self, texts: &[Arc<Encoded>], seed: u64) -> Vec<Arc<Encoded>> {
        let texts = texts.iter().enumerate();
        texts.map(|(place, text)| Arc::new(self.corrupt(text, seed, 0, place))).collect()
    }

    /// Texts that are held out: as they are here for the whole run, and apart from what is trained on.
    pub(crate) fn held_out(&self, texts: &[Arc<Encoded>], seed: u64) -> Vec<Arc<Encoded>> {
        self.first_pass(texts, !seed)
    }

    /// A record's text.
    pub(crate) fn text(&self, encoder: &Encoder<'_>, record: &Record) -> Result<Vec<u32>, Defect> {
        let Body::Text { text } = &record.body else {
            let template = "objective.kind = span_corruption".to_owned();
            return Err(Defect::Misfit { record: record.body.name(), template });
        };
        let ids = encoder.tokenizer.encode(text)?;
        let position = ids.iter().position(|id| self.sentinels.contains(id));
        match position {
            Some(position) => {
                let token = encoder.tokenizer.token(ids[position]);
                Err(Defect::Sentinel { position, token })
            }
            None => Ok(ids),
        }
    }

    /// The windows of joined texts, each with the number of the text that it begins in; what would be a
    /// window of one token is left out.
    pub(crate) fn windows(&self, texts: &[(&Origin, Vec<u32>)]) -> Vec<(usize, Encoded)> {
        let all = texts.iter().enumerate();
        let all: Vec<(usize, u32)> =
            all.flat_map(|(number, (_, ids))| ids.iter().map(move |id| (number, *id))).collect();
        let windows = all.chunks(self.window).filter(|tokens| tokens.len() > 1).map(|tokens| {
            let number = tokens[0].0;
            let mut window = Encoded::empty(texts[number].0.clone());
            tokens.iter().for_each(|&(_, id)| window.push(id, true, Reason::Text));
            (number, window)
        });
        windows.collect()
    }

    /// Everything that decides the windows.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(format!("{self:?}")).into()
    }
}

/// Lengths above 0 of `count` segments of `items` things: every way to cut them is equally likely.
fn segments(items: usize, count: usize, random: &mut Random) -> Vec<usize> {
    let mut begins = vec![false; items - 1];
    begins[..count - 1].fill(true);
    random.shuffle(&mut begins);
    let mut lengths = vec![1];
    for begins in begins {
        match lengths.last_mut() {
            Some(length) if !begins => *length += 1,
            _ => lengths.push(1),
        }
    }
    lengths
}
