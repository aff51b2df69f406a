//! `albacore train`: everything is checked, then the run is taken hold of, then it trains.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use albacore_data::{MixtureSource, Packing, TemplateChoice};
use albacore_eval::{EvalConfig, Metric};
use albacore_model::Model;
use albacore_trainer::{
    Checkpoint, End, Evaluator, Found, METRICS, Named, Options, RunConfig, RunFolder, State,
    Training, TrainingData, find, idle_examples, suits,
};
use anyhow::Context;
use candle_core::Device;
use serde_json::{Map, Value};

use crate::args::Train;
use crate::benchmarks::tell_notes;
use crate::commands::dry_run;
use crate::companions;
use crate::config::{Config, Init, Settings};
use crate::device;
use crate::evaluator::{HeldOut, Measures};
use crate::failure::{Failure, OrRefuse, Outcome, Result};
use crate::prepared::Prepared;
use crate::profile::Profile;
use crate::progress::count;
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::suites::Suites;
use crate::summary::Summary;
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config, the data, the model or the run cannot be used; fails while training.
pub fn run(options: &Train, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    let mut config = Config::load(&options.configured, seed)?;
    device::suits(&config, options.profile, device)?;
    let precision = device::precision(config.train.precision, device);
    if !device.is_cpu() {
        config.train.precision = Some(precision);
    }
    let profile = options.profile.then(|| Profile::new(device));
    let folder = config.run.folder();
    // Refused or not meant, a run leaves nothing behind.
    let fresh = fresh(&folder);
    let run = RunFolder::take(&folder).or_refuse()?;
    let cache = (!options.dry_run).then(|| folder.join(CACHE));
    let result = Prepared::new(&config, cache.as_deref(), terminal).and_then(|prepared| {
        let preparation = prepared.preparation(&config);
        let encoder = prepared.encoder(&preparation)?;
        let mixture = prepared.dataset.mixture.as_ref().zip(encoder.as_ref());
        let mixture =
            mixture.map(|(mixture, encoder)| MixtureSource { mixture, preparation, encoder });
        let job = Job { options, config: &config, prepared: &prepared, mixture, device, terminal };
        job.train(&run, profile)
    });
    if options.dry_run || matches!(result, Err(Failure::Refused(_) | Failure::Problems(_))) {
        // The lock is let go last: nobody takes hold of a folder that is about to go.
        leave_nothing(&folder, &fresh);
        drop(run);
    }
    result
}

/// Encoded records, in the run's folder: a restart need not make them again.
const CACHE: &str = "prepared";
/// Where the run's folder is held.
const LOCK: &str = ".lock";

/// What a run makes before its first step and that is not there yet, what lies inside first.
fn fresh(run: &Path) -> Vec<PathBuf> {
    let inside = [CACHE, "checkpoints", LOCK].map(|name| run.join(name));
    let around = run.ancestors().take_while(|path| !path.as_os_str().is_empty());
    let paths = inside.into_iter().chain(around.map(Path::to_owned));
    paths.filter(|path| !path.exists()).collect()
}

/// What a run is made of.
struct Job<'a> {
    options: &'a Train,
    config: &'a Config,
    prepared: &'a Prepared,
    mixture: Option<MixtureSource<'a>>,
    device: &'a Device,
    terminal: &'a Terminal,
}

impl Job<'_> {
    fn train(&self, run: &RunFolder, mut profile: Option<Profile>) -> Result {
        let found = find(run.path(), &self.options.resume).or_refuse()?;
        let options = self.trainer_options()?;
        let mut log = RunLog::new(run.path(), self.terminal);
        self.prepared.losses().iter().for_each(|loss| log.warn(loss));
        let held_out_only = self.config.eval.suites.is_empty();
        let is_set = held_out_only && self.config.eval != EvalConfig::default();
        if self.prepared.dataset.held_out.is_empty() && is_set {
            log.warn("`[eval]` is set, but nothing is held out: set `data.held_out`");
        }
        let Config { eval, run: RunConfig { seed, .. }, .. } = self.config;
        let suites = Suites::open(eval, run.path(), &self.prepared.folder, *seed)?;
        suites.iter().for_each(|suites| log.say(&suites.told()));
        tell_notes(eval.suites.iter().map(String::as_str), self.terminal)?;
        let objective = self.config.objective.build();
        let problems = suits(objective.as_ref(), &self.prepared.dataset.train);
        if !problems.is_empty() {
            return Err(albacore_trainer::Error::Config { problems }).or_refuse();
        }
        let examples = &self.prepared.dataset.train;
        let idle = idle_examples(objective.as_ref(), examples);
        if idle > 0 {
            log.warn(&format!(
                "{} of {} examples have one answer, from which `objective.kind` learns nothing: it compares",
                count(idle),
                count(examples.len()),
            ));
        }
        let steps = options.steps_over(self.data());
        let resumed = self.announce(&found, &options, steps, &mut log);
        if self.options.dry_run {
            // Before anything large is in memory, this says how much that will be.
            let packing = self.data().packing;
            let on_gpu = !self.device.is_cpu();
            let Self { config, prepared, terminal, .. } = *self;
            dry_run::show(config, prepared, packing, steps, resumed, on_gpu, terminal)?;
        }
        let may_be_longer = match resumed {
            Some(checkpoint) => self.may_be_longer(&options, &checkpoint.state)?,
            None => true,
        };

        let mut model = self.model(resumed)?;
        let Prepared { folder, shape, tokenizer, dataset, .. } = self.prepared;
        // Texts with spans taken out have no template.
        let template = match self.prepared.spans {
            Some(_) => &TemplateChoice::None,
            None => &self.config.data.template,
        };
        let files = companions::of_training(folder, shape, tokenizer, template).or_refuse()?;
        let training = Training::new(
            run,
            &mut model,
            self.data(),
            objective.as_ref(),
            files,
            options,
            resumed,
        )
        .or_refuse()?;
        if self.options.dry_run {
            return Ok(Outcome::Done);
        }

        // From here on the run is written.
        log.say(&self.config.changed());
        if training.step() < training.steps() {
            self.write_config(run.path())?;
        }
        let stop = stop_flag(*self.terminal, "this step is finished and saved first")?;
        if let (0, Some(suites)) = (training.step(), &suites) {
            suites.look_into(&self.config.data.sources, &mut log)?;
        }
        let held_out = HeldOut::new(
            &self.config.eval,
            tokenizer,
            &dataset.held_out,
            self.config.data.tokens_per_batch,
            objective.needs_groups(),
            self.terminal,
        );
        let mut evaluator = Measures { held_out, suites, stop: stop.clone(), failure: None };
        let measures: Option<&mut dyn Evaluator> =
            if evaluator.is_idle() { None } else { Some(&mut evaluator) };
        let since = Instant::now();
        let mut profiled = Ok(());
        let mut outcome =
            training.run(measures, &|| stop.load(Ordering::Relaxed), &mut |event| {
                log.event(&event);
                if let (Some(profile), Ok(())) = (&mut profile, &profiled) {
                    profiled = profile.event(&event);
                }
            })?;
        log.close();
        if let Some(failure) = evaluator.failure {
            return Err(failure);
        }
        if outcome.end == End::AlreadyFinished {
            outcome.after = last_measured(run.path());
        }

        let samples = evaluator.held_out.samples;
        let summary = Summary {
            run: run.path(),
            config: self.config,
            outcome: &outcome,
            may_be_longer,
            took: since.elapsed(),
            samples: &samples,
        };
        self.terminal.print(&summary.text(self.terminal.json))?;
        self.terminal.advise(&summary.next())?;
        if let Some(mut profile) = profile {
            profiled?;
            self.terminal.print(&profile.text(self.terminal.json)?)?;
        }
        Ok(if outcome.end == End::Stopped { Outcome::Stopped } else { Outcome::Done })
    }

    /// Says where the run goes on, and what has changed.
    fn announce<'f>(
        &self,
        found: &'f Found,
        options: &Options,
        steps: u64,
        log: &mut RunLog,
    ) -> Option<&'f Checkpoint> {
        let warmup = self.config.schedule.warmup_steps;
        if warmup > 0 && warmup >= steps {
            log.warn(&format!(
                "`schedule.warmup_steps` is {warmup}, and the run has {steps} steps: the learning \
                 rate never reaches `optim.learning_rate`"
            ));
        }
        for skipped in &found.skipped {
            log.warn(&format!("passed over `{}`: it {}", skipped.folder.display(), skipped.reason));
        }
        let checkpoint = found.checkpoint.as_ref()?;
        log.say(&format!(
            "going on from `{}`, step {} of {steps}",
            checkpoint.folder.display(),
            checkpoint.state.step
        ));
        let fingerprint = &self.prepared.dataset.fingerprint;
        for difference in options.differences(&checkpoint.state, steps, fingerprint) {
            // Without leave, those that alter the training are refused in a moment.
            match difference.alters {
                None => log.say(&format!("changed: {difference}")),
                Some(_) if options.accept_changes => log.warn(&format!("changed: {difference}")),
                Some(_) => {}
            }
        }
        Some(checkpoint)
    }

    /// Whether more steps could follow those of a checkpoint, and the learning rates of these would
    /// have been the same.
    fn may_be_longer(&self, options: &Options, saved: &State) -> Result<bool> {
        let (mut config, steps) = (self.config.clone(), 2 * saved.step);
        (config.train.steps, config.train.epochs) = (Some(steps), None);
        let train = config.train.clone();
        let longer = Options { train, config: serde_json::to_value(config)?, ..options.clone() };
        let fingerprint = &self.prepared.dataset.fingerprint;
        let differences = longer.differences(saved, steps, fingerprint);
        Ok(differences.iter().all(|difference| difference.alters.is_none()))
    }

    /// Writes the config beside the run; what was there stays until all of it is written.
    fn write_config(&self, run: &Path) -> Result<()> {
        let (path, partial) = (run.join("config.toml"), run.join("config.toml.partial"));
        let written = fs::write(&partial, self.config.to_toml());
        let renamed = written.and_then(|()| fs::rename(&partial, &path));
        Ok(renamed.with_context(|| format!("cannot write `{}`", path.display()))?)
    }

    /// The weights to start from: those of the checkpoint, if there is one.
    fn model(&self, resumed: Option<&Checkpoint>) -> Result<Model> {
        let Prepared { folder, shape, .. } = self.prepared;
        match (resumed, self.config.model.init) {
            (Some(checkpoint), _) => Model::load(&checkpoint.folder, &Device::Cpu),
            (None, Init::Pretrained) => Model::load(folder, &Device::Cpu),
            (None, Init::Random) => {
                Model::random(shape.clone(), self.config.run.seed, &Device::Cpu)
            }
        }
        .or_refuse()
    }

    fn trainer_options(&self) -> Result<Options> {
        let Config { optim, schedule, train, checkpoint, eval, .. } = self.config.clone();
        Ok(Options {
            optim,
            schedule,
            train,
            checkpoint,
            evaluate_every: eval.every as u64,
            measures_held_out: eval.metrics.contains(&Metric::Loss),
            config: serde_json::to_value(self.config)?,
            defaults: serde_json::to_value(Config::default())?,
            gpu: (!self.device.is_cpu()).then(|| self.device.clone()),
            accept_changes: self.options.accept_changes,
        })
    }

    fn data(&self) -> TrainingData<'_> {
        let Config { run, data, .. } = self.config;
        let dataset = &self.prepared.dataset;
        TrainingData {
            examples: &dataset.train,
            mixture: self.mixture,
            held_out: &dataset.held_out,
            packing: Packing::alone(run.seed, data.tokens_per_batch, data.shuffle),
            fingerprint: &dataset.fingerprint,
            spans: self.prepared.spans.as_ref(),
        }
    }
}

/// What the last step of a run's metrics says about the held-out examples and the suites.
pub fn last_measured(run: &Path) -> Named {
    let text = fs::read_to_string(run.join(METRICS)).unwrap_or_default();
    let last =
        text.lines().last().and_then(|line| serde_json::from_str::<Map<_, Value>>(line).ok());
    let is_measured = |name: &str| name.starts_with("held_out_") || name.starts_with("suite_");
    let measured = last.into_iter().flatten().filter(|(name, _)| is_measured(name));
    measured.filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}

/// Removes what was made for nothing. A folder that is not empty stays, and one that cannot be
/// removed does no harm.
fn leave_nothing(run: &Path, fresh: &[PathBuf]) {
    for path in fresh {
        let _ = if *path == run.join(CACHE) {
            fs::remove_dir_all(path)
        } else if *path == run.join(LOCK) {
            fs::remove_file(path)
        } else {
            fs::remove_dir(path)
        };
    }
}
