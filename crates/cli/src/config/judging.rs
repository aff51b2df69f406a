//! The config of `eval judge` and `eval rate`: how judges are asked, and a server that judges beside the models here.

use std::path::{Path, PathBuf};

use albacore_data::HttpConfig;
use albacore_eval::JudgeConfig;
use albacore_trainer::RunConfig;
use serde::{Deserialize, Serialize};

use super::load::Settings;
use crate::args::Configured;
use crate::failure::Result;

/// The config of `eval judge` and `eval rate` as it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Judging {
    pub run: RunConfig,
    /// Judges after the models that the command names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<HttpConfig>,
    pub judge: JudgeConfig,
}

impl Judging {
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

impl Settings for Judging {
    const REFERENCE: &'static str = include_str!("../reference_judge.toml");

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
        [self.run.validate(), server, self.judge.validate()].concat()
    }

    fn files(&self) -> Vec<(String, PathBuf, &'static str)> {
        Vec::new()
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
        let (config, mismatches) = decode::<Judging>(&Tree::parse(Judging::REFERENCE).unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        assert_eq!(config.unwrap(), Judging::default());

        let (config, mismatches) =
            decode::<Judging>(&Tree::parse("[judge]\nconcurrency = 1\n").unwrap());
        assert!(mismatches.is_empty(), "{mismatches:?}");
        let known = keys(Judging::REFERENCE);
        let value = serde_json::to_value(config.unwrap()).unwrap();
        for (table, values) in value.as_object().unwrap() {
            for key in values.as_object().unwrap().keys() {
                assert!(known.contains(&format!("{table}.{key}")), "{table}.{key}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let found = problems::<Judging>("[judge]\nattempts = 0\n");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`judge.attempts` is 0, wanted 1 or more"), "{found:?}");
        // Without a config the run still has a name.
        assert_eq!(Judging::load_if_any(None, &[], None, "rate").unwrap().run.name, "rate");
    }
}
