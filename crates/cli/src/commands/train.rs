//! `albacore train`: everything is checked, then the run is taken hold of, then it trains.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use albacore_data::Packing;
use albacore_eval::EvalConfig;
use albacore_model::Llama;
use albacore_trainer::{
    Checkpoint, End, Evaluator, Found, METRICS, Named, Options, RunFolder, Training, TrainingData,
    find,
};
use anyhow::Context;
use candle_core::Device;
use serde_json::{Map, Value};

use crate::args::Train;
use crate::commands::dry_run;
use crate::companions;
use crate::config::{Config, Init};
use crate::evaluator::HeldOut;
use crate::failure::{Failure, OrRefuse, Outcome, Result};
use crate::prepared::Prepared;
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::summary::Summary;
use crate::terminal::Terminal;

/// Runs the command.
///
/// # Errors
/// Refused if the config, the data, the model or the run cannot be used; fails while training.
pub fn run(options: &Train, seed: Option<u64>, terminal: &Terminal) -> Result {
    let config = Config::load(&options.configured, seed)?;
    if options.dry_run {
        let prepared = Prepared::new(&config, None, terminal)?;
        let job = Job { options, config: &config, prepared: &prepared, terminal };
        return job.dry_run();
    }
    let folder = config.run.folder();
    // Refused, a run leaves nothing behind.
    let fresh: Vec<_> = folder.ancestors().take_while(|path| is_new(path)).collect();
    let run = RunFolder::take(&folder).or_refuse()?;
    let cache = folder.join(CACHE);
    let result = Prepared::new(&config, Some(&cache), terminal).and_then(|prepared| {
        Job { options, config: &config, prepared: &prepared, terminal }.train(&run)
    });
    if matches!(result, Err(Failure::Refused(_) | Failure::Problems(_))) {
        // The lock is let go last: nobody takes hold of a folder that is about to go.
        leave_nothing(&fresh);
        drop(run);
    }
    result
}

fn is_new(folder: &Path) -> bool {
    !folder.as_os_str().is_empty() && !folder.exists()
}

/// Encoded records, in the run's folder: a restart need not make them again.
const CACHE: &str = "prepared";

/// What a run is made of.
struct Job<'a> {
    options: &'a Train,
    config: &'a Config,
    prepared: &'a Prepared,
    terminal: &'a Terminal,
}

impl Job<'_> {
    fn dry_run(&self) -> Result {
        let found = find(&self.config.run.folder(), &self.options.resume).or_refuse()?;
        let options = self.trainer_options()?;
        dry_run::show(self.config, self.prepared, &options, self.data(), &found, self.terminal)
    }

    fn train(&self, run: &RunFolder) -> Result {
        let found = find(run.path(), &self.options.resume).or_refuse()?;
        let options = self.trainer_options()?;
        let mut log = RunLog::new(run.path(), self.terminal);
        self.prepared.losses().iter().for_each(|loss| log.warn(loss));
        if self.prepared.dataset.held_out.is_empty() && self.config.eval != EvalConfig::default() {
            log.warn("`[eval]` is set, but nothing is held out: set `data.held_out`");
        }
        let resumed = self.announce(&found, &options, &mut log);

        let mut model = self.model(resumed)?;
        let objective = self.config.objective.build();
        let Prepared { folder, shape, tokenizer, dataset } = self.prepared;
        let files = companions::of_training(folder, shape, tokenizer, &self.config.data.template)
            .or_refuse()?;
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

        // From here on the run is written.
        log.say(&self.config.changed());
        let path = run.path().join("config.toml");
        fs::write(&path, self.config.to_toml())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        let stop = stop_flag()?;
        let mut evaluator = HeldOut::new(
            &self.config.eval,
            tokenizer,
            &dataset.held_out,
            self.config.data.tokens_per_batch,
        );
        let measures: Option<&mut dyn Evaluator> =
            if dataset.held_out.is_empty() { None } else { Some(&mut evaluator) };
        let since = Instant::now();
        let mut outcome =
            training
                .run(measures, &|| stop.load(Ordering::Relaxed), &mut |event| log.event(&event))?;
        log.close();
        if outcome.end == End::AlreadyFinished {
            outcome.after = last_measured(run.path());
        }

        let samples = evaluator.samples;
        let summary = Summary {
            run: run.path(),
            config: self.config,
            outcome: &outcome,
            took: since.elapsed(),
            samples: &samples,
        };
        self.terminal.print(&summary.text(self.terminal.json))?;
        Ok(if outcome.end == End::Stopped { Outcome::Stopped } else { Outcome::Done })
    }

    /// Says where the run goes on, and what has changed.
    fn announce<'f>(
        &self,
        found: &'f Found,
        options: &Options,
        log: &mut RunLog,
    ) -> Option<&'f Checkpoint> {
        for skipped in &found.skipped {
            log.warn(&format!("passed over `{}`: it {}", skipped.folder.display(), skipped.reason));
        }
        let checkpoint = found.checkpoint.as_ref()?;
        let steps = options.steps_over(self.data());
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

    /// The weights to start from: those of the checkpoint, if there is one.
    fn model(&self, resumed: Option<&Checkpoint>) -> Result<Llama> {
        let Prepared { folder, shape, .. } = self.prepared;
        match (resumed, self.config.model.init) {
            (Some(checkpoint), _) => Llama::load(&checkpoint.folder, &Device::Cpu),
            (None, Init::Pretrained) => Llama::load(folder, &Device::Cpu),
            (None, Init::Random) => {
                Llama::random(shape.clone(), self.config.run.seed, &Device::Cpu)
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
            config: serde_json::to_value(self.config)?,
            defaults: serde_json::to_value(Config::default())?,
            accept_changes: self.options.accept_changes,
        })
    }

    fn data(&self) -> TrainingData<'_> {
        let Config { run, data, .. } = self.config;
        let dataset = &self.prepared.dataset;
        TrainingData {
            examples: &dataset.train,
            packing: Packing::alone(run.seed, data.tokens_per_batch, data.shuffle),
            fingerprint: &dataset.fingerprint,
        }
    }
}

/// What the last step of a run's metrics says about the held-out examples.
fn last_measured(run: &Path) -> Named {
    let text = fs::read_to_string(run.join(METRICS)).unwrap_or_default();
    let last =
        text.lines().last().and_then(|line| serde_json::from_str::<Map<_, Value>>(line).ok());
    let held_out = last.into_iter().flatten().filter(|(name, _)| name.starts_with("held_out_"));
    held_out.filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}

/// Removes folders that were made for nothing, the run's first. Whatever is not empty stays, and one
/// that cannot be removed does no harm.
fn leave_nothing(folders: &[&Path]) {
    if let Some(run) = folders.first() {
        let _ = fs::remove_dir(run.join("checkpoints"));
        let _ = fs::remove_dir_all(run.join(CACHE));
        let _ = fs::remove_file(run.join(".lock"));
    }
    for folder in folders {
        let _ = fs::remove_dir(folder);
    }
}
