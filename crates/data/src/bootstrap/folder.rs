//! What the folder of a run holds, for whoever looks on: nothing is locked, and nothing is changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{AlpacaRecord, Classified, Funnel, NewInstruction, PromptRecord, Rejected, Stage};
use crate::{Effort, Error, Origin, Result, Statistics, Usage, lines};

/// What a run has written so far. A file that its stage has not written yet is `None`.
#[derive(Debug)]
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
    /// What the requests of each stage took; no cost, since a journal knows no prices.
    pub requests: BTreeMap<Stage, Statistics>,
    /// The instructions that were accepted.
    pub accepted: Vec<NewInstruction>,
    /// Those that were not.
    pub rejected: Vec<Rejected>,
    /// Whether each is classification.
    pub classified: Option<Vec<Classified>>,
    /// Whether stage 3 is complete.
    pub has_instances: bool,
    /// What is kept.
    pub records: Option<Vec<AlpacaRecord>>,
    /// The same, laid out to train on.
    pub train: Option<Vec<PromptRecord>>,
    /// What is held out from it.
    pub held_out: Option<Vec<PromptRecord>>,
    /// What became of everything, when stage 4 was run last.
    pub funnel: Option<Funnel>,
}

impl RunFolder {
    /// Reads a folder, which may be in use by a run that goes on; `None` if no run has written there.
    ///
    /// # Errors
    /// If a file cannot be read, or holds something else than a run writes.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = |name: &str| folder.join(name);
        if !["requests.jsonl", "instructions.jsonl"].iter().any(|name| path(name).is_file()) {
            return Ok(None);
        }
        Ok(Some(Self {
            path: folder.into(),
            requests: requests(&path("requests.jsonl"))?,
            accepted: lines::read(&path("instructions.jsonl"))?,
            rejected: lines::read(&path("rejected.jsonl"))?,
            classified: whole(&path("classification.jsonl"))?,
            has_instances: path("instances.jsonl").is_file(),
            records: whole(&path("records.jsonl"))?,
            train: whole(&path("train.jsonl"))?,
            held_out: whole(&path("held_out.jsonl"))?,
            funnel: whole(&path("funnel.json"))?
                .and_then(|lines: Vec<Funnel>| lines.into_iter().next()),
        }))
    }

    /// The stages that have not been run to their end. `one_request` says whether tasks are written
    /// with their instances (`method = "alpaca"`), so that there are but two stages.
    pub fn missing(&self, one_request: bool) -> Vec<Stage> {
        let is_missing = |stage: &Stage| match stage {
            Stage::Instructions => self.accepted.is_empty(),
            Stage::Classification => self.classified.is_none() && !one_request,
            Stage::Instances => !self.has_instances && !one_request,
            Stage::Records => self.funnel.is_none(),
        };
        Stage::ALL.into_iter().filter(is_missing).collect()
    }

    /// What has become of everything: of stage 4 only if it has seen all instructions.
    pub fn funnel(&self) -> Funnel {
        let mut funnel = Funnel { accepted: self.accepted.len() as u64, ..Funnel::default() };
        for line in &self.rejected {
            *funnel.rejected.entry(line.rule.clone()).or_default() += 1;
        }
        funnel.written = funnel.accepted + self.rejected.len() as u64;
        let yes = self.classified.iter().flatten().filter(|line| line.is_yes()).count();
        funnel.classification = yes as u64;
        let refused = self.requests.iter().map(|(stage, took)| (*stage, took.refused));
        funnel.refused = refused.filter(|(_, refused)| *refused > 0).collect();
        match &self.funnel {
            Some(last) if last.accepted == funnel.accepted => last.clone(),
            _ => funnel,
        }
    }
}

/// The lines of a file that is written whole.
fn whole<T: DeserializeOwned>(path: &Path) -> Result<Option<Vec<T>>> {
    path.is_file().then(|| lines::read(path)).transpose()
}

/// How many requests of a journal were refused for good, by stage.
pub(super) fn refused(path: &Path) -> Result<BTreeMap<Stage, u64>> {
    let refused = requests(path)?.into_iter().map(|(stage, took)| (stage, took.refused));
    Ok(refused.filter(|(_, refused)| *refused > 0).collect())
}

/// What the answers of a journal took, by stage.
fn requests(path: &Path) -> Result<BTreeMap<Stage, Statistics>> {
    #[derive(Deserialize)]
    struct Line {
        key: String,
        completion: Option<Took>,
    }
    #[derive(Deserialize)]
    struct Took {
        usage: Usage,
        effort: Effort,
    }
    let mut found = BTreeMap::<Stage, Statistics>::new();
    if !path.is_file() {
        return Ok(found);
    }
    let failed = |error| Error::read(path, error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut line = Vec::new();
    for number in 1u32.. {
        line.clear();
        file.read_until(b'\n', &mut line).map_err(failed)?;
        // The last line may be on its way.
        if line.last() != Some(&b'\n') {
            break;
        }
        let Line { key, completion } = serde_json::from_slice(&line).map_err(|error| {
            let origin = Origin::new(path, number);
            Error::Line { origin, message: error.to_string() }
        })?;
        let stage = key.split('/').next().unwrap_or_default();
        let Some(stage) = Stage::ALL.into_iter().find(|known| known.name() == stage) else {
            continue;
        };
        let statistics = found.entry(stage).or_default();
        match completion {
            Some(Took { usage, effort }) => statistics.count(&usage, &effort),
            None => statistics.refused += 1,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    const ANSWER: &str = r#"{"key":"instructions/0/1","digest":"00","completion":{"text":"x","finish_reason":"stop","usage":{"prompt_tokens":7,"completion_tokens":3},"effort":{"attempts":2,"seconds":0.5}}}"#;
    const ACCEPTED: &str = r#"{"instruction":"Name it.","most_similar":{},"avg_similarity_score":0.1,"request_idx":0,"request":"instructions/0/1"}"#;

    #[test]
    fn a_run_under_way_is_read_up_to_its_last_whole_lines() {
        let requests = format!("{ANSWER}\n{}", &ANSWER[..40]);
        let accepted = format!("{ACCEPTED}\n{}", &ACCEPTED[..9]);
        let folder = folder(&[("requests.jsonl", &requests), ("instructions.jsonl", &accepted)]);
        let run = RunFolder::read(folder.path()).unwrap().unwrap();
        assert_eq!((run.accepted.len(), run.rejected.len()), (1, 0));
        let took = &run.requests[&Stage::Instructions];
        assert_eq!((took.answers, took.retries, took.prompt_tokens), (1, 1, 7));
        let missing = [Stage::Classification, Stage::Instances, Stage::Records];
        assert_eq!(run.missing(false), missing);
        assert_eq!(run.missing(true), missing[2..]);
        assert_eq!((run.funnel().written, run.funnel().tasks), (1, 0));
        assert_eq!(fs::read_to_string(folder.path().join("requests.jsonl")).unwrap(), requests);
    }

    #[test]
    fn a_funnel_from_before_the_newest_instructions_counts_no_more() {
        let last = Funnel { accepted: 1, tasks: 1, train: 1, ..Funnel::default() };
        let last = serde_json::to_string(&last).unwrap() + "\n";
        let one = format!("{ACCEPTED}\n");
        let now = folder(&[("instructions.jsonl", &one), ("funnel.json", &last)]);
        assert_eq!(RunFolder::read(now.path()).unwrap().unwrap().funnel().train, 1);
        let two = one.repeat(2);
        let since = folder(&[("instructions.jsonl", &two), ("funnel.json", &last)]);
        let funnel = RunFolder::read(since.path()).unwrap().unwrap().funnel();
        assert_eq!((funnel.accepted, funnel.train), (2, 0));
    }

    #[test]
    fn a_folder_without_a_run_is_none_and_a_malformed_line_is_named() {
        let none = folder(&[("train.jsonl", "{}\n")]);
        assert!(RunFolder::read(none.path()).unwrap().is_none());
        assert!(RunFolder::read(&none.path().join("nowhere")).unwrap().is_none());
        let bad = folder(&[("requests.jsonl", &format!("{ANSWER}\n{{\"key\":1}}\n"))]);
        let error = RunFolder::read(bad.path()).unwrap_err().to_string();
        assert!(error.contains("requests.jsonl:2: "), "{error}");
    }
}
