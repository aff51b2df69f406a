//! A model here reads every answer, those of a group behind one copy of their prompt: its log-probabilities rank
//! them.

use std::ops::Range;

use albacore_data::rank::{
    Counts, Likelihood, Recorded, Unranked, by_likelihood, check_settings, teacher_settings,
};
use albacore_data::{Encoded, Origin, Response, Statistics};
use candle_core::Device;

use super::{Groups, Job};
use crate::commands::score::given;
use crate::failure::{OrRefuse, Outcome, Result};
use crate::loaded::Loaded;
use crate::model_folder;
use crate::progress::Progress;
use crate::scoring::{Scoring, sum};
use crate::signals::stop_flag;
use crate::writer::identity;

impl Job<'_> {
    /// Ranks by what the model finds of each answer. It goes on after the last batch that it has read.
    pub(super) fn read_by_teacher(&self, groups: Groups, device: &Device) -> Result {
        let model = &self.config.model;
        let folder = model_folder::resolve(&model.path, self.terminal);
        let folder = folder.map_err(|failure| failure.at(model.place.as_deref()))?;
        let identity = identity(&folder).or_refuse()?;
        let run = self.config.run.folder();
        let settings = teacher_settings(&identity, &groups);
        check_settings(&run, &settings).or_refuse()?;
        let loaded = Loaded::from_folder(&folder, device)?;
        let (groups, examples) = encode(groups, &loaded);
        let scoring = Scoring::new(&examples);
        let answers = answers(&examples);
        let stop = stop_flag(*self.terminal, "what has been read is kept")?;
        let (_held, mut log) = self.take_folder()?;
        let of_batch =
            |batch| scoring.examples(batch).iter().map(|&group| &answers[group as usize]);
        let batches: Vec<Vec<u32>> = (0..scoring.batches())
            .map(|batch| of_batch(batch).cloned().flatten().collect())
            .collect();
        let mut recorded = Recorded::open(&run, &settings, &batches)?;
        let progress = Progress::new(
            self.terminal,
            "reading answers",
            recorded.len() as u64,
            batches.iter().map(Vec::len).sum::<usize>() as u64,
        );
        for (batch, numbers) in batches.iter().enumerate().skip(recorded.next_batch()) {
            if stop.load(std::sync::atomic::Ordering::Relaxed) {
                drop(progress);
                log.say("stopped: the same command goes on");
                return Ok(Outcome::Stopped);
            }
            let found =
                numbers.iter().zip(scoring.score(&loaded.model, batch)?).map(|(number, found)| {
                    let likelihood =
                        Likelihood { logprob: sum(&found), tokens: found.len() as u64 };
                    (*number as usize, likelihood)
                });
            recorded.add(&found.collect::<Vec<_>>())?;
            progress.set(recorded.len() as u64, "answers");
        }
        drop(progress);
        let found = recorded.finish().expect("every batch was read");
        let mut found = found.as_slice();
        let ranked = groups.into_iter().map(|group| {
            let group = group?;
            let (own, others) = found.split_at(group.candidates.len());
            found = others;
            by_likelihood(group, own, &self.config.rank)
        });
        let ranked = ranked.collect();
        let outcome = self.outcome(ranked, Counts::default(), &Statistics::default())?;
        self.finish(&outcome, &Statistics::default(), &mut log)
    }
}

/// The numbers of each group's answers, among those of all.
fn answers(groups: &[Encoded]) -> Vec<Range<u32>> {
    let mut end = 0;
    let numbers = groups.iter().map(|group| {
        let start = end;
        end += group.responses.len() as u32;
        start..end
    });
    numbers.collect()
}

/// The ids of the answers of every group behind their prompt, as `score --template none` has them: the
/// end-of-sequence token is read as well, but for answers that were cut off. A group with an answer that cannot
/// be encoded, or that is longer than all that the model was made for, is set aside.
fn encode(groups: Groups, loaded: &Loaded) -> (Groups, Vec<Encoded>) {
    let (tokenizer, shape) = (&loaded.tokenizer, loaded.model.config());
    let mut all = Vec::new();
    let groups = groups.into_iter().map(|group| {
        let group = group?;
        let encode = |number: usize, prompt: usize| -> anyhow::Result<Vec<u32>> {
            let candidate = &group.candidates[number];
            let mut response = tokenizer.encode(&candidate.text)?;
            let ended = response.last().is_some_and(|last| tokenizer.eos_ids().contains(last));
            if !ended && !candidate.is_truncated() {
                response.push(tokenizer.eos());
            }
            anyhow::ensure!(!response.is_empty(), "answer {number} has no tokens");
            let (tokens, most) = (prompt + response.len(), shape.context());
            anyhow::ensure!(
                tokens <= most,
                "answer {number} and its prompt have {tokens} tokens, the model was made for {most}"
            );
            Ok(response)
        };
        let encode_all = || -> anyhow::Result<Encoded> {
            let prompt = tokenizer.encode_start(&group.prompt)?;
            let numbers = 0..group.candidates.len();
            let responses = numbers.map(|number| encode(number, prompt.len()));
            let responses = responses.collect::<anyhow::Result<Vec<_>>>()?;
            let origin = Origin::new(group.id.as_str(), 0);
            let mut whole = given(&prompt, &responses.concat(), origin, shape.vocab_size())?;
            let mut start = prompt.len();
            whole.responses = responses
                .iter()
                .map(|response| {
                    let shared = Response { start, score: 0.0 };
                    start += response.len();
                    shared
                })
                .collect();
            Ok(whole)
        };
        match encode_all() {
            Ok(whole) => {
                all.push(whole);
                Ok(group)
            }
            Err(why) => {
                let why: Unranked =
                    group.unranked("an answer that the teacher cannot read", Some(why.to_string()));
                Err(why)
            }
        }
    });
    let groups = groups.collect();
    (groups, all)
}
