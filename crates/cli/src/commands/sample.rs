//! `albacore sample`: a model answers every prompt several times, in ways that differ.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use albacore_data::sample::{Asked, Ended, Foretold, Progress, Prompts, Run, Sampled};
use albacore_data::{HttpModel, LanguageModel, Statistics, Tokenizer};
use albacore_model::ModelConfig;
use albacore_trainer::RunFolder;
use candle_core::Device;
use serde_json::json;

use crate::args::Drawn;
use crate::config::{Sample, Settings};
use crate::data_run::{cost, refuse_training_run, refused, took, write_config};
use crate::failure::{OrRefuse, Outcome, Result};
use crate::model_folder;
use crate::prepared::tokenizer;
use crate::program::program;
use crate::progress::{self, count};
use crate::run_log::RunLog;
use crate::signals::stop_flag;
use crate::terminal::Terminal;
use crate::writer::Writer;

/// Runs the command.
///
/// # Errors
/// Refused if the config, the prompts, the model or the run cannot be used; fails if requests have no
/// answer or a file cannot be written.
pub fn run(options: &Drawn, seed: Option<u64>, device: &Device, terminal: &Terminal) -> Result {
    let config = Sample::load(&options.configured(), seed)?;
    refuse_training_run(&config.run.folder())?;
    let reader = Reader::open(&config, terminal)?;
    let prompts = Prompts::read(&config.data, reader.tokenizer(), config.run.seed, &|text| {
        reader.refuses(text)
    });
    let Prompts { asked, dropped } = prompts.or_refuse()?;
    if let Some(first) = dropped.first() {
        terminal.warn(&format!(
            "left out {} records that cannot be asked, the first: {first}",
            count(dropped.len())
        ));
    }
    if options.dry_run {
        let foretold = Run::foretell(&config.sample, &asked, &|text| reader.count(text));
        terminal.print(&foretell(&config, &asked, &foretold, terminal.json))?;
        return Ok(Outcome::Done);
    }
    drop(reader);
    let writer = Writer { model: &config.model, server: config.server.as_ref() };
    let stop = stop_flag(*terminal, "the answers that have come are kept")?;
    writer.open(device, terminal, &stop, |model| sample(&config, &asked, model, &stop, terminal))
}

/// Who counts the tokens of prompts, before weights are read.
enum Reader {
    /// A model here: its tokenizer, and the most that it was made for.
    Local(Box<Tokenizer>, usize),
    Server(Box<HttpModel>),
}

impl Reader {
    fn open(config: &Sample, terminal: &Terminal) -> Result<Self> {
        if let Some(server) = &config.server {
            return Ok(Self::Server(HttpModel::new(server.clone()).or_refuse()?.into()));
        }
        let folder = model_folder::resolve(&config.model.path, terminal);
        let folder = folder.map_err(|failure| failure.at(config.model.place.as_deref()))?;
        let shape = ModelConfig::load(&folder).or_refuse()?;
        let tokenizer = tokenizer(&folder, shape.vocab_size())?;
        Ok(Self::Local(tokenizer.into(), shape.context()))
    }

    fn tokenizer(&self) -> Option<&Tokenizer> {
        match self {
            Self::Local(tokenizer, _) => Some(tokenizer),
            Self::Server(_) => None,
        }
    }

    fn count(&self, text: &str) -> usize {
        match self {
            Self::Local(tokenizer, _) => {
                tokenizer.encode_start(text).map_or(text.len(), |ids| ids.len())
            }
            Self::Server(model) => model.count_tokens(text),
        }
    }

    /// Why a prompt cannot be asked.
    fn refuses(&self, text: &str) -> Option<String> {
        let Self::Local(tokenizer, context) = self else { return None };
        match tokenizer.encode_start(text) {
            Ok(ids) if ids.len() < *context => None,
            Ok(ids) => Some(format!(
                "the prompt has {} tokens, wanted fewer than the {context} that the model was made for",
                ids.len()
            )),
            Err(defect) => Some(defect.to_string()),
        }
    }
}

fn sample(
    config: &Sample,
    asked: &[Asked],
    model: &dyn LanguageModel,
    stop: &AtomicBool,
    terminal: &Terminal,
) -> Result {
    let folder = config.run.folder();
    let mut log = RunLog::new(&folder, terminal);
    let shown = RefCell::new(None);
    let run = Run {
        folder: &folder,
        config: &config.sample,
        seed: config.run.seed,
        prompts: asked,
        model,
        stop: &|| stop.load(Ordering::Relaxed),
        progress: &|progress| tell(&shown, progress, terminal),
    };
    run.check().or_refuse()?;
    let held = RunFolder::take_bare(&folder).or_refuse()?;
    log.open();
    log.say(&config.changed());
    write_config(held.path(), config)?;
    let ended = run.run().map_err(refused);
    drop(shown.take());
    match ended? {
        Ended::Stopped => {
            log.say("stopped: the same command goes on");
            Ok(Outcome::Stopped)
        }
        Ended::Complete(sampled, statistics) => {
            terminal.print(&summary(config, &sampled, &statistics, terminal.json))?;
            terminal.advise(&next(config))?;
            Ok(Outcome::Done)
        }
    }
}

/// The bar of a round, and which it is.
type Shown = Option<(usize, progress::Progress, Instant, u64)>;

fn tell(shown: &RefCell<Shown>, now: Progress, terminal: &Terminal) {
    let mut shown = shown.borrow_mut();
    if shown.as_ref().is_none_or(|(round, ..)| *round != now.round) {
        // The bar of the round before goes first.
        *shown = None;
        let bar = progress::Progress::new(terminal, "answers", now.done, now.total);
        *shown = Some((now.round, bar, Instant::now(), now.done));
    }
    let Some((_, bar, began, before)) = shown.as_ref() else { return };
    let rate = (now.done - before) as f64 / began.elapsed().as_secs_f64().max(1e-3);
    bar.set(now.done, &format!("round {}, {rate:.1} requests/s", now.round + 1));
}

fn foretell(config: &Sample, asked: &[Asked], foretold: &Foretold, as_json: bool) -> String {
    let Foretold { requests, prompt_tokens, completion_tokens, rounds } = *foretold;
    let cost = cost(config.server.as_ref(), prompt_tokens, completion_tokens);
    let first = asked.first().map_or("", |asked| asked.prompt.as_str());
    if as_json {
        let (least, most) = cost.unzip();
        return json!({
            "run": config.run.folder(), "prompt": first, "requests": requests,
            "prompt_tokens": prompt_tokens, "most_completion_tokens": completion_tokens,
            "most_rounds": rounds, "least_cost": least, "cost_of_as_many": most,
        })
        .to_string();
    }
    let number = |n: u64| count(n as usize);
    let mut text = format!(
        "── the first prompt ──\n{}\n\n\
         {} requests, {} tokens of prompts, at most {} of answers, in the first round; sets that are alike are asked \
         again, at most {rounds} rounds in all.\n",
        first.trim_end(),
        number(requests),
        number(prompt_tokens),
        number(completion_tokens),
    );
    if let Some((least, most)) = cost {
        text +=
            &format!("Cost of that round: {least:.2} to {most:.2}, by the prices in `[server]`.\n");
    }
    text + "Nothing was asked or written.\n"
}

fn summary(config: &Sample, sampled: &Sampled, statistics: &Statistics, as_json: bool) -> String {
    let folder = config.run.folder();
    if as_json {
        return json!({ "run": folder, "summary": sampled, "statistics": statistics }).to_string();
    }
    let mut text = format!("{}\n", took(statistics));
    let mut line = |number: usize, what: &str| text += &format!("{:>9}  {what}\n", count(number));
    line(sampled.prompts, "prompts");
    for (round, number) in sampled.accepted.iter().enumerate() {
        line(*number, &format!("sets accepted in round {}", round + 1));
    }
    line(
        sampled.not_diverse,
        "sets not as diverse as was wanted: the most diverse of all rounds is kept",
    );
    let rare = [
        (sampled.refused as usize, "requests refused for what they ask"),
        (sampled.incomplete, "sets with fewer answers than were wanted"),
        (sampled.with_duplicates, "sets with an answer that stands in them twice"),
        (sampled.truncated, "answers that were cut off at `sample.max_tokens`"),
        (sampled.without_logprobs, "answers without log-probabilities"),
    ];
    rare.into_iter()
        .filter(|(number, _)| *number > 0)
        .for_each(|(number, what)| line(number, what));
    text + &format!(
        "mean ROUGE-L of two answers to a prompt: {:.3}\n\n\
         the candidates are in `{}/candidates.jsonl`\n",
        sampled.rouge,
        folder.display(),
    )
}

/// What may be typed next.
fn next(config: &Sample) -> String {
    format!(
        "rank them:       {} rank configs/tuna/rank-probabilistic.toml --set rank.candidates={}/candidates.jsonl",
        program(),
        config.run.folder().display(),
    )
}
