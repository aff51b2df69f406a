//! What the config of a data run says about where its text comes from.

use std::fs;
use std::path::Path;

use albacore_data::bootstrap::{BootstrapConfig, Method, RunFolder};
use albacore_data::{HttpConfig, Usage};
use toml::{Table, Value};

use crate::failure::{OrRefuse, Refusal, Result};

/// The settings of a run, as far as they are known: a run made by other means may have no config.
#[derive(Debug, Default)]
pub struct Settings {
    /// The model that wrote.
    pub writer: Option<String>,
    /// The server that wrote, which knows its prices.
    pub server: Option<HttpConfig>,
    /// The seed of everything random.
    pub seed: Option<i64>,
    /// How tasks were written.
    pub bootstrap: Option<BootstrapConfig>,
}

impl Settings {
    /// Reads `config.toml`, if there is one.
    ///
    /// # Errors
    /// Refused if it is no TOML.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.toml");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).or_refuse()?;
        let config = text.parse::<Table>().map_err(|error| {
            let message = format!("{}: {}", path.display(), error.message());
            Refusal::new(message, "it is written with the run: restore it, or move it away")
        });
        Ok(Self::of(&config.or_refuse()?))
    }

    /// What a config says; keys that are not about data are no concern of a report.
    fn of(config: &Table) -> Self {
        let text =
            |table: &str, key: &str| config.get(table)?.get(key)?.as_str().map(str::to_owned);
        let server = config.values().find_map(server);
        let writer = match &server {
            Some(server) => Some(server.model.clone()),
            None => text("model", "path").map(|path| without_folders(&path)),
        };
        let seed = config.get("run").and_then(|run| run.get("seed")?.as_integer());
        let bootstrap = config.get("bootstrap").and_then(|table| table.clone().try_into().ok());
        Self { writer, server, seed, bootstrap }
    }

    /// Whether tasks are written with their instances.
    pub fn is_alpaca(&self, folder: &RunFolder) -> bool {
        match &self.bootstrap {
            Some(config) => config.method == Method::Alpaca,
            None => folder.accepted.first().is_some_and(|line| line.instance.is_some()),
        }
    }

    /// Whether cost is known.
    pub fn has_prices(&self) -> bool {
        self.cost(0, 0).is_some()
    }

    /// What tokens of prompts and answers cost.
    pub fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        self.server.as_ref()?.cost(&Usage { prompt_tokens, completion_tokens })
    }

    /// The run in a sentence.
    pub fn about(&self) -> String {
        let writer = self.writer.as_deref().unwrap_or("a model");
        let method = match self.bootstrap.as_ref().map(|config| config.method) {
            Some(Method::SelfInstruct) => " by the method of Self-Instruct",
            Some(Method::Alpaca) => " by the method of Alpaca",
            None => "",
        };
        format!("Instruction data written by {writer}{method}.")
    }
}

/// What a model is called: a page and a card are given on, and where it lies on this machine is no
/// one's business. A hub id and a path from here stay whole.
fn without_folders(path: &str) -> String {
    let name = Path::new(path).file_name().filter(|_| Path::new(path).is_absolute());
    name.map_or(path.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The table that names a server, here or one table deeper.
fn server(value: &Value) -> Option<HttpConfig> {
    let table = value.as_table()?;
    let has = |key: &str| {
        table.get(key).is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
    };
    if has("endpoint") && has("model") {
        return value.clone().try_into().ok();
    }
    table.values().find_map(|value| value.as_table().and(server(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Settings {
        Settings::of(&text.parse().unwrap())
    }

    #[test]
    fn the_writer_is_the_server_s_model_or_else_our_own() {
        let server = "[run]\nseed = 7\n[model]\npath = 'x'\n[teacher]\nendpoint = 'http://h/v1'\nmodel = 'big'\n";
        let prices =
            "price_per_million_prompt_tokens = 0.5\nprice_per_million_completion_tokens = 2\n";
        let known = of(&format!("{server}{prices}"));
        assert_eq!((known.writer.as_deref(), known.seed), (Some("big"), Some(7)));
        assert_eq!(known.cost(2_000_000, 500_000), Some(2.0));
        assert_eq!(of(server).cost(1, 1), None);
        let answers_alone = of(&format!("{server}price_per_million_completion_tokens = 2\n"));
        assert_eq!(answers_alone.cost(2_000_000, 500_000), Some(1.0));
        let deeper = of("[writer.http]\nendpoint = 'http://h/v1'\nmodel = 'deep'");
        assert_eq!(deeper.writer.as_deref(), Some("deep"));
        let own = of("[model]\npath = 'models/base'\n[writer]\nendpoint = ''\nmodel = ''");
        assert_eq!(own.writer.as_deref(), Some("models/base"));
        let absolute = of("[model]\npath = '/home/me/models/base/'");
        assert_eq!(absolute.writer.as_deref(), Some("base"));
        assert_eq!(of("").about(), "Instruction data written by a model.");
    }
}
