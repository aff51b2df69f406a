//! `albacore eval`: models on the benchmarks of the papers, side by side.

mod bench;
pub mod files;
mod held_out;
mod judge;
mod models;
mod published;
mod rate;
pub mod ruler;
mod score;
mod suites;
mod told;
mod told_judged;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::{Journal, LanguageModel};
use albacore_eval::{
    Asking, Bootstrap, Outcome as Asked, Prompts, Results, Ruler, Scored, Scores, Summary, Terms,
    Unanswered, ask, flan_average,
};
use albacore_trainer::RunFolder;
use candle_core::Device;

use crate::args::{Eval, EvalAction, EvalModels};
use crate::benchmarks::tell_notes;
use crate::config::Evaluation;
use crate::contamination::Contamination;
use crate::data_run::{refuse_training_run, write_config};
use crate::failure::{Failure, OrRefuse, Outcome, Refusal, Result};
use crate::progress::Progress;
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;

use files::Answers;
use models::Model;
use suites::Suite;

/// Runs the command.
///
/// # Errors
/// Refused if the config, a model, a suite or the run cannot be used, or if a model cannot be asked a suite:
/// nothing is then asked. Fails if a model answers nothing more, after the others were asked and the table is
/// written, or if a file cannot be written.
pub fn run(options: &Eval, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    match &options.action {
        Some(EvalAction::Score(options)) => return score::run(options, seed, terminal),
        Some(EvalAction::Judge(options)) => return judge::run(options, seed, device, terminal),
        Some(EvalAction::Rate(options)) => return rate::run(options, seed, device, terminal),
        Some(EvalAction::HeldOut(options)) => {
            return held_out::run(options, seed, device, terminal);
        }
        None => {}
    }
    let options = options.models.as_ref().expect("clap wants models or an action");
    let is_check = options.models.is_empty() && !options.contamination.is_empty();
    let name = if is_check { "contamination" } else { "eval" };
    let config = Evaluation::load_if_any(options.config.as_deref(), &options.set, seed, name)?;
    let models = models::named(options, &config, terminal)?;
    let suites = suites::open(options, &config)?;
    for model in &models {
        model.check(&suites, &config, terminal)?;
    }
    tell_notes(suites.iter().map(|suite| suite.task.name()), terminal)?;
    let terms = suites::terms(options, &config, &suites);
    let folder = config.run.folder();
    refuse_training_run(&folder)?;
    files::refuse_other_terms(&folder, &terms)?;
    if !models.is_empty() {
        let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
        files::refuse_lost_models(&folder, &names)?;
    }
    let contamination = contamination(options, &suites)?;
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
    files::begin(held.path(), &terms)?;
    let stop = stop_flag(*terminal, "the answers that have come are kept")?;
    let mut answers = Answers::begin(held.path())?;
    let (mut kept, mut failures) = (Vec::new(), BTreeMap::new());
    for model in &models {
        log.say(&format!("asking `{}`", model.name));
        let mut of_model = Vec::new();
        let ended = model.open(&config, device, terminal, &stop, |writer, ruler| {
            let run = Run { model, writer, ruler, config: &config, stop: &stop, terminal };
            run.ask_all(&suites, &mut journal, &mut answers, &mut of_model)
        });
        kept.push(of_model);
        match ended {
            Ok(Outcome::Done) => {}
            Ok(Outcome::Stopped) => {
                log.say("stopped: the same command goes on");
                return Ok(Outcome::Stopped);
            }
            Err(failure) => {
                log.say(&format!("`{}` was not asked all: {}", model.name, failure.words()));
                failures.insert(model.name.clone(), failure);
            }
        }
    }
    if kept.iter().all(Vec::is_empty)
        && let Some((_, failure)) = failures.pop_first()
    {
        return Err(failure.while_running());
    }
    answers.end()?;
    let results = results(&models, &suites, &kept, &config, terms, &failures);
    files::write_results(held.path(), &results)?;
    let table = told::table(&results, &contamination, held.path(), terminal.json);
    terminal.print(&table)?;
    let hint = "the same command goes on with what is missing";
    unless_failed(failures, models.len(), "models have not been asked all", Some(hint))
}

/// Says who is not in the table that was printed, and why: so many of `all`.
fn unless_failed(
    failures: impl IntoIterator<Item = (String, Failure)>,
    all: usize,
    what: &str,
    hint: Option<&str>,
) -> Result {
    let told = failures.into_iter();
    let told = told.map(|(name, failure)| format!("`{name}`: {}", failure.words()));
    let told: Vec<_> = told.collect();
    if told.is_empty() {
        return Ok(Outcome::Done);
    }
    let message = format!("{} of {all} {what}: {}", told.len(), told.join("; "));
    let hint = hint.map(str::to_owned);
    Err(Failure::Failed(Refusal { message, hint }.into()))
}

/// Which of the questions that are asked stand in the training files that were named.
fn contamination(options: &EvalModels, suites: &[Suite]) -> Result<Option<Contamination>> {
    if options.contamination.is_empty() {
        return Ok(None);
    }
    let suites = suites.iter().map(|suite| (&*suite.task, &suite.examples[..]));
    Contamination::of(&suites.collect::<Vec<_>>(), &options.contamination).map(Some)
}

/// What is needed of a model's answers to a suite, once they are written.
struct Kept {
    scores: BTreeMap<usize, Scores>,
    unanswered: BTreeSet<usize>,
    prompts: Prompts,
}

impl Kept {
    fn new(model: &str, suite: &str, asked: &Asked) -> Self {
        let count = |is: fn(&albacore_eval::Answered) -> bool| {
            asked.answered.iter().filter(|answered| is(answered)).count()
        };
        Self {
            scores: asked.scores(),
            unanswered: asked.unanswered.keys().copied().collect(),
            prompts: Prompts {
                model: model.to_owned(),
                suite: suite.to_owned(),
                answered: asked.answered.len(),
                unanswered: asked.unanswered.len(),
                dropped: count(|answered| answered.dropped > 0),
                cut: count(|answered| answered.is_cut),
                unstopped: asked.unstopped,
            },
        }
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
    /// What it makes of every suite, in `kept` as far as it came.
    fn ask_all(
        &self,
        suites: &[Suite],
        journal: &mut Journal,
        answers: &mut Answers,
        kept: &mut Vec<Kept>,
    ) -> Result {
        for Suite { task, examples, .. } in suites {
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
                chat: settings.chat,
                lmentry_cut: settings.lmentry_cut,
                seed: self.config.run.seed,
                stop: &|| self.stop.load(Ordering::Relaxed),
                progress,
            };
            let outcome = ask(&**task, examples, &asking, journal)?;
            let Some(outcome) = outcome else { return Ok(Outcome::Stopped) };
            answers.append(&self.model.name, &**task, &outcome)?;
            if let Some((_, Unanswered { why, .. })) = outcome.unanswered.first_key_value() {
                let number = outcome.unanswered.len();
                self.terminal.warn(&format!(
                    "`{}` has not answered {number} questions of `{}`, which count nowhere; the first: {why}",
                    self.model.name,
                    task.name()
                ));
            }
            kept.push(Kept::new(&self.model.name, task.name(), &outcome));
        }
        Ok(Outcome::Done)
    }
}

/// The table of all models, each as far as it came.
fn results(
    models: &[Model],
    suites: &[Suite],
    kept: &[Vec<Kept>],
    config: &Evaluation,
    terms: Terms,
    failures: &BTreeMap<String, Failure>,
) -> Results {
    let settings = &config.evaluation;
    let (resamples, confidence) = (settings.resamples, settings.confidence);
    let mut results = Results::new(&Bootstrap { resamples, confidence, seed: config.run.seed });
    results.terms = Some(terms);
    results.models = models.iter().map(|model| model.name.clone()).collect();
    let words = failures.iter().map(|(model, failure)| (model.clone(), failure.words()));
    results.unfinished = words.collect();
    results.prompts = kept.iter().flatten().map(|kept| kept.prompts.clone()).collect();
    for (place, suite) in suites.iter().enumerate() {
        let scored = models.iter().zip(kept).filter_map(|(model, kept)| {
            let Kept { scores, unanswered, .. } = kept.get(place)?;
            Some(Scored { model: &model.name, scores, unanswered })
        });
        results.add(&*suite.task, &scored.collect::<Vec<_>>());
    }
    for (model, kept) in models.iter().zip(kept) {
        let measured = suites.iter().zip(kept).map(|(suite, kept)| (&*suite.task, &kept.scores));
        if let Some(value) = flan_average(&measured.collect::<Vec<_>>()) {
            let (suite, metric) = ("flan".to_owned(), "normalised_average".to_owned());
            results.summaries.push(Summary { model: model.name.clone(), suite, metric, value });
        }
    }
    results
}
