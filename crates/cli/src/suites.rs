//! The suites that a model is asked while it is trained.
//!
//! ```text
//!  RUN/evaluation/  requests.jsonl   every answer, known by the weights that gave it
//!                   answers.jsonl    every question with its answer and score, of `step 0`, `step 500`, …
//!                   results.json     the table: the first measurement beside the newest
//! ```
//! It is the folder of an evaluation, so `albacore report` makes a page of it. The model that is trained
//! answers by itself: there is no second copy of its weights. It is asked as `albacore eval` asks by
//! default, and comes to the same numbers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use albacore_data::{Journal, SourceConfig, Tokenizer};
use albacore_eval::{
    Asking, Bootstrap, EvalConfig, EvaluationConfig, Outcome, Part, Results, Scored, Scores,
    SuiteOptions, Task, Unanswered, ask, first_of_each_task, open_suite,
};
use albacore_model::{Capacity, Dtype, Model, save};
use albacore_trainer::Named;
use anyhow::Context;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::commands::eval::files::{lines, write_results};
use crate::commands::eval::ruler::LocalRuler;
use crate::contamination::Contamination;
use crate::failure::{OrRefuse, Result};
use crate::local_model::LocalModel;
use crate::progress::{Progress, count};
use crate::run_log::RunLog;
use crate::terminal::Terminal;

/// The folder inside a run.
const FOLDER: &str = "evaluation";

/// A suite, and which of its examples are asked.
struct Suite {
    task: Box<dyn Task>,
    examples: Vec<usize>,
    /// The examples that are asked, by task and id.
    numbers: HashMap<(String, String), usize>,
}

impl Suite {
    fn open(name: &str, config: &EvalConfig) -> Result<Self> {
        let task = open_suite(name, &config.data, &SuiteOptions::default()).or_refuse()?;
        let examples = first_of_each_task(&*task, config.limit);
        let numbers = examples.iter().map(|&number| {
            let example = &task.examples()[number];
            ((example.task.clone(), example.id.clone()), number)
        });
        Ok(Self { numbers: numbers.collect(), examples, task })
    }
}

/// What is asked of a model in training.
pub struct Suites {
    suites: Vec<Suite>,
    folder: PathBuf,
    settings: EvaluationConfig,
    seed: u64,
    ruler: LocalRuler,
}

/// Scores by step, and the examples that had no answer then.
type Measured = BTreeMap<u64, (BTreeMap<usize, Scores>, BTreeSet<usize>)>;

impl Suites {
    /// Opens the suites of a config; `None` if it names none. `model` is the folder with the tokenizer.
    ///
    /// # Errors
    /// Refused if a suite's files are missing or malformed.
    pub fn open(config: &EvalConfig, run: &Path, model: &Path, seed: u64) -> Result<Option<Self>> {
        if config.suites.is_empty() {
            return Ok(None);
        }
        let suites = config.suites.iter().map(|name| Suite::open(name, config));
        let suites = suites.collect::<Result<Vec<_>>>()?;
        let settings = EvaluationConfig::default();
        let ruler = LocalRuler::open(model, settings.chat)?;
        Ok(Some(Self { suites, folder: run.join(FOLDER), settings, seed, ruler }))
    }

    /// What will be asked each time.
    pub fn told(&self) -> String {
        let each = self
            .suites
            .iter()
            .map(|suite| format!("{} of `{}`", count(suite.examples.len()), suite.task.name()));
        format!("questions each time: {}", each.collect::<Vec<_>>().join(", "))
    }

    /// Says which of the questions stand in the training data, and writes them beside the answers. Files whose
    /// texts cannot be looked at are named.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn look_into(&self, sources: &[SourceConfig], log: &mut RunLog) -> Result<()> {
        let questions: Vec<_> =
            self.suites.iter().map(|suite| (&*suite.task, &suite.examples[..])).collect();
        let files: Vec<_> = sources.iter().map(|source| source.path.clone()).collect();
        let (found, unread) = Contamination::as_far_as_read(&questions, &files);
        for error in unread {
            log.warn(&format!(
                "whether questions stand in all training data is not known: {error}"
            ));
        }
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make folder `{}`", self.folder.display()))?;
        found.write(&self.folder)?;
        match (found.found.is_empty(), found.without_text.is_empty()) {
            (true, true) => log.say(&found.about()),
            (true, false) => log.warn(&found.about()),
            (false, _) => log.warn(&format!(
                "{}: see `{}/contamination.jsonl`",
                found.about(),
                self.folder.display()
            )),
        }
        Ok(())
    }

    /// Asks the model as it is after `step` steps, and writes what it came to. Values by name, in percent:
    /// `suite_mmlu_accuracy`. `None` if it was stopped: the answers until then are kept.
    ///
    /// # Errors
    /// If the model cannot answer, or a file cannot be written.
    pub fn measure(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        step: u64,
        stop: &Arc<AtomicBool>,
        terminal: &Terminal,
    ) -> Result<Option<Named>> {
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot make folder `{}`", self.folder.display()))?;
        let mut journal = Journal::open(self.folder.join("requests.jsonl"))?;
        let mut writer = LocalModel::over(&named(step), model, tokenizer, Capacity::of(model))?;
        writer.identify(identity(model)?);
        writer.stop_when(stop.clone());
        let mut outcomes = Vec::with_capacity(self.suites.len());
        for Suite { task, examples, .. } in &self.suites {
            let wanted = if task.reasons() { self.settings.samples } else { 1 } * examples.len();
            let bar = Progress::new(terminal, "answers", 0, wanted as u64);
            let progress = &|done, _| bar.set(done, task.name());
            let asking = Asking {
                model: &writer,
                ruler: &self.ruler,
                samples: self.settings.samples,
                temperature: self.settings.temperature,
                max_new_tokens: self.settings.max_new_tokens,
                chat: self.settings.chat,
                lmentry_cut: self.settings.lmentry_cut,
                seed: self.seed,
                stop: &|| stop.load(Ordering::Relaxed),
                progress,
            };
            let Some(outcome) = ask(&**task, examples, &asking, &mut journal)? else {
                return Ok(None);
            };
            if let Some((_, Unanswered { why, .. })) = outcome.unanswered.first_key_value() {
                terminal.warn(&format!(
                    "step {step}: {} questions of `{}` have no answer, and count nowhere; the first: {why}",
                    count(outcome.unanswered.len()),
                    task.name()
                ));
            }
            outcomes.push(outcome);
        }
        journal.sync()?;
        let measured = self.write_answers(step, &outcomes)?;
        let results = self.results(&measured);
        write_results(&self.folder, &results)?;
        Ok(Some(values(&results, &named(step))))
    }

    /// Writes the answers behind those of earlier steps, and tells the scores of all. What later steps had
    /// answered is of a course of training that was left.
    fn write_answers(&self, step: u64, outcomes: &[Outcome]) -> Result<Vec<Measured>> {
        let path = self.folder.join("answers.jsonl");
        let partial = self.folder.join("answers.jsonl.partial");
        let cannot = || format!("cannot write `{}`", path.display());
        let mut measured = vec![Measured::new(); self.suites.len()];
        let mut out = BufWriter::new(File::create(&partial).with_context(cannot)?);
        for line in earlier(&path, step)? {
            let (text, step, line) = line?;
            self.add_earlier(step, &line, &mut measured);
            writeln!(out, "{text}").with_context(cannot)?;
        }
        for ((suite, outcome), measured) in self.suites.iter().zip(outcomes).zip(&mut measured) {
            for line in lines(&named(step), &*suite.task, outcome) {
                writeln!(out, "{line}").with_context(cannot)?;
            }
            let unanswered = outcome.unanswered.keys().copied().collect();
            measured.insert(step, (outcome.scores(), unanswered));
        }
        out.into_inner()
            .map_err(|error| error.into_error())
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .with_context(cannot)?;
        Ok(measured)
    }

    /// Takes the scores of an answer of an earlier step, if its question is still asked.
    fn add_earlier(&self, step: u64, line: &Value, measured: &mut [Measured]) {
        let of = |suite: &Suite| line["suite"] == suite.task.name();
        let Some(place) = self.suites.iter().position(of) else { return };
        let Suite { task, numbers, .. } = &self.suites[place];
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let Some(&number) = numbers.get(&(text("task"), text("id"))) else { return };
        let (scores, unanswered) = measured[place].entry(step).or_default();
        match line["extracted"].as_str() {
            Some(extracted) => {
                // Their names are those of a score; their values stay as they were told.
                let told = task.score(number, extracted).into_iter();
                let told = told
                    .map(|(name, score)| (name, line["scores"][name].as_f64().unwrap_or(score)));
                scores.insert(number, told.collect());
            }
            None => {
                unanswered.insert(number);
            }
        }
    }

    /// The first measurement beside the newest: all between them are in the run's curves.
    fn results(&self, measured: &[Measured]) -> Results {
        let EvaluationConfig { resamples, confidence, .. } = self.settings;
        let mut results = Results::new(&Bootstrap { resamples, confidence, seed: self.seed });
        for (Suite { task, .. }, measured) in self.suites.iter().zip(measured) {
            let (first, newest) = (measured.first_key_value(), measured.last_key_value());
            let mut shown: Vec<_> = first.into_iter().chain(newest).collect();
            shown.dedup_by_key(|(step, _)| **step);
            let names: Vec<_> = shown.iter().map(|(step, _)| named(**step)).collect();
            let scored = shown
                .iter()
                .zip(&names)
                .map(|((_, (scores, unanswered)), model)| Scored { model, scores, unanswered });
            results.add(&**task, &scored.collect::<Vec<_>>());
        }
        results
    }
}

/// What a measurement is called in answers and tables.
fn named(step: u64) -> String {
    format!("step {step}")
}

/// The whole suites' numbers of one measurement.
fn values(results: &Results, model: &str) -> Named {
    let whole = results.rows.iter().filter(|row| row.model == model && row.part == Part::Suite);
    let others = results.summaries.iter().filter(|summary| summary.model == model);
    let whole =
        whole.filter_map(|row| Some((format!("suite_{}_{}", row.suite, row.metric), row.percent?)));
    let others =
        others.map(|other| (format!("suite_{}_{}", other.suite, other.metric), other.value));
    whole.chain(others).collect()
}

/// The lines of a file of answers that were given before `step`: the text, the step and the object.
fn earlier(
    path: &Path,
    step: u64,
) -> Result<impl Iterator<Item = Result<(String, u64, Value)>> + use<>> {
    let file = match File::open(path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("cannot read `{}`", path.display()))
                .into());
        }
    };
    let path = path.to_owned();
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).lines());
    let objects = lines.map(move |line| -> Result<_> {
        let text = line.with_context(|| format!("cannot read `{}`", path.display()))?;
        let object = serde_json::from_str::<Value>(&text)
            .with_context(|| format!("`{}` holds a line that is none of ours", path.display()))?;
        let of = object["model"].as_str().and_then(|model| model.strip_prefix("step "));
        let of = of.and_then(|of| of.parse().ok());
        Ok((text, of, object))
    });
    Ok(objects.filter_map(move |line| match line {
        Ok((text, Some(of), object)) if of < step => Some(Ok((text, of, object))),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// What an answer follows from beside its question: every weight.
fn identity(model: &Model) -> Result<String> {
    struct Digesting(Sha256);
    impl Write for Digesting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut digest = Digesting(Sha256::new());
    let weights = save::entries(model.parameters(), Dtype::F32)?;
    save::write_safetensors(&mut digest, Path::new("a digest"), &weights)?;
    Ok(digest.0.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect())
}
