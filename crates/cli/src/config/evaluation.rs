//! The config of `eval`: how suites are asked, and a server to ask beside the models here.

use std::path::{Path, PathBuf};

use albacore_data::HttpConfig;
use albacore_eval::EvaluationConfig;
use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};

use super::load::Settings;
use crate::args::Configured;
use crate::failure::Result;

/// The config of `eval` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Evaluation {
    pub run: RunConfig,
    /// Asked after the models that the command names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HttpConfig>,
    pub evaluation: EvaluationConfig,
}

impl Evaluation {
    /// Reads a config, or takes the defaults where there is none: the run is then called `name`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_if_any(
        config: Option<&Path>,
        set: &[String],
        seed: Option<u64>,
        name: &str,
    ) -> Result<Self> {
        match config {
            Some(config) => {
                Self::load(&Configured { config: config.to_owned(), set: set.to_vec() }, seed)
            }
            None => Self::load_text("", format!("{name}.toml").as_ref(), set, seed),
        }
    }
}

impl Settings for Evaluation {
    const REFERENCE: &'static str = include_str!("../reference_eval.toml");

    fn run(&mut self) -> &mut RunConfig {
        &mut self.run
    }

    fn models(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    fn defaults() -> Self {
        Self { server: Some(HttpConfig::default()), ..Self::default() }
    }

    fn validate(&self) -> Vec<String> {
        let server = self.server.as_ref().map(|server| server.validate("server"));
        let server = server.unwrap_or_default();
        let server = server.iter().map(ToString::to_string).collect();
        [self.run.validate(), server, self.evaluation.validate()].concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        let Self { evaluation: EvaluationConfig { paraphrases, prefix, .. }, .. } = self;
        let named = [
            ("evaluation.paraphrases", paraphrases, "a file of wordings"),
            ("evaluation.prefix", prefix, "a file"),
        ];
        let given = named.into_iter().filter_map(|(key, path, what)| {
            path.as_ref().map(|path| (key.to_owned(), path.clone(), what))
        });
        given.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::{keys, problems};
    use super::*;
    use crate::decode::decode;
    use crate::tree::Tree;

    #[test]
    fn the_reference_holds_every_default_and_names_every_key() {
        let (config, mismatches) =
            decode::<Evaluation>(&Tree::parse(Evaluation::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Evaluation::default());

        let text = "[evaluation]\nshots = 1\nprefix = \"a\"\nmax_new_tokens = 1\nconcurrency = 1\nparaphrases = \"a\"\n";
        let (config, mismatches) = decode::<Evaluation>(&Tree::parse(text).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys(Evaluation::REFERENCE);
        let value = serde_json::to_value(config.unwrap()).unwrap();
        for (table, values) in value.as_object().unwrap() {
            for key in values.as_object().unwrap().keys() {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let found = problems::<Evaluation>("[evaluation]\nsamples = 0\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`evaluation.samples` is 0, wanted 1 or more"), "{found:?}");
        // Without a config the run still has a name.
        assert_eq!(Evaluation::load_if_any(None, &[], None, "eval").unwrap().run.name, "eval");
    }
}
