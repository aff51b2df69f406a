//! Who is asked: models here, and the config's server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use albacore_data::{Api, HttpModel, LanguageModel};
use albacore_eval::Ruler;
use candle_core::Device;

use super::ruler::{LocalRuler, ServerRuler};
use super::suites::Suite;
use crate::args::EvalModels;
use crate::config::{Evaluation, WriterConfig};
use crate::failure::{OrRefuse, Refusal, Result};
use crate::local_model::first_tokens;
use crate::model_folder;
use crate::terminal::Terminal;
use crate::writer::Writer;

/// Who is asked.
pub(super) struct Model {
    pub(super) name: String,
    /// Else the config's server.
    is_local: bool,
}

/// The models of the command line and the server of the config; that each exists is known.
pub(super) fn named(
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
    /// Whether it can be asked these suites; known before anyone is asked anything.
    ///
    /// # Errors
    /// Refused if a suite compares answers by their log-probabilities and the model has none or cannot tell
    /// the answers apart, or if it is to chat and has no template.
    pub(super) fn check(
        &self,
        suites: &[Suite],
        config: &Evaluation,
        terminal: &Terminal,
    ) -> Result<()> {
        let choices = suites.iter().filter_map(|suite| Some((suite.task.name(), suite.choice()?)));
        let choices: Vec<_> = choices.collect();
        if !self.is_local {
            let Some((suite, _)) = choices.first() else { return Ok(()) };
            let message = format!(
                "`{suite}` compares answers by their log-probabilities, which the server of `{}` does not tell",
                self.name
            );
            let hint = "ask it suites that are answered by text, such as `mmlu_cot`";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        let chat = config.evaluation.chat;
        let folder = model_folder::resolve(&self.name, terminal)?;
        let ruler = LocalRuler::open(&folder, chat)?;
        if chat && ruler.tokenizer().chat_templates().is_empty() {
            let message = format!(
                "`evaluation.chat` is true, and the model `{}` has no chat template",
                self.name
            );
            let hint = "leave it out: models then go on with the text";
            return Err(Refusal::new(message, hint)).or_refuse();
        }
        for (suite, question) in choices {
            if let Err(none) = first_tokens(ruler.tokenizer(), &question.options_behind(chat)) {
                let message =
                    format!("`{}` cannot be asked `{suite}`: {}", self.name, none.message);
                let hint = "leave the suite out, or take a model whose tokenizer tells them apart";
                return Err(Refusal::new(message, hint)).or_refuse();
            }
        }
        Ok(())
    }

    /// Opens it for `act`.
    pub(super) fn open<T>(
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
