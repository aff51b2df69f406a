//! The config of `bootstrap`: who writes, and what.

use std::path::PathBuf;

use albacore_data::bootstrap::BootstrapConfig;
use albacore_data::{Api, HttpConfig};
use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};

use super::Settings;

/// The config of `bootstrap` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Bootstrap {
    pub run: RunConfig,
    pub model: WriterConfig,
    /// In place of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HttpConfig>,
    pub bootstrap: BootstrapConfig,
}

/// `[model]`: a model that writes text here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WriterConfig {
    /// A Hugging Face folder, a run folder (its newest complete checkpoint) or a hub id
    /// `org/name[@revision]`. No default.
    pub path: String,
    /// Whether it goes on with a prompt (`completions`, the default) or answers it as a message of the
    /// user, by its chat template (`chat`).
    pub api: Api,
    /// Texts that grow together. Default 16 on the CPU, 64 on a GPU. Raising it is faster up to a point
    /// and costs memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// Where the config says so, as `file:line:column`.
    #[serde(skip)]
    pub place: Option<String>,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self { path: String::new(), api: Api::Completions, concurrency: None, place: None }
    }
}

/// What is wrong with the tables that say who writes. Exactly one of them is wanted.
pub(super) fn writer_problems(model: &WriterConfig, server: Option<&HttpConfig>) -> Vec<String> {
    let mut problems = Vec::new();
    match (model.path.is_empty(), server) {
        (true, None) => problems.push(
            "`model.path` is missing, wanted a model that writes\nhint: add `path = \"FOLDER\"` under \
             `[model]`: a Hugging Face folder, a run folder or a hub id `org/name`; or name a server: \
             `[server]` with `endpoint` and `model`"
                .into(),
        ),
        (false, Some(_)) => problems.push(
            "`model.path` and `server` are both given, wanted one that writes\nhint: take out one of them"
                .into(),
        ),
        _ => {}
    }
    if model.concurrency == Some(0) {
        problems.push("`model.concurrency` is 0, wanted 1 or more".into());
    }
    let server = server.map(|server| server.validate("server")).unwrap_or_default();
    problems.extend(server.iter().map(ToString::to_string));
    problems
}

impl Settings for Bootstrap {
    const REFERENCE: &'static str = include_str!("../reference_bootstrap.toml");

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn models(&self) -> Vec<(&'static str, &str)> {
        vec![("model.path", &self.model.path)]
    }

    fn placed(&mut self, _: &str, place: String) {
        self.model.place = Some(place);
    }

    fn defaults() -> Self {
        Self { server: Some(HttpConfig::default()), ..Self::default() }
    }

    fn validate(&self) -> Vec<String> {
        let writer = writer_problems(&self.model, self.server.as_ref());
        [self.run.validate(), writer, self.bootstrap.validate()].concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let named = [
            ("bootstrap.seeds", &self.bootstrap.seeds, "a file of seed tasks"),
            ("bootstrap.prompts", &self.bootstrap.prompts, "a folder of templates"),
        ];
        let given =
            named.into_iter().filter_map(|(key, path, wanted)| Some((key, path.clone()?, wanted)));
        given.map(|(key, path, wanted)| (key.to_owned(), path, wanted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::keys;
    use super::*;
    use crate::decode::decode;
    use crate::tree::Tree;

    fn problems(text: &str) -> Vec<String> {
        super::super::load::problems::<Bootstrap>(text)
    }

    #[test]
    fn the_reference_holds_every_default_and_names_every_key() {
        let (config, mismatches) = decode::<Bootstrap>(&Tree::parse(Bootstrap::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Bootstrap::default());

        // Everything that may be missing is set here.
        let mut config = Bootstrap { server: Some(HttpConfig::default()), ..Bootstrap::default() };
        let server = config.server.as_mut().unwrap();
        server.api_key_env = Some("KEY".into());
        (server.requests_per_minute, server.tokens_per_minute) = (Some(1), Some(1));
        server.price_per_million_prompt_tokens = Some(1.0);
        server.price_per_million_completion_tokens = Some(1.0);
        config.model.concurrency = Some(1);
        let bootstrap = &mut config.bootstrap;
        (bootstrap.seeds, bootstrap.prompts) = (Some("a".into()), Some("b".into()));
        (bootstrap.tasks_per_prompt, bootstrap.machine_tasks_per_prompt) = (Some(1), Some(1));
        bootstrap.subset = Some(1);
        bootstrap.rules = Some(Vec::new());
        bootstrap.instruction_decoding = Some(Default::default());
        bootstrap.instance_decoding = Some(Default::default());
        let known = keys(Bootstrap::REFERENCE);
        for (table, values) in serde_json::to_value(config).unwrap().as_object().unwrap() {
            for key in values.as_object().unwrap().keys() {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn of_a_server_only_what_is_not_the_default_is_told() {
        let server = HttpConfig { concurrency: 3, ..HttpConfig::new("http://h/v1", "m") };
        let config = Bootstrap { server: Some(server), ..Bootstrap::default() };
        let told = config.changed();
        let lines = told.lines().skip(1).map(str::trim).collect::<Vec<_>>();
        let wanted =
            ["server.concurrency = 3", "server.endpoint = \"http://h/v1\"", "server.model = \"m\""];
        let mut found = lines.clone();
        found.sort_unstable();
        assert_eq!(found, wanted, "{told}");
    }

    #[test]
    fn one_writer_is_wanted() {
        assert!(problems("")[0].contains("`model.path` is missing"));
        let both = "[model]\npath = \"src\"\n[server]\nendpoint = \"http://h/v1\"\nmodel = \"m\"\n";
        assert_eq!(problems(both).len(), 1);
        assert!(
            problems(both)[0]
                .starts_with("mine.toml:2:8: `model.path` and `server` are both given")
        );
        assert!(problems("[model]\npath = \"src\"\n").is_empty());
        let found = problems("[server]\nendpoint = \"h\"\nmodel = \"m\"\nconcurency = 3\n");
        assert!(
            found[0].starts_with("mine.toml:4:1: unknown key `server.concurency`"),
            "{found:?}"
        );
        assert!(found[1].contains("`server.endpoint` is `h`"), "{found:?}");
    }
}
