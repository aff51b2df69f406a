//! From a config to examples: the tokenizer of its model, and its data read and encoded.

use std::path::{Path, PathBuf};

use albacore_data::{
    self as data, Dataset, Encoder, Excluded, Preparation, Report, Spans, TaskLoss, Tokenizer,
};
use albacore_model::ModelConfig;
use albacore_trainer::ObjectiveConfig;

use crate::config::Config;
use crate::failure::{Failure, OrRefuse, Refusal, Result};
use crate::model_folder;
use crate::progress::{Progress, count};
use crate::terminal::Terminal;

/// A config's model folder, tokenizer and examples.
pub struct Prepared {
    /// The folder that `model.path` stands for.
    pub folder: PathBuf,
    /// Its shape.
    pub shape: ModelConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What is trained on.
    pub dataset: Dataset,
    /// What took spans out of it, if the objective is to fill them in.
    pub spans: Option<Spans>,
}

impl Prepared {
    /// Reads and encodes everything. `cache` is a folder for the encoded records.
    ///
    /// # Errors
    /// Refused if the model or the data cannot be used.
    pub fn new(config: &Config, cache: Option<&Path>, terminal: &Terminal) -> Result<Self> {
        let folder = model_folder::resolve(&config.model.path, terminal)
            .map_err(|failure| failure.at(config.model.place.as_deref()))?;
        let shape = ModelConfig::load(&folder).or_refuse()?;
        let tokenizer = tokenizer(&folder, shape.vocab_size())?;
        let spans = spans(config, &shape, &tokenizer)?;
        let dataset = prepare(config, &tokenizer, spans.as_ref(), cache, terminal)?;
        for surprise in surprises(&dataset, &shape, config.data.tokens_per_batch) {
            terminal.warn(&surprise);
        }
        Ok(Self { folder, shape, tokenizer, dataset, spans })
    }

    /// Which records were left out or cut off.
    pub fn losses(&self) -> Vec<String> {
        losses_of(&self.dataset.report)
    }
}

/// Which records of a report were left out or cut off.
pub fn losses_of(report: &Report) -> Vec<String> {
    let of = |lost: &data::Dropped| {
        format!("{} of {} records", count(lost.count), count(report.records))
    };
    let dropped = report.dropped.iter();
    let mut losses: Vec<_> = dropped
        .map(|lost| format!("left out {}: {} ({})", of(lost), lost.reason, first(lost)))
        .collect();
    losses.extend(report.truncated.iter().map(|lost| {
        format!(
            "cut off {} at `data.max_tokens`: their end is not learned ({})",
            of(lost),
            first(lost)
        )
    }));
    losses.extend(report.fewer.iter().map(|lost| {
        format!(
            "left out some responses of {}: longer than `data.max_tokens` with their prompt ({})",
            of(lost),
            first(lost)
        )
    }));
    if !report.tasks.is_empty() {
        losses.push(format!("of these by task: {}", by_task(&report.tasks)));
    }
    losses
}

/// The rules of sources that take nothing out, a line for each key: a misspelt one lets in what it was to
/// leave out.
fn idle_rules(excluded: &[Excluded]) -> Vec<String> {
    let line = |rules: &[Excluded]| {
        let idle = rules.iter().filter(|of| of.files == 0).map(|of| format!("`{}`", of.rule));
        let (idle, of) = (idle.collect::<Vec<_>>().join(", "), &rules[0]);
        let (key, path) = (&of.key, of.path.display());
        (!idle.is_empty()).then(|| format!("`{key}` takes nothing out of `{path}` by {idle}"))
    };
    // Sources that share their files may share their rules.
    let mut lines: Vec<String> = by_key(excluded).filter_map(line).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// The rules of each key of each source.
pub fn by_key(excluded: &[Excluded]) -> impl Iterator<Item = &[Excluded]> {
    excluded.chunk_by(|a, b| a.key == b.key && a.source == b.source)
}

/// The tasks that lost most.
pub fn by_task(lost: &[TaskLoss]) -> String {
    /// More are not read by anyone.
    const SHOWN: usize = 5;
    let told = |of: &TaskLoss| format!("`{}` {} of {}", of.task, count(of.lost), count(of.drawn));
    let mut told: Vec<_> = lost.iter().take(SHOWN).map(told).collect();
    if lost.len() > SHOWN {
        told.push(format!("and {} more tasks", count(lost.len() - SHOWN)));
    }
    told.join(", ")
}

impl Prepared {
    /// How this config's records become ids, as a mixture draws them.
    pub fn preparation<'a>(&'a self, config: &'a Config) -> Preparation<'a> {
        Preparation {
            config: &config.data,
            tokenizer: &self.tokenizer,
            seed: config.run.seed,
            cache: None,
            progress: None,
        }
    }

    /// The encoder of a mixture's records; `None` if the data are none.
    ///
    /// # Errors
    /// Refused if the template cannot be used.
    pub fn encoder<'a>(&self, preparation: &'a Preparation<'a>) -> Result<Option<Encoder<'a>>> {
        let encoder = self.dataset.mixture.as_ref().map(|_| preparation.encoder());
        encoder.transpose().or_refuse()
    }
}

/// The tokenizer of a model whose embedding has `rows` rows.
///
/// # Errors
/// Refused if there is none, or it is that of another model.
pub fn tokenizer(folder: &Path, rows: usize) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::load(folder).or_refuse()?;
    tokenizer.check_model(rows).or_refuse()?;
    Ok(tokenizer)
}

/// What takes spans out of the texts, if the objective is to fill them in.
fn spans(config: &Config, shape: &ModelConfig, tokenizer: &Tokenizer) -> Result<Option<Spans>> {
    let ObjectiveConfig::SpanCorruption(it) = config.objective else { return Ok(None) };
    let refused =
        |message: &str, hint: &str| Err(Failure::Refused(Refusal::new(message, hint).into()));
    if shape.decoder_start_token_id().is_none() {
        return refused(
            "`objective.kind` is `span_corruption`, and the model has no encoder to read what is left",
            "a decoder alone is pretrained with `kind = \"sft\"`, `data.learn = \"all\"` and \
             `format = \"text\"`",
        );
    }
    let (density, length) = (it.noise_density, it.mean_noise_span_length);
    let max_tokens = config.data.max_tokens;
    match Spans::new(density, length, it.inputs_length, max_tokens, tokenizer) {
        Ok(spans) if it.merge_examples => Ok(Some(spans)),
        Ok(spans) => Ok(Some(spans.of_each_alone())),
        Err(why) => {
            let why = why.to_string();
            let (message, hint) = why.split_once("\nhint: ").unwrap_or((&why, ""));
            refused(message, hint)
        }
    }
}

/// Shows how far the encoding of records is, whose number is known only once they are read.
pub fn encoding(terminal: &Terminal) -> impl Fn(data::Progress) + Sync {
    let shown = std::sync::OnceLock::new();
    move |now| {
        let total = now.total as u64;
        let shown = shown.get_or_init(|| Progress::new(terminal, "encoding records", 0, total));
        shown.set(now.done as u64, "");
    }
}

fn prepare(
    config: &Config,
    tokenizer: &Tokenizer,
    spans: Option<&Spans>,
    cache: Option<&Path>,
    terminal: &Terminal,
) -> Result<Dataset> {
    let progress = encoding(terminal);
    let preparation = Preparation {
        config: &config.data,
        tokenizer,
        seed: config.run.seed,
        cache,
        progress: Some(&progress),
    };
    let prepared = match spans {
        Some(spans) => preparation.run_corrupted(spans),
        None => preparation.run(),
    };
    prepared.map_err(|error| match error {
        data::Error::Several(errors) => {
            Failure::Problems(errors.into_iter().map(anyhow::Error::from).collect())
        }
        error => Failure::Refused(error.into()),
    })
}

/// What else may surprise.
fn surprises(dataset: &Dataset, shape: &ModelConfig, budget: usize) -> Vec<String> {
    let report = &dataset.report;
    let mut surprises = Vec::new();
    if report.eos_added > 0 {
        surprises.push(format!(
            "the chat template ends {} answers without the end-of-sequence token, which was added",
            count(report.eos_added)
        ));
    }
    if report.longest > shape.context() {
        surprises.push(format!(
            "the longest example has {} tokens, the model was made for {}",
            count(report.longest),
            count(shape.context())
        ));
    }
    surprises.extend(idle_rules(&dataset.excluded));
    if let Some(tied) = &report.tied {
        surprises.push(format!(
            "all responses have the same score in {} of {} records: nothing but the order of the file \
             ranks them ({})",
            count(tied.count),
            count(report.records),
            first(tied)
        ));
    }
    let largest = dataset.train.iter().max_by_key(|example| example.len());
    if let Some(group) = largest.filter(|largest| largest.len() > budget) {
        surprises.push(format!(
            "a prompt and its responses are never parted: the largest have {} tokens, more than the {} of \
             `data.tokens_per_batch` ({})",
            count(group.len()),
            count(budget),
            group.origin
        ));
    }
    let row_groups = dataset.mixture.as_ref().and_then(data::Mixture::too_large_row_groups);
    if let Some((groups, held)) = row_groups {
        surprises.push(format!(
            "the Parquet files are read by row groups, one of each file at a time: {} MiB, of which about {} MiB can \
             be held in memory; an example may wait for a group to be read again\nhint: write the files with smaller \
             row groups (`row_group_size=1000`), or as JSON lines",
            count((groups >> 20) as usize),
            count((held >> 20) as usize)
        ));
    }
    let last: Vec<_> = dataset.mixture.iter().flat_map(data::Mixture::held_out_last).collect();
    if let Some(task) = last.first() {
        surprises.push(format!(
            "of Parquet the last rows are held out, not a random choice: of {} tasks, `{}` is the first; rows that are \
             sorted measure something else than is trained on\nhint: shuffle the rows, or write them as JSON lines",
            count(last.len()),
            task.name()
        ));
    }
    if let Some(error) = &dataset.cache_failure {
        surprises.push(format!("the encoded records could not be kept for a restart: {error}"));
    }
    surprises
}

/// Where the first of them stand: `a.jsonl:3, 7, 12, …`.
pub fn first(dropped: &data::Dropped) -> String {
    let (mut text, mut file) = (String::new(), None);
    for origin in dropped.first.iter().take(3) {
        if !text.is_empty() {
            text += ", ";
        }
        match file.replace(&origin.file) {
            Some(last) if *last == origin.file => text += &origin.line.to_string(),
            _ => text += &origin.to_string(),
        }
    }
    if dropped.count > 3 { text + ", …" } else { text }
}
