//! `albacore eval`: models on the benchmarks of the papers, side by side.

pub mod files;
pub mod ruler;
mod score;
mod told;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::{Api, HttpModel, Journal, LanguageModel};
use albacore_eval::{
    Asking, Bootstrap, Outcome as Asked, Prefixed, Results, Ruler, Scored, SuiteOptions, Summary,
    Task, ask, first_of_each_task, flan_average, open_suite, read_prefix,
};
use albacore_trainer::RunFolder;
use candle_core::Device;

use crate::args::{Eval, EvalAction, EvalModels};
use crate::benchmarks::tell_notes;
use crate::config::{Evaluation, WriterConfig};
use crate::contamination::Contamination;
use crate::data_run::{refuse_training_run, write_config};
use crate::failure::{OrRefuse, Outcome, Refusal, Result};
use crate::model_folder;
use crate::progress::Progress;
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;
use crate::writer::Writer;

use files::Answers;
use ruler::{LocalRuler, ServerRuler};

/// Runs the command.
///
/// # Errors
/// Refused if the config, a model, a suite or the run cannot be used; fails if a model answers nothing
/// more or a file cannot be written.
pub fn run(options: &Eval, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    if let Some(EvalAction::Score(options)) = &options.action {
        return score::run(options, seed, terminal);
    }
    let options = options.models.as_ref().expect("clap wants models or an action");
    let config = Evaluation::load_if_any(options.config.as_deref(), &options.set, seed)?;
    let models = named_models(options, &config, terminal)?;
    let suites = open(options, &config)?;
    tell_notes(suites.iter().map(|suite| suite.task.name()), terminal)?;
    let contamination = contamination(options, &suites)?;
    let suites = prefixed(suites, &config)?;
    let folder = config.run.folder();
    refuse_training_run(&folder)?;
    let mut log = RunLog::new(&folder, terminal);
    let held = RunFolder::take_bare(&folder).or_refuse()?;
    let mut journal = Journal::open(held.path().join("requests.jsonl")).or_refuse()?;
    log.open();
    match &contamination {
        Some(contamination) => contamination.write(held.path())?,
        None => Contamination::remove(held.path())?,
    }
    if models.is_empty() {
        terminal.print(&told::contamination(&contamination, held.path(), terminal.json))?;
        return Ok(Outcome::Done);
    }
    write_config(held.path(), &config)?;
    let stop = stop_flag(*terminal, "the answers that have come are kept")?;
    let mut answers = Answers::begin(held.path())?;
    let mut outcomes = Vec::new();
    for model in &models {
        log.say(&format!("asking `{}`", model.name));
        let asked = model.open(&config, device, terminal, &stop, |writer, ruler| {
            let run = Run { model, writer, ruler, config: &config, stop: &stop, terminal };
            run.ask_all(&suites, &mut journal, &mut answers)
        })?;
        let Some(asked) = asked else {
            log.say("stopped: the same command goes on");
            return Ok(Outcome::Stopped);
        };
        outcomes.push(asked);
    }
    answers.end()?;
    let results = results(&models, &suites, &outcomes, &config);
    files::write_results(held.path(), &results)?;
    let table = told::table(&results, &outcomes, &contamination, held.path(), terminal.json);
    terminal.print(&table)?;
    Ok(Outcome::Done)
}

/// A suite, and which of its examples are asked.
struct Suite {
    task: Box<dyn Task>,
    examples: Vec<usize>,
}

/// Opens the suites, all of them or none.
fn open(options: &EvalModels, config: &Evaluation) -> Result<Vec<Suite>> {
    let wanted = SuiteOptions { shots: config.evaluation.shots, ..SuiteOptions::default() };
    let mut suites = Vec::new();
    let mut seen = BTreeSet::new();
    for name in &options.suites {
        let task = open_suite(name, &options.data, &wanted).or_refuse()?;
        if !seen.insert(task.name()) {
            let message = format!("`{}` is asked twice in `--suite`", task.name());
            return Err(Refusal::new(message, "name each suite once")).or_refuse();
        }
        let limit = options.limit.map(|limit| limit as usize);
        let examples = first_of_each_task(&*task, limit);
        suites.push(Suite { task, examples });
    }
    Ok(suites)
}

/// The suites with the config's prefix before every question, if it names one.
fn prefixed(suites: Vec<Suite>, config: &Evaluation) -> Result<Vec<Suite>> {
    let Some(path) = &config.evaluation.prefix else { return Ok(suites) };
    let prefix = read_prefix(path).or_refuse()?;
    let suites = suites.into_iter().map(|Suite { task, examples }| Suite {
        task: Box::new(Prefixed::new(task, &prefix)),
        examples,
    });
    Ok(suites.collect())
}

/// Which of the questions that are asked stand in the training files that were named.
fn contamination(options: &EvalModels, suites: &[Suite]) -> Result<Option<Contamination>> {
    if options.contamination.is_empty() {
        return Ok(None);
    }
    let suites = suites.iter().map(|suite| (&*suite.task, &suite.examples[..]));
    Contamination::of(&suites.collect::<Vec<_>>(), &options.contamination).map(Some)
}

/// Who is asked.
struct Model {
    name: String,
    /// Else the config's server.
    is_local: bool,
}

/// The models of the command line and the server of the config; that each exists is known.
fn named_models(
    options: &EvalModels,
    config: &Evaluation,
    terminal: &Terminal,
) -> Result<Vec<Model>> {
    let local = options.models.iter().map(|name| Model { name: name.clone(), is_local: true });
    let mut models: Vec<_> = local.collect();
    for model in &models {
        model_folder::resolve(&model.name, terminal)?;
    }
    if let Some(server) = &config.server {
        models.push(Model { name: server.model.clone(), is_local: false });
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = models.iter().find(|model| !names.insert(&model.name)) {
        let message = format!("the model `{}` is named twice", twice.name);
        return Err(Refusal::new(message, "name each model once")).or_refuse();
    }
    if models.is_empty() && options.contamination.is_empty() {
        let hint = "name a model folder, a run or a hub id, or a `[server]` in the config";
        return Err(Refusal::new("there is no model to evaluate", hint)).or_refuse();
    }
    Ok(models)
}

impl Model {
    /// Opens it for `act`.
    fn open<T>(
        &self,
        config: &Evaluation,
        device: &Device,
        terminal: &Terminal,
        stop: &Arc<AtomicBool>,
        act: impl FnOnce(&dyn LanguageModel, &dyn Ruler) -> Result<T>,
    ) -> Result<T> {
        let server = config.server.as_ref().filter(|_| !self.is_local);
        let chat = config.evaluation.chat;
        let model = WriterConfig {
            path: self.name.clone(),
            api: if chat { Api::Chat } else { Api::Completions },
            concurrency: config.evaluation.concurrency,
            place: None,
        };
        let writer = Writer { model: &model, server };
        if let Some(server) = server {
            let ruler = ServerRuler(HttpModel::new(server.clone()).or_refuse()?);
            return writer.open(device, terminal, stop, |model| act(model, &ruler));
        }
        let folder = model_folder::resolve(&self.name, terminal)?;
        let ruler = LocalRuler::open(&folder, chat)?;
        writer.open(device, terminal, stop, |model| act(model, &ruler))
    }
}

/// One model being asked.
struct Run<'r> {
    model: &'r Model,
    writer: &'r dyn LanguageModel,
    ruler: &'r dyn Ruler,
    config: &'r Evaluation,
    stop: &'r AtomicBool,
    terminal: &'r Terminal,
}

impl Run<'_> {
    /// What it makes of every suite; `None` if it was stopped.
    fn ask_all(
        &self,
        suites: &[Suite],
        journal: &mut Journal,
        answers: &mut Answers,
    ) -> Result<Option<Vec<Asked>>> {
        let mut asked = Vec::with_capacity(suites.len());
        for Suite { task, examples } in suites {
            let bar = RefCell::new(None);
            let progress = &|done, wanted| {
                let mut bar = bar.borrow_mut();
                let new = || Progress::new(self.terminal, "answers", 0, wanted);
                bar.get_or_insert_with(new).set(done, task.name());
            };
            let settings = &self.config.evaluation;
            let asking = Asking {
                model: self.writer,
                ruler: self.ruler,
                samples: settings.samples,
                temperature: settings.temperature,
                max_new_tokens: settings.max_new_tokens,
                seed: self.config.run.seed,
                stop: &|| self.stop.load(Ordering::Relaxed),
                progress,
            };
            let outcome = ask(&**task, examples, &asking, journal)?;
            let Some(outcome) = outcome else { return Ok(None) };
            answers.append(&self.model.name, &**task, &outcome)?;
            if let Some((_, why)) = outcome.unanswered.first_key_value() {
                let number = outcome.unanswered.len();
                self.terminal.warn(&format!(
                    "`{}` has not answered {number} questions of `{}`, which count nowhere; the first: {why}",
                    self.model.name,
                    task.name()
                ));
            }
            asked.push(outcome);
        }
        Ok(Some(asked))
    }
}

fn results(
    models: &[Model],
    suites: &[Suite],
    outcomes: &[Vec<Asked>],
    config: &Evaluation,
) -> Results {
    let settings = &config.evaluation;
    let (resamples, confidence) = (settings.resamples, settings.confidence);
    let mut results = Results::new(&Bootstrap { resamples, confidence, seed: config.run.seed });
    for (place, suite) in suites.iter().enumerate() {
        let of_suite = outcomes.iter().map(|outcomes| &outcomes[place]);
        let kept = of_suite.map(|outcome| {
            (outcome.scores(), outcome.unanswered.keys().copied().collect::<BTreeSet<_>>())
        });
        let kept: Vec<_> = kept.collect();
        let scored = models.iter().zip(&kept);
        let scored = scored.map(|(model, (scores, unanswered))| Scored {
            model: &model.name,
            scores,
            unanswered,
        });
        results.add(&*suite.task, &scored.collect::<Vec<_>>());
    }
    for (model, outcomes) in models.iter().zip(outcomes) {
        let scores: Vec<_> = outcomes.iter().map(Asked::scores).collect();
        let measured = suites.iter().zip(&scores).map(|(suite, scores)| (&*suite.task, scores));
        if let Some(value) = flan_average(&measured.collect::<Vec<_>>()) {
            let (suite, metric) = ("flan".to_owned(), "normalised_average".to_owned());
            results.summaries.push(Summary { model: model.name.clone(), suite, metric, value });
        }
    }
    results
}
