//! Who writes text: a model here, or a server.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use albacore_data::{
    Api, CompletionRequest, HttpConfig, HttpModel, LanguageModel, NoCompletion, OnReply,
};
use albacore_model::{Capacity, ModelConfig};
use candle_core::Device;
use sha2::{Digest, Sha256};

use crate::config::WriterConfig;
use crate::failure::{OrRefuse, Refusal, Result};
use crate::loaded::Loaded;
use crate::local_model::{self, LocalModel};
use crate::model_folder;
use crate::prepared::tokenizer;
use crate::terminal::Terminal;

/// The two tables of a config that say who writes: a server if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'c> {
    /// `[model]`.
    pub model: &'c WriterConfig,
    /// `[server]`.
    pub server: Option<&'c HttpConfig>,
}

impl Writer<'_> {
    /// Opens it for `act`. As soon as `stop` becomes true, it gives up what it is at.
    ///
    /// # Errors
    /// Refused if there is no such model, it cannot be used, or a server's key is missing. The server
    /// is not asked.
    pub fn open<T>(
        &self,
        device: &Device,
        terminal: &Terminal,
        stop: &Arc<AtomicBool>,
        act: impl FnOnce(&dyn LanguageModel) -> Result<T>,
    ) -> Result<T> {
        if let Some(server) = self.server {
            let model = HttpModel::new(server.clone()).or_refuse()?;
            return act(&model.stop_when(Arc::clone(stop)));
        }
        let place = self.model.place.as_deref();
        let folder = model_folder::resolve(&self.model.path, terminal);
        let folder = folder.map_err(|failure| failure.at(place))?;
        let identity = identity(&folder).or_refuse()?;
        let loaded = Loaded::from_folder(&folder, device)?;
        let capacity = Capacity::of(&loaded.model);
        let slots = self.model.concurrency.unwrap_or(capacity.slots);
        let name = self.model.path.as_str();
        let mut model = LocalModel::new(name, &loaded, Capacity { slots, ..capacity })?;
        model.identify(identity);
        model.stop_when(Arc::clone(stop));
        if self.model.api == Api::Chat {
            model.answer().map_err(|failure| failure.at(place))?;
        }
        act(&model)
    }

    /// For what asks nothing: who would write, without weights and without a key.
    ///
    /// # Errors
    /// Refused if there is no such model.
    pub fn named<T>(
        &self,
        terminal: &Terminal,
        act: impl FnOnce(&dyn LanguageModel) -> Result<T>,
    ) -> Result<T> {
        if let Some(server) = self.server {
            return act(&Named { name: &server.model, identity: server.identity() });
        }
        let folder = model_folder::resolve(&self.model.path, terminal);
        let folder = folder.map_err(|failure| failure.at(self.model.place.as_deref()))?;
        let files = identity(&folder).or_refuse()?;
        let identity = local_model::identity(&files, self.model.api == Api::Chat);
        act(&Named { name: &self.model.path, identity })
    }

    /// For a model here: what counts its tokens, and the most that it was made for. Its weights are not
    /// read.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn measure<T>(
        &self,
        terminal: &Terminal,
        act: impl FnOnce(&dyn Fn(&str) -> usize, Option<usize>) -> Result<T>,
    ) -> Result<T> {
        if let Some(server) = self.server {
            let model = HttpModel::new(server.clone()).or_refuse()?;
            return act(&|text| model.count_tokens(text), None);
        }
        let folder = model_folder::resolve(&self.model.path, terminal);
        let folder = folder.map_err(|failure| failure.at(self.model.place.as_deref()))?;
        let shape = ModelConfig::load(&folder).or_refuse()?;
        let tokenizer = tokenizer(&folder, shape.vocab_size())?;
        let count = |text: &str| tokenizer.encode(text).map_or(text.len(), |ids| ids.len());
        act(&count, Some(shape.context()))
    }
}

/// A model that is not asked.
struct Named<'n> {
    name: &'n str,
    identity: String,
}

impl LanguageModel for Named<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn complete(
        &self,
        requests: &mut dyn Iterator<Item = CompletionRequest>,
        on_reply: &mut OnReply<'_>,
    ) {
        if requests.next().is_some() {
            let message = format!("`{}` was opened to be asked nothing: this is a bug", self.name);
            let none = NoCompletion { message, hint: None, fatal: true, refused: false };
            let _ = on_reply(0, Err(none));
        }
    }
}

/// What tells a model's files from those of another, wherever they lie: their names and sizes, the small
/// ones whole, and 256 pages of each large one.
///
/// # Errors
/// If one of them cannot be read.
pub fn identity(folder: &Path) -> std::io::Result<String> {
    const PAGE: usize = 4096;
    const PAGES: u64 = 256;
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".safetensors") && !name.starts_with("optimizer")
            || ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
                .contains(&&*name)
    });
    files.sort();
    let mut digest = Sha256::new();
    for path in files {
        let mut file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        digest.update(format!("{name} {bytes}\n"));
        if bytes <= PAGES * PAGE as u64 {
            let mut whole = Vec::new();
            file.read_to_end(&mut whole)?;
            digest.update(whole);
            continue;
        }
        let mut page = [0; PAGE];
        for number in 0..PAGES {
            file.seek(SeekFrom::Start((bytes - PAGE as u64) / (PAGES - 1) * number))?;
            file.read_exact(&mut page)?;
            digest.update(page);
        }
    }
    Ok(digest.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Refuses prompts that leave a model no room for an answer.
///
/// # Errors
/// If one is as long as all that the model was made for.
pub fn refuse_too_long(prompt_tokens: usize, context: usize, what: &str) -> Result<()> {
    if prompt_tokens < context {
        return Ok(());
    }
    let message = format!(
        "the prompts of the stage `{what}` have about {prompt_tokens} tokens, wanted fewer than the \
         {context} that the model was made for"
    );
    let hint = "take a model with a longer context, or shorter prompts (`bootstrap.prompts`)";
    Err(Refusal::new(message, hint)).or_refuse()
}
