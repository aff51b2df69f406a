//! `albacore eval held-out`: the loss of finished models on records, as `[eval]` measures it during training; of answers
//! with scores, how far the models rank them alike.

use std::path::Path;

use albacore_data::{
    DataConfig, Encoded, Error, Preparation, SourceConfig, TemplateChoice, TooLong,
};
use albacore_trainer::{Groups, ranking_counts, ranking_terms};
use candle_core::Device;
use serde::Serialize;
use serde_json::json;

use super::told::shortened;
use super::unless_failed;
use crate::args::{HeldOutRecords, PromptStyle};
use crate::failure::{Failure, Refusal, Result};
use crate::loaded::Loaded;
use crate::model_folder;
use crate::progress::{Progress, count};
use crate::scoring::{Scoring, sum};
use crate::terminal::Terminal;

/// What a model comes to.
#[derive(Debug, Serialize)]
struct Measured {
    model: String,
    /// Examples that were measured.
    n: usize,
    /// Those that are longer than the model was made for, and were left out.
    too_long: usize,
    tokens: usize,
    /// Nats per learned token.
    loss: f64,
    perplexity: f64,
    /// Of records with several answers: the terms of training's ranking objectives.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranking: Option<Ranking>,
}

/// How far a model ranks answers as their scores do.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Ranking {
    ranking_accuracy: f64,
    ranking_accuracy_adjacent: f64,
    ranking_accuracy_top1: f64,
    margin: f64,
}

/// Runs the command.
///
/// # Errors
/// Refused if no model, or no record, can be used; fails if some models cannot be measured, after the table of the
/// others is printed.
pub(super) fn run(
    options: &HeldOutRecords,
    seed: Option<u64>,
    device: &Device,
    terminal: &Terminal,
) -> Result {
    for model in &options.models {
        model_folder::resolve(model, terminal)?;
    }
    let (mut measured, mut failures) = (Vec::new(), Vec::new());
    for model in &options.models {
        let found = model_folder::resolve(model, terminal).and_then(|folder| {
            measure(model, &folder, options, seed.unwrap_or(0), device, terminal)
        });
        match found {
            Ok(found) => measured.push(found),
            Err(failure) => failures.push((model.clone(), failure)),
        }
    }
    if measured.is_empty() && !failures.is_empty() {
        return Err(failures.swap_remove(0).1);
    }
    if terminal.json {
        terminal.print(&json!({ "input": options.input, "models": measured }).to_string())?;
    } else {
        terminal.print(&table(&measured))?;
    }
    unless_failed(failures, options.models.len(), "models have not been measured", None)
}

fn measure(
    name: &str,
    folder: &Path,
    options: &HeldOutRecords,
    seed: u64,
    device: &Device,
    terminal: &Terminal,
) -> Result<Measured> {
    let loaded = Loaded::from_folder(folder, device)?;
    let template = match options.template {
        Some(PromptStyle::Chat) => TemplateChoice::Chat,
        Some(PromptStyle::Alpaca) => TemplateChoice::Alpaca,
        Some(PromptStyle::None) => TemplateChoice::None,
        None if loaded.tokenizer.chat_templates().is_empty() => TemplateChoice::None,
        None => TemplateChoice::Chat,
    };
    let config = DataConfig {
        // What the model was made for, prompt and answer together.
        max_tokens: loaded.model.config().context(),
        too_long: TooLong::Drop,
        template,
        shuffle: false,
        sources: options.input.iter().map(SourceConfig::new).collect(),
        ..DataConfig::default()
    };
    let tokenizer = &loaded.tokenizer;
    let preparation = Preparation { config: &config, tokenizer, seed, cache: None, progress: None };
    let dataset = preparation.run().map_err(|error| refused(error, name, config.max_tokens))?;
    let examples: Vec<&Encoded> = dataset.train.iter().map(AsRef::as_ref).collect();
    let too_long = dataset.report.dropped.iter().map(|lost| lost.count).sum();
    let scoring = Scoring::new(examples.iter().copied());
    let progress = Progress::new(terminal, "reading answers", 0, examples.len() as u64);
    // The log-probabilities of the answers, example by example.
    let mut found: Vec<Vec<Vec<f32>>> = vec![Vec::new(); examples.len()];
    let (mut loss, mut tokens, mut done) = (0.0, 0, 0);
    for batch in 0..scoring.batches() {
        let mut answers = scoring.score(&loaded.model, batch)?.into_iter();
        for &number in scoring.examples(batch) {
            let number = number as usize;
            let of = answers.by_ref().take(examples[number].responses.len().max(1));
            found[number] = of.collect();
            loss -= found[number].iter().map(|answer| sum(answer)).sum::<f64>();
            tokens += found[number].iter().map(Vec::len).sum::<usize>();
            done += 1;
        }
        progress.set(done, name);
    }
    let loss = loss / tokens as f64;
    Ok(Measured {
        model: name.to_owned(),
        n: examples.len(),
        too_long,
        tokens,
        loss,
        perplexity: loss.exp(),
        ranking: ranking(&examples, &found),
    })
}

/// Records that cannot be measured. Where all are too long, a setting of training would be no help.
fn refused(error: Error, name: &str, context: usize) -> Failure {
    match error {
        Error::NothingLeft { longest: Some((longest, _)), .. } => {
            let message = format!(
                "no record is short enough for `{name}`: the longest has {longest} tokens, the model was made for {context}"
            );
            let hint = "shorten the records, or take a model with a longer context";
            Failure::Refused(Refusal::new(message, hint).into())
        }
        Error::Several(errors) => {
            Failure::Problems(errors.into_iter().map(anyhow::Error::from).collect())
        }
        error => Failure::Refused(error.into()),
    }
}

/// As training measures it on held-out groups; `None` without answers whose scores differ.
fn ranking(examples: &[&Encoded], found: &[Vec<Vec<f32>>]) -> Option<Ranking> {
    let (mut target_starts, mut group_starts) = (vec![0], vec![0]);
    let (mut scores, mut logprobs) = (Vec::new(), Vec::new());
    for (example, answers) in
        examples.iter().zip(found).filter(|(one, _)| !one.responses.is_empty())
    {
        scores.extend(example.responses.iter().map(|response| response.score));
        for answer in answers {
            logprobs.extend_from_slice(answer);
            target_starts.push(logprobs.len() as u32);
        }
        group_starts.push(target_starts.len() as u32 - 1);
    }
    let groups = Groups {
        target_starts: &target_starts,
        group_starts: &group_starts,
        scores: &scores,
        reference: &[],
    };
    let mut ranking = Ranking::default();
    for term in ranking_terms(&logprobs, &groups, &ranking_counts(&groups)) {
        let place = match term.name {
            "ranking_accuracy" => &mut ranking.ranking_accuracy,
            "ranking_accuracy_adjacent" => &mut ranking.ranking_accuracy_adjacent,
            "ranking_accuracy_top1" => &mut ranking.ranking_accuracy_top1,
            "margin" => &mut ranking.margin,
            _ => continue,
        };
        *place = term.mean();
    }
    // Without pairs there is nothing to agree on.
    ranking.ranking_accuracy.is_finite().then_some(ranking)
}

fn table(measured: &[Measured]) -> String {
    let ranks = measured.iter().any(|of| of.ranking.is_some());
    let mut text = format!(
        "{:<42}{:>10}{:>10}{:>12}{:>14}{:>14}",
        "", "examples", "too long", "tokens", "nats a token", "perplexity"
    );
    if ranks {
        text += &format!(
            "{:>14}{:>16}{:>12}{:>10}",
            "ranked alike", "neighbours", "best first", "margin"
        );
    }
    text.push('\n');
    for of in measured {
        text += &format!(
            "{:<42}{:>10}{:>10}{:>12}{:>14.4}{:>14.2}",
            shortened(&of.model, 40),
            count(of.n),
            count(of.too_long),
            count(of.tokens),
            of.loss,
            of.perplexity
        );
        if let Some(ranking) = &of.ranking {
            text += &format!(
                "{:>12.1} %{:>14.1} %{:>10.1} %{:>10.3}",
                100.0 * ranking.ranking_accuracy,
                100.0 * ranking.ranking_accuracy_adjacent,
                100.0 * ranking.ranking_accuracy_top1,
                ranking.margin
            );
        }
        text.push('\n');
    }
    text
}
