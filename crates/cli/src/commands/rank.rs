//! `albacore rank`: the answers to each prompt are put in order.

mod teacher;
mod told;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::candidates::{RankedRecord, read_candidates, read_rankings};
use albacore_data::rank::{
    self, Counts, Group, Judge, JudgePrompts, Judged, RankKind, Unranked, by_demonstration,
    by_own_likelihood, by_reference, by_scores, check_settings, groups, hold_settings,
    plain_settings, read_scores,
};
use albacore_data::{Api, Error, LanguageModel, Statistics, Template};
use albacore_trainer::RunFolder;
use candle_core::Device;

use crate::args;
use crate::config::{Rank, Settings};
use crate::data_run::{refuse_training_run, refused, write_config};
use crate::failure::{OrRefuse, Outcome, Result};
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;
use crate::writer::Writer;

/// Groups that can be ranked, and sets that cannot.
type Groups = Vec<Result<Group, Unranked>>;

/// Runs the command.
///
/// # Errors
/// Refused if the config, the candidates, the scores, the model or the run cannot be used, or nothing can
/// be ranked; fails if requests have no answer or a file cannot be written.
pub fn run(
    options: &args::Rank,
    seed: Option<u64>,
    device: &Device,
    terminal: &Terminal,
) -> Result {
    let mut config = Rank::load(&options.configured, seed)?;
    if options.against.is_some() {
        config.rank.against.clone_from(&options.against);
    }
    if config.idle_model() {
        terminal.warn("`[model]` and `[server]` are not asked: `rank.kind` needs neither");
    }
    let idle = config.rank.idle();
    if !idle.is_empty() {
        let keys: Vec<_> = idle.iter().map(|key| format!("`rank.{key}`")).collect();
        terminal.warn(&format!("{} is of another `rank.kind`, and not looked at", keys.join(", ")));
    }
    refuse_training_run(&config.run.folder())?;
    let (groups, counts, other) = read(&config).or_refuse()?;
    let job = Job { config: &config, other: other.as_deref(), counts, terminal };
    if config.rank.asks() {
        return job.judge(groups, device, options.dry_run);
    }
    if options.dry_run {
        terminal.print(&told::foretold(&config, &groups, terminal.json))?;
        return Ok(Outcome::Done);
    }
    if config.rank.reads() {
        return job.read_by_teacher(groups, device);
    }
    job.at_once(groups)
}

/// The candidates, how many of their answers were left out, and the ranking to compare with.
fn read(config: &Rank) -> Result<(Groups, Counts, Option<Vec<RankedRecord>>), Error> {
    let rank = &config.rank;
    let template = Template::without_model(&rank.template)?.unwrap_or(Template::None);
    let mut opened = read_candidates(&rank.candidates, &template)?;
    if let (RankKind::Scores, Some(path)) = (rank.kind, &rank.scores) {
        read_scores(path, &mut opened.sets, rank)?;
    }
    let other = rank.against.as_ref().map(|path| read_rankings(path, &template)).transpose()?;
    let (groups, counts) = groups(rank, opened.sets);
    Ok((groups, counts, other))
}

/// What is to be done.
struct Job<'j> {
    config: &'j Rank,
    other: Option<&'j [RankedRecord]>,
    /// What was left out of the sets.
    counts: Counts,
    terminal: &'j Terminal,
}

impl Job<'_> {
    /// A ranking that asks nobody: what cannot be ranked is known before anything is touched.
    fn at_once(&self, groups: Groups) -> Result {
        let rank = &self.config.rank;
        let ranked = groups.into_iter().map(|group| match rank.kind {
            RankKind::Reference => by_reference(group?, rank),
            RankKind::Demonstration => by_demonstration(group?),
            RankKind::Scores => by_scores(group?),
            RankKind::Probabilistic | RankKind::Contextual => by_own_likelihood(group?, rank),
        });
        let outcome = self.outcome(ranked.collect(), Counts::default(), &Statistics::default());
        let outcome = outcome.or_refuse()?;
        let (folder, settings) = (self.config.run.folder(), plain_settings(rank.kind));
        check_settings(&folder, &settings).or_refuse()?;
        let (_held, mut log) = self.take_folder()?;
        hold_settings(&folder, &settings)?;
        self.finish(&outcome, &Statistics::default(), &mut log)
    }

    fn judge(&self, groups: Groups, device: &Device, dry_run: bool) -> Result {
        let config = self.config;
        let prompts = JudgePrompts::load(config.rank.prompts.as_deref()).or_refuse()?;
        let writer = Writer { model: &config.model, server: config.server.as_ref() };
        let groups = writer.measure(self.terminal, |count_tokens, context| {
            let measured = told::Measured::of(config, &prompts, groups, count_tokens, context)?;
            if dry_run {
                self.terminal.print(&measured.text(config, self.terminal.json))?;
            }
            Ok(measured.groups)
        })?;
        if dry_run {
            return Ok(Outcome::Done);
        }
        let stop = stop_flag(*self.terminal, "the replies that have come are kept")?;
        writer.open(device, self.terminal, &stop, |model| self.ask(groups, &prompts, model, &stop))
    }

    fn ask(
        &self,
        groups: Groups,
        prompts: &JudgePrompts,
        model: &dyn LanguageModel,
        stop: &AtomicBool,
    ) -> Result {
        let config = self.config;
        let folder = config.run.folder();
        let shown = RefCell::new(None);
        let api = config.server.as_ref().map_or(config.model.api, |server| server.api);
        let judge = Judge {
            folder: &folder,
            config: &config.rank,
            seed: config.run.seed,
            prompts,
            model,
            chats: api == Api::Chat,
            stop: &|| stop.load(Ordering::Relaxed),
            progress: &|progress| told::tell(&shown, progress, self.terminal),
        };
        judge.check().or_refuse()?;
        let (_held, mut log) = self.take_folder()?;
        let judged = judge.run(groups).map_err(refused);
        drop(shown.take());
        match judged? {
            Judged::Stopped => {
                log.say("stopped: the same command goes on");
                Ok(Outcome::Stopped)
            }
            Judged::Complete(groups, counts, took) => {
                rank::write_unranked(&folder, &groups)?;
                let outcome = self.outcome(groups, counts, &took)?;
                self.finish(&outcome, &took, &mut log)
            }
        }
    }

    fn outcome(
        &self,
        groups: Groups,
        counts: Counts,
        took: &Statistics,
    ) -> Result<rank::Outcome, Error> {
        let Counts { empty, merged, .. } = self.counts;
        let counts = Counts { empty, merged, ..counts };
        rank::Outcome::new(groups, self.config.rank.original, counts, took, self.other)
    }

    /// Takes hold of the run's folder, and writes its config there.
    fn take_folder(&self) -> Result<(RunFolder, RunLog)> {
        let folder = self.config.run.folder();
        let mut log = RunLog::new(&folder, self.terminal);
        let held = RunFolder::take_bare(&folder).or_refuse()?;
        log.open();
        log.say(&self.config.changed());
        write_config(held.path(), self.config)?;
        Ok((held, log))
    }

    fn finish(&self, outcome: &rank::Outcome, took: &Statistics, log: &mut RunLog) -> Result {
        rank::write(&self.config.run.folder(), outcome)?;
        if let Some(warning) = told::warning(&outcome.summary) {
            log.warn(&warning);
        }
        self.terminal.print(&told::summary(
            self.config,
            &outcome.summary,
            took,
            self.terminal.json,
        ))?;
        self.terminal.advise(&told::next(self.config))?;
        Ok(Outcome::Done)
    }
}
