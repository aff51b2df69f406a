//! The judges of a run: each is opened in turn, and what it replies is recorded.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::{Api, Journal, LanguageModel, Statistics};
use albacore_eval::{Contestant, Judge, NoOpinion, read_contestants};
use albacore_model::ModelConfig;
use albacore_trainer::RunFolder;
use candle_core::Device;

use super::unless_failed;
use crate::args::JudgedBy;
use crate::config::{Judging, Settings, WriterConfig};
use crate::data_run::{refuse_training_run, write_config};
use crate::failure::{Failure, OrRefuse, Refusal, Result};
use crate::judged::partial;
use crate::model_folder;
use crate::prepared::tokenizer;
use crate::progress::{Progress, count};
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;
use crate::writer::Writer;

/// Reads the answers in all of these files; those of one model that stand in two are told apart by the file.
pub(super) fn read_answers(
    files: &[std::path::PathBuf],
    suite: Option<&str>,
) -> Result<Vec<Contestant>> {
    let mut found: Vec<Contestant> = Vec::new();
    for file in files {
        for mut contestant in read_contestants(file, suite).or_refuse()? {
            if found.iter().any(|other| other.name == contestant.name) {
                contestant.name = format!("{} in {}", contestant.name, file.display());
            }
            found.push(contestant);
        }
    }
    Ok(found)
}

/// Who judges.
pub(super) struct Who {
    pub(super) name: String,
    /// Else the config's server.
    is_local: bool,
}

/// The judges of the command line and the server of the config; that each exists is known.
pub(super) fn judges(by: &JudgedBy, config: &Judging, terminal: &Terminal) -> Result<Vec<Who>> {
    let local = by.judges.iter().map(|name| Who { name: name.clone(), is_local: true });
    let mut judges: Vec<_> = local.collect();
    for judge in &judges {
        model_folder::resolve(&judge.name, terminal)?;
    }
    if let Some(server) = &config.server {
        judges.push(Who { name: server.model.clone(), is_local: false });
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = judges.iter().find(|judge| !names.insert(&judge.name)) {
        let message = format!("the judge `{}` is named twice", twice.name);
        return Err(Refusal::new(message, "name each judge once")).or_refuse();
    }
    if judges.is_empty() {
        let hint = "name one by `--judge MODEL`, or a `[server]` in the config";
        return Err(Refusal::new("there is no judge", hint)).or_refuse();
    }
    Ok(judges)
}

impl Who {
    /// Opens it for `act`, which is told whether it is asked by messages.
    fn open<T>(
        &self,
        config: &Judging,
        device: &Device,
        terminal: &Terminal,
        stop: &Arc<AtomicBool>,
        act: impl FnOnce(&dyn LanguageModel, bool) -> Result<T>,
    ) -> Result<T> {
        let server = config.server.as_ref().filter(|_| !self.is_local);
        let chats = match server {
            Some(server) => server.api == Api::Chat,
            None => {
                let folder = model_folder::resolve(&self.name, terminal)?;
                let shape = ModelConfig::load(&folder).or_refuse()?;
                !tokenizer(&folder, shape.vocab_size())?.chat_templates().is_empty()
            }
        };
        let model = WriterConfig {
            path: self.name.clone(),
            concurrency: config.judge.concurrency,
            ..WriterConfig::default()
        };
        Writer { model: &model, server }.open(device, terminal, stop, |model| act(model, chats))
    }
}

/// What judges have replied.
pub(super) struct Heard<T> {
    /// Those that were asked all.
    pub(super) names: Vec<String>,
    /// What each of these said.
    pub(super) said: Vec<T>,
    /// Those that were not, and why.
    failures: Vec<(String, Failure)>,
    pub(super) statistics: Statistics,
}

impl<T> Heard<T> {
    /// Why judges are missing, by their names.
    pub(super) fn unfinished(&self) -> BTreeMap<String, String> {
        self.failures.iter().map(|(name, failure)| (name.clone(), failure.words())).collect()
    }

    /// How the command ends, once what there is was told.
    pub(super) fn end(self) -> Result {
        let all = self.names.len() + self.failures.len();
        let hint = "the same command goes on with what is missing";
        unless_failed(self.failures, all, "judges have not been asked all", Some(hint))
    }
}

/// A run folder in which judges are asked.
pub(super) struct Bench<'b> {
    config: &'b Judging,
    terminal: &'b Terminal,
    held: RunFolder,
    journal: Journal,
    log: RunLog,
    stop: Arc<AtomicBool>,
}

impl<'b> Bench<'b> {
    /// Takes hold of the run's folder. The `numbers` and `lines` of an earlier run are gone before anyone is asked: they
    /// might be of other answers.
    pub(super) fn take(
        config: &'b Judging,
        terminal: &'b Terminal,
        [numbers, lines]: [&str; 2],
    ) -> Result<Self> {
        let folder = config.run.folder();
        refuse_training_run(&folder)?;
        let mut log = RunLog::new(&folder, terminal);
        let held = RunFolder::take_bare(&folder).or_refuse()?;
        let journal = Journal::open(held.path().join("requests.jsonl")).or_refuse()?;
        log.open();
        log.say(&config.changed());
        write_config(held.path(), config)?;
        for name in [numbers, lines] {
            let path = held.path().join(name);
            if path.exists() {
                fs::remove_file(&path)?;
            }
        }
        fs::write(partial(&held.path().join(numbers)), "")?;
        let stop = stop_flag(*terminal, "the replies that have come are kept")?;
        Ok(Self { config, terminal, held, journal, log, stop })
    }

    /// The run's folder.
    pub(super) fn folder(&self) -> &Path {
        self.held.path()
    }

    /// What each judge replies, whatever becomes of the others; `None` if it was stopped.
    ///
    /// # Errors
    /// If no judge can be used, or answers everything: as the first of them failed.
    pub(super) fn ask<T>(
        &mut self,
        judges: &[Who],
        device: &Device,
        ask: impl Fn(&Judge<'_>, &mut Journal, &mut Statistics) -> albacore_eval::Result<Option<T>>,
    ) -> Result<Option<Heard<T>>> {
        let Self { config, terminal, journal, log, stop, .. } = self;
        let (mut names, mut said, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        let mut statistics = Statistics::default();
        for who in judges {
            log.say(&format!("asking the judge `{}`", who.name));
            let shown: RefCell<Option<Progress>> = RefCell::new(None);
            let asked = who.open(config, device, terminal, stop, |model, chats| {
                let judge = Judge {
                    model,
                    chats,
                    config: &config.judge,
                    seed: config.run.seed,
                    stop: &|| stop.load(Ordering::Relaxed),
                    progress: &|done, wanted| {
                        let mut shown = shown.borrow_mut();
                        // The bar of what was asked before goes first.
                        if done <= 1 {
                            *shown = None;
                        }
                        let new = || Progress::new(terminal, "replies", 0, wanted);
                        shown.get_or_insert_with(new).set(done, &who.name);
                    },
                };
                Ok(ask(&judge, journal, &mut statistics)?)
            });
            match asked {
                Ok(Some(asked)) => {
                    names.push(who.name.clone());
                    said.push(asked);
                }
                Ok(None) => {
                    log.say("stopped: the same command goes on");
                    return Ok(None);
                }
                Err(failure) => {
                    log.say(&format!("`{}` was not asked all: {}", who.name, failure.words()));
                    failures.push((who.name.clone(), failure));
                }
            }
        }
        if said.is_empty() && !failures.is_empty() {
            return Err(failures.swap_remove(0).1);
        }
        Ok(Some(Heard { names, said, failures, statistics }))
    }

    /// Says that questions to a judge were set aside, and why.
    pub(super) fn warn_of<'n>(&mut self, judge: &str, aside: impl Iterator<Item = &'n NoOpinion>) {
        let (mut failed, mut unclear) = (Vec::new(), 0);
        for why in aside {
            match why {
                NoOpinion::Failed(why) => failed.push(why),
                NoOpinion::Unclear => unclear += 1,
            }
        }
        if let Some(first) = failed.first() {
            self.log.warn(&format!(
                "`{judge}` has not answered {} questions, which count nowhere; the first: {first}",
                count(failed.len())
            ));
        }
        if unclear > 0 {
            let unclear = count(unclear);
            self.log.warn(&format!(
                "no reply of `{judge}` to {unclear} questions can be read: they count nowhere"
            ));
        }
    }
}
