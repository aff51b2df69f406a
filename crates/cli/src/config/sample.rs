//! The config of `sample`: who answers, what is asked, and how.

use std::path::PathBuf;

use albacore_data::sample::{PromptsConfig, SampleConfig};
use albacore_data::{Api, HttpConfig, TemplateChoice};
use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};

use super::bootstrap::{WriterConfig, writer_problems};
use super::load::Settings;

/// The config of `sample` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Sample {
    pub run: RunConfig,
    pub model: WriterConfig,
    /// In place of `model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HttpConfig>,
    pub data: PromptsConfig,
    pub sample: SampleConfig,
}

impl Settings for Sample {
    const REFERENCE: &'static str = include_str!("../reference_sample.toml");

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
        let mut problems = writer_problems(&self.model, self.server.as_ref());
        if self.model.api == Api::Chat {
            problems.push(
                "`model.api` is `chat`, wanted `completions`: prompts have their template already\n\
                 hint: `data.template = \"chat\"` puts the model's chat template around them, and writes it \
                 down with them, so that training sees the same"
                    .into(),
            );
        }
        if self.server.is_some() && self.data.template == TemplateChoice::Chat {
            problems.push(
                "`data.template` is `chat`, wanted `alpaca`, `none` or a TOML file: a server's chat template is \
                 not known here\nhint: `data.template = \"none\"` and `server.api = \"chat\"` let the server \
                 put its own around each prompt"
                    .into(),
            );
        }
        [self.run.validate(), problems, self.data.validate(), self.sample.validate()].concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let sources = self.data.sources.iter().enumerate();
        let sources = sources.map(|(index, source)| {
            (format!("data.sources[{index}].path"), source.path.clone(), "a file")
        });
        let template = match &self.data.template {
            TemplateChoice::File(path) => Some(path.clone()),
            _ => None,
        };
        let template = template
            .map(|path| ("data.template".to_owned(), path, "`chat`, `alpaca`, `none` or a file"));
        sources.chain(template).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::keys;
    use super::*;
    use crate::decode::decode;
    use crate::tree::Tree;

    #[test]
    fn the_reference_holds_every_default_and_names_every_key() {
        let (config, mismatches) = decode::<Sample>(&Tree::parse(Sample::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Sample::default());

        let text = "[data]\nsources = [{ path = \"a\", format = \"alpaca\", cap = 1, fields = { output = \"b\" } }]\n\
                    [sample]\nlimit = 1\n[model]\nconcurrency = 1\n";
        let (config, mismatches) = decode::<Sample>(&Tree::parse(text).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys(Sample::REFERENCE);
        let value = serde_json::to_value(config.unwrap()).unwrap();
        for (table, values) in value.as_object().unwrap() {
            for key in values.as_object().unwrap().keys().filter(|key| *key != "sources") {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn templates_that_nobody_knows_are_refused() {
        let problems = super::super::load::problems::<Sample>;
        let data = "[data]\ntemplate = \"chat\"\n[[data.sources]]\npath = \"Cargo.toml\"\n";
        let local = format!("[model]\npath = \"src\"\napi = \"chat\"\n{data}");
        assert!(problems(&local)[0].contains("`model.api` is `chat`"), "{:?}", problems(&local));
        let server = format!("[server]\nendpoint = \"http://h/v1\"\nmodel = \"m\"\n{data}");
        assert!(
            problems(&server)[0].contains("`data.template` is `chat`"),
            "{:?}",
            problems(&server)
        );
        assert!(problems(&format!("[model]\npath = \"src\"\n{data}")).is_empty());
    }
}
