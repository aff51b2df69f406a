//! A model with its tokenizer and the template by which it is asked: what `complete` and `score` run.

use std::path::Path;

use albacore_data::{Encoder, Learn, Template, TemplateChoice, Tokenizer};
use albacore_model::Model;
use candle_core::Device;

use crate::args::PromptStyle;
use crate::device;
use crate::failure::{OrRefuse, Result};
use crate::model_folder;
use crate::prepared::tokenizer;
use crate::terminal::Terminal;

/// A model and its tokenizer.
pub struct Loaded {
    /// The model.
    pub model: Model,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Loaded {
    /// Loads what MODEL stands for.
    ///
    /// # Errors
    /// Refused if there is no such model, or it cannot be used.
    pub fn new(model: &str, device: &Device, terminal: &Terminal) -> Result<Self> {
        let folder = model_folder::resolve(model, terminal)?;
        Self::from_folder(&folder, device)
    }

    /// Loads the model in a folder.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Self> {
        let mut model = Model::load(folder, &Device::Cpu).or_refuse()?;
        device::place(&mut model, device)?;
        let tokenizer = tokenizer(folder, model.config().vocab_size())?;
        Ok(Self { model, tokenizer })
    }

    /// Turns records and prompts into ids, in the style asked for: by default, by the model's chat
    /// template if it has one, and as they are if not.
    ///
    /// # Errors
    /// Refused if the chat template is asked for and there is none.
    pub fn encoder(&self, style: Option<PromptStyle>, learn: Learn) -> Result<Encoder<'_>> {
        let choice = match style {
            Some(PromptStyle::Chat) => TemplateChoice::Chat,
            Some(PromptStyle::Alpaca) => TemplateChoice::Alpaca,
            Some(PromptStyle::None) => TemplateChoice::None,
            None if self.tokenizer.chat_templates().is_empty() => TemplateChoice::None,
            None => TemplateChoice::Chat,
        };
        let template = Template::load(&choice, &self.tokenizer, None).or_refuse()?;
        Ok(Encoder::new(&self.tokenizer, template, learn))
    }
}
