//! From a config to examples: the tokenizer of its model, and its data read and encoded.

use std::path::{Path, PathBuf};

use albacore_data::{self as data, Dataset, Preparation, Report, Tokenizer};
use albacore_model::LlamaConfig;

use crate::config::Config;
use crate::failure::{Failure, OrRefuse, Result};
use crate::model_folder;
use crate::progress::{Progress, count};
use crate::terminal::Terminal;

/// A config's model folder, tokenizer and examples.
pub struct Prepared {
    /// The folder that `model.path` stands for.
    pub folder: PathBuf,
    /// Its shape.
    pub shape: LlamaConfig,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// What is trained on.
    pub dataset: Dataset,
}

impl Prepared {
    /// Reads and encodes everything, and says what was left out. `cache` is a folder for the encoded
    /// records.
    ///
    /// # Errors
    /// Refused if the model or the data cannot be used.
    pub fn new(config: &Config, cache: Option<&Path>, terminal: &Terminal) -> Result<Self> {
        let folder = model_folder::resolve(&config.model.path, terminal)?;
        let shape = LlamaConfig::load(&folder).or_refuse()?;
        let tokenizer = tokenizer(&folder, shape.vocab_size)?;
        let dataset = prepare(config, &tokenizer, cache, terminal)?;
        for warning in warnings(&dataset.report, &shape) {
            terminal.warn(&warning);
        }
        Ok(Self { folder, shape, tokenizer, dataset })
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

fn prepare(
    config: &Config,
    tokenizer: &Tokenizer,
    cache: Option<&Path>,
    terminal: &Terminal,
) -> Result<Dataset> {
    // The number of records is known only once they are read.
    let shown = std::sync::OnceLock::new();
    let progress = |now: data::Progress| {
        let total = now.total as u64;
        let shown = shown.get_or_init(|| Progress::new(terminal, "encoding records", 0, total));
        shown.set(now.done as u64, "");
    };
    let preparation = Preparation {
        config: &config.data,
        tokenizer,
        seed: config.run.seed,
        cache,
        progress: Some(&progress),
    };
    preparation.run().map_err(|error| match error {
        data::Error::Several(errors) => {
            Failure::Problems(errors.into_iter().map(anyhow::Error::from).collect())
        }
        error => Failure::Refused(error.into()),
    })
}

/// What may surprise about what became of the records.
fn warnings(report: &Report, shape: &LlamaConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    for dropped in &report.dropped {
        warnings.push(format!(
            "left out {} of {} records: {} ({})",
            count(dropped.count),
            count(report.records),
            dropped.reason,
            first(dropped)
        ));
    }
    if let Some(truncated) = &report.truncated {
        warnings.push(format!(
            "cut {} records off at `data.max_tokens`, so that their end is not learned ({})",
            count(truncated.count),
            first(truncated)
        ));
    }
    if report.eos_added > 0 {
        warnings.push(format!(
            "the chat template ends {} answers without the end-of-sequence token, which was added",
            count(report.eos_added)
        ));
    }
    if report.longest > shape.max_position_embeddings {
        warnings.push(format!(
            "the longest example has {} tokens, the model was made for {}",
            count(report.longest),
            count(shape.max_position_embeddings)
        ));
    }
    warnings
}

/// Where the first of them stand.
pub fn first(dropped: &data::Dropped) -> String {
    let shown: Vec<_> = dropped.first.iter().take(3).map(ToString::to_string).collect();
    let more = if dropped.count > shown.len() { ", …" } else { "" };
    shown.join(", ") + more
}
