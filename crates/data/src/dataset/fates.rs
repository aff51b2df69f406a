//! What becomes of a record: an example, shortened or not, or none.

use std::collections::BTreeMap;
use std::path::Path;

use crate::report::Fate;
use crate::{
    BadRecord, DataConfig, Defect, Drawn, Encoded, Encoder, Error, Origin, Preparation, Record,
    SourceConfig, Spans, StreamTally, TooLong,
};

impl Preparation<'_> {
    /// What becomes of what a task gives.
    pub(crate) fn fate(&self, encoder: &Encoder<'_>, drawn: Drawn) -> Fate {
        match drawn {
            Drawn::Record(record) => self.encode(encoder, &record),
            Drawn::Bad(bad) => Fate::Bad(bad),
            Drawn::NoRoom(origin, tokens) => Fate::NoRoom(origin, allowed_for(tokens)),
        }
    }

    /// How many tokens a text has.
    pub(crate) fn count(&self, text: &str) -> Result<usize, Defect> {
        self.tokenizer.encode(text).map(|ids| ids.len())
    }

    pub(crate) fn encode(&self, encoder: &Encoder<'_>, record: &Record) -> Fate {
        let DataConfig { max_tokens, too_long, .. } = self.config;
        let mut example = match encoder.encode(record) {
            Ok(example) => example,
            Err(defect) => return bad(record, defect),
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

/// The `max_tokens` that leaves so many tokens to an input and its exemplars: 15 of 16, unless a source says it.
pub(super) fn allowed_for(tokens: usize) -> usize {
    tokens + tokens.saturating_sub(1) / 15
}

/// What becomes of texts that are joined and cut into windows: the first window that begins in a text stands
/// for its record.
pub(super) fn windows(encoder: &Encoder<'_>, spans: &Spans, records: &[Record]) -> Vec<Fate> {
    let (mut fates, mut texts) = (Vec::new(), Vec::new());
    for record in records {
        match spans.text(encoder, record) {
            Ok(ids) => texts.push((&record.origin, ids)),
            Err(defect) => fates.push(bad(record, defect)),
        }
    }
    let windows = spans.windows(&texts);
    if windows.is_empty() {
        // Too short even together.
        let tokens = texts.iter().map(|(_, ids)| ids.len()).sum();
        let short = |(origin, _): &(&Origin, _)| {
            let (origin, id, defect) = ((*origin).clone(), None, Defect::ShortText { tokens });
            Fate::Bad(BadRecord { origin, id, defect })
        };
        fates.extend(texts.iter().map(short));
        return fates;
    }
    let mut windows = windows.into_iter().peekable();
    for (number, (origin, _)) in texts.iter().enumerate() {
        let mut its = std::iter::from_fn(|| windows.next_if(|(begins, _)| *begins == number));
        let first = its.next().map(|(_, window)| Fate::Kept(window));
        fates.push(first.unwrap_or_else(|| Fate::Joined((*origin).clone())));
        fates.extend(its.map(|(_, window)| Fate::Window(window)));
    }
    fates
}

/// The tasks of a source, each a file, of which nothing is left.
pub(super) fn tasks_without_examples(source: &SourceConfig, fates: &[Fate]) -> Vec<Error> {
    let mut tallies: BTreeMap<&Path, StreamTally> = BTreeMap::new();
    for fate in fates {
        let Some(origin) = fate.origin() else { continue };
        let tally = tallies.entry(&origin.file).or_default();
        tally.drawn += 1;
        match fate.loss() {
            Some((reason, origin)) => tally.drop(reason, origin),
            None => tally.kept += 1,
        }
    }
    let empty = tallies.into_iter().filter(|(_, tally)| tally.kept == 0);
    let error = |(file, tally): (&Path, StreamTally)| {
        let its = fates.iter().filter(|fate| fate.origin().is_some_and(|at| *at.file == *file));
        let long = its.filter_map(|fate| match fate {
            Fate::TooLong(_, tokens) => Some(*tokens),
            _ => None,
        });
        Error::NothingOfTask {
            name: source.name_of(file),
            tried: tally.drawn,
            examples: tally.drawn,
            found: tally.losses(),
            shortest: long.min(),
            cure: None,
        }
    };
    empty.map(error).collect()
}

fn bad(record: &Record, defect: Defect) -> Fate {
    let (origin, id) = (record.origin.clone(), record.id.clone());
    Fate::Bad(BadRecord { origin, id, defect })
}
