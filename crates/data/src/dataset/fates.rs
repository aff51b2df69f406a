//! What becomes of a record: an example, shortened or not, or none.

use crate::report::Fate;
use crate::{BadRecord, DataConfig, Encoded, Encoder, Preparation, Record, Spans, TooLong};

impl Preparation<'_> {
    pub(crate) fn encode(&self, encoder: &Encoder<'_>, record: &Record) -> Fate {
        let DataConfig { max_tokens, too_long, .. } = self.config;
        let mut example = match encoder.encode(record) {
            Ok(example) => example,
            Err(defect) => {
                let (origin, id) = (record.origin.clone(), record.id.clone());
                return Fate::Bad(BadRecord { origin, id, defect });
            }
        };
        if example.longest_sequence() <= *max_tokens {
            return Fate::Kept(example);
        }
        if !example.responses.is_empty() {
            return self.fit_responses(example);
        }
        if *too_long != TooLong::Truncate {
            return Fate::TooLong(example.origin, example.ids.len());
        }
        let tokens = example.len();
        if !(self.tokenizer.has_encoder() && example.cut_source(*max_tokens)) {
            example.truncate(*max_tokens);
        }
        match example.supervised() {
            0 => Fate::TruncatedToNothing(example.origin, tokens),
            _ => Fate::Truncated(example),
        }
    }

    /// A prompt some of whose responses are too long: each is cut off or left out by itself. What has
    /// no two responses left has nothing to rank.
    fn fit_responses(&self, mut example: Encoded) -> Fate {
        let (longest, prompt) = (example.longest_sequence(), example.prompt().len());
        let (room, before) =
            (self.config.max_tokens.saturating_sub(prompt), example.responses.len());
        match self.config.too_long {
            TooLong::Error => return Fate::TooLong(example.origin, longest),
            TooLong::Truncate if room == 0 => {
                return Fate::TruncatedToNothing(example.origin, longest);
            }
            TooLong::Truncate => example.keep_of_responses(|_| room),
            TooLong::Drop => {
                example.keep_of_responses(
                    |response| {
                        if response.len() <= room { response.len() } else { 0 }
                    },
                );
            }
        }
        match example.responses.len() {
            0 => Fate::TooLong(example.origin, longest),
            1 if before > 1 => Fate::TooLong(example.origin, longest),
            left if left < before => Fate::Fewer(example),
            _ => Fate::Truncated(example),
        }
    }
}

/// What becomes of a text that is cut into windows: the first of them stands for the record.
pub(super) fn windows(encoder: &Encoder<'_>, spans: &Spans, record: &Record) -> Vec<Fate> {
    match spans.windows(encoder, record) {
        Ok(windows) => {
            let mut windows = windows.into_iter();
            let first = windows.next().map(Fate::Kept);
            first.into_iter().chain(windows.map(Fate::Window)).collect()
        }
        Err(defect) => {
            let (origin, id) = (record.origin.clone(), record.id.clone());
            vec![Fate::Bad(BadRecord { origin, id, defect })]
        }
    }
}
