//! `albacore bootstrap`: a model writes instruction data, stage after stage.

mod foretold;
mod told;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::LanguageModel;
use albacore_data::Statistics;
use albacore_data::bootstrap::{
    Ended, Prompts, Recipe, Run, SeedTask, Stage, our_seeds, read_seeds,
};
use albacore_trainer::RunFolder;
use candle_core::Device;

use crate::args::{self, Drawn};
use crate::config::{Bootstrap, Settings};
use crate::data_run::{refuse_training_run, refused, write_config};
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;
use crate::writer::Writer;
use told::Teller;

/// Runs the command.
///
/// # Errors
/// Refused if the config, the seeds, the prompts, the model or the run cannot be used; fails if
/// requests have no answer or a file cannot be written.
pub fn run(
    options: &args::Bootstrap,
    seed: Option<u64>,
    device: &Device,
    terminal: &Terminal,
) -> Result {
    let (stages, drawn) = stages(options);
    let config = Bootstrap::load(&drawn.configured(), seed)?;
    let seeds = match &config.bootstrap.seeds {
        Some(path) => read_seeds(path).or_refuse()?,
        None => our_seeds(),
    };
    let prompts = Prompts::load(config.bootstrap.prompts.as_deref()).or_refuse()?;
    let job = Job { config: &config, seeds: &seeds, prompts: &prompts, terminal };
    job.refuse_seeds()?;
    let writer = Writer { model: &config.model, server: config.server.as_ref() };
    let folder = config.run.folder();
    refuse_training_run(&folder)?;
    let stages = job.stages(stages);
    let asks = stages.iter().any(|stage| *stage != Stage::Records);
    if asks {
        writer.measure(terminal, |count_tokens, context| {
            job.foretell(&stages, count_tokens, context, drawn.dry_run)
        })?;
    } else {
        job.foretell(&[], &str::len, None, drawn.dry_run)?;
    }
    if drawn.dry_run {
        return Ok(Outcome::Done);
    }
    let stop = stop_flag(*terminal, "the answers that have come are kept")?;
    let run = |model: &dyn LanguageModel| job.run(&folder, &stages, model, &stop);
    if asks { writer.open(device, terminal, &stop, run) } else { writer.named(terminal, run) }
}

/// What was asked for: some stages, and by which options.
fn stages(options: &args::Bootstrap) -> (&'static [Stage], &Drawn) {
    let (index, drawn) = match (&options.stage, &options.all) {
        (None, Some(drawn)) => return (&Stage::ALL, drawn),
        (Some(args::Stage::Instructions(drawn)), _) => (0, drawn),
        (Some(args::Stage::Classification(drawn)), _) => (1, drawn),
        (Some(args::Stage::Instances(drawn)), _) => (2, drawn),
        (Some(args::Stage::Records(drawn)), _) => (3, drawn),
        (None, None) => unreachable!("the command line wants a config or a stage"),
    };
    (&Stage::ALL[index..=index], drawn)
}

/// What a run is made of.
struct Job<'a> {
    config: &'a Bootstrap,
    seeds: &'a [SeedTask],
    prompts: &'a Prompts,
    terminal: &'a Terminal,
}

impl Job<'_> {
    fn recipe(&self) -> Recipe<'_> {
        let Self { config, seeds, prompts, .. } = *self;
        Recipe { config: &config.bootstrap, seed: config.run.seed, seeds, prompts }
    }

    /// Of these the stages that the method has; one that was named alone is told.
    fn stages(&self, wanted: &[Stage]) -> Vec<Stage> {
        let method = self.config.bootstrap.method;
        if let [only] = wanted
            && !only.is_of(method)
        {
            let name = only.name();
            self.terminal.warn(&format!("`bootstrap.method` has no stage `{name}`: nothing to do"));
        }
        wanted.iter().copied().filter(|stage| stage.is_of(method)).collect()
    }

    /// Refuses seeds of which no prompt can be made, and names those that ROUGE-L cannot see.
    fn refuse_seeds(&self) -> Result<()> {
        if self.recipe().eligible_seeds().is_empty() {
            let message = "no seed task is one of classification, and \
                           `bootstrap.classification_only` shows no other";
            let hint = "set `is_classification` in those that are";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        let tokenization = self.config.bootstrap.tokenization();
        let wordless =
            |seed: &&SeedTask| albacore_data::is_wordless(&seed.instruction, tokenization);
        if let Some(first) = self.seeds.iter().find(wordless) {
            let all = self.seeds.iter().filter(wordless).count();
            self.terminal.warn(&format!(
                "{all} seed instructions have no ASCII letter or digit, the first in `{}`: they are like \
                 no other text; `bootstrap.unicode = true` counts words of all scripts",
                first.id
            ));
        }
        Ok(())
    }

    fn run(
        &self,
        folder: &Path,
        stages: &[Stage],
        model: &dyn LanguageModel,
        stop: &AtomicBool,
    ) -> Result {
        let mut log = RunLog::new(folder, self.terminal);
        let teller = Teller::new(self.terminal);
        let run = Run {
            folder,
            recipe: self.recipe(),
            model,
            stop: &|| stop.load(Ordering::Relaxed),
            progress: &|progress| teller.tell(&progress),
        };
        if let Some(first) = stages.first() {
            run.check(*first).or_refuse()?;
        }
        let held = RunFolder::take_bare(folder).or_refuse()?;
        log.open();
        log.say(&self.config.changed());
        write_config(held.path(), self.config)?;
        let mut all = Statistics::default();
        for &stage in stages {
            let ended = run.stage(stage).map_err(refused);
            teller.close();
            match ended? {
                Ended::Stopped => {
                    log.say(&format!(
                        "stopped in the stage `{}`: the same command goes on",
                        stage.name()
                    ));
                    return Ok(Outcome::Stopped);
                }
                Ended::Complete { statistics, warning } => {
                    log.say(&told::ended(stage, &statistics));
                    warning.iter().for_each(|warning| log.warn(warning));
                    all.join(&statistics);
                }
            }
        }
        self.terminal.print(&told::summary(folder, stages, &all, self.terminal.json)?)?;
        Ok(Outcome::Done)
    }
}
