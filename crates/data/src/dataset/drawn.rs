//! The examples of a mixture that are made before the first step.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Dataset, fingerprint, look_at};
use crate::cache::hex;
use crate::report::{Fate, Tally};
use crate::{Encoder, Mixture, MixtureSource, MixtureStream, Preparation, Result};

/// Examples of a mixture that are made before the first step, to look at.
const SAMPLE: usize = 512;

impl Preparation<'_> {
    /// Opens a mixture, and makes its held-out examples and the first that are trained on.
    pub(super) fn open(&self, encoder: &Encoder<'_>) -> Result<Dataset> {
        let mixture = Mixture::open(self.config, self.seed)?;
        self.try_each(encoder, &mixture)?;
        let mut tally = Tally::default();
        let mut held_out = Vec::new();
        for task in mixture.tasks() {
            for number in 0..task.held_out() {
                let drawn = task.draw_held_out(number, &|text| self.count(text))?;
                held_out.extend(tally.add(self.fate(encoder, drawn)).map(Arc::new));
            }
        }
        let mut stream =
            MixtureStream::new(MixtureSource { mixture: &mixture, preparation: *self, encoder });
        let mut train = Vec::new();
        for _ in 0..SAMPLE.min(mixture.examples()) {
            let (_, example) = stream.example()?;
            train.extend(tally.add(Fate::Kept(example)).map(Arc::new));
        }
        let mut report = tally.finish(self.config)?;
        stream.tally().dropped.iter().for_each(|dropped| report.leave_out(dropped));
        report.tasks = stream.losses_by_task();
        let all: Vec<_> = train.iter().chain(&held_out).map(Arc::as_ref).collect();
        look_at(&mut report, &all);
        let key = format!("{}{}", mixture.fingerprint(), fingerprint(&train, &held_out));
        let dataset = self.counted(train, held_out, report);
        let fingerprint = hex(&Sha256::digest(key));
        let excluded = mixture.excluded().to_vec();
        Ok(Dataset { fingerprint, mixture: Some(mixture), excluded, ..dataset })
    }
}
